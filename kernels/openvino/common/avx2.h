/* Eight floats of AVX2 with FMA, under the names that the blocked kernels use. */
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace edgeopt {

struct Avx2 {
    using Vector = __m256;
    static constexpr int64_t lanes = 8;
    /* Accumulators of one tile of a product: rows x columns of vectors. */
    static constexpr int rows = 6, columns = 2;

    static Vector set(float x) { return _mm256_set1_ps(x); }
    static Vector load(const float* p) { return _mm256_loadu_ps(p); }
    static void store(float* p, Vector x) { _mm256_storeu_ps(p, x); }
    /* The first n floats, zero beyond them. */
    static Vector load(const float* p, int64_t n) { return _mm256_maskload_ps(p, mask(n)); }
    static void store(float* p, Vector x, int64_t n) { _mm256_maskstore_ps(p, mask(n), x); }

    static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
    static Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
    static Vector mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
    static Vector div(Vector a, Vector b) { return _mm256_div_ps(a, b); }
    static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
    static Vector max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
    static Vector min(Vector a, Vector b) { return _mm256_min_ps(a, b); }
    static Vector round(Vector x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    /* 2^n of an integral n in the range of normal numbers. */
    static Vector exp2(Vector n) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtps_epi32(_mm256_add_ps(n, set(127.0f))), 23));
    }
    /* A bit a lane. */
    static uint32_t nonzero(Vector x) {
        return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x, set(0.0f), _CMP_NEQ_UQ)));
    }
    static float sum(Vector x) {
        __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
        half = _mm_add_ps(half, _mm_movehl_ps(half, half));
        return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
    }
    static float largest(Vector x) {
        __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
        half = _mm_max_ps(half, _mm_movehl_ps(half, half));
        return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
    }

private:
    static __m256i mask(int64_t n) {
        const __m256i order = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), order);
    }
};

}  // namespace edgeopt
