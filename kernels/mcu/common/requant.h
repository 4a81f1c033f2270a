/* From int32 accumulators back to int8: the arithmetic that every kernel shares. */
#ifndef EDGEOPT_REQUANT_H
#define EDGEOPT_REQUANT_H

#include <stddef.h>
#include <stdint.h>

/* C leaves it to the compiler what >> does to negative numbers: here it must divide and round down, as every compiler
 * for these cores has it. C99 has no _Static_assert: a negative size says the same. */
typedef char eo_right_shifts_round_down[(-3 >> 1) == -2 ? 1 : -1];

static inline int8_t eo_clamp(int32_t v, int32_t lo, int32_t hi) { return (int8_t)(v < lo ? lo : v > hi ? hi : v); }

/* For kernels that saturate to int8 in one instruction: nothing to do unless the range is narrower. */
static inline void eo_clamp_span(int8_t *y, size_t n, int32_t lo, int32_t hi) {
    if (lo > INT8_MIN || hi < INT8_MAX)
        for (size_t i = 0; i < n; i++)
            y[i] = eo_clamp(y[i], lo, hi);
}

/* High word of a 64-bit product, rounded half up: SMMULR and VRMULH are this in one instruction. */
static inline int32_t eo_mul_high(int32_t acc, int32_t multiplier) {
    return (int32_t)(((int64_t)acc * multiplier + 0x80000000LL) >> 32);
}

static inline int32_t eo_max_i32(int32_t a, int32_t b) { return a > b ? a : b; }

static inline int32_t eo_min_i32(int32_t a, int32_t b) { return a < b ? a : b; }

#endif
