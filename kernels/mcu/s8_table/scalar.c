/* The specification. */
#include "edgeopt_kernels.h"

void eo_s8_table__scalar(const int8_t *x, const int8_t *table, int8_t *y, size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] = table[x[i] + 128];
}
