/* Convolutions of signs by counting: for each pixel a column of words, for each channel the bits that differ from it.
 *
 * Three words a, b, c of a patch and of a filter are kept as (a ^ b ^ c, a ^ b, a ^ c): of their differences s, p, q the
 * sum of the three bits is s + 2 (s ^ (p | q)), a full adder for two instructions.
 *
 * Packed: int32 level[channels], for bytes int32 multiplier[channels] (channels up to a multiple of the ISA's block),
 * and the filters in the ISA's order. A result is level - step * count, with step 2 for bits and 512 for bytes. Where
 * taps lie outside the map their words are 0, and the level is corrected by what the filter has there: pixels are gone
 * through in rectangles that miss the same taps, so that this is done once for each. */
#ifndef EDGEOPT_SIGN_COUNTS_H
#define EDGEOPT_SIGN_COUNTS_H

#include <string.h>

#include "../common/requant.h"
#include "edgeopt_kernels.h"

/* How an ISA counts: for each of channels filters the bits that differ from a column of triples * 3 words. */
typedef void eo_count_fn(const uint32_t *column, int triples, const uint32_t *filters, int16_t *counts, int channels);

/* Outputs first to end of one direction, and how many taps they miss before and behind the map. */
typedef struct {
    int first, end, before, behind;
} eo_band;

typedef struct {
    const eo_window *g;
    const uint32_t *x, *filters;
    const int32_t *levels, *multipliers; /* multipliers: NULL for bits */
    uint32_t *column;
    int32_t *corrected;
    int16_t *counts, *base; /* base: of a column of zeros */
    eo_count_fn *count;
    int triples, words, channels;
} eo_sign_conv2d;

static inline int eo_outside(int amount) {
    return amount > 0 ? amount : 0;
}

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

static inline void eo_to_triples(uint32_t *column, int triples) {
    for (; triples > 0; triples--, column += 3) {
        const uint32_t a = column[0], b = a ^ column[1], c = a ^ column[2];
        column[0] = a ^ b ^ c;
        column[1] = b;
        column[2] = c;
    }
}

static inline void eo_clear_tail(const eo_sign_conv2d *v) {
    for (int i = v->g->kernel_h * v->g->kernel_w * v->words; i < 3 * v->triples; i++)
        v->column[i] = 0;
}

/* The words under an output pixel, zeros outside the map. */
static inline void eo_gather(const eo_sign_conv2d *v, int oy, int ox, const eo_band *rows, const eo_band *columns) {
    const eo_window *g = v->g;
    const int row = g->kernel_w * v->words, left = columns->before * v->words;
    const int taken = row - left - columns->behind * v->words, next = g->in_w * v->words;
    const int iy = oy * g->stride_h - g->pad_top + rows->before, ix = ox * g->stride_w - g->pad_left + columns->before;
    const uint32_t *from = v->x + (iy * g->in_w + ix) * v->words;
    uint32_t *to = v->column + rows->before * row + left;
    if (rows->before + rows->behind + columns->before + columns->behind)
        memset(v->column, 0, sizeof *v->column * (size_t)(3 * v->triples));
    for (int ky = g->kernel_h - rows->before - rows->behind; ky > 0; ky--, from += next, to += row)
        for (int i = 0; i < taken; i++)
            to[i] = from[i];
    eo_clear_tail(v);
    eo_to_triples(v->column, v->triples);
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
    eo_clear_tail(v);
    eo_to_triples(v->column, v->triples);
}

static inline void eo_correct(const eo_sign_conv2d *v, const eo_band *rows, const eo_band *columns) {
    memcpy(v->corrected, v->levels, sizeof *v->levels * (size_t)v->channels);
    if (!(rows->before + rows->behind + columns->before + columns->behind))
        return;
    eo_outside_taps(v, rows, columns);
    v->count(v->column, v->triples, v->filters, v->counts, v->channels);
    for (int c = 0; c < v->channels; c++)
        v->corrected[c] += (v->base[c] - v->counts[c]) * (v->multipliers ? 256 : 1);
}

static inline void eo_store_bits(const eo_sign_conv2d *v, uint32_t *y) {
    const int32_t *level = v->corrected;
    const int16_t *count = v->counts;
    for (int left = v->channels; left > 0; left -= 32) {
        const int bits = left < 32 ? left : 32;
        uint32_t negative = 0;
        for (int i = 0; i < bits; i++)
            negative = negative >> 1 | ((uint32_t)(*level++ - 2 * *count++) & 0x80000000U);
        *y++ = ~negative >> (32 - bits);
    }
}

static inline void eo_store_bytes(const eo_sign_conv2d *v, int8_t *y) {
    const eo_window *g = v->g;
    for (int c = 0; c < v->channels; c++) {
        const int32_t acc = v->corrected[c] - 512 * v->counts[c];
        y[c] = eo_clamp(eo_mul_high(acc, v->multipliers[c]) + g->out_zero, g->act_min, g->act_max);
    }
}

static inline void eo_rectangle(const eo_sign_conv2d *v, const eo_band *rows, const eo_band *columns, void *y) {
    const eo_window *g = v->g;
    eo_correct(v, rows, columns);
    for (int oy = rows->first; oy < rows->end; oy++)
        for (int ox = columns->first; ox < columns->end; ox++) {
            const size_t pixel = (size_t)oy * g->out_w + (size_t)ox;
            eo_gather(v, oy, ox, rows, columns);
            v->count(v->column, v->triples, v->filters, v->counts, v->channels);
            if (v->multipliers)
                eo_store_bytes(v, (int8_t *)y + pixel * g->out_c);
            else
                eo_store_bits(v, (uint32_t *)y + pixel * eo_words(g->out_c));
        }
}

/* block: of how many channels the ISA's filters are a multiple. */
static inline void eo_conv2d_by_counts(const eo_window *g, const uint32_t *x, const void *packed, int bytes, void *y,
                                       void *scratch, eo_count_fn *count, int block) {
    const int words = (int)eo_words(g->in_c), channels = g->out_c, line = (channels + block - 1) / block * block;
    const int triples = (g->kernel_h * g->kernel_w * words + 2) / 3;
    const int32_t *levels = packed;
    uint32_t *const column = scratch;
    int32_t *const corrected = (int32_t *)(column + 3 * triples);
    int16_t *const counts = (int16_t *)(corrected + line);
    const eo_sign_conv2d v = {g, x, (const uint32_t *)packed + (bytes ? 2 : 1) * line, levels,
                              bytes ? levels + line : NULL, column, corrected, counts, counts + line, count,
                              triples, words, channels};
    memset(column, 0, sizeof *column * (size_t)(3 * triples));
    count(column, triples, v.filters, v.base, channels);
    for (eo_band rows = {0, 0, 0, 0}; rows.end < g->out_h;) {
        rows = eo_next_band(rows.end, g->out_h, g->stride_h, g->pad_top, g->kernel_h, g->in_h);
        for (eo_band columns = {0, 0, 0, 0}; columns.end < g->out_w;) {
            columns = eo_next_band(columns.end, g->out_w, g->stride_w, g->pad_left, g->kernel_w, g->in_w);
            eo_rectangle(&v, &rows, &columns, y);
        }
    }
}

#endif
