/* Two pixels by four output channels in MVE: the loop over a patch that any weights share, in assembler.
 *
 * r0 r2 r4 r6 accumulate pixel 0, r8 r10 r12 lr pixel 1; r1 x0, r3 x1, r5 packed, r7 x_end, r11 channels left; q6 low,
 * q7 high. r9 and what of the stack lies behind 16 are the kernel's own.
 * Stack: 0 x0, 4 x1, 8 y0, 12 y1, 16 entry (the first round starts inside the loop). */
#ifndef EDGEOPT_TWO_PIXELS_MVE_H
#define EDGEOPT_TWO_PIXELS_MVE_H

#include "../common/pixels_mve.h"

/* clang-format off */
#define EO_TWO_PIXELS                                                                                      \
    __attribute__((naked, noinline))                                                                       \
    static void two_pixels(const int8_t *x0 __attribute__((unused)), const int8_t *x1 __attribute__((unused)), \
                           int8_t *y0 __attribute__((unused)), int8_t *y1 __attribute__((unused)),         \
                           const eo_two_pixels_block *block __attribute__((unused)))

/* r9 is out_zero then; low and high are to be loaded into r2 and r3. */
#define EO_ENTER_TWO_PIXELS(saved, frame)       \
    "push {r4-r11, lr}          \n"             \
    "ldr r4, [sp, #36]          \n"             \
    "vpush " saved "            \n"             \
    "sub sp, #" frame "         \n"             \
    "stm sp, {r0-r3}            \n"             \
    "ldm r4, {r5, r7, r9, r11}  \n"
/* `sixteen` takes 16 values of both pixels by so many bytes of code, four times a round. */
#define EO_FOUR_CHANNELS(sixteen, bytes)        \
    "vdup.32 q6, r2             \n"             \
    "vdup.32 q7, r3             \n"             \
    "sub r2, r0, r7             \n"             \
    "ubfx r2, r2, #4, #2        \n" /* quarters of the body to skip in the first round */ \
    "mov r3, #" bytes "         \n"             \
    "adr r4, 2f                 \n"             \
    "mla r2, r2, r3, r4         \n"             \
    "orr r2, #1                 \n" /* Thumb */ \
    "str r2, [sp, #16]          \n"             \
    "1:                         \n"             \
    "ldm r5!, {r0, r2, r4, r6}  \n"             \
    "ldrd r1, r3, [sp]          \n"             \
    "mov r8, r0                 \n"             \
    "mov r10, r2                \n"             \
    "mov r12, r4                \n"             \
    "mov lr, r6                 \n"             \
    "ldr pc, [sp, #16]          \n"             \
    ".balign 4                  \n"             \
    "2:                         \n"             \
    sixteen sixteen sixteen sixteen             \
    "cmp r1, r7                 \n"             \
    "bne 2b                     \n"             \
    "vldrw.32 q2, [r5], #16     \n"             \
    "vmov q0[2], q0[0], r0, r4  \n"             \
    "vmov q0[3], q0[1], r2, r6  \n"             \
    "vmov q1[2], q1[0], r8, r12 \n"             \
    "vmov q1[3], q1[1], r10, lr \n"             \
    "ldrd r1, r3, [sp, #8]      \n"
/* Requantizes and stores both pixels; a round more where channels are left. */
#define EO_STORE_FOUR_CHANNELS(out_zero)        \
    "vrmulh.s32 q0, q0, q2      \n"             \
    "vrmulh.s32 q1, q1, q2      \n"             \
    "vadd.i32 q0, q0, " out_zero " \n"          \
    "vadd.i32 q1, q1, " out_zero " \n"          \
    "vmax.s32 q0, q0, q6        \n"             \
    "vmax.s32 q1, q1, q6        \n"             \
    "vmin.s32 q0, q0, q7        \n"             \
    "vmin.s32 q1, q1, q7        \n"             \
    "vctp.32 r11                \n"             \
    "vpstt                      \n"             \
    "vstrbt.32 q0, [r1], #4     \n"             \
    "vstrbt.32 q1, [r3], #4     \n"             \
    "strd r1, r3, [sp, #8]      \n"             \
    "subs r11, #4               \n"             \
    "bgt 1b                     \n"
#define EO_LEAVE_TWO_PIXELS(saved, frame)       \
    "add sp, #" frame "         \n"             \
    "vpop " saved "             \n"             \
    "pop {r4-r11, pc}           \n"
/* clang-format on */

#endif
