// The kernels that TensorRT's ahead-of-time Python plug-ins launch: one kernel each, arguments as TensorRT passes them
// (inputs, 32-bit integers, outputs). Attributes are not among them: EO_* are given when the PTX is compiled.
#include "fp4_linear.cuh"
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
