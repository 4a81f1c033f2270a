/* As a pointwise convolution: b is packed at run time. */
#include "../common/pack_vectors_mve.h"

void eo_s8_matmul__mve(const eo_matmul *p, const int8_t *a, const int8_t *b, int8_t *y, void *scratch) {
    eo_matmul_by(&eo_product_mve, p, a, b, y, scratch, eo_s8_matmul__mve_block(p->depth, p->columns));
}
