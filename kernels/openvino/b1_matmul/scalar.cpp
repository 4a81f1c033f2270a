/* The specification: one number at a time. */
#include "kernel.h"

namespace edgeopt {
namespace {

/* The bits of up to 32 numbers, `step` apart. */
int32_t word_of(const float* x, int64_t step, float from, int64_t count) {
    uint32_t packed = 0;
    for (int64_t i = 0; i < count && i < 32; i++)
        packed |= static_cast<uint32_t>(x[i * step] >= from) << i;
    return static_cast<int32_t>(packed);
}

void pack_rows(const float* x, int64_t stride, float from, int64_t rows, int64_t k, int32_t* bits, int64_t row,
               int64_t word) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < k; i += 32)
            bits[r * row + i / 32 * word] = word_of(x + r * stride + i, 1, from, k - i);
}

void pack_panel(const float* x, int64_t stride, float from, int64_t k, int64_t columns, int32_t* bits) {
    for (int64_t n = 0; n < columns; n++)
        for (int64_t i = 0; i < k; i += 32)
            bits[i / 32 * BinaryProduct::panel + n] = word_of(x + i * stride + n, stride, from, k - i);
}

void run(const BinaryProduct& p, const int32_t* a, int64_t rows, float* out, int64_t stride) {
    constexpr int64_t panel = BinaryProduct::panel;
    for (int64_t row = 0; row < rows; row++, a += p.words, out += stride)
        for (int64_t n = 0; n < p.columns; n++) {
            const int32_t* b = p.b + n / panel * p.words * panel + n % panel;
            int32_t sum = p.bits ? 0 : static_cast<int32_t>(p.k);
            for (int64_t w = 0; w < p.words; w++)
                sum += p.bits ? 2 * __builtin_popcount(a[w] & b[w * panel]) - __builtin_popcount(a[w])
                              : -2 * __builtin_popcount(a[w] ^ b[w * panel]);
            out[n] = static_cast<float>(sum) * p.scale;
        }
}

}  // namespace

const BinaryProductKernels b1_matmul__scalar{pack_rows, pack_panel, run};

}  // namespace edgeopt
