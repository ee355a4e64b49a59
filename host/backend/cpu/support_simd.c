/* Inner loops of support.h. */
#include "backend/cpu/support.h"

#include "backend/cpu/lanes.h"

#include <string.h>

#define BLOCK_LANES (SAMPLE_BLOCK / LANES)

/* sum[0 .. 64) += sign * bit i * sum_k value[k] * x[column[k]][i] for one neuron. */
static inline void forward_neuron(const float *x, size_t stride, const uint32_t *column,
                                  const float *value, size_t nnz, uint64_t bits, float sign,
                                  double_lanes *sum)
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
        sum[b] = double_lanes_add(sum[b], lanes_masked(z[b], (uint16_t)(bits >> (b * LANES))));
}

/* A word of samples at a time: its inputs stay in the first cache while all neurons read them, and
 * its sums in registers. */
static void forward(const float *x, size_t stride, const sparse *support, const float *value,
                    const uint64_t *patterns, size_t words, reliht_signs signs, double *sum)
{
    for (size_t w = 0; w < words; w++) {
        double_lanes total[BLOCK_LANES];
        for (size_t b = 0; b < BLOCK_LANES; b++)
            total[b] = double_lanes_load(sum + w * SAMPLE_BLOCK + b * LANES);
        for (size_t j = 0; j < support->live; j++) {
            uint64_t bits = patterns[j * (stride / SAMPLE_BLOCK) + w];
            size_t start = support->start[j];
            if (bits)
                forward_neuron(x + w * SAMPLE_BLOCK, stride, support->column + start, value + start,
                               support->start[j + 1] - start, bits,
                               neuron_sign(signs, support->row[j]), total);
        }
        for (size_t b = 0; b < BLOCK_LANES; b++)
            double_lanes_store(sum + w * SAMPLE_BLOCK + b * LANES, total[b]);
    }
}

/* Entries of the adjoint that are summed side by side: as many chains of additions as hide the
 * latency of one. */
#define ADJOINT_ENTRIES 8u

static inline void adjoint_entries(const float *const *x, const uint64_t *const *bits, size_t words,
                                   const float *r, double *total)
{
    lanes sum[ADJOINT_ENTRIES];
    for (size_t k = 0; k < ADJOINT_ENTRIES; k++)
        sum[k] = lanes_zero();
    for (size_t w = 0; w < words; w++)
        for (size_t b = 0; b < BLOCK_LANES; b++) {
            size_t at = w * SAMPLE_BLOCK + b * LANES;
            lanes residual = lanes_load(r + at);
            for (size_t k = 0; k < ADJOINT_ENTRIES; k++)
                sum[k] = lanes_fma_masked(residual, lanes_load(x[k] + at), sum[k],
                                          (uint16_t)(bits[k][w] >> (b * LANES)));
        }
    for (size_t k = 0; k < ADJOINT_ENTRIES; k++)
        total[k] = lanes_total(sum[k]);
}

static void adjoint(const float *x, size_t stride, const sparse *support, const uint64_t *patterns,
                    size_t words, const float *r, double *sum)
{
    for (size_t k = 0, j = 0; k < support->nnz; k += ADJOINT_ENTRIES) {
        const float *input[ADJOINT_ENTRIES];
        const uint64_t *bits[ADJOINT_ENTRIES];
        double total[ADJOINT_ENTRIES];
        size_t count = support->nnz - k < ADJOINT_ENTRIES ? support->nnz - k : ADJOINT_ENTRIES;
        for (size_t i = 0; i < ADJOINT_ENTRIES; i++) {
            size_t at = i < count ? k + i : k + count - 1;
            while (at >= support->start[j + 1])
                j++;
            input[i] = x + support->column[at] * stride;
            bits[i] = patterns + j * (stride / SAMPLE_BLOCK);
        }
        adjoint_entries(input, bits, words, r, total);
        memcpy(sum + k, total, count * sizeof *sum);
    }
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
