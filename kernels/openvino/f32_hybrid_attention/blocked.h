/* Hybrid attention by a few queries at a time, which stand in the columns: a key's scores are a row, so that maximum,
 * exponential and sum over keys need nothing across a vector, and keys are read as they lie. */
#pragma once

#include "../f32_linear_attention/features.h"
#include "kernel.h"

namespace edgeopt {

template <class V>
struct Hybrid {
    using Vector = typename V::Vector;
    using Row = Rows<V>;

    static void attend(const Head& head, const Near& near, const Side& queries, int64_t count, const float* far,
                       float* out, float* scratch) {
        for (int64_t first = 0; first < count; first += queries_at_once) {
            const int64_t here = count - first < queries_at_once ? count - first : queries_at_once;
            some(head, near, queries, first, here, far, out + first * head.out_stride, scratch);
        }
    }

private:
    static void some(const Head& head, const Near& near, const Side& queries, int64_t first, int64_t count,
                     const float* far, float* out, float* scratch) {
        float *columns = scratch, *scores = columns + head.size * count, *phi = scores + near.count * count;
        float below[queries_at_once];
        /* What no query here sees is left out; what only some see is masked. */
        const int64_t least = near.causal_from < 0 ? near.count : near.causal_from + first + 1;
        const int64_t keys = near.causal_from < 0 ? near.count : least + count - 1;
        transpose(queries.tokens + first * queries.stride, queries.stride, near.scale, count, head.size, columns);
        Product<V>::run(keys, count, head.size, {near.keys, near.key_stride, 1}, columns, count, {scores, count});
        for (int64_t key = least; key < keys; key++)
            for (int64_t query = 0; query < key - least + 1; query++)
                scores[key * count + query] = unseen;
        softmax(scores, keys, count, near.gate, below);
        if (far != nullptr)
            add_far(head, queries, first, count, far, out, phi, below);
        for (int64_t query = 0; query < count; query++)
            below[query] = 1.0f / below[query];
        Product<V>::run(count, head.values, keys, {scores, 1, count}, near.values, near.value_stride,
                        {out, head.out_stride, far != nullptr, below});
    }

    static constexpr float unseen = -3e38f;

    static void transpose(const float* rows, int64_t stride, float scale, int64_t count, int64_t size, float* out) {
        for (int64_t row = 0; row < count; row++)
            for (int64_t i = 0; i < size; i++)
                out[i * count + row] = scale * rows[row * stride + i];
    }

    /* Columns of scores become gate * exp(score - largest), and `below` their sums. */
    static void softmax(float* scores, int64_t keys, int64_t count, float gate, float* below) {
        const Vector factor = V::set(gate);
        for (int64_t i = 0; i < count; i += V::lanes) {
            const int64_t lanes = count - i < V::lanes ? count - i : V::lanes;
            Vector most = V::set(unseen), sum = V::set(0.0f);
            for (int64_t key = 0; key < keys; key++)
                most = V::max(most, V::load(scores + key * count + i, lanes));
            for (int64_t key = 0; key < keys; key++) {
                float* at = scores + key * count + i;
                const Vector weight = V::mul(factor, Row::exp(V::sub(V::load(at, lanes), most)));
                sum = V::add(sum, weight);
                V::store(at, weight, lanes);
            }
            V::store(below + i, sum, lanes);
        }
    }

    static void add_far(const Head& head, const Side& queries, int64_t first, int64_t count, const float* far,
                        float* out, float* phi, float* below) {
        const int64_t features = head.features;
        Features<V>::run(head, queries, first, count, phi, phi + count * features);
        for (int64_t query = 0; query < count; query++)
            below[query] += Row::dot(phi + query * features, far + features * head.values, features);
        Product<V>::run(count, head.values, features, {phi, features, 1}, far, head.values, {out, head.out_stride});
    }
};

}  // namespace edgeopt
