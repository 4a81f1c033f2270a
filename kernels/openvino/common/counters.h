/* A tile of counters in registers, rows by columns of vectors; W counts bits, as in bits_avx2.h. */
#pragma once

#include "product.h"

namespace edgeopt {

template <class W, int R, int C>
void clear(typename W::Words (&counts)[R][C]) {
    EDGEOPT_UNROLL
    for (int i = 0; i < R; i++)
        EDGEOPT_UNROLL
        for (int j = 0; j < C; j++)
            counts[i][j] = W::zero();
}

/* Add the counters of a chunk to those of 32 bits, and clear them. */
template <class W, int R, int C>
void flush(typename W::Words (&total)[R][C], typename W::Words (&part)[R][C]) {
    EDGEOPT_UNROLL
    for (int i = 0; i < R; i++)
        EDGEOPT_UNROLL
        for (int j = 0; j < C; j++)
            total[i][j] = W::add_counts(total[i][j], part[i][j]);
    clear<W>(part);
}

}  // namespace edgeopt
