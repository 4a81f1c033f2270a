#include "../common/avx512.h"
#include "blocked.h"

namespace edgeopt {
namespace {

struct Words512 {
    using Float = Avx512;
    using Words = __m512i;
    static constexpr int rows = 4, columns = 4;
    static constexpr int64_t chunk = 0; /* counters of 32 bits never fill up */

    static Words zero() { return _mm512_setzero_si512(); }
    static Words load(const int32_t* p) { return _mm512_loadu_si512(p); }
    static Words set(int32_t word) { return _mm512_set1_epi32(word); }
    static Words add_differing(Words count, Words a, Words b) {
        return _mm512_add_epi32(count, _mm512_popcnt_epi32(_mm512_xor_si512(a, b)));
    }
    static Words add_counts(Words total, Words count) { return _mm512_add_epi32(total, count); }
    static __m512 product(int64_t inputs, Words differing) {
        const __m512i all = _mm512_set1_epi32(static_cast<int>(inputs));
        return _mm512_cvtepi32_ps(_mm512_sub_epi32(all, _mm512_slli_epi32(differing, 1)));
    }
    static uint32_t at_least(__m512 a, __m512 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
};

}  // namespace

const BinaryLinearKernels b1_linear__avx512{Binary<Words512>::pack, Binary<Words512>::pack_planes, Binary<Words512>::run};

}  // namespace edgeopt
