/* Four channels at a time in 32-bit lanes. */
#include <arm_mve.h>

#include "edgeopt_kernels.h"

static void four_channels(const eo_window *g, const int8_t *x, const eo_requant *packed, int8_t *y,
                          mve_pred16_t lanes) {
    int32x4_t acc = vdupq_n_s32(packed->bias);
    for (int ky = 0; ky < g->kernel_h; ky++, x += g->in_w * g->in_c) {
        const int8_t *pixel = x;
        for (int kx = g->kernel_w; kx > 0; kx--, pixel += g->in_c)
            acc = vaddq_s32(acc, vldrbq_z_s32(pixel, lanes));
    }
    acc = vrmulhq_s32(vshlq_n_s32(acc, 4), vdupq_n_s32(packed->multiplier));
    acc = vmaxq_s32(vaddq_n_s32(acc, g->out_zero), vdupq_n_s32(g->act_min));
    vstrbq_p_s32(y, vminq_s32(acc, vdupq_n_s32(g->act_max)), lanes);
}

void eo_s8_avg_pool2d__mve(const eo_window *g, const int8_t *x, const eo_requant *packed, int8_t *y) {
    for (int oy = 0; oy < g->out_h; oy++)
        for (int ox = 0; ox < g->out_w; ox++, y += g->out_c)
            for (int c = 0; c < g->out_c; c += 4)
                four_channels(g, x + (oy * g->stride_h * g->in_w + ox * g->stride_w) * g->in_c + c, packed, y + c,
                              vctp32q((uint32_t)(g->out_c - c)));
}
