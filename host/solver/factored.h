#ifndef RELIHT_SOLVER_FACTORED_H
#define RELIHT_SOLVER_FACTORED_H

#include "core/sparse.h"
#include "data/dataset.h"

/* The power of two nearest to the root mean square of the inputs, taken from some of the samples;
 * 1 if all are zero. */
float factored_input_scale(const reliht_dataset *dataset);

/* Mean square of the targets over samples and outputs; labels count as one-hot rows. */
double factored_target_square(const reliht_dataset *dataset);

/* Trains one factored layer (k outputs) on `train`: options->nnz and options->loss are this
 * layer's. `validation` may be NULL. `hidden` [hidden, inputs + bias] and `output`
 * [hidden, outputs] each have room for nnz entries and receive the best or last weights. Adds to
 * the report's seconds_sweep and sets epochs and converged. CANCELLED with weights. */
reliht_status factored_train(reliht_context *context, const reliht_dataset *train,
                             const reliht_dataset *validation, const reliht_train_options *options,
                             size_t layer, size_t layers, sparse *hidden, sparse *output,
                             reliht_train_report *report);

#endif
