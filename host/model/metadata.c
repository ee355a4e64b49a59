/* The description of a model: flat strings by name, as safetensors wants its __metadata__.
 *
 *     format "reliht", format_version "1", version, kind, signs, loss, bias, inputs, outputs,
 *     hidden "[m_1,m_2,...]", solver, seed, nnz_budget, preprocessing "{...}" */
#include "model/metadata.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static reliht_status out_of_memory(reliht_context *context)
{
    return fail(context, RELIHT_MEMORY, "out of memory for the description of a model");
}

reliht_status metadata_keep(reliht_model *model, const json_t *object)
{
    char *text = json_dumps(object, JSON_SORT_KEYS | JSON_COMPACT);
    if (!text)
        return out_of_memory(model->context);
    char *kept;
    size_t bytes = strlen(text) + 1;
    reliht_status status =
        gate_allocate(model->context, MEMORY_workspace, bytes, 1, "description of a model", &kept);
    if (!status) {
        memcpy(kept, text, bytes);
        gate_release(model->context, model->metadata);
        model->metadata = kept;
    }
    free(text);
    return status;
}

/* ---------------------------------------------------------------- writing */

static const char *const preparation_names[] = {"none", "pixels", "fourier"};

static json_t *describe_preparation(const preprocessing *preparation)
{
    json_t *classes = json_array();
    for (uint32_t i = 0; i < preparation->class_count && i < NAMED_CLASSES_MAXIMUM; i++)
        if (json_array_append_new(classes, json_integer(preparation->classes[i]))) {
            json_decref(classes);
            return NULL;
        }
    json_t *object =
        json_pack("{s:s, s:f, s:s, s:o, s:b}", "kind", preparation_names[preparation->kind],
                  "scale", (double)preparation->scale, "source", preparation->source, "classes",
                  classes, "paper_split", (int)preparation->paper_split);
    if (!object || preparation->kind != PREPROCESSING_FOURIER)
        return object;
    const reliht_image_options *image = &preparation->image;
    char seed[24]; /* 64 bits don't fit a JSON number */
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)image->seed);
    json_t *fourier = json_pack(
        "{s:I, s:f, s:b, s:s, s:I, s:I}", "features", (json_int_t)image->features, "sigma",
        image->sigma, "unit_coordinates", (int)image->unit_coordinates, "seed", seed, "width",
        (json_int_t)preparation->width, "height", (json_int_t)preparation->height);
    if (json_object_set_new(object, "fourier", fourier)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* object[key] <- printf text */
static bool set_text(json_t *object, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool set_text(json_t *object, const char *key, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return !json_object_set_new(object, key, json_string(text));
}

/* object[key] <- the text of `value`, which is taken over. */
static bool set_dump(json_t *object, const char *key, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    bool done = text && !json_object_set_new(object, key, json_string(text));
    free(text);
    json_decref(value);
    return done;
}

static bool set_hidden(json_t *object, const reliht_model *model)
{
    json_t *hidden = json_array();
    bool done = hidden != NULL;
    for (size_t l = 0; l < model->layers && done; l++)
        done = !json_array_append_new(hidden, json_integer((json_int_t)model->hidden[l].rows));
    if (!done) {
        json_decref(hidden);
        return false;
    }
    return set_dump(object, "hidden", hidden);
}

reliht_status model_describe(reliht_model *model, const char *solver, uint64_t seed,
                             size_t nnz_budget)
{
    json_t *object = json_object();
    bool fused = model->kind == RELIHT_FUSED;
    bool done = object && set_text(object, "format", "reliht") &&
                set_text(object, "format_version", MODEL_FORMAT_VERSION) &&
                set_text(object, "version", "%s", reliht_version()) &&
                set_text(object, "kind", fused ? "fused" : "factored") &&
                set_text(object, "bias", model->bias ? "true" : "false") &&
                set_text(object, "inputs", "%zu", model->inputs) &&
                set_text(object, "outputs", "%zu", model->outputs) && set_hidden(object, model) &&
                set_text(object, "loss",
                         model->loss == RELIHT_LOSS_CROSS_ENTROPY ? "cross-entropy" : "mse") &&
                set_text(object, "solver", "%s", solver) &&
                set_text(object, "seed", "%llu", (unsigned long long)seed) &&
                set_text(object, "nnz_budget", "%zu", nnz_budget) &&
                set_dump(object, "preprocessing", describe_preparation(&model->preparation));
    if (done && fused)
        done = set_text(object, "signs", model->signs == RELIHT_SIGNS_MIXED ? "mixed" : "plus");
    reliht_status status = done ? metadata_keep(model, object) : out_of_memory(model->context);
    json_decref(object);
    return status;
}
