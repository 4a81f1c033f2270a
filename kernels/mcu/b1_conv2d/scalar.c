/* The specification. Packed: a record for each output channel of {int32 threshold}, or for bytes {int32 bias, int32
 * multiplier}, and uint32 weights[kernel_h][kernel_w][words], the least bit first. */
#include "../common/requant.h"
#include "edgeopt_kernels.h"

static int32_t popcount(uint32_t v) {
    v = v - (v >> 1 & 0x55555555U);
    v = (v & 0x33333333U) + (v >> 2 & 0x33333333U);
    return (int32_t)(((v + (v >> 4)) & 0x0f0f0f0fU) * 0x01010101U >> 24);
}

static int32_t tap(const eo_window *g, const uint32_t *x, const uint32_t *w) {
    int32_t sum = g->in_c;
    for (size_t i = 0; i < eo_words(g->in_c); i++)
        sum -= 2 * popcount(x[i] ^ w[i]);
    return sum;
}

static int32_t window(const eo_window *g, const uint32_t *x, int y0, int x0, const uint32_t *w) {
    const size_t words = eo_words(g->in_c);
    int32_t sum = 0;
    for (int ky = 0; ky < g->kernel_h; ky++)
        for (int kx = 0; kx < g->kernel_w; kx++, w += words) {
            const int iy = y0 + ky, ix = x0 + kx;
            if (iy >= 0 && iy < g->in_h && ix >= 0 && ix < g->in_w)
                sum += tap(g, x + ((size_t)iy * g->in_w + (size_t)ix) * words, w);
        }
    return sum;
}

void eo_b1_conv2d__scalar(const eo_window *g, const uint32_t *x, const void *packed, int bytes, void *y,
                          void *scratch) {
    const size_t record = (bytes ? 2 : 1) + (size_t)g->kernel_h * g->kernel_w * eo_words(g->in_c);
    uint32_t *bits = y;
    int8_t *out = y;
    (void)scratch;
    for (int oy = 0; oy < g->out_h; oy++)
        for (int ox = 0; ox < g->out_w; ox++, bits += eo_words(g->out_c)) {
            const int y0 = oy * g->stride_h - g->pad_top, x0 = ox * g->stride_w - g->pad_left;
            const int32_t *p = packed;
            for (int oc = 0; oc < g->out_c; oc++, p += record) {
                const int32_t sum = window(g, x, y0, x0, (const uint32_t *)p + (bytes ? 2 : 1));
                if (bytes)
                    *out++ = eo_clamp(eo_mul_high(p[0] + 256 * sum, p[1]) + g->out_zero, g->act_min, g->act_max);
                else
                    bits[oc / 32] = (oc % 32 ? bits[oc / 32] : 0) | (uint32_t)(sum >= p[0]) << oc % 32;
            }
        }
}
