/* The specification of the feature maps. */
#pragma once

#include "kernel.h"

namespace edgeopt {

/* phi of one token; z is scratch for its learned projection. */
void scalar_features(const Head& head, const Side& side, int64_t token, float* y, float* z);

}  // namespace edgeopt
