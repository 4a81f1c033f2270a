/* A tile of counters in registers over all words.
 *
 * Ones and zeros by signs take no other loop: 2 popcount(a & b) - popcount(a) = popcount(b) - popcount(a ^ b), where
 * popcount(b) is found once for many rows. */
#pragma once

#include <cstring>

#include "../common/counters.h"
#include "kernel.h"

namespace edgeopt {

/* W counts bits: words of 32 bits in lanes, beside W::Float, as many floats. */
template <class W>
struct BlockedProduct {
    using V = typename W::Float;
    using Vector = typename V::Vector;
    using Words = typename W::Words;
    static constexpr int64_t width = BinaryProduct::panel;

    static void pack_rows(const float* x, int64_t stride, float from, int64_t rows, int64_t k, int32_t* bits,
                          int64_t row, int64_t word) {
        const Vector limit = V::set(from);
        const int64_t whole = k / 32;
        for (int64_t r = 0; r < rows; r++, x += stride, bits += row) {
            for (int64_t w = 0; w < whole; w++) {
                uint32_t packed = 0;
        EDGEOPT_UNROLL
                for (int64_t i = 0; i < 32; i += V::lanes)
                    packed |= W::at_least(V::load(x + w * 32 + i), limit) << i;
                bits[w * word] = static_cast<int32_t>(packed);
            }
            if (whole * 32 < k)
                bits[whole * word] = rest(x + whole * 32, k - whole * 32, limit);
        }
    }

    static void pack_panel(const float* x, int64_t stride, float from, int64_t k, int64_t columns, int32_t* bits) {
        for (int64_t n = 0; n < columns; n += V::lanes)
            pack_columns(x + n, stride, from, k, columns - n < V::lanes ? columns - n : V::lanes, bits + n);
    }

    static void run(const BinaryProduct& p, const int32_t* a, int64_t rows, float* out, int64_t stride) {
        constexpr int64_t wide = W::columns * V::lanes;
        for (int64_t n = 0; n < p.columns; n += wide) {
            if (p.columns - n > wide - V::lanes)
                columns<W::columns>(p, a, rows, n, out, stride);
            else
                for (int64_t one = n; one < p.columns; one += V::lanes)
                    columns<1>(p, a, rows, one, out, stride);
        }
    }

private:
    static int32_t rest(const float* x, int64_t count, Vector limit) {
        uint32_t packed = 0;
        for (int64_t i = 0; i < count; i += V::lanes) {
            const int64_t lanes = count - i < V::lanes ? count - i : V::lanes;
            packed |= (W::at_least(V::load(x + i, lanes), limit) & ((1u << lanes) - 1)) << i;
        }
        return static_cast<int32_t>(packed);
    }

    /* Comparisons are the compiler's own for vectors: all bits of a lane set or none. */
    static void pack_columns(const float* x, int64_t stride, float from, int64_t k, int64_t lanes, int32_t* bits) {
        const Vector limit = V::set(from);
        for (int64_t first = 0; first < k; first += 32, bits += width) {
            decltype(limit >= limit) packed{};
            for (int64_t i = 0; i < 32 && first + i < k; i++, x += stride)
                packed |= ((lanes == V::lanes ? V::load(x) : V::load(x, lanes)) >= limit) & static_cast<int>(1u << i);
            std::memcpy(bits, &packed, lanes * sizeof(*bits));
        }
    }

    /* C vectors of columns of all rows. */
    template <int C>
    static void columns(const BinaryProduct& p, const int32_t* a, int64_t rows, int64_t n, float* out,
                        int64_t stride) {
        Words base[1][C];
        if (p.bits) {
            differing<1, C>(p, nullptr, n, base);
            EDGEOPT_UNROLL
            for (int j = 0; j < C; j++)
                base[0][j] = W::add(base[0][j], base[0][j]);
        } else {
            EDGEOPT_UNROLL
            for (int j = 0; j < C; j++)
                base[0][j] = W::set(static_cast<int32_t>(p.k));
        }
        for (int64_t row = 0; row < rows; row += W::rows)
            low<W::rows, C>(p, base[0], a + row * p.words, rows - row, n, out + row * stride, stride);
    }

    template <int R, int C>
    static void low(const BinaryProduct& p, const Words (&base)[C], const int32_t* a, int64_t rows, int64_t n,
                    float* out, int64_t stride) {
        if constexpr (R > 1) {
            if (rows < R)
                return low<R - 1, C>(p, base, a, rows, n, out, stride);
        }
        tile<R, C>(p, base, a, n, out, stride);
    }

    /* The base is twice what ones and zeros want, and so is the sum. */
    template <int R, int C>
    static void tile(const BinaryProduct& p, const Words (&base)[C], const int32_t* a, int64_t n, float* out,
                     int64_t stride) {
        Words counts[R][C];
        differing<R, C>(p, a, n, counts);
        const Vector scale = V::set(p.bits ? 0.5f * p.scale : p.scale);
        EDGEOPT_UNROLL
        for (int j = 0; j < C; j++) {
            const int64_t at = n + j * V::lanes, left = p.columns - at, lanes = left < V::lanes ? left : V::lanes;
            EDGEOPT_UNROLL
            for (int i = 0; i < R; i++)
                V::store(out + i * stride + at, V::mul(W::product(base[j], counts[i][j]), scale), lanes);
        }
    }

    /* Count the bits that differ in R rows and in the columns from n on; without rows, the bits that are set. */
    template <int R, int C>
    static void differing(const BinaryProduct& p, const int32_t* a, int64_t n, Words (&counts)[R][C]) {
        clear<W>(counts);
        if constexpr (W::chunk == 0) {
            add<R, C>(p, a, n, 0, p.words, counts);
        } else {
            Words part[R][C];
            clear<W>(part);
            for (int64_t first = 0; first < p.words; first += W::chunk) {
                add<R, C>(p, a, n, first, p.words - first < W::chunk ? p.words : first + W::chunk, part);
                flush<W>(counts, part);
            }
        }
    }

    template <int R, int C>
    static void add(const BinaryProduct& p, const int32_t* a, int64_t n, int64_t first, int64_t last,
                    Words (&counts)[R][C]) {
        for (int64_t k = first; k < last; k++) {
            Words b[C];
            EDGEOPT_UNROLL
            for (int j = 0; j < C; j++) {
                const int64_t at = n + j * V::lanes;
                b[j] = W::load(p.b + (at / width * p.words + k) * width + at % width);
            }
            EDGEOPT_UNROLL
            for (int i = 0; i < R; i++) {
                const Words x = a == nullptr ? W::zero() : W::set(a[i * p.words + k]);
                EDGEOPT_UNROLL
                for (int j = 0; j < C; j++)
                    counts[i][j] = W::add_set(counts[i][j], W::differing(x, b[j]));
            }
        }
    }
};

}  // namespace edgeopt
