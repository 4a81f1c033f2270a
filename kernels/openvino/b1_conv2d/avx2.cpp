#include "../common/bits_avx2.h"
#include "blocked.h"

namespace edgeopt {

using Kernels = Convolution<Words256>;

const BinaryConvolutionKernels b1_conv2d__avx2{Kernels::run, Kernels::follow, Kernels::pack};

}  // namespace edgeopt
