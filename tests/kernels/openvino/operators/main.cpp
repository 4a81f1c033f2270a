/* operators CASES: so many cases of every operator. */
#include "operators.h"

int main(int, char** arguments) {
    Random random;
    for (int left = std::atoi(arguments[1]); left > 0; left--) {
        fuzz_binary_conv2d(random);
        fuzz_binary_linear(random);
        fuzz_binary_matmul(random);
        fuzz_hybrid_attention(random);
        fuzz_linear_attention(random);
    }
}
