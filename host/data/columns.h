/* Rows into columns, in tiles that stay in the first-level cache. */
#ifndef RELIHT_DATA_COLUMNS_H
#define RELIHT_DATA_COLUMNS_H

#include <stddef.h>
#include <stdint.h>

/* to[c * stride + r] = rows[r * columns + c] for `count` rows. `to` may point into the middle of
 * longer columns. Parallel over columns. */
void columns_from_floats(uint32_t threads, const float *rows, size_t count, size_t columns,
                         float *to, size_t stride);
void columns_from_bytes(uint32_t threads, const unsigned char *rows, size_t count, size_t columns,
                        unsigned char *to, size_t stride);

#endif
