/* The specification. */
#include "../common/requant.h"
#include "edgeopt_kernels.h"

void eo_s8_add__scalar(const eo_add *p, const int8_t *a, const int8_t *b, int8_t *y, size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] = eo_clamp((a[i] * p->mul_a + b[i] * p->mul_b + p->offset) >> p->shift, p->act_min, p->act_max);
}
