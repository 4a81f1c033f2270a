/* Eight outputs at a time: eight VMLADAVA for each 16 inputs.
 *
 * Packed: for each 8 outputs (the last block is filled with zeros)
 *   int32 bias[8]; for each 16 inputs: int8[16] of outputs 0..7; int32 multiplier[8].
 * in_features is filled with zero weights up to a multiple of 16. */
#include "edgeopt_kernels.h"

/* clang-format off */
#define OUTPUT(acc)                 \
    "vldrb.8 q1, [r3], #16      \n" \
    "vmladava.s8 " acc ", q0, q1\n"
#define SIXTEEN                     \
    "vldrb.8 q0, [r1], #16      \n" \
    OUTPUT("r0") OUTPUT("r2") OUTPUT("r4") OUTPUT("r6") OUTPUT("r8") OUTPUT("r10") OUTPUT("r12") OUTPUT("lr")
#define REQUANT_STORE               \
    "vadd.i32 q0, q0, r9        \n" \
    "vmax.s32 q0, q0, q6        \n" \
    "vmin.s32 q0, q0, q7        \n" \
    "vctp.32 r11                \n" \
    "vpst                       \n" \
    "vstrbt.32 q0, [r7], #4     \n" \
    "subs r11, #4               \n"

/* r0 r2 .. r12 lr accumulate; r1 x, r3 packed, r5 end of x, r7 y, r9 out_zero, r11 outputs left; q6 low, q7 high. */
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
        "vdup.32 q6, r4             \n"
        "vdup.32 q7, r6             \n"
        "mov r5, r3                 \n"
        "mov r7, r2                 \n"
        "mov r3, r1                 \n"
        "push {r0}                  \n"

        "1:                         \n"
        "ldr r1, [sp]               \n"
        "ldm r3!, {r0, r2, r4, r6, r8, r10, r12, lr} \n"
        "2:                         \n"
        SIXTEEN
        "cmp r1, r5                 \n"
        "bne 2b                     \n"
        "vldrw.32 q2, [r3], #16     \n"
        "vldrw.32 q3, [r3], #16     \n"
        "vmov q0[2], q0[0], r0, r4  \n"
        "vmov q0[3], q0[1], r2, r6  \n"
        "vmov q1[2], q1[0], r8, r12 \n"
        "vmov q1[3], q1[1], r10, lr \n"
        "vrmulh.s32 q0, q0, q2      \n"
        REQUANT_STORE
        "ble 3f                     \n"
        "vrmulh.s32 q0, q1, q3      \n"
        REQUANT_STORE
        "bgt 1b                     \n"
        "3:                         \n"
        "pop {r0}                   \n"
        "vpop {d12-d15}             \n"
        "pop {r4-r11, pc}           \n");
}
/* clang-format on */

void eo_s8_linear__mve(const eo_linear *p, const int8_t *x, const void *packed, int8_t *y) {
    all_outputs(x, packed, y, x + (p->in_features + 15) / 16 * 16, p->out_zero, p->out_features, p->act_min,
                p->act_max);
}
