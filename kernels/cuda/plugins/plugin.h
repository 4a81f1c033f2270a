// What all plug-ins share: one output of the first input's type, float32 or half in row-major order, attributes that
// are 32 bits each. A plug-in adds its shapes, its workspace and its launch. TensorRT 10.0 and later.
#pragma once

#include <NvInfer.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <new>

namespace edgeopt {

namespace trt = nvinfer1;

// What a plug-in is called; `form` tells the forms of one kernel apart.
struct Identity {
    char const* name;
    char const* version;
    char const* space;
    int form;
};

inline bool is_linear_float(trt::PluginTensorDesc const& desc) {
    bool const is_float = desc.type == trt::DataType::kFLOAT || desc.type == trt::DataType::kHALF;
    return is_float && desc.format == trt::TensorFormat::kLINEAR;
}

inline int type_code(trt::PluginTensorDesc const& desc) { return desc.type == trt::DataType::kHALF ? 1 : 0; }

// Product of the dimensions from `first` up to `last`, without it.
inline int volume(trt::Dims const& dims, int first, int last) {
    int64_t product = 1;
    for (int i = first; i < last; ++i) product *= dims.d[i];
    return static_cast<int>(product);
}

// `Self` names its attributes in `Self::Attributes`, a struct of 32-bit members, and in `Self::kFields`, in its order.
template <typename Self>
class Plugin : public trt::IPluginV3,
               public trt::IPluginV3OneCore,
               public trt::IPluginV3OneBuild,
               public trt::IPluginV3OneRuntime {
public:
    explicit Plugin(Identity const& identity) : identity_(identity) {}

    trt::IPluginCapability* getCapabilityInterface(trt::PluginCapabilityType type) noexcept override {
        switch (type) {
            case trt::PluginCapabilityType::kCORE: return static_cast<trt::IPluginV3OneCore*>(this);
            case trt::PluginCapabilityType::kBUILD: return static_cast<trt::IPluginV3OneBuild*>(this);
            case trt::PluginCapabilityType::kRUNTIME: return static_cast<trt::IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }
    trt::IPluginV3* clone() noexcept override { return new (std::nothrow) Self(static_cast<Self const&>(*this)); }

    char const* getPluginName() const noexcept override { return identity_.name; }
    char const* getPluginVersion() const noexcept override { return identity_.version; }
    char const* getPluginNamespace() const noexcept override { return identity_.space; }

    int32_t getNbOutputs() const noexcept override { return 1; }
    int32_t getOutputDataTypes(trt::DataType* out, int32_t, trt::DataType const* in, int32_t) const noexcept override {
        out[0] = in[0];
        return 0;
    }
    int32_t configurePlugin(trt::DynamicPluginTensorDesc const*, int32_t, trt::DynamicPluginTensorDesc const*,
                            int32_t) noexcept override {
        return 0;
    }
    int32_t onShapeChange(trt::PluginTensorDesc const*, int32_t, trt::PluginTensorDesc const*,
                          int32_t) noexcept override {
        return 0;
    }
    trt::IPluginV3* attachToContext(trt::IPluginResourceContext*) noexcept override { return clone(); }

    trt::PluginFieldCollection const* getFieldsToSerialize() noexcept override {
        for (int i = 0; i < Self::kFieldCount; ++i) {
            fields_[i] = Self::kFields[i];
            fields_[i].data = attribute(i);
            fields_[i].length = 1;
        }
        collection_ = {Self::kFieldCount, fields_};
        return &collection_;
    }

protected:
    Identity identity_;

private:
    void const* attribute(int index) const {
        return reinterpret_cast<char const*>(&static_cast<Self const*>(this)->attributes_) + 4 * index;
    }

    trt::PluginField fields_[4];
    trt::PluginFieldCollection collection_{};
};

// Makes plug-ins of one class from the fields of an ONNX node, or of a serialized engine.
template <typename Self>
class Creator : public trt::IPluginCreatorV3One {
public:
    explicit Creator(Identity const& identity) : identity_(identity), names_{Self::kFieldCount, Self::kFields} {}

    trt::IPluginV3* createPlugin(char const*, trt::PluginFieldCollection const* given,
                                 trt::TensorRTPhase) noexcept override {
        typename Self::Attributes attributes{};
        static_assert(Self::kFieldCount == 0 || sizeof(attributes) == 4 * Self::kFieldCount, "attributes have 32 bits");
        if constexpr (Self::kFieldCount > 0) {
            for (int i = 0; i < Self::kFieldCount; ++i) {
                void const* data = find(*given, Self::kFields[i].name);
                if (data == nullptr) return nullptr;  // an attribute is missing
                std::memcpy(reinterpret_cast<char*>(&attributes) + 4 * i, data, 4);
            }
        }
        return new (std::nothrow) Self(identity_, attributes);
    }
    trt::PluginFieldCollection const* getFieldNames() noexcept override { return &names_; }
    char const* getPluginName() const noexcept override { return identity_.name; }
    char const* getPluginVersion() const noexcept override { return identity_.version; }
    char const* getPluginNamespace() const noexcept override { return identity_.space; }

private:
    static void const* find(trt::PluginFieldCollection const& given, char const* name) {
        for (int i = 0; i < given.nbFields; ++i) {
            if (std::strcmp(given.fields[i].name, name) == 0) return given.fields[i].data;
        }
        return nullptr;
    }

    Identity identity_;
    trt::PluginFieldCollection names_;
};

}  // namespace edgeopt
