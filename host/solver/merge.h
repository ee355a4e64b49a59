/* Networks reduced to what their outputs on given data depend on. */
#ifndef RELIHT_SOLVER_MERGE_H
#define RELIHT_SOLVER_MERGE_H

#include "core/sparse.h"
#include "model/model.h"

typedef struct merged_network {
    /* Of a fused network: weights of the distinct neurons, row 2i if they add to the output, 2i + 1
     * if they subtract, so that it is a fused network of mixed signs. Of a factored one: both sides
     * of neuron i in row 2i, scaled to equal length; output k is column inputs + 1 + k. */
    sparse weights;
    size_t neurons;       /* with weights, before */
    size_t inactive;      /* of these, active on no sample: dropped */
    size_t always_active; /* distinct ones that are active on all samples */
} merged_network;

/* Reduces a network of one layer on the inputs of `dataset`. On failure there is nothing to
 * release. Errors: ARGUMENT, MEMORY. */
reliht_status merge_network(reliht_context *context, const reliht_model *model,
                            const reliht_dataset *dataset, merged_network *merged);
void merged_destroy(reliht_context *context, merged_network *merged);

#endif
