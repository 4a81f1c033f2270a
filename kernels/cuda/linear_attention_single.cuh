// Linear attention of given features in one launch and without a workspace, for plug-ins that have neither.
//
// A block is a head and `kSlice` columns of its values, and goes through all tokens by itself: first the keys, then
// the queries; causal: tile by tile through both. The state stays in shared memory. A head has as many blocks as slices,
// whatever the tokens: `linear_attention.cuh` keeps more of a GPU busy.
//
// Shapes: query, key [heads, tokens, f], value [heads, tokens, e], out [heads, queries, e].
#pragma once

#include "linear_attention.cuh"

namespace edgeopt {

constexpr int kSlice = 16;

// Loads a tile of rows that are `stride` apart, zero beyond `count` rows and `columns` columns of `width`.
template <typename T>
__device__ void load_slice(const T* from, int count, int columns, int stride, int width, float* rows) {
    for (int i = threadIdx.x; i < kTile * width; i += kThreads) {
        const int row = i / width, column = i % width;
        rows[i] = row < count && column < columns ? load(from, static_cast<size_t>(row) * stride + column) : 0.f;
    }
    __syncthreads();
}

// Shared memory: a state [f, kSlice + 1], two tiles of features, a tile of values, scores and denominators.
template <typename T>
__device__ void attend_by_slice(const T* query, const T* key, const T* value, T* out, int queries, int keys, int f,
                                int e, int causal, float epsilon) {
    EO_SHARED(float, shared);
    const AttentionShape p = {1, queries, keys, f, kSlice, EO_MAP_GIVEN, causal, epsilon};
    float* state = shared;
    float* phi_q = state + p.state();
    float* phi_k = phi_q + kTile * f;
    float* v = phi_k + kTile * f;
    float* scores = v + kTile * kSlice;
    float* below = scores + kTile * kTile;
    const int first_column = blockIdx.x * kSlice, columns = min(kSlice, e - first_column);
    const size_t head = blockIdx.y;
    query += head * queries * f;
    key += head * keys * f;
    value += head * keys * e + first_column;
    out += head * queries * e + first_column;
    for (int i = threadIdx.x; i < p.state(); i += kThreads) state[i] = 0.f;
    __syncthreads();
    for (int first = 0; first < keys; first += kTile) {
        const int count = min(kTile, keys - first);
        const size_t row = first;
        load_slice(key + row * f, count, f, f, f, phi_k);
        load_slice(value + row * e, count, columns, e, kSlice, v);
        if (causal) {
            load_slice(query + row * f, count, f, f, f, phi_q);
            score_tile(phi_q, phi_k, p, scores);
            attend_tile(phi_q, state, scores, v, below, p, count, columns, out + row * e, e);
        }
        add_tile(phi_k, v, p, state);
    }
    for (int first = 0; !causal && first < queries; first += kTile) {
        const int count = min(kTile, queries - first);
        const size_t row = first;
        load_slice(query + row * f, count, f, f, f, phi_q);
        attend_tile(phi_q, state, scores, v, below, p, count, columns, out + row * e, e);
    }
}

}  // namespace edgeopt
