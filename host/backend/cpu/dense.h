/* The dense baseline on the CPU: what its files share. See dense_problem in backend.h. */
#ifndef RELIHT_BACKEND_CPU_DENSE_H
#define RELIHT_BACKEND_CPU_DENSE_H

#include "backend/cpu/cpu.h"
#include "backend/cpu/factored_kernels.h"

/* Constants of one step of Adam (see backend.h). */
typedef struct adam_step {
    float mean_keep, mean_take;     /* b1, 1 - b1 */
    float square_keep, square_take; /* b2, 1 - b2 */
    float size;                     /* rate / (1 - b1^t) */
    float root;                     /* 1 / sqrt(1 - b2^t) */
    float epsilon;
} adam_step;

/* Loops over weights, in every instruction set, with the same bits in each. */
typedef struct dense_kernels {
    void (*adam)(const adam_step *step, size_t count, const uint8_t *mask, const float *gradient,
                 float *weight, float *mean, float *square);
    /* weight[0 .. count) <- bound * u of the stream (seed, RNG_DENSE, row) where the mask is set,
     * else 0. */
    void (*draw)(uint64_t seed, uint64_t row, size_t count, float bound, const uint8_t *mask,
                 float *weight);
} dense_kernels;

ISA_DECLARE(dense_kernels, dense_kernels);

/* One matrix of weights and how the work on its gradient is cut. The cut depends on shapes alone,
 * so that sums have the same order for any number of threads. */
typedef struct dense_matrix {
    size_t rows, columns;
    size_t offset; /* of its entries in the arrays of all weights */
    size_t row_tiles, column_tiles;
    size_t pieces;         /* at most so many parts of the samples have a sum of their own */
    size_t partial_offset; /* of the sums of pieces 1, 2, .. in `partial` */
} dense_matrix;

struct dense_network {
    cpu_backend *backend;
    const dense_kernels *kernels;
    const factored_kernels *elements; /* relu and exp */
    dense_problem problem;
    dense_matrix matrix[MODEL_LAYERS_MAXIMUM + 1];
    size_t weights;                           /* in all matrices */
    size_t kept;                              /* in the mask */
    float *weight, *gradient, *mean, *square; /* [weights] */
    uint8_t *mask;                            /* [weights], 0 or 1 */
    float *partial;                           /* gradients of pieces but the first */
    size_t stride;                            /* of the arrays below: padded samples */
    float *activation[MODEL_LAYERS_MAXIMUM];  /* [hidden + 1, stride]; the last row is 1 */
    float *error[MODEL_LAYERS_MAXIMUM];       /* [hidden, stride], dloss / d(input of relu) */
    float *residual;                          /* [outputs, stride], outputs, then dloss / doutput */
    float *row;                               /* [stride] */
    double *losses;                           /* [blocks of samples] */
    uint64_t step;                            /* since the weights were last rewound */
    double loss_sum;                          /* over loss_samples */
    size_t loss_samples;
};

static inline reliht_context *dense_context(const dense_network *self)
{
    return self->backend->base.context;
}

/* NUMERIC, naming entry `at` of the arrays of all weights. */
reliht_status dense_not_finite(const dense_network *self, size_t at);

#endif
