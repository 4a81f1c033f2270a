/* The specification. */
#include "../common/requant.h"
#include "edgeopt_kernels.h"

void eo_s8_avg_pool2d__scalar(const eo_window *g, const int8_t *x, const eo_requant *packed, int8_t *y) {
    for (int oy = 0; oy < g->out_h; oy++)
        for (int ox = 0; ox < g->out_w; ox++)
            for (int c = 0; c < g->out_c; c++) {
                int32_t acc = packed->bias;
                for (int ky = 0; ky < g->kernel_h; ky++)
                    for (int kx = 0; kx < g->kernel_w; kx++)
                        acc +=
                            x[((size_t)(oy * g->stride_h + ky) * g->in_w + (size_t)(ox * g->stride_w + kx)) * g->in_c +
                              (size_t)c];
                *y++ = eo_clamp(eo_mul_high(acc * 16, packed->multiplier) + g->out_zero, g->act_min, g->act_max);
            }
}
