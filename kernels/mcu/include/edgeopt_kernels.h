/* edgeopt kernels: the manual.
 *
 * C99, no malloc, no stdio, no state. The caller owns all memory. Every function is named
 * eo_<dtype>_<op>__<isa> and lies in <dtype>_<op>/<isa>.c; scalar C is the specification and
 * every other ISA returns the same bytes.
 *
 *   scalar  any C99 compiler
 *   dsp     Armv7E-M / Armv8-M with the DSP extension (Cortex-M4, M7, M33); int8 weights in flash
 *   dsp16   the same cores; weights pre-expanded to int16 pairs: twice the flash, fewer instructions
 *   mve     Armv8.1-M with integer MVE (Cortex-M55)
 *
 * Numbers. Activations are int8 with a scale and a zero point, weights int8 in [-127, 127] with zero
 * point 0 and one scale a channel, accumulators int32. Tensors are HWC (one sample). An output byte is
 *
 *   y = clamp(((acc * multiplier + 2^31) >> 32) + out_zero, act_min, act_max)
 *
 * where acc already holds bias - in_zero * sum(weights), multiplier = round(2^32 * s_x * s_w / s_y) is
 * in [0, 2^31), and the product is 64 bits wide. Padding counts as in_zero.
 *
 * Packed parameters. Weights, bias and multipliers of a layer lie in one constant block of 32-bit words, read
 * from front to back. Its order depends on the kernel and is written by edgeopt.kernels.mcu.packing.
 *
 * Memory. Every pointer is aligned to 4 bytes, packed blocks included. Kernels may read (never write) up to
 * EO_OVERREAD bytes behind the end of x. scratch needs the bytes that eo_..._scratch() returns, aligned to 4.
 *
 * Overlap. y may share memory with x where the order of reads and writes allows it:
 * edgeopt.kernels.mcu.overlap computes the least distance x - y for every kernel and shape. */
#ifndef EDGEOPT_KERNELS_H
#define EDGEOPT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EO_OVERREAD 16

/* Geometry of a window sliding over an HWC map. Sizes 1..65535, kernel and stride 1..255, pads less than the
 * kernel. Pads at the bottom and right follow from the output size. */
typedef struct {
    uint16_t in_h, in_w, in_c;
    uint16_t out_h, out_w, out_c;
    uint8_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
    int8_t in_zero, out_zero, act_min, act_max;
} eo_window;

/* y = clamp((a * mul_a + b * mul_b + offset) >> shift, act_min, act_max); shift 1..30. Both zero points, the
 * rounding half and the output zero point are inside offset; no sum exceeds int32. */
typedef struct {
    int16_t mul_a, mul_b;
    int32_t offset;
    uint8_t shift;
    int8_t act_min, act_max;
} eo_add;

typedef struct {
    uint16_t in_features, out_features;
    int8_t out_zero, act_min, act_max;
} eo_linear;

/* Of a mean over count = kernel_h * kernel_w positions: bias = -in_zero * count, and since s_x / s_y may exceed 1,
 * acc * 16 is scaled by multiplier = round(2^28 * s_x / (s_y * count)). */
typedef struct {
    int32_t bias, multiplier;
} eo_requant;

/* 2-D convolution over all input channels; out_c any. Where add is not NULL the result c goes on as
 * y = add(c, y): the residual operand lies in y and is overwritten. in_c * kernel_w * kernel_h <= 32,768. */
typedef void eo_s8_conv2d_fn(const eo_window *g, const int8_t *x, const void *packed, const eo_add *add, int8_t *y,
                             void *scratch);
eo_s8_conv2d_fn eo_s8_conv2d__scalar, eo_s8_conv2d__dsp, eo_s8_conv2d__dsp16, eo_s8_conv2d__mve;

/* A patch as the columns hold it: kernel_h * kernel_w * in_c bytes, up to a multiple of 4. */
static inline size_t eo_patch_bytes(const eo_window *g) {
    return ((size_t)g->kernel_h * g->kernel_w * g->in_c + 3) & ~(size_t)3;
}
static inline size_t eo_s8_conv2d__scalar_scratch(const eo_window *g, int residual) {
    (void)g, (void)residual;
    return 0;
}
/* Two patches widened to int16 and as int8, and with a residual two pixels of output. */
static inline size_t eo_s8_conv2d__dsp_scratch(const eo_window *g, int residual) {
    return 6 * eo_patch_bytes(g) + 8 + (residual ? 2 * (size_t)g->out_c : 0);
}
static inline size_t eo_s8_conv2d__dsp16_scratch(const eo_window *g, int residual) {
    return eo_s8_conv2d__dsp_scratch(g, residual);
}

/* Two patches, a multiple of 16 bytes each, and with a residual two pixels of output. */
static inline size_t eo_s8_conv2d__mve_scratch(const eo_window *g, int residual) {
    const size_t patch = ((size_t)g->kernel_h * g->kernel_w * g->in_c + 15) & ~(size_t)15;
    return 2 * patch + (residual ? 2 * (size_t)g->out_c : 0);
}

/* One filter a channel: out_c = in_c. dsp and mve: kernel 3x3, stride 1 or 2 in both directions; dsp: in_c a
 * multiple of 4. */
typedef void eo_s8_depthwise_conv2d_fn(const eo_window *g, const int8_t *x, const void *packed, int8_t *y,
                                       void *scratch);
eo_s8_depthwise_conv2d_fn eo_s8_depthwise_conv2d__scalar, eo_s8_depthwise_conv2d__dsp, eo_s8_depthwise_conv2d__mve;

static inline size_t eo_s8_depthwise_conv2d__scalar_scratch(const eo_window *g) {
    (void)g;
    return 0;
}
/* Four channels of two pairs of rows, as words. */
static inline size_t eo_s8_depthwise_conv2d__dsp_scratch(const eo_window *g) {
    return 32 * ((size_t)(g->out_w - 1) * g->stride_w + 3);
}

/* Four rows of 16 channels, up to as many columns as whole steps of the kernel take. */
static inline size_t eo_s8_depthwise_conv2d__mve_scratch(const eo_window *g) {
    const size_t pairs = (g->out_w + 1U) / 2 * 2, quads = (g->out_w + 3U) / 4 * 4;
    return 64 * (g->stride_w == 1 ? pairs + 2 : 2 * quads + 2);
}

/* Fully connected layer of one vector; in_features 1..32,768. */
typedef void eo_s8_linear_fn(const eo_linear *p, const int8_t *x, const void *packed, int8_t *y);
eo_s8_linear_fn eo_s8_linear__scalar, eo_s8_linear__dsp, eo_s8_linear__dsp16, eo_s8_linear__mve;

/* Scales that are powers of two: the layers above, requantized without a multiplication, for cores that have none of 64
 * bits. shift = 2..30 stands where the multiplier does, for one of 2^(32 - shift), 2^(shift - 1) is in the bias, and
 *
 *   y = clamp((acc >> shift) + out_zero, act_min, act_max)
 *
 * are the same bytes. Cores with SMMULR or VRMULH shift and round with it: they have no kernels of these. */
eo_s8_conv2d_fn eo_s8pow2_conv2d__scalar;
eo_s8_depthwise_conv2d_fn eo_s8pow2_depthwise_conv2d__scalar;
eo_s8_linear_fn eo_s8pow2_linear__scalar;

/* Weights in four bits: the convolution and the fully connected layer above, whose weights are sixteen int8 numbers of
 * any kind, looked up by codes of four bits that lie two a byte. table holds, for scalar and mve, the sixteen numbers by
 * code; for dsp 256 words, the pair of weights that each byte stands for as int16, that of its low half in the low half. A code of
 * zero fills what is padded, so that entry 0 is 0. */
typedef void eo_w4_conv2d_fn(const eo_window *g, const int8_t *x, const void *packed, const void *table,
                             const eo_add *add, int8_t *y, void *scratch);
eo_w4_conv2d_fn eo_w4_conv2d__scalar, eo_w4_conv2d__dsp, eo_w4_conv2d__mve;
static inline size_t eo_w4_conv2d__scalar_scratch(const eo_window *g, int residual) {
    (void)g, (void)residual;
    return 0;
}
/* Four patches widened to int16, two as int8, and with a residual four pixels of output. */
static inline size_t eo_w4_conv2d__dsp_scratch(const eo_window *g, int residual) {
    return 10 * eo_patch_bytes(g) + 8 + (residual ? 4 * (size_t)g->out_c : 0);
}
static inline size_t eo_w4_conv2d__mve_scratch(const eo_window *g, int residual) {
    return eo_s8_conv2d__mve_scratch(g, residual);
}
typedef void eo_w4_linear_fn(const eo_linear *p, const int8_t *x, const void *packed, const void *table, int8_t *y);
eo_w4_linear_fn eo_w4_linear__scalar, eo_w4_linear__dsp, eo_w4_linear__mve;

/* Elementwise sum of n values; y may be a or b. */
typedef void eo_s8_add_fn(const eo_add *p, const int8_t *a, const int8_t *b, int8_t *y, size_t n);
eo_s8_add_fn eo_s8_add__scalar, eo_s8_add__dsp, eo_s8_add__mve;

/* Pools. The mean takes at most 32,768 positions a window and no padding. The maximum ignores padding and keeps the scale. */
typedef void eo_s8_avg_pool2d_fn(const eo_window *g, const int8_t *x, const eo_requant *packed, int8_t *y);
eo_s8_avg_pool2d_fn eo_s8_avg_pool2d__scalar, eo_s8_avg_pool2d__dsp, eo_s8_avg_pool2d__mve;
typedef void eo_s8_max_pool2d_fn(const eo_window *g, const int8_t *x, int8_t *y);
eo_s8_max_pool2d_fn eo_s8_max_pool2d__scalar;

/* Products of activations, y = a b for each of batch pairs of matrices: a rows x depth, b depth x columns, of zero point
 * 0. Steps are in bytes; the depth values of a row of a, and the columns of y, are neighbors. a_row is a multiple of
 * depth, at most 255 times; depth 1..32,768. multiplier = round(2^32 * s_a * s_b / s_y). */
typedef struct {
    uint16_t batch, rows, depth, columns;
    int32_t a_batch, a_row, b_batch, b_row, b_column, y_batch, y_row, multiplier;
    int8_t a_zero, out_zero, act_min, act_max;
} eo_matmul;
typedef void eo_s8_matmul_fn(const eo_matmul *p, const int8_t *a, const int8_t *b, int8_t *y, void *scratch);
eo_s8_matmul_fn eo_s8_matmul__scalar, eo_s8_matmul__dsp, eo_s8_matmul__mve;

/* dsp and mve bring b into the block of a convolution's weights, one matrix of the batch at a time. */
static inline size_t eo_s8_matmul__dsp_block(size_t depth, size_t columns) {
    return (columns + 3) / 4 * (32 + (depth + 3) / 4 * 32);
}
static inline size_t eo_s8_matmul__mve_block(size_t depth, size_t columns) {
    return (columns + 3) / 4 * (32 + (depth + 15) / 16 * 64);
}
/* What such a convolution of two rows takes: their patches, and two rows of its output. */
static inline size_t eo_s8_matmul__dsp_rows(size_t depth, size_t columns) {
    return ((depth + 3) & ~(size_t)3) * 6 + 8 + ((2 * columns + 3) & ~(size_t)3);
}
static inline size_t eo_s8_matmul__mve_rows(size_t depth, size_t columns) {
    return ((depth + 15) & ~(size_t)15) * 2 + ((2 * columns + 3) & ~(size_t)3);
}
static inline size_t eo_s8_matmul__dsp_scratch(const eo_matmul *p) {
    return eo_s8_matmul__dsp_block(p->depth, p->columns) + eo_s8_matmul__dsp_rows(p->depth, p->columns);
}
static inline size_t eo_s8_matmul__mve_scratch(const eo_matmul *p) {
    return eo_s8_matmul__mve_block(p->depth, p->columns) + eo_s8_matmul__mve_rows(p->depth, p->columns);
}

/* Attention, head by head and row by row: y = mix(softmax(scores(q, k)), v), the same bytes as the three kernels one
 * after another, without room for all scores. mix.a_batch and mix.a_row are not used. y may be q where their steps are
 * the same. */
typedef struct {
    eo_matmul scores, mix;
} eo_attention;
typedef void eo_s8_attention_fn(const eo_attention *p, const int8_t *q, const int8_t *k, const int8_t *v,
                                const uint16_t *exp_table, int8_t *y, void *scratch);
eo_s8_attention_fn eo_s8_attention__scalar, eo_s8_attention__dsp, eo_s8_attention__mve;
static inline size_t eo_s8_attention__scalar_scratch(const eo_attention *p) { return p->scores.columns; }
static inline size_t eo_s8_attention__dsp_scratch(const eo_attention *p) {
    return eo_s8_matmul__dsp_scratch(&p->scores) + eo_s8_matmul__dsp_scratch(&p->mix);
}
static inline size_t eo_s8_attention__mve_scratch(const eo_attention *p) {
    return eo_s8_matmul__mve_scratch(&p->scores) + eo_s8_matmul__mve_scratch(&p->mix) + EO_OVERREAD;
}

/* Layer norm, or RMS norm where not centered, of each row of width <= 32,768 values. With n = width, q = x - in_zero:
 *   spread = n * sum(q^2) - (centered ? sum(q)^2 : 0) + epsilon, at least 1;   epsilon = round(n^2 * eps / s_x^2) < 2^46
 *   shift s: 2^30 <= spread * 4^s < 2^32;   inverse = (2^32 - 1) / isqrt(spread * 4^s)
 *   unit = ((n * q - (centered ? sum(q) : 0)) * inverse + 2^(15 - s)) >> (16 - s), 2^16 a standard deviation
 *   y = clamp(((unit * multiplier + bias * 2^16 + 2^31) >> 32) + out_zero, act_min, act_max)
 * factors are pairs of multiplier = round(2^16 * scale / s_y) and bias = round(2^16 * shift / s_y), one, or with
 * per_channel one a channel. y may be x. */
typedef struct {
    int64_t epsilon;
    uint16_t width;
    uint8_t centered, per_channel;
    int8_t in_zero, out_zero, act_min, act_max;
} eo_norm;
typedef void eo_s8_norm_fn(const eo_norm *p, const int8_t *x, const int32_t *factors, int8_t *y, size_t rows);
eo_s8_norm_fn eo_s8_norm__scalar;

/* Values from places to places: of each dimension the size and the steps in bytes, the outermost first; unused ones
 * have size 1. */
typedef struct {
    uint16_t sizes[4];
    int32_t from[4], to[4];
} eo_copy;
typedef void eo_s8_copy_fn(const eo_copy *p, const int8_t *x, int8_t *y);
eo_s8_copy_fn eo_s8_copy__scalar;

/* Layers of signs, +1 and -1. A pixel's channels are the bits of so many words, the least first, set for +1; what fills
 * up the last word is clear. Padding adds nothing to a sum.
 *
 * bits:  y = +1 where sum >= threshold, else -1
 * bytes: y = clamp((((256 * sum + bias) * multiplier + 2^31) >> 32) + out_zero, act_min, act_max),
 *        bias = round(256 * b / s_w), multiplier = round(2^24 * s_w / s_y) in [0, 2^31)
 *
 * g->in_zero is not used, nor are the output's fields for bits. kernel_h * kernel_w * in_c <= 32,767. */
static inline size_t eo_words(size_t channels) { return (channels + 31) / 32; }
typedef void eo_b1_conv2d_fn(const eo_window *g, const uint32_t *x, const void *packed, int bytes, void *y,
                             void *scratch);
eo_b1_conv2d_fn eo_b1_conv2d__scalar, eo_b1_conv2d__dsp, eo_b1_conv2d__mve;
static inline size_t eo_b1_conv2d__scalar_scratch(const eo_window *g) {
    (void)g;
    return 0;
}
/* A patch, and for each channel a limit and two counts. */
static inline size_t eo_b1_conv2d__dsp_scratch(const eo_window *g) {
    return 4 * (size_t)g->kernel_h * g->kernel_w * eo_words(g->in_c) + 10 * (size_t)g->out_c;
}
static inline size_t eo_b1_conv2d__mve_scratch(const eo_window *g) {
    return 4 * (size_t)g->kernel_h * g->kernel_w * eo_words(g->in_c) + ((size_t)g->out_c + 3) / 4 * 40;
}

/* Bits of int8 values: +1 where x >= threshold and the channel is not masked. y may be x from 4 channels on. */
typedef void eo_b1_sign_fn(const int8_t *x, const void *packed, uint32_t *y, size_t pixels, size_t channels);
eo_b1_sign_fn eo_b1_sign__scalar, eo_b1_sign__dsp, eo_b1_sign__mve;

/* The largest of each window: +1 where any is; padding is ignored. in_c = out_c. */
typedef void eo_b1_max_pool2d_fn(const eo_window *g, const uint32_t *x, uint32_t *y);
eo_b1_max_pool2d_fn eo_b1_max_pool2d__scalar;

/* Softmax over rows of n <= 65,536 values; output scale 1/256, zero point -128. exp_table[d] =
 * round(65535 * exp(-d * s_x)), d = 0..255. y may be x. */
typedef void eo_s8_softmax_fn(const int8_t *x, const uint16_t *exp_table, int8_t *y, size_t rows, size_t n);
eo_s8_softmax_fn eo_s8_softmax__scalar;

/* Any function of one value: y = table[x + 128], 256 entries. y may be x. */
typedef void eo_s8_table_fn(const int8_t *x, const int8_t *table, int8_t *y, size_t n);
eo_s8_table_fn eo_s8_table__scalar;

#ifdef __cplusplus
}
#endif
#endif
