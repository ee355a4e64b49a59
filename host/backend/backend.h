/* The backend interface: everything that touches samples or sweeps over neurons.
 *
 * A backend is a table of functions over opaque handles it owns. Solvers call them in the order
 * written here and hold no sample-sized arrays themselves. Calls may be asynchronous: a backend may
 * queue work and keep scalars (step size, objective) on its device; only the calls marked SYNC hand
 * numbers to the host and wait. Errors found late are reported by the next SYNC call.
 *
 * Shapes: n samples of a batch, d inputs (the bias input included), m hidden, k outputs, s nnz. */
#ifndef RELIHT_BACKEND_BACKEND_H
#define RELIHT_BACKEND_BACKEND_H

#include "core/sparse.h"
#include "data/dataset.h"
#include "model/model.h"

typedef struct backend_operations backend_operations;

struct backend {
    const backend_operations *operations;
    reliht_context *context;
    char details[128];
};

typedef struct batch batch;                 /* rows of a data set as the backend holds them */
typedef struct fused fused;                 /* a fused model in training */
typedef struct factored factored;           /* a factored model in training */
typedef struct sensing sensing;             /* a Gaussian compressed sensing problem */
typedef struct dense_network dense_network; /* the baseline: all weights, and which are left */

/* Which generators the patterns of a step come from. */
typedef enum pattern_source {
    PATTERNS_DRAWN,   /* drawn (or given): every neuron takes part in the sweep */
    PATTERNS_WEIGHTS, /* h_j := w_j: neurons without weights are dead and are not swept */
} pattern_source;

/* Neurons without weights that can't get any are left out of sweeps, without changing a bit of what
 * is chosen; only sweeps over drawn generators have such neurons. */
typedef enum screening {
    SCREENING_NONE,
    SCREENING_MEMORYLESS, /* by the residual alone */
    SCREENING_HISTORY,    /* by what each neuron offered before, too: every step sees the same batch
                             and the same drawn generators; 4 bytes a neuron */
} screening;

typedef struct fused_problem {
    size_t hidden, inputs, nnz; /* inputs with the bias input */
    size_t samples;             /* largest batch */
    reliht_signs signs;         /* plus or mixed */
    reliht_generator generator;
    uint64_t seed;
    const sparse *given; /* generators of neurons 0 .. given->rows - 1 (absent row: zero); may be
                            NULL; not owned, outlives the handle */
    bool linear;         /* one more row of weights, number linear_row(hidden), that is no neuron:
                            yhat gains X b. Its pattern is full and its sign plus, always */
    screening screening; /* without a linear term */
} fused_problem;

/* The row of the linear term: the first even number that names no neuron. */
static inline size_t linear_row(size_t hidden)
{
    return hidden + hidden % 2;
}

/* One Gauss-Newton step: with the patterns fixed, delta minimises
 *     |A (w + delta) - y|^2 + damping L |delta|^2,  L = |A g|^2 / |g|^2,  g = A^T (A w - y),
 * by conjugate gradients on the normal equations (CGLS) from delta = 0. */
typedef struct solve_options {
    size_t iterations; /* at most */
    double damping;    /* >= 0 */
    double tolerance;  /* stop when the gradient's norm is at most this times the first */
} solve_options;

/* Scalars of one normalised IHT step, |.|^2 over the batch, patterns fixed. */
typedef struct step_report {
    double objective_before; /* |A w - y|^2 at the weights the step began with */
    double objective_chosen; /* after step and thresholding */
    double objective_after;  /* after the refits */
    double step_size;        /* before any halving in the refits */
    size_t refits;           /* accepted */
    size_t nnz;
    size_t swept;         /* neurons whose gradient was formed */
    double seconds_sweep; /* of the sweep and the top-s choice */
} step_report;

typedef struct factored_problem {
    size_t hidden, inputs, outputs, nnz;
    size_t samples; /* largest batch */
    reliht_loss loss;
    reliht_importance importance;
    reliht_step step;
    uint64_t seed;
    reliht_generator generator; /* of PATTERNS_DRAWN */
    const sparse *given; /* generators of neurons 0 .. given->rows - 1, as in fused_problem */
    /* Typical magnitudes of inputs and targets (powers of two; 1 for classes): the automatic step
     * moves weights as if both were 1. */
    float input_scale, target_scale;
    /* Recorded hashes, signs and first draws, for the fixed cases of the published code in the
     * tests; NULL otherwise. hashes, hash_signs: [N, 4], N = m(d+k), hidden weights first;
     * first_hidden [m, d], first_output [m, k]. */
    const uint32_t *hashes;
    const int8_t *hash_signs;
    uint32_t sketch_width; /* with hashes */
    const float *first_hidden, *first_output;
} factored_problem;

typedef struct factored_step_options {
    pattern_source source;
    bool draw_empty;   /* neurons without weights start from fresh draws in this step */
    double step_scale; /* factor on the step size the rule finds (a schedule's), > 0 */
    bool keep_support; /* no choice: only the weights that are there move */
} factored_step_options;

typedef struct factored_report {
    double loss; /* mean loss of the batch before the step */
    double step_size;
    size_t nnz;
    double seconds_sweep; /* of the gradient of every entry and the top-s choice */
} factored_report;

typedef struct sensing_problem {
    size_t length, measurements, nnz;
    uint64_t seed; /* of the matrix */
} sensing_problem;

/* The baseline, and the only place where arrays of all possible weights exist. Matrix l < layers is
 * W_l [hidden[l], inputs of layer l], matrix `layers` is V [hidden[layers - 1], outputs]:
 *     e_0 = x,  e_(l+1) = relu(e_l W_l^T),  y = e_layers V,
 * with a constant 1 at the end of every e_l that a hidden layer reads, if `bias` (the batch has
 * that of e_0). The bias input is an input like the others: its weights are pruned and counted with
 * them, and the output has none, as in a model. */
typedef struct dense_problem {
    size_t inputs; /* with the bias input */
    size_t layers; /* hidden layers */
    size_t hidden[MODEL_LAYERS_MAXIMUM];
    size_t outputs;
    bool bias;
    size_t samples;   /* largest batch */
    reliht_loss loss; /* mse: mean over samples and outputs; cross-entropy: mean over samples */
    /* Adam (Kingma & Ba 2015): step t of the weights since they were last rewound is
     *     m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,
     *     w <- w - rate / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + epsilon),
     * in float, g the gradient of the loss where the mask is set, else 0. */
    double learning_rate, mean_decay, square_decay, epsilon;
    uint64_t seed;
} dense_problem;

typedef struct dense_report {
    double loss;    /* mean over all samples stepped on since the last report, before each step */
    size_t samples; /* those; a sample counts as often as it was stepped on */
} dense_report;

struct backend_operations {
    const char *name;
    void (*close)(backend *self);

    /* -- batches. `capacity` rows at most. Holding a whole float data set may borrow its memory, so
     * the data set outlives the batch. `bias` appends the input 1. */
    reliht_status (*batch_create)(backend *self, const reliht_dataset *dataset, bool bias,
                                  size_t capacity, batch **out);
    /* Loads rows[0 .. count) of the data set, or all of them in order for rows == NULL. Inputs do
     * not change while a batch lives; targets may, and are then loaded again. */
    reliht_status (*batch_load)(batch *self, const uint32_t *rows, size_t count);
    /* Announces the next load, of at least one row: a backend with memory of its own moves the rows
     * while the step that was queued last runs. `rows` stay as they are until then. */
    reliht_status (*batch_stage)(batch *self, const uint32_t *rows, size_t count);
    void (*batch_destroy)(batch *self);

    /* -- fused model: yhat = sum_j sign_j D_j * (X w_j), D_j = 1[X h_j > 0]. One step on a batch is
     * fused_begin, fused_sweep, fused_refit, fused_report. */
    reliht_status (*fused_create)(backend *self, const fused_problem *problem, fused **out);
    void (*fused_destroy)(fused *self);
    reliht_status (*fused_set_weights)(fused *self, const sparse *weights);
    /* SYNC. `weights` has room for nnz entries. */
    reliht_status (*fused_get_weights)(fused *self, sparse *weights);
    /* Patterns of the neurons with weights from `source`; residual r = A w - y; gradient
     * g_S = A_S^T r; step size mu = |g_S|^2 / (|A_S g_S|^2 + 1e-8), or 1e-14 without weights. */
    reliht_status (*fused_begin)(fused *self, batch *data, pattern_source source);
    /* w <- top_s(w - mu A^T r) over the neurons of `source`: larger magnitude first, ties by lower
     * (neuron, input), exact zeros never. Then patterns, residual and gradient on the new support.
     * A non-finite value is NUMERIC and names neuron and input. */
    reliht_status (*fused_sweep)(fused *self, batch *data, pattern_source source);
    /* Up to `refits` descent steps on the support with the line search of the published code. */
    reliht_status (*fused_refit)(fused *self, batch *data, size_t refits);
    /* After fused_begin or fused_sweep: w <- w + delta on the support, entries that are zero
     * included; the residual follows. With a linear term, whose row then holds every input, the
     * iteration runs in the variables (v, a), w = v and b = a - 1/2 sum_j sign_j v_j, in which the
     * columns of A are sign_j (D_j - 1/2) X: on the same inputs those of unrelated neurons are
     * nearly orthogonal, where those of D_j X are not. Reports objective_after and, as refits, the
     * iterations. */
    reliht_status (*fused_solve)(fused *self, batch *data, const solve_options *options);
    /* SYNC. gradients [rows, inputs] <- X^T (D_j r) with the residual at hand, without the neurons'
     * signs, for rows first .. first + rows - 1 of `generators` (places among its live rows), or
     * for the neurons of those numbers and their drawn or given generators if it is NULL.
     * Memory for the patterns of some of them at a time only. */
    reliht_status (*fused_gradients)(fused *self, batch *data, const sparse *generators,
                                     size_t first, size_t rows, float *gradients);
    /* SYNC. Scalars of the step. */
    reliht_status (*fused_report)(fused *self, step_report *report);
    /* SYNC. With the support and the patterns of the last begin or sweep, for value [nnz] in place
     * of the weights: image [n] <- A_S value - y, gradient [nnz] <- A_S^T image, *squares <-
     * |image|^2; any may be NULL. Changes nothing of the handle but scratch. */
    reliht_status (*fused_product)(fused *self, batch *data, const float *value, float *image,
                                   float *gradient, double *squares);
    /* SYNC, for tests and benchmarks: residual [n], gradient on the support [nnz], patterns of the
     * neurons with weights [live, ceil(n/64)] words; any may be NULL. */
    reliht_status (*fused_read)(fused *self, float *residual, float *gradient, uint64_t *patterns);

    /* -- Gaussian sensing: A [measurements, length], columns drawn when needed; steps as fused. */
    reliht_status (*sensing_create)(backend *self, const sensing_problem *problem, sensing **out);
    void (*sensing_destroy)(sensing *self);
    reliht_status (*sensing_set_targets)(sensing *self, const sparse *vector); /* y = A x */
    reliht_status (*sensing_get_weights)(sensing *self, sparse *weights);      /* SYNC; 1 row */
    reliht_status (*sensing_step)(sensing *self, size_t refits);
    reliht_status (*sensing_report)(sensing *self, step_report *report); /* SYNC */

    /* -- factored model: yhat = relu(X W1^T) W2, W1 [m,d], W2 [m,k] share nnz. */
    reliht_status (*factored_create)(backend *self, const factored_problem *problem,
                                     factored **out);
    void (*factored_destroy)(factored *self);
    reliht_status (*factored_set_weights)(factored *self, const sparse *hidden,
                                          const sparse *output);
    reliht_status (*factored_get_weights)(factored *self, sparse *hidden,
                                          sparse *output); /* SYNC */
    /* One step on the batch: forward, loss, step size, importance of every entry, top-s. */
    reliht_status (*factored_step)(factored *self, batch *data,
                                   const factored_step_options *options);
    reliht_status (*factored_report)(factored *self, factored_report *report); /* SYNC */
    /* SYNC. Mean loss of the batch at the weights, as in factored_report, and the gradient on them
     * of the loss by sample: of the cross-entropy, or of |yhat - y|^2 / 2, which is k/2 times the
     * mean loss. Hidden entries first, then output entries, as the weights are ordered. Leaves the
     * residual for factored_candidates. */
    reliht_status (*factored_evaluate)(factored *self, batch *data, double *loss, float *gradient);
    /* SYNC. After factored_evaluate on the same batch: the `count` <= nnz largest gradients of
     * entries that hold no weight, in neurons whose W1 row holds any, each divided by the norm of
     * the neuron's other side (W1: |w2_j|, so none where W2 is empty; W2: |w1_j|): larger magnitude
     * first, ties by lower entry (W1 before W2), zeros never. Values are those quotients. A
     * non-finite one is NUMERIC. */
    reliht_status (*factored_candidates)(factored *self, batch *data, size_t count, sparse *hidden,
                                         sparse *output);

    /* -- dense network: trained by Adam under a mask that only ever shrinks. A new one is as
     * dense_rewind leaves it, with the mask full. */
    reliht_status (*dense_create)(backend *self, const dense_problem *problem, dense_network **out);
    void (*dense_destroy)(dense_network *self);
    /* One step of Adam on the batch. A loss that isn't a finite float is NUMERIC. */
    reliht_status (*dense_step)(dense_network *self, batch *data);
    /* The mask keeps the `keep` largest magnitudes of the weights it holds, at most as many as it
     * does, over all matrices alike; equal ones by lower (matrix, row, column). The others become
     * zero. A non-finite weight is NUMERIC and is named. */
    reliht_status (*dense_prune)(dense_network *self, size_t keep);
    /* Weights in the mask <- their first values, uniform as PyTorch's Linear starts: u / sqrt(F), F
     * the inputs of a neuron of its layer without the bias (of an output, hidden[layers - 1]),
     * u = (2 k + 1) 2^-23 - 1, k the upper 23 bits of word `column` of the stream
     * (RNG_DENSE, matrix * 2^32 + row): exact, so the same bits everywhere. m, v, t <- 0. */
    reliht_status (*dense_rewind)(dense_network *self);
    /* SYNC. outputs [outputs, samples of the batch] by columns, at most problem.samples of them. */
    reliht_status (*dense_predict)(dense_network *self, batch *data, float *outputs);
    /* SYNC. The weights in the mask, also those that are zero, into matrices[0 .. layers], made by
     * sparse_create of those shapes with room for them. A non-finite one is NUMERIC. */
    reliht_status (*dense_get_weights)(dense_network *self, sparse *matrices);
    reliht_status (*dense_report)(dense_network *self, dense_report *report); /* SYNC */

    /* -- prediction, for rows first .. first + count - 1 of a data set. SYNC.
     * outputs: [outputs, count] by columns. */
    reliht_status (*predict)(backend *self, const reliht_model *model,
                             const reliht_dataset *dataset, size_t first, size_t count,
                             float *outputs);
    /* relu(X W^T) of the rows W holds, as a float data set with the same targets: inputs are the
     * live rows only, in their order. `bias` as in batch_create. SYNC. */
    reliht_status (*embed)(backend *self, const sparse *weights, bool bias,
                           const reliht_dataset *dataset, reliht_dataset **embedding);
};

/* Opens the backend `kind` for a context (auto: the best there is) and sets context->backend. */
reliht_status backend_open(reliht_context *context, reliht_backend_kind kind);
void backend_close(backend *self);

/* The backends there are. Those of CUDA are in the module libreliht_cuda (NULL here unless a
 * program holds it itself): backend_cuda_open, and what reliht_devices lists. */
reliht_status backend_cpu_open(reliht_context *context, backend **out);
reliht_status backend_cuda_open(reliht_context *context, backend **out) __attribute__((weak));
void backend_cuda_devices(reliht_device *devices, size_t capacity, size_t *count)
    __attribute__((weak));

#endif
