/* The specification; neighbors that stay neighbors are copied at once. */
#include <string.h>

#include "edgeopt_kernels.h"

static void copy_line(const eo_copy *p, const int8_t *x, int8_t *y) {
    const int32_t from = p->from[3], to = p->to[3];
    if (from == 1 && to == 1)
        memcpy(y, x, p->sizes[3]);
    else
        for (int i = p->sizes[3]; i > 0; i--, x += from, y += to)
            *y = *x;
}

void eo_s8_copy__scalar(const eo_copy *p, const int8_t *x, int8_t *y) {
    for (int i = 0; i < p->sizes[0]; i++)
        for (int j = 0; j < p->sizes[1]; j++)
            for (int k = 0; k < p->sizes[2]; k++)
                copy_line(p, x + i * p->from[0] + j * p->from[1] + k * p->from[2],
                          y + i * p->to[0] + j * p->to[1] + k * p->to[2]);
}
