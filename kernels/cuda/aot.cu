// The kernels that TensorRT's ahead-of-time Python plug-ins launch: one kernel each, arguments as TensorRT passes them
// (inputs, 32-bit integers, outputs). Attributes are not among them: EO_* are given when the PTX is compiled.
#include "binary_linear.cuh"
#include "fp4_linear.cuh"
#include "linear_attention_single.cuh"
#include "rms_norm.cuh"

#ifndef EO_EPSILON
#define EO_EPSILON 1e-6f
#endif
#ifndef EO_GLOBAL
#define EO_GLOBAL 1.f
#endif
#ifndef EO_GROUP
#define EO_GROUP 16
#endif
#ifndef EO_SCALE_KIND
#define EO_SCALE_KIND EO_SCALE_E4M3
#endif
#ifndef EO_CAUSAL
#define EO_CAUSAL 0
#endif
#ifndef EO_ELEMENT
#define EO_ELEMENT __half
#endif

extern "C" __global__ void eo_aot_rms_norm(const EO_ELEMENT* x, const EO_ELEMENT* weight, int width, EO_ELEMENT* out) {
    edgeopt::rms_norm_row<EO_ELEMENT>(x, weight, out, width, EO_EPSILON);
}

extern "C" __global__ void eo_aot_fp4_linear(const EO_ELEMENT* x, const uint32_t* weight, const uint8_t* scales,
                                             const EO_ELEMENT* bias, int rows, int inputs, int outputs,
                                             EO_ELEMENT* out) {
    edgeopt::fp4_linear_rows_of<EO_ELEMENT>(x, weight, scales, bias, out, rows, inputs, outputs, EO_GROUP,
                                            EO_SCALE_KIND, EO_GLOBAL);
}

extern "C" __global__ void eo_aot_binary_linear(const EO_ELEMENT* x, const EO_ELEMENT* shift, const uint32_t* weight,
                                                const EO_ELEMENT* scale, const EO_ELEMENT* bias, int rows, int inputs,
                                                int outputs, EO_ELEMENT* out) {
    edgeopt::binary_linear_by_block<EO_ELEMENT>(x, shift, weight, scale, bias, out, rows, inputs, outputs);
}

extern "C" __global__ void eo_aot_linear_attention(const EO_ELEMENT* query, const EO_ELEMENT* key,
                                                   const EO_ELEMENT* value, int queries, int keys, int features, int e,
                                                   EO_ELEMENT* out) {
    edgeopt::attend_by_slice<EO_ELEMENT>(query, key, value, out, queries, keys, features, e, EO_CAUSAL, EO_EPSILON);
}
