/* The specification. Packed: for each output {int32 bias, int32 multiplier}, then for each output its codes
 * [in_features], two a byte, the first in the low half. */
#include "../common/codes.h"
#include "../common/requant.h"
#include "edgeopt_kernels.h"

void eo_w4_linear__scalar(const eo_linear *p, const int8_t *x, const void *packed, const void *table, int8_t *y) {
    const int32_t *factors = packed;
    const uint8_t *codes = (const uint8_t *)(factors + 2 * p->out_features);
    for (int o = 0; o < p->out_features; o++, factors += 2, codes += (p->in_features + 1) / 2) {
        int32_t acc = factors[0];
        for (int i = 0; i < p->in_features; i++)
            acc += x[i] * eo_weight(table, codes, i);
        y[o] = eo_clamp(eo_mul_high(acc, factors[1]) + p->out_zero, p->act_min, p->act_max);
    }
}
