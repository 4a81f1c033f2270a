/* A linear layer of signs, 32 to a word, the least bit first; a set bit is +1, a clear one -1, and zero counts as +1.
 *
 *     y[m, n] = (inputs - 2 popcount(x[m] ^ weight[n])) * scale[n] + bias[n],    then activation, then + residual
 *
 * and out is y, or the bits of the layer that follows: set where y >= high[n] or y <= low[n], for of a GELU the signs
 * change twice. Bits beyond the last input are clear on both sides. Weights come in panels of 16 outputs,
 * [ceil(outputs / 16), words, 16]; those beyond the last output are read and have no effect. Scalar C++ is the
 * specification: the others equal it to the bit, save for GELU, whose values are within 2e-6.
 *
 * No inline functions here: this is compiled for several processors, and the linker would keep any one of them. */
#pragma once

#include <cstdint>

#include "../common/activation.h"

namespace edgeopt {

constexpr int64_t panel_width = 16;

struct BinaryLinear {
    int64_t inputs, words, outputs;
    const int32_t* weight;
    const float *scale, *bias;
    Activation activation;
    const float* residual;   /* [rows, outputs] or null */
    const float *high, *low; /* [outputs] where bits are the result, else null; low may be null there too */
};

struct BinaryLinearKernels {
    /* The signs of x + shift: rows of `words` words. */
    void (*pack)(const float* x, const float* shift, int64_t rows, int64_t inputs, int64_t words, int32_t* bits);
    /* One of out [rows, outputs] and out_bits [rows, ceil(outputs / 32)] is the result, the other null. */
    void (*run)(const BinaryLinear&, const int32_t* bits, int64_t rows, float* out, int32_t* out_bits);
};

extern const BinaryLinearKernels b1_linear__scalar;
extern const BinaryLinearKernels b1_linear__avx2;
extern const BinaryLinearKernels b1_linear__avx512;

}  // namespace edgeopt
