/* Eight outputs at a time in MVE: the loop over the inputs that any weights share, in assembler.
 *
 * r0 r2 .. r12 lr accumulate; r1 x, r3 packed, r5 end of x, r7 y, r11 outputs left; q6 low, q7 high. r9 and what of the
 * stack lies behind 0 are the kernel's own. Stack: 0 x. */
#ifndef EDGEOPT_EIGHT_OUTPUTS_MVE_H
#define EDGEOPT_EIGHT_OUTPUTS_MVE_H

#include "edgeopt_kernels.h"

/* clang-format off */
/* From the arguments x, packed, y and x_end in r0-r3, low in r4 and high in r6. */
#define EO_ENTER_EIGHT_OUTPUTS      \
    "vdup.32 q6, r4             \n" \
    "vdup.32 q7, r6             \n" \
    "mov r5, r3                 \n" \
    "mov r7, r2                 \n" \
    "mov r3, r1                 \n"
/* `sixteen` takes 16 inputs. */
#define EO_EIGHT_OUTPUTS(sixteen)   \
    "1:                         \n" \
    "ldr r1, [sp]               \n" \
    "ldm r3!, {r0, r2, r4, r6, r8, r10, r12, lr} \n" \
    "2:                         \n" \
    sixteen                         \
    "cmp r1, r5                 \n" \
    "bne 2b                     \n"
#define EO_STORE_FOUR_OUTPUTS(out_zero) \
    "vadd.i32 q0, q0, " out_zero " \n"  \
    "vmax.s32 q0, q0, q6        \n" \
    "vmin.s32 q0, q0, q7        \n" \
    "vctp.32 r11                \n" \
    "vpst                       \n" \
    "vstrbt.32 q0, [r7], #4     \n" \
    "subs r11, #4               \n"
/* Requantizes and stores; a round more where outputs are left. */
#define EO_STORE_EIGHT_OUTPUTS(out_zero) \
    "vldrw.32 q2, [r3], #16     \n" \
    "vldrw.32 q3, [r3], #16     \n" \
    "vmov q0[2], q0[0], r0, r4  \n" \
    "vmov q0[3], q0[1], r2, r6  \n" \
    "vmov q1[2], q1[0], r8, r12 \n" \
    "vmov q1[3], q1[1], r10, lr \n" \
    "vrmulh.s32 q0, q0, q2      \n" \
    EO_STORE_FOUR_OUTPUTS(out_zero) \
    "ble 3f                     \n" \
    "vrmulh.s32 q0, q1, q3      \n" \
    EO_STORE_FOUR_OUTPUTS(out_zero) \
    "bgt 1b                     \n" \
    "3:                         \n"
/* clang-format on */

#endif
