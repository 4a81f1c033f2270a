/* y = x + sin(a x)^2 / a in integers, with a frequency a for each channel.
 *
 * A sine squared repeats: what counts is the phase, 32 bits that wrap once a period, and of it the upper eight, rounded.
 *
 * constants: values round(65535 sin(pi i / 256)^2) for i = 0..255, 16 bits each; then for each channel the phase of one
 * step of x, and how high the wave is: 2^24 / (65535 a s_y). slope is 2^24 s_x / s_y. */
#include "requant.h"

typedef struct {
    uint32_t phase;
    int32_t height;
} snake_channel;

void snake_s8_snake__scalar(const int8_t *x, const uint32_t *constants, int8_t *y, size_t rows, int32_t channels,
                            int32_t slope, int32_t in_zero, int32_t out_zero, int32_t low, int32_t high) {
    const uint16_t *const squares = (const uint16_t *)(const void *)constants;
    const snake_channel *const factors = (const snake_channel *)(const void *)(constants + 128);
    for (; rows > 0; rows--) {
        for (int32_t c = 0; c < channels; c++) {
            const int32_t q = *x++ - in_zero;
            const uint32_t phase = (uint32_t)q * factors[c].phase + 0x800000U;
            const int64_t steps = (int64_t)q * slope + (int64_t)squares[phase >> 24] * factors[c].height;
            *y++ = eo_clamp((int32_t)((steps + 0x800000) >> 24) + out_zero, low, high);
        }
    }
}
