/* Sixteen floats of AVX-512, under the names that the blocked kernels use. */
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace edgeopt {

struct Avx512 {
    using Vector = __m512;
    static constexpr int64_t lanes = 16;
    /* Accumulators of one tile of a product: rows x columns of vectors. */
    static constexpr int rows = 6, columns = 4;

    static Vector set(float x) { return _mm512_set1_ps(x); }
    static Vector load(const float* p) { return _mm512_loadu_ps(p); }
    static void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }
    /* The first n floats, zero beyond them. */
    static Vector load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(mask(n), p); }
    static void store(float* p, Vector x, int64_t n) { _mm512_mask_storeu_ps(p, mask(n), x); }

    static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
    static Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
    static Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
    static Vector div(Vector a, Vector b) { return _mm512_div_ps(a, b); }
    static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
    static Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
    static Vector min(Vector a, Vector b) { return _mm512_min_ps(a, b); }
    static Vector round(Vector x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    /* 2^n of an integral n in the range of normal numbers. */
    static Vector exp2(Vector n) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtps_epi32(_mm512_add_ps(n, set(127.0f))), 23));
    }
    /* A bit a lane. */
    static uint32_t nonzero(Vector x) { return _mm512_cmp_ps_mask(x, set(0.0f), _CMP_NEQ_UQ); }
    static float sum(Vector x) { return _mm512_reduce_add_ps(x); }
    static float largest(Vector x) { return _mm512_reduce_max_ps(x); }

private:
    static __mmask16 mask(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
};

}  // namespace edgeopt
