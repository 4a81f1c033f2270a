#include "../common/bits_avx512.h"
#include "blocked.h"

namespace edgeopt {

using Kernels = BlockedProduct<Words512>;

const BinaryProductKernels b1_matmul__avx512{Kernels::pack_rows, Kernels::pack_panel, Kernels::run};

}  // namespace edgeopt
