// A linear layer of signs as a plug-in: x [..., inputs], shift [inputs], weight [outputs, words] (int32 tensor), scale
// and bias [outputs].
#pragma once

#include "../binary_linear.cuh"
#include "plugin.h"

namespace edgeopt {

class BinaryLinearPlugin : public Plugin<BinaryLinearPlugin> {
public:
    struct Attributes {};
    static constexpr int kFieldCount = 0;
    inline static trt::PluginField const* const kFields = nullptr;

    BinaryLinearPlugin(Identity const& identity, Attributes const& attributes)
        : Plugin(identity), attributes_(attributes) {}

    bool supportsFormatCombination(int32_t at, trt::DynamicPluginTensorDesc const* desc, int32_t,
                                   int32_t) noexcept override {
        trt::PluginTensorDesc const& own = desc[at].desc;
        if (own.format != trt::TensorFormat::kLINEAR) return false;
        if (at == 2) return own.type == trt::DataType::kINT32;
        return is_linear_float(own) && own.type == desc[0].desc.type;
    }
    int32_t getOutputShapes(trt::DimsExprs const* in, int32_t, trt::DimsExprs const*, int32_t, trt::DimsExprs* out,
                            int32_t, trt::IExprBuilder&) noexcept override {
        out[0] = in[0];
        out[0].d[in[0].nbDims - 1] = in[2].d[0];
        return 0;
    }
    size_t getWorkspaceSize(trt::DynamicPluginTensorDesc const* in, int32_t, trt::DynamicPluginTensorDesc const*,
                            int32_t) const noexcept override {
        trt::Dims const& x = in[0].max;
        return eo_binary_linear_workspace(volume(x, 0, x.nbDims - 1), volume(x, x.nbDims - 1, x.nbDims));
    }
    int32_t enqueue(trt::PluginTensorDesc const* in, trt::PluginTensorDesc const*, void const* const* inputs,
                    void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        trt::Dims const& x = in[0].dims;
        int const last = x.nbDims - 1;
        return eo_binary_linear(inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], outputs[0], workspace,
                                volume(x, 0, last), volume(x, last, x.nbDims), volume(in[2].dims, 0, 1),
                                type_code(in[0]), stream);
    }

    Attributes attributes_;
};

}  // namespace edgeopt
