/* The feature maps of attention, of a block of tokens at once. */
#pragma once

#include "../common/product.h"
#include "kernel.h"

namespace edgeopt {

template <class V>
struct Features {
    using Vector = typename V::Vector;
    using Row = Rows<V>;

    /* phi of a block of tokens, [count, features]; z is scratch for learned projections. */
    static void run(const Head& head, const Side& side, int64_t first, int64_t count, float* out, float* z) {
        const float* x = side.tokens + first * side.stride;
        const int64_t n = head.size, features = head.features, stride = side.stride;
        if (head.map == FeatureMap::relu) {
            each(count, x, stride, out, n, [](Vector v) { return V::max(v, V::set(0.0f)); });
        } else if (head.map == FeatureMap::elu) {
            /* elu(x) + 1 is e^x below zero and x + 1 above: the one plus what the other has beyond its value at 0. */
            each(count, x, stride, out, n, [](Vector v) {
                const Vector zero = V::set(0.0f);
                return V::add(Row::exp(V::min(v, zero)), V::max(v, zero));
            });
        } else if (head.map == FeatureMap::taylor) {
            for (int64_t token = 0; token < count; token++)
                taylor(x + token * stride, out + token * features, n);
        } else {
            const int64_t mapped = head.mapped;
            if (side.bias != nullptr)
                for (int64_t token = 0; token < count; token++)
                    Row::map(side.bias, z + token * mapped, mapped, [](Vector v) { return v; });
            Product<V>::run(count, mapped, n, {x, stride, 1}, side.weight, mapped, {z, mapped, side.bias != nullptr});
            for (int64_t token = 0; token < count; token++)
                learned(head.map, z + token * mapped, out + token * features, mapped);
        }
    }

private:
    template <class F>
    static void each(int64_t count, const float* x, int64_t stride, float* out, int64_t n, const F& f) {
        for (int64_t token = 0; token < count; token++)
            Row::map(x + token * stride, out + token * n, n, f);
    }

    static void scale(const float* x, float factor, float* y, int64_t n) {
        const Vector f = V::set(factor);
        Row::map(x, y, n, [f](Vector v) { return V::mul(v, f); });
    }

    static void taylor(const float* x, float* y, int64_t n) {
        const float root = __builtin_sqrtf(static_cast<float>(n));
        y[0] = 1.0f;
        scale(x, 1.0f / __builtin_sqrtf(root), y + 1, n);
        float* pairs = y + 1 + n;
        for (int64_t i = 0; i + 1 < n; pairs += n - 1 - i, i++)
            scale(x + i + 1, x[i] / root, pairs, n - 1 - i);
        const Vector f = V::set(1.0f / __builtin_sqrtf(2.0f * static_cast<float>(n)));
        Row::map(x, pairs, n, [f](Vector v) { return V::mul(V::mul(v, v), f); });
    }

    static void learned(FeatureMap map, const float* z, float* y, int64_t n) {
        const bool joint = map == FeatureMap::hedgehog_joint_softmax;
        const float factor = joint ? 2.0f : 1.0f;
        scale(z, factor, y, n);
        scale(z, -factor, y + n, n);
        if (joint)
            return softmax(y, 2 * n, 0.0f);
        if (map == FeatureMap::hedgehog_split_softmax) {
            softmax(y, n, 1e-12f);
            softmax(y + n, n, 1e-12f);
            return;
        }
        Row::map(y, y, 2 * n, [](Vector v) { return Row::exp(v); });
    }

    static void softmax(float* y, int64_t n, float least) {
        const Vector most = V::set(Row::largest(y, n));
        Row::map(y, y, n, [most](Vector v) { return Row::exp(V::sub(v, most)); });
        const Vector factor = V::set(1.0f / Row::sum(y, n)), floor = V::set(least);
        Row::map(y, y, n, [factor, floor](Vector v) { return V::max(V::mul(v, factor), floor); });
    }
};

}  // namespace edgeopt
