/* Two pixels by four output channels: eight accumulators, eight SMLAD for each pair of patch values.
 *
 * Packed: for each 4 output channels (the last block is filled with zeros)
 *   int32 bias[4]; for each 4 patch values k0..k3: int16 pairs (k0,k2) of channels 0..3, then (k1,k3);
 *   int32 multiplier[4]. A patch is filled with zero weights up to a multiple of 4 values. */
#include "../common/pixel_pairs_dsp.h"

/* clang-format off */
#define PAIR                        \
    "ldrd r10, r11, [r0], #8    \n" \
    "ldrd r12, lr, [r1], #8     \n" \
    "smlad r2, r10, r12, r2     \n" \
    "smlad r6, r11, r12, r6     \n" \
    "smlad r3, r10, lr, r3      \n" \
    "smlad r7, r11, lr, r7      \n" \
    "ldrd r12, lr, [r1], #8     \n" \
    "smlad r4, r10, r12, r4     \n" \
    "smlad r8, r11, r12, r8     \n" \
    "smlad r5, r10, lr, r5      \n" \
    "smlad r9, r11, lr, r9      \n"
#define PAIRS_BYTES "88" /* of code: two PAIRs take 4 patch values */

/* The stack, as below. */
#define ENTER                                                                             \
    "push {r4-r11, lr}          \n"                                                       \
    "ldr r4, [sp, #36]          \n" /* column_end */                                      \
    "ldr r5, [sp, #40]          \n" /* out_zero */                                        \
    "ldr r6, [sp, #44]          \n" /* channels */                                        \
    "sub sp, #28                \n"                                                       \
    "strd r0, r4, [sp]          \n"                                                       \
    "str r5, [sp, #12]          \n"                                                       \
    "strd r2, r3, [sp, #16]     \n"                                                       \
    "str r6, [sp, #24]          \n"                                                       \
    "sub r4, r0                 \n" /* bytes of column: 16 for each 4 values */           \
    "rsb r4, r4, #0             \n"                                                       \
    "ubfx r4, r4, #4, #2        \n" /* quarters of the body to skip in the first round */ \
    "mov r5, #" PAIRS_BYTES "   \n"                                                       \
    "adr r7, 2f                 \n"                                                       \
    "mla r4, r4, r5, r7         \n"                                                       \
    "orr r4, #1                 \n" /* Thumb */                                           \
    "str r4, [sp, #8]           \n"

/* Sums of products to outputs, before they are saturated. */
#define REQUANTIZE                  \
    "ldr r0, [sp, #12]          \n" \
    "ldm r1!, {r10-r12, lr}     \n" \
    "smmlar r2, r2, r10, r0     \n" \
    "smmlar r6, r6, r10, r0     \n" \
    "smmlar r3, r3, r11, r0     \n" \
    "smmlar r7, r7, r11, r0     \n" \
    "smmlar r4, r4, r12, r0     \n" \
    "smmlar r8, r8, r12, r0     \n" \
    "smmlar r5, r5, lr, r0      \n" \
    "smmlar r9, r9, lr, r0      \n"

/* All output channels of two pixels. column_end and entry choose the trip count: the first round of the loop
 * starts inside its body, so that any multiple of 4 values needs no second loop.
 *
 * r0 column, r1 packed, r2-r5 accumulators of pixel 0, r6-r9 of pixel 1, r10-r11 column words, r12 lr weights.
 * Stack: 0 column, 4 column_end, 8 entry, 12 out_zero, 16 y0, 20 y1, 24 channels left. */
__attribute__((naked, noinline))
static void two_pixels(const uint32_t *column __attribute__((unused)), const void *packed __attribute__((unused)),
                       int8_t *y0 __attribute__((unused)), int8_t *y1 __attribute__((unused)),
                       const uint32_t *column_end __attribute__((unused)), int32_t out_zero __attribute__((unused)),
                       int32_t channels __attribute__((unused))) {
    __asm volatile(
        ENTER

        "1:                         \n"
        "ldr r0, [sp]               \n"
        "ldm r1!, {r2-r5}           \n"
        "mov r6, r2                 \n"
        "mov r7, r3                 \n"
        "mov r8, r4                 \n"
        "mov r9, r5                 \n"
        "ldr pc, [sp, #8]           \n"
        ".balign 4                  \n"
        "2:                         \n"
        PAIR PAIR PAIR PAIR PAIR PAIR PAIR PAIR
        "ldr r12, [sp, #4]          \n"
        "cmp r0, r12                \n"
        "bne 2b                     \n"

        REQUANTIZE
        "ldr r0, [sp, #24]          \n"
        "ldrd r10, r11, [sp, #16]   \n"
        "subs r0, #4                \n"
        "str r0, [sp, #24]          \n"
        "ssat r2, #8, r2            \n"
        "ssat r6, #8, r6            \n"
        "strb r2, [r10], #1         \n"
        "strb r6, [r11], #1         \n"
        "blt 3f                     \n"
        "ssat r3, #8, r3            \n"
        "ssat r7, #8, r7            \n"
        "ssat r4, #8, r4            \n"
        "ssat r8, #8, r8            \n"
        "ssat r5, #8, r5            \n"
        "ssat r9, #8, r9            \n"
        "strb r3, [r10], #1         \n"
        "strb r7, [r11], #1         \n"
        "strb r4, [r10], #1         \n"
        "strb r8, [r11], #1         \n"
        "strb r5, [r10], #1         \n"
        "strb r9, [r11], #1         \n"
        "strd r10, r11, [sp, #16]   \n"
        "bgt 1b                     \n"
        "b 4f                       \n"

        "3:                         \n" /* the last block has 1 to 3 channels: r0 is -3 to -1 */
        "adds r0, #2                \n"
        "blt 4f                     \n"
        "ssat r3, #8, r3            \n"
        "ssat r7, #8, r7            \n"
        "strb r3, [r10], #1         \n"
        "strb r7, [r11], #1         \n"
        "beq 4f                     \n"
        "ssat r4, #8, r4            \n"
        "ssat r8, #8, r8            \n"
        "strb r4, [r10]             \n"
        "strb r8, [r11]             \n"
        "4:                         \n"
        "add sp, #28                \n"
        "pop {r4-r11, pc}           \n");
}
/* clang-format on */

void eo_s8_conv2d__dsp16(const eo_window *g, const int8_t *x, const void *packed, const eo_add *add, int8_t *y,
                         void *scratch) {
    eo_conv2d_by_pairs(g, x, packed, add, y, scratch, two_pixels);
}
