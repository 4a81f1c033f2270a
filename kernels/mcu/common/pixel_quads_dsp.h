/* What the DSP convolutions share whose weights take instructions to bring: four output pixels at a time.
 *
 * For each 4 consecutive values k0..k3 of a patch, eight words: (k0,k2) of the pixels a, b, c, d, then (k1,k3). */
#ifndef EDGEOPT_PIXEL_QUADS_DSP_H
#define EDGEOPT_PIXEL_QUADS_DSP_H

#include "../common/pixel_pairs_dsp.h"

/* clang-format off */
#define EO_WIDEN_HALF_QUAD            \
    "ldr r3, [%[a]], #4           \n" \
    "ldr r4, [%[b]], #4           \n" \
    "sxtb16 r5, r3                \n" \
    "sxtb16 r6, r4                \n" \
    "sxtb16 r3, r3, ror #8        \n" \
    "sxtb16 r4, r4, ror #8        \n" \
    "strd r5, r6, [%[c]], #16     \n" \
    "strd r3, r4, [%[c]], #16     \n"

/* Two pixels of four: column is that of the first of them. */
static inline uint32_t *eo_widen_half(const int8_t *a, const int8_t *b, uint32_t *column, int quads) {
    __asm volatile(
        "tst %[n], #1               \n"
        "bne 2f                     \n"
        "1:                         \n"
        EO_WIDEN_HALF_QUAD
        "2:                         \n"
        EO_WIDEN_HALF_QUAD
        "subs %[n], #2              \n"
        "bgt 1b                     \n"
        : [a] "+r"(a), [b] "+r"(b), [c] "+r"(column), [n] "+r"(quads)
        :
        : "r3", "r4", "r5", "r6", "cc", "memory");
    return column;
}
/* clang-format on */

/* What all pixels share, and where the outputs of four go. */
typedef struct {
    const uint32_t *column, *column_end;
    const void *packed, *table;
    int32_t out_zero, channels;
    int8_t *y[4];
} eo_four_pixels;

/* All output channels of four pixels; those of a pixel that stands for another are written over the other's. */
typedef void eo_four_pixels_fn(const eo_four_pixels *block);

/* Widens the next count <= 4 patches; the last one stands for those that are missing. */
static inline void eo_quad_column(const eo_window *g, const int8_t *x, eo_patch *next, int count, uint32_t *column,
                                  int8_t *copies) {
    eo_patch p[4];
    for (int i = 0; i < 4; i++) {
        p[i] = i < count ? *next : p[i - 1];
        if (i < count)
            eo_next_patch(g, next);
    }
    eo_columns(g, x, &p[0], &p[1], column, copies, eo_widen_half);
    eo_columns(g, x, &p[2], &p[3], column + 2, copies, eo_widen_half);
}

static inline void eo_conv2d_by_quads(const eo_window *g, const int8_t *x, const void *packed, const void *table,
                                      const eo_add *add, int8_t *y, void *scratch, eo_four_pixels_fn *four_pixels) {
    const size_t words = 2 * eo_patch_bytes(g);
    uint32_t *const column = scratch;
    int8_t *const copies = (int8_t *)(column + words), *const line = copies + 2 * eo_patch_bytes(g) + 8;
    const int pointwise = eo_is_pointwise(g) && g->in_c % 4 == 0;
    eo_four_pixels block = {column, column + words, packed, table, g->out_zero, g->out_c, {0}};
    eo_patch next = eo_first_patch(g);
    for (int left = g->out_h * g->out_w; left > 0; left -= 4) {
        const int count = left < 4 ? left : 4;
        const size_t n = (size_t)count * g->out_c;
        int8_t *const out = add ? line : y;
        int at[4];
        for (int i = 0; i < 4; i++) {
            at[i] = i < count ? i : count - 1;
            block.y[i] = out + at[i] * g->out_c;
        }
        if (pointwise) {
            eo_widen_half(x + at[0] * g->in_c, x + at[1] * g->in_c, column, g->in_c / 4);
            eo_widen_half(x + at[2] * g->in_c, x + at[3] * g->in_c, column + 2, g->in_c / 4);
            x += 4 * g->in_c;
        } else
            eo_quad_column(g, x, &next, count, column, copies);
        four_pixels(&block);
        eo_clamp_span(out, n, g->act_min, g->act_max);
        if (add)
            eo_s8_add__dsp(add, line, y, y, n);
        y += n;
    }
}

#endif
