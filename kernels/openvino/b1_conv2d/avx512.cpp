#include "../common/bits_avx512.h"
#include "blocked.h"

namespace edgeopt {

using Kernels = Convolution<Words512>;

const BinaryConvolutionKernels b1_conv2d__avx512{Kernels::run, Kernels::follow, Kernels::pack};

}  // namespace edgeopt
