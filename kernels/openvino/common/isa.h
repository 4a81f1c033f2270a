/* Which instruction set the kernels use: the best that this processor and operating system have.
 *
 * The environment's EDGEOPT_ISA (scalar, avx2 or avx512) forces a lower one, to test or compare. */
#pragma once

namespace edgeopt {

enum class Isa { scalar, avx2, avx512 };

Isa isa();

}  // namespace edgeopt
