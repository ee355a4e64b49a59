#ifndef RELIHT_MODEL_MODEL_H
#define RELIHT_MODEL_MODEL_H

#include "core/sparse.h"
#include "data/dataset.h"

#define MODEL_LAYERS_MAXIMUM 64u

/* See reliht_model in reliht.h. Every layer's `columns` is its number of inputs, the bias input
 * (always the last) included. */
struct reliht_model {
    reliht_context *context;
    reliht_model_kind kind;
    reliht_signs signs; /* fused: plus or mixed */
    reliht_loss loss;   /* what it was trained with: mse or cross-entropy */
    bool bias;
    size_t inputs, outputs, layers;
    sparse hidden[MODEL_LAYERS_MAXIMUM]; /* [hidden, inputs + bias] */
    sparse output;                       /* factored: [hidden, outputs]; fused: empty */
    preprocessing preparation;
    char *metadata; /* JSON object, from the gate; see model_describe */
};

/* An empty model without layers. */
reliht_status model_create(reliht_context *context, reliht_model_kind kind, size_t inputs,
                           size_t outputs, bool bias, reliht_model **model);

/* Sets model->metadata from the fields of the model and the run that made it. `solver` is the name
 * of the solver ("aiht", "planted", ...). */
reliht_status model_describe(reliht_model *model, const char *solver, uint64_t seed,
                             size_t nnz_budget);

/* "fused" or "factored". */
static inline const char *model_kind_name(const reliht_model *model)
{
    return model->kind == RELIHT_FUSED ? "fused" : "factored";
}

/* Fixed sign of a neuron's output in a fused model. */
static inline float neuron_sign(reliht_signs signs, uint32_t neuron)
{
    return signs == RELIHT_SIGNS_MIXED && neuron % 2 ? -1.0f : 1.0f;
}

#endif
