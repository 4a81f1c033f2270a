/* The specification: one token at a time. */
#include <algorithm>
#include <cmath>

#include "kernel.h"

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

/* phi of one token; z is scratch for its learned projection. */
void features(const Head& head, const Side& side, int64_t token, float* y, float* z) {
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

void add(const Head& head, const float* phi, const float* value, float* state) {
    float* sums = state + head.features * head.values;
    for (int64_t i = 0; i < head.features; i++) {
        for (int64_t j = 0; j < head.values; j++)
            state[i * head.values + j] += phi[i] * value[j];
        sums[i] += phi[i];
    }
}

void attend(const Head& head, const float* phi, const float* state, float* out) {
    const float* sums = state + head.features * head.values;
    float below = head.epsilon;
    for (int64_t i = 0; i < head.features; i++)
        below += phi[i] * sums[i];
    for (int64_t j = 0; j < head.values; j++) {
        out[j] = 0.0f;
        for (int64_t i = 0; i < head.features; i++)
            out[j] += phi[i] * state[i * head.values + j];
        out[j] /= below;
    }
}

void write(const Head& head, const Side& keys, const float* values, int64_t count, float* state, float* scratch,
           const Ahead&) {
    for (int64_t token = 0; token < count; token++) {
        features(head, keys, token, scratch, scratch + head.features);
        add(head, scratch, values + token * head.value_stride, state);
    }
}

void read(const Head& head, const Side& queries, int64_t count, const float* state, float* out, float* scratch,
          const Ahead&) {
    for (int64_t token = 0; token < count; token++) {
        features(head, queries, token, scratch, scratch + head.features);
        attend(head, scratch, state, out + token * head.out_stride);
    }
}

void causal(const Head& head, const Side& queries, const Side& keys, const float* values, int64_t count, float* state,
            float* out, float* scratch) {
    for (int64_t token = 0; token < count; token++) {
        features(head, keys, token, scratch, scratch + head.features);
        add(head, scratch, values + token * head.value_stride, state);
        features(head, queries, token, scratch, scratch + head.features);
        attend(head, scratch, state, out + token * head.out_stride);
    }
}

void convolve(const Convolution& c, const float* image, int64_t first, int64_t last, float* out, float*) {
    const int64_t reach = c.kernel / 2;
    for (int64_t y = first; y < last; y++)
        for (int64_t x = 0; x < c.width; x++)
            for (int64_t channel = 0; channel < c.channels; channel++) {
                float sum = c.bias == nullptr ? 0.0f : c.bias[channel];
                for (int64_t dy = 0; dy < c.kernel; dy++)
                    for (int64_t dx = 0; dx < c.kernel; dx++) {
                        const int64_t row = y + dy - reach, column = x + dx - reach;
                        if (row >= 0 && row < c.height && column >= 0 && column < c.width)
                            sum += image[(row * c.width + column) * c.image_stride + channel] *
                                   c.weight[(dy * c.kernel + dx) * c.channels + channel];
                    }
                out[(y * c.width + x) * c.out_stride + channel] += sum;
            }
}

}  // namespace

const LinearAttentionKernels f32_linear_attention__scalar{write, read, causal, convolve};

}  // namespace edgeopt
