#include "../common/bits_avx512.h"
#include "blocked.h"

namespace edgeopt {

const BinaryConvolutionKernels b1_conv2d__avx512{Convolution<Words512>::run, Convolution<Words512>::follow, Convolution<Words512>::pack};

}  // namespace edgeopt
