/* The description of a model: flat strings by name, as safetensors wants its __metadata__.
 *
 *     format "reliht", format_version "1", version, kind, signs, loss, bias, inputs, outputs,
 *     hidden "[m_1,m_2,...]", solver, seed, nnz_budget, preprocessing "{...}" */
#include "model/metadata.h"

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
    json_text_release(text);
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
    json_text_release(text);
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
                set_text(object, "kind", "%s", model_kind_name(model)) &&
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

/* ---------------------------------------------------------------- reading */

typedef struct description {
    reliht_context *context;
    const char *path;
    const json_t *object;
} description;

static reliht_status malformed(const description *self, const char *field, const char *what)
{
    return fail(self->context, RELIHT_FORMAT, "%s: header, __metadata__, %s: %s", self->path, field,
                what);
}

/* The text of a field, or "" (which no field allows) if it isn't there. */
static const char *text_of(const description *self, const char *field)
{
    const char *text = json_string_value(json_object_get(self->object, field));
    return text ? text : "";
}

/* The position of a field's text among `choices`. */
static reliht_status parse_choice(const description *self, const char *field,
                                  const char *const *choices, size_t count, size_t *choice)
{
    for (*choice = 0; *choice < count; ++*choice)
        if (!strcmp(text_of(self, field), choices[*choice]))
            return RELIHT_OK;
    char what[128];
    snprintf(what, sizeof what, count > 1 ? "must be %s or %s" : "must be %s", choices[0],
             choices[count - 1]);
    return malformed(self, field, what);
}

static bool is_dimension(json_int_t value)
{
    return value >= 1 && value < (json_int_t)RELIHT_MAX_DIMENSION;
}

/* A dimension written as decimal digits and nothing else. */
static reliht_status parse_dimension(const description *self, const char *field, size_t *value)
{
    const char *text = text_of(self, field);
    size_t digits = strspn(text, "0123456789");
    json_int_t number = digits && digits <= 10 && !text[digits] ? strtoll(text, NULL, 10) : 0;
    if (!is_dimension(number))
        return malformed(self, field, "must be a number from 1 to 2147483646");
    *value = (size_t)number;
    return RELIHT_OK;
}

/* JSON within the text of a field; the caller releases it. */
static reliht_status parse_inner(const description *self, const char *field, json_t **value)
{
    json_error_t error;
    *value = json_loads(text_of(self, field), JSON_REJECT_DUPLICATES, &error);
    if (*value)
        return RELIHT_OK;
    if (json_out_of_memory(&error))
        return out_of_memory(self->context);
    return malformed(self, field, "must be valid JSON");
}

static reliht_status parse_hidden(const description *self, model_claims *claims)
{
    json_t *hidden;
    reliht_status status = parse_inner(self, "hidden", &hidden);
    if (status)
        return status;
    claims->layers = json_array_size(hidden);
    bool right = claims->layers >= 1 && claims->layers <= MODEL_LAYERS_MAXIMUM;
    for (size_t l = 0; l < claims->layers && right; l++) {
        json_int_t width = json_integer_value(json_array_get(hidden, l));
        right = is_dimension(width);
        claims->hidden[l] = (size_t)width;
    }
    json_decref(hidden);
    return right ? RELIHT_OK
                 : malformed(self, "hidden",
                             "must be a list of 1 to 64 numbers from 1 to 2147483646");
}

static bool parse_fourier(const json_t *fourier, preprocessing *preparation)
{
    json_int_t features, width, height;
    const char *seed;
    int unit_coordinates;
    double sigma;
    if (json_unpack((json_t *)fourier, "{s:I, s:F, s:b, s:s, s:I, s:I}", "features", &features,
                    "sigma", &sigma, "unit_coordinates", &unit_coordinates, "seed", &seed, "width",
                    &width, "height", &height))
        return false;
    size_t digits = strspn(seed, "0123456789");
    if (!is_dimension(features) || !is_dimension(width) || !is_dimension(height) || !digits ||
        digits > 20 || seed[digits])
        return false;
    preparation->image.features = (size_t)features;
    preparation->image.sigma = sigma;
    preparation->image.unit_coordinates = unit_coordinates;
    preparation->image.seed = strtoull(seed, NULL, 10);
    preparation->width = (size_t)width;
    preparation->height = (size_t)height;
    return true;
}

static bool parse_classes(const json_t *classes, preprocessing *preparation)
{
    size_t count = json_array_size(classes);
    if (count > NAMED_CLASSES_MAXIMUM)
        return false;
    for (size_t i = 0; i < count; i++) {
        json_int_t label = json_integer_value(json_array_get(classes, i));
        if (!json_is_integer(json_array_get(classes, i)) || label < 0 || label > UINT32_MAX)
            return false;
        preparation->classes[i] = (uint32_t)label;
    }
    preparation->class_count = (uint32_t)count;
    return true;
}

/* Bytes are divided by 255 or kept; other inputs have no scale. */
static bool is_scale(double scale, preprocessing_kind kind)
{
    return scale == 1.0 || (float)scale == 1.0f / 255.0f ||
           (scale == 0.0 && kind == PREPROCESSING_NONE);
}

static bool parse_preparation(const json_t *object, preprocessing *preparation)
{
    const char *kind, *source;
    const json_t *classes;
    double scale;
    int paper_split;
    if (json_unpack((json_t *)object, "{s:s, s:F, s:s, s:o, s:b}", "kind", &kind, "scale", &scale,
                    "source", &source, "classes", &classes, "paper_split", &paper_split))
        return false;
    size_t at = 0;
    while (at < 3 && strcmp(kind, preparation_names[at]) != 0)
        at++;
    if (at == 3 || strlen(source) >= sizeof preparation->source ||
        !is_scale(scale, (preprocessing_kind)at) || !json_is_array(classes) ||
        !parse_classes(classes, preparation))
        return false;
    preparation->kind = (preprocessing_kind)at;
    preparation->scale = (float)scale;
    preparation->paper_split = paper_split;
    memcpy(preparation->source, source, strlen(source) + 1);
    return preparation->kind != PREPROCESSING_FOURIER ||
           parse_fourier(json_object_get(object, "fourier"), preparation);
}

static reliht_status parse_preprocessing(const description *self, model_claims *claims)
{
    json_t *object;
    reliht_status status = parse_inner(self, "preprocessing", &object);
    if (status)
        return status;
    if (!parse_preparation(object, &claims->preparation))
        status = malformed(self, "preprocessing",
                           "must tell kind (none, pixels, fourier), scale (1 or 1/255), source, "
                           "classes and "
                           "paper_split, and fourier where that is the kind");
    json_decref(object);
    return status;
}

static reliht_status check_texts(const description *self)
{
    const char *field;
    json_t *value;
    json_object_foreach((json_t *)self->object, field, value) if (!json_is_string(value))
    {
        char shown[64];
        snprintf(shown, sizeof shown, "%.60s", field);
        return malformed(self, shown, "must be a string");
    }
    return RELIHT_OK;
}

reliht_status metadata_parse(reliht_context *context, const char *path, const json_t *object,
                             model_claims *claims)
{
    static const char *const formats[] = {"reliht"}, *const versions[] = {MODEL_FORMAT_VERSION},
                             *const kinds[] = {"fused", "factored"},
                             *const losses[] = {"mse", "cross-entropy"},
                             *const answers[] = {"false", "true"},
                             *const signs[] = {"plus", "mixed"};
    const description self = {context, path, object};
    size_t format, version, kind = 0, loss, bias, sign = 0;
    *claims = (model_claims){0};
    reliht_status status = check_texts(&self);
    if (!status)
        status = parse_choice(&self, "format", formats, 1, &format);
    if (!status)
        status = parse_choice(&self, "format_version", versions, 1, &version);
    if (!status)
        status = parse_choice(&self, "kind", kinds, 2, &kind);
    if (!status)
        status = parse_choice(&self, "loss", losses, 2, &loss);
    if (!status)
        status = parse_choice(&self, "bias", answers, 2, &bias);
    if (!status && kind == RELIHT_FUSED)
        status = parse_choice(&self, "signs", signs, 2, &sign);
    if (!status)
        status = parse_dimension(&self, "inputs", &claims->inputs);
    if (!status)
        status = parse_dimension(&self, "outputs", &claims->outputs);
    if (!status)
        status = parse_hidden(&self, claims);
    if (!status)
        status = parse_preprocessing(&self, claims);
    if (status)
        return status;
    claims->kind = kind ? RELIHT_FACTORED : RELIHT_FUSED;
    claims->loss = loss ? RELIHT_LOSS_CROSS_ENTROPY : RELIHT_LOSS_MSE;
    claims->signs = sign ? RELIHT_SIGNS_MIXED : RELIHT_SIGNS_PLUS;
    claims->bias = bias;
    if (claims->kind == RELIHT_FUSED && claims->outputs != 1)
        return malformed(&self, "outputs", "must be 1 in a fused model");
    return RELIHT_OK;
}
