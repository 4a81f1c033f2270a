/* fuzz CASES: so many cases of every kernel. */
#include "fuzz.h"

int main(int, char** arguments) {
    Random random;
    for (int left = std::atoi(arguments[1]); left > 0; left--) {
        fuzz_b1_linear(random);
        fuzz_b1_matmul(random);
        fuzz_f32_linear_attention(random);
    }
}
