/* The specification: one token at a time. */
#include "kernel.h"
#include "scalar_features.h"

namespace edgeopt {
namespace {

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
        scalar_features(head, keys, token, scratch, scratch + head.features);
        add(head, scratch, values + token * head.value_stride, state);
    }
}

void read(const Head& head, const Side& queries, int64_t count, const float* state, float* out, float* scratch,
          const Ahead&) {
    for (int64_t token = 0; token < count; token++) {
        scalar_features(head, queries, token, scratch, scratch + head.features);
        attend(head, scratch, state, out + token * head.out_stride);
    }
}

void causal(const Head& head, const Side& queries, const Side& keys, const float* values, int64_t count, float* state,
            float* out, float* scratch) {
    for (int64_t token = 0; token < count; token++) {
        scalar_features(head, keys, token, scratch, scratch + head.features);
        add(head, scratch, values + token * head.value_stride, state);
        scalar_features(head, queries, token, scratch, scratch + head.features);
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
