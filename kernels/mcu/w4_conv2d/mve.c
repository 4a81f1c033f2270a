/* Two pixels by four output channels: a vector of codes holds 16 weights of two channels, each gathered from the table.
 *
 * Packed: for each 4 output channels (the last block is filled with zeros)
 *   int32 bias[4]; for each 16 patch values and each two channels 16 bytes, the codes of the first in the low halves;
 *   int32 multiplier[4]. A patch is filled with codes of zero up to a multiple of 16 values; what lies behind it in
 * memory is multiplied by zero, so that the pixels of a pointwise convolution are read in place. */
#include "../common/two_pixels_mve.h"

/* clang-format off */
#define TWO_CHANNELS(a0, a1, b0, b1)    \
    "vldrb.8 q2, [r5], #16          \n" \
    "vand q3, q2, q5                \n" \
    "vshr.u8 q2, q2, #4             \n" \
    "vldrb.u8 q4, [r9, q3]          \n" \
    "vldrb.u8 q3, [r9, q2]          \n" \
    "vmladava.s8 " a0 ", q0, q4     \n" \
    "vmladava.s8 " a1 ", q1, q4     \n" \
    "vmladava.s8 " b0 ", q0, q3     \n" \
    "vmladava.s8 " b1 ", q1, q3     \n"
#define SIXTEEN                         \
    "vldrb.8 q0, [r1], #16          \n" \
    "vldrb.8 q1, [r3], #16          \n" \
    TWO_CHANNELS("r0", "r8", "r2", "r10") TWO_CHANNELS("r4", "r12", "r6", "lr")
#define SIXTEEN_BYTES "80" /* of code */

/* r9 is the table, q5 low halves. Stack: 20 out_zero. */
EO_TWO_PIXELS {
    __asm volatile(
        EO_ENTER_TWO_PIXELS("{d8-d15}", "24")
        "str r9, [sp, #20]          \n"
        "ldrd r2, r3, [r4, #16]     \n"
        "ldr r9, [r4, #24]          \n"
        "vmov.i8 q5, #15            \n"
        EO_FOUR_CHANNELS(SIXTEEN, SIXTEEN_BYTES)
        "ldr r0, [sp, #20]          \n"
        EO_STORE_FOUR_CHANNELS("r0")
        EO_LEAVE_TWO_PIXELS("{d8-d15}", "24"));
}
/* clang-format on */

void eo_w4_conv2d__mve(const eo_window *g, const int8_t *x, const void *packed, const void *table, const eo_add *add,
                       int8_t *y, void *scratch) {
    eo_conv2d_by_pixels_mve(g, x, packed, table, add, y, scratch, two_pixels);
}
