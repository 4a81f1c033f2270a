/* A tile of counters in registers over all words, and what follows a layer done before anything is stored. */
#pragma once

#include <cstring>

#include "../common/counters.h"
#include "kernel.h"

namespace edgeopt {

/* W counts bits: words of 32 bits in lanes, beside W::Float, as many floats. */
template <class W>
struct Binary {
    using V = typename W::Float;
    using Vector = typename V::Vector;
    using Words = typename W::Words;

    static void pack(const float* x, const float* shift, int64_t rows, int64_t inputs, int64_t words, int32_t* bits) {
        const Vector zero = V::set(0.0f);
        const int64_t whole = inputs / V::lanes * V::lanes, rest = inputs - whole;
        for (int64_t row = 0; row < rows; row++, x += inputs, bits += words) {
            uint8_t* to = reinterpret_cast<uint8_t*>(bits);
            if (words * 32 != whole)
                bits[words - 1] = 0;
            for (int64_t i = 0; i < whole; i += V::lanes)
                store(to + i / 8, W::at_least(V::add(V::load(x + i), V::load(shift + i)), zero));
            if (rest > 0)
                store(to + whole / 8,
                      W::at_least(V::add(V::load(x + whole, rest), V::load(shift + whole, rest)), zero) &
                          ((1u << rest) - 1));
        }
    }

    static void run(const BinaryLinear& layer, const int32_t* bits, int64_t rows, float* out, int32_t* out_bits) {
        if (out_bits != nullptr && layer.outputs % 32 != 0) /* the rest of the last word is not a panel's */
            for (int64_t row = 0; row < rows; row++)
                out_bits[(row + 1) * ((layer.outputs + 31) / 32) - 1] = 0;
        constexpr int64_t width = W::columns * V::lanes;
        for (int64_t n = 0; n < layer.outputs; n += width) {
            const int64_t left = layer.outputs - n;
            if (left > width - V::lanes)
                panel<W::columns>(layer, bits, rows, n, out, out_bits);
            else
                for (int64_t one = n; one < layer.outputs; one += V::lanes)
                    panel<1>(layer, bits, rows, one, out, out_bits);
        }
    }

private:
    template <int C>
    static void panel(const BinaryLinear& layer, const int32_t* bits, int64_t rows, int64_t n, float* out,
                      int32_t* out_bits) {
        for (int64_t row = 0; row < rows; row += W::rows)
            low<W::rows, C>(layer, bits + row * layer.words, rows - row, row, n, out, out_bits);
    }

    template <int R, int C>
    static void low(const BinaryLinear& layer, const int32_t* bits, int64_t rows, int64_t row, int64_t n, float* out,
                    int32_t* out_bits) {
        if constexpr (R > 1) {
            if (rows < R)
                return low<R - 1, C>(layer, bits, rows, row, n, out, out_bits);
        }
        tile<R, C>(layer, bits, row, n, out, out_bits);
    }

    template <int R, int C>
    static void tile(const BinaryLinear& layer, const int32_t* bits, int64_t row, int64_t n, float* out,
                     int32_t* out_bits) {
        if (out != nullptr)
            fetch<R, C>(out + row * layer.outputs + n, layer.outputs);
        if (layer.residual != nullptr)
            fetch<R, C>(layer.residual + row * layer.outputs + n, layer.outputs);
        Words total[R][C];
        clear<W>(total);
        if constexpr (W::chunk == 0) {
            count(layer, bits, n, 0, layer.words, total);
        } else {
            Words part[R][C];
            clear<W>(part);
            for (int64_t first = 0; first < layer.words; first += W::chunk) {
                count(layer, bits, n, first, layer.words - first < W::chunk ? layer.words : first + W::chunk, part);
                flush<W>(total, part);
            }
        }
        const bool is_plain = layer.activation == Activation::none && layer.residual == nullptr && out != nullptr;
        const Words all = W::set(static_cast<int32_t>(layer.inputs));
        EDGEOPT_UNROLL
        for (int j = 0; j < C; j++) {
            const int64_t at = n + j * V::lanes, left = layer.outputs - at, lanes = left < V::lanes ? left : V::lanes;
            const Vector scale = V::load(layer.scale + at, lanes), bias = V::load(layer.bias + at, lanes);
            EDGEOPT_UNROLL
            for (int i = 0; i < R; i++) {
                const Vector y = V::add(V::mul(W::product(all, total[i][j]), scale), bias);
                if (is_plain)
                    V::store(out + (row + i) * layer.outputs + at, y, lanes);
                else
                    follow(layer, y, row + i, at, lanes, out, out_bits);
            }
        }
    }

    /* Ask for what the next panel reads and writes in these rows: they are too far apart for the processor to see. */
    template <int R, int C>
    static void fetch(const float* at, int64_t stride) {
        EDGEOPT_UNROLL
        for (int i = 0; i < R; i++)
            EDGEOPT_UNROLL
            for (int j = 0; j < C; j++)
                __builtin_prefetch(at + i * stride + (C + j) * V::lanes);
    }

    /* Add the bits that differ in words [first, last) of R rows and of the outputs from n on. */
    template <int R, int C>
    static void count(const BinaryLinear& layer, const int32_t* bits, int64_t n, int64_t first, int64_t last,
                      Words (&counts)[R][C]) {
        const int32_t* weight[C];
        EDGEOPT_UNROLL
        for (int j = 0; j < C; j++) {
            const int64_t at = n + j * V::lanes;
            weight[j] = layer.weight + at / panel_width * layer.words * panel_width + at % panel_width;
        }
        for (int64_t k = first; k < last; k++) {
            Words w[C];
            EDGEOPT_UNROLL
            for (int j = 0; j < C; j++)
                w[j] = W::load(weight[j] + k * panel_width);
            EDGEOPT_UNROLL
            for (int i = 0; i < R; i++) {
                const Words x = W::set(bits[i * layer.words + k]);
                EDGEOPT_UNROLL
                for (int j = 0; j < C; j++)
                    counts[i][j] = W::add_set(counts[i][j], W::differing(x, w[j]));
            }
        }
    }

    static void follow(const BinaryLinear& layer, Vector y, int64_t row, int64_t n, int64_t lanes, float* out,
                       int32_t* out_bits) {
        y = activated<V>(layer.activation, y);
        if (layer.residual != nullptr)
            y = V::add(y, V::load(layer.residual + row * layer.outputs + n, lanes));
        if (out != nullptr)
            return V::store(out + row * layer.outputs + n, y, lanes);
        uint32_t found = W::at_least(y, V::load(layer.high + n, lanes));
        if (layer.low != nullptr)
            found |= W::at_least(V::load(layer.low + n, lanes), y);
        uint8_t* to = reinterpret_cast<uint8_t*>(out_bits + row * ((layer.outputs + 31) / 32)) + n / 8;
        store(to, found & ((1u << lanes) - 1));
    }

    static void store(uint8_t* to, uint32_t bits) { std::memcpy(to, &bits, V::lanes / 8); }
};

}  // namespace edgeopt
