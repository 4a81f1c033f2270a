// A linear layer whose weight is E2M1, two numbers a byte, with a scale for each group along the inputs.
//
//     out[m, n] = sum_k x[m, k] * e2m1(weight[n, k]) * scale(n, k / group) * global + bias[n]
//
// NVFP4 has E4M3 scales, groups of 16 and a global float; MXFP4 has E8M0 scales (powers of two) and groups of 32.
// Shapes: x [rows, inputs], weight [outputs, inputs / 2] (the even input in the low nibble), scales [outputs,
// inputs / group], bias [outputs] or null. A warp computes one output for up to four rows: the weight is read once, which
// is what a decoding step (one row) is bound by. `inputs` is a multiple of 8 and of `group`, `group` of 8.
#pragma once

#include "common.cuh"

enum EoScale { EO_SCALE_E4M3 = 0, EO_SCALE_E8M0 = 1 };

namespace edgeopt {

constexpr int kRows = 4;
constexpr int kNibbles = 8;  // of one 32-bit load

// The three low bits of E2M1 are the top of a half's exponent and mantissa, 2^14 too small.
__device__ inline float from_e2m1(uint32_t nibble) {
    const uint16_t bits = static_cast<uint16_t>((nibble & 7u) << 9 | (nibble & 8u) << 12);
    return __half2float(__ushort_as_half(bits)) * 16384.f;
}

// The seven low bits of E4M3 are a half's without its two top exponent bits, 2^8 too small. 0x7f is NaN in E4M3.
__device__ inline float from_e4m3(uint32_t byte) {
    const uint16_t bits = static_cast<uint16_t>((byte & 0x7fu) << 7 | (byte & 0x80u) << 8);
    return __half2float(__ushort_as_half(bits)) * 256.f;
}

__device__ inline float from_e8m0(uint32_t byte) { return exp2f(static_cast<float>(byte) - 127.f); }

template <typename T>
__device__ void fp4_linear_rows_of(const T* x, const uint32_t* weight, const uint8_t* scales, const T* bias, T* out,
                                   int rows, int inputs, int outputs, int group, int scale_kind, float global) {
    const int lane = threadIdx.x % kWarp, output = blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp;
    const int first = blockIdx.y * kRows;
    if (output >= outputs) return;  // a whole warp leaves
    float sum[kRows] = {};
    const uint32_t* own = weight + static_cast<size_t>(output) * inputs / kNibbles;
    for (int word = lane; word < inputs / kNibbles; word += kWarp) {
        const uint32_t packed = own[word];
        const uint32_t byte = scales[static_cast<size_t>(output) * (inputs / group) + word * kNibbles / group];
        const float scale = scale_kind == EO_SCALE_E8M0 ? from_e8m0(byte) : from_e4m3(byte);
        float part[kRows] = {};
        for (int i = 0; i < kNibbles; ++i) {
            const float w = from_e2m1(packed >> (4 * i) & 15u);
            for (int r = 0; r < kRows; ++r) {
                if (first + r < rows)
                    part[r] += w * load(x, static_cast<size_t>(first + r) * inputs + word * kNibbles + i);
            }
        }
        for (int r = 0; r < kRows; ++r) sum[r] += scale * part[r];
    }
    for (int r = 0; r < kRows; ++r) {
        const float total = warp_sum(sum[r]) * global;
        if (lane == 0 && first + r < rows) {
            const float shift = bias == nullptr ? 0.f : load(bias, output);
            store(out, static_cast<size_t>(first + r) * outputs + output, total + shift);
        }
    }
}

template <typename T>
__global__ void fp4_linear(const T* x, const uint32_t* weight, const uint8_t* scales, const T* bias, T* out, int rows,
                           int inputs, int outputs, int group, int scale_kind, float global) {
    fp4_linear_rows_of(x, weight, scales, bias, out, rows, inputs, outputs, group, scale_kind, global);
}

template <typename T>
int fp4_linear_rows(const void* x, const void* weight, const void* scales, const void* bias, void* out, int rows,
                    int inputs, int outputs, int group, int scale_kind, float global, cudaStream_t stream) {
    const int warps = kThreads / kWarp;
    const dim3 grid((outputs + warps - 1) / warps, (rows + kRows - 1) / kRows);
    EO_LAUNCH(fp4_linear<T>, grid, dim3(kThreads), 0, stream, static_cast<const T*>(x),
              static_cast<const uint32_t*>(weight), static_cast<const uint8_t*>(scales), static_cast<const T*>(bias),
              static_cast<T*>(out), rows, inputs, outputs, group, scale_kind, global);
    return last_error();
}

}  // namespace edgeopt

extern "C" inline int eo_fp4_linear(const void* x, const void* weight, const void* scales, const void* bias, void* out,
                                    int rows, int inputs, int outputs, int group, int scale_kind, float global,
                                    int type, cudaStream_t stream) {
    if (group % edgeopt::kNibbles || inputs % group) return static_cast<int>(cudaErrorInvalidValue);
    return type == EO_HALF ? edgeopt::fp4_linear_rows<__half>(x, weight, scales, bias, out, rows, inputs, outputs,
                                                              group, scale_kind, global, stream)
                           : edgeopt::fp4_linear_rows<float>(x, weight, scales, bias, out, rows, inputs, outputs, group,
                                                             scale_kind, global, stream);
}
