/* Sixteen words of AVX-512 with VPOPCNTDQ and their bits, under the names that the blocked kernels use. */
#pragma once

#include "avx512.h"

namespace edgeopt {

struct Words512 {
    using Float = Avx512;
    using Words = __m512i;
    /* Counters of one tile: rows x columns of vectors. */
    static constexpr int rows = 4, columns = 4;
    static constexpr int64_t chunk = 0; /* counters of 32 bits never fill up */

    static Words zero() { return _mm512_setzero_si512(); }
    static Words load(const int32_t* p) { return _mm512_loadu_si512(p); }
    static Words set(int32_t word) { return _mm512_set1_epi32(word); }
    static Words differing(Words a, Words b) { return _mm512_xor_si512(a, b); }
    static Words differing(Words a, Words b, Words inside) { return _mm512_and_si512(differing(a, b), inside); }
    static Words add_set(Words count, Words x) { return _mm512_add_epi32(count, _mm512_popcnt_epi32(x)); }
    static Words add_counts(Words total, Words count) { return _mm512_add_epi32(total, count); }
    static Words add(Words a, Words b) { return _mm512_add_epi32(a, b); }
    static Words multiply(Words a, Words b) { return _mm512_mullo_epi32(a, b); }
    /* Of so many signs, so many of them differing. */
    static __m512 product(Words all, Words differing) {
        return _mm512_cvtepi32_ps(_mm512_sub_epi32(all, _mm512_slli_epi32(differing, 1)));
    }
    static uint32_t at_least(__m512 a, __m512 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
};

}  // namespace edgeopt
