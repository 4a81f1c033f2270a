/* The specification: a row of scores at a time. */
#include "../common/product_row.h"

void eo_s8_attention__scalar(const eo_attention *p, const int8_t *q, const int8_t *k, const int8_t *v,
                             const uint16_t *exp_table, int8_t *y, void *scratch) {
    const eo_matmul *s = &p->scores, *m = &p->mix;
    int8_t *const row = scratch;
    for (int n = 0; n < s->batch; n++)
        for (int r = 0; r < s->rows; r++) {
            eo_product_row(s, q + n * s->a_batch + r * s->a_row, k + n * s->b_batch, row);
            eo_s8_softmax__scalar(row, exp_table, row, 1, s->columns);
            eo_product_row(m, row, v + n * m->b_batch, y + n * m->y_batch + r * m->y_row);
        }
}
