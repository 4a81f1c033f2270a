// Linear attention over all tokens, causal, and one token at a time: normalized, or inline (EO_MAP_INLINE).
//
//     normalized   out_i = phi(q_i) S / (phi(q_i) . z + epsilon),   S = sum_j phi(k_j)^T v_j,   z = sum_j phi(k_j)
//     inline       out_i = c/n q_i S + (1 - c/n q_i . z) v,   c = d^(-1/2),   v the mean of v_j, n the number of keys
//
// Inline, a key has one more feature, 1, whose row of the state is the sum of values and n; queries do not read it.
// with j over all tokens, or over those up to i (causal). Tokens are cut into chunks: `chunk_states` sums S and z of
// each, `scan_states` turns them into what comes before each chunk (causal) or into the total, `attend` reads queries
// tile by tile and, where causal, carries the state through its chunk. Time and memory are linear in the tokens.
//
// Shapes: query, key [heads, tokens, d], value [heads, tokens, e], out [heads, queries, e], where heads counts those of
// the whole batch. A state is [features, e + 1] floats: S, and z as its last column.
#pragma once

#include "feature_maps.cuh"
#include "linear_attention_mma.cuh"

namespace edgeopt {

constexpr int kTile = 32;       // tokens that are in shared memory at a time
constexpr int kChunk = 4 * 32;  // tokens of one state

struct AttentionShape {
    int heads, queries, keys, d, e, map, causal;
    float epsilon;
    __host__ __device__ int f() const { return features(map, d); }
    __host__ __device__ int read() const { return map == EO_MAP_INLINE ? d : f(); }  // features that queries read
    __host__ __device__ int state() const { return f() * (e + 1); }
    __host__ __device__ int chunks() const { return (keys + kChunk - 1) / kChunk; }
    __host__ __device__ int wide() const { return d > e ? d : e; }
};

// Loads a tile of rows, zero beyond `count`, and leaves their features in `phi`. `raw` is scratch.
template <typename T>
__device__ void load_features(const T* from, int count, const AttentionShape& p, float* raw, float* phi) {
    __shared__ RowStatistics statistics[kTile];
    const int f = p.f();
    for (int i = threadIdx.x; i < kTile * p.d; i += kThreads) raw[i] = i < count * p.d ? load(from, i) : 0.f;
    __syncthreads();
    if (threadIdx.x < kTile) statistics[threadIdx.x] = row_statistics(p.map, raw + threadIdx.x * p.d, p.d);
    __syncthreads();
    for (int i = threadIdx.x; i < kTile * f; i += kThreads) {
        const int row = i / f;
        phi[i] = row < count ? feature(p.map, raw + row * p.d, i % f, p.d, statistics[row]) : 0.f;
    }
    __syncthreads();
}

template <typename T>
__device__ void load_rows(const T* from, int count, int width, float* rows) {
    for (int i = threadIdx.x; i < kTile * width; i += kThreads) rows[i] = i < count * width ? load(from, i) : 0.f;
    __syncthreads();
}

// Adds a tile's phi(k)^T [v, 1] to a state; every thread owns its elements.
__device__ inline void add_tile(const float* phi, const float* v, const AttentionShape& p, float* state) {
    const int f = p.f(), width = p.e + 1;
    for (int i = threadIdx.x; i < f * width; i += kThreads) {
        const int row = i / width, column = i % width;
        float sum = 0.f;
        for (int t = 0; t < kTile; ++t) sum += phi[t * f + row] * (column < p.e ? v[t * p.e + column] : 1.f);
        state[i] += sum;
    }
    __syncthreads();
}

template <typename T>
__global__ void chunk_states(const T* key, const T* value, float* states, AttentionShape p) {
    EO_SHARED(float, shared);
    float* raw = shared;
    float* phi = raw + kTile * p.wide();
    float* sum = phi + kTile * p.f();
    const int chunk = blockIdx.x, head = blockIdx.y, end = min(p.keys, (chunk + 1) * kChunk);
    for (int i = threadIdx.x; i < p.state(); i += kThreads) sum[i] = 0.f;
    __syncthreads();
    for (int first = chunk * kChunk; first < end; first += kTile) {
        const int count = min(kTile, end - first);
        const size_t row = static_cast<size_t>(head) * p.keys + first;
        load_features(key + row * p.d, count, p, raw, phi);
        load_rows(value + row * p.e, count, p.e, raw);
        add_tile(phi, raw, p, sum);
    }
    float* out = states + (static_cast<size_t>(head) * p.chunks() + chunk) * p.state();
    for (int i = threadIdx.x; i < p.state(); i += kThreads) out[i] = sum[i];
}

// Turns the chunks' sums into what comes before each; not causal: leaves the total in the first.
__global__ void scan_states(float* states, AttentionShape p) {
    const int i = blockIdx.x * kThreads + threadIdx.x;
    if (i >= p.state()) return;
    float* element = states + static_cast<size_t>(blockIdx.y) * p.chunks() * p.state() + i;
    float before = 0.f;
    for (int chunk = 0; chunk < p.chunks(); ++chunk) {
        float* own = element + static_cast<size_t>(chunk) * p.state();
        const float sum = *own;
        if (p.causal) *own = before;
        before += sum;
    }
    if (!p.causal) *element = before;
}

// Products of a tile's queries and keys, zero above the diagonal.
__device__ inline void score_tile(const float* phi_q, const float* phi_k, const AttentionShape& p, float* scores) {
    const int f = p.f();
    for (int i = threadIdx.x; i < kTile * kTile; i += kThreads) {
        const int t = i / kTile, j = i % kTile;
        float dot = 0.f;
        for (int c = 0; j <= t && c < p.read(); ++c) dot += phi_q[t * f + c] * phi_k[j * f + c];
        scores[i] = dot;
    }
    __syncthreads();
}

// An output from q S, q z + epsilon, and where inline the sum of values and their number.
__device__ inline float result(const AttentionShape& p, float sum, float below, float values, float keys) {
    if (p.map != EO_MAP_INLINE) return sum / below;
    const float scale = rsqrtf(static_cast<float>(p.d)) / keys;
    return scale * sum + (1.f - scale * below) * values / keys;
}

// Attends with a tile of `count` queries and, where causal, with the tile's own keys. `below` is scratch of a tile's
// tokens; `columns` of the values' p.e are written to rows of `out` that are `stride` apart.
template <typename T>
__device__ void attend_tile(const float* phi_q, const float* state, const float* scores, const float* v, float* below,
                            const AttentionShape& p, int count, int columns, T* out, int stride) {
    const int f = p.f(), width = p.e + 1;
    for (int t = threadIdx.x; t < kTile; t += kThreads) {
        float sum = 0.f;
        for (int c = 0; c < p.read(); ++c) sum += phi_q[t * f + c] * state[c * width + p.e];
        for (int j = 0; p.causal && j <= t; ++j) sum += scores[t * kTile + j];
        below[t] = sum + p.epsilon;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count * columns; i += kThreads) {
        const int t = i / columns, column = i % columns;
        float sum = 0.f, values = p.map == EO_MAP_INLINE ? state[p.d * width + column] : 0.f;
        for (int c = 0; c < p.read(); ++c) sum += phi_q[t * f + c] * state[c * width + column];
        for (int j = 0; p.causal && j <= t; ++j) {
            sum += scores[t * kTile + j] * v[j * p.e + column];
            values += v[j * p.e + column];
        }
        const float keys = p.map == EO_MAP_INLINE ? state[p.d * width + p.e] + (p.causal ? t + 1.f : 0.f) : 1.f;
        store(out, static_cast<size_t>(t) * stride + column, result(p, sum, below[t], values, keys));
    }
    __syncthreads();
}

template <typename T>
__global__ void attend(const T* query, const T* key, const T* value, const float* states, T* out, AttentionShape p) {
    EO_SHARED(float, shared);
    const int f = p.f();
    float* raw = shared;
    float* phi_q = raw + kTile * p.wide();
    float* state = phi_q + kTile * f;
    float* below = state + p.state();
    float* phi_k = below + kTile;  // from here on where causal only
    float* scores = phi_k + kTile * f;
    const int chunk = blockIdx.x, head = blockIdx.y, end = min(p.queries, (chunk + 1) * kChunk);
    const float* from = states + (static_cast<size_t>(head) * p.chunks() + (p.causal ? chunk : 0)) * p.state();
    for (int i = threadIdx.x; i < p.state(); i += kThreads) state[i] = from[i];
    for (int first = chunk * kChunk; first < end; first += kTile) {
        const int count = min(kTile, end - first);
        const size_t row = static_cast<size_t>(head) * p.queries + first;
        load_features(query + row * p.d, count, p, raw, phi_q);
        if (p.causal) {
            load_features(key + row * p.d, count, p, raw, phi_k);
            load_rows(value + row * p.e, count, p.e, raw);
            score_tile(phi_q, phi_k, p, scores);
        }
        attend_tile(phi_q, state, scores, raw, below, p, count, p.e, out + row * p.e, p.e);
        if (p.causal) add_tile(phi_k, raw, p, state);
    }
}

// One token: updates the state in place and attends with it. A block is a head.
template <typename T>
__global__ void attend_step(const T* query, const T* key, const T* value, float* states, T* out, AttentionShape p) {
    EO_SHARED(float, shared);
    const int f = p.f(), width = p.e + 1, head = blockIdx.x;
    float* q = shared;
    float* k = q + f;
    float* raw = k + f;
    float* state = states + static_cast<size_t>(head) * p.state();
    for (int turn = 0; turn < 2; ++turn) {
        const T* from = (turn ? key : query) + static_cast<size_t>(head) * p.d;
        for (int i = threadIdx.x; i < p.d; i += kThreads) raw[i] = load(from, i);
        __syncthreads();
        const RowStatistics s = row_statistics(p.map, raw, p.d);
        for (int i = threadIdx.x; i < f; i += kThreads) (turn ? k : q)[i] = feature(p.map, raw, i, p.d, s);
        __syncthreads();
    }
    for (int i = threadIdx.x; i < p.state(); i += kThreads) {
        const int column = i % width;
        state[i] += k[i / width] * (column < p.e ? load(value, static_cast<size_t>(head) * p.e + column) : 1.f);
    }
    __syncthreads();
    for (int column = threadIdx.x; column < p.e; column += kThreads) {
        float sum = 0.f, below = p.epsilon;
        for (int c = 0; c < p.read(); ++c) {
            sum += q[c] * state[c * width + column];
            below += q[c] * state[c * width + p.e];
        }
        const float* last = state + static_cast<size_t>(f - 1) * width;  // where inline: sum of values, number of keys
        store(out, static_cast<size_t>(head) * p.e + column, result(p, sum, below, last[column], last[p.e]));
    }
}

template <typename T>
int linear_attention(const void* query, const void* key, const void* value, void* out, void* workspace,
                     const AttentionShape& p, cudaStream_t stream) {
    const T *q = static_cast<const T*>(query), *k = static_cast<const T*>(key), *v = static_cast<const T*>(value);
    float* states = static_cast<float*>(workspace);
    const size_t floats = kTile * (p.wide() + p.f()) + p.state();
    const size_t tail = kTile + (p.causal ? kTile * (p.f() + kTile) : 0);
    if (int error = allow_shared(chunk_states<T>, floats * sizeof(float))) return error;
    if (int error = allow_shared(attend<T>, (floats + tail) * sizeof(float))) return error;
    const dim3 threads(kThreads), by_key(p.chunks(), p.heads);
    const dim3 by_element((p.state() + kThreads - 1) / kThreads, p.heads);
    const dim3 by_query((p.queries + kChunk - 1) / kChunk, p.heads);
    EO_LAUNCH(chunk_states<T>, by_key, threads, floats * sizeof(float), stream, k, v, states, p);
    EO_LAUNCH(scan_states, by_element, threads, 0, stream, states, p);
    EO_LAUNCH(attend<T>, by_query, threads, (floats + tail) * sizeof(float), stream, q, k, v, states,
              static_cast<T*>(out), p);
    return last_error();
}

// The same on tensor cores, for what `linear_attention_mma.cuh` takes.
template <int D>
int linear_attention_by_mma(const void* query, const void* key, const void* value, void* out, void* workspace,
                            const AttentionShape& p, cudaStream_t stream) {
    const __half *q = static_cast<const __half*>(query), *k = static_cast<const __half*>(key);
    float* states = static_cast<float*>(workspace);
    const size_t tile = kMmaTile * (D + kPad), wide = D + 2 * kPad;
    const size_t keys_bytes = (tile + kMmaTile * wide) * sizeof(__half);
    const size_t queries_bytes = (tile + D * wide) * sizeof(__half);
    if (int error = allow_shared(sum_states<D>, keys_bytes)) return error;
    if (int error = allow_shared(attend_by_mma<D>, queries_bytes)) return error;
    const dim3 threads(kThreads), by_key(p.chunks(), p.heads), by_query((p.queries + kMmaTile - 1) / kMmaTile, p.heads);
    const dim3 by_element((p.state() + kThreads - 1) / kThreads, p.heads);
    EO_LAUNCH(sum_states<D>, by_key, threads, keys_bytes, stream, k, static_cast<const __half*>(value), states, p.keys,
              kChunk, p.map);
    EO_LAUNCH(scan_states, by_element, threads, 0, stream, states, p);
    EO_LAUNCH(attend_by_mma<D>, by_query, threads, queries_bytes, stream, q, states, static_cast<__half*>(out),
              p.queries, p.keys, p.chunks(), p.map, p.epsilon);
    return last_error();
}

template <typename T>
int linear_attention_step(const void* query, const void* key, const void* value, float* state, void* out,
                          const AttentionShape& p, cudaStream_t stream) {
    const size_t bytes = (2 * p.f() + p.d) * sizeof(float);
    EO_LAUNCH(attend_step<T>, dim3(p.heads), dim3(kThreads), bytes, stream, static_cast<const T*>(query),
              static_cast<const T*>(key), static_cast<const T*>(value), state, static_cast<T*>(out), p);
    return last_error();
}

}  // namespace edgeopt

// Bytes of workspace that `eo_linear_attention` wants.
extern "C" inline size_t eo_linear_attention_workspace(int heads, int keys, int d, int e, int map) {
    const edgeopt::AttentionShape p = {heads, keys, keys, d, e, map, 0, 0.f};
    return static_cast<size_t>(heads) * p.chunks() * p.state() * sizeof(float);
}

// Attention over all tokens; causal: over those up to each, with as many queries as keys.
extern "C" inline int eo_linear_attention(const void* query, const void* key, const void* value, void* out,
                                          void* workspace, int heads, int queries, int keys, int d, int e, int map,
                                          int causal, float epsilon, int type, cudaStream_t stream) {
    const edgeopt::AttentionShape p = {heads, queries, keys, d, e, map, causal, epsilon};
    if (causal && queries != keys) return static_cast<int>(cudaErrorInvalidValue);
    if (type == EO_HALF && !causal && d == e && edgeopt::is_by_element(map)) {
        if (d == 32) return edgeopt::linear_attention_by_mma<32>(query, key, value, out, workspace, p, stream);
        if (d == 64) return edgeopt::linear_attention_by_mma<64>(query, key, value, out, workspace, p, stream);
        if (d == 128) return edgeopt::linear_attention_by_mma<128>(query, key, value, out, workspace, p, stream);
    }
    return type == EO_HALF ? edgeopt::linear_attention<__half>(query, key, value, out, workspace, p, stream)
                           : edgeopt::linear_attention<float>(query, key, value, out, workspace, p, stream);
}

// The next token's attention; `state` [heads, features, e + 1] floats is zero before the first and updated in place.
extern "C" inline int eo_linear_attention_step(const void* query, const void* key, const void* value, float* state,
                                               void* out, int heads, int d, int e, int map, float epsilon, int type,
                                               cudaStream_t stream) {
    const edgeopt::AttentionShape p = {heads, 1, 1, d, e, map, 1, epsilon};
    return type == EO_HALF ? edgeopt::linear_attention_step<__half>(query, key, value, state, out, p, stream)
                           : edgeopt::linear_attention_step<float>(query, key, value, state, out, p, stream);
}
