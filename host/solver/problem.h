/* What every solver that trains networks asks of data and options: the loss, and the samples kept
 * apart to choose the best network by. */
#ifndef RELIHT_SOLVER_PROBLEM_H
#define RELIHT_SOLVER_PROBLEM_H

#include "data/dataset.h"

/* mse or cross-entropy for a wanted loss that may be auto. */
reliht_loss resolve_loss(const reliht_dataset *dataset, reliht_loss wanted);
/* Refuses cross-entropy where there are no classes to tell apart. */
reliht_status check_loss(reliht_context *context, const reliht_dataset *dataset,
                         reliht_loss wanted);

/* Splits the data by a permutation: `share` of the samples (check_validation, and above 0) for
 * validation, the others for training. Errors: ARGUMENT (one part would be empty), MEMORY. */
reliht_status split_validation(reliht_context *context, const reliht_dataset *dataset, double share,
                               uint64_t seed, reliht_dataset **train, reliht_dataset **validation);

#endif
