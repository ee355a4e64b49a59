/* A factored network as the solvers hold it: yhat = relu(X W1^T) W2, W1 and W2 sparse.
 * relu is homogeneous: (a w1_j, w2_j / a) is the same neuron for every a > 0. A neuron is balanced
 * when |w1_j| = |w2_j|; incomplete when one side is empty, and then it does nothing. */
#ifndef RELIHT_SOLVER_NETWORK_H
#define RELIHT_SOLVER_NETWORK_H

#include "core/sparse.h"

typedef struct network {
    sparse hidden, output; /* W1 [hidden, inputs], W2 [hidden, outputs] */
} network;

/* A weight or a neuron with what it is worth, for sorting. */
typedef struct ranking {
    double score;
    size_t place;
} ranking;

reliht_status network_create(reliht_context *context, network *self, size_t hidden, size_t inputs,
                             size_t outputs, size_t hidden_room, size_t output_room);
void network_destroy(reliht_context *context, network *self);
void network_copy(network *to, const network *from);
size_t network_nnz(const network *self);

/* |row|^2 of the row at place `at` of row[]. */
double sparse_row_square(const sparse *matrix, size_t at);
/* Multiplies a row. */
void sparse_scale_row(sparse *matrix, size_t at, double factor);
/* Takes out entries that are zero. */
void sparse_drop_zeros(sparse *matrix);
/* out <- a, and the entries of b that are not in a with the value zero. */
void sparse_unite(const sparse *a, const sparse *b, sparse *out);

/* Balances every complete neuron. */
void network_balance(network *self);
/* Takes out incomplete neurons: then W1 and W2 hold the same rows. */
void network_drop_incomplete(network *self);
/* The `hidden` neurons of largest |w1_j| |w2_j|, and of their weights the `nnz` of largest saliency
 *     w1_jc^2 |w2_j|^2    and    w2_jk^2 |w1_j|^2,
 * what the outputs lose with a weight if all inputs are alike and independent; ties go to the
 * earlier. Incomplete neurons are taken out; neurons are numbered below `hidden`. `ranks` has room
 * for all weights, `scratch` for the network. */
void network_cut(network *self, size_t hidden, size_t nnz, ranking *ranks, network *scratch);

#endif
