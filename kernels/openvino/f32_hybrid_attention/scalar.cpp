/* The specification: one token at a time. */
#include <algorithm>
#include <cmath>

#include "../f32_linear_attention/scalar_features.h"
#include "kernel.h"

namespace edgeopt {
namespace {

void write(const Head& head, const Side& keys, const float* values, int64_t count, float* state, float* scratch,
           const Ahead& after) {
    f32_linear_attention__scalar.write(head, keys, values, count, state, scratch, after);
}

/* The weights of the keys that a query sees, and how many they are. */
int64_t weigh(const Head& head, const Near& near, const float* query, int64_t index, float* weights) {
    const int64_t seen = near.causal_from < 0 ? near.count : near.causal_from + index + 1;
    float most = -INFINITY;
    for (int64_t j = 0; j < seen; j++) {
        weights[j] = 0.0f;
        for (int64_t i = 0; i < head.size; i++)
            weights[j] += near.scale * query[i] * near.keys[j * near.key_stride + i];
        most = std::max(most, weights[j]);
    }
    for (int64_t j = 0; j < seen; j++)
        weights[j] = near.gate * std::exp(weights[j] - most);
    return seen;
}

void attend(const Head& head, const Near& near, const Side& queries, int64_t count, const float* far, float* out,
            float* scratch, const Ahead&) {
    float *weights = scratch, *phi = weights + near.count, *z = phi + head.features;
    for (int64_t token = 0; token < count; token++) {
        const int64_t seen = weigh(head, near, queries.tokens + token * queries.stride, token, weights);
        float below = 0.0f, *row = out + token * head.out_stride;
        std::fill_n(row, head.values, 0.0f);
        for (int64_t j = 0; j < seen; j++) {
            below += weights[j];
            for (int64_t i = 0; i < head.values; i++)
                row[i] += weights[j] * near.values[j * near.value_stride + i];
        }
        if (far != nullptr) {
            scalar_features(head, queries, token, phi, z);
            for (int64_t f = 0; f < head.features; f++) {
                below += phi[f] * far[head.features * head.values + f];
                for (int64_t i = 0; i < head.values; i++)
                    row[i] += phi[f] * far[f * head.values + i];
            }
        }
        for (int64_t i = 0; i < head.values; i++)
            row[i] /= below;
    }
}

}  // namespace

const HybridAttentionKernels f32_hybrid_attention__scalar{write, attend};

}  // namespace edgeopt
