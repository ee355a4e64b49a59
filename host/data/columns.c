#include "data/columns.h"

#define TILE_ROWS 64u
#define TILE_COLUMNS 64u
/* Fewer values than this are not worth waking other threads. */
#define PARALLEL_VALUES 65536u

static void float_tile(float *restrict to, size_t stride, const float *restrict from, size_t inputs,
                       size_t rows, size_t columns)
{
    for (size_t column = 0; column < columns; column++)
        for (size_t row = 0; row < rows; row++)
            to[column * stride + row] = from[row * inputs + column];
}

static void byte_tile(unsigned char *restrict to, size_t stride, const unsigned char *restrict from,
                      size_t inputs, size_t rows, size_t columns)
{
    for (size_t column = 0; column < columns; column++)
        for (size_t row = 0; row < rows; row++)
            to[column * stride + row] = from[row * inputs + column];
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

void columns_from_floats(reliht_dataset *dataset, size_t first, size_t count, const float *rows)
{
    const size_t inputs = dataset->inputs, stride = dataset->stride;
    float *x = dataset->x;
#pragma omp parallel for num_threads(dataset->context->threads) if (count * inputs > \
                                                                    PARALLEL_VALUES)
    for (size_t column = 0; column < inputs; column += TILE_COLUMNS)
        for (size_t row = 0; row < count; row += TILE_ROWS)
            float_tile(x + column * stride + first + row, stride, rows + row * inputs + column,
                       inputs, smaller(count - row, TILE_ROWS),
                       smaller(inputs - column, TILE_COLUMNS));
}

void columns_from_bytes(reliht_dataset *dataset, size_t first, size_t count,
                        const unsigned char *rows)
{
    const size_t inputs = dataset->inputs, stride = dataset->stride;
    unsigned char *x = dataset->x;
#pragma omp parallel for num_threads(dataset->context->threads) if (count * inputs > \
                                                                    PARALLEL_VALUES)
    for (size_t column = 0; column < inputs; column += TILE_COLUMNS)
        for (size_t row = 0; row < count; row += TILE_ROWS)
            byte_tile(x + column * stride + first + row, stride, rows + row * inputs + column,
                      inputs, smaller(count - row, TILE_ROWS),
                      smaller(inputs - column, TILE_COLUMNS));
}
