/* What the DSP convolutions share: two output pixels at a time, their patches widened to int16 and interleaved.
 *
 * For each 4 consecutive values k0..k3 of a patch, four words: a(k0,k2) b(k0,k2) a(k1,k3) b(k1,k3), a and b being
 * the two pixels. SXTB16 gives just these pairs, so nothing is reordered. */
#ifndef EDGEOPT_PIXEL_PAIRS_DSP_H
#define EDGEOPT_PIXEL_PAIRS_DSP_H

#include "../common/patch.h"
#include "../common/requant.h"

/* clang-format off */
#define EO_WIDEN_QUAD               \
    "ldr r3, [%[a]], #4         \n" \
    "ldr r4, [%[b]], #4         \n" \
    "sxtb16 r5, r3              \n" \
    "sxtb16 r6, r4              \n" \
    "sxtb16 r8, r3, ror #8      \n" \
    "sxtb16 r9, r4, ror #8      \n" \
    "stm %[c]!, {r5, r6, r8, r9}\n"

/* Widens quads * 4 > 0 values of a and of b; the sources need no alignment. Returns the end of the column. */
static inline uint32_t *eo_widen_pair(const int8_t *a, const int8_t *b, uint32_t *column, int quads) {
    __asm volatile(
        "tst %[n], #1               \n"
        "bne 2f                     \n"
        "1:                         \n"
        EO_WIDEN_QUAD
        "2:                         \n"
        EO_WIDEN_QUAD
        "subs %[n], #2              \n"
        "bgt 1b                     \n"
        : [a] "+r"(a), [b] "+r"(b), [c] "+r"(column), [n] "+r"(quads)
        :
        : "r3", "r4", "r5", "r6", "r8", "r9", "cc", "memory");
    return column;
}
/* clang-format on */

/* Copies words: up to 3 bytes more than asked for. */
static inline void eo_copy_words(int8_t *to, const int8_t *from, int bytes) {
    for (; bytes > 0; bytes -= 4, from += 4, to += 4)
        memcpy(to, from, 4);
}

/* Widens quads * 4 > 0 values of a and of b to a column; returns where the next ones belong. */
typedef uint32_t *eo_widen_fn(const int8_t *a, const int8_t *b, uint32_t *column, int quads);

/* Widens the patches a and b, which may be the same one. copies has room for two patches and 8 bytes. */
static inline void eo_columns(const eo_window *g, const int8_t *x, const eo_patch *a, const eo_patch *b,
                              uint32_t *column, int8_t *copies, eo_widen_fn *widen) {
    const int row = g->kernel_w * g->in_c, quads = (int)(eo_patch_bytes(g) / 4);
    if (row % 4 == 0 && eo_patch_is_inside(g, a) && eo_patch_is_inside(g, b)) {
        const int8_t *from_a = x + a->at, *from_b = x + b->at;
        for (int ky = g->kernel_h; ky > 0; ky--, from_a += g->in_w * g->in_c, from_b += g->in_w * g->in_c)
            column = widen(from_a, from_b, column, row / 4);
    } else {
        int8_t *const copy_b = copies + 4 * quads + 4;
        eo_copy_patch(g, x, a, copies, eo_copy_words);
        eo_copy_patch(g, x, b, copy_b, eo_copy_words);
        widen(copies, copy_b, column, quads);
    }
}

/* All output channels of two pixels, from a column that ends at column_end, to y0 and y1. */
typedef void eo_two_pixels_fn(const uint32_t *column, const void *packed, int8_t *y0, int8_t *y1,
                              const uint32_t *column_end, int32_t out_zero, int32_t channels);

static inline void eo_conv2d_by_pairs(const eo_window *g, const int8_t *x, const void *packed, const eo_add *add,
                                      int8_t *y, void *scratch, eo_two_pixels_fn *two_pixels) {
    uint32_t *const column = scratch;
    const uint32_t *const column_end = column + eo_patch_bytes(g);
    int8_t *const line = (int8_t *)scratch + eo_s8_conv2d__dsp_scratch(g, 0);
    const int pointwise = eo_is_pointwise(g) && g->in_c % 4 == 0;
    eo_patch a = eo_first_patch(g), b;
    for (int left = g->out_h * g->out_w; left > 0; left -= 2) {
        const int both = left > 1; /* an odd last pixel is computed twice */
        const size_t n = (size_t)(1 + both) * g->out_c;
        int8_t *const out = add ? line : y;
        if (pointwise) {
            eo_widen_pair(x, x + both * g->in_c, column, g->in_c / 4);
            x += 2 * g->in_c;
        } else {
            b = a;
            if (both)
                eo_next_patch(g, &b);
            eo_columns(g, x, &a, &b, column, (int8_t *)(column + eo_patch_bytes(g)), eo_widen_pair);
            a = b;
            eo_next_patch(g, &a);
        }
        two_pixels(column, packed, out, out + both * g->out_c, column_end, g->out_zero, g->out_c);
        eo_clamp_span(out, n, g->act_min, g->act_max);
        if (add)
            eo_s8_add__dsp(add, line, y, y, n);
        y += n;
    }
}

#endif
