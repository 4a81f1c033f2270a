/* The specification. Packed: a record for each output channel of {int32 bias, int32 shift,
 * int8 weights[kernel_h][kernel_w][in_c], zeros up to a multiple of 4}. */
#include "../common/requant.h"
#include "../common/taps.h"

void eo_s8pow2_conv2d__scalar(const eo_window *g, const int8_t *x, const void *packed, const eo_add *add, int8_t *y,
                              void *scratch) {
    const size_t record = 2 + ((size_t)g->kernel_h * g->kernel_w * g->in_c + 3) / 4;
    (void)scratch;
    for (int oy = 0; oy < g->out_h; oy++)
        for (int ox = 0; ox < g->out_w; ox++) {
            const int32_t *p = packed;
            for (int oc = 0; oc < g->out_c; oc++, p += record, y++) {
                const int32_t acc = p[0] + eo_all_channels(g, x, oy * g->stride_h - g->pad_top,
                                                           ox * g->stride_w - g->pad_left, (const int8_t *)(p + 2));
                int8_t v = eo_clamp((acc >> p[1]) + g->out_zero, g->act_min, g->act_max);
                if (add)
                    eo_s8_add__scalar(add, &v, y, y, 1);
                else
                    *y = v;
            }
        }
}
