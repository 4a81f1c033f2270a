#include "scalar_features.h"

#include <algorithm>
#include <cmath>

namespace edgeopt {
namespace {

void softmax(const float* z, float sign, float* y, int64_t n) {
    float most = sign * z[0], total = 0.0f;
    for (int64_t i = 1; i < n; i++)
        most = std::max(most, sign * z[i]);
    for (int64_t i = 0; i < n; i++)
        total += y[i] = std::exp(sign * z[i] - most);
    for (int64_t i = 0; i < n; i++)
        y[i] /= total;
}

void taylor(const float* x, float* y, int64_t n) {
    const float root = std::sqrt(static_cast<float>(n));
    *y++ = 1.0f;
    for (int64_t i = 0; i < n; i++)
        *y++ = x[i] / std::sqrt(root);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++)
            *y++ = x[i] * x[j] / root;
    for (int64_t i = 0; i < n; i++)
        *y++ = x[i] * x[i] / std::sqrt(2.0f * static_cast<float>(n));
}

void learned(FeatureMap map, const float* z, float* y, int64_t n) {
    if (map == FeatureMap::hedgehog_split_softmax) {
        softmax(z, 1.0f, y, n);
        softmax(z, -1.0f, y + n, n);
        for (int64_t i = 0; i < 2 * n; i++)
            y[i] = std::max(y[i], 1e-12f);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        y[i] = map == FeatureMap::hedgehog_exp ? std::exp(z[i]) : 2.0f * z[i];
        y[n + i] = map == FeatureMap::hedgehog_exp ? std::exp(-z[i]) : -2.0f * z[i];
    }
    if (map == FeatureMap::hedgehog_joint_softmax)
        softmax(y, 1.0f, y, 2 * n);
}

}  // namespace

void scalar_features(const Head& head, const Side& side, int64_t token, float* y, float* z) {
    const float* x = side.tokens + token * side.stride;
    if (head.map == FeatureMap::taylor)
        return taylor(x, y, head.size);
    if (head.map == FeatureMap::relu || head.map == FeatureMap::elu) {
        const bool elu = head.map == FeatureMap::elu;
        for (int64_t i = 0; i < head.size; i++)
            y[i] = std::max(x[i], 0.0f) + (elu ? std::exp(std::min(x[i], 0.0f)) : 0.0f);
        return;
    }
    for (int64_t j = 0; j < head.mapped; j++) {
        z[j] = side.bias == nullptr ? 0.0f : side.bias[j];
        for (int64_t i = 0; i < head.size; i++)
            z[j] += x[i] * side.weight[i * head.mapped + j];
    }
    learned(head.map, z, y, head.mapped);
}

}  // namespace edgeopt
