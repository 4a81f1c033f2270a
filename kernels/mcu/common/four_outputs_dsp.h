/* What the fully connected DSP kernels share: four outputs at a time, the frame and the way back to int8. */
#ifndef EDGEOPT_FOUR_OUTPUTS_DSP_H
#define EDGEOPT_FOUR_OUTPUTS_DSP_H

#include "../common/requant.h"
#include "edgeopt_kernels.h"

/* clang-format off */
/* Defines the function `name` around a kernel's step: the code that multiplies 2^log2_inputs inputs with the weights of
 * four outputs, step_bytes long. Four steps are a round of the inner loop, and the first round starts inside it, so that
 * any number of steps runs in one loop.
 *
 * For the step: r0 x, r1 packed, r2-r5 accumulators, r6-r8 and r10-r12 lr free; r9 is the end of x. before runs ahead of
 * the steps of each four outputs.
 * Stack: 0 x, 4 entry, 8 out_zero, 12 y, 16 outputs left, 64 table. */
#define EO_FOUR_OUTPUTS(name, before, step, step_bytes, log2_inputs)                                           \
    __attribute__((naked, noinline))                                                                           \
    static void name(const int8_t *x __attribute__((unused)), const void *packed __attribute__((unused)),      \
                     int8_t *y __attribute__((unused)), const int8_t *x_end __attribute__((unused)),           \
                     int32_t out_zero __attribute__((unused)), int32_t outputs __attribute__((unused)),        \
                     const void *table __attribute__((unused))) {                                              \
        __asm volatile(                                                                                        \
            "push {r4-r11, lr}          \n"                                                                    \
            "ldrd r4, r5, [sp, #36]     \n"                                                                    \
            "sub sp, #20                \n"                                                                    \
            "mov r9, r3                 \n"                                                                    \
            "sub r6, r0, r9             \n"                                                                    \
            "ubfx r6, r6, #" log2_inputs ", #2 \n"                                                             \
            "mov r7, #" step_bytes "   \n"                                                                     \
            "adr r8, 2f                 \n"                                                                    \
            "mla r6, r6, r7, r8         \n"                                                                    \
            "orr r6, #1                 \n"                                                                    \
            "strd r0, r6, [sp]          \n"                                                                    \
            "strd r4, r2, [sp, #8]      \n"                                                                    \
            "str r5, [sp, #16]          \n"                                                                    \
            "1:                         \n"                                                                    \
            "ldm r1!, {r2-r5}           \n"                                                                    \
            "ldr r0, [sp]               \n"                                                                    \
            before                                                                                             \
            "ldr pc, [sp, #4]           \n"                                                                    \
            ".balign 4                  \n"                                                                    \
            "2:                         \n"                                                                    \
            step step step step                                                                                \
            "cmp r0, r9                 \n"                                                                    \
            "bne 2b                     \n"                                                                    \
            "ldm r1!, {r10-r12, lr}     \n"                                                                    \
            "ldrd r6, r7, [sp, #8]      \n"                                                                    \
            "ldr r8, [sp, #16]          \n"                                                                    \
            "smmlar r2, r2, r10, r6     \n"                                                                    \
            "smmlar r3, r3, r11, r6     \n"                                                                    \
            "smmlar r4, r4, r12, r6     \n"                                                                    \
            "smmlar r5, r5, lr, r6      \n"                                                                    \
            "subs r8, #4                \n"                                                                    \
            "str r8, [sp, #16]          \n"                                                                    \
            "ssat r2, #8, r2            \n"                                                                    \
            "strb r2, [r7], #1          \n"                                                                    \
            "blt 3f                     \n"                                                                    \
            "ssat r3, #8, r3            \n"                                                                    \
            "ssat r4, #8, r4            \n"                                                                    \
            "ssat r5, #8, r5            \n"                                                                    \
            "strb r3, [r7], #1          \n"                                                                    \
            "strb r4, [r7], #1          \n"                                                                    \
            "strb r5, [r7], #1          \n"                                                                    \
            "str r7, [sp, #12]          \n"                                                                    \
            "bgt 1b                     \n"                                                                    \
            "b 4f                       \n"                                                                    \
            "3:                         \n"                                                                    \
            "adds r8, #2                \n"                                                                    \
            "blt 4f                     \n"                                                                    \
            "ssat r3, #8, r3            \n"                                                                    \
            "strb r3, [r7], #1          \n"                                                                    \
            "beq 4f                     \n"                                                                    \
            "ssat r4, #8, r4            \n"                                                                    \
            "strb r4, [r7]              \n"                                                                    \
            "4:                         \n"                                                                    \
            "add sp, #20                \n"                                                                    \
            "pop {r4-r11, pc}           \n");                                                                  \
    }
/* clang-format on */

#endif
