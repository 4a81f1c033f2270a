/* The specification. */
#include "../common/requant.h"
#include "edgeopt_kernels.h"

static int32_t window_max(const eo_window *g, const int8_t *x, int y0, int x0) {
    const int y1 = eo_min_i32(y0 + g->kernel_h, g->in_h), x1 = eo_min_i32(x0 + g->kernel_w, g->in_w);
    int32_t best = INT8_MIN;
    for (int iy = eo_max_i32(y0, 0); iy < y1; iy++)
        for (int ix = eo_max_i32(x0, 0); ix < x1; ix++)
            best = eo_max_i32(best, x[((size_t)iy * g->in_w + (size_t)ix) * g->in_c]);
    return best;
}

void eo_s8_max_pool2d__scalar(const eo_window *g, const int8_t *x, int8_t *y) {
    for (int oy = 0; oy < g->out_h; oy++)
        for (int ox = 0; ox < g->out_w; ox++)
            for (int c = 0; c < g->out_c; c++)
                *y++ = eo_clamp(window_max(g, x + c, oy * g->stride_h - g->pad_top, ox * g->stride_w - g->pad_left),
                                g->act_min, g->act_max);
}
