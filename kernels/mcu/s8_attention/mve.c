/* Two rows at a time: scores and configuration as pointwise convolutions, k and v of a head packed at run time. */
#include "../common/pack_vectors_mve.h"

void eo_s8_attention__mve(const eo_attention *p, const int8_t *q, const int8_t *k, const int8_t *v,
                          const uint16_t *exp_table, int8_t *y, void *scratch) {
    eo_attend_by(&eo_product_mve, p, q, k, v, exp_table, y, scratch,
                 eo_s8_matmul__mve_block(p->scores.depth, p->scores.columns),
                 eo_s8_matmul__mve_block(p->mix.depth, p->mix.columns));
}
