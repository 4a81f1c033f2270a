#include "../common/avx512.h"
#include "blocked.h"

namespace edgeopt {

const HybridAttentionKernels f32_hybrid_attention__avx512{Hybrid<Avx512>::write, Hybrid<Avx512>::attend};

}  // namespace edgeopt
