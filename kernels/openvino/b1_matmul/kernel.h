/* A product of two matrices of one bit a number, 32 to a word along k, the least bit first.
 *
 *     signs by signs            y[row, n] = (k - 2 popcount(a[row] ^ b[n])) * scale
 *     ones and zeros by signs   y[row, n] = (2 popcount(a[row] & b[n]) - popcount(a[row])) * scale
 *
 * A bit is set where x >= from; those beyond k are clear on both sides. b comes in panels of 16 columns,
 * [ceil(columns / 16), words, 16]; those beyond the last are read and have no effect. Scalar C++ is the specification,
 * which the others equal to the bit for any scale that is twice a normal number.
 *
 * No inline functions here: this is compiled for several processors, and the linker would keep any one of them. */
#pragma once

#include <cstdint>

namespace edgeopt {

struct BinaryProduct {
    static constexpr int64_t panel = 16;

    int64_t k, words, columns;
    const int32_t* b;
    float scale;
    bool bits; /* a is ones and zeros */
};

struct BinaryProductKernels {
    /* Rows of k floats, `stride` apart: word w of row r becomes bits[r * row + w * word]. */
    void (*pack_rows)(const float* x, int64_t stride, float from, int64_t rows, int64_t k, int32_t* bits, int64_t row,
                      int64_t word);
    /* k rows of up to 16 columns, `stride` apart, become a panel. */
    void (*pack_panel)(const float* x, int64_t stride, float from, int64_t k, int64_t columns, int32_t* bits);
    /* Rows of a [rows, words] by b, to rows of out `stride` apart. */
    void (*run)(const BinaryProduct&, const int32_t* a, int64_t rows, float* out, int64_t stride);
};

extern const BinaryProductKernels b1_matmul__scalar;
extern const BinaryProductKernels b1_matmul__avx2;
extern const BinaryProductKernels b1_matmul__avx512;

}  // namespace edgeopt
