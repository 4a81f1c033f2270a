/* Nine words of a column at a time: three full adders on triples, two more, and four sums of fields of two, four and
 * eight bits; what is over in triples comes first, one at a time. */
#include "../common/sign_counts.h"

/* clang-format off */
/* s and c of the next triple: loads its differences into r s, r(s+1), r(s+2). */
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

/* r0 column, r1 filters, r12 count, lr where the loop ends. Stack: 0 column, 4 end of single triples, 8 column_end,
 * 12 counts, 16 end of counts. */
__attribute__((naked, noinline))
static void count_bits(const uint32_t *column __attribute__((unused)), const uint32_t *filters __attribute__((unused)),
                       const uint32_t *single_end __attribute__((unused)),
                       const uint32_t *column_end __attribute__((unused)), int16_t *counts __attribute__((unused)),
                       int16_t *counts_end __attribute__((unused))) {
    __asm volatile(
        "push {r4-r11, lr}          \n"
        "ldrd r4, r5, [sp, #36]     \n"
        "sub sp, #20                \n"
        "strd r2, r3, [sp, #4]      \n"
        "str r0, [sp]               \n"
        "strd r4, r5, [sp, #12]     \n"

        "1:                         \n"
        "ldr r0, [sp]               \n"
        "ldr lr, [sp, #4]           \n"
        "mov r12, #0                \n"
        "cmp r0, lr                 \n"
        "beq 3f                     \n"
        "2:                         \n"
        TRIPLE("r2", "r3", "r4", "r5", "r6", "r7")
        FOURS("r2", "r4") FOURS("r3", "r4")
        "add r2, r2, r3, lsl #1     \n"
        EIGHTS("r2", "r4")
        "mov r5, #0                 \n"
        "usada8 r12, r2, r5, r12    \n"
        "cmp r0, lr                 \n"
        "bne 2b                     \n"
        "3:                         \n"
        "ldr lr, [sp, #8]           \n"
        "cmp r0, lr                 \n"
        "beq 5f                     \n"
        "4:                         \n"
        TRIPLE("r2", "r3", "r4", "r5", "r6", "r7")
        TRIPLE("r4", "r5", "r6", "r7", "r8", "r9")
        TRIPLE("r6", "r7", "r8", "r9", "r10", "r11")
        ADD3("r2", "r4", "r6", "r8", "r9")           /* ones r2, twos r3 r5 r7 r8 */
        ADD3("r3", "r5", "r7", "r4", "r9")           /* twos r3 r8, fours r4 */
        FOURS("r2", "r5") FOURS("r3", "r5") FOURS("r4", "r5") FOURS("r8", "r5")
        "add r2, r2, r3, lsl #1     \n"
        "add r8, r8, r4, lsl #1     \n"
        EIGHTS("r2", "r5") EIGHTS("r8", "r5")
        "add r2, r2, r8, lsl #1     \n"
        "mov r5, #0                 \n"
        "usada8 r12, r2, r5, r12    \n"
        "cmp r0, lr                 \n"
        "bne 4b                     \n"
        "5:                         \n"
        "ldrd r2, r3, [sp, #12]     \n"
        "strh r12, [r2], #2         \n"
        "str r2, [sp, #12]          \n"
        "cmp r2, r3                 \n"
        "bne 1b                     \n"
        "add sp, #20                \n"
        "pop {r4-r11, pc}           \n");
}
/* clang-format on */

static void count(const uint32_t *column, int triples, const uint32_t *filters, int16_t *counts, int channels) {
    count_bits(column, filters, column + triples % 3 * 3, column + triples * 3, counts, counts + channels);
}

void eo_b1_conv2d__dsp(const eo_window *g, const uint32_t *x, const void *packed, int bytes, void *y, void *scratch) {
    eo_conv2d_by_counts(g, x, packed, bytes, y, scratch, count, 1);
}
