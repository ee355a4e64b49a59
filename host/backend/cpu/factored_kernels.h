/* Inner loops of the factored model, one table per instruction set. Sums over samples run in 16
 * lanes (sample i in lane i mod 16), combined as lane l + lane l+8, +4, +2, +1, on every
 * instruction set and wherever a neuron stands in a tile: the bits are the same everywhere.
 * `samples` is a multiple of SAMPLE_BLOCK throughout; what lies past the batch is zero. */
#ifndef RELIHT_BACKEND_CPU_FACTORED_KERNELS_H
#define RELIHT_BACKEND_CPU_FACTORED_KERNELS_H

#include "backend/cpu/isa.h"
#include "core/sketch.h"
#include "data/dataset.h"

/* A row of weights: values at columns[0 .. count), or at 0 .. count - 1 for columns == NULL. */
typedef struct row_view {
    size_t count;
    const uint32_t *column;
    const float *value;
} row_view;

typedef struct factored_kernels {
    /* out[i] = sum_c row_c x[c * stride + i], by fma in the order of the row. */
    void (*combine)(const row_view *row, const float *x, size_t stride, size_t samples, float *out);
    /* As combine for `count` dense rows of equal length. */
    void (*combine_dense)(const float *const *rows, size_t count, size_t inputs, const float *x,
                          size_t stride, size_t samples, float *const *out);
    /* out[column_c * stride + i] += row_c * activation[i], by fma. */
    void (*accumulate)(const row_view *row, const float *activation, size_t samples, float *out,
                       size_t stride);
    /* value[i] <- 0 where pattern[i] isn't > 0; pattern may be value. */
    void (*mask)(const float *pattern, float *value, size_t samples);
    /* sums[l][r] += sum_i left[l][i] * right[column_r * stride + i], column_r = columns[r] or r. */
    void (*dots)(const float *const *left, size_t lefts, const float *right, size_t stride,
                 const uint32_t *columns, size_t rights, size_t samples, float *const *sums);
    /* out[i] = exp(x[i]) for x <= 0, to 2 units in the last place; 0 below -87. */
    void (*exponential)(const float *x, size_t count, float *out);
    /* Adds value[i] * factor at (row, columns[i] or i) to one row of counters. Returns the sum of
     * the magnitudes in quanta, infinite if any is not below SKETCH_QUANTUM_LIMIT. */
    double (*sketch_add)(const sketch_key *key, int64_t *counter, size_t width, uint32_t row,
                         const uint32_t *columns, size_t count, const float *value, double factor);
    /* out[i] = sketch_query(row, columns[i] or i). */
    void (*sketch_query)(const sketch *from, uint32_t row, const uint32_t *columns, size_t count,
                         int64_t *out);
} factored_kernels;

ISA_DECLARE(factored_kernels, factored_kernels);

#endif
