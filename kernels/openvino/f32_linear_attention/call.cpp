#include "call.h"

#include <algorithm>

#include "../common/memory.h"

namespace edgeopt {
namespace {

const std::map<std::string, FeatureMap> feature_maps{
    {"relu", FeatureMap::relu},
    {"elu", FeatureMap::elu},
    {"taylor", FeatureMap::taylor},
    {"hedgehog-exp", FeatureMap::hedgehog_exp},
    {"hedgehog-split-softmax", FeatureMap::hedgehog_split_softmax},
    {"hedgehog-joint-softmax", FeatureMap::hedgehog_joint_softmax},
};

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

ov::Tensor& shaped(ov::Tensor& out, const Heads& query, const Heads& value, bool tokens_first) {
    ov::Shape shape{size_t(query.batch), size_t(query.heads), size_t(query.tokens), size_t(value.channels)};
    if (tokens_first)
        std::swap(shape[1], shape[2]);
    out.set_shape(shape);
    return out;
}

}  // namespace

Call::Call(ov::TensorVector& outputs, const ov::TensorVector& inputs, const std::string& roles,
           const std::string& tokens_first, const std::string& feature_map, float epsilon)
    : query(inputs[0], names(tokens_first, "query")),
      key(inputs[1], names(tokens_first, "key")),
      value(inputs[2], names(tokens_first, "value")),
      out(shaped(outputs[0], query, value, names(tokens_first, "out")), names(tokens_first, "out")),
      kernels(EDGEOPT_KERNELS(f32_linear_attention)) {
    const std::vector<std::string> named = split(roles);
    for (size_t i = 3; i < std::min(named.size(), inputs.size()); i++)
        others[named[i]] = &inputs[i];
    const FeatureMap map = feature_maps.at(feature_map);
    const int64_t size = query.channels;
    const bool learned = others.count("query_weight");
    const int64_t mapped = learned ? others.at("query_weight")->get_shape().back() : size;
    const int64_t features = map == FeatureMap::taylor ? 1 + size + size * (size + 1) / 2 : learned ? 2 * mapped : size;
    head = {map, size, mapped, features, value.channels, value.stride(), out.stride(), epsilon};
}

const float* Call::other(const std::string& role, int64_t offset) const {
    const auto found = others.find(role);
    return found == others.end() ? nullptr : static_cast<const float*>(found->second->data()) + offset;
}

Side Call::side(const Heads& tokens, const std::string& role, int64_t index, int64_t first) const {
    const int64_t h = index % tokens.heads;
    return {tokens.at(index, first), tokens.stride(), other(role + "_weight", h * head.size * head.mapped),
            other(role + "_bias", h * head.mapped)};
}

Coming Call::coming(const Heads& rows, int64_t index) const {
    if (index == heads())
        return {};
    return {rows.at(index, 0), rows.stride(), std::min(rows.tokens, tokens_at_once), rows.channels};
}

float* attention_scratch(int64_t size) {
    static thread_local std::vector<float> memory;
    return aligned(memory, size);
}

ov::PartialShape attention_shape(const ov::PartialShape& query, const ov::PartialShape& value,
                                 const std::string& tokens_first, const std::string& feature_map) {
    OPENVINO_ASSERT(feature_maps.count(feature_map), "edgeopt: no feature map ", feature_map);
    if (query.rank().is_dynamic() || value.rank().is_dynamic())
        return ov::PartialShape::dynamic(4);
    OPENVINO_ASSERT(query.size() == 4 && value.size() == 4, "edgeopt: attention of ", query, " and ", value);
    ov::PartialShape out{query[0], query[1], query[2], value[3]};
    if (names(tokens_first, "query") != names(tokens_first, "out"))
        std::swap(out[1], out[2]);
    return out;
}

}  // namespace edgeopt
