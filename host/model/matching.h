/* The best pairing of the neurons of two networks. */
#ifndef RELIHT_MODEL_MATCHING_H
#define RELIHT_MODEL_MATCHING_H

#include "core/sparse.h"

/* Pairs rows of `left` with rows of `right` so that
 *     sum over pairs |a_i - b_j|^2 + sum over rows without a partner |a_i|^2 or |b_j|^2
 * is least; only rows whose numbers are both even or both odd may pair (output signs of neurons),
 * and only such as share a column below `pairing` (an input).
 * partner[i], i < left->live: the place of the partner among the rows of `right` that hold entries,
 * or right->live for none. The columns of both are the same. Errors: MEMORY. */
reliht_status match_rows(reliht_context *context, const sparse *left, const sparse *right,
                         size_t pairing, size_t *partner);

#endif
