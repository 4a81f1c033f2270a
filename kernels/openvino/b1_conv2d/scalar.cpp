/* The specification: one output of one pixel at a time. */
#include "kernel.h"

namespace edgeopt {
namespace {

void run(const BinaryConvolution& c, const int32_t* planes, int64_t first, int64_t outputs, int64_t pixels, float* y,
         int64_t stride) {
    for (int64_t n = 0; n < outputs; n++)
        for (int64_t pixel = 0; pixel < pixels; pixel++) {
            int32_t sum = 0;
            for (int64_t tap = 0; tap < c.taps; tap++) {
                const int32_t* x = planes + pixel + c.offsets[tap];
                if (x[c.words * c.plane] == 0)
                    continue;
                const int32_t* weight = c.weight + ((first + n) * c.taps + tap) * c.words;
                int32_t count = 0;
                for (int64_t word = 0; word < c.words; word++)
                    count += __builtin_popcount(x[word * c.plane] ^ weight[word]);
                sum += static_cast<int32_t>(c.channels) - 2 * count;
            }
            y[n * stride + pixel] = static_cast<float>(sum) * c.scale[first + n] + c.bias[first + n];
        }
}

void follow(Activation activation, const PixelRows& r, const float* y, const float* residual, float* out) {
    for (int64_t row = 0; row < r.rows; row++)
        for (int64_t i = 0; i < r.width; i++) {
            const float sum = activated(activation, y[row * r.distance + i]);
            out[row * r.width + i] = residual == nullptr ? sum : sum + residual[row * r.width + i];
        }
}

void pack(const float* x, const float* high, const float* low, int64_t planes, int64_t pixels, int32_t* bits) {
    for (int64_t pixel = 0; pixel < pixels; pixel++) {
        uint32_t packed = 0;
        for (int64_t plane = 0; plane < planes; plane++) {
            const float value = x[plane * pixels + pixel];
            const bool is_set = value >= high[plane] || (low != nullptr && value <= low[plane]);
            packed |= static_cast<uint32_t>(is_set) << plane;
        }
        bits[pixel] = static_cast<int32_t>(packed);
    }
}

}  // namespace

const BinaryConvolutionKernels b1_conv2d__scalar{run, follow, pack};

}  // namespace edgeopt
