#include "data/columns.h"

#include <string.h>

#define TILE_ROWS 64u
#define TILE_COLUMNS 64u

static void float_tile(float *restrict to, size_t stride, const float *restrict from,
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

typedef unsigned char byte_vector __attribute__((vector_size(16)));

#define BYTES 16u /* rows and columns that are turned at once */

/* Turns a square of bytes: four perfect shuffles of its rows. */
static void transpose_bytes(byte_vector square[BYTES])
{
    for (int round = 0; round < 4; round++) {
        byte_vector next[BYTES];
        for (size_t i = 0; i < BYTES / 2; i++) {
            byte_vector a = square[i], b = square[i + BYTES / 2];
            next[2 * i] = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6,
                                                  22, 7, 23);
            next[2 * i + 1] = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28,
                                                      13, 29, 14, 30, 15, 31);
        }
        memcpy(square, next, sizeof next);
    }
}

static const unsigned char *row_of(const unsigned char *bytes, size_t columns, const uint32_t *rows,
                                   size_t start, size_t i)
{
    return bytes + (rows ? rows[i] : start + i) * columns;
}

void columns_of_bytes(const unsigned char *bytes, size_t columns, const uint32_t *rows,
                      size_t start, size_t count, size_t first, size_t end, float scale, float *to,
                      size_t stride)
{
    for (size_t i = 0; i < count; i += BYTES)
        for (size_t c = first; c < end; c += BYTES) {
            size_t high = smaller(count - i, BYTES), wide = smaller(end - c, BYTES);
            byte_vector square[BYTES];
            memset(square, 0, sizeof square);
            for (size_t k = 0; k < high; k++)
                memcpy(&square[k], row_of(bytes, columns, rows, start, i + k) + c, wide);
            transpose_bytes(square);
            for (size_t k = 0; k < wide; k++) {
                float *out = to + (c + k) * stride + i;
                for (size_t l = 0; l < high; l++)
                    out[l] = (float)square[k][l] * scale;
            }
        }
}
