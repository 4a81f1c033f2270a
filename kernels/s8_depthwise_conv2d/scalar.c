/* The specification. Packed: a record for each channel of {int32 bias, int32 multiplier,
 * int8 weights[kernel_h][kernel_w], zeros up to a multiple of 4}. */
#include "../common/depthwise_conv2d_records.h"

void eo_s8_depthwise_conv2d__scalar(const eo_window *g, const int8_t *x, const void *packed, int8_t *y,
                                    void *scratch) {
    (void)scratch;
    eo_depthwise_conv2d_by_records(g, x, packed, y, eo_mul_high);
}
