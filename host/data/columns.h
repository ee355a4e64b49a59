/* Rows into columns, in tiles that stay in the first-level cache. */
#ifndef RELIHT_DATA_COLUMNS_H
#define RELIHT_DATA_COLUMNS_H

#include <stddef.h>

/* to[c * stride + r] = rows[r * columns + c] for `count` rows. `to` may point into the middle of
 * longer columns. On one thread: it runs between pieces of a file that one thread reads, and idle
 * threads of OpenMP that spin until the next piece cost three times what they would save. */
void columns_from_floats(const float *rows, size_t count, size_t columns, float *to, size_t stride);
void columns_from_bytes(const unsigned char *rows, size_t count, size_t columns, unsigned char *to,
                        size_t stride);

#endif
