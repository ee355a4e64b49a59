/* Sparse matrix by rows (CSR), of which only the rows that hold entries are kept:
 * memory is O(entries), whatever `rows` is. Rows ascend; columns ascend within a row. */
#ifndef RELIHT_CORE_SPARSE_H
#define RELIHT_CORE_SPARSE_H

#include "core/context.h"

typedef struct sparse {
    size_t rows, columns; /* logical shape */
    size_t nnz, live;     /* entries; rows that hold any */
    size_t capacity;      /* entries (and rows) the arrays have room for */
    uint32_t *row;        /* [live] */
    uint32_t *start;      /* [live + 1], into column and value */
    uint32_t *column;     /* [nnz] */
    float *value;         /* [nnz] */
} sparse;

/* One entry outside a matrix: what the selector keeps and sorts. */
typedef struct entry {
    float value;
    uint32_t row, column;
} entry;

/* Empty matrix with room for `capacity` entries, counted as weights. On failure it is zeroed. */
reliht_status sparse_create(reliht_context *context, sparse *matrix, size_t rows, size_t columns,
                            size_t capacity);
void sparse_destroy(reliht_context *context, sparse *matrix);

/* Forgets all entries. */
void sparse_clear(sparse *matrix);

/* Appends an entry; entries come in ascending (row, column), capacity is the caller's care. */
void sparse_append(sparse *matrix, uint32_t row, uint32_t column, float value);

/* to <- from; capacity of `to` suffices (caller's care). */
void sparse_copy(sparse *to, const sparse *from);

/* Position in row[] of `row`, or live if it holds nothing. */
size_t sparse_find_row(const sparse *matrix, uint32_t row);

/* Squared length of the row at a place in row[], in double. */
double sparse_row_squares(const sparse *matrix, size_t place);

/* Number of (row, column) that are in both. */
size_t sparse_common(const sparse *a, const sparse *b);

/* Frobenius norm of a - b, in double. */
double sparse_distance(const sparse *a, const sparse *b);

#endif
