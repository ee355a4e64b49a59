/* What every backend does before it computes an embedding. */
#ifndef RELIHT_BACKEND_EMBEDDING_H
#define RELIHT_BACKEND_EMBEDDING_H

#include "core/sparse.h"
#include "data/dataset.h"

/* A data set with an input, still zero, for every neuron of `weights` that has any, and the targets
 * of `dataset`. ARGUMENT if the layer reads other inputs, DATA if it has no weights. */
reliht_status embedding_create(reliht_context *context, const sparse *weights, bool bias,
                               const reliht_dataset *dataset, reliht_dataset **embedding);

#endif
