/* Columns for the DSP convolutions: the patches of two output pixels, widened to int16 and interleaved.
 *
 * For each 4 consecutive values k0..k3 of a patch, four words: a(k0,k2) b(k0,k2) a(k1,k3) b(k1,k3), a and b being
 * the two pixels. SXTB16 gives just these pairs, so nothing is reordered. */
#ifndef EDGEOPT_COLUMNS_DSP_H
#define EDGEOPT_COLUMNS_DSP_H

#include <string.h>

#include "edgeopt_kernels.h"

/* Widens count * 4 values of a and of b; the sources need no alignment. Returns the end of the column. */
static inline uint32_t *eo_widen_pair(const int8_t *a, const int8_t *b, uint32_t *column, size_t count) {
    __asm volatile(
        "1: ldr r3, [%[a]], #4        \n"
        "   ldr r4, [%[b]], #4        \n"
        "   sxtb16 r5, r3             \n"
        "   sxtb16 r6, r4             \n"
        "   sxtb16 r8, r3, ror #8     \n"
        "   sxtb16 r9, r4, ror #8     \n"
        "   subs %[n], #1             \n"
        "   stm %[c]!, {r5, r6, r8, r9} \n"
        "   bne 1b                    \n"
        : [a] "+r"(a), [b] "+r"(b), [c] "+r"(column), [n] "+r"(count)
        :
        : "r3", "r4", "r5", "r6", "r8", "r9", "cc", "memory");
    return column;
}

/* Row iy of the patch that starts at column x0, with in_zero wherever it leaves the map. */
static inline const int8_t *eo_patch_row_at(const eo_window *g, const int8_t *x, int iy, int x0, int8_t *row) {
    const int from = x0 < 0 ? -x0 : 0;
    const int to = x0 + g->kernel_w > g->in_w ? g->in_w - x0 : g->kernel_w;
    memset(row, g->in_zero, eo_patch_row(g));
    if (iy >= 0 && iy < g->in_h && from < to)
        memcpy(row + from * g->in_c, x + (iy * g->in_w + x0 + from) * g->in_c, (size_t)((to - from) * g->in_c));
    return row;
}

/* Patches of the output pixels (oy, ox) and (oy, ox + step), step 0 or 1; column is a kernel's whole scratch. */
static inline void eo_columns(const eo_window *g, const int8_t *x, int oy, int ox, int step, uint32_t *column) {
    const size_t bytes = eo_patch_row(g);
    int8_t *rows = (int8_t *)(column + bytes * g->kernel_h);
    const int y0 = oy * g->stride_h - g->pad_top, x0 = ox * g->stride_w - g->pad_left, x1 = x0 + step * g->stride_w;
    const int inside = y0 >= 0 && x0 >= 0 && y0 + g->kernel_h <= g->in_h && x1 + g->kernel_w <= g->in_w;
    for (int iy = y0; iy < y0 + g->kernel_h; iy++) {
        const int8_t *a, *b;
        if (inside) {
            a = x + (iy * g->in_w + x0) * g->in_c;
            b = x + (iy * g->in_w + x1) * g->in_c;
        } else {
            a = eo_patch_row_at(g, x, iy, x0, rows);
            b = eo_patch_row_at(g, x, iy, x1, rows + bytes);
        }
        column = eo_widen_pair(a, b, column, bytes / 4);
    }
}

#endif
