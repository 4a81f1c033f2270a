/* The specification. Packed: for each output channel {int32 bias, int32 multiplier}, then for each output channel its
 * codes [kernel_h][kernel_w][in_c], two a byte, the first in the low half. */
#include "../common/codes.h"
#include "../common/requant.h"
#include "edgeopt_kernels.h"

/* Row iy of the window at column x0, against the weights from index i on. */
static int32_t row(const eo_window *g, const int8_t *x, int iy, int x0, const int8_t *table, const uint8_t *codes,
                   int i) {
    int32_t acc = 0;
    for (int ix = x0; ix < x0 + g->kernel_w; ix++) {
        const int inside = iy >= 0 && iy < g->in_h && ix >= 0 && ix < g->in_w;
        const int8_t *pixel = x + ((size_t)iy * g->in_w + (size_t)ix) * g->in_c;
        for (int c = 0; c < g->in_c; c++, i++)
            acc += (inside ? pixel[c] : g->in_zero) * eo_weight(table, codes, i);
    }
    return acc;
}

void eo_w4_conv2d__scalar(const eo_window *g, const int8_t *x, const void *packed, const void *table, const eo_add *add,
                          int8_t *y, void *scratch) {
    const int taps = g->kernel_w * g->in_c;
    (void)scratch;
    for (int oy = 0; oy < g->out_h; oy++)
        for (int ox = 0; ox < g->out_w; ox++) {
            const int32_t *factors = packed;
            const uint8_t *codes = (const uint8_t *)(factors + 2 * g->out_c);
            for (int oc = 0; oc < g->out_c; oc++, factors += 2, codes += (g->kernel_h * taps + 1) / 2, y++) {
                int32_t acc = factors[0];
                for (int ky = 0; ky < g->kernel_h; ky++)
                    acc += row(g, x, oy * g->stride_h - g->pad_top + ky, ox * g->stride_w - g->pad_left, table, codes,
                               ky * taps);
                int8_t v = eo_clamp(eo_mul_high(acc, factors[1]) + g->out_zero, g->act_min, g->act_max);
                if (add)
                    eo_s8_add__scalar(add, &v, y, y, 1);
                else
                    *y = v;
            }
        }
}
