/* A tile of counters in registers, outputs by vectors of pixels, over all taps. */
#pragma once

#include "../common/counters.h"
#include "kernel.h"

namespace edgeopt {

/* W counts bits: words of 32 bits in lanes, beside W::Float, as many floats. */
template <class W>
struct Convolution {
    using V = typename W::Float;
    using Vector = typename V::Vector;
    using Words = typename W::Words;

    static void run(const BinaryConvolution& c, const int32_t* planes, int64_t first, int64_t outputs, int64_t pixels,
                    float* y, int64_t stride) {
        constexpr int64_t width = W::columns * V::lanes;
        for (int64_t n = 0; n < outputs; n += W::rows)
            for (int64_t pixel = 0; pixel < pixels; pixel += width)
                low<W::rows>(c, planes + pixel, first + n, outputs - n, pixels - pixel, y + n * stride + pixel, stride);
    }

    static void follow(Activation activation, const PixelRows& r, const float* y, const float* residual, float* out) {
        for (int64_t row = 0; row < r.rows; row++, y += r.distance, out += r.width) {
            for (int64_t i = 0; i < r.width; i += V::lanes) {
                const int64_t lanes = r.width - i < V::lanes ? r.width - i : V::lanes;
                Vector sum = activated<V>(activation, V::load(y + i, lanes));
                if (residual != nullptr)
                    sum = V::add(sum, V::load(residual + row * r.width + i, lanes));
                V::store(out + i, sum, lanes);
            }
        }
    }

    /* The compiler makes vectors of the pixels. */
    static void pack(const float* x, const float* high, const float* low, int64_t planes, int64_t pixels,
                     int32_t* bits) {
        for (int64_t pixel = 0; pixel < pixels; pixel++)
            bits[pixel] = 0;
        for (int64_t plane = 0; plane < planes; plane++, x += pixels) {
            const float from = high[plane];
            const uint32_t bit = 1u << plane;
            for (int64_t pixel = 0; pixel < pixels; pixel++)
                bits[pixel] |= static_cast<int32_t>(x[pixel] >= from ? bit : 0u);
            if (low == nullptr)
                continue;
            const float to = low[plane];
            for (int64_t pixel = 0; pixel < pixels; pixel++)
                bits[pixel] |= static_cast<int32_t>(x[pixel] <= to ? bit : 0u);
        }
    }

private:
    template <int R>
    static void low(const BinaryConvolution& c, const int32_t* planes, int64_t n, int64_t outputs, int64_t pixels,
                    float* y, int64_t stride) {
        if constexpr (R > 1) {
            if (outputs < R)
                return low<R - 1>(c, planes, n, outputs, pixels, y, stride);
        }
        if (pixels > (W::columns - 1) * V::lanes)
            return tile<R, W::columns>(c, planes, n, y, stride);
        for (int64_t pixel = 0; pixel < pixels; pixel += V::lanes)
            tile<R, 1>(c, planes + pixel, n, y + pixel, stride);
    }

    template <int R, int C>
    static void tile(const BinaryConvolution& c, const int32_t* planes, int64_t n, float* y, int64_t stride) {
        Words total[R][C], part[R][C];
        clear<W>(total);
        clear<W>(part);
        int64_t counted = 0;
        for (int64_t tap = 0; tap < c.taps; tap++) {
            const int32_t* at = planes + c.offsets[tap];
            // clang-format off
            Words inside[C];
            EDGEOPT_UNROLL
            for (int j = 0; j < C; j++)
                inside[j] = W::load(at + c.words * c.plane + j * V::lanes);
            // clang-format on
            for (int64_t word = 0; word < c.words; word++) {
                if (W::chunk != 0 && counted++ == W::chunk) {
                    flush<W>(total, part);
                    counted = 1;
                }
                add<R, C>(c, at + word * c.plane, (n * c.taps + tap) * c.words + word, inside, part);
            }
        }
        flush<W>(total, part);
        EDGEOPT_UNROLL
        for (int j = 0; j < C; j++) {
            const Words channels = W::set(static_cast<int32_t>(c.channels));
            const Words all = W::multiply(channels, inside_taps(c, planes + j * V::lanes));
            EDGEOPT_UNROLL
            for (int i = 0; i < R; i++) {
                const Vector scale = V::set(c.scale[n + i]), bias = V::set(c.bias[n + i]);
                V::store(y + i * stride + j * V::lanes, V::add(V::mul(W::product(all, total[i][j]), scale), bias));
            }
        }
    }

    /* Add the bits that differ in one word of C vectors of pixels and of R outputs. */
    template <int R, int C>
    static void add(const BinaryConvolution& c, const int32_t* x, int64_t weight, const Words (&inside)[C],
                    Words (&counts)[R][C]) {
        Words pixels[C];
        EDGEOPT_UNROLL
        for (int j = 0; j < C; j++)
            pixels[j] = W::load(x + j * V::lanes);
        EDGEOPT_UNROLL
        for (int i = 0; i < R; i++) {
            const Words w = W::set(c.weight[weight + i * c.taps * c.words]);
            EDGEOPT_UNROLL
            for (int j = 0; j < C; j++)
                counts[i][j] = W::add_set(counts[i][j], W::differing(pixels[j], w, inside[j]));
        }
    }

    static Words inside_taps(const BinaryConvolution& c, const int32_t* planes) {
        Words minus = W::zero();
        for (int64_t tap = 0; tap < c.taps; tap++)
            minus = W::add(minus, W::load(planes + c.words * c.plane + c.offsets[tap]));
        return W::multiply(minus, W::set(-1));
    }
};

}  // namespace edgeopt
