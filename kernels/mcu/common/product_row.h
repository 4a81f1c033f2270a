/* One row of a product of activations, as plain as it is specified. */
#ifndef EDGEOPT_PRODUCT_ROW_H
#define EDGEOPT_PRODUCT_ROW_H

#include "../common/requant.h"
#include "edgeopt_kernels.h"

static inline void eo_product_row(const eo_matmul *p, const int8_t *a, const int8_t *b, int8_t *y) {
    for (int c = 0; c < p->columns; c++, b += p->b_column) {
        int32_t acc = 0;
        for (int k = 0; k < p->depth; k++)
            acc += (a[k] - p->a_zero) * b[k * p->b_row];
        y[c] = eo_clamp(eo_mul_high(acc, p->multiplier) + p->out_zero, p->act_min, p->act_max);
    }
}

#endif
