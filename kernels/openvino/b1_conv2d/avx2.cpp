#include "../common/bits_avx2.h"
#include "blocked.h"

namespace edgeopt {

const BinaryConvolutionKernels b1_conv2d__avx2{Convolution<Words256>::run, Convolution<Words256>::follow, Convolution<Words256>::pack};

}  // namespace edgeopt
