/* Columns for the DSP convolutions: the patches of two output pixels, widened to int16 and interleaved.
 *
 * For each 4 consecutive values k0..k3 of a patch, four words: a(k0,k2) b(k0,k2) a(k1,k3) b(k1,k3), a and b being
 * the two pixels. SXTB16 gives just these pairs, so nothing is reordered. */
#ifndef EDGEOPT_COLUMNS_DSP_H
#define EDGEOPT_COLUMNS_DSP_H

#include <string.h>

#include "edgeopt_kernels.h"

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

/* A pixel of the output and the corner of its patch in the input, as coordinates and as an offset in bytes. */
typedef struct {
    int ox, y0, x0, at;
} eo_patch;

static inline eo_patch eo_first_patch(const eo_window *g) {
    const eo_patch first = {0, -g->pad_top, -g->pad_left, -(g->pad_top * g->in_w + g->pad_left) * g->in_c};
    return first;
}

/* The patch of the next pixel in raster order. */
static inline void eo_next_patch(const eo_window *g, eo_patch *p) {
    p->x0 += g->stride_w;
    p->at += g->stride_w * g->in_c;
    if (++p->ox == g->out_w) {
        const int back = g->out_w * g->stride_w;
        p->ox = 0;
        p->x0 -= back;
        p->y0 += g->stride_h;
        p->at += (g->stride_h * g->in_w - back) * g->in_c;
    }
}

static inline int eo_patch_is_inside(const eo_window *g, const eo_patch *p) {
    return p->x0 >= 0 && p->y0 >= 0 && p->x0 <= g->in_w - g->kernel_w && p->y0 <= g->in_h - g->kernel_h;
}

/* Copies words: up to 3 bytes more than asked for. */
static inline void eo_copy_words(int8_t *to, const int8_t *from, int bytes) {
    for (; bytes > 0; bytes -= 4, from += 4, to += 4)
        memcpy(to, from, 4);
}

/* Copies a patch, rows end to end, in_zero wherever it leaves the map. */
static inline void eo_copy_patch(const eo_window *g, const int8_t *x, const eo_patch *p, int8_t *to) {
    const int c = g->in_c, row = g->kernel_w * c;
    const int left = p->x0 < 0 ? -p->x0 * c : 0;
    const int end = p->x0 + g->kernel_w > g->in_w ? (g->in_w - p->x0) * c : row;
    int at = p->at;
    for (int iy = p->y0; iy < p->y0 + g->kernel_h; iy++, at += g->in_w * c, to += row) {
        const int inside = iy >= 0 && iy < g->in_h && left < end;
        if (inside)
            eo_copy_words(to + left, x + at + left, end - left);
        if (!inside)
            memset(to, g->in_zero, (size_t)row);
        else if (end - left < row) {
            memset(to, g->in_zero, (size_t)left);
            memset(to + end, g->in_zero, (size_t)(row - end));
        }
    }
}

/* Widens the patches a and b, which may be the same one; column is a kernel's whole scratch. */
static inline void eo_columns(const eo_window *g, const int8_t *x, const eo_patch *a, const eo_patch *b,
                              uint32_t *column) {
    const int row = g->kernel_w * g->in_c, quads = (int)(eo_patch_bytes(g) / 4);
    if (row % 4 == 0 && eo_patch_is_inside(g, a) && eo_patch_is_inside(g, b)) {
        const int8_t *from_a = x + a->at, *from_b = x + b->at;
        for (int ky = g->kernel_h; ky > 0; ky--, from_a += g->in_w * g->in_c, from_b += g->in_w * g->in_c)
            column = eo_widen_pair(from_a, from_b, column, row / 4);
    } else {
        int8_t *const copy_a = (int8_t *)(column + 4 * quads), *const copy_b = copy_a + 4 * quads + 4;
        eo_copy_patch(g, x, a, copy_a);
        eo_copy_patch(g, x, b, copy_b);
        eo_widen_pair(copy_a, copy_b, column, quads);
    }
}

#endif
