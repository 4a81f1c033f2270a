/* Patches of the input under an output pixel, pixel after pixel in raster order. */
#ifndef EDGEOPT_PATCH_H
#define EDGEOPT_PATCH_H

#include <string.h>

#include "edgeopt_kernels.h"

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

/* Whether patches are single pixels of the input, one after the other. */
static inline int eo_is_pointwise(const eo_window *g) {
    return g->in_h == g->out_h && g->in_w == g->out_w && g->kernel_h == 1 && g->kernel_w == 1 && g->pad_top == 0 &&
           g->pad_left == 0;
}

static inline int eo_patch_is_inside(const eo_window *g, const eo_patch *p) {
    return p->x0 >= 0 && p->y0 >= 0 && p->x0 <= g->in_w - g->kernel_w && p->y0 <= g->in_h - g->kernel_h;
}

/* Copies a patch, rows end to end, in_zero wherever it leaves the map. copy may read and write more bytes than asked
 * for, as many as the kernel's scratch and EO_OVERREAD have room for. */
static inline void eo_copy_patch(const eo_window *g, const int8_t *x, const eo_patch *p, int8_t *to,
                                 void (*copy)(int8_t *to, const int8_t *from, int bytes)) {
    const int c = g->in_c, row = g->kernel_w * c;
    const int left = p->x0 < 0 ? -p->x0 * c : 0;
    const int end = p->x0 + g->kernel_w > g->in_w ? (g->in_w - p->x0) * c : row;
    int at = p->at;
    if (eo_patch_is_inside(g, p)) {
        for (int ky = g->kernel_h; ky > 0; ky--, at += g->in_w * c, to += row)
            copy(to, x + at, row);
        return;
    }
    for (int iy = p->y0; iy < p->y0 + g->kernel_h; iy++, at += g->in_w * c, to += row) {
        const int inside = iy >= 0 && iy < g->in_h && left < end;
        if (inside)
            copy(to + left, x + at + left, end - left);
        if (!inside)
            memset(to, g->in_zero, (size_t)row);
        else if (end - left < row) {
            memset(to, g->in_zero, (size_t)left);
            memset(to + end, g->in_zero, (size_t)(row - end));
        }
    }
}

#endif
