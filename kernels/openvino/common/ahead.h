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

/* Of steps [first, last) of so many the share of what is ahead, so that memory is never waited for: brought to the
 * second cache. Heads that lie side by side have their rows too far apart for the processor to foresee them. Inlined, or
 * the compiler takes it for a function without effect. */
__attribute__((always_inline)) static inline void fetch(const Coming& rows, int64_t first, int64_t last,
                                                        int64_t whole) {
    const float* end = rows.data + rows.count * last / whole * rows.stride;
    for (const float* row = rows.data + rows.count * first / whole * rows.stride; row < end; row += rows.stride)
        for (int64_t i = 0; i < rows.floats; i += 16)
            __builtin_prefetch(row + i, 0, 2);
}

__attribute__((always_inline)) static inline void fetch(const Ahead& ahead, int64_t first, int64_t last,
                                                        int64_t whole) {
    fetch(ahead.first, first, last, whole);
    fetch(ahead.second, first, last, whole);
}

}  // namespace edgeopt
