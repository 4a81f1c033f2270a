/* Which instruction set the kernels use: the best that this processor and operating system have.
 *
 * The environment's EDGEOPT_ISA (scalar, avx2 or avx512) forces a lower one, to test or compare. */
#pragma once

namespace edgeopt {

enum class Isa { scalar, avx2, avx512 };

Isa isa();

/* The kernels of one operator for the instruction set in force, of those b1_linear__scalar, b1_linear__avx2 .. */
#if defined(__x86_64__)
#define EDGEOPT_KERNELS(name) edgeopt::kernels_of(name##__scalar, name##__avx2, name##__avx512)
#else
#define EDGEOPT_KERNELS(name) (name##__scalar)
#endif

template <class Kernels>
const Kernels& kernels_of(const Kernels& scalar, const Kernels& avx2, const Kernels& avx512) {
    const Isa found = isa();
    return found == Isa::avx512 ? avx512 : found == Isa::avx2 ? avx2 : scalar;
}

}  // namespace edgeopt
