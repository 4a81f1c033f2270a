/* Products of activations as pointwise convolutions: b is brought into the block that the convolution of the same ISA
 * reads its weights from, once for all rows of a. */
#ifndef EDGEOPT_PACKED_PRODUCT_H
#define EDGEOPT_PACKED_PRODUCT_H

#include <string.h>

#include "edgeopt_kernels.h"

/* How an ISA does it: its convolution, and the packing of one matrix b. */
typedef struct {
    eo_s8_conv2d_fn *convolve;
    void (*pack)(const eo_matmul *p, const int8_t *b, void *block);
} eo_product;

/* rows rows of a as a map of one column, out of columns that lie as far apart as the rows do. */
static inline void eo_multiply(const eo_product *by, const eo_matmul *p, const int8_t *a, int32_t a_row, int rows,
                               const void *block, int8_t *y, void *scratch) {
    const int apart = a_row / p->depth;
    const eo_window g = {
        (uint16_t)rows, (uint16_t)apart, p->depth,   (uint16_t)rows, 1, p->columns, 1, 1, 1, (uint8_t)apart, 0, 0,
        p->a_zero,      p->out_zero,     p->act_min, p->act_max};
    by->convolve(&g, a, block, NULL, y, scratch);
}

static inline void eo_matmul_by(const eo_product *by, const eo_matmul *p, const int8_t *a, const int8_t *b, int8_t *y,
                                int8_t *scratch, size_t block) {
    int8_t *const line = scratch + block;
    void *const patches = line + ((2 * p->columns + 3) & ~3);
    for (int n = 0; n < p->batch; n++, a += p->a_batch, b += p->b_batch, y += p->y_batch) {
        by->pack(p, b, scratch);
        for (int r = 0; r < p->rows; r += 2) {
            const int rows = p->rows - r < 2 ? 1 : 2;
            eo_multiply(by, p, a + r * p->a_row, p->a_row, rows, scratch, line, patches);
            for (int i = 0; i < rows; i++)
                memcpy(y + (r + i) * p->y_row, line + i * p->columns, p->columns);
        }
    }
}

/* Where things lie in the scratch of an attention. */
typedef struct {
    void *k, *v, *patches;
    int8_t *scores, *line;
} eo_attention_scratch;

static inline void eo_attend_head(const eo_product *by, const eo_attention *p, const int8_t *q,
                                  const uint16_t *exp_table, int8_t *y, const eo_attention_scratch *at) {
    const eo_matmul *s = &p->scores, *m = &p->mix;
    for (int r = 0; r < s->rows; r += 2) {
        const int rows = s->rows - r < 2 ? 1 : 2;
        eo_multiply(by, s, q + r * s->a_row, s->a_row, rows, at->k, at->scores, at->patches);
        eo_s8_softmax__scalar(at->scores, exp_table, at->scores, (size_t)rows, s->columns);
        eo_multiply(by, m, at->scores, s->columns, rows, at->v, at->line, at->patches);
        for (int i = 0; i < rows; i++)
            memcpy(y + (r + i) * m->y_row, at->line + i * m->columns, m->columns);
    }
}

static inline void eo_attend_by(const eo_product *by, const eo_attention *p, const int8_t *q, const int8_t *k,
                                const int8_t *v, const uint16_t *exp_table, int8_t *y, int8_t *scratch, size_t k_block,
                                size_t v_block) {
    const eo_matmul *s = &p->scores, *m = &p->mix;
    int8_t *const scores = scratch + k_block + v_block, *const line = scores + ((2 * s->columns + 3) & ~3);
    const eo_attention_scratch at = {scratch, scratch + k_block, line + ((2 * m->columns + 3) & ~3), scores, line};
    for (int n = 0; n < s->batch; n++) {
        by->pack(s, k + n * s->b_batch, at.k);
        by->pack(m, v + n * m->b_batch, at.v);
        eo_attend_head(by, p, q + n * s->a_batch, exp_table, y + n * m->y_batch, &at);
    }
}

#endif
