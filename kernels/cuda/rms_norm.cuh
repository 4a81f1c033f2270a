// Root mean square norm of rows: out = x / sqrt(mean(x^2) + epsilon) * weight, squares summed in float32.
//
// Shapes: x, out [rows, width], weight [width] or null. A block is a row. Source: B. Zhang, R. Sennrich, Root Mean
// Square Layer Normalization, NeurIPS 2019.
#pragma once

#include "common.cuh"

namespace edgeopt {

template <typename T>
__device__ void rms_norm_row(const T* x, const T* weight, T* out, int width, float epsilon) {
    __shared__ float partial[kThreads / kWarp];
    const size_t row = static_cast<size_t>(blockIdx.x) * width;
    float sum = 0.f;
    for (int i = threadIdx.x; i < width; i += kThreads) {
        const float value = load(x, row + i);
        sum += value * value;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = sum;
    __syncthreads();
    sum = 0.f;
    for (int warp = 0; warp < kThreads / kWarp; ++warp) sum += partial[warp];
    const float scale = rsqrtf(sum / width + epsilon);
    for (int i = threadIdx.x; i < width; i += kThreads) {
        const float gain = weight == nullptr ? scale : scale * load(weight, i);
        store(out, row + i, load(x, row + i) * gain);
    }
}

template <typename T>
__global__ void rms_norm(const T* x, const T* weight, T* out, int width, float epsilon) {
    rms_norm_row(x, weight, out, width, epsilon);
}

template <typename T>
int rms_norm_rows(const void* x, const void* weight, void* out, int rows, int width, float epsilon,
                  cudaStream_t stream) {
    EO_LAUNCH(rms_norm<T>, dim3(rows), dim3(kThreads), 0, stream, static_cast<const T*>(x),
              static_cast<const T*>(weight), static_cast<T*>(out), width, epsilon);
    return last_error();
}

}  // namespace edgeopt

extern "C" inline int eo_rms_norm(const void* x, const void* weight, void* out, int rows, int width, float epsilon,
                                  int type, cudaStream_t stream) {
    return type == EO_HALF ? edgeopt::rms_norm_rows<__half>(x, weight, out, rows, width, epsilon, stream)
                           : edgeopt::rms_norm_rows<float>(x, weight, out, rows, width, epsilon, stream);
}
