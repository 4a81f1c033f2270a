// Linear attention as a plug-in: query and key [batch, heads, tokens, features], value [batch, heads, tokens, e].
// The features are computed before it, by operators that TensorRT fuses with what precedes them. Form 1 is causal.
#pragma once

#include "../linear_attention.cuh"
#include "plugin.h"

namespace edgeopt {

class LinearAttentionPlugin : public Plugin<LinearAttentionPlugin> {
public:
    struct Attributes {
        float epsilon;
    };
    static constexpr int kFieldCount = 1;
    inline static trt::PluginField const kFields[1] = {
        trt::PluginField("epsilon", nullptr, trt::PluginFieldType::kFLOAT32, 1)};

    LinearAttentionPlugin(Identity const& identity, Attributes const& attributes)
        : Plugin(identity), attributes_(attributes) {}

    bool supportsFormatCombination(int32_t at, trt::DynamicPluginTensorDesc const* desc, int32_t,
                                   int32_t) noexcept override {
        return is_linear_float(desc[at].desc) && desc[at].desc.type == desc[0].desc.type;
    }
    int32_t getOutputShapes(trt::DimsExprs const* in, int32_t, trt::DimsExprs const*, int32_t, trt::DimsExprs* out,
                            int32_t, trt::IExprBuilder&) noexcept override {
        out[0] = in[0];
        out[0].d[3] = in[2].d[3];
        return 0;
    }
    size_t getWorkspaceSize(trt::DynamicPluginTensorDesc const* in, int32_t, trt::DynamicPluginTensorDesc const*,
                            int32_t) const noexcept override {
        trt::Dims const &key = in[1].max, &value = in[2].max;
        return eo_linear_attention_workspace(volume(key, 0, 2), volume(key, 2, 3), volume(key, 3, 4),
                                             volume(value, 3, 4), EO_MAP_GIVEN);
    }
    int32_t enqueue(trt::PluginTensorDesc const* in, trt::PluginTensorDesc const*, void const* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        trt::Dims const &query = in[0].dims, &key = in[1].dims, &value = in[2].dims;
        return eo_linear_attention(inputs[0], inputs[1], inputs[2], outputs[0], workspace, volume(query, 0, 2),
                                   volume(query, 2, 3), volume(key, 2, 3), volume(query, 3, 4), volume(value, 3, 4),
                                   EO_MAP_GIVEN, identity_.form, attributes_.epsilon, type_code(in[0]), stream);
    }

    Attributes attributes_;
};

}  // namespace edgeopt
