/* The specification. Packed: for each 32 channels {uint32 mask, int8 thresholds[32]}. */
#include "edgeopt_kernels.h"

void eo_b1_sign__scalar(const int8_t *x, const void *packed, uint32_t *y, size_t pixels, size_t channels) {
    for (; pixels > 0; pixels--) {
        const uint32_t *p = packed;
        for (size_t left = channels; left > 0; p += 9) {
            const int8_t *threshold = (const int8_t *)(p + 1);
            const size_t bits = left < 32 ? left : 32;
            uint32_t word = 0;
            for (size_t i = 0; i < bits; i++)
                word |= (uint32_t)(*x++ >= threshold[i]) << i;
            *y++ = word & p[0];
            left -= bits;
        }
    }
}
