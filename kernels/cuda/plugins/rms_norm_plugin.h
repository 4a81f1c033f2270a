// The root mean square norm of the last dimension as a plug-in: x [..., width], weight [width].
#pragma once

#include "../rms_norm.cuh"
#include "plugin.h"

namespace edgeopt {

class RmsNormPlugin : public Plugin<RmsNormPlugin> {
public:
    struct Attributes {
        float epsilon;
    };
    static constexpr int kFieldCount = 1;
    inline static trt::PluginField const kFields[1] = {
        trt::PluginField("epsilon", nullptr, trt::PluginFieldType::kFLOAT32, 1)};

    RmsNormPlugin(Identity const& identity, Attributes const& attributes) : Plugin(identity), attributes_(attributes) {}

    bool supportsFormatCombination(int32_t at, trt::DynamicPluginTensorDesc const* desc, int32_t,
                                   int32_t) noexcept override {
        return is_linear_float(desc[at].desc) && desc[at].desc.type == desc[0].desc.type;
    }
    int32_t getOutputShapes(trt::DimsExprs const* in, int32_t, trt::DimsExprs const*, int32_t, trt::DimsExprs* out,
                            int32_t, trt::IExprBuilder&) noexcept override {
        out[0] = in[0];
        return 0;
    }
    int32_t enqueue(trt::PluginTensorDesc const* in, trt::PluginTensorDesc const*, void const* const* inputs,
                    void* const* outputs, void*, cudaStream_t stream) noexcept override {
        trt::Dims const& x = in[0].dims;
        int const last = x.nbDims - 1;
        return eo_rms_norm(inputs[0], inputs[1], outputs[0], volume(x, 0, last), volume(x, last, x.nbDims),
                           attributes_.epsilon, type_code(in[0]), stream);
    }

    Attributes attributes_;
};

}  // namespace edgeopt
