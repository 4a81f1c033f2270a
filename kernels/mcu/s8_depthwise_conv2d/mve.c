/* 3x3, stride 1 or 2, sixteen channels at a time.
 *
 * Four rows are dealt out to a strip for each channel, column after column, four bytes a column. Sixteen bytes of it
 * are a window of four columns by four rows, and one VMLADAV with the filter's nine weights at the right bytes is an
 * output. At stride 1 a load serves four outputs, two rows by two columns: the filter is shifted by a byte for the
 * second row and by a word for the second column. At stride 2 four loads give four outputs of one row.
 *
 * Packed: a record for each channel of {int32 bias, int32 multiplier, int8[4][4] weights by column and row, zeros in
 * the last of both}. */
#include <arm_mve.h>
#include <string.h>

#include "../common/requant.h"
#include "edgeopt_kernels.h"

enum { GROUP = 16, RECORD = 6 /* words */, TWO_ROWS = 0xFFFF, ONE_ROW = 0x00FF, ONE_COLUMN = 0x0F0F };

/* What the channels of a group share. Four outputs a step go to y + offsets, as far as mask says, and y moves on by
 * stride; after the steps, one more where last is not 0, with last as its mask. The inner loops read it in this order. */
typedef struct {
    int32_t offsets[4];
    int32_t out_zero, stride, mask, steps, last;
} eo_run;

/* clang-format off */
#define REQUANT_STORE                           \
    "vmov q0[2], q0[0], r0, r4              \n" \
    "vmov q0[3], q0[1], r2, r6              \n" \
    "vadd.i32 q0, q0, q5                    \n" \
    "vrmulh.s32 q0, q0, q6                  \n" \
    "vadd.i32 q0, q0, r8                    \n" \
    "vqmovnb.s32 q0, q0                     \n" \
    "vqmovnb.s16 q0, q0                     \n" \
    "vpst                                   \n" \
    "vstrbt.32 q0, [%[y], q7]               \n"
/* Bias in q5, multiplier in q6, then the steps and the last one. */
#define ALL_STEPS(step)                         \
    "ldrd r0, r2, [%[w]]                    \n" \
    "vdup.32 q5, r0                         \n" \
    "vdup.32 q6, r2                         \n" \
    "vldrw.32 q7, [%[run]]                  \n" \
    "ldrd r8, r9, [%[run], #16]             \n" \
    "ldrd r0, r2, [%[run], #24]             \n" \
    "vmsr p0, r0                            \n" \
    "wls lr, r2, 2f                         \n" \
    "1:                                     \n" \
    step REQUANT_STORE                          \
    "add %[y], r9                           \n" \
    "le lr, 1b                              \n" \
    "2:                                     \n" \
    "ldr r0, [%[run], #32]                  \n" \
    "cmp r0, #0                             \n" \
    "beq 3f                                 \n" \
    "vmsr p0, r0                            \n" \
    step REQUANT_STORE                          \
    "3:                                     \n"
#define OPERANDS                                \
    : [x] "+l"(x), [y] "+l"(y)                  \
    : [w] "l"(record), [run] "l"(run)           \
    : "r0", "r2", "r4", "r6", "r8", "r9", "lr", "cc", "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "memory"

/* Two columns by two rows a step. */
#define FOUR_OUTPUTS                            \
    "vldrb.8 q0, [%[x]], #8                 \n" \
    "vmladav.s8 r0, q0, q1                  \n" \
    "vmladav.s8 r2, q0, q2                  \n" \
    "vmladav.s8 r4, q0, q3                  \n" \
    "vmladav.s8 r6, q0, q4                  \n"
static void stride_1(const int8_t *x, const int32_t *record, int8_t *y, const eo_run *run) {
    __asm volatile(
        "vldrw.32 q1, [%[w], #8]                \n"
        "mov r0, #0                             \n"
        "vmov q2, q1                            \n"
        "vshlc q2, r0, #32                      \n"
        "vmov q3, q1                            \n"
        "vshlc q3, r0, #8                       \n"
        "vmov q4, q2                            \n"
        "vshlc q4, r0, #8                       \n"
        ALL_STEPS(FOUR_OUTPUTS)
        OPERANDS);
}

/* Four columns a step. */
#define FOUR_COLUMNS                            \
    "vldrb.8 q0, [%[x]], #8                 \n" \
    "vldrb.8 q2, [%[x]], #8                 \n" \
    "vldrb.8 q3, [%[x]], #8                 \n" \
    "vldrb.8 q4, [%[x]], #8                 \n" \
    "vmladav.s8 r0, q0, q1                  \n" \
    "vmladav.s8 r2, q2, q1                  \n" \
    "vmladav.s8 r4, q3, q1                  \n" \
    "vmladav.s8 r6, q4, q1                  \n"
static void stride_2(const int8_t *x, const int32_t *record, int8_t *y, const eo_run *run) {
    __asm volatile(
        "vldrw.32 q1, [%[w], #8]                \n"
        ALL_STEPS(FOUR_COLUMNS)
        OPERANDS);
}
/* clang-format on */

/* Four rows and where they are dealt to; the order is that of the registers that hold it. step: bytes to a row's next
 * column, 0 for a row outside the map; four: room for a column; plane: bytes of a strip. */
typedef struct {
    const int8_t *row[4];
    int32_t step[4];
    int8_t *to, *four;
    int32_t plane, columns;
} eo_deal;

/* clang-format off */
__attribute__((naked, noinline))
static void deal_columns(const eo_deal *deal __attribute__((unused))) {
    __asm volatile(
        "push {r4-r11, lr}                      \n"
        "vpush {d8-d15}                         \n"
        "ldm r0, {r0-r11}                       \n"
        "mov r12, #0                            \n"
        "vidup.u32 q4, r12, #1                  \n"
        "vmul.i32 q4, q4, r10                   \n"
        "lsl r10, #2                            \n"
        "vadd.i32 q5, q4, r10                   \n"
        "vadd.i32 q6, q5, r10                   \n"
        "vadd.i32 q7, q6, r10                   \n"
        "dls lr, r11                            \n"
        "1:                                     \n"
        "vldrb.8 q0, [r0]                       \n"
        "vldrb.8 q1, [r1]                       \n"
        "vldrb.8 q2, [r2]                       \n"
        "vldrb.8 q3, [r3]                       \n"
        "add r0, r4                             \n"
        "add r1, r5                             \n"
        "add r2, r6                             \n"
        "add r3, r7                             \n"
        "vst40.8 {q0, q1, q2, q3}, [r9]         \n"
        "vst41.8 {q0, q1, q2, q3}, [r9]         \n"
        "vst42.8 {q0, q1, q2, q3}, [r9]         \n"
        "vst43.8 {q0, q1, q2, q3}, [r9]         \n"
        "vldrw.32 q0, [r9]                      \n"
        "vldrw.32 q1, [r9, #16]                 \n"
        "vldrw.32 q2, [r9, #32]                 \n"
        "vldrw.32 q3, [r9, #48]                 \n"
        "vstrw.32 q0, [r8, q4]                  \n"
        "vstrw.32 q1, [r8, q5]                  \n"
        "vstrw.32 q2, [r8, q6]                  \n"
        "vstrw.32 q3, [r8, q7]                  \n"
        "add r8, #4                             \n"
        "le lr, 1b                              \n"
        "vpop {d8-d15}                          \n"
        "pop {r4-r11, pc}                       \n");
}
/* clang-format on */

/* Rows iy .. iy + 3 of sixteen channels, dealt out to the strips. */
static void deal_rows(const eo_window *g, const int8_t *x, int iy, int8_t *strips, int plane, int columns) {
    int8_t outside[GROUP], four[4 * GROUP] __attribute__((aligned(4)));
    eo_deal deal = {{NULL}, {0}, strips + 4 * g->pad_left, four, plane, columns};
    vst1q_s8(outside, vdupq_n_s8(g->in_zero));
    for (int r = 0; r < 4; r++) {
        const int inside = iy + r >= 0 && iy + r < g->in_h;
        deal.row[r] = inside ? x + (iy + r) * g->in_w * g->in_c : outside;
        deal.step[r] = inside ? g->in_c : 0;
    }
    deal_columns(&deal);
}

/* A row, or at stride 1 two, of count channels. */
static void run_channels(const eo_window *g, const int8_t *strips, int plane, const int32_t *record, int8_t *y,
                         int count, int both_rows) {
    const int c = g->out_c, row = g->out_w * c, s = g->stride_w, wide = s == 1 ? 2 : 4, left = g->out_w % wide;
    const int32_t rows = s == 2 || both_rows ? TWO_ROWS : ONE_ROW;
    const int32_t last = s == 1 ? rows & ONE_COLUMN : (1 << 4 * left) - 1;
    const eo_run run = {{0, c, s == 1 ? row : 2 * c, s == 1 ? row + c : 3 * c},
                        g->out_zero,
                        wide * c,
                        rows,
                        g->out_w / wide,
                        left ? last : 0};
    for (int i = 0; i < count; i++, strips += plane, record += RECORD, y++)
        (s == 1 ? stride_1 : stride_2)(strips, record, y, &run);
}

void eo_s8_depthwise_conv2d__mve(const eo_window *g, const int8_t *x, const void *packed, int8_t *y, void *scratch) {
    const int s = g->stride_w, row = g->out_w * g->out_c;
    const int plane = (int)(eo_s8_depthwise_conv2d__mve_scratch(g) / GROUP), columns = plane / 4;
    const int dealt = eo_min_i32(g->in_w, columns - g->pad_left);
    for (int c = 0; c < g->in_c; c += GROUP) {
        memset(scratch, g->in_zero, (size_t)(GROUP * plane));
        for (int oy = 0; oy < g->out_h; oy += 3 - s) {
            deal_rows(g, x + c, oy * s - g->pad_top, scratch, plane, dealt);
            run_channels(g, scratch, plane, (const int32_t *)packed + RECORD * c, y + c + oy * row,
                         eo_min_i32(GROUP, g->in_c - c), oy + 1 < g->out_h);
        }
    }
    eo_clamp_span(y, (size_t)(g->out_h * row), g->act_min, g->act_max);
}
