/* Eight outputs at a time: a vector of codes holds 16 weights of two outputs, each gathered from the table.
 *
 * Packed: for each 8 outputs (the last block is filled with zeros)
 *   int32 bias[8]; for each 16 inputs and each two outputs 16 bytes, the codes of the first in the low halves;
 *   int32 multiplier[8]. in_features is filled with codes of zero up to a multiple of 16. */
#include "../common/eight_outputs_mve.h"

/* clang-format off */
#define TWO_OUTPUTS(acc0, acc1)         \
    "vldrb.8 q1, [r3], #16          \n" \
    "vand q2, q1, q5                \n" \
    "vshr.u8 q1, q1, #4             \n" \
    "vldrb.u8 q3, [r9, q2]          \n" \
    "vldrb.u8 q4, [r9, q1]          \n" \
    "vmladava.s8 " acc0 ", q0, q3   \n" \
    "vmladava.s8 " acc1 ", q0, q4   \n"
#define SIXTEEN                         \
    "vldrb.8 q0, [r1], #16          \n" \
    TWO_OUTPUTS("r0", "r2") TWO_OUTPUTS("r4", "r6") TWO_OUTPUTS("r8", "r10") TWO_OUTPUTS("r12", "lr")

/* r1 is out_zero as well as x, r9 the table, q5 low halves. Stack: 4 out_zero. */
__attribute__((naked, noinline))
static void all_outputs(const int8_t *x __attribute__((unused)), const void *packed __attribute__((unused)),
                        int8_t *y __attribute__((unused)), const int8_t *x_end __attribute__((unused)),
                        int32_t out_zero __attribute__((unused)), int32_t outputs __attribute__((unused)),
                        int32_t low __attribute__((unused)), int32_t high __attribute__((unused)),
                        const void *table __attribute__((unused))) {
    __asm volatile(
        "push {r4-r11, lr}          \n"
        "ldrd r8, r11, [sp, #36]    \n"
        "ldrd r4, r6, [sp, #44]     \n"
        "ldr r9, [sp, #52]          \n"
        "vpush {d8-d15}             \n"
        "vmov.i8 q5, #15            \n"
        EO_ENTER_EIGHT_OUTPUTS
        "push {r0, r8}              \n"

        EO_EIGHT_OUTPUTS(SIXTEEN)
        "ldr r1, [sp, #4]           \n"
        EO_STORE_EIGHT_OUTPUTS("r1")
        "add sp, #8                 \n"
        "vpop {d8-d15}              \n"
        "pop {r4-r11, pc}           \n");
}
/* clang-format on */

void eo_w4_linear__mve(const eo_linear *p, const int8_t *x, const void *packed, const void *table, int8_t *y) {
    all_outputs(x, packed, y, x + (p->in_features + 15) / 16 * 16, p->out_zero, p->out_features, p->act_min, p->act_max,
                table);
}
