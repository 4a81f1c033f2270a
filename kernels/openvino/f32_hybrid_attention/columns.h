/* Tokens as columns, and the feature maps of them: each lane of a vector is a token, and nothing goes across lanes. */
#pragma once

#include "../common/product.h"
#include "../f32_linear_attention/kernel.h"

namespace edgeopt {

template <class V>
struct Columns {
    using Vector = typename V::Vector;
    using Row = Rows<V>;

    /* Rows of tokens [count, size] to columns [size, count]. */
    static void transpose(const float* rows, int64_t stride, int64_t count, int64_t size, float* out) {
        const int64_t whole = count / 4 * 4, channels = size / 4 * 4;
        for (int64_t token = 0; token < whole; token += 4)
            for (int64_t i = 0; i < channels; i += 4)
                four(rows + token * stride + i, stride, out + i * count + token, count);
        for (int64_t token = 0; token < count; token++)
            for (int64_t i = token < whole ? channels : 0; i < size; i++)
                out[i * count + token] = rows[token * stride + i];
    }

    /* phi of columns x [size, count]: [features, count]. */
    static void map(const Head& head, const Side& side, const float* x, int64_t count, float* out) {
        const int64_t all = head.size * count;
        if (head.map == FeatureMap::relu)
            Row::map(x, out, all, [](Vector v) { return V::max(v, V::set(0.0f)); });
        else if (head.map == FeatureMap::elu)
            Row::map(x, out, all, [](Vector v) {
                const Vector zero = V::set(0.0f);
                return V::add(Row::exp(V::min(v, zero)), V::max(v, zero));
            });
        else if (head.map == FeatureMap::taylor)
            taylor(head.size, x, count, out);
        else
            learned(head, side, x, count, out);
    }

private:
    static void four(const float* rows, int64_t stride, float* out, int64_t count) {
        __m128 a = _mm_loadu_ps(rows), b = _mm_loadu_ps(rows + stride);
        __m128 c = _mm_loadu_ps(rows + 2 * stride), d = _mm_loadu_ps(rows + 3 * stride);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        _mm_storeu_ps(out, a);
        _mm_storeu_ps(out + count, b);
        _mm_storeu_ps(out + 2 * count, c);
        _mm_storeu_ps(out + 3 * count, d);
    }

    static void taylor(int64_t size, const float* x, int64_t count, float* out) {
        const float root = __builtin_sqrtf(static_cast<float>(size));
        Row::map(x, out, count, [](Vector) { return V::set(1.0f); });
        const Vector linear = V::set(1.0f / __builtin_sqrtf(root));
        Row::map(x, out + count, size * count, [linear](Vector v) { return V::mul(v, linear); });
        float* next = out + (1 + size) * count;
        for (int64_t i = 0; i < size; i++)
            for (int64_t j = i + 1; j < size; j++, next += count)
                product(x + i * count, x + j * count, 1.0f / root, count, next);
        for (int64_t i = 0; i < size; i++, next += count)
            product(x + i * count, x + i * count, 1.0f / __builtin_sqrtf(2.0f * static_cast<float>(size)), count, next);
    }

    static void product(const float* x, const float* y, float factor, int64_t count, float* out) {
        const Vector f = V::set(factor);
        for (int64_t i = 0; i < count; i += V::lanes) {
            const int64_t lanes = count - i < V::lanes ? count - i : V::lanes;
            V::store(out + i, V::mul(f, V::mul(V::load(x + i, lanes), V::load(y + i, lanes))), lanes);
        }
    }

    /* z, then of z and of -z exponentials or their shares of one softmax or two. */
    static void learned(const Head& head, const Side& side, const float* x, int64_t count, float* out) {
        const int64_t mapped = head.mapped;
        for (int64_t j = 0; side.bias != nullptr && j < mapped; j++) {
            const Vector bias = V::set(side.bias[j]);
            Row::map(x, out + j * count, count, [bias](Vector) { return bias; });
        }
        Product<V>::run(mapped, count, head.size, {side.weight, 1, mapped}, x, count,
                        {out, count, side.bias != nullptr});
        for (int64_t i = 0; i < count; i += V::lanes)
            exponentials(head.map, mapped, count, count - i < V::lanes ? count - i : V::lanes, out + i);
    }

    static void exponentials(FeatureMap map, int64_t mapped, int64_t count, int64_t lanes, float* z) {
        const bool joint = map == FeatureMap::hedgehog_joint_softmax;
        const Vector zero = V::set(0.0f), factor = V::set(joint ? 2.0f : 1.0f);
        float* negative = z + mapped * count;
        Vector most = zero, least = zero, above = zero, below = zero;
        if (map != FeatureMap::hedgehog_exp) {
            most = least = V::load(z, lanes);
            for (int64_t j = 1; j < mapped; j++) {
                const Vector v = V::load(z + j * count, lanes);
                most = V::max(most, v), least = V::min(least, v);
            }
            most = V::mul(factor, most), least = V::mul(factor, least);
            if (joint)
                most = V::max(most, V::sub(zero, least)), least = V::sub(zero, most);
        }
        for (int64_t j = 0; j < mapped; j++) {
            const Vector v = V::mul(factor, V::load(z + j * count, lanes));
            const Vector plus = Row::exp(V::sub(v, most)), minus = Row::exp(V::sub(least, v));
            above = V::add(above, plus), below = V::add(below, minus);
            V::store(z + j * count, plus, lanes);
            V::store(negative + j * count, minus, lanes);
        }
        if (map == FeatureMap::hedgehog_exp)
            return;
        if (joint)
            above = below = V::add(above, below);
        const Vector floor = joint ? zero : V::set(1e-12f);
        divide(z, above, floor, mapped, count, lanes);
        divide(negative, below, floor, mapped, count, lanes);
    }

    static void divide(float* rows, Vector by, Vector floor, int64_t mapped, int64_t count, int64_t lanes) {
        const Vector factor = V::div(V::set(1.0f), by);
        for (int64_t j = 0; j < mapped; j++)
            V::store(rows + j * count, V::max(V::mul(factor, V::load(rows + j * count, lanes)), floor), lanes);
    }
};

}  // namespace edgeopt
