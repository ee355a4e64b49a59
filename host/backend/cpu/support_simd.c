/* Inner loops of support.h. */
#include "backend/cpu/support.h"

#include "backend/cpu/lanes.h"

#define BLOCK_LANES (SAMPLE_BLOCK / LANES)

static void forward(const float *x, size_t stride, const uint32_t *column, const float *value,
                    size_t nnz, const uint64_t *bits, size_t words, float sign, double *sum)
{
    for (size_t w = 0; w < words; w++) {
        if (!bits[w])
            continue;
        lanes z[BLOCK_LANES];
        for (size_t b = 0; b < BLOCK_LANES; b++)
            z[b] = lanes_zero();
        for (size_t k = 0; k < nnz; k++) {
            const float *from = x + column[k] * stride + w * SAMPLE_BLOCK;
            lanes factor = lanes_all(sign * value[k]);
            for (size_t b = 0; b < BLOCK_LANES; b++)
                z[b] = lanes_fma(factor, lanes_load(from + b * LANES), z[b]);
        }
        for (size_t b = 0; b < BLOCK_LANES; b++)
            lanes_add_double(sum + w * SAMPLE_BLOCK + b * LANES,
                             lanes_masked(z[b], (uint16_t)(bits[w] >> (b * LANES))));
    }
}

/* Columns at a time, so that a masked residual is used more than once. */
#define ADJOINT_COLUMNS 4u

static inline void adjoint_columns(const float *x, size_t stride, const uint32_t *column,
                                   size_t columns, const uint64_t *bits, size_t words,
                                   const float *r, double *gradient)
{
    lanes sum[ADJOINT_COLUMNS];
    for (size_t k = 0; k < columns; k++)
        sum[k] = lanes_zero();
    for (size_t w = 0; w < words; w++) {
        if (!bits[w])
            continue;
        for (size_t b = 0; b < BLOCK_LANES; b++) {
            size_t at = w * SAMPLE_BLOCK + b * LANES;
            lanes masked = lanes_masked(lanes_load(r + at), (uint16_t)(bits[w] >> (b * LANES)));
            for (size_t k = 0; k < columns; k++)
                sum[k] = lanes_fma(masked, lanes_load(x + column[k] * stride + at), sum[k]);
        }
    }
    for (size_t k = 0; k < columns; k++)
        gradient[k] += lanes_total(sum[k]);
}

static void adjoint(const float *x, size_t stride, const uint32_t *column, size_t nnz,
                    const uint64_t *bits, size_t words, const float *r, double *gradient)
{
    size_t k = 0;
    for (; k + ADJOINT_COLUMNS <= nnz; k += ADJOINT_COLUMNS)
        adjoint_columns(x, stride, column + k, ADJOINT_COLUMNS, bits, words, r, gradient + k);
    for (; k < nnz; k++)
        adjoint_columns(x, stride, column + k, 1, bits, words, r, gradient + k);
}

static double squares(const float *a, size_t count)
{
    lanes sum = lanes_zero();
    for (size_t i = 0; i < count; i += LANES) {
        lanes value = lanes_load(a + i);
        sum = lanes_fma(value, value, sum);
    }
    return lanes_total(sum);
}

static void descend(float *r, const float *q, float step, size_t count)
{
    lanes factor = lanes_all(-step);
    for (size_t i = 0; i < count; i += LANES)
        lanes_store(r + i, lanes_fma(factor, lanes_load(q + i), lanes_load(r + i)));
}

const support_kernels ISA_NAME(support_table) = {forward, adjoint, squares, descend};
