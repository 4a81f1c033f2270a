#include "operator.h"

#include <algorithm>
#include <cmath>

#include "../common/memory.h"
#include "../common/parallel.h"
#include "../f32_linear_attention/call.h"
#include "kernel.h"

namespace edgeopt {
namespace {

const HybridAttentionKernels& kernels() {
#if defined(__x86_64__)
    if (isa() == Isa::avx512)
        return f32_hybrid_attention__avx512;
    if (isa() == Isa::avx2)
        return f32_hybrid_attention__avx2;
#endif
    return f32_hybrid_attention__scalar;
}

/* Tokens in blocks of a window: near are the block before, the own one and, if not causal, the one after. */
struct Terrace {
    int64_t tokens, window;
    bool causal;

    int64_t blocks() const { return (tokens + window - 1) / window; }
    int64_t first(int64_t block) const { return std::clamp<int64_t>(block * window, 0, tokens); }
    int64_t length(int64_t block) const { return first(block + 1) - first(block); }
    int64_t near_from(int64_t block) const { return first(block - 1); }
    int64_t near_to(int64_t block) const { return first(block + (causal ? 1 : 2)); }
    bool has_far(int64_t block) const { return block > 1 || (!causal && block + 2 < blocks()); }
};

void add(const float* x, int64_t count, float* y) {
    for (int64_t i = 0; i < count; i++)
        y[i] += x[i];
}

/* From the states of single blocks the states of all that is far from each: sums from both ends, since the difference
 * of the sum of all and of what is near would lose digits. `sum` is scratch for one state. */
void sum_far(const Terrace& terrace, int64_t size, const float* own, float* far, float* sum) {
    const int64_t blocks = terrace.blocks();
    std::fill_n(sum, size, 0.0f);
    for (int64_t block = 0; block < blocks; block++) {
        if (block > 1)
            add(own + (block - 2) * size, size, sum);
        std::copy_n(sum, size, far + block * size);
    }
    std::fill_n(sum, size, 0.0f);
    for (int64_t block = blocks - 3; block >= 0 && !terrace.causal; block--) {
        add(own + (block + 2) * size, size, sum);
        add(sum, size, far + block * size);
    }
}

void run(const Call& c, const Terrace& terrace, float scale) {
    const int64_t blocks = terrace.blocks(), state = c.state(), all = c.heads() * blocks * state;
    static thread_local std::vector<float> memory;
    float *own = aligned(memory, 2 * all), *far = own + all;
    const bool any_far = terrace.has_far(0) || terrace.has_far(blocks - 1);
    if (any_far) {
        parallel_for(c.heads() * blocks, [&](int64_t task) {
            const int64_t index = task / blocks, block = task % blocks, first = terrace.first(block);
            std::fill_n(own + task * state, state, 0.0f);
            c.kernels.write(c.head, c.side(c.key, "key", index, first), c.value.at(index, first),
                            terrace.length(block), own + task * state, attention_scratch(c.scratch()), {});
        });
        parallel_for(c.heads(), [&](int64_t index) {
            const int64_t offset = index * blocks * state;
            sum_far(terrace, state, own + offset, far + offset, attention_scratch(state));
        });
    }
    const HybridAttentionKernels& hybrid = kernels();
    parallel_for(c.heads() * blocks, [&](int64_t task) {
        const int64_t index = task / blocks, block = task % blocks;
        const int64_t first = terrace.first(block), from = terrace.near_from(block);
        const float gate = 1.0f / (1.0f + std::exp(-c.other("gate")[index % c.query.heads]));
        const Near near{c.key.at(index, from),
                        c.value.at(index, from),
                        c.key.stride(),
                        c.value.stride(),
                        terrace.near_to(block) - from,
                        terrace.causal ? first - from : -1,
                        scale,
                        gate};
        const int64_t floats = c.head.size + near.count + c.head.features + c.head.mapped;
        hybrid.attend(c.head, near, c.side(c.query, "query", index, first), terrace.length(block),
                      terrace.has_far(block) ? far + task * state : nullptr, c.out.at(index, first),
                      attention_scratch(queries_at_once * floats));
    });
}

}  // namespace

void HybridAttention::validate_and_infer_types() {
    OPENVINO_ASSERT(m_window > 0, "edgeopt.HybridAttention: a window of ", m_window);
    set_output_type(0, get_input_element_type(0),
                    attention_shape(get_input_partial_shape(0), get_input_partial_shape(2), m_tokens_first,
                                    m_feature_map));
}

std::shared_ptr<ov::Node> HybridAttention::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    auto copy = std::make_shared<HybridAttention>(*this);
    copy->set_arguments(inputs);
    copy->validate_and_infer_types();
    return copy;
}

bool HybridAttention::visit_attributes(ov::AttributeVisitor& visitor) {
    visitor.on_attribute("feature_map", m_feature_map);
    visitor.on_attribute("roles", m_roles);
    visitor.on_attribute("tokens_first", m_tokens_first);
    visitor.on_attribute("window", m_window);
    visitor.on_attribute("causal", m_causal);
    visitor.on_attribute("scale", m_scale);
    return true;
}

bool HybridAttention::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    const Call c(outputs, inputs, m_roles, m_tokens_first, m_feature_map, 0.0f);
    run(c, {c.query.tokens, m_window, m_causal != 0}, m_scale);
    return true;
}

}  // namespace edgeopt
