// What all CUDA kernels share: element types, loads and stores through float, and how a kernel is launched.
//
// Every launcher is `extern "C"`, takes device pointers, starts its kernels on `stream` and returns 0, or the number of
// a CUDA error. No launcher allocates. Elements are of `EoType`; arithmetic is float32 throughout.
#pragma once

#ifdef __CUDACC__
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define EO_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    kernel<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__)
#define EO_SHARED(type, name) extern __shared__ type name[]
#endif

#include <stddef.h>
#include <stdint.h>

enum EoType { EO_FLOAT = 0, EO_HALF = 1 };

namespace edgeopt {

constexpr int kThreads = 128;
constexpr int kWarp = 32;
constexpr size_t kStaticShared = 48 * 1024;  // more has to be asked for

__device__ inline float load(const float* from, size_t index) { return from[index]; }
__device__ inline float load(const __half* from, size_t index) { return __half2float(from[index]); }
__device__ inline void store(float* to, size_t index, float value) { to[index] = value; }
__device__ inline void store(__half* to, size_t index, float value) { to[index] = __float2half(value); }

// Sum over the lanes of a warp; every lane gets it.
__device__ inline float warp_sum(float value) {
    for (int mask = kWarp / 2; mask > 0; mask /= 2) value += __shfl_xor_sync(0xffffffffu, value, mask);
    return value;
}

template <typename Kernel>
int allow_shared(Kernel kernel, size_t bytes) {
    if (bytes <= kStaticShared) return 0;
    return static_cast<int>(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                 cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

inline int last_error() { return static_cast<int>(cudaGetLastError()); }

}  // namespace edgeopt
