/* Hybrid attention by some queries at a time, which stand in the columns: a key's scores are a row, so that maximum,
 * exponential and sum over keys need nothing across a vector, and keys are read as they lie. */
#pragma once

#include "columns.h"
#include "kernel.h"

namespace edgeopt {

template <class V>
struct Hybrid {
    using Vector = typename V::Vector;
    using Row = Rows<V>;

    static void write(const Head& head, const Side& keys, const float* values, int64_t count, float* state,
                      float* scratch, const Ahead& after) {
        float *columns = scratch, *phi = columns + head.size * tokens_a_pass,
              *total = state + head.features * head.values;
        for (int64_t first = 0; first < count; first += tokens_a_pass) {
            const bool last = count - first <= tokens_a_pass;
            const int64_t here = last ? count - first : tokens_a_pass;
            Columns<V>::transpose(keys.tokens + first * keys.stride, keys.stride, here, head.size, columns);
            Columns<V>::map(head, keys, columns, here, phi);
            for (int64_t i = 0; i < head.features; i++)
                total[i] += Row::sum(phi + i * here, here);
            Product<V>::run(head.features, head.values, here, {phi, here, 1}, values + first * head.value_stride,
                            head.value_stride, {state, head.values, true}, last ? after : Ahead{});
        }
    }

    static void attend(const Head& head, const Near& near, const Side& queries, int64_t count, const float* far,
                       float* out, float* scratch, const Ahead& after) {
        for (int64_t first = 0; first < count; first += tokens_a_pass) {
            const bool last = count - first <= tokens_a_pass;
            some(head, near, queries, first, last ? count - first : tokens_a_pass, far, out + first * head.out_stride,
                 scratch, last ? after : Ahead{});
        }
    }

private:
    static constexpr float unseen = -1e30f;

    static void some(const Head& head, const Near& near, const Side& queries, int64_t first, int64_t count,
                     const float* far, float* out, float* scratch, const Ahead& after) {
        float *columns = scratch, *phi = columns + head.size * count, *scores = phi + head.features * count;
        float below[tokens_a_pass];
        /* What no query here sees is left out; what only some see is masked. */
        const int64_t least = near.causal_from < 0 ? near.count : near.causal_from + first + 1;
        const int64_t keys = near.causal_from < 0 ? near.count : least + count - 1;
        Columns<V>::transpose(queries.tokens + first * queries.stride, queries.stride, count, head.size, columns);
        Product<V>::run(keys, count, head.size, {near.keys, near.key_stride, 1}, columns, count, {scores, count});
        for (int64_t key = least; key < keys; key++)
            for (int64_t query = 0; query < key - least + 1; query++)
                scores[key * count + query] = unseen;
        softmax(near, scores, keys, count, below);
        if (far != nullptr) {
            Columns<V>::map(head, queries, columns, count, phi);
            read(head, phi, count, far, out, below);
        }
        for (int64_t query = 0; query < count; query++)
            below[query] = 1.0f / below[query];
        Product<V>::run(count, head.values, keys, {scores, 1, count}, near.values, near.value_stride,
                        {out, head.out_stride, far != nullptr, below}, after);
    }

    /* Columns of products become gate * exp(score - largest), and `below` their sums. */
    static void softmax(const Near& near, float* scores, int64_t keys, int64_t count, float* below) {
        const Vector gate = V::set(near.gate), scale = V::set(near.scale);
        for (int64_t i = 0; i < count; i += V::lanes) {
            const int64_t lanes = count - i < V::lanes ? count - i : V::lanes;
            Vector most = V::mul(scale, V::load(scores + i, lanes)), sum = V::set(0.0f);
            for (int64_t key = 1; key < keys; key++)
                most = V::max(most, V::mul(scale, V::load(scores + key * count + i, lanes)));
            for (int64_t key = 0; key < keys; key++) {
                float* at = scores + key * count + i;
                const Vector score = V::mul(scale, V::load(at, lanes));
                const Vector weight = V::mul(gate, Row::exp(V::sub(score, most)));
                sum = V::add(sum, weight);
                V::store(at, weight, lanes);
            }
            V::store(below + i, sum, lanes);
        }
    }

    static void read(const Head& head, const float* phi, int64_t count, const float* far, float* out, float* below) {
        const float* total = far + head.features * head.values;
        for (int64_t i = 0; i < count; i += V::lanes) {
            const int64_t lanes = count - i < V::lanes ? count - i : V::lanes;
            Vector sum = V::load(below + i, lanes);
            for (int64_t f = 0; f < head.features; f++)
                sum = V::fma(V::set(total[f]), V::load(phi + f * count + i, lanes), sum);
            V::store(below + i, sum, lanes);
        }
        Product<V>::run(count, head.values, head.features, {phi, 1, count}, far, head.values, {out, head.out_stride});
    }
};

}  // namespace edgeopt
