/* The specification. Packed: a record for each output channel of {int32 bias, int32 multiplier,
 * int8 weights[kernel_h][kernel_w][in_c], zeros up to a multiple of 4}. */
#include "../common/requant.h"
#include "edgeopt_kernels.h"

static int32_t tap(const eo_window *g, const int8_t *x, int iy, int ix, const int8_t *w) {
    const int inside = iy >= 0 && iy < g->in_h && ix >= 0 && ix < g->in_w;
    const int8_t *pixel = x + ((size_t)iy * g->in_w + (size_t)ix) * g->in_c;
    int32_t acc = 0;
    for (int c = 0; c < g->in_c; c++)
        acc += (inside ? pixel[c] : g->in_zero) * w[c];
    return acc;
}

static int32_t window(const eo_window *g, const int8_t *x, int y0, int x0, const int8_t *w) {
    int32_t acc = 0;
    for (int ky = 0; ky < g->kernel_h; ky++)
        for (int kx = 0; kx < g->kernel_w; kx++, w += g->in_c)
            acc += tap(g, x, y0 + ky, x0 + kx, w);
    return acc;
}

void eo_s8_conv2d__scalar(const eo_window *g, const int8_t *x, const void *packed, const eo_add *add, int8_t *y,
                          void *scratch) {
    const size_t record = 2 + ((size_t)g->kernel_h * g->kernel_w * g->in_c + 3) / 4;
    (void)scratch;
    for (int oy = 0; oy < g->out_h; oy++)
        for (int ox = 0; ox < g->out_w; ox++) {
            const int32_t *p = packed;
            for (int oc = 0; oc < g->out_c; oc++, p += record, y++) {
                int32_t acc = p[0] + window(g, x, oy * g->stride_h - g->pad_top, ox * g->stride_w - g->pad_left,
                                            (const int8_t *)(p + 2));
                int8_t v = eo_clamp(eo_mul_high(acc, p[1]) + g->out_zero, g->act_min, g->act_max);
                if (add)
                    eo_s8_add__scalar(add, &v, y, y, 1);
                else
                    *y = v;
            }
        }
}
