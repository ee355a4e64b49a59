#include "data/columns.h"

#define TILE_ROWS 64u
#define TILE_COLUMNS 64u

static void float_tile(float *restrict to, size_t stride, const float *restrict from,
                       size_t from_stride, size_t rows, size_t columns)
{
    for (size_t column = 0; column < columns; column++)
        for (size_t row = 0; row < rows; row++)
            to[column * stride + row] = from[row * from_stride + column];
}

static void byte_tile(unsigned char *restrict to, size_t stride, const unsigned char *restrict from,
                      size_t from_stride, size_t rows, size_t columns)
{
    for (size_t column = 0; column < columns; column++)
        for (size_t row = 0; row < rows; row++)
            to[column * stride + row] = from[row * from_stride + column];
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

void columns_from_floats(const float *rows, size_t count, size_t columns, float *to, size_t stride)
{
    for (size_t column = 0; column < columns; column += TILE_COLUMNS)
        for (size_t row = 0; row < count; row += TILE_ROWS)
            float_tile(to + column * stride + row, stride, rows + row * columns + column, columns,
                       smaller(count - row, TILE_ROWS), smaller(columns - column, TILE_COLUMNS));
}

void columns_from_bytes(const unsigned char *rows, size_t count, size_t columns, unsigned char *to,
                        size_t stride)
{
    for (size_t column = 0; column < columns; column += TILE_COLUMNS)
        for (size_t row = 0; row < count; row += TILE_ROWS)
            byte_tile(to + column * stride + row, stride, rows + row * columns + column, columns,
                      smaller(count - row, TILE_ROWS), smaller(columns - column, TILE_COLUMNS));
}
