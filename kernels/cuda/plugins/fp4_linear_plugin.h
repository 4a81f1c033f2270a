// A linear layer with an FP4 weight as a plug-in: x [..., inputs], weight [outputs, inputs / 2] and scales [outputs,
// inputs / group] as bytes (int8 tensors), bias [outputs].
#pragma once

#include "../fp4_linear.cuh"
#include "plugin.h"

namespace edgeopt {

class Fp4LinearPlugin : public Plugin<Fp4LinearPlugin> {
public:
    struct Attributes {
        float factor;
        int32_t group;
        int32_t scale_kind;
    };
    static constexpr int kFieldCount = 3;
    inline static trt::PluginField const kFields[3] = {
        trt::PluginField("factor", nullptr, trt::PluginFieldType::kFLOAT32, 1),
        trt::PluginField("group", nullptr, trt::PluginFieldType::kINT32, 1),
        trt::PluginField("scale_kind", nullptr, trt::PluginFieldType::kINT32, 1)};

    Fp4LinearPlugin(Identity const& identity, Attributes const& attributes)
        : Plugin(identity), attributes_(attributes) {}

    bool supportsFormatCombination(int32_t at, trt::DynamicPluginTensorDesc const* desc, int32_t,
                                   int32_t) noexcept override {
        bool const is_bytes = at == 1 || at == 2;
        if (is_bytes) {
            return desc[at].desc.type == trt::DataType::kINT8 && desc[at].desc.format == trt::TensorFormat::kLINEAR;
        }
        return is_linear_float(desc[at].desc) && desc[at].desc.type == desc[0].desc.type;
    }
    int32_t getOutputShapes(trt::DimsExprs const* in, int32_t, trt::DimsExprs const*, int32_t, trt::DimsExprs* out,
                            int32_t, trt::IExprBuilder&) noexcept override {
        out[0] = in[0];
        out[0].d[in[0].nbDims - 1] = in[1].d[0];
        return 0;
    }
    int32_t enqueue(trt::PluginTensorDesc const* in, trt::PluginTensorDesc const*, void const* const* inputs,
                    void* const* outputs, void*, cudaStream_t stream) noexcept override {
        trt::Dims const& x = in[0].dims;
        int const last = x.nbDims - 1;
        return eo_fp4_linear(inputs[0], inputs[1], inputs[2], inputs[3], outputs[0], volume(x, 0, last),
                             volume(x, last, x.nbDims), volume(in[1].dims, 0, 1), attributes_.group,
                             attributes_.scale_kind, attributes_.factor, type_code(in[0]), stream);
    }

    Attributes attributes_;
};

}  // namespace edgeopt
