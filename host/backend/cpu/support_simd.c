/* Inner loops of support.h. */
#include "backend/cpu/support.h"

#include "backend/cpu/lanes.h"

#define BLOCK_LANES (SAMPLE_BLOCK / LANES)

/* sum[0 .. 64) += sign * bit i * sum_k value[k] * x[column[k]][i] for one neuron. */
static inline void forward_neuron(const float *x, size_t stride, const uint32_t *column,
                                  const float *value, size_t nnz, uint64_t bits, float sign,
                                  double *sum)
{
    lanes z[BLOCK_LANES];
    for (size_t b = 0; b < BLOCK_LANES; b++)
        z[b] = lanes_zero();
    for (size_t k = 0; k < nnz; k++) {
        const float *from = x + column[k] * stride;
        lanes factor = lanes_all(sign * value[k]);
        for (size_t b = 0; b < BLOCK_LANES; b++)
            z[b] = lanes_fma(factor, lanes_load(from + b * LANES), z[b]);
    }
    for (size_t b = 0; b < BLOCK_LANES; b++)
        lanes_add_double(sum + b * LANES, lanes_masked(z[b], (uint16_t)(bits >> (b * LANES))));
}

/* A word of samples at a time: its inputs stay in the first cache while all neurons read them. */
static void forward(const float *x, size_t stride, const sparse *support, const float *value,
                    const uint64_t *patterns, size_t words, reliht_signs signs, double *sum)
{
    for (size_t w = 0; w < words; w++)
        for (size_t j = 0; j < support->live; j++) {
            uint64_t bits = patterns[j * (stride / SAMPLE_BLOCK) + w];
            size_t start = support->start[j];
            if (bits)
                forward_neuron(x + w * SAMPLE_BLOCK, stride, support->column + start, value + start,
                               support->start[j + 1] - start, bits,
                               neuron_sign(signs, support->row[j]), sum + w * SAMPLE_BLOCK);
        }
}

/* Columns at a time, so that a masked residual is used more than once. */
#define ADJOINT_COLUMNS 8u

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
        gradient[k] = lanes_total(sum[k]);
}

static void adjoint(const float *x, size_t stride, const uint32_t *column, size_t nnz,
                    const uint64_t *bits, size_t words, const float *r, double *gradient)
{
    size_t k = 0;
    for (; k + ADJOINT_COLUMNS <= nnz; k += ADJOINT_COLUMNS)
        adjoint_columns(x, stride, column + k, ADJOINT_COLUMNS, bits, words, r, gradient + k);
    for (; k + ADJOINT_COLUMNS / 4 <= nnz; k += ADJOINT_COLUMNS / 4)
        adjoint_columns(x, stride, column + k, ADJOINT_COLUMNS / 4, bits, words, r, gradient + k);
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
