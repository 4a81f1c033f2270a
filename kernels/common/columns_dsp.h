/* Columns for the DSP convolutions: the patches of two output pixels, widened to int16 and interleaved.
 *
 * For each 4 consecutive values k0..k3 of a patch, four words: a(k0,k2) b(k0,k2) a(k1,k3) b(k1,k3), a and b being
 * the two pixels. SXTB16 gives just these pairs, so nothing is reordered. */
#ifndef EDGEOPT_COLUMNS_DSP_H
#define EDGEOPT_COLUMNS_DSP_H

#include "../common/patch.h"

/* clang-format off */
#define EO_WIDEN_QUAD               \
    "ldr r3, [%[a]], #4         \n" \
    "ldr r4, [%[b]], #4         \n" \
    "sxtb16 r5, r3              \n" \
    "sxtb16 r6, r4              \n" \
    "sxtb16 r8, r3, ror #8      \n" \
    "sxtb16 r9, r4, ror #8      \n" \
    "stm %[c]!, {r5, r6, r8, r9}\n"

/* Widens quads * 4 > 0 values of a and of b; the sources need no alignment. Returns the end of the column. */
static inline uint32_t *eo_widen_pair(const int8_t *a, const int8_t *b, uint32_t *column, int quads) {
    __asm volatile(
        "tst %[n], #1               \n"
        "bne 2f                     \n"
        "1:                         \n"
        EO_WIDEN_QUAD
        "2:                         \n"
        EO_WIDEN_QUAD
        "subs %[n], #2              \n"
        "bgt 1b                     \n"
        : [a] "+r"(a), [b] "+r"(b), [c] "+r"(column), [n] "+r"(quads)
        :
        : "r3", "r4", "r5", "r6", "r8", "r9", "cc", "memory");
    return column;
}
/* clang-format on */

/* Copies words: up to 3 bytes more than asked for. */
static inline void eo_copy_words(int8_t *to, const int8_t *from, int bytes) {
    for (; bytes > 0; bytes -= 4, from += 4, to += 4)
        memcpy(to, from, 4);
}

/* Widens the patches a and b, which may be the same one; column is a kernel's whole scratch. */
static inline void eo_columns(const eo_window *g, const int8_t *x, const eo_patch *a, const eo_patch *b,
                              uint32_t *column) {
    const int row = g->kernel_w * g->in_c, quads = (int)(eo_patch_bytes(g) / 4);
    if (row % 4 == 0 && eo_patch_is_inside(g, a) && eo_patch_is_inside(g, b)) {
        const int8_t *from_a = x + a->at, *from_b = x + b->at;
        for (int ky = g->kernel_h; ky > 0; ky--, from_a += g->in_w * g->in_c, from_b += g->in_w * g->in_c)
            column = eo_widen_pair(from_a, from_b, column, row / 4);
    } else {
        int8_t *const copy_a = (int8_t *)(column + 4 * quads), *const copy_b = copy_a + 4 * quads + 4;
        eo_copy_patch(g, x, a, copy_a, eo_copy_words);
        eo_copy_patch(g, x, b, copy_b, eo_copy_words);
        eo_widen_pair(copy_a, copy_b, column, quads);
    }
}

#endif
