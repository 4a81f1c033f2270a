/* One matrix of activations in the block of eo_s8_conv2d__mve. */
#ifndef EDGEOPT_PACK_VECTORS_MVE_H
#define EDGEOPT_PACK_VECTORS_MVE_H

#include "../common/packed_product.h"

/* Columns c0..c3: for each 16 values of the depth those of each column. */
static inline int32_t *eo_pack_four_columns(const eo_matmul *p, const int8_t *b, int columns, int32_t *to) {
    int32_t *const bias = to, *const words = to + 4, vectors = (p->depth + 15) / 16;
    for (int c = 0; c < 4; c++, b += p->b_column) {
        int32_t sum = 0;
        int8_t *vector = (int8_t *)(words + 4 * c);
        for (int k = 0; k < 16 * vectors; k++) {
            const int8_t value = c < columns && k < p->depth ? b[k * p->b_row] : 0;
            vector[k / 16 * 64 + k % 16] = value;
            sum += value;
        }
        bias[c] = -p->a_zero * sum;
        words[16 * vectors + c] = p->multiplier;
    }
    return words + 16 * vectors + 4;
}

static inline void eo_pack_vectors(const eo_matmul *p, const int8_t *b, void *block) {
    int32_t *to = block;
    for (int c = 0; c < p->columns; c += 4)
        to = eo_pack_four_columns(p, b + c * p->b_column, p->columns - c, to);
}

static const eo_product eo_product_mve = {eo_s8_conv2d__mve, eo_pack_vectors};

#endif
