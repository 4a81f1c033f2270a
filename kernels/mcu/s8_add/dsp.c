/* One SMLAD a value: the pair (a, b) times the pair (mul_a, mul_b), offset as the accumulator. Four values a round. */
#include <string.h>

#include "../common/requant.h"
#include "edgeopt_kernels.h"

/* Values k and k + 2 of the four, k = 0 or 1 by the rotation that widened them. */
#define PAIR(lo, hi)                          \
    __asm(                                    \
        "pkhbt %[l], %[a], %[b], lsl #16  \n" \
        "pkhtb %[h], %[b], %[a], asr #16  \n" \
        "smlad %[l], %[l], %[m], %[o]     \n" \
        "smlad %[h], %[h], %[m], %[o]     \n" \
        "asr %[l], %[s]                   \n" \
        "asr %[h], %[s]                   \n" \
        "ssat %[l], #8, %[l]              \n" \
        "ssat %[h], #8, %[h]              \n" \
        : [l] "=&r"(lo), [h] "=&r"(hi)        \
        : [a] "r"(wa), [b] "r"(wb), [m] "r"(mul), [o] "r"(p->offset), [s] "r"(shift))

void eo_s8_add__dsp(const eo_add *p, const int8_t *a, const int8_t *b, int8_t *y, size_t n) {
    const int32_t mul = (int32_t)((uint32_t)(uint16_t)p->mul_a | (uint32_t)(uint16_t)p->mul_b << 16);
    const int32_t shift = p->shift;
    const size_t quads = n / 4 * 4;
    for (size_t i = 0; i < quads; i += 4) {
        int32_t xa, xb, wa, wb, v0, v1, v2, v3;
        memcpy(&xa, a + i, 4);
        memcpy(&xb, b + i, 4);
        __asm("sxtb16 %0, %1" : "=r"(wa) : "r"(xa));
        __asm("sxtb16 %0, %1" : "=r"(wb) : "r"(xb));
        PAIR(v0, v2);
        __asm("sxtb16 %0, %1, ror #8" : "=r"(wa) : "r"(xa));
        __asm("sxtb16 %0, %1, ror #8" : "=r"(wb) : "r"(xb));
        PAIR(v1, v3);
        y[i] = (int8_t)v0;
        y[i + 1] = (int8_t)v1;
        y[i + 2] = (int8_t)v2;
        y[i + 3] = (int8_t)v3;
    }
    for (size_t i = quads; i < n; i++)
        y[i] = eo_clamp((a[i] * p->mul_a + b[i] * p->mul_b + p->offset) >> shift, INT8_MIN, INT8_MAX);
    eo_clamp_span(y, n, p->act_min, p->act_max);
}
