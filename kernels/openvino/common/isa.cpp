#include "isa.h"

#include <cstdlib>
#include <cstring>

namespace edgeopt {
namespace {

Isa best() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vpopcntdq"))
        return Isa::avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return Isa::avx2;
#endif
    return Isa::scalar;
}

}  // namespace

Isa isa() {
    static const Isa found = best();
    const char* forced = std::getenv("EDGEOPT_ISA");
    if (forced != nullptr && std::strcmp(forced, "scalar") == 0)
        return Isa::scalar;
    if (forced != nullptr && std::strcmp(forced, "avx2") == 0 && found == Isa::avx512)
        return Isa::avx2;
    return found;
}

}  // namespace edgeopt

extern "C" __attribute__((visibility("default"))) const char* edgeopt_isa() {
    const char* names[] = {"scalar", "avx2", "avx512"};
    return names[static_cast<int>(edgeopt::isa())];
}
