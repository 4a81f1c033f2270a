// Normalized linear attention on tensor cores: half precision, over all tokens, d = e = D, maps by element.
//
// What `linear_attention.cuh` computes, which is its specification. The two products go through mma.m16n8k16 with
// sums in float32; the denominators are one more column of each, of keys by ones. `sum_states` computes S and z of a
// chunk of keys, `scan_states` their total, `attend_by_mma` the outputs of kMmaTile queries from S and z over the
// number of keys, which keeps them in half's range.
#pragma once

#include "feature_maps.cuh"

namespace edgeopt {

constexpr int kMmaTile = 64;  // tokens that are in shared memory at a time: 16 for each warp
constexpr int kPad = 8;       // halves between rows, so that a warp's reads of a column lie in different banks

#ifdef __CUDACC__
// c += a b, [16, 16] by [16, 8]; who holds what is in the PTX manual under mma.m16n8k16.
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

__device__ inline uint32_t two_halves(__half low, __half high) {
    return static_cast<uint32_t>(__half_as_ushort(low)) | static_cast<uint32_t>(__half_as_ushort(high)) << 16;
}

// A's part of a lane: element (row, column) lies at from[row * by_row + column * by_column].
__device__ inline void load_a(const __half* from, int by_row, int by_column, uint32_t (&a)[4]) {
    const int group = threadIdx.x % kWarp / 4, pair = threadIdx.x % 4 * 2;
    for (int i = 0; i < 4; ++i) {
        const __half* at = from + (group + i % 2 * 8) * by_row + (pair + i / 2 * 8) * by_column;
        a[i] = two_halves(at[0], at[by_column]);
    }
}

// B's part of a lane: element (row, column) lies at from[row * by_row + column].
__device__ inline void load_b(const __half* from, int by_row, uint32_t (&b)[2]) {
    const int group = threadIdx.x % kWarp / 4, pair = threadIdx.x % 4 * 2;
    for (int i = 0; i < 2; ++i) {
        const __half* at = from + (pair + i * 8) * by_row + group;
        b[i] = two_halves(at[0], at[by_row]);
    }
}

__device__ inline float by_element(int map, float x) {
    if (map == EO_MAP_RELU) return fmaxf(x, 0.f);
    return map == EO_MAP_ELU ? (x > 0.f ? x + 1.f : expf(x)) : x;
}

inline bool is_by_element(int map) { return map == EO_MAP_GIVEN || map == EO_MAP_RELU || map == EO_MAP_ELU; }

// Loads features of kMmaTile rows, zero beyond `count`.
template <int D>
__device__ void load_mapped(const __half* from, int count, int map, __half* phi) {
    for (int i = threadIdx.x; i < kMmaTile * D; i += kThreads) {
        const float value = i < count * D ? by_element(map, __half2float(from[i])) : 0.f;
        phi[i / D * (D + kPad) + i % D] = __float2half(value);
    }
}

// The product of a warp's 16 rows of A and all of B's D + 8 columns, over `depth`.
template <int D>
__device__ void multiply(const __half* a, int by_row, int by_column, const __half* b, int depth,
                         float (&sum)[D / 8 + 1][4]) {
    constexpr int kWide = D + 2 * kPad;
    for (int k = 0; k < depth; k += 16) {
        uint32_t left[4];
        load_a(a + k * by_column, by_row, by_column, left);
        for (int n = 0; n <= D / 8; ++n) {
            uint32_t right[2];
            load_b(b + k * kWide + n * 8, kWide, right);
            mma(sum[n], left, right);
        }
    }
}

// S [D, D] and z, as a state [D, D + 1], of `chunk` keys: features by tokens times tokens by values and ones.
template <int D>
__global__ void sum_states(const __half* key, const __half* value, float* states, int keys, int chunk, int map) {
    constexpr int kWide = D + 2 * kPad;
    EO_SHARED(__half, phi);
    __half* v = phi + kMmaTile * (D + kPad);
    const int group = threadIdx.x % kWarp / 4, pair = threadIdx.x % 4 * 2;
    const size_t head = blockIdx.y;
    float* out = states + (head * gridDim.x + blockIdx.x) * D * (D + 1);
    const int end = min(keys, static_cast<int>(blockIdx.x + 1) * chunk);
    for (int rows = 0; rows < D; rows += kMmaTile) {
        const int first_row = rows + static_cast<int>(threadIdx.x / kWarp) * 16;
        float sum[D / 8 + 1][4] = {};
        for (int first = blockIdx.x * chunk; first < end; first += kMmaTile) {
            const int count = min(kMmaTile, end - first);
            const size_t row = head * keys + first;
            __syncthreads();
            load_mapped<D>(key + row * D, count, map, phi);
            for (int i = threadIdx.x; i < kMmaTile * (D + kPad); i += kThreads) {
                const int t = i / (D + kPad), column = i % (D + kPad);
                const float one = column == D ? 1.f : 0.f;
                v[t * kWide + column] = t < count && column < D ? value[(row + t) * D + column] : __float2half(one);
            }
            __syncthreads();
            if (first_row < D) multiply<D>(phi + first_row, 1, D + kPad, v, kMmaTile, sum);
        }
        for (int n = 0; first_row < D && n <= D / 8; ++n) {
            for (int i = 0; i < 4; ++i) {
                const int column = n * 8 + pair + i % 2;
                if (column <= D) out[(first_row + group + i / 2 * 8) * (D + 1) + column] = sum[n][i];
            }
        }
    }
}

template <int D>
__global__ void attend_by_mma(const __half* query, const float* states, __half* out, int queries, int keys, int chunks,
                              int map, float epsilon) {
    constexpr int kWide = D + 2 * kPad;
    EO_SHARED(__half, phi);
    __half* state = phi + kMmaTile * (D + kPad);
    const int group = threadIdx.x % kWarp / 4, pair = threadIdx.x % 4 * 2;
    const int first = blockIdx.x * kMmaTile, count = min(kMmaTile, queries - first);
    const size_t head = blockIdx.y, row = head * queries + first;
    const float* from = states + head * chunks * D * (D + 1);
    load_mapped<D>(query + row * D, count, map, phi);
    for (int i = threadIdx.x; i < D * (D + kPad); i += kThreads) {
        const int feature = i / (D + kPad), column = i % (D + kPad);
        const float value = column <= D ? from[feature * (D + 1) + column] / keys : 0.f;
        state[feature * kWide + column] = __float2half(value);
    }
    __syncthreads();
    const int own = static_cast<int>(threadIdx.x / kWarp) * 16;
    float sum[D / 8 + 1][4] = {};
    multiply<D>(phi + own * (D + kPad), D + kPad, 1, state, D, sum);
    // The denominators are the last column: of rows group and group + 8, in the first lane of four.
    __shared__ float below[kMmaTile];
    for (int i = 0; pair == 0 && i < 2; ++i) below[own + group + 8 * i] = sum[D / 8][2 * i] + epsilon / keys;
    __syncthreads();
    for (int n = 0; n < D / 8; ++n) {
        for (int i = 0; i < 4; ++i) {
            const int t = own + group + i / 2 * 8;
            if (t < count) out[(row + t) * D + n * 8 + pair + i % 2] = __float2half(sum[n][i] / below[t]);
        }
    }
}

}  // namespace edgeopt
