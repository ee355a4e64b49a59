/* Rows into columns: column[c * stride + first + r] = row[r * inputs + c], in tiles that stay in
 * the first-level cache. */
#ifndef RELIHT_DATA_COLUMNS_H
#define RELIHT_DATA_COLUMNS_H

#include "data/dataset.h"

/* Puts `count` rows [count, inputs] into samples first .. first + count - 1 of a float or byte data
 * set. Parallel over columns. */
void columns_from_floats(reliht_dataset *dataset, size_t first, size_t count, const float *rows);
void columns_from_bytes(reliht_dataset *dataset, size_t first, size_t count,
                        const unsigned char *rows);

#endif
