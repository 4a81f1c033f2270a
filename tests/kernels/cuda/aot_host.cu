// The kernels of the ahead-of-time plug-ins on the host, launched as a plug-in says: grid x and y, threads, shared bytes.
#include "aot.cu"

#define RUN(kernel, ...) EO_LAUNCH(kernel, dim3(launch[0], launch[1]), dim3(launch[2]), launch[3], nullptr, __VA_ARGS__)

namespace {
const EO_ELEMENT* element(const void* pointer) { return static_cast<const EO_ELEMENT*>(pointer); }
const uint32_t* word(const void* pointer) { return static_cast<const uint32_t*>(pointer); }
}  // namespace

extern "C" void run_eo_aot_linear_attention(const int* launch, const void* const* in, const int* n, EO_ELEMENT* out) {
    RUN(eo_aot_linear_attention, element(in[0]), element(in[1]), element(in[2]), n[0], n[1], n[2], n[3], out);
}

extern "C" void run_eo_aot_rms_norm(const int* launch, const void* const* in, const int* n, EO_ELEMENT* out) {
    RUN(eo_aot_rms_norm, element(in[0]), element(in[1]), n[0], out);
}

extern "C" void run_eo_aot_fp4_linear(const int* launch, const void* const* in, const int* n, EO_ELEMENT* out) {
    const uint8_t* scales = static_cast<const uint8_t*>(in[2]);
    RUN(eo_aot_fp4_linear, element(in[0]), word(in[1]), scales, element(in[3]), n[0], n[1], n[2], out);
}

extern "C" void run_eo_aot_binary_linear(const int* launch, const void* const* in, const int* n, EO_ELEMENT* out) {
    RUN(eo_aot_binary_linear, element(in[0]), element(in[1]), word(in[2]), element(in[3]), element(in[4]), n[0], n[1],
        n[2], out);
}
