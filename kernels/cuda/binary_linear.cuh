// A linear layer of signs: weights and activations are +1 or -1, packed 32 to a word, the least bit first.
//
//     out[m, n] = (inputs - 2 popcount(x_bits[m] ^ weight[n])) * scale[n] + bias[n]
//
// A set bit is a value that is not negative (zero counts as +1). Words are padded with bits that are equal on both
// sides. `eo_pack_signs` packs activations, with a shift for each input that is added before the sign is taken.
// Shapes: x [rows, inputs], shift [inputs] or null, bits [rows, words], weight [outputs, words], scale [outputs],
// bias [outputs] or null, out [rows, outputs], words = ceil(inputs / 32).
#pragma once

#include "common.cuh"

namespace edgeopt {

constexpr int kRowsEach = 4;
constexpr int kOutputsEach = 64;

// Packs the signs of inputs `first` to `first + 32` of a row.
template <typename T>
__device__ uint32_t sign_word(const T* x, const T* shift, size_t row, int first, int inputs) {
    uint32_t word = 0;
    for (int i = 0; i < 32 && first + i < inputs; ++i) {
        const float value = load(x, row * inputs + first + i) + (shift == nullptr ? 0.f : load(shift, first + i));
        word |= (value >= 0.f ? 1u : 0u) << i;
    }
    return word;
}

template <typename T>
__global__ void pack_binary(const T* x, const T* shift, uint32_t* bits, int inputs, int words, int total) {
    const int index = blockIdx.x * kThreads + threadIdx.x;
    if (index >= total) return;
    bits[index] = sign_word(x, shift, index / words, index % words * 32, inputs);
}

// A warp computes one output of `count` rows, at most kRowsEach, whose bits lie one after another.
template <typename T>
__device__ void binary_output(const uint32_t* bits, const uint32_t* weight, const T* scale, const T* bias, T* out,
                              size_t row, int count, int output, int inputs, int outputs, int words) {
    const int lane = threadIdx.x % kWarp;
    int differing[kRowsEach] = {};
    for (int word = lane; word < words; word += kWarp) {
        const uint32_t own = weight[static_cast<size_t>(output) * words + word];
        for (int r = 0; r < count; ++r) differing[r] += __popc(own ^ bits[r * words + word]);
    }
    for (int r = 0; r < count; ++r) {
        // Counts up to 2^24 are exact as floats.
        const float sum = warp_sum(static_cast<float>(differing[r]));
        if (lane == 0) {
            const float shift = bias == nullptr ? 0.f : load(bias, output);
            store(out, (row + r) * outputs + output, (inputs - 2.f * sum) * load(scale, output) + shift);
        }
    }
}

template <typename T>
__global__ void binary_linear(const uint32_t* bits, const uint32_t* weight, const T* scale, const T* bias, T* out,
                              int rows, int inputs, int outputs, int words) {
    const int output = blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp;
    const int row = blockIdx.y * kRowsEach, count = min(kRowsEach, rows - row);
    if (output >= outputs) return;  // a whole warp leaves
    binary_output(bits + static_cast<size_t>(row) * words, weight, scale, bias, out, row, count, output, inputs,
                  outputs, words);
}

// The layer in one launch and without a workspace, for plug-ins that have neither: a block packs kRowsEach rows into
// shared memory and computes kOutputsEach outputs of them, so that every row is packed outputs / kOutputsEach times.
template <typename T>
__device__ void binary_linear_by_block(const T* x, const T* shift, const uint32_t* weight, const T* scale,
                                       const T* bias, T* out, int rows, int inputs, int outputs) {
    EO_SHARED(uint32_t, bits);
    const int words = (inputs + 31) / 32, row = blockIdx.y * kRowsEach, count = min(kRowsEach, rows - row);
    for (int i = threadIdx.x; i < count * words; i += kThreads) {
        bits[i] = sign_word(x, shift, row + i / words, i % words * 32, inputs);
    }
    __syncthreads();
    const int end = min(outputs, static_cast<int>(blockIdx.x + 1) * kOutputsEach);
    for (int output = blockIdx.x * kOutputsEach + threadIdx.x / kWarp; output < end; output += kThreads / kWarp) {
        binary_output(bits, weight, scale, bias, out, row, count, output, inputs, outputs, words);
    }
}

template <typename T>
int binary_linear_rows(const void* x, const void* shift, const void* weight, const void* scale, const void* bias,
                       void* out, void* workspace, int rows, int inputs, int outputs, cudaStream_t stream) {
    const int words = (inputs + 31) / 32, total = rows * words, warps = kThreads / kWarp;
    uint32_t* bits = static_cast<uint32_t*>(workspace);
    EO_LAUNCH(pack_binary<T>, dim3((total + kThreads - 1) / kThreads), dim3(kThreads), 0, stream,
              static_cast<const T*>(x), static_cast<const T*>(shift), bits, inputs, words, total);
    const dim3 grid((outputs + warps - 1) / warps, (rows + kRowsEach - 1) / kRowsEach);
    EO_LAUNCH(binary_linear<T>, grid, dim3(kThreads), 0, stream, bits, static_cast<const uint32_t*>(weight),
              static_cast<const T*>(scale), static_cast<const T*>(bias), static_cast<T*>(out), rows, inputs, outputs,
              words);
    return last_error();
}

}  // namespace edgeopt

// Bytes of workspace that `eo_binary_linear` wants: the packed activations.
extern "C" inline size_t eo_binary_linear_workspace(int rows, int inputs) {
    return static_cast<size_t>(rows) * ((inputs + 31) / 32) * sizeof(uint32_t);
}

extern "C" inline int eo_binary_linear(const void* x, const void* shift, const void* weight, const void* scale,
                                       const void* bias, void* out, void* workspace, int rows, int inputs, int outputs,
                                       int type, cudaStream_t stream) {
    return type == EO_HALF ? edgeopt::binary_linear_rows<__half>(x, shift, weight, scale, bias, out, workspace, rows,
                                                                 inputs, outputs, stream)
                           : edgeopt::binary_linear_rows<float>(x, shift, weight, scale, bias, out, workspace, rows,
                                                                inputs, outputs, stream);
}
