/* reliht_train: checks the options, trains layer after layer on the embeddings of the layers
 * before, and puts the model together. */
#include "backend/backend.h"
#include "solver/factored.h"
#include "solver/factored_recover.h"
#include "solver/fused.h"
#include "solver/limits.h"
#include "solver/problem.h"
#include "solver/recover.h"

#include <math.h>
#include <string.h>

#define WEIGHTS_PER_CLASS 10 /* up to which auto takes recover for classes */

void reliht_train_options_default(reliht_train_options *options)
{
    *options = (reliht_train_options){
        .solver = RELIHT_SOLVER_AUTO,
        .hidden = 100,
        .nnz = 1000,
        .layers = 1,
        .epochs = 15,
        .refits = 10,
        .generator = RELIHT_GENERATOR_GAUSSIAN,
        .importance = RELIHT_IMPORTANCE_SKETCH,
        .screening = true,
    };
}

static reliht_status check_counts(reliht_context *context, const reliht_train_options *options)
{
    const struct {
        const char *name;
        size_t value, minimum;
    } counts[] = {
        {"hidden", options->hidden, 1}, {"nnz", options->nnz, 1},
        {"layers", options->layers, 1}, {"epochs", options->epochs, 1},
        {"batch", options->batch, 0},   {"refits", options->refits, 0},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        reliht_status status =
            check_dimension(context, counts[i].name, counts[i].value, counts[i].minimum);
        if (status)
            return status;
    }
    if (options->layers > MODEL_LAYERS_MAXIMUM)
        return fail(context, RELIHT_ARGUMENT, "layers is %zu; at most %u are supported",
                    options->layers, MODEL_LAYERS_MAXIMUM);
    if (options->nnz / options->layers == 0)
        return fail(context, RELIHT_ARGUMENT, "nnz %zu leaves nothing for some of %zu layers",
                    options->nnz, options->layers);
    return RELIHT_OK;
}

static reliht_status check_generators(reliht_context *context, const reliht_dataset *dataset,
                                      const reliht_train_options *options)
{
    if (!options->generators)
        return RELIHT_OK;
    const sparse *given = &options->generators->hidden[0];
    size_t inputs = dataset->inputs + options->bias;
    if (given->columns != dataset->inputs && given->columns != inputs)
        return fail(context, RELIHT_ARGUMENT,
                    "the given generators have %zu inputs, the data %zu: they must be equal",
                    given->columns, dataset->inputs);
    if (given->rows > options->hidden)
        return fail(context, RELIHT_ARGUMENT,
                    "%zu generators are given for %zu hidden neurons; at most as many are allowed",
                    given->rows, options->hidden);
    return RELIHT_OK;
}

/* What the search for exact recovery of one output can't do. */
static reliht_status check_recover(reliht_context *context, const reliht_train_options *options)
{
    if (options->validation > 0)
        return fail(
            context, RELIHT_ARGUMENT,
            "solver recover chooses by the training data if there is one output; validation "
            "must be 0, not %g",
            options->validation);
    if (options->generators && !options->convex)
        return fail(context, RELIHT_ARGUMENT,
                    "solver recover takes given generators in convex mode only; otherwise it makes "
                    "its own");
    if (options->nnz > RECOVER_NNZ_MAXIMUM)
        return fail(context, RELIHT_ARGUMENT, "nnz is %zu; solver recover takes at most %u",
                    options->nnz, RECOVER_NNZ_MAXIMUM);
    return RELIHT_OK;
}

static reliht_status check_options(reliht_context *context, const reliht_dataset *dataset,
                                   const reliht_train_options *options)
{
    bool scalar = dataset->outputs == 1;
    size_t inputs = dataset->inputs + options->bias;
    reliht_status status = check_counts(context, options);
    if (!status)
        status = check_tolerance(context, options->tolerance);
    if (!status)
        status = check_validation(context, options->validation);
    if (!status)
        status = check_generators(context, dataset, options);
    if (status)
        return status;
    size_t possible = options->hidden * (inputs + (scalar ? 0 : dataset->outputs));
    if (options->nnz / options->layers > possible)
        return fail(context, RELIHT_ARGUMENT,
                    "nnz %zu is more than the %zu weights that %zu hidden neurons on %zu inputs "
                    "can have; choose fewer nonzeros or more neurons",
                    options->nnz / options->layers, possible, options->hidden, inputs);
    status = check_loss(context, dataset, options->loss);
    if (status)
        return status;
    if (scalar && options->solver == RELIHT_SOLVER_RECOVER)
        status = check_recover(context, options);
    if (status)
        return status;
    if (!scalar && (options->generators || options->convex))
        return fail(context, RELIHT_ARGUMENT,
                    "%s is for problems with one output; this one has %zu outputs",
                    options->generators ? "giving generators" : "convex mode", dataset->outputs);
    return RELIHT_OK;
}

/* Columns of a layer trained on an embedding are places among the live neurons of the layer before;
 * the model names those neurons. The bias input stays last. */
static void rename_columns(sparse *weights, const sparse *below)
{
    for (size_t k = 0; k < weights->nnz; k++) {
        uint32_t column = weights->column[k];
        weights->column[k] = column < below->live ? below->row[column] : (uint32_t)below->rows;
    }
    weights->columns = weights->columns - below->live + below->rows;
}

/* What the layers are trained on in turn; owned unless it is the caller's data set. */
typedef struct layer_data {
    const reliht_dataset *train, *validation;
    reliht_dataset *owned_train, *owned_validation;
} layer_data;

static void layer_data_release(layer_data *data)
{
    reliht_dataset_destroy(data->owned_train);
    reliht_dataset_destroy(data->owned_validation);
    *data = (layer_data){0};
}

/* Replaces the data by its embedding through `weights`. */
static reliht_status embed_data(reliht_context *context, const sparse *weights, bool bias,
                                layer_data *data)
{
    const backend_operations *operations = context->backend->operations;
    layer_data embedded = {0};
    reliht_status status =
        operations->embed(context->backend, weights, bias, data->train, &embedded.owned_train);
    if (!status && data->validation)
        status = operations->embed(context->backend, weights, bias, data->validation,
                                   &embedded.owned_validation);
    layer_data_release(data);
    *data = embedded;
    data->train = data->owned_train;
    data->validation = data->owned_validation;
    return status;
}

static reliht_status train_layer(reliht_context *context, const layer_data *data,
                                 const reliht_train_options *options, size_t layer,
                                 reliht_model *model, reliht_train_report *report)
{
    reliht_train_options own = *options;
    /* clang-tidy doesn't know that fail() never returns RELIHT_OK */
    size_t inputs = data->train->inputs + options->bias; // NOLINT(clang-analyzer-core.*)
    own.nnz = options->nnz / options->layers;
    own.seed = options->seed + layer * UINT64_C(0x9E3779B97F4A7C15);
    own.signs = model->signs;
    own.loss = model->loss;
    if (layer > 0)
        own.generators = NULL;
    size_t possible =
        options->hidden * (inputs + (model->kind == RELIHT_FACTORED ? model->outputs : 0));
    if (own.nnz > possible)
        own.nnz = possible; /* few neurons of the layer before are alive */
    sparse *weights = &model->hidden[layer];
    sparse_destroy(context, &model->output);
    reliht_status status = sparse_create(context, weights, options->hidden, inputs, own.nnz);
    model->layers = layer + 1;
    if (!status && model->kind == RELIHT_FUSED && options->solver == RELIHT_SOLVER_RECOVER)
        return recover_train(context, data->train, &own, layer, options->layers, weights, report);
    if (!status && model->kind == RELIHT_FUSED)
        return fused_train(context, data->train, data->validation, &own, layer, options->layers,
                           weights, report);
    if (!status)
        status = sparse_create(context, &model->output, options->hidden, model->outputs, own.nnz);
    if (status)
        return status;
    bool recover = own.solver == RELIHT_SOLVER_RECOVER;
    return (recover ? factored_recover : factored_train)(context, data->train, data->validation,
                                                         &own, layer, options->layers, weights,
                                                         &model->output, report);
}

/* CANCELLED leaves the model with the layers trained so far. */
static reliht_status train_layers(reliht_context *context, const reliht_dataset *dataset,
                                  const reliht_train_options *options, reliht_model *model,
                                  reliht_train_report *report)
{
    layer_data data = {.train = dataset};
    reliht_status status = RELIHT_OK;
    if (options->validation > 0) {
        status = split_validation(context, dataset, options->validation, options->seed,
                                  &data.owned_train, &data.owned_validation);
        data.train = data.owned_train;
        data.validation = data.owned_validation;
    }
    for (size_t layer = 0; !status && layer < options->layers; layer++) {
        if (layer > 0)
            status = embed_data(context, &model->hidden[layer - 1], options->bias, &data);
        if (!status)
            status = train_layer(context, &data, options, layer, model, report);
    }
    /* Only now: until here every layer reads the live neurons of the one before. */
    if (!status || status == RELIHT_CANCELLED)
        for (size_t layer = 1; layer < model->layers; layer++)
            rename_columns(&model->hidden[layer], &model->hidden[layer - 1]);
    layer_data_release(&data);
    return status;
}

static reliht_signs signs_of(const reliht_dataset *dataset, reliht_signs wanted)
{
    if (wanted != RELIHT_SIGNS_AUTO)
        return wanted;
    return dataset->target_minimum < 0 ? RELIHT_SIGNS_MIXED : RELIHT_SIGNS_PLUS;
}

/* What auto stands for. Asking for a step or an importance asks for the solver that has them. Of
 * classes, Adam's many small steps serve all but the smallest budgets (docs/classification.md). */
static reliht_solver solver_of(const reliht_context *context, const reliht_dataset *dataset,
                               const reliht_train_options *options)
{
    if (options->solver != RELIHT_SOLVER_AUTO)
        return options->solver;
    bool asked =
        options->step != RELIHT_STEP_AUTO || options->importance != RELIHT_IMPORTANCE_SKETCH;
    bool fitting = !dataset->classes || options->nnz <= WEIGHTS_PER_CLASS * dataset->outputs;
    bool recover = dataset->outputs > 1 && !asked && fitting &&
                   context->backend->operations->factored_evaluate;
    return recover ? RELIHT_SOLVER_RECOVER : RELIHT_SOLVER_AIHT;
}

reliht_status reliht_train(reliht_context *context, const reliht_dataset *dataset,
                           const reliht_train_options *options, reliht_model **model,
                           reliht_train_report *report)
{
    reliht_train_report own_report;
    if (!report)
        report = &own_report;
    *report = (reliht_train_report){0};
    *model = NULL;
    reliht_status status = check_options(context, dataset, options);
    if (status)
        return status;
    double wall = clock_wall(), cpu = clock_cpu();
    reliht_train_options own = *options;
    own.solver = report->solver = solver_of(context, dataset, options);
    bool scalar = dataset->outputs == 1;
    reliht_model *made;
    status = model_create(context, scalar ? RELIHT_FUSED : RELIHT_FACTORED, dataset->inputs,
                          dataset->outputs, options->bias, &made);
    if (status)
        return status;
    made->signs = scalar ? signs_of(dataset, options->signs) : RELIHT_SIGNS_PLUS;
    made->loss = resolve_loss(dataset, options->loss);
    made->preparation = dataset->preparation;
    status = train_layers(context, dataset, &own, made, report);
    report->seconds = clock_wall() - wall;
    report->cpu_seconds = clock_cpu() - cpu;
    if (!status || status == RELIHT_CANCELLED) {
        reliht_evaluation evaluation = {0};
        reliht_status last =
            model_describe(made, own.solver == RELIHT_SOLVER_RECOVER ? "recover" : "aiht",
                           options->seed, options->nnz);
        if (!last)
            last = reliht_model_evaluate(context, made, dataset, &evaluation);
        if (!last)
            report->loss_final = evaluation.loss;
        status = last ? last : status;
    }
    if (status && status != RELIHT_CANCELLED) {
        reliht_model_destroy(made);
        return status;
    }
    *model = made;
    return status;
}
