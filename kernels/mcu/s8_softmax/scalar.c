/* The specification. The largest value of a row has exp_table[0] = 65535, so the sum is never zero; it stays
 * below 2^32 for 65,536 values, and exp * 256 + sum / 2 with it. */
#include "../common/requant.h"
#include "edgeopt_kernels.h"

static void softmax_row(const int8_t *x, const uint16_t *exp_table, int8_t *y, size_t n) {
    int32_t largest = INT8_MIN;
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        largest = eo_max_i32(largest, x[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp_table[largest - x[i]];
    for (size_t i = 0; i < n; i++) {
        const uint32_t scaled = (uint32_t)exp_table[largest - x[i]] << 8;
        y[i] = (int8_t)eo_min_i32((int32_t)((scaled + sum / 2) / sum) - 128, 127);
    }
}

void eo_s8_softmax__scalar(const int8_t *x, const uint16_t *exp_table, int8_t *y, size_t rows, size_t n) {
    for (size_t r = 0; r < rows; r++)
        softmax_row(x + r * n, exp_table, y + r * n, n);
}
