/* Eight words of AVX2 and their bits, under the names that the blocked kernels use. */
#pragma once

#include "avx2.h"

namespace edgeopt {

/* Bits are counted by a table of four, in counters of bytes. */
struct Words256 {
    using Float = Avx2;
    using Words = __m256i;
    /* Counters of one tile: rows x columns of vectors. */
    static constexpr int rows = 4, columns = 1;
    static constexpr int64_t chunk = 31; /* a byte holds the counts of 31 words */

    static Words zero() { return _mm256_setzero_si256(); }
    static Words load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static Words set(int32_t word) { return _mm256_set1_epi32(word); }
    static Words differing(Words a, Words b) { return _mm256_xor_si256(a, b); }
    static Words differing(Words a, Words b, Words inside) { return _mm256_and_si256(differing(a, b), inside); }
    static Words add_set(Words count, Words x) {
        const __m256i table = _mm256_broadcastsi128_si256(
            _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
        const __m256i low = _mm256_set1_epi8(15);
        const __m256i first = _mm256_shuffle_epi8(table, _mm256_and_si256(x, low));
        const __m256i second = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), low));
        return _mm256_add_epi8(count, _mm256_add_epi8(first, second));
    }
    /* Counters of a chunk to counters of 32 bits. */
    static Words add_counts(Words total, Words count) {
        const __m256i pairs = _mm256_maddubs_epi16(count, _mm256_set1_epi8(1));
        return _mm256_add_epi32(total, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    static Words add(Words a, Words b) { return _mm256_add_epi32(a, b); }
    static Words multiply(Words a, Words b) { return _mm256_mullo_epi32(a, b); }
    /* Of so many signs, so many of them differing. */
    static __m256 product(Words all, Words differing) {
        return _mm256_cvtepi32_ps(_mm256_sub_epi32(all, _mm256_slli_epi32(differing, 1)));
    }
    static uint32_t at_least(__m256 a, __m256 b) {
        return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
    }
};

}  // namespace edgeopt
