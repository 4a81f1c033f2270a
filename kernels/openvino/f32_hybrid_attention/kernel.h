/* Softmax attention to the tokens nearby and linear attention to all others, of one head.
 *
 *              g sum_{j near i} exp(s_ij - max_j s_ij) v_j + phi(q_i) S
 *     out_i = ----------------------------------------------------------,    s_ij = scale q_i . k_j
 *              g sum_{j near i} exp(s_ij - max_j s_ij)     + phi(q_i) . z
 *
 * Queries are those of one block, and the keys near them stand in one row; S and z are a state as in
 * linear attention, here of the keys that are far. Scalar C++ is the specification: the others equal it within
 * 1e-5 of the largest value. */
#pragma once

#include "../f32_linear_attention/kernel.h"

namespace edgeopt {

constexpr int64_t tokens_a_pass = 64;

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
    /* Add keys and values to a state, which starts at zero; scratch and `after` as below. */
    void (*write)(const Head&, const Side& keys, const float* values, int64_t count, float* state, float* scratch,
                  const Ahead& after);
    /* Write out for `count` queries; far is null where no key is, `after` what the next call reads or writes first.
     * Scratch has tokens_a_pass * (size + features + mapped + near.count) floats. */
    void (*attend)(const Head&, const Near&, const Side& queries, int64_t count, const float* far, float* out,
                   float* scratch, const Ahead& after);
};

extern const HybridAttentionKernels f32_hybrid_attention__scalar;
extern const HybridAttentionKernels f32_hybrid_attention__avx2;
extern const HybridAttentionKernels f32_hybrid_attention__avx512;

}  // namespace edgeopt
