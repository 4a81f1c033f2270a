/* Loops over OpenVINO's own threads: inside evaluate() the current arena is that of the inference's stream. */
#pragma once

#include <cstdint>

#include "tbb/parallel_for.h"
#include "tbb/task_arena.h"

namespace edgeopt {

inline int64_t threads() { return tbb::this_task_arena::max_concurrency(); }

template <class Body>
void parallel_for(int64_t count, const Body& body) {
    if (count == 1 || threads() == 1) {
        for (int64_t index = 0; index < count; index++)
            body(index);
        return;
    }
    tbb::parallel_for(int64_t(0), count, body, tbb::static_partitioner());
}

}  // namespace edgeopt
