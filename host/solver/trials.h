/* Trial neurons: rows of W1 that a growing network tries in a step. */
#ifndef RELIHT_SOLVER_TRIALS_H
#define RELIHT_SOLVER_TRIALS_H

#include "core/sparse.h"

#define TRIAL_LENGTH 4 /* most inputs of a trial */

/* Appends at most `count` unit rows to `hidden`, numbered from `first` on, where rows from `first`
 * on are empty. Half of them have one or two inputs drawn uniformly; a quarter are parts of a row
 * below `first`, perhaps with one more input (what one neuron does for two is split); a quarter
 * add or subtract two such rows (what two neurons do for one is merged). They are functions of
 * (seed, draw) and of `hidden`. */
void append_trials(sparse *hidden, uint64_t seed, uint64_t draw, uint32_t first, size_t count);

#endif
