/* Convolutions of signs by counting: for each pixel a column of words, for each channel the bits that differ from it.
 *
 * Three words a, b, c of a patch and of a filter are kept as (a ^ b ^ c, a ^ b, a ^ c): of their differences s, p, q
 * the sum of the three bits is s + 2 (s ^ (p | q)), a full adder for two instructions. A column begins with the one or
 * two words that make no three.
 *
 * Packed: int32 level[channels], for bytes int32 multiplier[channels] (channels up to a multiple of the ISA's block),
 * and the filters in the ISA's order. A bit is level - 2 * count >= 0, what becomes a byte level - 512 * count. Where
 * taps lie outside the map their words are 0, and the level is corrected by what the filter has there: pixels are gone
 * through in rectangles that miss the same taps, so that this is done once for each. */
#ifndef EDGEOPT_SIGN_COUNTS_H
#define EDGEOPT_SIGN_COUNTS_H

#include <string.h>

#include "../common/requant.h"
#include "edgeopt_kernels.h"

/* How an ISA counts: for each of channels filters the bits that differ from a column of depth words. */
typedef void eo_count_fn(const uint32_t *column, int depth, const uint32_t *filters, uint32_t *counts, int channels);

/* Outputs first to end of one direction, and how many taps they miss before and behind the map. */
typedef struct {
    int first, end, before, behind;
} eo_band;

typedef struct {
    const eo_window *g;
    const uint32_t *x, *filters;
    const int32_t *levels, *multipliers; /* multipliers: NULL for bits */
    uint32_t *column, *counts;
    int32_t *corrected; /* for bits: the least count that gives -1 */
    uint16_t *base;     /* counts of a column of zeros */
    eo_count_fn *count;
    int depth, words, channels; /* depth: words of a column */
} eo_sign_conv2d;

static inline int eo_outside(int amount) { return amount > 0 ? amount : 0; }

static inline eo_band eo_next_band(int first, int outputs, int stride, int pad, int kernel, int size) {
    eo_band band = {first, first, 0, 0};
    for (int at = first * stride - pad; band.end < outputs; band.end++, at += stride) {
        const int before = eo_outside(-at), behind = eo_outside(at + kernel - size);
        if (band.end == first) {
            band.before = before;
            band.behind = behind;
        } else if (before != band.before || behind != band.behind)
            break;
    }
    return band;
}

/* clang-format off */
/* Words to triples, also in place; returns their end. */
static inline uint32_t *eo_to_triples(const uint32_t *from, uint32_t *to, int triples) {
    __asm volatile(
        "1:                             \n"
        "ldm %[from]!, {r3, r4, r5}     \n"
        "eor r4, r4, r3                 \n"
        "eor r5, r5, r3                 \n"
        "eor r3, r3, r4                 \n"
        "eor r3, r3, r5                 \n"
        "stm %[to]!, {r3, r4, r5}       \n"
        "subs %[n], #1                  \n"
        "bne 1b                         \n"
        : [from] "+r"(from), [to] "+r"(to), [n] "+r"(triples)
        :
        : "r3", "r4", "r5", "cc", "memory");
    return to;
}
/* clang-format on */

static inline void eo_make_triples(const eo_sign_conv2d *v) {
    const int rest = v->depth % 3;
    if (v->depth > rest)
        eo_to_triples(v->column + rest, v->column + rest, v->depth / 3);
}

static inline int eo_is_inside(const eo_band *rows, const eo_band *columns) {
    return !(rows->before + rows->behind + columns->before + columns->behind);
}

/* The words under an output pixel, zeros outside the map; from: the first word inside. */
static inline void eo_gather(const eo_sign_conv2d *v, const uint32_t *from, const eo_band *rows,
                             const eo_band *columns) {
    const eo_window *g = v->g;
    const int row = g->kernel_w * v->words, left = columns->before * v->words, next = g->in_w * v->words;
    const int taken = row - left - columns->behind * v->words, inside = eo_is_inside(rows, columns);
    uint32_t *to = v->column;
    if (inside && row % 3 == 0) {
        for (int ky = g->kernel_h; ky > 0; ky--, from += next)
            to = eo_to_triples(from, to, row / 3);
        return;
    }
    if (!inside)
        memset(to, 0, sizeof *to * (size_t)v->depth);
    to += rows->before * row + left;
    for (int ky = g->kernel_h - rows->before - rows->behind; ky > 0; ky--, from += next, to += row)
        for (int i = 0; i < taken; i++)
            to[i] = from[i];
    eo_make_triples(v);
}

/* Ones in the taps that lie outside the map: its count is what zeros there count, the other way round. */
static inline void eo_outside_taps(const eo_sign_conv2d *v, const eo_band *rows, const eo_band *columns) {
    const eo_window *g = v->g;
    uint32_t *to = v->column;
    for (int ky = 0; ky < g->kernel_h; ky++)
        for (int kx = 0; kx < g->kernel_w; kx++) {
            const int outside = ky < rows->before || ky >= g->kernel_h - rows->behind || kx < columns->before ||
                                kx >= g->kernel_w - columns->behind;
            for (int left = g->in_c; left > 0; left -= 32)
                *to++ = !outside ? 0 : left < 32 ? (1U << left) - 1 : ~0U;
        }
    eo_make_triples(v);
}

/* Of a column of zeros, where any output will need it. */
static inline void eo_count_base(const eo_sign_conv2d *v) {
    const eo_window *g = v->g;
    const int below = (g->out_h - 1) * g->stride_h - g->pad_top + g->kernel_h > g->in_h;
    const int right = (g->out_w - 1) * g->stride_w - g->pad_left + g->kernel_w > g->in_w;
    if (!(g->pad_top || g->pad_left || below || right))
        return;
    memset(v->column, 0, sizeof *v->column * (size_t)v->depth);
    v->count(v->column, v->depth, v->filters, v->counts, v->channels);
    for (int c = 0; c < v->channels; c++)
        v->base[c] = (uint16_t)v->counts[c];
}

/* What taps outside the map would have to add to 2 * count, in counts. */
static inline void eo_count_outside(const eo_sign_conv2d *v, const eo_band *rows, const eo_band *columns) {
    if (eo_is_inside(rows, columns)) {
        memset(v->counts, 0, sizeof *v->counts * (size_t)v->channels);
        return;
    }
    eo_outside_taps(v, rows, columns);
    v->count(v->column, v->depth, v->filters, v->counts, v->channels);
    for (int c = 0; c < v->channels; c++)
        v->counts[c] = v->base[c] - v->counts[c];
}

static inline void eo_correct(const eo_sign_conv2d *v, const eo_band *rows, const eo_band *columns) {
    eo_count_outside(v, rows, columns);
    for (int c = 0; c < v->channels; c++) {
        const int32_t outside = (int32_t)v->counts[c], level = v->levels[c];
        v->corrected[c] = v->multipliers ? level + 256 * outside : eo_max_i32((level + outside) >> 1, -1) + 1;
    }
}

/* Bits of the next channels, at most 32, set where limit > count. */
static inline uint32_t eo_below(const int32_t *limit, const uint32_t *count, int channels) {
    uint32_t not_below = 0;
    int left = channels;
    /* clang-format off */
    for (; left >= 4; left -= 4)
        __asm("ldm %[limit]!, {r2-r5}           \n"
              "ldm %[count]!, {r6, r8-r10}      \n"
              "cmp r6, r2                       \n"
              "rrx %[word], %[word]             \n"
              "cmp r8, r3                       \n"
              "rrx %[word], %[word]             \n"
              "cmp r9, r4                       \n"
              "rrx %[word], %[word]             \n"
              "cmp r10, r5                      \n"
              "rrx %[word], %[word]             \n"
              : [limit] "+r"(limit), [count] "+r"(count), [word] "+r"(not_below)
              :
              : "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
    /* clang-format on */
    for (; left > 0; left--)
        not_below = not_below >> 1 | (uint32_t)((int32_t)*count++ >= *limit++) << 31;
    return ~not_below >> (32 - channels);
}

static inline void eo_store_bits(const eo_sign_conv2d *v, uint32_t *y) {
    for (int c = 0; c < v->channels; c += 32)
        *y++ = eo_below(v->corrected + c, v->counts + c, v->channels - c < 32 ? v->channels - c : 32);
}

static inline void eo_store_bytes(const eo_sign_conv2d *v, int8_t *y) {
    const int32_t zero = v->g->out_zero;
    for (int c = 0; c < v->channels; c++) {
        int32_t out = v->corrected[c] - 512 * (int32_t)v->counts[c];
        __asm("smmlar %0, %0, %1, %2 \n ssat %0, #8, %0" : "+r"(out) : "r"(v->multipliers[c]), "r"(zero));
        y[c] = (int8_t)out;
    }
    eo_clamp_span(y, (size_t)v->channels, v->g->act_min, v->g->act_max);
}

static inline void eo_rectangle(const eo_sign_conv2d *v, const eo_band *rows, const eo_band *columns, void *y) {
    const eo_window *g = v->g;
    const int step = g->stride_w * v->words, first = columns->first * g->stride_w - g->pad_left + columns->before;
    eo_correct(v, rows, columns);
    for (int oy = rows->first; oy < rows->end; oy++) {
        const int iy = oy * g->stride_h - g->pad_top + rows->before;
        const uint32_t *from = v->x + (iy * g->in_w + first) * v->words;
        size_t pixel = (size_t)oy * g->out_w + (size_t)columns->first;
        for (int ox = columns->first; ox < columns->end; ox++, pixel++, from += step) {
            eo_gather(v, from, rows, columns);
            v->count(v->column, v->depth, v->filters, v->counts, v->channels);
            if (v->multipliers)
                eo_store_bytes(v, (int8_t *)y + pixel * g->out_c);
            else
                eo_store_bits(v, (uint32_t *)y + pixel * eo_words(g->out_c));
        }
    }
}

/* block: of how many channels the ISA's filters are a multiple. */
static inline void eo_conv2d_by_counts(const eo_window *g, const uint32_t *x, const void *packed, int bytes, void *y,
                                       void *scratch, eo_count_fn *count, int block) {
    const int words = (int)eo_words(g->in_c), channels = g->out_c, line = (channels + block - 1) / block * block;
    const int depth = g->kernel_h * g->kernel_w * words;
    const int32_t *levels = packed;
    uint32_t *const column = scratch;
    uint32_t *const counts = column + depth;
    int32_t *const corrected = (int32_t *)(counts + line);
    const eo_sign_conv2d v = {g,
                              x,
                              (const uint32_t *)packed + (bytes ? 2 : 1) * line,
                              levels,
                              bytes ? levels + line : NULL,
                              column,
                              counts,
                              corrected,
                              (uint16_t *)(corrected + line),
                              count,
                              depth,
                              words,
                              channels};
    eo_count_base(&v);
    for (eo_band rows = {0, 0, 0, 0}; rows.end < g->out_h;) {
        rows = eo_next_band(rows.end, g->out_h, g->stride_h, g->pad_top, g->kernel_h, g->in_h);
        for (eo_band columns = {0, 0, 0, 0}; columns.end < g->out_w;) {
            columns = eo_next_band(columns.end, g->out_w, g->stride_w, g->pad_left, g->kernel_w, g->in_w);
            eo_rectangle(&v, &rows, &columns, y);
        }
    }
}

#endif
