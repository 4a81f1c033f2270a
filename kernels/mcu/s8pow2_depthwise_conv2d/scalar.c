/* The specification. Packed: a record for each channel of {int32 bias, int32 shift,
 * int8 weights[kernel_h][kernel_w], zeros up to a multiple of 4}. */
#include "../common/requant.h"
#include "../common/taps.h"

void eo_s8pow2_depthwise_conv2d__scalar(const eo_window *g, const int8_t *x, const void *packed, int8_t *y,
                                        void *scratch) {
    const size_t record = 2 + ((size_t)g->kernel_h * g->kernel_w + 3) / 4;
    (void)scratch;
    for (int oy = 0; oy < g->out_h; oy++)
        for (int ox = 0; ox < g->out_w; ox++) {
            const int32_t *p = packed;
            for (int c = 0; c < g->out_c; c++, p += record) {
                const int32_t acc = p[0] + eo_one_channel(g, x + c, oy * g->stride_h - g->pad_top,
                                                          ox * g->stride_w - g->pad_left, (const int8_t *)(p + 2));
                *y++ = eo_clamp((acc >> p[1]) + g->out_zero, g->act_min, g->act_max);
            }
        }
}
