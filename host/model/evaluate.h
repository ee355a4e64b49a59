/* Scores of whatever predicts: models, and networks in training. */
#ifndef RELIHT_MODEL_EVALUATE_H
#define RELIHT_MODEL_EVALUATE_H

#include "model/model.h"

typedef struct predictor {
    /* outputs [outputs, count] by columns <- those of samples first .. first + count - 1 */
    reliht_status (*predict)(void *user, size_t first, size_t count, float *outputs);
    void *user;
    size_t rows; /* samples it is asked for at once, at most */
    size_t outputs;
    reliht_loss loss; /* mse or cross-entropy */
} predictor;

/* See reliht_model_evaluate; the shapes are the caller's care. */
reliht_status evaluate_predictor(reliht_context *context, const predictor *self,
                                 const reliht_dataset *dataset, reliht_evaluation *evaluation);

#endif
