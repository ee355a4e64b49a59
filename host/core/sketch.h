/* Count sketch (Charikar, Chen & Farach-Colton 2002) of a matrix that is never stored: every entry
 * (row, column) owns one counter and one sign in each of 4 rows of `width` counters,
 *     add:   T[r][h_r(i)] += sign_r(i) * delta,
 *     query: the mean of the two middle values of sign_r(i) * T[r][h_r(i)], r = 0 .. 3.
 *
 * Counters are 64-bit integers in units of 2^-exponent, one power of two for a whole run, so a sum
 * doesn't depend on the order of its terms. Hash family: multiply-shift of the vector key
 * (Dietzfelbinger 1996), (a row + b column + c) mod 2^64 >> 32 with random 64-bit a, b, c, is
 * strongly universal on 32-bit keys; a fixed bijection then breaks up its arithmetic progressions.
 * Its high bits choose the counter, its lowest the sign. */
#ifndef RELIHT_CORE_SKETCH_H
#define RELIHT_CORE_SKETCH_H

#include "core/context.h"
#include "core/sketch_hash.h"

#define SKETCH_WIDTH_MAXIMUM 0x7fffffffu

typedef struct sketch {
    size_t width;
    sketch_key key[SKETCH_ROWS];
    int64_t *counter; /* [SKETCH_ROWS, width] */
    bool scaled;      /* `exponent` has been chosen */
    int exponent;
} sketch;

/* The published width for `keep` of `entries`: keep * max(1, ln(entries / keep)), at least 1. */
size_t sketch_width(double entries, size_t keep);

/* The hashes of a seed. */
void sketch_draw_keys(uint64_t seed, sketch_key key[SKETCH_ROWS]);

reliht_status sketch_create(reliht_context *context, sketch *self, size_t width, uint64_t seed);
void sketch_destroy(reliht_context *context, sketch *self);

/* Chooses the exponent so that a magnitude of `largest` becomes 2^30 to 2^31 quanta: resolution far
 * below float precision, and room for 2^32 times as much. Nothing to measure by (zero) gives 30. */
void sketch_set_scale(sketch *self, float largest);

/* Factor from a value to quanta. */
static inline double sketch_factor(const sketch *self)
{
    return __builtin_ldexp(1.0, self->exponent);
}

/* Twice the importance of an entry in quanta, |a + b| of the two middle values. */
int64_t sketch_query(const sketch *self, uint32_t row, uint32_t column);

/* NUMERIC if a counter has grown beyond the limit. Called once after the updates of a step. */
reliht_status sketch_check(reliht_context *context, const sketch *self);

#endif
