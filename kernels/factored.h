/* One step of the factored model on the device, yhat = relu(X W1^T) W2, as one cooperative launch.
 * What a step computes: host/backend/cpu/factored.h; how the kernel does it: factored.cu.
 *
 * Both matrices are one list of entries: row j of W1 is row j of the list, row j of W2 is row
 * hidden + j. */
#ifndef RELIHT_KERNELS_FACTORED_H
#define RELIHT_KERNELS_FACTORED_H

#include "core/sketch_hash.h"
#include "kernels/select.h"
#include "kernels/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The weights and what the automatic step keeps for each of them. */
typedef struct device_factored_weights {
    device_sparse list;
    float *mean, *root; /* [nnz] running mean of the gradient, root of that of its square */
    uint32_t *age;      /* [nnz] steps in those means */
} device_factored_weights;

/* The published greedy choice (factored_greedy.cuh). Entries are numbered row by row, hidden
 * weights first. */
typedef struct device_greedy {
    float *counter; /* [SKETCH_ROWS, width] */
    uint64_t *index, *merged_index;
    float *value, *merged_value; /* [nnz + longest row] as the indices */
    double *importance;
    float *stepped, *update; /* [longest row] */
    const uint32_t *hashes;  /* [entries, SKETCH_ROWS] recorded ones, or NULL */
    const int8_t *signs;
} device_greedy;

enum { FACTORED_SKETCH, FACTORED_MAGNITUDE, FACTORED_GREEDY };

/* What went wrong in a step, if anything. The weights are then those before the step. */
enum {
    FACTORED_FINE,
    FACTORED_LOSS,              /* the loss is not finite */
    FACTORED_GRADIENT,          /* nor is the gradient of state.invalid */
    FACTORED_INFINITE,          /* the importance of state.invalid is infinite */
    FACTORED_NOT_A_NUMBER,      /* ... or not a number */
    FACTORED_SATURATED,         /* the updates of this step are too large for the sketch */
    FACTORED_COUNTER_SATURATED, /* a counter of the sketch has grown too large */
};

/* What steps hand on to one another, and to the host. */
typedef struct factored_state {
    double mean_square[2]; /* of the support's gradient, W1 and W2, smoothed; 0: none yet */
    double factor;         /* from updates to quanta of the sketch */
    uint32_t smoothed;     /* mean_square has seen a support */
    uint32_t scaled;       /* `factor` has been chosen */
    uint32_t draws;        /* steps that drew */
    uint32_t failure;
    uint64_t invalid;   /* neuron << 33 | output << 32 | column of the lowest such entry */
    uint64_t quanta[2]; /* magnitudes entered by the step: high and low 32 bits */
    uint32_t overflow;  /* OVERFLOW_... */
    uint32_t actives;
    uint32_t largest[2]; /* bits of the largest gradient of a first step, W1 and W2 */
    /* the report */
    double loss, step_size;
    uint32_t nnz;
    uint64_t choice_nanoseconds;
} factored_state;

/* An update, or a counter, is too large for the sketch. */
enum { OVERFLOW_UPDATE = 1, OVERFLOW_COUNTER = 2 };

/* What differs from step to step without being another kind of step. */
typedef struct factored_request {
    double step_scale;
} factored_request;

/* Samples are summed in so many parts at most, each by one warp. */
#define FACTORED_SPLITS 8u

/* A model in device memory. Arrays of neurons hold one wave of `wave_neurons` or one block of
 * `block_neurons`, whatever `hidden` is. */
typedef struct device_factored {
    uint32_t hidden, inputs, outputs, nnz;
    uint32_t block_neurons, wave_neurons; /* a block holds whole waves but for its last */
    uint32_t drawn_neurons;               /* neurons 0 .. take part in a step that draws */
    uint32_t classes;                     /* cross-entropy, else squared error */
    uint32_t importance;
    uint32_t automatic; /* Adam on the support, else the published step */
    uint32_t gaussian;  /* drawn generators, else sparse ones */
    uint64_t seed;
    double rate;                     /* of the step before the schedule's factor */
    double hidden_unit, output_unit; /* what a weight of 1 is in this problem */
    double output_weight;            /* how much more an output's update counts in the sketch */
    double mean_decay, square_decay, scale_decay;
    uint32_t corrections;
    const double *correction;                 /* [2, corrections] of the running means, by age */
    float hidden_width, output_width;         /* half-widths of the draws of empty rows */
    const float *first_hidden, *first_output; /* given draws, or NULL */
    device_sparse given; /* generators of neurons 0 .. given_rows - 1; absent row: zero */
    uint32_t given_rows;

    device_factored_weights now, next;
    device_sparse chosen; /* what the choice found, then of use as scratch */
    uint32_t *row_count;  /* [nnz] entries of each row that stay */
    uint32_t *row_source; /* [nnz] number of the row that each new row was */
    double *row_square;   /* [nnz] sum of squares of a row's gradient */
    float *partial;       /* [FACTORED_SPLITS, nnz] gradient on the support */

    sketch_key key[SKETCH_ROWS];
    uint32_t width;
    int64_t *counter; /* [SKETCH_ROWS, width] */
    device_greedy greedy;
    device_select select;

    float *residual;       /* [outputs, stride] */
    double *losses;        /* [stride / 32] */
    uint32_t *active;      /* [actives] inputs that aren't zero in the whole batch */
    uint32_t *active_flag; /* [inputs] */
    uint32_t *patterns;    /* [wave_neurons, stride / 32] bits */
    float *output_partial; /* [FACTORED_SPLITS, wave_neurons, outputs] gradient of W2 */
    float *block;          /* [block_neurons, inputs + outputs] gradients of all entries */
    uint32_t *block_flags; /* [block_neurons] which gradients a neuron can have */
    factored_state *state;
    const factored_request *request;
} device_factored;

/* Kinds of steps, bits of `kind`. */
#define FACTORED_DRAWN 1u /* patterns from drawn or given generators, else from the weights */
#define FACTORED_DRAW 2u  /* empty neurons take part with drawn weights */
#define FACTORED_KEEP 4u  /* no choice of the support */
/* No step: the loss, whatever it is, and the gradient on the weights, as the values of next. */
#define FACTORED_EVALUATE 8u

/* One step on the batch `view` (in device memory), or an evaluation. */
cudaError_t launch_factored_step(cudaStream_t stream, const device_factored *self,
                                 const device_batch *view, uint32_t kind);

/* chosen <- the `count` best entries without a weight, after an evaluation of the same batch: see
 * factored_candidates in backend.h. Not for the greedy choice. */
cudaError_t launch_factored_candidates(cudaStream_t stream, const device_factored *self,
                                       const device_batch *view, uint32_t count);

#ifdef __cplusplus
}
#endif

#endif
