/* The description of a model as flat text: what safetensors calls __metadata__ (strings by name),
 * and the other way round. */
#ifndef RELIHT_MODEL_METADATA_H
#define RELIHT_MODEL_METADATA_H

#include "model/model.h"

#include <jansson.h>

#define MODEL_FORMAT_VERSION "1"

/* Releases what json_dumps gave; the program around us may have set other allocators. */
static inline void json_text_release(char *text)
{
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    if (text)
        release(text);
}

/* Whether parsing failed for want of memory: jansson then often leaves the error empty. */
static inline bool json_out_of_memory(const json_error_t *error)
{
    return !error->text[0] || json_error_code(error) == json_error_out_of_memory;
}

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
