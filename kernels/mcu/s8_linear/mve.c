/* Eight outputs at a time: eight VMLADAVA for each 16 inputs.
 *
 * Packed: for each 8 outputs (the last block is filled with zeros)
 *   int32 bias[8]; for each 16 inputs: int8[16] of outputs 0..7; int32 multiplier[8].
 * in_features is filled with zero weights up to a multiple of 16. */
#include "../common/eight_outputs_mve.h"

/* clang-format off */
#define OUTPUT(acc)                 \
    "vldrb.8 q1, [r3], #16      \n" \
    "vmladava.s8 " acc ", q0, q1\n"
#define SIXTEEN                     \
    "vldrb.8 q0, [r1], #16      \n" \
    OUTPUT("r0") OUTPUT("r2") OUTPUT("r4") OUTPUT("r6") OUTPUT("r8") OUTPUT("r10") OUTPUT("r12") OUTPUT("lr")

/* r9 is out_zero. */
__attribute__((naked, noinline))
static void all_outputs(const int8_t *x __attribute__((unused)), const void *packed __attribute__((unused)),
                        int8_t *y __attribute__((unused)), const int8_t *x_end __attribute__((unused)),
                        int32_t out_zero __attribute__((unused)), int32_t outputs __attribute__((unused)),
                        int32_t low __attribute__((unused)), int32_t high __attribute__((unused))) {
    __asm volatile(
        "push {r4-r11, lr}          \n"
        "ldrd r9, r11, [sp, #36]    \n"
        "ldrd r4, r6, [sp, #44]     \n"
        "vpush {d12-d15}            \n"
        EO_ENTER_EIGHT_OUTPUTS
        "push {r0}                  \n"

        EO_EIGHT_OUTPUTS(SIXTEEN)
        EO_STORE_EIGHT_OUTPUTS("r9")
        "pop {r0}                   \n"
        "vpop {d12-d15}             \n"
        "pop {r4-r11, pc}           \n");
}
/* clang-format on */

void eo_s8_linear__mve(const eo_linear *p, const int8_t *x, const void *packed, int8_t *y) {
    all_outputs(x, packed, y, x + (p->in_features + 15) / 16 * 16, p->out_zero, p->out_features, p->act_min,
                p->act_max);
}
