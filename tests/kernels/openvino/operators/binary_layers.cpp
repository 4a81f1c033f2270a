/* Layers of signs: what goes in as floats or bits, and what follows, in every combination. */
#include "b1_conv2d/operator.h"
#include "b1_linear/kernel.h"
#include "b1_linear/operator.h"
#include "operators.h"

namespace {

/* Random signs of `bits` in each group of words that lie `step` apart; what fills up the last word is clear. */
Words signs(Random& random, int64_t groups, int64_t bits, int64_t step) {
    const int64_t words = edgeopt::words(bits);
    Words drawn = random.noise(groups * words);
    for (int64_t group = 0; group < groups; group++)
        for (int64_t bit = bits; bit < words * 32; bit++)
            set_bit(drawn[group / step * step * words + group % step + bit / 32 * step], bit % 32, false);
    return drawn;
}

/* What a layer has beside x and its weight. */
struct Ends {
    bool reads_bits, gives_bits, adds, has_low;
    std::string activation;

    explicit Ends(Random& random)
        : reads_bits(random.chance()), gives_bits(random.chance()), adds(random.chance()), has_low(random.chance()) {
        const char* names[] = {"none", "relu", "gelu"}; /* GELU may be on either side of a threshold */
        activation = names[random.between(0, gives_bits ? 1 : 2)];
    }

    void add(Random& random, Operands& to, int64_t outputs, const ov::Shape& result) const {
        const ov::Shape channels{size_t(outputs)};
        to.add("scale", drawn(random, channels));
        to.add("bias", drawn(random, channels));
        if (adds)
            to.add("residual", drawn(random, result));
        if (gives_bits)
            to.add("high", drawn(random, channels));
        if (gives_bits && has_low)
            to.add("low", drawn(random, channels));
    }

    std::map<std::string, ov::Any> attributes(const Operands& operands, int64_t inputs, int64_t outputs) const {
        return {{"roles", operands.roles}, {"activation", activation}, {"inputs", inputs}, {"outputs", outputs}};
    }

    float tolerance() const { return activation == "gelu" ? 2e-6f : 0.0f; }
};

}  // namespace

void fuzz_binary_conv2d(Random& random) {
    const int64_t batch = random.between(1, 2), inputs = random.any({1, 31, 32, 33, 70});
    const int64_t outputs = random.any({1, 16, 31, 33, 70}), words = edgeopt::words(inputs);
    std::vector<int64_t> kernel(2), strides(2), padding(2), dilations(2), in(2), out(2);
    for (int i = 0; i < 2; i++) {
        kernel[i] = random.between(1, 3), strides[i] = random.between(1, 3);
        padding[i] = random.between(0, 2), dilations[i] = random.between(1, 2);
        const int64_t reach = dilations[i] * (kernel[i] - 1) + 1;
        in[i] = std::max<int64_t>(1, reach - 2 * padding[i]) + random.any({0, 1, 5, 30});
        out[i] = (in[i] + 2 * padding[i] - reach) / strides[i] + 1;
    }
    const Ends ends(random);
    const ov::Shape image{size_t(batch), 0, size_t(in[0]), size_t(in[1])};
    ov::Shape shape = image, result{size_t(batch), size_t(outputs), size_t(out[0]), size_t(out[1])};
    Operands operands;
    shape[1] = ends.reads_bits ? words : inputs;
    if (ends.reads_bits) {
        operands.add("x_bits", words_of(signs(random, batch * in[0] * in[1], inputs, in[0] * in[1]), shape));
    } else {
        operands.add("x", drawn(random, shape));
        operands.add("shift", drawn(random, {size_t(inputs)}));
    }
    const ov::Shape weight{size_t(outputs), size_t(kernel[0]), size_t(kernel[1]), size_t(words)};
    operands.add("weight", words_of(signs(random, outputs * kernel[0] * kernel[1], inputs, 1), weight));
    ends.add(random, operands, outputs, result);
    auto attributes = ends.attributes(operands, inputs, outputs);
    attributes["kernel"] = kernel, attributes["strides"] = strides;
    attributes["padding"] = padding, attributes["dilations"] = dilations;
    check_operator<edgeopt::BinaryConv2d>(operands.tensors, Attributes(attributes), ends.tolerance(), "BinaryConv2d");
}

void fuzz_binary_linear(Random& random) {
    constexpr int64_t panel = edgeopt::panel_width;
    const int64_t inputs = random.any({1, 31, 32, 33, 100, 993}), outputs = random.any({1, 7, 16, 17, 33, 70});
    const int64_t panels = (outputs + panel - 1) / panel, words = edgeopt::words(inputs);
    const size_t batch = random.between(1, 3), rows = random.any({0, 1, 47, 48, 49});
    const Ends ends(random);
    Operands operands;
    if (ends.reads_bits) {
        operands.add("x_bits", words_of(signs(random, batch * rows, inputs, 1), {batch, rows, size_t(words)}));
    } else {
        operands.add("x", drawn(random, {batch, rows, size_t(inputs)}));
        operands.add("shift", drawn(random, {size_t(inputs)}));
    }
    const ov::Shape weight{size_t(panels), size_t(words), size_t(panel)};
    operands.add("weight", words_of(signs(random, panels * panel, inputs, panel), weight));
    ends.add(random, operands, outputs, {batch, rows, size_t(outputs)});
    check_operator<edgeopt::BinaryLinearOperator>(operands.tensors,
                                                  Attributes(ends.attributes(operands, inputs, outputs)),
                                                  ends.tolerance(), "BinaryLinear");
}
