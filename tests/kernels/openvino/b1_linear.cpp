/* Linear layers of signs against sums of products in int64. */
#include "b1_linear/kernel.h"

#include "fuzz.h"

namespace {

using edgeopt::panel_width;

/* Signs [outputs, inputs] in panels; what is beyond the last output is noise. */
Words panels(Random& random, const Floats& weight, int64_t outputs, int64_t inputs, int64_t words) {
    Words packed = random.noise((outputs + panel_width - 1) / panel_width * words * panel_width);
    for (int64_t n = 0; n < outputs; n++)
        for (int64_t i = 0; i < words * 32; i++)
            set_bit(packed[(n / panel_width * words + i / 32) * panel_width + n % panel_width], i % 32,
                    i < inputs && weight[n * inputs + i] > 0.0f);
    return packed;
}

}  // namespace

void fuzz_b1_linear(Random& random) {
    const int64_t inputs = random.any({0, 1, 31, 32, 33, 100, 992, 993, 4100}), words = (inputs + 31) / 32;
    const int64_t outputs = random.any({1, 7, 16, 17, 33, 70}), rows = random.between(0, 9);
    const Floats x = random.signs(rows * inputs), weight = random.signs(outputs * inputs), shift(inputs);
    const Floats scale = random.floats(outputs), bias = random.floats(outputs),
                 residual = random.floats(rows * outputs);
    const Floats high = random.floats(outputs), low = random.floats(outputs);
    const Words packed = panels(random, weight, outputs, inputs, words);
    const bool gives_bits = random.chance(), adds = random.chance(), has_low = random.chance();
    const edgeopt::BinaryLinear layer{inputs,
                                      words,
                                      outputs,
                                      packed.data(),
                                      scale.data(),
                                      bias.data(),
                                      edgeopt::Activation::none,
                                      adds ? residual.data() : nullptr,
                                      gives_bits ? high.data() : nullptr,
                                      gives_bits && has_low ? low.data() : nullptr};
    const int64_t out_words = (outputs + 31) / 32;
    Words bits = random.noise(rows * words), out_bits = random.noise(gives_bits ? rows * out_words : 0);
    Floats out(gives_bits ? 0 : rows * outputs);
    UNDER_TEST(b1_linear).pack(x.data(), shift.data(), rows, inputs, words, bits.data());
    UNDER_TEST(b1_linear).run(layer, bits.data(), rows, gives_bits ? nullptr : out.data(),
                              gives_bits ? out_bits.data() : nullptr);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t n = 0; n < outputs; n++) {
            int64_t sum = 0;
            for (int64_t i = 0; i < inputs; i++)
                sum += static_cast<int64_t>(x[row * inputs + i]) * static_cast<int64_t>(weight[n * inputs + i]);
            float y = static_cast<float>(sum) * scale[n] + bias[n];
            y += adds ? residual[row * outputs + n] : 0.0f;
            if (!gives_bits) {
                check(out[row * outputs + n] == y, "b1_linear");
                continue;
            }
            const bool found = static_cast<uint32_t>(out_bits[row * out_words + n / 32]) >> (n % 32) & 1u;
            check(found == (y >= high[n] || (has_low && y <= low[n])), "b1_linear, bits");
        }
}
