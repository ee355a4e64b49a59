/* What a model is: its handle, shapes and weights, and the description that is kept with it. */
#include "model/model.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

reliht_status model_create(reliht_context *context, reliht_model_kind kind, size_t inputs,
                           size_t outputs, bool bias, reliht_model **model)
{
    *model = NULL;
    if (!inputs || inputs >= RELIHT_MAX_DIMENSION || !outputs || outputs > RELIHT_MAX_DIMENSION)
        return fail(context, RELIHT_ARGUMENT,
                    "a model of %zu inputs and %zu outputs: both must be from 1 to 2147483646",
                    inputs, outputs);
    if (kind == RELIHT_FUSED && outputs != 1)
        return fail(context, RELIHT_ARGUMENT,
                    "a fused model has one output, not %zu; more need the factored form", outputs);
    reliht_model *made;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, 1, sizeof *made, "model", &made);
    if (status)
        return status;
    made->context = context;
    made->kind = kind;
    made->signs = RELIHT_SIGNS_PLUS;
    made->loss = RELIHT_LOSS_MSE;
    made->bias = bias;
    made->inputs = inputs;
    made->outputs = outputs;
    *model = made;
    return RELIHT_OK;
}

void reliht_model_destroy(reliht_model *model)
{
    if (!model)
        return;
    for (size_t l = 0; l < MODEL_LAYERS_MAXIMUM; l++)
        sparse_destroy(model->context, &model->hidden[l]);
    sparse_destroy(model->context, &model->output);
    gate_release(model->context, model->metadata);
    gate_release(model->context, model);
}

reliht_model_kind reliht_model_get_kind(const reliht_model *model)
{
    return model->kind;
}

reliht_signs reliht_model_signs(const reliht_model *model)
{
    return model->signs;
}

size_t reliht_model_layers(const reliht_model *model)
{
    return model->layers;
}

size_t reliht_model_inputs(const reliht_model *model)
{
    return model->inputs;
}

size_t reliht_model_outputs(const reliht_model *model)
{
    return model->outputs;
}

bool reliht_model_bias(const reliht_model *model)
{
    return model->bias;
}

size_t reliht_model_hidden(const reliht_model *model, size_t layer)
{
    return layer < model->layers ? model->hidden[layer].rows : 0;
}

size_t reliht_model_nnz(const reliht_model *model)
{
    size_t nnz = model->output.nnz;
    for (size_t l = 0; l < model->layers; l++)
        nnz += model->hidden[l].nnz;
    return nnz;
}

double reliht_model_dense_bytes(const reliht_model *model)
{
    double weights = (double)model->output.rows * (double)model->output.columns;
    for (size_t l = 0; l < model->layers; l++)
        weights += (double)model->hidden[l].rows * (double)model->hidden[l].columns;
    return weights * (double)sizeof(float);
}

const char *reliht_model_metadata(const reliht_model *model)
{
    return model->metadata ? model->metadata : "{}";
}

reliht_status reliht_model_weights(const reliht_model *model, size_t layer, size_t capacity,
                                   uint32_t *neuron, uint32_t *column, float *value, size_t *nnz)
{
    bool output = model->kind == RELIHT_FACTORED && layer == model->layers;
    if (layer >= model->layers && !output)
        return fail(model->context, RELIHT_ARGUMENT,
                    "layer %zu of a model with %zu hidden layers%s", layer, model->layers,
                    model->kind == RELIHT_FACTORED ? " and output weights" : "");
    const sparse *weights = output ? &model->output : &model->hidden[layer];
    *nnz = weights->nnz;
    if ((neuron || column || value) && capacity < weights->nnz)
        return fail(model->context, RELIHT_ARGUMENT,
                    "layer %zu has %zu nonzeros, but there is room for %zu", layer, weights->nnz,
                    capacity);
    for (size_t j = 0; j < weights->live && neuron; j++)
        for (size_t e = weights->start[j]; e < weights->start[j + 1]; e++)
            neuron[e] = weights->row[j];
    if (column)
        memcpy(column, weights->column, weights->nnz * sizeof *column);
    if (value)
        memcpy(value, weights->value, weights->nnz * sizeof *value);
    return RELIHT_OK;
}

static reliht_status comparable(reliht_context *context, const sparse *planted, const sparse *found,
                                const char *what, size_t layer)
{
    if (planted->rows <= found->rows && planted->columns == found->columns)
        return RELIHT_OK;
    return fail(context, RELIHT_ARGUMENT,
                "%s %zu is %zu x %zu in the planted model and %zu x %zu in the other, which must "
                "have as many columns and no fewer neurons",
                what, layer, planted->rows, planted->columns, found->rows, found->columns);
}

static double squared_norm(const sparse *weights)
{
    double sum = 0;
    for (size_t e = 0; e < weights->nnz; e++)
        sum += (double)weights->value[e] * (double)weights->value[e];
    return sum;
}

reliht_status reliht_model_compare(reliht_context *context, const reliht_model *planted,
                                   const reliht_model *model, double *support_recall,
                                   double *weight_rel_error)
{
    if (planted->kind != model->kind || planted->layers != model->layers)
        return fail(context, RELIHT_ARGUMENT,
                    "the planted model is %s with %zu hidden layers, the other %s with %zu",
                    model_kind_name(planted), planted->layers, model_kind_name(model),
                    model->layers);
    reliht_status status =
        comparable(context, &planted->output, &model->output, "output after layer", model->layers);
    for (size_t l = 0; l < model->layers && !status; l++)
        status = comparable(context, &planted->hidden[l], &model->hidden[l], "layer", l);
    if (status)
        return status;
    size_t total = reliht_model_nnz(planted);
    size_t common = sparse_common(&planted->output, &model->output);
    double distance = sparse_distance(&planted->output, &model->output);
    double difference = distance * distance, norm = squared_norm(&planted->output);
    for (size_t l = 0; l < model->layers; l++) {
        common += sparse_common(&planted->hidden[l], &model->hidden[l]);
        distance = sparse_distance(&planted->hidden[l], &model->hidden[l]);
        difference += distance * distance;
        norm += squared_norm(&planted->hidden[l]);
    }
    *support_recall = total ? (double)common / (double)total : 1.0;
    *weight_rel_error = difference > 0 ? sqrt(difference / norm) : 0.0;
    return RELIHT_OK;
}
