/* Four channels at a time, one in each lane of 32 bits: full adders leave six words of weights 1, 1, 2, 2, 4 and 8 of
 * eighteen, whose bytes are looked up in a table of their bits. What is over comes first: words, then triples. */
#include "../common/sign_counts.h"

#define BITS2(n) (n), (n) + 1, (n) + 1, (n) + 2
#define BITS4(n) BITS2(n), BITS2((n) + 1), BITS2((n) + 1), BITS2((n) + 2)
#define BITS6(n) BITS4(n), BITS4((n) + 1), BITS4((n) + 1), BITS4((n) + 2)
static const uint8_t bits_of_byte[256] = {BITS6(0), BITS6(1), BITS6(1), BITS6(2)};

/* clang-format off */
/* The next triple's sum, a its lower and b its upper bit. */
#define TRIPLE(a, b, t)                             \
    "ldm r0!, {r2, r3, r4}          \n"            \
    "vldrw.32 " b ", [r1, #16]      \n"            \
    "vdup.32 " t ", r3              \n"            \
    "veor " b ", " b ", " t "       \n"            \
    "vldrw.32 " a ", [r1, #32]      \n"            \
    "vdup.32 " t ", r4              \n"            \
    "veor " a ", " a ", " t "       \n"            \
    "vorr " b ", " b ", " a "       \n"            \
    "vldrw.32 " a ", [r1], #48      \n"            \
    "vdup.32 " t ", r2              \n"            \
    "veor " a ", " a ", " t "       \n"            \
    "veor " b ", " b ", " a "       \n"
/* The sum of three words, its lower bit in c, its upper bit in a. */
#define ADD3(a, b, c)                               \
    "veor " b ", " b ", " a "       \n"            \
    "veor " a ", " a ", " c "       \n"            \
    "veor " c ", " c ", " b "       \n"            \
    "vorr " a ", " a ", " b "       \n"            \
    "veor " a ", " a ", " c "       \n"
#define LOOK_UP(to, from) "vldrb.u8 " to ", [r5, " from "] \n"
/* Adds the bytes of q6 to the counts. */
#define ADD_TO_COUNTS                               \
    "vmovlb.u8 q7, q6               \n"            \
    "vmovlt.u8 q6, q6               \n"            \
    "vadd.i16 q6, q6, q7            \n"            \
    "vmovlb.u16 q7, q6              \n"            \
    "vmovlt.u16 q6, q6              \n"            \
    "vadd.i32 q6, q6, q7            \n"            \
    "vldrw.32 q7, [r9]              \n"            \
    "vadd.i32 q6, q6, q7            \n"            \
    "vstrw.32 q6, [r9]              \n"

/* Six triples, added to the counts. */
#define EIGHTEEN                                                                         \
    TRIPLE("q0", "q1", "q2") TRIPLE("q2", "q3", "q4") TRIPLE("q4", "q5", "q6")           \
    ADD3("q0", "q2", "q4") ADD3("q1", "q3", "q5") /* 1: q4, 2: q0 q5, 4: q1 */           \
    TRIPLE("q2", "q3", "q6")                                                             \
    ADD3("q0", "q5", "q3")                        /* 1: q4 q2, 2: q3, 4: q1 q0 */        \
    TRIPLE("q5", "q6", "q7")                                                             \
    ADD3("q4", "q2", "q5")                        /* 1: q5, 2: q3 q6 q4, 4: q1 q0 */     \
    ADD3("q3", "q6", "q4")                        /* 1: q5, 2: q4, 4: q1 q0 q3 */        \
    ADD3("q1", "q0", "q3")                        /* 1: q5, 2: q4, 4: q3, 8: q1 */       \
    TRIPLE("q0", "q2", "q6")                      /* 1: q5 q0, 2: q4 q2, 4: q3, 8: q1 */ \
    LOOK_UP("q6", "q5") LOOK_UP("q7", "q0")                                              \
    "vadd.i8 q6, q6, q7         \n"                                                      \
    LOOK_UP("q7", "q4") LOOK_UP("q5", "q2")                                              \
    "vadd.i8 q7, q7, q5         \n"                                                      \
    "vmla.s8 q6, q7, r6         \n"                                                      \
    LOOK_UP("q7", "q3")                                                                  \
    "vmla.s8 q6, q7, r7         \n"                                                      \
    LOOK_UP("q7", "q1")                                                                  \
    "vmla.s8 q6, q7, r8         \n"                                                      \
    ADD_TO_COUNTS

/* r0 column, r1 filters, r5 table, r6 2, r7 4, r8 8, r9 counts, r10 rounds left, r11 groups of channels left.
 * Stack: 0 column, 4 single words, 8 single triples, 12 blocks of eighteen words. */
__attribute__((naked, noinline))
static void count_bits(const uint32_t *column __attribute__((unused)), const uint32_t *filters __attribute__((unused)),
                       uint32_t *counts __attribute__((unused)), int words __attribute__((unused)),
                       int triples __attribute__((unused)), int blocks __attribute__((unused)),
                       int groups __attribute__((unused)),
                       const uint8_t *table __attribute__((unused))) {
    __asm volatile(
        "push {r4-r11, lr}          \n"
        "ldrd r4, r6, [sp, #36]     \n"
        "ldrd r11, r5, [sp, #44]    \n"
        "vpush {d8-d15}             \n"
        "sub sp, #16                \n"
        "strd r0, r3, [sp]          \n"
        "strd r4, r6, [sp, #8]      \n"
        "mov r9, r2                 \n"
        "mov r6, #2                 \n"
        "mov r7, #4                 \n"
        "mov r8, #8                 \n"

        "1:                         \n"
        "ldrd r0, r10, [sp]         \n"
        "vmov.i32 q6, #0            \n"
        "vstrw.32 q6, [r9]          \n"
        "ldr r2, [sp, #8]           \n"
        "orrs r2, r10               \n"
        "beq 3f                     \n"
        "cmp r10, #0                \n"
        "beq 7f                     \n"
        "6:                         \n"
        "ldr r2, [r0], #4           \n"
        "vldrw.32 q0, [r1], #16     \n"
        "vdup.32 q1, r2             \n"
        "veor q0, q0, q1            \n"
        LOOK_UP("q3", "q0")
        "vadd.i8 q6, q6, q3         \n"
        "subs r10, #1               \n"
        "bne 6b                     \n"
        "7:                         \n"
        "ldr r10, [sp, #8]          \n"
        "cmp r10, #0                \n"
        "beq 8f                     \n"
        "2:                         \n"
        TRIPLE("q0", "q1", "q2")
        LOOK_UP("q3", "q0") LOOK_UP("q4", "q1")
        "vmla.s8 q3, q4, r6         \n"
        "vadd.i8 q6, q6, q3         \n"
        "subs r10, #1               \n"
        "bne 2b                     \n"
        "8:                         \n"
        ADD_TO_COUNTS
        "3:                         \n"
        "ldr r10, [sp, #12]         \n"
        "cmp r10, #0                \n"
        "beq 5f                     \n"
        "4:                         \n"
        EIGHTEEN
        "subs r10, #1               \n"
        "bne 4b                     \n"
        "5:                         \n"
        "add r9, #16                \n"
        "subs r11, #1               \n"
        "bne 1b                     \n"
        "add sp, #16                \n"
        "vpop {d8-d15}              \n"
        "pop {r4-r11, pc}           \n");
}
/* clang-format on */

static void count(const uint32_t *column, int depth, const uint32_t *filters, uint32_t *counts, int channels) {
    count_bits(column, filters, counts, depth % 3, depth / 3 % 6, depth / 18, (channels + 3) / 4, bits_of_byte);
}

void eo_b1_conv2d__mve(const eo_window *g, const uint32_t *x, const void *packed, int bytes, void *y, void *scratch) {
    eo_conv2d_by_counts(g, x, packed, bytes, y, scratch, count, 4);
}
