/* Linear attention by blocks of tokens: features of a block in scratch, then products of small matrices. */
#pragma once

#include "../common/product.h"
#include "features.h"
#include "kernel.h"
#include "sparse.h"

namespace edgeopt {

template <class V>
struct Attention {
    using Vector = typename V::Vector;
    using Row = Rows<V>;
    static void write(const Head& head, const Side& keys, const float* values, int64_t count, float* state,
                      float* scratch, const Ahead& after) {
        const int64_t block = even(count);
        float* z = scratch + block * head.features;
        for (int64_t first = 0; first < count; first += block) {
            const int64_t next = first + block, here = next < count ? block : count - first;
            Features<V>::run(head, keys, first, here, scratch, z);
            const Ahead ahead{coming(keys.tokens, keys.stride, next, count, block, head.size),
                              coming(values, head.value_stride, next, count, block, head.values)};
            add(head, scratch, values + first * head.value_stride, here, state, z, next < count ? ahead : after);
        }
    }

    static void read(const Head& head, const Side& queries, int64_t count, const float* state, float* out,
                     float* scratch, const Ahead& after) {
        const int64_t features = head.features, values = head.values, block = even(count);
        const float* total = state + features * values;
        float* z = scratch + block * features;
        float factors[tokens_at_once];
        for (int64_t first = 0; first < count; first += block) {
            const int64_t next = first + block, here = next < count ? block : count - first;
            Features<V>::run(head, queries, first, here, scratch, z);
            for (int64_t token = 0; token < here; token++)
                factors[token] = 1.0f / (Row::dot(scratch + token * features, total, features) + head.epsilon);
            const Ahead ahead{coming(queries.tokens, queries.stride, next, count, block, head.size),
                              coming(out, head.out_stride, next, count, block, values)};
            const Target to{out + first * head.out_stride, head.out_stride, false, factors};
            Marks marks;
            const Ahead& soon = next < count ? ahead : after;
            if (is_sparse(head, scratch, here, marks))
                Sparse<V>::run(marks, here, values, {scratch, features, 1}, state, values, to, soon);
            else
                Product<V>::run(here, values, features, {scratch, features, 1}, state, values, to, soon);
        }
    }

    /* Of each block: what the state holds, and the block's own product of queries and keys below the diagonal. */
    static void causal(const Head& head, const Side& queries, const Side& keys, const float* values, int64_t count,
                       float* state, float* out, float* scratch) {
        const int64_t features = head.features, size = head.values, block = even(count);
        float *q = scratch, *k = q + block * features, *kt = k + block * features, *weights = kt + block * features;
        float* z = weights + block * block;
        float factors[tokens_at_once];
        for (int64_t first = 0; first < count; first += block) {
            const int64_t here = count - first < block ? count - first : block;
            Features<V>::run(head, queries, first, here, q, z);
            Features<V>::run(head, keys, first, here, k, z);
            for (int64_t token = 0; token < here; token++)
                for (int64_t i = 0; i < features; i++)
                    kt[i * here + token] = k[token * features + i];
            Product<V>::run(here, here, features, {q, features, 1}, kt, here, {weights, here});
            float* rows = out + first * head.out_stride;
            const float* v = values + first * head.value_stride;
            for (int64_t token = 0; token < here; token++)
                for (int64_t later = token + 1; later < here; later++)
                    weights[token * here + later] = 0.0f;
            for (int64_t token = 0; token < here; token++) {
                const float before = Row::dot(q + token * features, state + features * size, features);
                factors[token] = 1.0f / (before + Row::sum(weights + token * here, here) + head.epsilon);
            }
            Product<V>::run(here, size, features, {q, features, 1}, state, size,
                            {rows, head.out_stride, false, factors});
            for (int64_t token = 0; token < here; token++)
                scale(weights + token * here, factors[token], here);
            Product<V>::run(here, size, here, {weights, here, 1}, v, head.value_stride, {rows, head.out_stride, true});
            add(head, k, v, here, state, z);
        }
    }

private:
    /* As many tokens at once as make blocks of about the same length; none of no token. */
    static int64_t even(int64_t count) {
        if (count == 0)
            return 0;
        const int64_t blocks = (count + tokens_at_once - 1) / tokens_at_once;
        return (count + blocks - 1) / blocks;
    }

    static Coming coming(const float* rows, int64_t stride, int64_t next, int64_t count, int64_t block, int64_t size) {
        return {rows + next * stride, stride, count - next < block ? count - next : block, size};
    }

    static void add(const Head& head, const float* phi, const float* values, int64_t count, float* state, float* near,
                    const Ahead& ahead = {}) {
        const int64_t features = head.features, size = head.values;
        Marks marks{};
        if (is_sparse(head, phi, count, marks)) {
            Sparse<V>::transpose(marks);
            for (int64_t token = 0; token < count; token++)
                Row::map(values + token * head.value_stride, near + token * size, size, [](Vector v) { return v; });
            Sparse<V>::run(marks, features, size, {phi, 1, features}, near, size, {state, size, true}, ahead);
        } else {
            Product<V>::run(features, size, count, {phi, 1, features}, values, head.value_stride, {state, size, true},
                            ahead);
        }
        Row::add(state + features * size, phi, features, count, features);
    }

    /* Whether so many features of a block are zero that it pays to leave them out; then the others are marked. */
    static bool is_sparse(const Head& head, const float* phi, int64_t count, Marks& marks) {
        const int64_t features = head.features;
        return head.map == FeatureMap::relu && features <= Marks::side &&
               Sparse<V>::mark(phi, features, count, features, marks) * 4 <= count * features * 3;
    }

    static void scale(float* row, float by, int64_t n) {
        const Vector factor = V::set(by);
        Row::map(row, row, n, [factor](Vector v) { return V::mul(v, factor); });
    }
};

/* Of a few channels at a time the rows are copied between zeros, so that no tap looks at the border; a tile of
 * neighbors keeps its sums in registers over all taps. */
template <class V>
struct Convolve {
    using Vector = typename V::Vector;
    static constexpr int tile = 8;

    static void run(const Convolution& c, const float* image, int64_t first, int64_t last, float* out, float* scratch) {
        const int64_t reach = c.kernel / 2, width = c.width + 2 * reach;
        for (int64_t channel = 0; channel < c.channels; channel += V::lanes) {
            const int64_t lanes = c.channels - channel < V::lanes ? c.channels - channel : V::lanes;
            for (int64_t y = first - reach; y < last + reach; y++)
                copy(c, image + channel, y, lanes, width, scratch + (y - first + reach) * width * V::lanes);
            for (int64_t y = first; y < last; y++)
                for (int64_t x = 0; x < c.width; x += tile)
                    low<tile>(c.width - x, c, scratch + ((y - first) * width + x) * V::lanes, width, channel, lanes,
                              out + (y * c.width + x) * c.out_stride + channel);
        }
    }

private:
    static void copy(const Convolution& c, const float* image, int64_t y, int64_t lanes, int64_t width, float* row) {
        const bool outside = y < 0 || y >= c.height;
        const int64_t reach = c.kernel / 2;
        for (int64_t i = 0; i < width; i++)
            if (outside || i < reach || i >= reach + c.width)
                V::store(row + i * V::lanes, V::set(0.0f));
        for (int64_t x = 0; x < c.width && !outside; x++)
            V::store(row + (x + reach) * V::lanes, V::load(image + (y * c.width + x) * c.image_stride, lanes));
    }

    template <int R>
    static void low(int64_t left, const Convolution& c, const float* rows, int64_t width, int64_t channel,
                    int64_t lanes, float* out) {
        if constexpr (R > 1) {
            if (left < R)
                return low<R - 1>(left, c, rows, width, channel, lanes, out);
        }
        neighbors<R>(c, rows, width, channel, lanes, out);
    }

    template <int R>
    static void neighbors(const Convolution& c, const float* rows, int64_t width, int64_t channel, int64_t lanes,
                          float* out) {
        Vector sums[R];
        EDGEOPT_UNROLL
        for (int i = 0; i < R; i++)
            sums[i] = c.bias == nullptr ? V::set(0.0f) : V::load(c.bias + channel, lanes);
        for (int64_t dy = 0; dy < c.kernel; dy++)
            for (int64_t dx = 0; dx < c.kernel; dx++) {
                const Vector weight = V::load(c.weight + (dy * c.kernel + dx) * c.channels + channel, lanes);
                const float* from = rows + (dy * width + dx) * V::lanes;
                EDGEOPT_UNROLL
                for (int i = 0; i < R; i++)
                    sums[i] = V::fma(V::load(from + i * V::lanes), weight, sums[i]);
            }
        EDGEOPT_UNROLL
        for (int i = 0; i < R; i++)
            V::store(out + i * c.out_stride, V::add(V::load(out + i * c.out_stride, lanes), sums[i]), lanes);
    }
};

}  // namespace edgeopt
