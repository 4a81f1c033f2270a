/* Six triples of a column at a time: full adders leave six words of weights 1, 1, 2, 2, 4 and 8, whose bits are summed
 * in fields of four and eight. What is over comes first: one or two words, triples one by one, and three at a time. */
#include "../common/sign_counts.h"

/* clang-format off */
/* The next triple's sum, a its lower and b its upper bit. */
#define TRIPLE(a, b, c, u, v, w)                    \
    "ldm r0!, {" a ", " b ", " c "}     \n"        \
    "ldm r1!, {" u ", " v ", " w "}     \n"        \
    "eor " a ", " a ", " u "            \n"        \
    "eor " b ", " b ", " v "            \n"        \
    "eor " c ", " c ", " w "            \n"        \
    "orr " b ", " b ", " c "            \n"        \
    "eor " b ", " b ", " a "            \n"
/* The sum of three words, a its lower and carry its upper bit. */
#define ADD3(a, b, c, carry, t)                     \
    "eor " carry ", " a ", " b "        \n"        \
    "eor " t ", " a ", " c "            \n"        \
    "eor " a ", " carry ", " c "        \n"        \
    "orr " carry ", " carry ", " t "    \n"        \
    "eor " carry ", " carry ", " a "    \n"
/* Bits of a word to their sums in fields of four. */
#define FOURS(a, t)                                 \
    "and " t ", " a ", #0xaaaaaaaa      \n"        \
    "sub " a ", " a ", " t ", lsr #1    \n"        \
    "and " t ", " a ", #0xcccccccc      \n"        \
    "and " a ", " a ", #0x33333333      \n"        \
    "add " a ", " a ", " t ", lsr #2    \n"
/* Fields of four to fields of eight. */
#define EIGHTS(a, t)                                \
    "and " t ", " a ", #0xf0f0f0f0      \n"        \
    "and " a ", " a ", #0x0f0f0f0f      \n"        \
    "add " a ", " a ", " t ", lsr #4    \n"

/* Three triples as words of weight 1: r2, 2: r3 r8, 4: r4. */
#define NINE                                        \
    TRIPLE("r2", "r3", "r4", "r5", "r6", "r7")     \
    TRIPLE("r4", "r5", "r6", "r7", "r8", "r9")     \
    TRIPLE("r6", "r7", "r8", "r9", "r10", "r11")   \
    ADD3("r2", "r4", "r6", "r8", "r9")             \
    ADD3("r3", "r5", "r7", "r4", "r9")

/* The stack, as below. */
#define ENTER                                   \
    "push {r4-r11, lr}          \n"             \
    "ldrd r9, r10, [sp, #36]    \n"             \
    "ldr r11, [sp, #44]         \n"             \
    "sub sp, #32                \n"             \
    "rsb r7, r2, #0             \n"             \
    "lsl r7, #16                \n"             \
    "lsr r6, r3, #1             \n"             \
    "rsb r6, r6, #0             \n"             \
    "lsl r6, #16                \n"             \
    "adr.w r4, 6f               \n"             \
    "mov r5, r4                 \n"             \
    "movs r8, r6                \n"             \
    "itt ne                     \n"             \
    "adrne.w r4, 4f             \n"             \
    "adrne.w r5, 5f             \n"             \
    "tst r3, #1                 \n"             \
    "ittt ne                    \n"             \
    "adrne.w r4, 3f             \n"             \
    "movne r5, r4               \n"             \
    "movne r8, #0               \n"             \
    "cmp r2, #0                 \n"             \
    "itt ne                     \n"             \
    "adrne.w r5, 2f             \n"             \
    "movne r8, r7               \n"             \
    "orr r4, #1                 \n" /* Thumb */ \
    "orr r5, #1                 \n"             \
    "strd r4, r5, [sp, #24]     \n"             \
    "cmp r11, #1                \n"             \
    "it eq                      \n"             \
    "adreq.w r5, 7f             \n"             \
    "it gt                      \n"             \
    "adrgt.w r5, 8f             \n"             \
    "orr r5, #1                 \n"             \
    "strd r0, r8, [sp]          \n"             \
    "strd r5, r6, [sp, #8]      \n"             \
    "strd r9, r10, [sp, #16]    \n"

/* One triple, added to the count. */
#define SINGLE_TRIPLE                          \
    TRIPLE("r2", "r3", "r4", "r5", "r6", "r7") \
    FOURS("r2", "r4") FOURS("r3", "r4")        \
    "add r2, r2, r3, lsl #1     \n"            \
    EIGHTS("r2", "r4")                         \
    "mov r5, #0                 \n"            \
    "usada8 r12, r2, r5, r12    \n"

/* Six triples, added to the count. */
#define EIGHTEEN                                                                                                \
    NINE                                                                                                        \
    TRIPLE("r5", "r6", "r7", "r9", "r10", "r11")                                                                \
    ADD3("r3", "r8", "r6", "r7", "r9")           /* 1: r2 r5, 2: r3, 4: r4 r7 */                                \
    TRIPLE("r6", "r8", "r9", "r10", "r11", "lr")                                                                \
    ADD3("r2", "r5", "r6", "r9", "r10")          /* 1: r2, 2: r3 r8 r9, 4: r4 r7 */                             \
    ADD3("r3", "r8", "r9", "r10", "r11")         /* 1: r2, 2: r3, 4: r4 r7 r10 */                               \
    ADD3("r4", "r7", "r10", "r5", "r6")          /* 1: r2, 2: r3, 4: r4, 8: r5 */                               \
    TRIPLE("r6", "r7", "r8", "r9", "r10", "r11") /* 1: r2 r6, 2: r3 r7, 4: r4, 8: r5 */                         \
    FOURS("r2", "r8") FOURS("r3", "r8") FOURS("r4", "r8") FOURS("r5", "r8") FOURS("r6", "r8") FOURS("r7", "r8") \
    "add r2, r2, r3, lsl #1     \n"                                                                             \
    "add r6, r6, r7, lsl #1     \n"                                                                             \
    "add r4, r4, r5, lsl #1     \n"                                                                             \
    EIGHTS("r2", "r8") EIGHTS("r6", "r8") EIGHTS("r4", "r8")                                                    \
    "add r2, r2, r6             \n"                                                                             \
    "add r2, r2, r4, lsl #2     \n"                                                                             \
    "mov r8, #0                 \n"                                                                             \
    "usada8 r12, r2, r8, r12    \n"

/* r0 column, r1 filters, r12 count and, negative in its upper half, rounds of the loop left. Stack: 0 column, 4 r12 at
 * the start, 8 entry, 12 rounds of eighteen words, 16 counts, 20 counts_end, 24 what follows single triples, 28 what
 * follows single words. Labels: 7 one word, 8 two, 2 single triples, 3 nine words, 4 and 5 eighteens, 6 the end. */
__attribute__((naked, noinline))
static void count_bits(const uint32_t *column __attribute__((unused)), const uint32_t *filters __attribute__((unused)),
                       int singles __attribute__((unused)), int nines __attribute__((unused)),
                       uint32_t *counts __attribute__((unused)), uint32_t *counts_end __attribute__((unused)),
                       int words __attribute__((unused))) {
    __asm volatile(
        ENTER

        "1:                         \n"
        "ldm sp, {r0, r12, pc}      \n"
        "2:                         \n"
        SINGLE_TRIPLE
        "adds r12, #0x10000         \n"
        "bmi 2b                     \n"
        "ldr pc, [sp, #24]          \n"
        "3:                         \n"
        NINE
        FOURS("r2", "r5") FOURS("r3", "r5") FOURS("r4", "r5") FOURS("r8", "r5")
        "add r2, r2, r3, lsl #1     \n"
        "add r8, r8, r4, lsl #1     \n"
        EIGHTS("r2", "r5") EIGHTS("r8", "r5")
        "add r2, r2, r8, lsl #1     \n"
        "mov r5, #0                 \n"
        "usada8 r12, r2, r5, r12    \n"
        "4:                         \n"
        "ldr r2, [sp, #12]          \n"
        "adds r12, r2               \n"
        "bpl 6f                     \n"
        "5:                         \n"
        EIGHTEEN
        "adds r12, #0x10000         \n"
        "bmi 5b                     \n"
        "6:                         \n"
        "ldrd r2, r3, [sp, #16]     \n"
        "str r12, [r2], #4          \n"
        "str r2, [sp, #16]          \n"
        "cmp r2, r3                 \n"
        "bne 1b                     \n"
        "add sp, #32                \n"
        "pop {r4-r11, pc}           \n"

        "7:                         \n"
        "ldr r2, [r0], #4           \n"
        "ldr r3, [r1], #4           \n"
        "eor r2, r2, r3             \n"
        FOURS("r2", "r3")
        EIGHTS("r2", "r3")
        "mov r5, #0                 \n"
        "usada8 r12, r2, r5, r12    \n"
        "ldr pc, [sp, #28]          \n"
        "8:                         \n"
        "ldrd r2, r3, [r0], #8      \n"
        "ldrd r4, r5, [r1], #8      \n"
        "eor r2, r2, r4             \n"
        "eor r4, r3, r5             \n"
        "and r3, r2, r4             \n"
        "eor r2, r2, r4             \n"
        FOURS("r2", "r4") FOURS("r3", "r4")
        "add r2, r2, r3, lsl #1     \n"
        EIGHTS("r2", "r4")
        "mov r5, #0                 \n"
        "usada8 r12, r2, r5, r12    \n"
        "ldr pc, [sp, #28]          \n");
}
/* clang-format on */

static void count(const uint32_t *column, int depth, const uint32_t *filters, uint32_t *counts, int channels) {
    count_bits(column, filters, depth / 3 % 3, depth / 9, counts, counts + channels, depth % 3);
}

void eo_b1_conv2d__dsp(const eo_window *g, const uint32_t *x, const void *packed, int bytes, void *y, void *scratch) {
    eo_conv2d_by_counts(g, x, packed, bytes, y, scratch, count, 1);
}
