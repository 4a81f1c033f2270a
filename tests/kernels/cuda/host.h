// Runs CUDA kernels on the host, one block after another, so that their arithmetic and their barriers can be tested
// without a GPU. Every thread of a block is a fibre; __syncthreads and warp shuffles switch to the next one.
//
// What it does not show: races between barriers, memory coalescing, and the GPU's own rounding of expf and rsqrtf.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define EO_SHARED(type, name) type* name = reinterpret_cast<type*>(host::shared.data())
#define EO_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    host::launch(grid, block, shared_bytes, stream, [=] { kernel(__VA_ARGS__); })

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline dim3 threadIdx, blockIdx, gridDim;

using cudaStream_t = void*;
constexpr int cudaErrorInvalidValue = 1;
constexpr int cudaFuncAttributeMaxDynamicSharedMemorySize = 8;
inline int cudaGetLastError() { return 0; }
inline int cudaFuncSetAttribute(const void*, int, int bytes) { return bytes <= 99 * 1024 ? 0 : cudaErrorInvalidValue; }

struct __half {
    _Float16 value;
};
inline float __half2float(__half h) { return static_cast<float>(h.value); }
inline __half __float2half(float f) { return {static_cast<_Float16>(f)}; }
inline __half __ushort_as_half(uint16_t bits) {
    __half h;
    __builtin_memcpy(&h, &bits, sizeof bits);
    return h;
}
inline uint16_t __half_as_ushort(__half h) {
    uint16_t bits;
    __builtin_memcpy(&bits, &h, sizeof bits);
    return bits;
}
inline int __popc(uint32_t word) { return __builtin_popcount(word); }
inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }
template <typename T>
T min(T a, T b) {
    return a < b ? a : b;
}

namespace host {

struct Barrier {
    int arrived = 0, generation = 0;
};

inline std::vector<unsigned char> shared;
inline std::vector<ucontext_t> fibres;
inline std::vector<std::unique_ptr<unsigned char[]>> stacks;
inline std::vector<bool> done;
inline ucontext_t scheduler;
inline size_t current;
inline std::function<void()> body;
inline Barrier block_barrier;
inline std::vector<Barrier> warp_barriers;
inline std::vector<float> lanes;

inline void yield() { swapcontext(&fibres[current], &scheduler); }

inline void wait(Barrier& barrier, size_t first, size_t last) {
    int alive = 0;
    for (size_t i = first; i < last; ++i)
        alive += !done[i];
    const int generation = barrier.generation;
    if (++barrier.arrived == alive) {
        barrier.arrived = 0;
        ++barrier.generation;
    } else {
        while (barrier.generation == generation)
            yield();
    }
}

inline void enter() {
    body();
    done[current] = true;
    swapcontext(&fibres[current], &scheduler);
}

inline void run_block(size_t threads) {
    constexpr size_t kStack = 64 * 1024;
    fibres.resize(threads);
    while (stacks.size() < threads)
        stacks.push_back(std::make_unique<unsigned char[]>(kStack));
    done.assign(threads, false);
    block_barrier = {};
    warp_barriers.assign((threads + 31) / 32, {});
    lanes.assign(threads, 0.f);
    for (size_t i = 0; i < threads; ++i) {
        getcontext(&fibres[i]);
        fibres[i].uc_stack.ss_sp = stacks[i].get();
        fibres[i].uc_stack.ss_size = kStack;
        fibres[i].uc_link = nullptr;
        makecontext(&fibres[i], enter, 0);
    }
    for (size_t left = threads; left > 0;) {
        left = 0;
        for (current = 0; current < threads; ++current) {
            if (done[current])
                continue;
            ++left;
            threadIdx.x = static_cast<unsigned>(current);
            swapcontext(&scheduler, &fibres[current]);
        }
    }
}

inline void launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t, std::function<void()> kernel) {
    body = std::move(kernel);
    gridDim = grid;
    // Exactly as much as was asked for: a sanitizer sees what reads beyond it.
    std::vector<unsigned char>(shared_bytes, 0xff).swap(shared);
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y) {
        for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
            run_block(block.x);
    }
}

}  // namespace host

inline void __syncthreads() { host::wait(host::block_barrier, 0, host::done.size()); }

inline float __shfl_xor_sync(unsigned, float value, int mask) {
    const size_t first = host::current / 32 * 32, last = min(first + 32, host::done.size());
    host::Barrier& barrier = host::warp_barriers[first / 32];
    const size_t own = host::current;
    host::lanes[own] = value;
    host::wait(barrier, first, last);
    const float other = host::lanes[first + ((own - first) ^ mask)];
    host::wait(barrier, first, last);
    return other;
}

namespace edgeopt {

// mma.m16n8k16 as the PTX manual lays it out: a lane's group is lane / 4, its pair of columns or rows 2 (lane % 4).
inline void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    static uint32_t all_a[1024][4], all_b[1024][2];
    const size_t own = host::current, first = own / 32 * 32, last = min(first + 32, host::done.size());
    __builtin_memcpy(all_a[own], a, sizeof a);
    __builtin_memcpy(all_b[own], b, sizeof b);
    host::wait(host::warp_barriers[first / 32], first, last);
    const auto half = [](uint32_t word, int k) {
        return __half2float(__ushort_as_half(static_cast<uint16_t>(word >> (k % 2 * 16))));
    };
    const size_t lane = own - first;
    for (int i = 0; i < 4; ++i) {
        const size_t row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; ++k) {
            const size_t pair = k % 8 / 2;
            const uint32_t left = all_a[first + row % 8 * 4 + pair][row / 8 + k / 8 * 2];
            const uint32_t right = all_b[first + column * 4 + pair][k / 8];
            c[i] += half(left, k) * half(right, k);
        }
    }
    host::wait(host::warp_barriers[first / 32], first, last);
}

}  // namespace edgeopt
