/* Activation patterns on the device: bit i % 32 of word i / 32 says whether sample i activates a
 * neuron, 1[x_i . h_j > 0]. The sum runs over the nonzeros of h_j by ascending input, by fma from
 * zero: the same bits as on the CPU. */
#ifndef RELIHT_KERNELS_PATTERNS_H
#define RELIHT_KERNELS_PATTERNS_H

#include "kernels/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where the generators h_j come from. */
typedef struct device_generators {
    uint32_t hidden, inputs; /* inputs with the bias input */
    uint32_t use_weights;    /* h_j := w_j; otherwise given or drawn */
    uint32_t gaussian;       /* drawn ones: dense Gaussian, otherwise sparse */
    uint64_t seed;
    device_sparse weights; /* with use_weights: the generators of all neurons */
    device_sparse given;   /* generators of neurons below given_rows */
    uint32_t given_rows;
} device_generators;

/* words [count, stride / 32] <- patterns of neurons[0 .. count), for tests. Arrays and `batch` in
 * device memory. */
cudaError_t launch_patterns(cudaStream_t stream, device_generators generators,
                            const device_batch *batch, const uint32_t *neurons, uint32_t count,
                            uint32_t *words);

/* For tests of the random numbers: blocks [count, 4] of the stream (seed, purpose, row), then the
 * normals made of them; columns [rows, 3] and values [rows, 3] of the sparse generators of neurons
 * 0 .. rows - 1 with counts [rows]. */
cudaError_t launch_random(cudaStream_t stream, uint64_t seed, uint32_t purpose, uint64_t row,
                          uint32_t count, uint32_t *words, float *normals);
cudaError_t launch_drawn(cudaStream_t stream, uint64_t seed, uint32_t rows, uint32_t inputs,
                         uint32_t *counts, uint32_t *columns, float *values);

#ifdef __cplusplus
}
#endif

#endif
