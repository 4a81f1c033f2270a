/* The specification. */
#include "../common/product_row.h"

void eo_s8_matmul__scalar(const eo_matmul *p, const int8_t *a, const int8_t *b, int8_t *y, void *scratch) {
    (void)scratch;
    for (int n = 0; n < p->batch; n++)
        for (int r = 0; r < p->rows; r++)
            eo_product_row(p, a + n * p->a_batch + r * p->a_row, b + n * p->b_batch, y + n * p->y_batch + r * p->y_row);
}
