/* The specification. Packed: a record for each output channel of {int32 bias, int32 shift,
 * int8 weights[kernel_h][kernel_w][in_c], zeros up to a multiple of 4}. */
#include "../common/conv2d_records.h"

void eo_p8_conv2d__scalar(const eo_window *g, const int8_t *x, const void *packed, const eo_add *add, int8_t *y,
                          void *scratch) {
    (void)scratch;
    eo_conv2d_by_records(g, x, packed, add, y, eo_shift_right);
}
