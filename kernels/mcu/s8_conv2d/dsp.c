/* Two pixels by two output channels: weights stay int8 in flash and are widened for each pair of pixels.
 *
 * Packed: for each 2 output channels (the last block is filled with zeros)
 *   int32 bias[2]; for each 4 patch values: int8[4] of channels 0 and 1; int32 multiplier[2].
 * A patch is filled with zero weights up to a multiple of 4 values. */
#include "../common/pixel_pairs_dsp.h"

/* clang-format off */
#define CHANNEL(word, acc0, acc1)                   \
    "sxtb16 r12, " word "               \n"        \
    "smlad " acc0 ", r6, r12, " acc0 "  \n"        \
    "smlad " acc1 ", r7, r12, " acc1 "  \n"        \
    "sxtb16 " word ", " word ", ror #8  \n"        \
    "smlad " acc0 ", r8, " word ", " acc0 " \n"    \
    "smlad " acc1 ", r9, " word ", " acc1 " \n"
#define QUAD                                        \
    "ldm r0!, {r6-r9}                   \n"        \
    "ldrd r10, r11, [r1], #8            \n"        \
    CHANNEL("r10", "r2", "r4") CHANNEL("r11", "r3", "r5")
#define QUAD_BYTES "56" /* of code */

/* r0 column, r1 packed, r2-r3 accumulators of pixel 0, r4-r5 of pixel 1, r6-r9 column words, r10-r12 weights, lr
 * column_end. Stack: 0 column, 4 entry (the first round starts inside the loop), 8 out_zero, 12 y0, 16 y1, 20 channels
 * left. */
__attribute__((naked, noinline))
static void two_pixels(const uint32_t *column __attribute__((unused)), const void *packed __attribute__((unused)),
                       int8_t *y0 __attribute__((unused)), int8_t *y1 __attribute__((unused)),
                       const uint32_t *column_end __attribute__((unused)), int32_t out_zero __attribute__((unused)),
                       int32_t channels __attribute__((unused))) {
    __asm volatile(
        "push {r4-r11, lr}          \n"
        "ldr lr, [sp, #36]          \n" /* column_end */
        "ldrd r5, r6, [sp, #40]     \n" /* out_zero, channels */
        "sub sp, #24                \n"
        "strd r2, r3, [sp, #12]     \n"
        "str r6, [sp, #20]          \n"
        "sub r4, r0, lr             \n" /* 16 bytes of column for each 4 values */
        "ubfx r4, r4, #4, #2        \n" /* quarters of the body to skip in the first round */
        "mov r7, #" QUAD_BYTES "    \n"
        "adr r8, 2f                 \n"
        "mla r4, r4, r7, r8         \n"
        "orr r4, #1                 \n" /* Thumb */
        "strd r0, r4, [sp]          \n"
        "str r5, [sp, #8]           \n"

        "1:                         \n"
        "ldr r0, [sp]               \n"
        "ldrd r2, r3, [r1], #8      \n"
        "mov r4, r2                 \n"
        "mov r5, r3                 \n"
        "ldr pc, [sp, #4]           \n"
        ".balign 4                  \n"
        "2:                         \n"
        QUAD QUAD QUAD QUAD
        "cmp r0, lr                 \n"
        "bne 2b                     \n"

        "ldrd r6, r7, [r1], #8      \n"
        "ldrd r8, r9, [sp, #8]      \n" /* out_zero, y0 */
        "ldrd r10, r11, [sp, #16]   \n" /* y1, channels left */
        "smmlar r2, r2, r6, r8      \n"
        "smmlar r4, r4, r6, r8      \n"
        "smmlar r3, r3, r7, r8      \n"
        "smmlar r5, r5, r7, r8      \n"
        "ssat r2, #8, r2            \n"
        "ssat r4, #8, r4            \n"
        "strb r2, [r9], #1          \n"
        "strb r4, [r10], #1         \n"
        "subs r11, #2               \n"
        "blt 3f                     \n" /* the last block has one channel */
        "ssat r3, #8, r3            \n"
        "ssat r5, #8, r5            \n"
        "strb r3, [r9], #1          \n"
        "strb r5, [r10], #1         \n"
        "str r9, [sp, #12]          \n"
        "strd r10, r11, [sp, #16]   \n"
        "bgt 1b                     \n"
        "3:                         \n"
        "add sp, #24                \n"
        "pop {r4-r11, pc}           \n");
}
/* clang-format on */

void eo_s8_conv2d__dsp(const eo_window *g, const int8_t *x, const void *packed, const eo_add *add, int8_t *y,
                       void *scratch) {
    eo_conv2d_by_pairs(g, x, packed, add, y, scratch, two_pixels);
}
