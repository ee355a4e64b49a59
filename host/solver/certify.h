/* What the files certify*.c share: the set of patterns of a certificate, and the operator A with
 * these patterns. */
#ifndef RELIHT_SOLVER_CERTIFY_H
#define RELIHT_SOLVER_CERTIFY_H

#include "solver/restricted.h"

typedef struct certifier {
    reliht_context *context;
    const reliht_dataset *dataset;
    const reliht_certify_options *options;
    reliht_certificate *result;
    size_t inputs;           /* with the bias input */
    size_t hidden;           /* patterns in all */
    sparse network;          /* distinct neurons of the network: rows 0 .. network.live - 1 */
    uint32_t *usable;        /* [usable_count] patterns that are not empty */
    uint32_t *usable_inputs; /* inputs that are not zero */
    size_t usable_count, usable_input_count;
    double largest_column; /* max_c |x_c|^2 / n */
    size_t done, work;     /* for progress */
    double start;
} certifier;

/* The operator of the pattern set; `nnz` as in fused_problem. */
reliht_status certify_open(certifier *self, size_t nnz, restricted *operator);

/* Assumptions 1 and 2, coverage; fills `usable`. */
reliht_status certify_patterns(certifier *self);

/* The three levels. */
reliht_status certify_spectrum(certifier *self);

/* One more piece of work is done; CANCELLED if the caller wants no more. */
reliht_status certify_progress(certifier *self, size_t sparsity, double value);

#endif
