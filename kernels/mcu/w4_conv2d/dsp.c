/* Four pixels by one output channel: a byte of codes brings the pair of weights that four SMLAD take.
 *
 * Packed: for each output channel {int32 bias, int32 multiplier}, then for each output channel and each 4 patch values
 * k0..k3 a byte of (k0,k2) and one of (k1,k3). A patch is filled with codes of zero up to a multiple of 4 values. */
#include "../common/pixel_quads_dsp.h"

/* clang-format off */
#define PAIR                            \
    "ldrb r10, [r1], #1             \n" \
    "ldm r0!, {r6-r9}               \n" \
    "ldr r10, [r12, r10, lsl #2]    \n" \
    "smlad r2, r6, r10, r2          \n" \
    "smlad r3, r7, r10, r3          \n" \
    "smlad r4, r8, r10, r4          \n" \
    "smlad r5, r9, r10, r5          \n"
#define QUAD_BYTES "56" /* of code */

/* r0 column, r1 codes, r2-r5 accumulators, r6-r9 column words, r10 weights, r11 multiplier, r12 table, lr column_end.
 * Stack: 0 column, 4 entry (the first round starts inside the loop), 8 out_zero, 12 factors, 16 channel, 20 channels,
 * 24 y of the four pixels. */
__attribute__((naked, noinline))
static void four_pixels(const eo_four_pixels *block __attribute__((unused))) {
    __asm volatile(
        "push {r4-r11, lr}          \n"
        "sub sp, #40                \n"
        "ldm r0!, {r2, r3, r4, r12} \n" /* column, column_end, packed, table */
        "ldm r0, {r5-r10}           \n" /* out_zero, channels, y */
        "mov lr, r3                 \n"
        "add r1, r4, r6, lsl #3     \n" /* codes behind the factors */
        "add r11, sp, #24           \n"
        "stm r11, {r7-r10}          \n"
        "sub r7, r2, lr             \n" /* 32 bytes of column for each 4 values */
        "ubfx r7, r7, #5, #2        \n" /* quarters of the body to skip in the first round */
        "mov r8, #" QUAD_BYTES "    \n"
        "adr r9, 2f                 \n"
        "mla r3, r7, r8, r9         \n"
        "orr r3, #1                 \n" /* Thumb */
        "mov r7, #0                 \n"
        "strd r2, r3, [sp]          \n"
        "strd r5, r4, [sp, #8]      \n"
        "strd r7, r6, [sp, #16]     \n"

        "1:                         \n"
        "ldr r6, [sp, #12]          \n"
        "ldr r0, [sp]               \n"
        "ldrd r2, r11, [r6], #8     \n"
        "str r6, [sp, #12]          \n"
        "mov r3, r2                 \n"
        "mov r4, r2                 \n"
        "mov r5, r2                 \n"
        "ldr pc, [sp, #4]           \n"
        ".balign 4                  \n"
        "2:                         \n"
        PAIR PAIR PAIR PAIR PAIR PAIR PAIR PAIR
        "cmp r0, lr                 \n"
        "bne 2b                     \n"

        "ldr r10, [sp, #8]          \n"
        "add r6, sp, #24            \n"
        "ldm r6, {r6-r9}            \n"
        "smmlar r2, r2, r11, r10    \n"
        "smmlar r3, r3, r11, r10    \n"
        "smmlar r4, r4, r11, r10    \n"
        "smmlar r5, r5, r11, r10    \n"
        "ldrd r10, r11, [sp, #16]   \n"
        "ssat r2, #8, r2            \n"
        "ssat r3, #8, r3            \n"
        "ssat r4, #8, r4            \n"
        "ssat r5, #8, r5            \n"
        "strb r2, [r6, r10]         \n"
        "strb r3, [r7, r10]         \n"
        "strb r4, [r8, r10]         \n"
        "strb r5, [r9, r10]         \n"
        "add r10, #1                \n"
        "str r10, [sp, #16]         \n"
        "cmp r10, r11               \n"
        "bne 1b                     \n"
        "add sp, #40                \n"
        "pop {r4-r11, pc}           \n");
}
/* clang-format on */

void eo_w4_conv2d__dsp(const eo_window *g, const int8_t *x, const void *packed, const void *table, const eo_add *add,
                       int8_t *y, void *scratch) {
    eo_conv2d_by_quads(g, x, packed, table, add, y, scratch, four_pixels);
}
