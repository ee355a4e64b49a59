/* Exact recovery of a fused network beyond the published method: what its files share. The
 * algorithm and why it works: docs/recover.md. */
#ifndef RELIHT_SOLVER_RECOVER_H
#define RELIHT_SOLVER_RECOVER_H

#include "backend/backend.h"
#include "core/selector.h"

/* A network in the search, yhat = sum_j sign_j relu(w_j . x) + b . x. Its neurons have no fixed
 * numbers: the one at place p is row 2 p if it adds and 2 p + 1 if it subtracts. Entries may be
 * zero: they are on the support and take part in the next fit. */
typedef struct draft {
    sparse weights;
    float *linear;   /* b [inputs] */
    bool has_linear; /* without it b is zero and stays so */
    double objective;
} draft;

/* A neuron that is proposed: a few inputs, direction of unit length. */
#define ATOM_INPUTS 3u
typedef struct atom {
    uint32_t count;
    uint32_t column[ATOM_INPUTS]; /* ascending */
    float value[ATOM_INPUTS];
    bool subtracts;
    float score; /* correlation with the residual */
} atom;

/* How hard a fit tries. */
typedef struct effort {
    size_t steps;      /* Gauss-Newton, at most */
    size_t iterations; /* of conjugate gradients in each, at most */
    double tolerance;  /* of their gradient */
    double damping;    /* to start with */
    double gain;       /* a step that lowers the objective by a smaller share is the last */
} effort;

/* What a step of the search adds, as shares of the budget and of the neurons, and how it fits. */
typedef struct growth {
    double weights, neurons;
    bool split; /* instead of new neurons */
    const effort *effort;
} growth;

typedef struct recovery {
    reliht_context *context;
    const reliht_train_options *options;
    const reliht_dataset *train;
    reliht_train_report *report;
    size_t layer, layers;
    double start;        /* on the wall clock, for the progress */
    size_t inputs, nnz;  /* with the bias input; the budget s */
    size_t neurons[2];   /* that may add, that may subtract */
    size_t most_neurons; /* in the search */
    size_t capacity;     /* entries of a network in the search */
    fused *model;
    batch *data;
    size_t samples;        /* of the batch loaded */
    double target_squares; /* |y|^2 of it */
    double unit;           /* |X g|^2 / |g|^2 of one direction: the scale of the inputs */
    double goal;           /* of |r|^2 / |y|^2, at which the search has succeeded */
    size_t steps, limit;   /* of the search; of this phase of it */
    uint32_t draws;        /* random numbers used */
    draft local;           /* where the search is */
    draft trial;           /* the step under way */
    draft winner;          /* the best so far */
    draft before;          /* what a fit goes back to; scratch of everything else */
    sparse packed;         /* a network as the backend takes it */
    selector best;         /* of gradient entries or weights */
    sparse tile;           /* generators of proposed neurons */
    float *gradients;      /* [TILE_ROWS, inputs] */
    atom *atoms;           /* [2 ATOM_INPUTS starts] */
    uint32_t *starts;      /* [start_count] inputs that proposed neurons start from */
    size_t start_count;
    double *norms;   /* [capacity] */
    uint32_t *owner; /* [capacity] of a merge */
    uint8_t *turned; /* [capacity] */
    float *dense;    /* [inputs] */
    uint8_t *marked; /* [inputs] */
} recovery;

#define TILE_ROWS 64u

/* -- networks (recover_draft.c) */
reliht_status draft_create(recovery *run, draft *net);
void draft_destroy(recovery *run, draft *net);
void draft_copy(const recovery *run, draft *to, const draft *from);
/* Numbers the neurons anew, in their order. */
void draft_renumber(draft *net);
/* Neurons of nearly the same direction become one; what that changes linearly goes to the linear
 * term, without which opposite ones stay apart. Returns how many went. */
size_t draft_merge(recovery *run, draft *net);
/* Only the `keep` largest weights stay, and at most as many neurons as are allowed. */
reliht_status draft_cut(recovery *run, draft *net, size_t keep);
/* About `share` of the neurons go, at least one. */
void draft_drop(recovery *run, draft *net, double share);

/* -- Gauss-Newton (recover_fit.c) */
/* Loads the network into the backend: its patterns, residual and objective. */
reliht_status draft_load(recovery *run, draft *net);
/* Levenberg-Marquardt on the support of net; a step is taken only if it lowers the objective of the
 * network itself. The result is loaded. */
reliht_status draft_fit(recovery *run, draft *net, const effort *by);

/* -- growth (recover_propose.c); the network is the one loaded */
/* New neurons or splits, then new weights, zero as yet. */
reliht_status draft_grow(recovery *run, draft *net, const growth *by);

/* -- signs (recover_orient.c) */
/* Turns neurons around, relu(w.x) = relu(-w.x) + w.x, and splits some, so that the linear term
 * becomes as small as it can; then drops it. */
reliht_status draft_orient(recovery *run, draft *net);

/* Trains one fused layer as fused_train does (solver/fused.h), by the search for exact recovery:
 * an epoch is RECOVER_STEPS steps of it; the best network is returned. */
#define RECOVER_STEPS 10u
#define RECOVER_NNZ_MAXIMUM (1u << 28) /* rows and entries of the search fit 32 bits */
reliht_status recover_train(reliht_context *context, const reliht_dataset *train,
                            const reliht_train_options *options, size_t layer, size_t layers,
                            sparse *weights, reliht_train_report *report);
/* The same with fixed generators. */
reliht_status recover_convex(reliht_context *context, const reliht_dataset *train,
                             const reliht_train_options *options, size_t layer, size_t layers,
                             sparse *weights, reliht_train_report *report);

#endif
