/* Two pixels by four output channels: a vector of codes holds 16 weights of two channels, each gathered from the table.
 *
 * Packed: for each 4 output channels (the last block is filled with zeros)
 *   int32 bias[4]; for each 16 patch values and each two channels 16 bytes, the codes of the first in the low halves;
 *   int32 multiplier[4]. A patch is filled with codes of zero up to a multiple of 16 values; what lies behind it in
 * memory is multiplied by zero, so that the pixels of a pointwise convolution are read in place. */
#include "../common/pixels_mve.h"

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

/* All output channels of two pixels. r0 r2 r4 r6 accumulate pixel 0, r8 r10 r12 lr pixel 1; r1 x0, r3 x1, r5 packed,
 * r7 x_end, r9 table, r11 channels left; q5 low halves, q6 low, q7 high.
 * Stack: 0 x0, 4 x1, 8 y0, 12 y1, 16 entry (the first round starts inside the loop), 20 out_zero. */
__attribute__((naked, noinline))
static void two_pixels(const int8_t *x0 __attribute__((unused)), const int8_t *x1 __attribute__((unused)),
                       int8_t *y0 __attribute__((unused)), int8_t *y1 __attribute__((unused)),
                       const eo_two_pixels_block *block __attribute__((unused))) {
    __asm volatile(
        "push {r4-r11, lr}          \n"
        "ldr r4, [sp, #36]          \n"
        "vpush {d8-d15}             \n"
        "sub sp, #24                \n"
        "stm sp, {r0-r3}            \n"
        "ldm r4, {r5, r7, r9, r11}  \n"
        "str r9, [sp, #20]          \n"
        "ldrd r2, r3, [r4, #16]     \n"
        "ldr r9, [r4, #24]          \n"
        "vmov.i8 q5, #15            \n"
        "vdup.32 q6, r2             \n"
        "vdup.32 q7, r3             \n"
        "sub r2, r0, r7             \n"
        "ubfx r2, r2, #4, #2        \n" /* quarters of the body to skip in the first round */
        "mov r3, #" SIXTEEN_BYTES " \n"
        "adr r4, 2f                 \n"
        "mla r2, r2, r3, r4         \n"
        "orr r2, #1                 \n" /* Thumb */
        "str r2, [sp, #16]          \n"

        "1:                         \n"
        "ldm r5!, {r0, r2, r4, r6}  \n"
        "ldrd r1, r3, [sp]          \n"
        "mov r8, r0                 \n"
        "mov r10, r2                \n"
        "mov r12, r4                \n"
        "mov lr, r6                 \n"
        "ldr pc, [sp, #16]          \n"
        ".balign 4                  \n"
        "2:                         \n"
        SIXTEEN SIXTEEN SIXTEEN SIXTEEN
        "cmp r1, r7                 \n"
        "bne 2b                     \n"

        "vldrw.32 q2, [r5], #16     \n"
        "vmov q0[2], q0[0], r0, r4  \n"
        "vmov q0[3], q0[1], r2, r6  \n"
        "vmov q1[2], q1[0], r8, r12 \n"
        "vmov q1[3], q1[1], r10, lr \n"
        "ldrd r1, r3, [sp, #8]      \n"
        "ldr r0, [sp, #20]          \n"
        "vrmulh.s32 q0, q0, q2      \n"
        "vrmulh.s32 q1, q1, q2      \n"
        "vadd.i32 q0, q0, r0        \n"
        "vadd.i32 q1, q1, r0        \n"
        "vmax.s32 q0, q0, q6        \n"
        "vmax.s32 q1, q1, q6        \n"
        "vmin.s32 q0, q0, q7        \n"
        "vmin.s32 q1, q1, q7        \n"
        "vctp.32 r11                \n"
        "vpstt                      \n"
        "vstrbt.32 q0, [r1], #4     \n"
        "vstrbt.32 q1, [r3], #4     \n"
        "strd r1, r3, [sp, #8]      \n"
        "subs r11, #4               \n"
        "bgt 1b                     \n"
        "add sp, #24                \n"
        "vpop {d8-d15}              \n"
        "pop {r4-r11, pc}           \n");
}
/* clang-format on */

void eo_w4_conv2d__mve(const eo_window *g, const int8_t *x, const void *packed, const void *table, const eo_add *add,
                       int8_t *y, void *scratch) {
    eo_conv2d_by_pixels_mve(g, x, packed, table, add, y, scratch, two_pixels);
}
