/* The operator of the fused model on chosen supports, through the backend:
 *     A v = sum_j sign_j D_j * (X v_j),   A_S its columns (neuron, input) in a support S.
 * The patterns come from generators that stay (given or drawn), or from weights. What is computed
 * here needs inputs only: the targets are an array of its own. */
#ifndef RELIHT_SOLVER_RESTRICTED_H
#define RELIHT_SOLVER_RESTRICTED_H

#include "backend/backend.h"

typedef struct restricted {
    reliht_context *context;
    reliht_dataset data; /* the caller's inputs, with targets of our own */
    batch *batch;
    fused *model;
    size_t words;     /* of a pattern */
    bool has_targets; /* else they are zero */
} restricted;

/* `problem`: as for fused_create, but for `samples`, which are all of the data set; nnz is the
 * largest support. The data set and problem->given outlive the handle. On failure there is nothing
 * to close. */
reliht_status restricted_open(reliht_context *context, const reliht_dataset *dataset,
                              const fused_problem *problem, restricted *self);
void restricted_close(restricted *self);

/* Targets [samples], or zeros for NULL. */
reliht_status restricted_set_targets(restricted *self, const float *targets);

/* Chooses S, the entries of `support` (its values do not matter unless `source` says so), and forms
 * the patterns of its neurons. */
reliht_status restricted_load(restricted *self, const sparse *support, pattern_source source);

/* Patterns of the neurons of S: [live, words]. */
reliht_status restricted_patterns(restricted *self, uint64_t *bits);

/* image [samples] <- A_S value - targets, gradient [nnz] <- A_S^T image, *squares <- |image|^2; any
 * may be NULL. value: [nnz]. */
reliht_status restricted_product(restricted *self, const float *value, float *image,
                                 float *gradient, double *squares);

/* top <- the entries of A^T u of largest magnitude, as many as problem->nnz, over all neurons;
 * u [samples]. Leaves S empty and u for targets. `top` has room for them. */
reliht_status restricted_top(restricted *self, const float *u, sparse *top);

/* Extreme eigenvalues of A_S^T A_S / samples by Lanczos' method with full orthogonalisation: at
 * most `steps` of them, from a start drawn with `seed`. Both are values |A_S v|^2 / (samples |v|^2)
 * that some v attains, so they bound the true ones from inside; with steps >= nnz they are exact up
 * to rounding. Targets must be zero. smallest_vector, largest_vector [nnz]: those v, or NULL. */
typedef struct restricted_spectrum {
    double smallest, largest;
} restricted_spectrum;
reliht_status restricted_extremes(restricted *self, size_t nnz, size_t steps, uint64_t seed,
                                  restricted_spectrum *spectrum, float *smallest_vector,
                                  float *largest_vector);

/* weights <- argmin |A_S w - targets|^2 over the support of `weights`, from their values on;
 * entries that come out as zero are dropped. *squares <- the minimum. */
reliht_status restricted_least_squares(restricted *self, sparse *weights, double *squares);

#endif
