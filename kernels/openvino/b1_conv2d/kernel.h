/* A convolution of signs, 32 channels to a word, the least bit first; a set bit is +1, a clear one -1.
 *
 *     y[n, p] = (sum over the taps of p inside the image of channels - 2 popcount(x ^ weight[n])) * scale[n] + bias[n]
 *
 * The image lies in planes, one for every word of a pixel and after them one of what is inside: all bits set there,
 * none in the padding around it. Pixels of a plane are ordered so that those which a tap meets from one output pixel to
 * the next follow each other, whatever the stride; a row of outputs is as far from the next as a row of the plane, and
 * what is computed between their ends has no meaning. Up to 64 words beyond the last plane are read. Scalar C++ is the
 * specification: the others equal it to the bit, save for GELU, whose values are within 2e-6.
 *
 * No inline functions here: this is compiled for several processors, and the linker would keep any one of them. */
#pragma once

#include <cstdint>

#include "../common/activation.h"

namespace edgeopt {

struct BinaryConvolution {
    int64_t channels, words, taps;
    int64_t plane;          /* words of a plane */
    const int64_t* offsets; /* [taps]: from an output pixel to the word under its tap */
    const int32_t* weight;  /* [outputs, taps, words] */
    const float *scale, *bias;
};

/* Rows of a channel: computed with that distance between them, stored and added without one. */
struct PixelRows {
    int64_t rows, width, distance;
};

struct BinaryConvolutionKernels {
    /* y [outputs, stride] of outputs from the first on, at pixels from `planes` on; rows of y hold whole vectors. */
    void (*run)(const BinaryConvolution&, const int32_t* planes, int64_t first, int64_t outputs, int64_t pixels,
                float* y, int64_t stride);
    /* What follows, for one channel: the activation, and the sum with a residual where that is not null. */
    void (*follow)(Activation activation, const PixelRows& rows, const float* y, const float* residual, float* out);
    /* The words of pixels, their bits set where x >= high or x <= low, one number each for up to 32 planes of x; low
     * may be null. */
    void (*pack)(const float* x, const float* high, const float* low, int64_t planes, int64_t pixels, int32_t* bits);
};

extern const BinaryConvolutionKernels b1_conv2d__scalar;
extern const BinaryConvolutionKernels b1_conv2d__avx2;
extern const BinaryConvolutionKernels b1_conv2d__avx512;

}  // namespace edgeopt
