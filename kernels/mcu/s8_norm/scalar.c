/* The specification. */
#include "../common/requant.h"
#include "edgeopt_kernels.h"

/* The integer part of a square root, bit by bit. */
static uint32_t root_of(uint32_t value) {
    uint32_t root = 0;
    for (uint32_t bit = 1U << 30; bit > 0; bit >>= 2) {
        const uint32_t trial = root + bit;
        root >>= 1;
        if (value >= trial) {
            value -= trial;
            root += bit;
        }
    }
    return root;
}

static int bits_of(uint64_t value) {
    int bits = 0;
    for (; value; value >>= 1)
        bits++;
    return bits;
}

static void normalize(const eo_norm *p, const int8_t *x, const int32_t *factors, int8_t *y) {
    const int32_t n = p->width;
    int32_t total = 0;
    uint32_t squares = 0;
    for (int32_t i = 0; i < n; i++) {
        const int32_t q = x[i] - p->in_zero;
        total += q;
        squares += (uint32_t)(q * q);
    }
    total *= p->centered;
    int64_t spread = (int64_t)n * squares - (int64_t)total * total + p->epsilon;
    spread = spread < 1 ? 1 : spread;
    const int shift = (32 - bits_of((uint64_t)spread)) >> 1;
    const uint32_t scaled = (uint32_t)(shift >= 0 ? spread << 2 * shift : spread >> -2 * shift);
    const int32_t inverse = (int32_t)(UINT32_MAX / root_of(scaled));
    const int64_t half = (int64_t)1 << (15 - shift);
    for (int32_t i = 0; i < n; i++) {
        const int32_t unit = (int32_t)(((int64_t)(n * (x[i] - p->in_zero) - total) * inverse + half) >> (16 - shift));
        const int32_t *const factor = factors + 2 * i * p->per_channel;
        const int64_t value = (int64_t)unit * factor[0] + (int64_t)factor[1] * 65536 + 0x80000000LL;
        y[i] = eo_clamp((int32_t)(value >> 32) + p->out_zero, p->act_min, p->act_max);
    }
}

void eo_s8_norm__scalar(const eo_norm *p, const int8_t *x, const int32_t *factors, int8_t *y, size_t rows) {
    for (; rows > 0; rows--, x += p->width, y += p->width)
        normalize(p, x, factors, y);
}
