/* Weights as codes of four bits. */
#ifndef EDGEOPT_CODES_H
#define EDGEOPT_CODES_H

#include <stdint.h>

/* The weight at index i of a row; the first of a byte is in its low half. */
static inline int8_t eo_weight(const int8_t *table, const uint8_t *codes, int i) {
    return table[i % 2 ? codes[i / 2] >> 4 : codes[i / 2] & 15];
}

#endif
