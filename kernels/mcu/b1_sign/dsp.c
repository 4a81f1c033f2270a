/* Four channels at a time: SSUB8 compares, SEL turns what it found into bits, USAD8 joins these. */
#include <string.h>

#include "edgeopt_kernels.h"

/* The signs of quads * 4 values, in the upper bits of a word. */
static inline uint32_t signs(const int8_t *x, const uint32_t *thresholds, size_t quads) {
    const uint32_t bits = 0x08040201U;
    uint32_t word = 0;
    for (; quads > 0; quads--, x += 4, thresholds++) {
        uint32_t four;
        memcpy(&four, x, 4);
        /* clang-format off */
        __asm("ssub8 %[four], %[four], %[threshold] \n"
              "sel %[four], %[bits], %[none]        \n"
              "usad8 %[four], %[four], %[none]      \n"
              : [four] "+r"(four)
              : [threshold] "r"(*thresholds), [bits] "r"(bits), [none] "r"(0)
              : "cc");
        /* clang-format on */
        word = word >> 4 | four << 28;
    }
    return word;
}

void eo_b1_sign__dsp(const int8_t *x, const void *packed, uint32_t *y, size_t pixels, size_t channels) {
    for (; pixels > 0; pixels--) {
        const uint32_t *p = packed;
        for (size_t left = channels; left > 0; p += 9) {
            const size_t bits = left < 32 ? left : 32, quads = (bits + 3) / 4;
            /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): there is one quad at least */
            *y++ = signs(x, p + 1, quads) >> (32 - 4 * quads) & p[0];
            x += bits;
            left -= bits;
        }
    }
}
