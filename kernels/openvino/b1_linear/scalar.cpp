/* The specification: one output at a time. */
#include "kernel.h"

namespace edgeopt {
namespace {

void pack(const float* x, const float* shift, int64_t rows, int64_t inputs, int64_t words, int32_t* bits) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t word = 0; word < words; word++) {
            uint32_t packed = 0;
            for (int64_t i = word * 32; i < inputs && i < word * 32 + 32; i++)
                packed |= static_cast<uint32_t>(x[row * inputs + i] + shift[i] >= 0.0f) << (i % 32);
            bits[row * words + word] = static_cast<int32_t>(packed);
        }
}

void run(const BinaryLinear& layer, const int32_t* bits, int64_t rows, float* out, int32_t* out_bits) {
    const int64_t out_words = (layer.outputs + 31) / 32;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t n = 0; n < layer.outputs; n++) {
            const int32_t* weight = layer.weight + n / panel_width * layer.words * panel_width + n % panel_width;
            int32_t count = 0;
            for (int64_t k = 0; k < layer.words; k++)
                count += __builtin_popcount(bits[row * layer.words + k] ^ weight[k * panel_width]);
            float y = static_cast<float>(layer.inputs - 2 * count) * layer.scale[n] + layer.bias[n];
            y = activated(layer.activation, y);
            if (layer.residual != nullptr)
                y += layer.residual[row * layer.outputs + n];
            if (out != nullptr) {
                out[row * layer.outputs + n] = y;
                continue;
            }
            int32_t* word = out_bits + row * out_words + n / 32;
            const bool is_set = y >= layer.high[n] || (layer.low != nullptr && y <= layer.low[n]);
            *word = (n % 32 == 0 ? 0 : *word) | (is_set ? int32_t(1u << (n % 32)) : 0);
        }
}

}  // namespace

const BinaryLinearKernels b1_linear__scalar{pack, run};

}  // namespace edgeopt
