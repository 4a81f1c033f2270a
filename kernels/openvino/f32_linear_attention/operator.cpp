#include "operator.h"

#include <algorithm>

#include "../common/memory.h"
#include "../common/parallel.h"
#include "call.h"

namespace edgeopt {
namespace {

/* Tokens are cut into parts of a fixed length, so that results do not depend on the number of threads. */
constexpr int64_t tokens_a_task = 512;

void run_causal(const Call& c) {
    parallel_for(c.heads(), [&](int64_t index) {
        float* state = attention_scratch(c.state() + c.scratch());
        std::fill_n(state, c.state(), 0.0f);
        c.kernels.causal(c.head, c.side(c.query, "query", index, 0), c.side(c.key, "key", index, 0),
                         c.value.at(index, 0), c.key.tokens, state, c.out.at(index, 0), state + c.state());
    });
}

/* Few tokens: a head at once, whose state stays in the first cache. */
void run_heads(const Call& c) {
    parallel_for(c.heads(), [&](int64_t index) {
        float* state = attention_scratch(c.state() + c.scratch());
        std::fill_n(state, c.state(), 0.0f);
        c.kernels.write(c.head, c.side(c.key, "key", index, 0), c.value.at(index, 0), c.key.tokens, state,
                        state + c.state(), {c.coming(c.query, index), c.coming(c.out, index)});
        c.kernels.read(c.head, c.side(c.query, "query", index, 0), c.query.tokens, state, c.out.at(index, 0),
                       state + c.state(), {c.coming(c.key, index + 1), c.coming(c.value, index + 1)});
    });
}

void run_parts(const Call& c) {
    const int64_t writes = (c.key.tokens + tokens_a_task - 1) / tokens_a_task;
    const int64_t reads = (c.query.tokens + tokens_a_task - 1) / tokens_a_task;
    static thread_local std::vector<float> memory;
    float* states = aligned(memory, c.heads() * writes * c.state());
    parallel_for(c.heads() * writes, [&](int64_t task) {
        const int64_t index = task / writes, first = task % writes * tokens_a_task;
        float* state = states + task * c.state();
        std::fill_n(state, c.state(), 0.0f);
        c.kernels.write(c.head, c.side(c.key, "key", index, first), c.value.at(index, first),
                        std::min(tokens_a_task, c.key.tokens - first), state, attention_scratch(c.scratch()), {});
    });
    for (int64_t index = 0; index < c.heads(); index++)
        for (int64_t part = 1; part < writes; part++) {
            float* sum = states + index * writes * c.state();
            for (int64_t i = 0; i < c.state(); i++)
                sum[i] += sum[part * c.state() + i];
        }
    parallel_for(c.heads() * reads, [&](int64_t task) {
        const int64_t index = task / reads, first = task % reads * tokens_a_task;
        c.kernels.read(c.head, c.side(c.query, "query", index, first), std::min(tokens_a_task, c.query.tokens - first),
                       states + index * writes * c.state(), c.out.at(index, first), attention_scratch(c.scratch()), {});
    });
}

void convolve(const Call& c, const std::vector<int64_t>& grid) {
    const int64_t channels = c.value.channels, kernel = c.others.at("depthwise")->get_shape().back();
    const int64_t taps = kernel * kernel;
    const float* weight = c.other("depthwise");
    std::vector<float> by_tap(taps * channels);
    for (int64_t channel = 0; channel < channels; channel++)
        for (int64_t tap = 0; tap < taps; tap++)
            by_tap[tap * channels + channel] = weight[channel * taps + tap];
    const Convolution convolution{grid[0],          grid[1],        channels,      kernel,
                                  c.value.stride(), c.out.stride(), by_tap.data(), c.other("depthwise_bias")};
    const int64_t before = c.value.tokens - grid[0] * grid[1];
    const int64_t rows = std::max<int64_t>(1, tokens_a_task / convolution.width);
    const int64_t parts = (convolution.height + rows - 1) / rows;
    parallel_for(c.heads() * parts, [&](int64_t task) {
        const int64_t index = task / parts, first = task % parts * rows;
        c.kernels.convolve(convolution, c.value.at(index, before), first, std::min(first + rows, convolution.height),
                           c.out.at(index, before),
                           attention_scratch(16 * (rows + kernel) * (convolution.width + kernel)));
    });
}

}  // namespace

void LinearAttention::validate_and_infer_types() {
    set_output_type(0, get_input_element_type(0),
                    attention_shape(get_input_partial_shape(0), get_input_partial_shape(2), m_tokens_first,
                                    m_feature_map));
}

bool LinearAttention::visit_attributes(ov::AttributeVisitor& visitor) {
    visitor.on_attribute("feature_map", m_feature_map);
    visitor.on_attribute("roles", m_roles);
    visitor.on_attribute("tokens_first", m_tokens_first);
    visitor.on_attribute("grid", m_grid);
    visitor.on_attribute("causal", m_causal);
    visitor.on_attribute("epsilon", m_epsilon);
    return true;
}

bool LinearAttention::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    const Call c(outputs, inputs, m_roles, m_tokens_first, m_feature_map, m_epsilon);
    if (m_causal)
        run_causal(c);
    else
        std::max(c.key.tokens, c.query.tokens) <= tokens_a_task ? run_heads(c) : run_parts(c);
    if (c.others.count("depthwise"))
        convolve(c, m_grid);
    return true;
}

}  // namespace edgeopt
