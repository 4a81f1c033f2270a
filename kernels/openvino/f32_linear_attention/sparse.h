/* Products with rows that are zero in most places, as ReLU leaves them: only what is not zero is multiplied. */
#pragma once

#include "../common/product.h"

namespace edgeopt {

/* Which entries of up to 64 rows of up to 64 floats are not zero: bit j of row i. */
struct Marks {
    static constexpr int64_t side = 64;
    uint64_t rows[side];
};

template <class V>
struct Sparse {
    using Vector = typename V::Vector;

    /* Return how many of x [rows, columns], `stride` apart, are not zero, and mark them. */
    static int64_t mark(const float* x, int64_t stride, int64_t rows, int64_t columns, Marks& marks) {
        int64_t found = 0;
        for (int64_t row = 0; row < rows; row++, x += stride) {
            uint64_t bits = 0;
            for (int64_t i = 0; i < columns; i += V::lanes)
                bits |= uint64_t(V::nonzero(V::load(x + i, columns - i < V::lanes ? columns - i : V::lanes))) << i;
            marks.rows[row] = bits;
            found += __builtin_popcountll(bits);
        }
        return found;
    }

    /* Rows become columns; those not marked must be zero. Squares of 32, 16, .. 1 bits change places. */
    static void transpose(Marks& marks) {
        uint64_t mask = ~uint64_t(0) >> 32;
        for (int64_t half = Marks::side / 2; half > 0; half /= 2, mask ^= mask << half)
            for (int64_t first = 0; first < Marks::side; first += 2 * half)
                for (int64_t i = first; i < first + half; i++) {
                    const uint64_t change = (marks.rows[i] >> half ^ marks.rows[i + half]) & mask;
                    marks.rows[i] ^= change << half;
                    marks.rows[i + half] ^= change;
                }
    }

    /* c [rows, columns] = a b, where a [rows, 64] has entries where it is marked; meanwhile what is ahead comes. */
    static void run(const Marks& marks, int64_t rows, int64_t columns, Strided a, const float* b, int64_t ldb, Target c,
                    Ahead ahead) {
        for (int64_t column = 0; column < columns; column += width) {
            const int64_t left = columns - column, vectors = (left + V::lanes - 1) / V::lanes;
            Target here = c;
            here.data += column;
            narrow<vectors_at_once>(vectors < vectors_at_once ? vectors : vectors_at_once, marks, rows, left, a,
                                    b + column, ldb, here, ahead);
            ahead = {};
        }
    }

private:
    /* So many chains of additions hide how long one takes. */
    static constexpr int vectors_at_once = 64 / V::lanes;
    static constexpr int64_t width = vectors_at_once * V::lanes;

    template <int C>
    static void narrow(int64_t vectors, const Marks& marks, int64_t rows, int64_t left, Strided a, const float* b,
                       int64_t ldb, Target c, const Ahead& ahead) {
        if constexpr (C > 1) {
            if (vectors < C)
                return narrow<C - 1>(vectors, marks, rows, left, a, b, ldb, c, ahead);
        }
        const int64_t rest = left - (C - 1) * V::lanes, last = rest < V::lanes ? rest : V::lanes;
        for (int64_t row = 0; row < rows; row++) {
            fetch(ahead, row, row + 1, rows);
            one<C>(marks.rows[row], a.data + row * a.row, a.step, b, ldb, last, c.below(row));
        }
    }

    template <int C>
    static void one(uint64_t marks, const float* a, int64_t step, const float* b, int64_t ldb, int64_t last, Target c) {
        Vector sums[C];
        EDGEOPT_UNROLL
        for (int j = 0; j < C; j++)
            sums[j] = c.add ? Product<V>::template part<C>(c.data, j, last) : V::set(0.0f);
        for (; marks != 0; marks &= marks - 1) {
            const int64_t k = __builtin_ctzll(marks);
            const Vector factor = V::set(a[k * step]);
            EDGEOPT_UNROLL
            for (int j = 0; j < C; j++)
                sums[j] = V::fma(factor, Product<V>::template part<C>(b + k * ldb, j, last), sums[j]);
        }
        Product<V>::template put<C>(sums, c, last);
    }
};

}  // namespace edgeopt
