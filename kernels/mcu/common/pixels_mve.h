/* What the MVE convolutions share: two output pixels at a time, those of a pointwise convolution read in place. */
#ifndef EDGEOPT_PIXELS_MVE_H
#define EDGEOPT_PIXELS_MVE_H

#include "../common/patch.h"
#include "../common/requant.h"

/* What all pixels share; the order is that in which it is loaded. */
typedef struct {
    const void *packed;
    const int8_t *x_end; /* of pixel 0: x0 + patch bytes, up to a multiple of 16 */
    int32_t out_zero, channels, low, high;
    const void *table;
} eo_two_pixels_block;

/* All output channels of two pixels. */
typedef void eo_two_pixels_mve_fn(const int8_t *x0, const int8_t *x1, int8_t *y0, int8_t *y1,
                                  const eo_two_pixels_block *block);

/* clang-format off */
static inline void eo_copy_vectors(int8_t *to, const int8_t *from, int bytes) {
    __asm volatile(
        "wlstp.8 lr, %[n], 2f        \n"
        "1:                          \n"
        "vldrb.8 q0, [%[from]], #16  \n"
        "vstrb.8 q0, [%[to]], #16    \n"
        "letp lr, 1b                 \n"
        "2:                          \n"
        : [to] "+l"(to), [from] "+l"(from)
        : [n] "r"(bytes)
        : "lr", "q0", "memory");
}
/* clang-format on */

static inline void eo_conv2d_by_pixels_mve(const eo_window *g, const int8_t *x, const void *packed, const void *table,
                                           const eo_add *add, int8_t *y, void *scratch,
                                           eo_two_pixels_mve_fn *two_pixels) {
    const int bytes = (g->kernel_h * g->kernel_w * g->in_c + 15) / 16 * 16;
    int8_t *const copies = scratch, *const line = copies + 2 * bytes;
    eo_two_pixels_block block = {packed, NULL, g->out_zero, g->out_c, g->act_min, g->act_max, table};
    eo_patch p = eo_first_patch(g);
    const int pointwise = eo_is_pointwise(g);
    for (int left = g->out_h * g->out_w; left > 0; left -= 2) {
        const int both = left > 1; /* an odd last pixel is computed twice */
        int8_t *const out = add ? line : y;
        const int8_t *patch[2];
        if (pointwise) {
            patch[0] = x;
            patch[1] = x + g->in_c;
            x += 2 * g->in_c;
        } else
            for (int i = 0; i <= both; i++, eo_next_patch(g, &p)) {
                eo_copy_patch(g, x, &p, copies + i * bytes, eo_copy_vectors);
                patch[i] = copies + i * bytes;
            }
        block.x_end = patch[0] + bytes;
        two_pixels(patch[0], patch[both], out, out + both * g->out_c, &block);
        if (add)
            eo_s8_add__mve(add, line, y, y, (size_t)(1 + both) * g->out_c);
        y += (1 + both) * g->out_c;
    }
}

#endif
