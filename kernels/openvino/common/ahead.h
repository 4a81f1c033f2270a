/* What the products of a kernel may bring nearer while they compute. */
#pragma once

#include <cstdint>

namespace edgeopt {

/* Rows of `floats` that are read or written soon. */
struct Coming {
    const float* data = nullptr;
    int64_t stride = 0, count = 0, floats = 0;
};

struct Ahead {
    Coming first, second;
};

}  // namespace edgeopt
