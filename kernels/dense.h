/* The dense baseline: everything of a step that is not a product of matrices. */
#ifndef RELIHT_KERNELS_DENSE_H
#define RELIHT_KERNELS_DENSE_H

#include "kernels/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Samples whose losses are summed together; fixes the order of sums. */
#define DENSE_SAMPLES 256u
/* Weights among which equal magnitudes are numbered together. */
#define DENSE_PIECE 4096u
/* Digits of the 31 bits of a magnitude, at most DENSE_BUCKETS values each. */
#define DENSE_DIGITS 3u
#define DENSE_BUCKETS 2048u
#define DENSE_FINITE UINT64_MAX

/* Adam as in dense_problem. */
typedef struct dense_rules {
    double learning_rate, mean_decay, square_decay, epsilon;
} dense_rules;

/* What the host is told, and what steps hand to one another. */
typedef struct dense_state {
    double loss_sum; /* over `samples`, those stepped on since the last report */
    uint64_t samples;
    uint64_t step;    /* of Adam, since the weights were last rewound */
    uint64_t skipped; /* steps since one's loss was not a finite float, that one included */
    uint64_t invalid; /* first weight that is not finite, or DENSE_FINITE */
    /* Of the step at hand: b1, 1 - b1, b2, 1 - b2, rate / (1 - b1^t), 1 / sqrt(1 - b2^t) */
    float mean_keep, mean_take, square_keep, square_take, size, root, epsilon;
} dense_state;

/* All matrices one after another. */
typedef struct device_dense {
    float *weight, *gradient, *mean, *square; /* [weights] */
    uint8_t *mask;                            /* [weights], 0 or 1 */
    uint64_t weights;
    dense_state *state;
    double *losses;           /* [samples / DENSE_SAMPLES, rounded up] */
    unsigned long long *bins; /* [DENSE_DIGITS, DENSE_BUCKETS] */
    uint64_t *ties;           /* [weights / DENSE_PIECE, rounded up] */
} device_dense;

/* mask <- 1. */
cudaError_t launch_dense_fill(cudaStream_t stream, device_dense self);

/* Entries offset .. of matrix number `matrix` [rows, columns] <- bound * u of their streams where
 * the mask is set, else 0. */
cudaError_t launch_dense_draw(cudaStream_t stream, device_dense self, uint64_t seed,
                              uint32_t matrix, uint64_t offset, uint64_t rows, uint64_t columns,
                              float bound);

/* residual [outputs, stride]: outputs on entry, dloss/doutput on return, 2 (y - t) / (n k) or, with
 * `entropy`, (softmax(y) - onehot) / n. target [outputs, stride], or NULL: the labels, one-hot. The
 * loss is added to the state and the numbers of the next step of Adam are set, unless the loss is
 * not a finite float or a step before was skipped: then this one is skipped too. */
cudaError_t launch_dense_loss(cudaStream_t stream, device_dense self, dense_rules rules,
                              float *residual, const float *target, const int32_t *labels,
                              uint32_t samples, uint32_t stride, uint32_t outputs, int entropy);

/* error <- [activation > 0] * error, `count` entries. */
cudaError_t launch_dense_backward(cudaStream_t stream, const float *activation, float *error,
                                  size_t count);

/* A step of Adam on all weights, unless it is skipped. */
cudaError_t launch_dense_adam(cudaStream_t stream, device_dense self);

/* The mask keeps the `keep` largest magnitudes of those it holds, ties by lower place; the other
 * weights become zero. bins are zero and state->invalid is DENSE_FINITE on entry; with a weight
 * that is not finite, invalid names the first and nothing changes. One cooperative launch. */
cudaError_t launch_dense_prune(cudaStream_t stream, device_dense self, uint64_t keep);

#ifdef __cplusplus
}
#endif

#endif
