/* Four outputs at a time; weights stay int8 in flash.
 *
 * Packed: for each 4 outputs (the last block is filled with zeros)
 *   int32 bias[4]; for each 4 inputs: int8[4] of outputs 0..3; int32 multiplier[4].
 * in_features is filled with zero weights up to a multiple of 4. */
#include "../common/requant.h"
#include "edgeopt_kernels.h"

/* clang-format off */
#define OUTPUT(word, acc)                   \
    "sxtb16 r8, " word "                \n"\
    "smlad " acc ", r7, r8, " acc "     \n"\
    "sxtb16 " word ", " word ", ror #8  \n"\
    "smlad " acc ", r6, " word ", " acc " \n"
#define QUAD                                \
    "ldr r6, [r0], #4                   \n"\
    "ldm r1!, {r10-r12, lr}             \n"\
    "sxtb16 r7, r6                      \n"\
    "sxtb16 r6, r6, ror #8              \n"\
    OUTPUT("r10", "r2") OUTPUT("r11", "r3") OUTPUT("r12", "r4") OUTPUT("lr", "r5")
#define QUAD_BYTES "80" /* of code */

/* r0 x, r1 packed, r2-r5 accumulators, r6-r7 inputs, r8 widened weights, r9 end of x, r10-r12 lr weights.
 * Stack: 0 x, 4 entry (the first round starts inside the loop), 8 out_zero, 12 y, 16 outputs left. */
__attribute__((naked, noinline))
static void all_outputs(const int8_t *x __attribute__((unused)), const void *packed __attribute__((unused)),
                        int8_t *y __attribute__((unused)), const int8_t *x_end __attribute__((unused)),
                        int32_t out_zero __attribute__((unused)), int32_t outputs __attribute__((unused))) {
    __asm volatile(
        "push {r4-r11, lr}          \n"
        "ldrd r4, r5, [sp, #36]     \n" /* out_zero, outputs */
        "sub sp, #20                \n"
        "mov r9, r3                 \n"
        "sub r6, r0, r9             \n"
        "ubfx r6, r6, #2, #2        \n" /* quarters of the body to skip in the first round */
        "mov r7, #" QUAD_BYTES "   \n"
        "adr r8, 2f                 \n"
        "mla r6, r6, r7, r8         \n"
        "orr r6, #1                 \n" /* Thumb */
        "strd r0, r6, [sp]          \n"
        "strd r4, r2, [sp, #8]      \n"
        "str r5, [sp, #16]          \n"

        "1:                         \n"
        "ldm r1!, {r2-r5}           \n"
        "ldr r0, [sp]               \n"
        "ldr pc, [sp, #4]           \n"
        ".balign 4                  \n"
        "2:                         \n"
        QUAD QUAD QUAD QUAD
        "cmp r0, r9                 \n"
        "bne 2b                     \n"

        "ldm r1!, {r10-r12, lr}     \n"
        "ldrd r6, r7, [sp, #8]      \n"
        "ldr r8, [sp, #16]          \n"
        "smmlar r2, r2, r10, r6     \n"
        "smmlar r3, r3, r11, r6     \n"
        "smmlar r4, r4, r12, r6     \n"
        "smmlar r5, r5, lr, r6      \n"
        "subs r8, #4                \n"
        "str r8, [sp, #16]          \n"
        "ssat r2, #8, r2            \n"
        "strb r2, [r7], #1          \n"
        "blt 3f                     \n"
        "ssat r3, #8, r3            \n"
        "ssat r4, #8, r4            \n"
        "ssat r5, #8, r5            \n"
        "strb r3, [r7], #1          \n"
        "strb r4, [r7], #1          \n"
        "strb r5, [r7], #1          \n"
        "str r7, [sp, #12]          \n"
        "bgt 1b                     \n"
        "b 4f                       \n"

        "3:                         \n" /* the last block has 1 to 3 outputs: r8 is -3 to -1 */
        "adds r8, #2                \n"
        "blt 4f                     \n"
        "ssat r3, #8, r3            \n"
        "strb r3, [r7], #1          \n"
        "beq 4f                     \n"
        "ssat r4, #8, r4            \n"
        "strb r4, [r7]              \n"
        "4:                         \n"
        "add sp, #20                \n"
        "pop {r4-r11, pc}           \n");
}
/* clang-format on */

void eo_s8_linear__dsp(const eo_linear *p, const int8_t *x, const void *packed, int8_t *y) {
    all_outputs(x, packed, y, x + (p->in_features + 3) / 4 * 4, p->out_zero, p->out_features);
    eo_clamp_span(y, p->out_features, p->act_min, p->act_max);
}
