/* Arrays of the .npy format, version 1 to 3 (numpy.lib.format): magic, version, length of the
 * header, a Python dictionary {'descr', 'fortran_order', 'shape'}, then the elements. */
#ifndef RELIHT_DATA_NPY_H
#define RELIHT_DATA_NPY_H

#include "core/file.h"

#define NPY_DIMENSIONS_MAXIMUM 32u

typedef enum npy_type { NPY_FLOAT32, NPY_FLOAT64, NPY_UINT8, NPY_INT32, NPY_INT64 } npy_type;

typedef struct npy_array {
    file_reader reader;
    npy_type type;
    bool fortran; /* first dimension fastest */
    size_t dimensions;
    size_t shape[NPY_DIMENSIONS_MAXIMUM];
    size_t rows, columns; /* shape[0], product of the others; both at least 1 */
    uint64_t data;        /* offset of the first element */
} npy_array;

/* Opens a file and reads its header: an array of one dimension or more without zeros, whose
 * elements fill the rest of the file exactly. On failure there is nothing to close.
 * Errors: IO, FORMAT, UNSUPPORTED. */
reliht_status npy_open(reliht_context *context, const char *path, npy_array *array);
void npy_close(npy_array *array);

bool npy_is_integer(const npy_array *array);
size_t npy_element_bytes(const npy_array *array);

/* Rows that make a good piece to read at a time. */
size_t npy_piece_rows(const npy_array *array);

/* Rows first .. first + count - 1 in C order whatever the order of the file, as they are in it
 * (bytes) or as floats; `bytes` has room for count * columns elements. */
reliht_status npy_read_bytes(npy_array *array, size_t first, size_t count, unsigned char *bytes);
reliht_status npy_read_floats(npy_array *array, size_t first, size_t count, unsigned char *bytes,
                              float *values);
/* The one column of an integer array. A value that no label can have is DATA and names the row. */
reliht_status npy_read_labels(npy_array *array, size_t first, size_t count, unsigned char *bytes,
                              int32_t *labels);

#endif
