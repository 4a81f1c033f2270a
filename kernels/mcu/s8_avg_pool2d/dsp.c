/* Four channels at a time: SXTAB16 adds bytes to pairs of int16, which hold 255 of them. */
#include <string.h>

#include "../common/requant.h"
#include "edgeopt_kernels.h"

enum { RUN = 255 };

/* Sums count <= 255 pixels, step bytes apart, of four channels; adds them to acc. */
static inline void add_run(const int8_t *x, int step, int count, int32_t acc[4]) {
    uint32_t even = 0, odd = 0;
    for (; count > 0; count--, x += step) {
        uint32_t word;
        memcpy(&word, x, 4);
        __asm("sxtab16 %0, %0, %1" : "+r"(even) : "r"(word));
        __asm("sxtab16 %0, %0, %1, ror #8" : "+r"(odd) : "r"(word));
    }
    acc[0] += (int16_t)even;
    acc[1] += (int16_t)odd;
    acc[2] += (int16_t)(even >> 16);
    acc[3] += (int16_t)(odd >> 16);
}

/* The mean of four channels of one window; the last block of a pixel may store fewer. */
static void four_channels(const eo_window *g, const int8_t *x, const eo_requant *packed, int8_t *y, int stored) {
    int32_t acc[4] = {packed->bias, packed->bias, packed->bias, packed->bias};
    for (int ky = 0; ky < g->kernel_h; ky++, x += g->in_w * g->in_c)
        for (int kx = 0; kx < g->kernel_w; kx += RUN)
            add_run(x + kx * g->in_c, g->in_c, eo_min_i32(RUN, g->kernel_w - kx), acc);
    for (int i = 0; i < stored; i++)
        y[i] = eo_clamp(eo_mul_high(acc[i] * 16, packed->multiplier) + g->out_zero, g->act_min, g->act_max);
}

void eo_s8_avg_pool2d__dsp(const eo_window *g, const int8_t *x, const eo_requant *packed, int8_t *y) {
    for (int oy = 0; oy < g->out_h; oy++)
        for (int ox = 0; ox < g->out_w; ox++, y += g->out_c)
            for (int c = 0; c < g->out_c; c += 4)
                four_channels(g, x + (oy * g->stride_h * g->in_w + ox * g->stride_w) * g->in_c + c, packed, y + c,
                              eo_min_i32(4, g->out_c - c));
}
