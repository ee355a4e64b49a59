/* Training of the factored model by growing, fitting and cutting back (--solver recover). */
#ifndef RELIHT_SOLVER_FACTORED_RECOVER_H
#define RELIHT_SOLVER_FACTORED_RECOVER_H

#include "core/sparse.h"
#include "data/dataset.h"

/* As factored_train. An epoch is one round. `options->loss` is mse or cross-entropy. */
reliht_status factored_recover(reliht_context *context, const reliht_dataset *train,
                               const reliht_dataset *validation,
                               const reliht_train_options *options, size_t layer, size_t layers,
                               sparse *hidden, sparse *output, reliht_train_report *report);

#endif
