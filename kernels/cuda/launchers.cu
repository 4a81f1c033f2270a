// All launchers in one library, for ctypes.
#include "binary_linear.cuh"
#include "flow_attention.cuh"
#include "fp4_linear.cuh"
#include "linear_attention.cuh"
#include "rms_norm.cuh"

// `inline` alone would leave them out: nothing here calls them.
extern "C" {
__attribute__((used)) void* const eo_launchers[] = {
    reinterpret_cast<void*>(eo_linear_attention),
    reinterpret_cast<void*>(eo_linear_attention_step),
    reinterpret_cast<void*>(eo_linear_attention_workspace),
    reinterpret_cast<void*>(eo_rms_norm),
    reinterpret_cast<void*>(eo_fp4_linear),
    reinterpret_cast<void*>(eo_binary_linear),
    reinterpret_cast<void*>(eo_binary_linear_workspace),
    reinterpret_cast<void*>(eo_flow_attention),
    reinterpret_cast<void*>(eo_flow_attention_step),
};
}
