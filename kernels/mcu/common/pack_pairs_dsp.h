/* One matrix of activations in the block of eo_s8_conv2d__dsp16. */
#ifndef EDGEOPT_PACK_PAIRS_DSP_H
#define EDGEOPT_PACK_PAIRS_DSP_H

#include "../common/packed_product.h"

/* Columns c0..c3: for each 4 values of the depth the pairs (k0,k2), then (k1,k3), of each column. */
static inline int32_t *eo_pack_four_columns(const eo_matmul *p, const int8_t *b, int columns, int32_t *to) {
    int32_t *const bias = to, *const words = to + 4, quads = (p->depth + 3) / 4;
    for (int c = 0; c < 4; c++, b += p->b_column) {
        int32_t sum = 0;
        int16_t *pairs = (int16_t *)(words + c);
        for (int k = 0; k < 4 * quads; k += 4, pairs += 16)
            for (int i = 0; i < 4; i++) {
                const int8_t value = c < columns && k + i < p->depth ? b[(k + i) * p->b_row] : 0;
                pairs[i % 2 * 8 + i / 2] = value;
                sum += value;
            }
        bias[c] = -p->a_zero * sum;
        words[8 * quads + c] = p->multiplier;
    }
    return words + 8 * quads + 4;
}

static inline void eo_pack_pairs(const eo_matmul *p, const int8_t *b, void *block) {
    int32_t *to = block;
    for (int c = 0; c < p->columns; c += 4)
        to = eo_pack_four_columns(p, b + c * p->b_column, p->columns - c, to);
}

static const eo_product eo_product_dsp = {eo_s8_conv2d__dsp16, eo_pack_pairs};

#endif
