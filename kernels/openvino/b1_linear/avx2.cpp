#include "../common/bits_avx2.h"
#include "blocked.h"

namespace edgeopt {

const BinaryLinearKernels b1_linear__avx2{Binary<Words256>::pack, Binary<Words256>::run};

}  // namespace edgeopt
