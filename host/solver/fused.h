#ifndef RELIHT_SOLVER_FUSED_H
#define RELIHT_SOLVER_FUSED_H

#include "core/sparse.h"

/* Trains one fused layer on `train` (one output) by the published AIHT: options->nnz and
 * options->signs (plus or mixed) are this layer's. `validation` may be NULL. `weights`
 * [hidden, inputs + bias] has room for nnz entries and receives the best or last ones. Adds to the
 * report's seconds_sweep and sets epochs and converged. CANCELLED with weights. */
reliht_status fused_train(reliht_context *context, const reliht_dataset *train,
                          const reliht_dataset *validation, const reliht_train_options *options,
                          size_t layer, size_t layers, sparse *weights,
                          reliht_train_report *report);

#endif
