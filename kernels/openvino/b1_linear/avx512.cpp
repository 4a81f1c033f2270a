#include "../common/bits_avx512.h"
#include "blocked.h"

namespace edgeopt {

const BinaryLinearKernels b1_linear__avx512{Binary<Words512>::pack, Binary<Words512>::run};

}  // namespace edgeopt
