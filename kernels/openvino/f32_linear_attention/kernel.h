/* Normalized linear attention of one head, and the convolution that SLA adds to it.
 *
 *     out_i = phi(q_i) S / (phi(q_i) . z + epsilon),    S = sum_j phi(k_j)^T v_j,    z = sum_j phi(k_j)
 *
 * Tokens are rows, whose distance (in floats) may be more than their length: heads may lie side by side. The caller owns
 * all memory: a state has features * (values + 1) floats (S, then z), scratch has tokens_at_once * (3 * features +
 * mapped + values + tokens_at_once). The feature maps are those of
 * edgeopt.ops.feature_maps; the learned ones read a weight [size, mapped] and a bias [mapped] or null. Scalar C++ is
 * the specification: the others equal it within 1e-5 of the largest value.
 *
 * No inline functions here: this is compiled for several processors, and the linker would keep any one of them. */
#pragma once

#include <cstdint>

#include "../common/ahead.h"
#include "../common/isa.h"

namespace edgeopt {

enum class FeatureMap { relu, elu, taylor, hedgehog_exp, hedgehog_split_softmax, hedgehog_joint_softmax };

constexpr int64_t tokens_at_once = 48;

struct Head {
    FeatureMap map;
    int64_t size;     /* channels of a query and of a key */
    int64_t mapped;   /* columns of a learned map's weight */
    int64_t features; /* of the map */
    int64_t values;   /* channels of a value */
    int64_t value_stride, out_stride;
    float epsilon;
};

struct Side {
    const float* tokens; /* [count, size] */
    int64_t stride;
    const float* weight;
    const float* bias;
};

/* A depthwise convolution of values seen as an image [height, width, channels], zero outside; kernel is odd. */
struct Convolution {
    int64_t height, width, channels, kernel;
    int64_t image_stride, out_stride; /* of one pixel */
    const float* weight;              /* [kernel, kernel, channels] */
    const float* bias;                /* [channels] or null */
};

struct LinearAttentionKernels {
    /* Add keys and values to a state, which starts at zero; `after` is what the next call reads or writes first. */
    void (*write)(const Head&, const Side& keys, const float* values, int64_t count, float* state, float* scratch,
                  const Ahead& after);
    /* Attend to all that a state holds. */
    void (*read)(const Head&, const Side& queries, int64_t count, const float* state, float* out, float* scratch,
                 const Ahead& after);
    /* Attend to what a state holds and to the tokens up to one's own, and add them; the state starts at zero. */
    void (*causal)(const Head&, const Side& queries, const Side& keys, const float* values, int64_t count, float* state,
                   float* out, float* scratch);
    /* Add the convolution of rows [first, last) of the image to out; scratch has 16 (last - first + kernel)
     * (width + kernel) floats. */
    void (*convolve)(const Convolution&, const float* image, int64_t first, int64_t last, float* out, float* scratch);
};

extern const LinearAttentionKernels f32_linear_attention__scalar;
extern const LinearAttentionKernels f32_linear_attention__avx2;
extern const LinearAttentionKernels f32_linear_attention__avx512;

}  // namespace edgeopt
