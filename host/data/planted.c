/* Planted networks: X drawn (draws.c) or given, y = network(X) + noise, of which nnz weights are
 * drawn: positions uniform without replacement over each weight layer, values N(0,1). */
#include "backend/backend.h"
#include "core/rng.h"
#include "data/columns.h"
#include "data/dataset.h"
#include "data/draws.h"
#include "model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Samples predicted at a time. */
#define PREDICTION_ROWS ((size_t)16384)
/* Deviates near zero are multiples of about 2^-24: what a weight that would be zero becomes. */
#define LEAST_WEIGHT 0x1p-25f

void reliht_planted_options_default(reliht_planted_options *options)
{
    *options = (reliht_planted_options){
        .samples = 50000,
        .inputs = 100,
        .outputs = 1,
        .hidden = 10,
        .nnz = 50,
        .layers = 1,
        .correlation = 0.5,
        .density = 0.1,
    };
}

/* Hidden layers, then the output layer if there are several outputs. */
static size_t weight_layers(const reliht_planted_options *options)
{
    return options->layers + (options->outputs > 1);
}

static size_t layer_nnz(const reliht_planted_options *options, size_t layer)
{
    size_t layers = weight_layers(options);
    return options->nnz / layers + (layer < options->nnz % layers);
}

static size_t layer_columns(const reliht_planted_options *options, size_t layer)
{
    if (layer == options->layers)
        return options->outputs;
    return layer ? options->hidden : options->inputs;
}

static reliht_status check_counts(reliht_context *context, const reliht_planted_options *options)
{
    const struct {
        const char *name;
        size_t value, maximum;
    } counts[] = {
        {"samples", options->samples, RELIHT_MAX_DIMENSION - SAMPLE_BLOCK},
        {"inputs", options->inputs, RELIHT_MAX_DIMENSION - 1},
        {"outputs", options->outputs, RELIHT_MAX_DIMENSION},
        {"hidden", options->hidden, RELIHT_MAX_DIMENSION},
        {"nnz", options->nnz, RELIHT_MAX_DIMENSION},
        {"layers", options->layers, MODEL_LAYERS_MAXIMUM},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].value < 1 || counts[i].value > counts[i].maximum)
            return fail(context, RELIHT_ARGUMENT,
                        "planted network: %s is %zu; 1 to %zu is possible", counts[i].name,
                        counts[i].value, counts[i].maximum);
    return RELIHT_OK;
}

static reliht_status check_options(reliht_context *context, const reliht_planted_options *options)
{
    reliht_status status = check_counts(context, options);
    if (!status)
        status = draws_check(context, options);
    if (status)
        return status;
    for (size_t layer = 0; layer < weight_layers(options); layer++) {
        uint64_t room = (uint64_t)options->hidden * layer_columns(options, layer);
        size_t nnz = layer_nnz(options, layer);
        if (nnz < 1 || nnz > room)
            return fail(
                context, RELIHT_ARGUMENT,
                "planted network: nnz %zu in equal shares is %zu for weight layer %zu of %zu, "
                "which holds 1 to %llu; change nnz or hidden",
                options->nnz, nnz, layer + 1, weight_layers(options), (unsigned long long)room);
    }
    if (!(options->magnitude_minimum >= 0) || isinf(options->magnitude_minimum))
        return fail(context, RELIHT_ARGUMENT,
                    "planted network: a least magnitude of %g; a finite number >= 0 is needed",
                    (double)options->magnitude_minimum);
    if (options->mixed && options->outputs > 1)
        return fail(context, RELIHT_ARGUMENT,
                    "planted network: mixed signs need one output; with %zu the output weights "
                    "carry the signs",
                    options->outputs);
    if (!options->disjoint)
        return RELIHT_OK;
    if (options->layers > 1 || options->outputs > 1)
        return fail(context, RELIHT_ARGUMENT,
                    "planted network: disjoint inputs need one layer and one output");
    if (options->nnz > options->inputs)
        return fail(context, RELIHT_ARGUMENT,
                    "planted network: nnz %zu disjoint inputs were asked of %zu inputs",
                    options->nnz, options->inputs);
    return RELIHT_OK;
}

static int compare_positions(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* nnz distinct inputs, shuffled and dealt to the neurons in turn: position = neuron * inputs +
 * input, ascending. `order` has room for nnz. */
static void deal_disjoint(const reliht_planted_options *options, uint64_t *positions,
                          uint64_t *scratch, uint32_t *order)
{
    rng_distinct(options->seed, RNG_POSITIONS, 0, options->inputs, options->nnz, positions,
                 scratch);
    rng_permutation(options->seed, RNG_POSITIONS, 1, (uint32_t)options->nnz, order);
    for (size_t i = 0; i < options->nnz; i++)
        positions[i] += order[i] % options->hidden * (uint64_t)options->inputs;
    qsort(positions, options->nnz, sizeof *positions, compare_positions);
}

static float draw_value(const reliht_planted_options *options, size_t layer, size_t index)
{
    float value = rng_normal_of(rng_word(options->seed, RNG_VALUES, layer, (uint32_t)index));
    if (options->magnitude_minimum > 0)
        return copysignf(options->magnitude_minimum + fabsf(value), value);
    return value == 0 ? LEAST_WEIGHT : value;
}

static reliht_status draw_layer(reliht_context *context, const reliht_planted_options *options,
                                size_t layer, sparse *weights)
{
    const size_t nnz = layer_nnz(options, layer), columns = layer_columns(options, layer);
    uint64_t *positions = NULL, *scratch = NULL;
    uint32_t *order = NULL;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, nnz, sizeof *positions, "positions", &positions);
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, 4 * nnz + 64, sizeof *scratch,
                               "set of positions", &scratch);
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, options->disjoint ? nnz : 0,
                               sizeof *order, "order of inputs", &order);
    if (!status)
        status = sparse_create(context, weights, options->hidden, columns, nnz);
    if (status)
        goto done;
    if (options->disjoint)
        deal_disjoint(options, positions, scratch, order);
    else
        rng_distinct(options->seed, RNG_POSITIONS, layer, (uint64_t)options->hidden * columns, nnz,
                     positions, scratch);
    for (size_t i = 0; i < nnz; i++)
        sparse_append(weights, (uint32_t)(positions[i] / columns),
                      (uint32_t)(positions[i] % columns), draw_value(options, layer, i));
done:
    gate_release(context, order);
    gate_release(context, scratch);
    gate_release(context, positions);
    return status;
}

static reliht_status draw_model(reliht_context *context, const reliht_planted_options *options,
                                reliht_model **model)
{
    reliht_model *made;
    reliht_status status =
        model_create(context, options->outputs > 1 ? RELIHT_FACTORED : RELIHT_FUSED,
                     options->inputs, options->outputs, false, &made);
    if (status)
        return status;
    made->signs = options->mixed ? RELIHT_SIGNS_MIXED : RELIHT_SIGNS_PLUS;
    made->loss = RELIHT_LOSS_MSE;
    made->layers = options->layers;
    for (size_t layer = 0; !status && layer < weight_layers(options); layer++)
        status = draw_layer(context, options, layer,
                            layer < options->layers ? &made->hidden[layer] : &made->output);
    if (!status)
        status = model_describe(made, "planted", options->seed, options->nnz);
    if (status) {
        reliht_model_destroy(made);
        return status;
    }
    *model = made;
    return RELIHT_OK;
}

/* The inputs of another data set as floats, images scaled. */
static void copy_inputs(const reliht_dataset *from, reliht_dataset *to)
{
    float *x = to->x;
    for (size_t column = 0; column < to->inputs; column++)
        if (from->element == ELEMENT_FLOAT)
            memcpy(x + column * to->stride, (const float *)from->x + column * from->stride,
                   to->samples * sizeof *x);
    if (from->element == ELEMENT_BYTE)
        columns_of_bytes(from->x, from->inputs, NULL, 0, from->samples, 0, from->inputs,
                         from->scale, x, to->stride);
}

static reliht_status predict_targets(const reliht_model *model, reliht_dataset *dataset)
{
    backend *engine = dataset->context->backend;
    const size_t rows = dataset->samples < PREDICTION_ROWS ? dataset->samples : PREDICTION_ROWS;
    float *outputs;
    reliht_status status =
        gate_allocate(dataset->context, MEMORY_workspace, dataset->outputs * rows, sizeof *outputs,
                      "outputs of the planted network", &outputs);
    for (size_t first = 0; !status && first < dataset->samples; first += rows) {
        size_t left = dataset->samples - first;
        size_t count = left < rows ? left : rows;
        status = engine->operations->predict(engine, model, dataset, first, count, outputs);
        for (size_t output = 0; !status && output < dataset->outputs; output++)
            memcpy(dataset->y + output * dataset->stride + first, outputs + output * count,
                   count * sizeof *outputs);
    }
    gate_release(dataset->context, outputs);
    return status;
}

reliht_status reliht_planted_create(reliht_context *context, const reliht_planted_options *given,
                                    reliht_model **planted, reliht_dataset **dataset)
{
    reliht_planted_options chosen = *given;
    const reliht_planted_options *options = &chosen;
    *planted = NULL;
    *dataset = NULL;
    if (given->inputs_from) {
        chosen.samples = given->inputs_from->samples;
        chosen.inputs = given->inputs_from->inputs;
    }
    reliht_status status = check_options(context, options);
    if (status)
        return status;
    reliht_model *model = NULL;
    reliht_dataset *data = NULL;
    status = draw_model(context, options, &model);
    if (!status)
        status = dataset_allocate(context, options->samples, options->inputs, ELEMENT_FLOAT,
                                  options->outputs, true, 0, &data);
    if (status)
        goto done;
    if (options->inputs_from)
        copy_inputs(options->inputs_from, data);
    else
        draws_fill(options, data);
    status = predict_targets(model, data);
    if (!status) {
        draws_add_noise(options, data);
        status = dataset_finish(data);
    }
    if (status)
        goto done;
    *planted = model;
    *dataset = data;
    return RELIHT_OK;
done:
    reliht_model_destroy(model);
    reliht_dataset_destroy(data);
    return status;
}
