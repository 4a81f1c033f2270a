/* Softmax attention to the tokens nearby and linear attention to all others, of one head.
 *
 *              g sum_{j near i} exp(s_ij - max_j s_ij) v_j + phi(q_i) S
 *     out_i = ----------------------------------------------------------,    s_ij = scale q_i . k_j
 *              g sum_{j near i} exp(s_ij - max_j s_ij)     + phi(q_i) . z
 *
 * Queries are those of one block, and the keys near them stand in one row; S and z are the state that the kernels of
 * linear attention write, here of the keys that are far. Scalar C++ is the specification: the others equal it within
 * 1e-5 of the largest value. */
#pragma once

#include "../f32_linear_attention/kernel.h"

namespace edgeopt {

constexpr int64_t queries_at_once = 32;

/* The keys near a block of queries, and their values. */
struct Near {
    const float* keys;
    const float* values;
    int64_t key_stride, value_stride, count;
    /* Query i sees keys up to causal_from + i; all where that is negative. */
    int64_t causal_from;
    float scale, gate;
};

struct HybridAttentionKernels {
    /* Write out for `count` queries; far is null where no key is. Scratch has queries_at_once *
     * (size + near.count + features + mapped) floats. */
    void (*attend)(const Head&, const Near&, const Side& queries, int64_t count, const float* far, float* out,
                   float* scratch);
};

extern const HybridAttentionKernels f32_hybrid_attention__scalar;
extern const HybridAttentionKernels f32_hybrid_attention__avx2;
extern const HybridAttentionKernels f32_hybrid_attention__avx512;

}  // namespace edgeopt
