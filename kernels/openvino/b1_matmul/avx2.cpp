#include "../common/bits_avx2.h"
#include "blocked.h"

namespace edgeopt {

using Kernels = BlockedProduct<Words256>;

const BinaryProductKernels b1_matmul__avx2{Kernels::pack_rows, Kernels::pack_panel, Kernels::run};

}  // namespace edgeopt
