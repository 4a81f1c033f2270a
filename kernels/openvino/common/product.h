/* Products of small matrices, a tile of accumulators in registers at a time, and functions of rows and of vectors.
 *
 * Templates over the vector type, so that each instruction set has its own: nothing here may be shared between files
 * that are compiled for different processors. */
#pragma once

#include <cstdint>

#include "ahead.h"

/* Before a loop over registers: what is not unrolled early is kept in memory. */
#define EDGEOPT_UNROLL _Pragma("GCC unroll 16")

namespace edgeopt {

/* a[i * row + k * step]: rows of a matrix, or columns of its transpose. */
struct Strided {
    const float* data;
    int64_t row, step;
};

/* Where a product goes: rows `stride` apart, added to what is there, or multiplied by a factor a row. */
struct Target {
    float* data;
    int64_t stride;
    bool add = false;
    const float* factor = nullptr;

    Target below(int64_t row) const {
        return {data + row * stride, stride, add, factor == nullptr ? nullptr : factor + row};
    }
};

template <class V>
struct Product {
    using Vector = typename V::Vector;

    /* c [rows, columns] = a [rows, depth] b [depth, columns]; meanwhile what is ahead comes to the second cache. */
    static void run(int64_t rows, int64_t columns, int64_t depth, Strided a, const float* b, int64_t ldb, Target c,
                    Ahead ahead = {}) {
        for (int64_t column = 0; column < columns; column += V::columns * V::lanes) {
            const int64_t left = columns - column;
            const int64_t vectors = (left + V::lanes - 1) / V::lanes;
            Target here = c;
            here.data += column;
            narrow<V::columns>(vectors < V::columns ? vectors : V::columns, rows, left, depth, a, b + column, ldb, here,
                               ahead);
            ahead = {};
        }
    }

    /* Vector j of a row of C vectors, whose last one has that many floats. */
    template <int C>
    static Vector part(const float* p, int j, int64_t last) {
        return j == C - 1 ? V::load(p + j * V::lanes, last) : V::load(p + j * V::lanes);
    }

    /* Store C vectors of sums as the target's first row. */
    template <int C>
    static void put(const Vector (&sums)[C], Target c, int64_t last) {
        const Vector factor = V::set(c.factor == nullptr ? 1.0f : c.factor[0]);
        EDGEOPT_UNROLL
        for (int j = 0; j < C; j++) {
            const Vector sum = c.factor == nullptr ? sums[j] : V::mul(sums[j], factor);
            if (j < C - 1)
                V::store(c.data + j * V::lanes, sum);
            else
                V::store(c.data + j * V::lanes, sum, last);
        }
    }

private:
    template <int C>
    static void narrow(int64_t vectors, int64_t rows, int64_t left, int64_t depth, Strided a, const float* b,
                       int64_t ldb, Target c, const Ahead& ahead) {
        if constexpr (C > 1) {
            if (vectors < C)
                return narrow<C - 1>(vectors, rows, left, depth, a, b, ldb, c, ahead);
        }
        const int64_t rest = left - (C - 1) * V::lanes, last = rest < V::lanes ? rest : V::lanes;
        for (int64_t row = 0; row < rows; row += V::rows) {
            const int64_t end = rows - row < V::rows ? rows : row + V::rows;
            fetch(ahead, row, end, rows);
            const Strided here{a.data + row * a.row, a.row, a.step};
            low<V::rows, C>(rows - row, last, depth, here, b, ldb, c.below(row));
        }
    }

    template <int R, int C>
    static void low(int64_t rows, int64_t last, int64_t depth, Strided a, const float* b, int64_t ldb, Target c) {
        if constexpr (R > 1) {
            if (rows < R)
                return low<R - 1, C>(rows, last, depth, a, b, ldb, c);
        }
        tile<R, C>(last, depth, a, b, ldb, c);
    }

    template <int R, int C>
    static void tile(int64_t last, int64_t depth, Strided a, const float* b, int64_t ldb, Target c) {
        Vector sums[R][C];
        EDGEOPT_UNROLL
        for (int i = 0; i < R; i++)
            EDGEOPT_UNROLL
            for (int j = 0; j < C; j++)
                sums[i][j] = c.add ? part<C>(c.data + i * c.stride, j, last) : V::set(0.0f);
        for (int64_t k = 0; k < depth; k++) {
            Vector row[C];
            EDGEOPT_UNROLL
            for (int j = 0; j < C; j++)
                row[j] = part<C>(b + k * ldb, j, last);
            EDGEOPT_UNROLL
            for (int i = 0; i < R; i++) {
                const Vector factor = V::set(a.data[i * a.row + k * a.step]);
                EDGEOPT_UNROLL
                for (int j = 0; j < C; j++)
                    sums[i][j] = V::fma(factor, row[j], sums[i][j]);
            }
        }
        EDGEOPT_UNROLL
        for (int i = 0; i < R; i++) {
            put<C>(sums[i], c.below(i), last);
        }
    }
};

template <class V>
struct Rows {
    using Vector = typename V::Vector;

    /* f of each of n floats; what f returns for zero is never kept beyond them. */
    template <class F>
    static void map(const float* x, float* y, int64_t n, const F& f) {
        int64_t i = 0;
        for (; i + V::lanes <= n; i += V::lanes)
            V::store(y + i, f(V::load(x + i)));
        if (i < n)
            V::store(y + i, f(V::load(x + i, n - i)), n - i);
    }

    /* Add rows of n floats, that far apart, to y. */
    static void add(float* y, const float* x, int64_t stride, int64_t rows, int64_t n) {
        for (int64_t i = 0; i < n; i += V::lanes) {
            const int64_t lanes = n - i < V::lanes ? n - i : V::lanes;
            Vector even = V::load(y + i, lanes), odd = V::set(0.0f);
            int64_t row = 0;
            for (; row + 1 < rows; row += 2) {
                even = V::add(even, V::load(x + row * stride + i, lanes));
                odd = V::add(odd, V::load(x + (row + 1) * stride + i, lanes));
            }
            if (row < rows)
                even = V::add(even, V::load(x + row * stride + i, lanes));
            V::store(y + i, V::add(even, odd), lanes);
        }
    }

    static float sum(const float* x, int64_t n) {
        Vector total = V::set(0.0f);
        int64_t i = 0;
        for (; i + V::lanes <= n; i += V::lanes)
            total = V::add(total, V::load(x + i));
        if (i < n)
            total = V::add(total, V::load(x + i, n - i));
        return V::sum(total);
    }

    static float dot(const float* x, const float* y, int64_t n) {
        Vector total = V::set(0.0f);
        int64_t i = 0;
        for (; i + V::lanes <= n; i += V::lanes)
            total = V::fma(V::load(x + i), V::load(y + i), total);
        if (i < n)
            total = V::fma(V::load(x + i, n - i), V::load(y + i, n - i), total);
        return V::sum(total);
    }

    static float largest(const float* x, int64_t n) {
        float found = x[0];
        int64_t i = 0;
        if (n >= V::lanes) {
            Vector most = V::load(x);
            for (i = V::lanes; i + V::lanes <= n; i += V::lanes)
                most = V::max(most, V::load(x + i));
            found = V::largest(most);
        }
        for (; i < n; i++)
            found = x[i] > found ? x[i] : found;
        return found;
    }

    /* e^x, to 2 units in the last place; saturates where the result would leave the normal numbers. */
    static Vector exp(Vector x) {
        x = V::min(V::max(x, V::set(-87.33f)), V::set(88.37f));
        const Vector n = V::round(V::mul(x, V::set(1.44269504f)));
        /* x - n ln 2, with ln 2 in two parts so that nothing is lost. */
        Vector r = V::fma(n, V::set(-0.693359375f), x);
        r = V::fma(n, V::set(2.12194440e-4f), r);
        Vector p = V::set(1.0f / 5040);
        constexpr float coefficients[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
        for (const float c : coefficients)
            p = V::fma(p, r, V::set(c));
        return V::mul(p, V::exp2(n));
    }

    /* x/2 (1 + erf(x / sqrt 2)), where erf is Abramowitz and Stegun's 7.1.26: within 1.5e-7. */
    static Vector gelu(Vector x) {
        const Vector one = V::set(1.0f), size = V::max(x, V::sub(V::set(0.0f), x));
        const Vector z = V::mul(size, V::set(0.70710678f));
        const Vector t = V::div(one, V::fma(z, V::set(0.3275911f), one));
        Vector p = V::set(1.061405429f);
        constexpr float coefficients[] = {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f, 0.0f};
        for (const float c : coefficients)
            p = V::fma(p, t, V::set(c));
        const Vector erf = V::sub(one, V::mul(p, exp(V::sub(V::set(0.0f), V::mul(z, z)))));
        return V::mul(V::set(0.5f), V::fma(size, erf, x));
    }
};

}  // namespace edgeopt
