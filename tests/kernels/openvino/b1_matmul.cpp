/* Products of matrices of signs, or of ones and zeros by signs, against sums of products in int64. */
#include "b1_matmul/kernel.h"

#include <algorithm>

#include "fuzz.h"

void fuzz_b1_matmul(Random& random) {
    constexpr int64_t panel = edgeopt::BinaryProduct::panel;
    const int64_t k = random.any({0, 1, 31, 32, 33, 100, 992, 993, 4100}), words = (k + 31) / 32;
    const int64_t rows = random.between(0, 9), columns = random.any({1, 7, 16, 17, 33, 70});
    const int64_t panels = (columns + panel - 1) / panel;
    const bool is_bits = random.chance(), transposed = random.chance();
    const Floats a = random.signs(rows * k), b = random.signs(k * columns);
    Words a_bits = random.noise(rows * words), b_bits = random.noise(panels * words * panel);
    Floats out(rows * columns);
    UNDER_TEST(b1_matmul).pack_rows(a.data(), k, 0.0f, rows, k, a_bits.data(), words, 1);
    for (int64_t first = 0; first < columns; first += panel) {
        const int64_t here = std::min(panel, columns - first);
        int32_t* to = b_bits.data() + first * words;
        if (transposed) /* b is [columns, k] */
            UNDER_TEST(b1_matmul).pack_rows(b.data() + first * k, k, 0.0f, here, k, to, 1, panel);
        else
            UNDER_TEST(b1_matmul).pack_panel(b.data() + first, columns, 0.0f, k, here, to);
    }
    const edgeopt::BinaryProduct product{k, words, columns, b_bits.data(), 0.37f, is_bits};
    UNDER_TEST(b1_matmul).run(product, a_bits.data(), rows, out.data(), columns);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t n = 0; n < columns; n++) {
            int64_t sum = 0;
            for (int64_t i = 0; i < k; i++) {
                const int64_t left = static_cast<int64_t>(a[row * k + i]);
                const int64_t right = static_cast<int64_t>(transposed ? b[n * k + i] : b[i * columns + n]);
                sum += (is_bits ? left > 0 : left) * right;
            }
            check(out[row * columns + n] == static_cast<float>(sum) * 0.37f, "b1_matmul");
        }
}
