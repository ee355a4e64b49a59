/* Rows into columns. */
#ifndef RELIHT_DATA_COLUMNS_H
#define RELIHT_DATA_COLUMNS_H

#include <stddef.h>
#include <stdint.h>

/* to[c * stride + r] = rows[r * columns + c] for `count` rows. `to` may point into the middle of
 * longer columns. On one thread: it runs between pieces of a file that one thread reads, and idle
 * threads of OpenMP that spin until the next piece cost three times what they would save. */
void columns_from_floats(const float *rows, size_t count, size_t columns, float *to, size_t stride);

/* to[c * stride + i] = (float)byte c of row i * scale, for the columns `first` .. `end` - 1 of
 * `count` rows. Row i is rows[i] of `bytes` [.., columns], or row start + i without `rows`. On the
 * calling thread. */
void columns_of_bytes(const unsigned char *bytes, size_t columns, const uint32_t *rows,
                      size_t start, size_t count, size_t first, size_t end, float scale, float *to,
                      size_t stride);

#endif
