/* 3x3, stride 1 or 2, four channels at a time.
 *
 * Rows are widened and paired vertically: a word holds one column of rows (r, r + 1), so that one SMLAD does two
 * taps. Each of the four channels has a strip of two such row pairs, column after column {pair A, pair B}:
 *
 *   stride 1: pairs (r, r+1) and (r+2, r+3) give output rows r and r + 1
 *   stride 2: pairs (r, r+1) and (r+2, r+3) give one output row; row r + 3 belongs to the next
 *
 * Going down, the lower pair stays where it is and becomes the upper one: A and B change roles, and only one pair of
 * rows is widened.
 *
 * Packed: a record for each channel of {int32 bias, int32 multiplier, int16 pairs (w0,w1) of the columns 0..2,
 * then (w1,w2)}, w0..w2 being the rows of the filter. */
#include <string.h>

#include "../common/requant.h"
#include "edgeopt_kernels.h"

/* What the inner loops read from memory; the order is that of their stack frames. */
typedef struct {
    int32_t bias, multiplier; /* of the current channel, taken from its record */
    int32_t out_zero;
    int32_t pixel, row;  /* bytes to the next pixel and row of y; row 0: there is no second row */
    const uint32_t *end; /* of the column steps, in the current channel's strip */
    const int32_t *record;
    const uint32_t *strip;
    int32_t plane; /* bytes from a channel's strip to the next channel's */
    int8_t *y;
    int32_t odd; /* whether a single column is left after the steps of two */
    int32_t channels;
} eo_strips;

/* clang-format off */
#define ENTER                           \
    "push {r4-r11, lr}              \n" \
    "sub sp, #48                    \n" \
    "ldm r0, {r1-r12}               \n" \
    "stm sp, {r1-r12}               \n"
/* Of the next channel: r0 strip, r1 y, r2-r4 (w0,w1), r5-r7 (w1,w2). */
#define NEXT_CHANNEL                    \
    "1:                             \n" \
    "ldr r0, [sp, #24]              \n" \
    "ldrd r8, r9, [r0], #8          \n" \
    "ldm r0!, {r2-r7}               \n" \
    "strd r8, r9, [sp]              \n" \
    "str r0, [sp, #24]              \n" \
    "ldrd r0, r8, [sp, #28]         \n" \
    "ldrd r1, r9, [sp, #36]         \n" \
    "ldr r12, [sp, #20]             \n" \
    "cmp r0, r12                    \n" \
    "bhs 3f                         \n"
#define MORE_COLUMNS                    \
    "ldr r12, [sp, #20]             \n" \
    "cmp r0, r12                    \n" \
    "blo 2b                         \n" \
    "ldr r9, [sp, #40]              \n" \
    "3:                             \n" \
    "cmp r9, #0                     \n" \
    "beq 4f                         \n"
#define MORE_CHANNELS                   \
    "4:                             \n" \
    "ldrd r0, r8, [sp, #28]         \n" \
    "ldr r1, [sp, #20]              \n" \
    "ldr r2, [sp, #36]              \n" \
    "ldr r3, [sp, #44]              \n" \
    "add r0, r8                     \n" \
    "add r1, r8                     \n" \
    "add r2, #1                     \n" \
    "str r0, [sp, #28]              \n" \
    "str r1, [sp, #20]              \n" \
    "str r2, [sp, #36]              \n" \
    "subs r3, #1                    \n" \
    "str r3, [sp, #44]              \n" \
    "bne 1b                         \n" \
    "add sp, #48                    \n" \
    "pop {r4-r11, pc}               \n"
#define REQUANT(acc) "smmlar " acc ", " acc ", r12, lr \n ssat " acc ", #8, " acc " \n"

/* Adds a column to one pixel of both output rows; acc0 and acc1 start from from0 and from1. */
#define TWO_ROWS(acc0, acc1, from0, from1, w01, w12)     \
    "smlad " acc0 ", r12, " w01 ", " from0 "         \n" \
    "smlabt " acc0 ", lr, " w12 ", " acc0 "          \n" \
    "smlatb " acc1 ", r12, " w01 ", " from1 "        \n" \
    "smlad " acc1 ", lr, " w12 ", " acc1 "           \n"

/* upper_lower: the registers that LDRD fills, "r12, lr" where pair A is the upper one, "lr, r12" otherwise. */
#define STRIDE_1(upper_lower)                            \
    ENTER                                                \
    NEXT_CHANNEL                                         \
    "2:                             \n"                  \
    "ldr r11, [sp]                  \n"                  \
    "ldrd " upper_lower ", [r0]     \n"                  \
    TWO_ROWS("r8", "r9", "r11", "r11", "r2", "r5")       \
    "ldrd " upper_lower ", [r0, #8] \n"                  \
    TWO_ROWS("r8", "r9", "r8", "r9", "r3", "r6")         \
    TWO_ROWS("r10", "r11", "r11", "r11", "r2", "r5")     \
    "ldrd " upper_lower ", [r0, #16]! \n"                \
    TWO_ROWS("r8", "r9", "r8", "r9", "r4", "r7")         \
    TWO_ROWS("r10", "r11", "r10", "r11", "r3", "r6")     \
    "ldrd " upper_lower ", [r0, #8] \n"                  \
    TWO_ROWS("r10", "r11", "r10", "r11", "r4", "r7")     \
    "ldrd r12, lr, [sp, #4]         \n"                  \
    REQUANT("r8") REQUANT("r9") REQUANT("r10") REQUANT("r11") \
    "ldrd r12, lr, [sp, #12]        \n"                  \
    "strb r9, [r1, lr]              \n" /* where there is no second row, the first overwrites it */ \
    "strb r8, [r1]                  \n"                  \
    "add r1, r12                    \n"                  \
    "strb r11, [r1, lr]             \n"                  \
    "strb r10, [r1]                 \n"                  \
    "add r1, r12                    \n"                  \
    MORE_COLUMNS                                         \
    "ldr r11, [sp]                  \n"                  \
    "ldrd " upper_lower ", [r0]     \n"                  \
    TWO_ROWS("r8", "r9", "r11", "r11", "r2", "r5")       \
    "ldrd " upper_lower ", [r0, #8] \n"                  \
    TWO_ROWS("r8", "r9", "r8", "r9", "r3", "r6")         \
    "ldrd " upper_lower ", [r0, #16]\n"                  \
    TWO_ROWS("r8", "r9", "r8", "r9", "r4", "r7")         \
    "ldrd r12, lr, [sp, #4]         \n"                  \
    REQUANT("r8") REQUANT("r9")                          \
    "ldr lr, [sp, #16]              \n"                  \
    "strb r9, [r1, lr]              \n"                  \
    "strb r8, [r1]                  \n"                  \
    MORE_CHANNELS

/* Adds a column to one pixel of the output row. */
#define ONE_ROW(acc, from, w01, w12)                     \
    "smlad " acc ", r12, " w01 ", " from "           \n" \
    "smlabt " acc ", lr, " w12 ", " acc "            \n"

/* The sum of a window, in r8. */
#define THREE_COLUMNS(upper_lower, from)                 \
    "ldrd " upper_lower ", [r0]     \n"                  \
    ONE_ROW("r8", from, "r2", "r5")                      \
    "ldrd " upper_lower ", [r0, #8] \n"                  \
    ONE_ROW("r8", "r8", "r3", "r6")                      \
    "ldrd " upper_lower ", [r0, #16]\n"                  \
    ONE_ROW("r8", "r8", "r4", "r7")

#define STRIDE_2(upper_lower)                            \
    ENTER                                                \
    NEXT_CHANNEL                                         \
    "2:                             \n"                  \
    "ldr r11, [sp]                  \n"                  \
    THREE_COLUMNS(upper_lower, "r11")                    \
    ONE_ROW("r10", "r11", "r2", "r5")                    \
    "ldrd " upper_lower ", [r0, #24]\n"                  \
    ONE_ROW("r10", "r10", "r3", "r6")                    \
    "ldrd " upper_lower ", [r0, #32]! \n"                \
    ONE_ROW("r10", "r10", "r4", "r7")                    \
    "ldrd r12, lr, [sp, #4]         \n"                  \
    REQUANT("r8") REQUANT("r10")                         \
    "ldr r12, [sp, #12]             \n"                  \
    "strb r8, [r1]                  \n"                  \
    "strb r10, [r1, r12]            \n"                  \
    "add r1, r1, r12, lsl #1        \n"                  \
    MORE_COLUMNS                                         \
    "ldr r8, [sp]                   \n"                  \
    THREE_COLUMNS(upper_lower, "r8")                     \
    "ldrd r12, lr, [sp, #4]         \n"                  \
    REQUANT("r8")                                        \
    "strb r8, [r1]                  \n"                  \
    MORE_CHANNELS

#define KERNEL(name, body)              \
    __attribute__((naked, noinline))    \
    static void name(const eo_strips *strips __attribute__((unused))) { __asm volatile(body); }

KERNEL(stride_1_upper_a, STRIDE_1("r12, lr"))
KERNEL(stride_1_upper_b, STRIDE_1("lr, r12"))
KERNEL(stride_2_upper_a, STRIDE_2("r12, lr"))
KERNEL(stride_2_upper_b, STRIDE_2("lr, r12"))

/* Columns of two rows of four channels, widened, paired and dealt out to the channels' strips. step: bytes to the
 * next column of a row, 0 for a row outside the map. */
static void widen_rows(const int8_t *a, int step_a, const int8_t *b, int step_b, uint32_t *to, int plane,
                       int columns) {
    __asm volatile(
        "1:                         \n"
        "ldr r3, [%[a]]             \n"
        "ldr r4, [%[b]]             \n"
        "add %[a], %[sa]            \n"
        "add %[b], %[sb]            \n"
        "sxtb16 r5, r3              \n"
        "sxtb16 r6, r4              \n"
        "sxtb16 r3, r3, ror #8      \n"
        "sxtb16 r4, r4, ror #8      \n"
        "pkhbt r8, r5, r6, lsl #16  \n"
        "pkhtb r6, r6, r5, asr #16  \n"
        "pkhbt r5, r3, r4, lsl #16  \n"
        "pkhtb r4, r4, r3, asr #16  \n"
        "str r8, [%[to]]            \n"
        "str r5, [%[to], %[p]]      \n"
        "str r6, [%[to], %[p], lsl #1] \n"
        "str r4, [%[to], %[p3]]     \n"
        "subs %[n], #1              \n"
        "add %[to], #8              \n"
        "bne 1b                     \n"
        : [a] "+r"(a), [b] "+r"(b), [to] "+r"(to), [n] "+r"(columns)
        : [sa] "r"(step_a), [sb] "r"(step_b), [p] "r"(plane), [p3] "r"(3 * plane)
        : "r3", "r4", "r5", "r6", "r8", "cc", "memory");
}
/* clang-format on */

/* Rows iy and iy + 1 into pair A (slot 0) or B (slot 1) of the strips. */
static void widen_pair(const eo_window *g, const int8_t *x, int iy, uint32_t *strips, int plane, int columns) {
    const uint32_t outside = (uint8_t)g->in_zero * 0x01010101U;
    const int8_t *rows[2];
    int step[2];
    for (int i = 0; i < 2; i++) {
        const int inside = iy + i >= 0 && iy + i < g->in_h;
        rows[i] = inside ? x + (size_t)(iy + i) * g->in_w * g->in_c : (const int8_t *)&outside;
        step[i] = inside ? g->in_c : 0;
    }
    widen_rows(rows[0], step[0], rows[1], step[1], strips + 2 * g->pad_left, plane, columns);
}

/* All output rows of four channels. */
static void four_channels(const eo_window *g, const int8_t *x, const int32_t *records, int8_t *y, uint32_t *strips) {
    const int s = g->stride_w, row = g->out_w * g->out_c, steps = g->out_w / 2;
    const int columns = (g->out_w - 1) * s + 3, plane = 8 * columns;
    const int widened = eo_min_i32(g->in_w, columns - g->pad_left);
    const uint32_t outside = ((uint32_t)g->in_zero & 0xFFFF) * 0x10001U;
    for (int i = 0; i < 8 * columns; i++)
        strips[i] = outside;
    widen_pair(g, x, -g->pad_top, strips, plane, widened);
    for (int oy = 0, iy = 2 - g->pad_top, upper_b = 0; oy < g->out_h; oy += 3 - s, iy += 2, upper_b ^= 1) {
        const eo_strips frame = {0,
                                 0,
                                 g->out_zero,
                                 g->out_c,
                                 oy + 1 < g->out_h ? row : 0,
                                 strips + 4 * s * steps,
                                 records,
                                 strips,
                                 plane,
                                 y + oy * row,
                                 g->out_w & 1,
                                 4};
        widen_pair(g, x, iy, strips + !upper_b, plane, widened);
        if (s == 1)
            (upper_b ? stride_1_upper_b : stride_1_upper_a)(&frame);
        else
            (upper_b ? stride_2_upper_b : stride_2_upper_a)(&frame);
    }
}

void eo_s8_depthwise_conv2d__dsp(const eo_window *g, const int8_t *x, const void *packed, int8_t *y, void *scratch) {
    for (int c = 0; c < g->in_c; c += 4)
        four_channels(g, x + c, (const int32_t *)packed + 8 * c, y + c, scratch);
    eo_clamp_span(y, (size_t)g->out_h * g->out_w * g->out_c, g->act_min, g->act_max);
}
