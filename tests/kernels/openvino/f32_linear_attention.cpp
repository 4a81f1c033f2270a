/* Linear attention against the scalar specification, from no token to several blocks of them. */
#include "f32_linear_attention/kernel.h"

#include <algorithm>

#include "fuzz.h"

namespace {

using namespace edgeopt;

Head drawn_head(Random& random) {
    const FeatureMap map = static_cast<FeatureMap>(random.between(0, 5));
    const bool learned = map >= FeatureMap::hedgehog_exp;
    const int64_t size = random.between(1, 13), mapped = learned ? random.between(1, 11) : size;
    const int64_t features = map == FeatureMap::taylor ? 1 + size + size * (size + 1) / 2 : learned ? 2 * mapped : size;
    const int64_t values = random.between(1, 37);
    return {map, size, mapped, features, values, values + random.between(0, 3), values + random.between(0, 3), 0.1f};
}

void attend(const LinearAttentionKernels& kernels, const Head& head, const Side& queries, int64_t asked,
            const Side& keys, const Floats& values, int64_t count, bool causal, Floats& out) {
    Floats state(head.features * (head.values + 1));
    Floats scratch(tokens_at_once * (3 * head.features + head.mapped + head.values + tokens_at_once));
    if (causal) {
        kernels.causal(head, queries, keys, values.data(), count, state.data(), out.data(), scratch.data());
        return;
    }
    kernels.write(head, keys, values.data(), count, state.data(), scratch.data(), {});
    kernels.read(head, queries, asked, state.data(), out.data(), scratch.data(), {});
}

}  // namespace

void fuzz_f32_linear_attention(Random& random) {
    const Head head = drawn_head(random);
    const bool causal = random.chance();
    const int64_t count = random.any({0, 1, 5, 47, 48, 49, 100}), asked = causal ? count : random.any({0, 1, 48, 61});
    const int64_t stride = head.size + random.between(0, 3);
    const Floats q = random.floats(asked * stride), k = random.floats(count * stride);
    const Floats v = random.floats(count * head.value_stride), weight = random.floats(head.size * head.mapped);
    const Floats bias = random.floats(head.mapped);
    const float* shift = random.chance() ? bias.data() : nullptr;
    const Side queries{q.data(), stride, weight.data(), shift}, keys{k.data(), stride, weight.data(), shift};
    Floats want(asked * head.out_stride), got(asked * head.out_stride);
    attend(f32_linear_attention__scalar, head, queries, asked, keys, v, count, causal, want);
    attend(UNDER_TEST(f32_linear_attention), head, queries, asked, keys, v, count, causal, got);
    float largest = 1e-30f;
    for (float y : want)
        largest = std::max(largest, std::abs(y));
    for (size_t i = 0; i < want.size(); i++)
        check(std::abs(want[i] - got[i]) <= 1e-5f * largest, "f32_linear_attention");
}
