/* The factored model on the CPU, shared by its files: what a step sees of a neuron, gradients of
 * all entries block by block, and the choice of the support.
 *
 *     yhat = sum_j a_j w2_j^T,  a_j = D_j * (X w1_j),  R = d(loss)/d(yhat) [n, k]
 *     e_j = D_j * (R w2_j),  g1_j = X^T e_j,  g2_j = R^T a_j
 *
 * Entries are named (row, column): row j of W1, row hidden + j for W2. */
#ifndef RELIHT_BACKEND_CPU_FACTORED_H
#define RELIHT_BACKEND_CPU_FACTORED_H

#include "backend/cpu/cpu.h"
#include "backend/cpu/factored_kernels.h"
#include "backend/factored_rules.h"
#include "core/generator.h"
#include "core/selector.h"

#define TILE_NEURONS 16     /* neurons whose signals are held at a time */
#define CHUNK_SAMPLES 512   /* samples of those signals; fixes the order of sums over samples */
#define FORWARD_SAMPLES 128 /* samples of a piece of the forward pass */

/* The weights and what the automatic step keeps for each of them, hidden weights first. */
typedef struct factored_weights {
    sparse hidden, output;
    float *mean, *root; /* [nnz] running mean of the gradient, root of that of its square (which
                           would underflow for gradients below 1e-22) */
    uint32_t *age;      /* [nnz] steps in those means */
} factored_weights;

typedef struct greedy greedy;

struct factored {
    cpu_backend *backend;
    const factored_kernels *kernels;
    factored_problem problem;
    factored_weights now, next;
    float *gradient; /* [2 nnz] on the support of `next`: hidden, from nnz on output */
    sketch sketch;
    selector best;
    greedy *greedy;        /* published importance only */
    float *residual;       /* [outputs, stride] */
    double *losses;        /* [pieces of the forward pass] */
    uint32_t *active;      /* [actives] inputs that aren't zero in the whole batch */
    int32_t *active_place; /* [inputs] in `active`, or -1 */
    size_t actives;
    size_t block_neurons;       /* neurons of a block of gradients */
    size_t row_length;          /* floats of one neuron's row in it: [actives | outputs] */
    float *block;               /* [block_neurons, row_length] */
    uint8_t *block_flags;       /* [block_neurons] HAS_HIDDEN | HAS_OUTPUT */
    uint32_t *support_neurons;  /* [2 nnz] rows of the support: W1, W2 (UINT32_MAX: none) */
    struct thread_space *space; /* [threads] */
    double *correction;         /* [2, CORRECTIONS] of the running means */
    double mean_square[2];      /* of the support's gradient, W1 and W2, smoothed; 0: none yet */
    bool smoothed;              /* mean_square has seen a support */
    uint32_t draws;             /* steps that drew */
    factored_report report;
};

enum { HAS_HIDDEN = 1, HAS_OUTPUT = 2 }; /* gradients that a step can give a neuron */

/* What a thread works in. */
typedef struct thread_space {
    float *activation, *error, *pattern;            /* [TILE_NEURONS, CHUNK_SAMPLES] */
    float *drawn_hidden, *drawn_output, *generator; /* [TILE_NEURONS, inputs | outputs | inputs] */
    uint32_t *generator_column;                     /* [TILE_NEURONS, GENERATOR_NONZEROS] */
    float *outputs;                                 /* [outputs + 2, FORWARD_SAMPLES] */
    int64_t *importance;                            /* [max(inputs, outputs)] */
    entry *entries;                                 /* [CANDIDATE_ROOM] */
} thread_space;

#define CANDIDATE_ROOM 256

/* One step as all its parts see it. */
typedef struct step_view {
    const batch *data;
    pattern_source source;
    bool draw;      /* empty neurons take part with drawn weights */
    size_t neurons; /* that can have gradients: number `i` is neuron_number(self, view, i) */
} step_view;

/* A neuron in a step: its weights, or what was drawn in place of an empty row. */
typedef struct neuron_view {
    uint32_t neuron;
    row_view hidden, output, generator;
    bool own_pattern; /* generator == hidden */
    unsigned flags;   /* HAS_HIDDEN: g1 can be nonzero; HAS_OUTPUT: g2 */
} neuron_view;

static inline reliht_context *factored_context(const factored *self)
{
    return self->backend->base.context;
}

/* Threads for so many multiply-adds or updates: one where starting more would take longer. */
static inline int factored_threads(const factored *self, size_t work)
{
    return work < 50000 ? 1 : (int)factored_context(self)->threads;
}

static inline uint32_t neuron_number(const factored *self, const step_view *view, size_t i)
{
    bool all = view->draw || view->source == PATTERNS_DRAWN;
    return all ? (uint32_t)i : self->now.hidden.row[i];
}

/* The row of a sparse matrix, empty if it holds nothing. */
row_view sparse_row(const sparse *matrix, uint32_t row);

/* Which gradients neuron j can have, without drawing anything. */
unsigned neuron_flags(const factored *self, const step_view *view, uint32_t neuron);

/* Opens a neuron; drawn rows are made in place `slot` of `space`. */
void neuron_open(const factored *self, const step_view *view, uint32_t neuron,
                 const thread_space *space, size_t slot, neuron_view *out);

/* Residual (in self->residual) and loss of the batch at the weights `now`. */
void factored_forward(factored *self, const step_view *view);

/* Gradients of the next neurons of the step from number `first` on, into self->block. Returns how
 * many: 0 at the end. */
size_t factored_block(factored *self, const step_view *view, size_t first);

/* Gradients on the support of self->next, into self->gradient. */
void factored_support_gradient(factored *self, const step_view *view);

/* The largest magnitude and the mean square of the nnz largest gradients of W1 (HAS_HIDDEN) or W2
 * (HAS_OUTPUT): what a first step is measured by. Of many neurons the first block stands for all,
 * with its share of nnz. Needs self->best. */
reliht_status factored_measure(factored *self, const step_view *view, unsigned which,
                               double *mean_square, float *largest);

/* Fills self->best with the new support by the problem's importance. */
reliht_status factored_choose(factored *self, const step_view *view, const step_sizes *sizes);

/* Fills self->best with the candidates of factored_candidates. */
reliht_status factored_candidates(factored *self, const step_view *view, size_t count);

/* The published greedy cut: the whole step of weights and support, from `now` to `next`. */
reliht_status greedy_create(factored *self);
void greedy_destroy(factored *self);
reliht_status greedy_step(factored *self, const step_view *view, double step_size);

#endif
