/* The description of a model as flat text: what safetensors calls __metadata__ (strings by name),
 * and the other way round. */
#ifndef RELIHT_MODEL_METADATA_H
#define RELIHT_MODEL_METADATA_H

#include "model/model.h"

#include <jansson.h>

#define MODEL_FORMAT_VERSION "1"

/* model->metadata <- the text of `object`; fails with MEMORY also where jansson runs out of it. */
reliht_status metadata_keep(reliht_model *model, const json_t *object);

/* The shapes a file claims, before any tensor of it has been seen. */
typedef struct model_claims {
    reliht_model_kind kind;
    reliht_signs signs;
    reliht_loss loss;
    bool bias;
    size_t inputs, outputs, layers;
    size_t hidden[MODEL_LAYERS_MAXIMUM];
    preprocessing preparation;
} model_claims;

/* Reads and checks every field that a model needs. Errors: FORMAT, naming `path` and the field. */
reliht_status metadata_parse(reliht_context *context, const char *path, const json_t *object,
                             model_claims *claims);

#endif
