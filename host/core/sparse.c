#include "core/sparse.h"

#include <math.h>
#include <string.h>

reliht_status sparse_create(reliht_context *context, sparse *matrix, size_t rows, size_t columns,
                            size_t capacity)
{
    *matrix = (sparse){.rows = rows, .columns = columns, .capacity = capacity};
    reliht_status status = RELIHT_OK;
#define ALLOCATE(field, count)                                                                     \
    if (!status)                                                                                   \
    status = gate_allocate(context, MEMORY_weights, count, sizeof *matrix->field, "sparse matrix", \
                           &matrix->field)
    ALLOCATE(row, capacity);
    ALLOCATE(start, capacity + 1);
    ALLOCATE(column, capacity);
    ALLOCATE(value, capacity);
#undef ALLOCATE
    if (status)
        sparse_destroy(context, matrix);
    return status;
}

void sparse_destroy(reliht_context *context, sparse *matrix)
{
    gate_release(context, matrix->row);
    gate_release(context, matrix->start);
    gate_release(context, matrix->column);
    gate_release(context, matrix->value);
    *matrix = (sparse){0};
}

void sparse_clear(sparse *matrix)
{
    matrix->nnz = matrix->live = 0;
}

void sparse_append(sparse *matrix, uint32_t row, uint32_t column, float value)
{
    if (!matrix->live || matrix->row[matrix->live - 1] != row) {
        matrix->row[matrix->live] = row;
        matrix->start[matrix->live++] = (uint32_t)matrix->nnz;
    }
    matrix->column[matrix->nnz] = column;
    matrix->value[matrix->nnz++] = value;
    matrix->start[matrix->live] = (uint32_t)matrix->nnz;
}

void sparse_copy(sparse *to, const sparse *from)
{
    to->rows = from->rows;
    to->columns = from->columns;
    to->nnz = from->nnz;
    to->live = from->live;
    memcpy(to->row, from->row, from->live * sizeof *to->row);
    if (from->live)
        memcpy(to->start, from->start, (from->live + 1) * sizeof *to->start);
    memcpy(to->column, from->column, from->nnz * sizeof *to->column);
    memcpy(to->value, from->value, from->nnz * sizeof *to->value);
}

size_t sparse_find_row(const sparse *matrix, uint32_t row)
{
    size_t low = 0, high = matrix->live;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (matrix->row[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low < matrix->live && matrix->row[low] == row ? low : matrix->live;
}

/* Walks the union of both supports in order: number of shared entries, squared difference. */
static size_t walk_union(const sparse *a, const sparse *b, double *squares)
{
    size_t common = 0, p = 0, q = 0, i = 0, k = 0;
    *squares = 0;
    while (i < a->nnz || k < b->nnz) {
        while (p < a->live && a->start[p + 1] <= i)
            p++;
        while (q < b->live && b->start[q + 1] <= k)
            q++;
        uint64_t left = i < a->nnz ? ((uint64_t)a->row[p] << 32 | a->column[i]) : UINT64_MAX;
        uint64_t right = k < b->nnz ? ((uint64_t)b->row[q] << 32 | b->column[k]) : UINT64_MAX;
        double difference = 0;
        common += left == right;
        bool take_left = left <= right, take_right = right <= left;
        if (take_left)
            difference += (double)a->value[i++];
        if (take_right)
            difference -= (double)b->value[k++];
        *squares += difference * difference;
    }
    return common;
}

double sparse_row_squares(const sparse *matrix, size_t place)
{
    double sum = 0;
    for (size_t k = matrix->start[place]; k < matrix->start[place + 1]; k++)
        sum += (double)matrix->value[k] * (double)matrix->value[k];
    return sum;
}

size_t sparse_common(const sparse *a, const sparse *b)
{
    double squares;
    return walk_union(a, b, &squares);
}

double sparse_distance(const sparse *a, const sparse *b)
{
    double squares;
    walk_union(a, b, &squares);
    return sqrt(squares);
}
