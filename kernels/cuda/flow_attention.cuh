// Attention by conserved flows, over all tokens, causal, and one token at a time; q and k are sigmoids of what is
// given.
//
//     out_i = a_i (q_i I_i) sum_j k_j^T (w_j v_j)
//
// with I_i = 1 / flow(q_i, sum k), O_j = 1 / flow(k_j, sum q), a_i = sigmoid(flow(q_i, sum k O) queries / keys),
// w_j = keys softmax_j(clamp(flow(k_j, sum q I), -1, 1)) and flow(x, y) = sum_c (x_c + 1e-6) (y_c + 1e-6). The causal
// form has running sums, over the number of tokens so far, in place of the sums. A block is a head: the full form goes
// through the tokens in tiles, the causal one token by token. Time is linear in the tokens; no workspace.
//
// Shapes: query, key [heads, tokens, d], value [heads, tokens, e], out [heads, queries, e].
// Source: H. Wu et al., Flowformer: Linearizing Transformers with Conservation Flows, ICML 2022.
#pragma once

#include "common.cuh"

namespace edgeopt {

constexpr int kFlowTile = 32;
constexpr float kFlowEpsilon = 1e-6f;

__device__ inline float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

__device__ inline float flow(const float* x, const float* total, int d) {
    float sum = 0.f;
    for (int c = 0; c < d; ++c) sum += (x[c] + kFlowEpsilon) * (total[c] + kFlowEpsilon);
    return sum;
}

__device__ inline float competition(float source) { return expf(fminf(fmaxf(source, -1.f), 1.f)); }

// Loads the sigmoids of a tile of rows, zero beyond `count`.
template <typename T>
__device__ void load_sigmoids(const T* from, int count, int d, float* rows) {
    for (int i = threadIdx.x; i < kFlowTile * d; i += kThreads) rows[i] = i < count * d ? sigmoid(load(from, i)) : 0.f;
    __syncthreads();
}

// Adds a tile's rows, each by its factor, to `total`.
__device__ inline void add_rows(const float* rows, const float* factor, int d, float* total) {
    for (int c = threadIdx.x; c < d; c += kThreads) {
        for (int t = 0; t < kFlowTile; ++t) total[c] += rows[t * d + c] * (factor == nullptr ? 1.f : factor[t]);
    }
    __syncthreads();
}

// Sums all rows, each over its flow with `against`, or as it is.
template <typename T>
__device__ void sum_rows(const T* from, int count, int d, const float* against, float* rows, float* factor,
                         float* total) {
    for (int first = 0; first < count; first += kFlowTile) {
        load_sigmoids(from + static_cast<size_t>(first) * d, min(kFlowTile, count - first), d, rows);
        if (against != nullptr) {
            for (int t = threadIdx.x; t < kFlowTile; t += kThreads) factor[t] = 1.f / flow(rows + t * d, against, d);
            __syncthreads();
        }
        add_rows(rows, against == nullptr ? nullptr : factor, d, total);
    }
}

// Shared memory: S [d, e], sums of keys, queries, what sources give and sinks take [d], a tile of rows, its factors.
template <typename T>
__global__ void flow_attention(const T* query, const T* key, const T* value, T* out, int queries, int keys, int d,
                               int e) {
    EO_SHARED(float, product);
    float *all_k = product + d * e, *all_q = all_k + d, *given = all_q + d, *taken = given + d, *rows = taken + d;
    float* factor = rows + kFlowTile * d;
    const size_t head = blockIdx.x;
    query += head * queries * d;
    key += head * keys * d;
    value += head * keys * e;
    out += head * queries * e;
    for (int i = threadIdx.x; i < d * e + 4 * d; i += kThreads) product[i] = 0.f;
    __syncthreads();
    sum_rows(key, keys, d, nullptr, rows, factor, all_k);
    sum_rows(query, queries, d, nullptr, rows, factor, all_q);
    sum_rows(key, keys, d, all_q, rows, factor, given);
    sum_rows(query, queries, d, all_k, rows, factor, taken);
    float exponentials = 0.f;  // every thread has its own copy
    for (int first = 0; first < keys; first += kFlowTile) {
        const int count = min(kFlowTile, keys - first);
        load_sigmoids(key + static_cast<size_t>(first) * d, count, d, rows);
        for (int t = threadIdx.x; t < kFlowTile; t += kThreads) {
            factor[t] = t < count ? competition(flow(rows + t * d, taken, d)) : 0.f;
        }
        __syncthreads();
        for (int t = 0; t < count; ++t) exponentials += factor[t];
        for (int i = threadIdx.x; i < d * e; i += kThreads) {
            for (int t = 0; t < count; ++t) {
                product[i] += rows[t * d + i / e] * factor[t] * load(value, static_cast<size_t>(first + t) * e + i % e);
            }
        }
        __syncthreads();
    }
    for (int first = 0; first < queries; first += kFlowTile) {
        const int count = min(kFlowTile, queries - first);
        load_sigmoids(query + static_cast<size_t>(first) * d, count, d, rows);
        for (int t = threadIdx.x; t < kFlowTile; t += kThreads) {
            const float sink = flow(rows + t * d, given, d) * queries / keys;
            factor[t] = sigmoid(sink) / flow(rows + t * d, all_k, d) * keys / exponentials;
        }
        __syncthreads();
        for (int i = threadIdx.x; i < count * e; i += kThreads) {
            float sum = 0.f;
            for (int c = 0; c < d; ++c) sum += rows[i / e * d + c] * product[c * e + i % e];
            store(out, static_cast<size_t>(first) * e + i, factor[i / e] * sum);
        }
        __syncthreads();
    }
}

__host__ __device__ inline int flow_state(int d, int e) { return d * e + 4 * d + 2; }

// The next token of a head: updates its state (S, the four sums, the sum of exponentials, the number of tokens).
template <typename T>
__device__ void flow_token(const T* query, const T* key, const T* value, T* out, int d, int e, float* q, float* k,
                           float* state) {
    float *all_k = state + d * e, *all_q = all_k + d, *given = all_q + d, *taken = given + d, *scalars = taken + d;
    const float count = scalars[1] + 1.f;
    for (int c = threadIdx.x; c < d; c += kThreads) {
        q[c] = sigmoid(load(query, c));
        k[c] = sigmoid(load(key, c));
        all_q[c] += q[c];
        all_k[c] += k[c];
    }
    __syncthreads();
    const float incoming = count / flow(q, all_k, d), outgoing = count / flow(k, all_q, d);
    for (int c = threadIdx.x; c < d; c += kThreads) {
        given[c] += k[c] * outgoing;
        taken[c] += q[c] * incoming;
    }
    __syncthreads();
    const float exponential = competition(flow(k, taken, d) / count), exponentials = scalars[0] + exponential;
    const float weight = exponential / exponentials * count;
    for (int i = threadIdx.x; i < d * e; i += kThreads) state[i] += k[i / e] * weight * load(value, i % e);
    __syncthreads();
    if (threadIdx.x == 0) {
        scalars[0] = exponentials;
        scalars[1] = count;
    }
    const float allocation = sigmoid(flow(q, given, d) / count) * incoming / count;
    for (int column = threadIdx.x; column < e; column += kThreads) {
        float sum = 0.f;
        for (int c = 0; c < d; ++c) sum += q[c] * state[c * e + column];
        store(out, column, allocation * sum);
    }
    __syncthreads();
}

template <typename T>
__global__ void causal_flow_attention(const T* query, const T* key, const T* value, T* out, int tokens, int d, int e) {
    EO_SHARED(float, state);
    float *q = state + flow_state(d, e), *k = q + d;
    for (int i = threadIdx.x; i < flow_state(d, e); i += kThreads) state[i] = 0.f;
    __syncthreads();
    for (int t = 0; t < tokens; ++t) {
        const size_t row = static_cast<size_t>(blockIdx.x) * tokens + t;
        flow_token(query + row * d, key + row * d, value + row * e, out + row * e, d, e, q, k, state);
    }
}

template <typename T>
__global__ void flow_attention_step(const T* query, const T* key, const T* value, float* states, T* out, int d, int e) {
    EO_SHARED(float, q);
    const size_t head = blockIdx.x;
    flow_token(query + head * d, key + head * d, value + head * e, out + head * e, d, e, q, q + d,
               states + head * flow_state(d, e));
}

template <typename T>
int flow_attention_of(const void* query, const void* key, const void* value, void* out, int heads, int queries,
                      int keys, int d, int e, int causal, cudaStream_t stream) {
    const T *q = static_cast<const T*>(query), *k = static_cast<const T*>(key), *v = static_cast<const T*>(value);
    const size_t bytes = (flow_state(d, e) + (causal ? 2 : kFlowTile) * d + kFlowTile) * sizeof(float);
    if (causal) {
        if (int error = allow_shared(causal_flow_attention<T>, bytes)) return error;
        EO_LAUNCH(causal_flow_attention<T>, dim3(heads), dim3(kThreads), bytes, stream, q, k, v, static_cast<T*>(out),
                  keys, d, e);
    } else {
        if (int error = allow_shared(flow_attention<T>, bytes)) return error;
        EO_LAUNCH(flow_attention<T>, dim3(heads), dim3(kThreads), bytes, stream, q, k, v, static_cast<T*>(out), queries,
                  keys, d, e);
    }
    return last_error();
}

template <typename T>
int flow_attention_step_of(const void* query, const void* key, const void* value, float* state, void* out, int heads,
                           int d, int e, cudaStream_t stream) {
    EO_LAUNCH(flow_attention_step<T>, dim3(heads), dim3(kThreads), 2 * d * sizeof(float), stream,
              static_cast<const T*>(query), static_cast<const T*>(key), static_cast<const T*>(value), state,
              static_cast<T*>(out), d, e);
    return last_error();
}

}  // namespace edgeopt

// Attention over all tokens; causal: by the tokens up to each, with as many queries as keys.
extern "C" inline int eo_flow_attention(const void* query, const void* key, const void* value, void* out, int heads,
                                        int queries, int keys, int d, int e, int causal, int type,
                                        cudaStream_t stream) {
    if (causal && queries != keys) return static_cast<int>(cudaErrorInvalidValue);
    return type == EO_HALF
               ? edgeopt::flow_attention_of<__half>(query, key, value, out, heads, queries, keys, d, e, causal, stream)
               : edgeopt::flow_attention_of<float>(query, key, value, out, heads, queries, keys, d, e, causal, stream);
}

// The next token's attention; `state` [heads, d e + 4 d + 2] floats is zero before the first and updated in place.
extern "C" inline int eo_flow_attention_step(const void* query, const void* key, const void* value, float* state,
                                             void* out, int heads, int d, int e, int type, cudaStream_t stream) {
    return type == EO_HALF ? edgeopt::flow_attention_step_of<__half>(query, key, value, state, out, heads, d, e, stream)
                           : edgeopt::flow_attention_step_of<float>(query, key, value, state, out, heads, d, e, stream);
}
