/* Random operands, and what is asked of results. Memory is as long as a kernel's contract says and no longer, so that
 * the sanitizer of addresses sees what is touched beyond it. */
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

/* The kernels under test: those of the instruction set that this is compiled for. */
#define UNDER_TEST_OF(name, isa) name##__##isa
#define UNDER_TEST_IN(name, isa) UNDER_TEST_OF(name, isa)
#define UNDER_TEST(name) UNDER_TEST_IN(edgeopt::name, EDGEOPT_UNDER_TEST)

using Floats = std::vector<float>;
using Words = std::vector<int32_t>;

struct Random {
    std::mt19937 engine{1};

    int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine); }
    float value() { return std::normal_distribution<float>()(engine); }
    bool chance() { return between(0, 1) == 1; }

    int64_t any(std::initializer_list<int64_t> of) { return of.begin()[between(0, int64_t(of.size()) - 1)]; }

    Floats floats(int64_t count) {
        Floats all(count);
        for (float& x : all)
            x = value();
        return all;
    }

    /* Numbers of one sign, or of either: all alike fill a counter the most. */
    Floats signs(int64_t count) {
        const int64_t kind = between(0, 3);
        Floats all(count);
        for (float& x : all)
            x = kind == 0 ? 1.0f : kind == 1 ? -1.0f : chance() ? 1.0f : -1.0f;
        return all;
    }

    /* Words that no result may depend on. */
    Words noise(int64_t count) {
        Words all(count);
        for (int32_t& word : all)
            word = static_cast<int32_t>(engine());
        return all;
    }
};

inline void check(bool holds, const char* what) {
    if (holds)
        return;
    std::fprintf(stderr, "wrong: %s\n", what);
    std::exit(1);
}

inline void set_bit(int32_t& word, int64_t bit, bool value) {
    const uint32_t mask = 1u << bit, before = static_cast<uint32_t>(word);
    word = static_cast<int32_t>(value ? before | mask : before & ~mask);
}

void fuzz_b1_linear(Random& random);
void fuzz_b1_matmul(Random& random);
void fuzz_f32_linear_attention(Random& random);
