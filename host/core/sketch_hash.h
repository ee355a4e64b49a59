/* The count sketch entry by entry (see sketch.h): which counter an entry owns in each row, with
 * which sign, how updates become integers and how counters become an importance. Both backends
 * compile this, so that their sketches agree to the bit. */
#ifndef RELIHT_CORE_SKETCH_HASH_H
#define RELIHT_CORE_SKETCH_HASH_H

#include "core/inline.h"

#include <stddef.h>
#include <stdint.h>

#define SKETCH_ROWS 4

/* Counters stay below this in magnitude, and so do the sums of one step; together they can't
 * overflow. One quantum stays below SKETCH_QUANTUM_LIMIT (see sketch_quantum). */
#define SKETCH_LIMIT (INT64_C(1) << 62)
#define SKETCH_QUANTUM_LIMIT 0x1p51

typedef struct sketch_key {
    uint64_t row, column, offset;
} sketch_key;

RELIHT_INLINE uint32_t sketch_hash(const sketch_key *key, uint32_t row, uint32_t column)
{
    uint64_t sum = key->row * row + key->column * column + key->offset;
    uint32_t word = (uint32_t)(sum >> 32);
    return (word ^ word >> 15) * 0x2c1b3c6du;
}

RELIHT_INLINE size_t sketch_slot(uint32_t hash, size_t width)
{
    return (size_t)(((uint64_t)hash * width) >> 32);
}

/* -1 or 1. */
RELIHT_INLINE int64_t sketch_sign(uint32_t hash)
{
    return 1 - 2 * (int64_t)(hash & 1);
}

/* Nearest integer, ties to even, for |value| < 2^51: the low bits of value + 1.5 * 2^52. */
RELIHT_INLINE int64_t sketch_quantum(double value)
{
    union {
        double value;
        int64_t bits;
    } pun;
    pun.value = value + 0x1.8p52;
    return pun.bits - INT64_C(0x4338000000000000);
}

/* Twice the importance, |a + b| of the two middle values of the four. */
RELIHT_INLINE int64_t sketch_middle(const int64_t value[SKETCH_ROWS])
{
    /* The smallest is the lesser of the two lesser ones of the pairs, and so on. */
    int64_t low = value[0] < value[1] ? value[0] : value[1];
    int64_t high = value[0] < value[1] ? value[1] : value[0];
    int64_t low2 = value[2] < value[3] ? value[2] : value[3];
    int64_t high2 = value[2] < value[3] ? value[3] : value[2];
    int64_t sum = (low > low2 ? low : low2) + (high < high2 ? high : high2);
    return sum < 0 ? -sum : sum;
}

#endif
