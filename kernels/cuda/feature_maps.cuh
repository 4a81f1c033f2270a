// Feature maps of linear attention, on rows of shared memory: phi(z) by element, for z [d] and phi [features].
//
// The learned maps (Hedgehog) read z = x W + b, which is a product like any other and is computed before.
#pragma once

#include "common.cuh"

enum EoFeatureMap {
    EO_MAP_GIVEN = 0,          // z are features already
    EO_MAP_RELU = 1,           // max(z, 0)
    EO_MAP_ELU = 2,            // elu(z) + 1
    EO_MAP_TAYLOR = 3,         // 1, z / d^(1/4), z_i z_j / sqrt(d) for i < j, z_i^2 / sqrt(2 d)
    EO_MAP_EXP = 4,            // exp(z), exp(-z)
    EO_MAP_SPLIT_SOFTMAX = 5,  // softmax(z), softmax(-z), at least 1e-12
    EO_MAP_JOINT_SOFTMAX = 6,  // softmax over [2 z, -2 z]
    EO_MAP_INLINE = 7,         // z and a 1: a linear attention without division, see linear_attention.cuh
};

namespace edgeopt {

__host__ __device__ inline int features(int map, int d) {
    if (map == EO_MAP_TAYLOR) return 1 + d + d * (d + 1) / 2;
    if (map == EO_MAP_INLINE) return d + 1;
    return map >= EO_MAP_EXP ? 2 * d : d;
}

// What a softmax needs of its whole row: the largest exponent and the sum of exponentials, of z and of -z.
struct RowStatistics {
    float largest, sum, largest_negated, sum_negated;
};

__device__ inline RowStatistics row_statistics(int map, const float* z, int d) {
    RowStatistics s = {0.f, 1.f, 0.f, 1.f};
    if (map != EO_MAP_SPLIT_SOFTMAX && map != EO_MAP_JOINT_SOFTMAX) return s;
    float low = z[0], high = z[0];
    for (int i = 1; i < d; ++i) {
        low = fminf(low, z[i]);
        high = fmaxf(high, z[i]);
    }
    s.largest = high;
    s.largest_negated = -low;
    s.sum = s.sum_negated = 0.f;
    if (map == EO_MAP_JOINT_SOFTMAX) s.largest = s.largest_negated = 2.f * fmaxf(high, -low);
    const float factor = map == EO_MAP_JOINT_SOFTMAX ? 2.f : 1.f;
    for (int i = 0; i < d; ++i) {
        s.sum += expf(factor * z[i] - s.largest);
        s.sum_negated += expf(-factor * z[i] - s.largest_negated);
    }
    if (map == EO_MAP_JOINT_SOFTMAX) s.sum = s.sum_negated = s.sum + s.sum_negated;
    return s;
}

__device__ inline float taylor_feature(const float* z, int i, int d) {
    if (i == 0) return 1.f;
    if (i <= d) return z[i - 1] * rsqrtf(sqrtf(static_cast<float>(d)));
    int pair = i - 1 - d;
    const int pairs = d * (d - 1) / 2;
    if (pair >= pairs) return z[pair - pairs] * z[pair - pairs] * rsqrtf(2.f * d);
    int first = 0;
    for (int row = d - 1; pair >= row; --row) {
        pair -= row;
        ++first;
    }
    return z[first] * z[first + 1 + pair] * rsqrtf(static_cast<float>(d));
}

__device__ inline float feature(int map, const float* z, int i, int d, const RowStatistics& s) {
    switch (map) {
        case EO_MAP_RELU: return fmaxf(z[i], 0.f);
        case EO_MAP_ELU: return z[i] > 0.f ? z[i] + 1.f : expf(z[i]);
        case EO_MAP_TAYLOR: return taylor_feature(z, i, d);
        case EO_MAP_INLINE: return i < d ? z[i] : 1.f;
        case EO_MAP_EXP: return i < d ? expf(z[i]) : expf(-z[i - d]);
        case EO_MAP_SPLIT_SOFTMAX:
            return fmaxf(i < d ? expf(z[i] - s.largest) / s.sum : expf(-z[i - d] - s.largest_negated) / s.sum_negated,
                         1e-12f);
        case EO_MAP_JOINT_SOFTMAX:
            return i < d ? expf(2.f * z[i] - s.largest) / s.sum : expf(-2.f * z[i - d] - s.largest) / s.sum;
        default: return z[i];
    }
}

}  // namespace edgeopt
