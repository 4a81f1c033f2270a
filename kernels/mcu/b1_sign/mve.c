/* Sixteen channels at a time: a comparison leaves their bits in the predicate. */
#include <arm_mve.h>

#include "edgeopt_kernels.h"

void eo_b1_sign__mve(const int8_t *x, const void *packed, uint32_t *y, size_t pixels, size_t channels) {
    for (; pixels > 0; pixels--) {
        const uint32_t *p = packed;
        for (size_t left = channels; left > 0; p += 9) {
            const int8_t *threshold = (const int8_t *)(p + 1);
            const size_t bits = left < 32 ? left : 32;
            uint32_t word = vcmpgeq_s8(vldrbq_s8(x), vldrbq_s8(threshold));
            if (bits > 16)
                word |= (uint32_t)vcmpgeq_s8(vldrbq_s8(x + 16), vldrbq_s8(threshold + 16)) << 16;
            *y++ = word & p[0];
            x += bits;
            left -= bits;
        }
    }
}
