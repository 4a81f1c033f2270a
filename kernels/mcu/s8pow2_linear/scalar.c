/* The specification. Packed: a record for each output of {int32 bias, int32 shift,
 * int8 weights[in_features], zeros up to a multiple of 4}. */
#include "../common/requant.h"
#include "edgeopt_kernels.h"

void eo_s8pow2_linear__scalar(const eo_linear *p, const int8_t *x, const void *packed, int8_t *y) {
    const int32_t *record = packed;
    const int n = p->in_features;
    for (int o = 0; o < p->out_features; o++, record += 2 + ((size_t)n + 3) / 4) {
        const int32_t shift = record[1];
        const int8_t *w = (const int8_t *)(record + 2);
        int32_t acc = record[0];
        for (int i = 0; i < n; i++)
            acc += x[i] * w[i];
        y[o] = eo_clamp((acc >> shift) + p->out_zero, p->act_min, p->act_max);
    }
}
