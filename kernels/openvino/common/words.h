/* Bits in words of 32. */
#pragma once

#include <cstdint>

namespace edgeopt {

/* Words that hold so many bits. */
inline int64_t words(int64_t bits) { return (bits + 31) / 32; }

inline int32_t* as_words(float* memory) { return reinterpret_cast<int32_t*>(memory); }

}  // namespace edgeopt
