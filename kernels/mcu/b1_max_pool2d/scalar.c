/* The specification: the largest of signs is +1 where any is. */
#include "edgeopt_kernels.h"

static uint32_t window(const eo_window *g, const uint32_t *x, int y0, int x0, size_t words) {
    uint32_t any = 0;
    for (int iy = y0; iy < y0 + g->kernel_h; iy++)
        for (int ix = x0; ix < x0 + g->kernel_w; ix++)
            if (iy >= 0 && iy < g->in_h && ix >= 0 && ix < g->in_w)
                any |= x[((size_t)iy * g->in_w + (size_t)ix) * words];
    return any;
}

void eo_b1_max_pool2d__scalar(const eo_window *g, const uint32_t *x, uint32_t *y) {
    const size_t words = eo_words(g->in_c);
    for (int oy = 0; oy < g->out_h; oy++)
        for (int ox = 0; ox < g->out_w; ox++)
            for (size_t i = 0; i < words; i++)
                *y++ = window(g, x + i, oy * g->stride_h - g->pad_top, ox * g->stride_w - g->pad_left, words);
}
