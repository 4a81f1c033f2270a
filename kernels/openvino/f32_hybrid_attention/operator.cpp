#include "operator.h"

#include <algorithm>
#include <cmath>

#include "../common/memory.h"
#include "../common/parallel.h"
#include "../f32_linear_attention/call.h"
#include "kernel.h"

namespace edgeopt {
namespace {

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

/* The blocks of some heads at a time. */
struct Blocks {
    const Call& c;
    const Terrace& terrace;
    const HybridAttentionKernels& kernels;
    float scale;
    float *own, *far; /* states, of one head after the other */

    Coming coming(const Heads& rows, int64_t head, int64_t block) const {
        if (head == c.heads())
            return {};
        return {rows.at(head, terrace.first(block)), rows.stride(), terrace.length(block), rows.channels};
    }

    /* Keys and values of the block after this one; of the last block the queries of the first. */
    Ahead after_write(int64_t head, int64_t block) const {
        if (block + 1 == terrace.blocks())
            return {coming(c.query, head, 0), coming(c.out, head, 0)};
        return {coming(c.key, head, block + 1), coming(c.value, head, block + 1)};
    }

    /* Queries of the block after this one; of the last block the keys of the next head. */
    Ahead after_attend(int64_t head, int64_t block) const {
        if (block + 1 == terrace.blocks())
            return {coming(c.key, head + 1, 0), coming(c.value, head + 1, 0)};
        return {coming(c.query, head, block + 1), coming(c.out, head, block + 1)};
    }

    float* scratch(int64_t near) const {
        return attention_scratch(tokens_a_pass * (c.head.size + c.head.features + c.head.mapped + near));
    }

    void write(int64_t head, int64_t block, float* state) const {
        const int64_t first = terrace.first(block);
        std::fill_n(state, c.state(), 0.0f);
        kernels.write(c.head, c.side(c.key, "key", head, first), c.value.at(head, first), terrace.length(block), state,
                      scratch(0), after_write(head, block));
    }

    void attend(int64_t head, int64_t block, const float* state) const {
        const int64_t first = terrace.first(block), from = terrace.near_from(block);
        const float gate = 1.0f / (1.0f + std::exp(-c.other("gate")[head % c.query.heads]));
        const Near near{c.key.at(head, from),
                        c.value.at(head, from),
                        c.key.stride(),
                        c.value.stride(),
                        terrace.near_to(block) - from,
                        terrace.causal ? first - from : -1,
                        scale,
                        gate};
        kernels.attend(c.head, near, c.side(c.query, "query", head, first), terrace.length(block),
                       terrace.has_far(block) ? state : nullptr, c.out.at(head, first), scratch(near.count),
                       after_attend(head, block));
    }

    void run(int64_t first, int64_t heads) const {
        const int64_t blocks = terrace.blocks(), size = c.state();
        if (terrace.has_far(0) || terrace.has_far(blocks - 1)) {
            parallel_for(heads * blocks,
                         [&](int64_t task) { write(first + task / blocks, task % blocks, own + task * size); });
            parallel_for(heads, [&](int64_t head) {
                const int64_t offset = head * blocks * size;
                sum_far(terrace, size, own + offset, far + offset, attention_scratch(size));
            });
        }
        parallel_for(heads * blocks,
                     [&](int64_t task) { attend(first + task / blocks, task % blocks, far + task * size); });
    }
};

/* As many heads at once as there are threads, so that the states of their blocks stay in the caches. */
void run(const Call& c, const Terrace& terrace, float scale) {
    const int64_t at_once = std::min<int64_t>(threads(), c.heads()), size = at_once * terrace.blocks() * c.state();
    static thread_local std::vector<float> memory;
    float* states = aligned(memory, 2 * size);
    const Blocks blocks{c, terrace, EDGEOPT_KERNELS(f32_hybrid_attention), scale, states, states + size};
    for (int64_t first = 0; first < c.heads(); first += at_once)
        blocks.run(first, std::min(at_once, c.heads() - first));
}

}  // namespace

void HybridAttention::validate_and_infer_types() {
    OPENVINO_ASSERT(m_window > 0, "edgeopt.HybridAttention: a window of ", m_window);
    set_output_type(0, get_input_element_type(0),
                    attention_shape(get_input_partial_shape(0), get_input_partial_shape(2), m_tokens_first,
                                    m_feature_map));
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
