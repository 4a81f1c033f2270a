#include "../common/avx2.h"
#include "blocked.h"

namespace edgeopt {

const LinearAttentionKernels f32_linear_attention__avx2{Attention<Avx2>::write, Attention<Avx2>::read,
                                                        Attention<Avx2>::causal, Convolve<Avx2>::run};

}  // namespace edgeopt
