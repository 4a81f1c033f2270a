/* Memory of the calling thread that is kept from one inference to the next. */
#pragma once

#include <cstdint>
#include <vector>

namespace edgeopt {

/* Return that many floats at a 64th byte: a vector that crosses a cache line costs two accesses. */
inline float* aligned(std::vector<float>& memory, int64_t size) {
    if (static_cast<int64_t>(memory.size()) < size + 16)
        memory.resize(size + 16);
    const auto address = reinterpret_cast<uintptr_t>(memory.data());
    return reinterpret_cast<float*>((address + 63) / 64 * 64);
}

}  // namespace edgeopt
