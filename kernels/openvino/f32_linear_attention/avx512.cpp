#include "../common/avx512.h"
#include "blocked.h"

namespace edgeopt {

const LinearAttentionKernels f32_linear_attention__avx512{Attention<Avx512>::write, Attention<Avx512>::read,
                                                          Attention<Avx512>::causal, Convolve<Avx512>::run};

}  // namespace edgeopt
