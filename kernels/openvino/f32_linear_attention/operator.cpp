#include "operator.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "../common/memory.h"
#include "../common/parallel.h"
#include "kernel.h"

namespace edgeopt {
namespace {

/* Tokens are cut into parts of a fixed length, so that results do not depend on the number of threads. */
constexpr int64_t tokens_a_task = 512;

const std::map<std::string, FeatureMap> feature_maps{
    {"relu", FeatureMap::relu},
    {"elu", FeatureMap::elu},
    {"taylor", FeatureMap::taylor},
    {"hedgehog-exp", FeatureMap::hedgehog_exp},
    {"hedgehog-split-softmax", FeatureMap::hedgehog_split_softmax},
    {"hedgehog-joint-softmax", FeatureMap::hedgehog_joint_softmax},
};

const LinearAttentionKernels& kernels() {
#if defined(__x86_64__)
    if (isa() == Isa::avx512)
        return f32_linear_attention__avx512;
    if (isa() == Isa::avx2)
        return f32_linear_attention__avx2;
#endif
    return f32_linear_attention__scalar;
}

/* The names of a list, between commas; streams would take longer than the attention of a few tokens. */
std::vector<std::string> split(const std::string& list) {
    std::vector<std::string> found;
    for (size_t first = 0, end; first < list.size(); first = end + 1) {
        end = std::min(list.find(',', first), list.size());
        found.push_back(list.substr(first, end - first));
    }
    return found;
}

bool names(const std::string& list, const std::string& wanted) {
    const auto found = split(list);
    return std::find(found.begin(), found.end(), wanted) != found.end();
}

/* A tensor of four dimensions, its heads before its tokens or after them. */
struct Heads {
    float* data = nullptr;
    int64_t batch, heads, tokens, channels;
    bool tokens_first;

    Heads(const ov::Tensor& tensor, bool tokens_first)
        : data(const_cast<float*>(static_cast<const float*>(tensor.data()))), tokens_first(tokens_first) {
        const ov::Shape& shape = tensor.get_shape();
        batch = shape[0];
        heads = shape[tokens_first ? 2 : 1];
        tokens = shape[tokens_first ? 1 : 2];
        channels = shape[3];
    }

    int64_t stride() const { return tokens_first ? heads * channels : channels; }

    /* Head `index` of all in the batch, from a token on. */
    float* at(int64_t index, int64_t token) const {
        const int64_t before = tokens_first ? index / heads * tokens * heads + index % heads : index * tokens;
        return data + before * channels + token * stride();
    }
};

/* One call: its tensors by role, and what the kernels want to know. */
struct Call {
    Heads query, key, value, out;
    std::map<std::string, const ov::Tensor*> others;
    Head head;
    const LinearAttentionKernels& kernels;

    int64_t heads() const { return query.batch * query.heads; }
    int64_t state() const { return (head.features * (head.values + 1) + 15) / 16 * 16; }
    int64_t scratch() const { return tokens_at_once * (3 * head.features + head.mapped + tokens_at_once); }

    const float* other(const std::string& role, int64_t offset = 0) const {
        const auto found = others.find(role);
        return found == others.end() ? nullptr : static_cast<const float*>(found->second->data()) + offset;
    }

    /* The first rows of a head, which may not exist. */
    Coming coming(const Heads& rows, int64_t index) const {
        if (index == heads())
            return {};
        return {rows.at(index, 0), rows.stride(), std::min(rows.tokens, tokens_at_once), rows.channels};
    }

    Side side(const Heads& tokens, const std::string& role, int64_t index, int64_t first) const {
        const int64_t h = index % tokens.heads;
        return {tokens.at(index, first), tokens.stride(), other(role + "_weight", h * head.size * head.mapped),
                other(role + "_bias", h * head.mapped)};
    }
};

float* scratch(int64_t size) {
    static thread_local std::vector<float> memory;
    return aligned(memory, size);
}

void run_causal(const Call& c) {
    parallel_for(c.heads(), [&](int64_t index) {
        float* state = scratch(c.state() + c.scratch());
        std::fill_n(state, c.state(), 0.0f);
        c.kernels.causal(c.head, c.side(c.query, "query", index, 0), c.side(c.key, "key", index, 0),
                         c.value.at(index, 0), c.key.tokens, state, c.out.at(index, 0), state + c.state());
    });
}

/* Few tokens: a head at once, whose state stays in the first cache. */
void run_heads(const Call& c) {
    parallel_for(c.heads(), [&](int64_t index) {
        float* state = scratch(c.state() + c.scratch());
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
                        std::min(tokens_a_task, c.key.tokens - first), state, scratch(c.scratch()), {});
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
                       states + index * writes * c.state(), c.out.at(index, first), scratch(c.scratch()), {});
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
    const Convolution convolution{grid[0], grid[1], channels, kernel, c.value.stride(), c.out.stride(), by_tap.data(),
                                  c.other("depthwise_bias")};
    const int64_t before = c.value.tokens - grid[0] * grid[1];
    const int64_t rows = std::max<int64_t>(1, tokens_a_task / convolution.width);
    const int64_t parts = (convolution.height + rows - 1) / rows;
    parallel_for(c.heads() * parts, [&](int64_t task) {
        const int64_t index = task / parts, first = task % parts * rows;
        c.kernels.convolve(convolution, c.value.at(index, before), first, std::min(first + rows, convolution.height),
                           c.out.at(index, before),
                           scratch(16 * (rows + kernel) * (convolution.width + kernel)));
    });
}

}  // namespace

void LinearAttention::validate_and_infer_types() {
    OPENVINO_ASSERT(feature_maps.count(m_feature_map), "edgeopt.LinearAttention: no feature map ", m_feature_map);
    const ov::PartialShape query = get_input_partial_shape(0), value = get_input_partial_shape(2);
    if (query.rank().is_dynamic() || value.rank().is_dynamic())
        return set_output_type(0, get_input_element_type(0), ov::PartialShape::dynamic(4));
    OPENVINO_ASSERT(query.size() == 4 && value.size() == 4, "edgeopt.LinearAttention: ", query, " and ", value);
    ov::PartialShape out{query[0], query[1], query[2], value[3]};
    if (names(m_tokens_first, "query") != names(m_tokens_first, "out"))
        std::swap(out[1], out[2]);
    set_output_type(0, get_input_element_type(0), out);
}

std::shared_ptr<ov::Node> LinearAttention::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    auto copy = std::make_shared<LinearAttention>(*this);
    copy->set_arguments(inputs);
    copy->validate_and_infer_types();
    return copy;
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
    const Heads query(inputs[0], names(m_tokens_first, "query")), value(inputs[2], names(m_tokens_first, "value"));
    const bool first = names(m_tokens_first, "out");
    ov::Shape shape{inputs[0].get_shape()[0], size_t(query.heads), size_t(query.tokens), size_t(value.channels)};
    if (first)
        std::swap(shape[1], shape[2]);
    outputs[0].set_shape(shape);
    Call c{query, Heads(inputs[1], names(m_tokens_first, "key")), value, Heads(outputs[0], first), {}, {}, kernels()};
    const std::vector<std::string> roles = split(m_roles);
    for (size_t i = 3; i < std::min(roles.size(), inputs.size()); i++)
        c.others[roles[i]] = &inputs[i];
    const FeatureMap map = feature_maps.at(m_feature_map);
    const int64_t size = query.channels;
    const bool learned = c.others.count("query_weight");
    const int64_t mapped = learned ? c.others.at("query_weight")->get_shape().back() : size;
    const int64_t features = map == FeatureMap::taylor ? 1 + size + size * (size + 1) / 2 : learned ? 2 * mapped : size;
    c.head = {map, size, mapped, features, value.channels, value.stride(), c.out.stride(), m_epsilon};
    if (m_causal)
        run_causal(c);
    else
        std::max(c.key.tokens, c.query.tokens) <= tokens_a_task ? run_heads(c) : run_parts(c);
    if (c.others.count("depthwise"))
        convolve(c, m_grid);
    return true;
}

}  // namespace edgeopt
