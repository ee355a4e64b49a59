/* Loss of a layer in training on a data set, by which solvers choose the best weights. */
#ifndef RELIHT_SOLVER_EVALUATION_H
#define RELIHT_SOLVER_EVALUATION_H

#include "model/model.h"

/* What a layer in training predicts with: the fields of a one-layer model. */
typedef struct layer_view {
    reliht_model_kind kind;
    reliht_signs signs;
    reliht_loss loss; /* mse or cross-entropy */
    bool bias;
    const sparse *hidden; /* [hidden, inputs + bias] */
    const sparse *output; /* factored; NULL for fused */
} layer_view;

/* *loss <- mean loss of the network of `layer` on `dataset` (see reliht_evaluation.loss). */
reliht_status evaluate_layer(reliht_context *context, const layer_view *layer,
                             const reliht_dataset *dataset, double *loss);

#endif
