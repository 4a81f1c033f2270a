/* The kernels of binary layers for the instruction set in force. */
#pragma once

#include "../common/isa.h"
#include "kernel.h"

namespace edgeopt {

inline const BinaryLinearKernels& b1_linear_kernels() {
#if defined(__x86_64__)
    if (isa() == Isa::avx512)
        return b1_linear__avx512;
    if (isa() == Isa::avx2)
        return b1_linear__avx2;
#endif
    return b1_linear__scalar;
}

}  // namespace edgeopt
