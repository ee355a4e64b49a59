/* Inputs of planted problems. */
#ifndef RELIHT_DATA_DRAWS_H
#define RELIHT_DATA_DRAWS_H

#include "data/dataset.h"

/* Checks the kind and its parameters. Errors: ARGUMENT. */
reliht_status draws_check(reliht_context *context, const reliht_planted_options *options);

/* Fills the float inputs of a data set. The same for any number of threads. */
void draws_fill(const reliht_planted_options *options, reliht_dataset *dataset);

/* Adds noise * N(0,1) to the targets. */
void draws_add_noise(const reliht_planted_options *options, reliht_dataset *dataset);

#endif
