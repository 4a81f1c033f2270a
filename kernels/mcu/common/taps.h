/* Sums of products under a window, as plain as they are specified; what lies outside the map counts as in_zero. */
#ifndef EDGEOPT_TAPS_H
#define EDGEOPT_TAPS_H

#include "edgeopt_kernels.h"

static inline int32_t eo_tap(const eo_window *g, const int8_t *x, int iy, int ix, const int8_t *w) {
    const int inside = iy >= 0 && iy < g->in_h && ix >= 0 && ix < g->in_w;
    const int8_t *pixel = x + ((size_t)iy * g->in_w + (size_t)ix) * g->in_c;
    int32_t acc = 0;
    for (int c = 0; c < g->in_c; c++)
        acc += (inside ? pixel[c] : g->in_zero) * w[c];
    return acc;
}

/* All channels, weights [kernel_h][kernel_w][in_c]. */
static inline int32_t eo_all_channels(const eo_window *g, const int8_t *x, int y0, int x0, const int8_t *w) {
    int32_t acc = 0;
    for (int ky = 0; ky < g->kernel_h; ky++)
        for (int kx = 0; kx < g->kernel_w; kx++, w += g->in_c)
            acc += eo_tap(g, x, y0 + ky, x0 + kx, w);
    return acc;
}

/* The channel that x points at, weights [kernel_h][kernel_w]. */
static inline int32_t eo_one_channel(const eo_window *g, const int8_t *x, int y0, int x0, const int8_t *w) {
    int32_t acc = 0;
    for (int ky = 0; ky < g->kernel_h; ky++)
        for (int kx = 0; kx < g->kernel_w; kx++, w++) {
            const int iy = y0 + ky, ix = x0 + kx;
            const int inside = iy >= 0 && iy < g->in_h && ix >= 0 && ix < g->in_w;
            acc += (inside ? x[((size_t)iy * g->in_w + (size_t)ix) * g->in_c] : g->in_zero) * *w;
        }
    return acc;
}

#endif
