#include "../common/avx2.h"
#include "blocked.h"

namespace edgeopt {

const HybridAttentionKernels f32_hybrid_attention__avx2{Hybrid<Avx2>::write, Hybrid<Avx2>::attend};

}  // namespace edgeopt
