/* Two pixels by four output channels: eight VMLADAVA of 16 values each.
 *
 * Packed: for each 4 output channels (the last block is filled with zeros)
 *   int32 bias[4]; for each 16 patch values: int8[16] of channels 0..3; int32 multiplier[4].
 * A patch is filled with zero weights up to a multiple of 16 values; what lies behind it in memory is multiplied by
 * them, so that the pixels of a pointwise convolution are read in place. */
#include "../common/two_pixels_mve.h"

/* clang-format off */
#define CHANNEL(acc0, acc1)         \
    "vldrb.8 q2, [r5], #16      \n" \
    "vmladava.s8 " acc0 ", q0, q2 \n" \
    "vmladava.s8 " acc1 ", q1, q2 \n"
#define SIXTEEN                     \
    "vldrb.8 q0, [r1], #16      \n" \
    "vldrb.8 q1, [r3], #16      \n" \
    CHANNEL("r0", "r8") CHANNEL("r2", "r10") CHANNEL("r4", "r12") CHANNEL("r6", "lr")
#define SIXTEEN_BYTES "56" /* of code */

/* r9 is out_zero. */
EO_TWO_PIXELS {
    __asm volatile(
        EO_ENTER_TWO_PIXELS("{d12-d15}", "20")
        "ldrd r2, r3, [r4, #16]     \n"
        EO_FOUR_CHANNELS(SIXTEEN, SIXTEEN_BYTES)
        EO_STORE_FOUR_CHANNELS("r9")
        EO_LEAVE_TWO_PIXELS("{d12-d15}", "20"));
}
/* clang-format on */

void eo_s8_conv2d__mve(const eo_window *g, const int8_t *x, const void *packed, const eo_add *add, int8_t *y,
                       void *scratch) {
    eo_conv2d_by_pixels_mve(g, x, packed, NULL, add, y, scratch, two_pixels);
}
