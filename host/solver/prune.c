/* Iterative magnitude pruning with rewinding (Han et al. 2015; Frankle & Carbin 2019): train all
 * weights by Adam; then, level by level of a plan, cut to the largest magnitudes, return to the
 * first values and train again. See reliht_prune in reliht.h. */
#include "backend/backend.h"
#include "core/rng.h"
#include "model/evaluate.h"
#include "solver/limits.h"
#include "solver/problem.h"
#include "solver/prune_plan.h"

#include <math.h>
#include <stdlib.h>

#define MEAN_DECAY 0.9
#define SQUARE_DECAY 0.999
#define EPSILON 1e-8
#define REPORT_EVERY 16u /* steps between two waits for the backend */
#define EVALUATED 4096u  /* samples predicted at once, at most */
#define WEIGHTS_MOST 0x1p53

typedef struct prune_run {
    reliht_context *context;
    const reliht_dataset *dataset, *train, *validation; /* train: without the validation part */
    reliht_dataset *owned_train, *owned_validation;
    const reliht_prune_options *options;
    reliht_loss loss;
    size_t *targets; /* [options->targets], descending */
    prune_plan plan;
    size_t round, rounds; /* trainings: the one under way, and all */
    size_t batch_size, batches;
    dense_network *network;
    batch *data;
    uint32_t *order; /* [samples] of the epoch's samples; NULL for full batch */
    double epoch_loss;
    size_t epoch_samples; /* that epoch_loss is the sum over */
    double start;
    reliht_model **models;        /* the caller's */
    reliht_prune_target *results; /* as models */
    reliht_prune_report *report;
} prune_run;

void reliht_prune_options_default(reliht_prune_options *options)
{
    *options = (reliht_prune_options){
        .hidden = 100,
        .layers = 1,
        .rate = 0.1,
        .epochs = 10,
        .learning_rate = 1e-3,
    };
}

/* ---------------------------------------------------------------- options */

/* Weights of the dense network; as a double it cannot overflow. */
static double count_weights(const reliht_dataset *dataset, const reliht_prune_options *options)
{
    double hidden = (double)options->hidden, bias = options->bias;
    return hidden * ((double)dataset->inputs + bias) +
           (double)(options->layers - 1) * hidden * (hidden + bias) +
           hidden * (double)dataset->outputs;
}

static reliht_status check_counts(reliht_context *context, const reliht_prune_options *options)
{
    const struct {
        const char *name;
        size_t value, minimum;
    } counts[] = {
        {"hidden", options->hidden, 1}, {"layers", options->layers, 1},
        {"epochs", options->epochs, 1}, {"epochs_final", options->epochs_final, 0},
        {"batch", options->batch, 0},
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
    return RELIHT_OK;
}

static reliht_status check_rates(reliht_context *context, const reliht_prune_options *options)
{
    double rate = options->rate, step = options->learning_rate;
    bool share = rate >= PRUNE_RATE_LEAST && rate < 1;
    bool rounds = rate >= 1 && rate <= PRUNE_ROUNDS_MOST && rate == floor(rate);
    if (!share && !rounds && rate != 0)
        return fail(context, RELIHT_ARGUMENT,
                    "the pruning rate is %g; it must be a share from %g to below 1, 0, or a whole "
                    "number of rounds from 1 to %.0f",
                    rate, PRUNE_RATE_LEAST, PRUNE_ROUNDS_MOST);
    if (!(step > 0 && step <= 1e6))
        return fail(context, RELIHT_ARGUMENT,
                    "the learning rate is %g; it must be above 0 and at most 1e6", step);
    return RELIHT_OK;
}

static reliht_status check_targets(reliht_context *context, const reliht_dataset *dataset,
                                   const reliht_prune_options *options)
{
    double weights = count_weights(dataset, options);
    if (weights > WEIGHTS_MOST)
        return fail(context, RELIHT_MEMORY,
                    "a dense network of %.3g weights is more than memory: fewer neurons would fit",
                    weights);
    if (!options->nnz || options->targets < 1)
        return fail(context, RELIHT_ARGUMENT, "no target is given: at least one nnz is needed");
    for (size_t t = 0; t < options->targets; t++) {
        reliht_status status = check_dimension(context, "nnz", options->nnz[t], 1);
        if (status)
            return status;
        if ((double)options->nnz[t] > weights)
            return fail(context, RELIHT_ARGUMENT,
                        "nnz %zu is more than the %.0f weights that %zu hidden layer%s of %zu "
                        "neurons on %zu inputs can have; choose fewer nonzeros or more neurons",
                        options->nnz[t], weights, options->layers, options->layers == 1 ? "" : "s",
                        options->hidden, dataset->inputs + options->bias);
    }
    return RELIHT_OK;
}

static reliht_status check_test(reliht_context *context, const reliht_dataset *dataset,
                                const reliht_dataset *test)
{
    if (!test)
        return RELIHT_OK;
    if (test->inputs != dataset->inputs)
        return fail(context, RELIHT_ARGUMENT,
                    "the test data have %zu inputs, the training data %zu: they must be equal",
                    test->inputs, dataset->inputs);
    bool fewer = dataset->outputs > 1 && test->classes && test->classes <= dataset->outputs;
    if (test->outputs != dataset->outputs && !fewer)
        return fail(context, RELIHT_ARGUMENT,
                    "the test data have targets for %zu outputs, the training data for %zu",
                    test->outputs, dataset->outputs);
    return RELIHT_OK;
}

static reliht_status check_options(reliht_context *context, const reliht_dataset *dataset,
                                   const reliht_prune_options *options)
{
    reliht_status status = check_counts(context, options);
    if (!status)
        status = check_rates(context, options);
    if (!status)
        status = check_validation(context, options->validation);
    if (!status)
        status = check_loss(context, dataset, options->loss);
    if (!status)
        status = check_targets(context, dataset, options);
    if (!status)
        status = check_test(context, dataset, options->test);
    return status;
}

/* ---------------------------------------------------------------- scores */

/* The dense network on one data set, which is read through a batch of its own. */
typedef struct dense_on_data {
    const prune_run *run;
    batch *data;
    uint32_t *rows; /* [capacity] */
    size_t capacity;
    bool whole; /* the batch holds all samples */
} dense_on_data;

static reliht_status predict_dense(void *user, size_t first, size_t count, float *outputs)
{
    dense_on_data *self = user;
    const backend_operations *operations = self->run->context->backend->operations;
    for (size_t i = 0; i < count; i++)
        self->rows[i] = (uint32_t)(first + i);
    reliht_status status =
        operations->batch_load(self->data, self->whole ? NULL : self->rows, count);
    return status ? status : operations->dense_predict(self->run->network, self->data, outputs);
}

static reliht_status evaluate_dense(const prune_run *run, const reliht_dataset *dataset,
                                    reliht_evaluation *evaluation)
{
    reliht_context *context = run->context;
    const backend_operations *operations = context->backend->operations;
    dense_on_data pair = {.run = run, .capacity = run->batch_size};
    if (pair.capacity > EVALUATED)
        pair.capacity = EVALUATED;
    if (pair.capacity > dataset->samples)
        pair.capacity = dataset->samples;
    pair.whole = pair.capacity == dataset->samples;
    reliht_status status = gate_allocate(context, MEMORY_workspace, pair.capacity,
                                         sizeof *pair.rows, "rows of a batch", &pair.rows);
    if (!status)
        status = operations->batch_create(context->backend, dataset, run->options->bias,
                                          pair.capacity, &pair.data);
    const predictor self = {predict_dense, &pair, pair.capacity, run->train->outputs, run->loss};
    if (!status)
        status = evaluate_predictor(context, &self, dataset, evaluation);
    operations->batch_destroy(pair.data);
    gate_release(context, pair.rows);
    return status;
}

static reliht_prune_scores no_scores(void)
{
    const reliht_evaluation none = {NAN, NAN, NAN, NAN};
    return (reliht_prune_scores){none, none};
}

static reliht_status score(const prune_run *run, reliht_prune_scores *scores)
{
    reliht_status status = evaluate_dense(run, run->dataset, &scores->train);
    if (!status && run->options->test)
        status = evaluate_dense(run, run->options->test, &scores->test);
    return status;
}

/* ---------------------------------------------------------------- training */

static size_t samples_of(const prune_run *run, size_t batch_number)
{
    size_t rest = run->train->samples - batch_number * run->batch_size;
    return rest < run->batch_size ? rest : run->batch_size;
}

static reliht_status load_batch(prune_run *run, size_t batch_number)
{
    const backend_operations *operations = run->context->backend->operations;
    size_t samples = run->train->samples;
    if (!run->order) /* it never changes */
        return run->report->epochs == 0 ? operations->batch_load(run->data, NULL, samples)
                                        : RELIHT_OK;
    if (batch_number == 0)
        rng_permutation(run->options->seed, RNG_BATCHES, run->report->epochs, (uint32_t)samples,
                        run->order);
    return operations->batch_load(run->data, run->order + batch_number * run->batch_size,
                                  samples_of(run, batch_number));
}

/* Announces the next batch of the epoch, which may travel while the step under way runs. */
static reliht_status stage_batch(prune_run *run, size_t batch_number)
{
    if (!run->order || batch_number >= run->batches)
        return RELIHT_OK;
    return run->context->backend->operations->batch_stage(
        run->data, run->order + batch_number * run->batch_size, samples_of(run, batch_number));
}

/* One step; now and then the loss is asked for, which waits for the backend. */
static reliht_status take_step(prune_run *run, size_t batch_number)
{
    const backend_operations *operations = run->context->backend->operations;
    dense_report report;
    reliht_status status = load_batch(run, batch_number);
    if (!status)
        status = operations->dense_step(run->network, run->data);
    if (!status)
        status = stage_batch(run, batch_number + 1);
    if (status || (batch_number % REPORT_EVERY && batch_number + 1 < run->batches))
        return status;
    status = operations->dense_report(run->network, &report);
    run->epoch_loss += report.loss * (double)report.samples;
    run->epoch_samples += report.samples;
    return status;
}

/* CANCELLED if the caller wants no more. `batch_number` batches of the epoch are done. */
static reliht_status report_progress(const prune_run *run, size_t epoch, size_t epochs,
                                     size_t batch_number, double evaluation)
{
    if (!run->options->progress)
        return RELIHT_OK;
    const reliht_progress progress = {
        .epoch = epoch,
        .epochs = epochs,
        .batch = batch_number,
        .batches = run->batches,
        .layers = 1,
        .round = run->round,
        .rounds = run->rounds,
        .nnz = run->plan.left,
        .loss = run->epoch_samples ? run->epoch_loss / (double)run->epoch_samples : NAN,
        .evaluation_loss = evaluation,
        .step_size = run->options->learning_rate,
        .seconds = clock_wall() - run->start,
    };
    if (run->options->progress(run->options->progress_user, &progress))
        return RELIHT_OK;
    return fail(run->context, RELIHT_CANCELLED, "cancelled in training %zu of %zu", run->round + 1,
                run->rounds);
}

/* The place of the present target in the caller's lists. */
static size_t place_of_target(const prune_run *run)
{
    size_t place = 0;
    while (run->options->nnz[place] != run->plan.left)
        place++;
    return place;
}

static reliht_status take_weights(prune_run *run, reliht_model *model)
{
    sparse matrices[MODEL_LAYERS_MAXIMUM + 1];
    size_t layers = model->layers;
    for (size_t l = 0; l <= layers; l++)
        matrices[l] = l < layers ? model->hidden[l] : model->output;
    reliht_status status =
        run->context->backend->operations->dense_get_weights(run->network, matrices);
    for (size_t l = 0; l < layers; l++)
        model->hidden[l] = matrices[l];
    model->output = matrices[layers];
    return status;
}

/* At the end of an epoch on a target's mask: keeps the weights if they are the best so far. */
static reliht_status keep_best(prune_run *run, reliht_model *model, double *best,
                               double *evaluation)
{
    reliht_evaluation scores;
    reliht_status status = evaluate_dense(run, run->validation, &scores);
    if (status)
        return status;
    *evaluation = scores.loss;
    if (!(scores.loss < *best))
        return RELIHT_OK;
    *best = scores.loss;
    return take_weights(run, model);
}

/* Trains on the present mask. `model` receives the weights of the last epoch, or of the best one by
 * the validation data; NULL where the level is not a target. */
static reliht_status train_level(prune_run *run, size_t epochs, reliht_model *model, size_t *done)
{
    reliht_status status = RELIHT_OK;
    double best = INFINITY;
    for (*done = 0; !status && *done < epochs;) {
        run->epoch_loss = 0;
        run->epoch_samples = 0;
        for (size_t b = 0; !status && b < run->batches; b++) {
            bool last = b + 1 == run->batches;
            double evaluation = NAN;
            status = take_step(run, b);
            if (!status && last && model && run->validation)
                status = keep_best(run, model, &best, &evaluation);
            if (!status && last) {
                run->report->epochs++;
                ++*done;
            }
            if (!status)
                status = report_progress(run, *done, epochs, b + 1, evaluation);
        }
    }
    if (model && best == INFINITY && (!status || status == RELIHT_CANCELLED)) {
        reliht_status taken = take_weights(run, model);
        status = taken ? taken : status;
    }
    return status;
}

/* ---------------------------------------------------------------- levels */

/* The model of the present target, still without weights. */
static reliht_status create_model(prune_run *run, reliht_model **out)
{
    reliht_context *context = run->context;
    const reliht_prune_options *options = run->options;
    const reliht_dataset *dataset = run->dataset;
    reliht_model *made;
    reliht_status status = model_create(context, RELIHT_FACTORED, dataset->inputs, dataset->outputs,
                                        options->bias, &made);
    if (status)
        return status;
    *out = made;
    made->loss = run->loss;
    made->preparation = dataset->preparation;
    size_t columns = dataset->inputs;
    for (size_t l = 0; l <= options->layers && !status; l++) {
        bool last = l == options->layers;
        columns = last ? dataset->outputs : columns + options->bias;
        size_t possible = options->hidden * columns;
        status = sparse_create(context, last ? &made->output : &made->hidden[l], options->hidden,
                               columns, possible < run->plan.left ? possible : run->plan.left);
        columns = options->hidden;
    }
    made->layers = options->layers;
    return status ? status : model_describe(made, "imp", options->seed, run->plan.left);
}

/* The present target: its model and, after a cut, its scores so far. */
static reliht_status begin_target(prune_run *run, reliht_model **model)
{
    size_t place = place_of_target(run);
    reliht_prune_target *result = &run->results[place];
    *result = (reliht_prune_target){.nnz = run->plan.left, .round = run->round, .cut = no_scores()};
    reliht_status status = create_model(run, &run->models[place]);
    *model = run->models[place];
    return status;
}

static reliht_status finish_target(prune_run *run, const reliht_model *model, size_t epochs)
{
    reliht_evaluation evaluation;
    reliht_prune_target *result = &run->results[place_of_target(run)];
    result->epochs = epochs;
    reliht_status status = reliht_model_evaluate(run->context, model, run->dataset, &evaluation);
    if (!status)
        result->loss_final = evaluation.loss;
    return status;
}

/* Goes to the next level and cuts to it. If that is a target its model begins with what is left. */
static reliht_status cut(prune_run *run, reliht_model **model)
{
    const backend_operations *operations = run->context->backend->operations;
    *model = NULL;
    prune_plan_next(&run->plan);
    run->round = ++run->report->rounds;
    reliht_status status = operations->dense_prune(run->network, run->plan.left);
    if (status || !prune_plan_at_target(&run->plan))
        return status;
    status = begin_target(run, model);
    return status ? status : take_weights(run, *model);
}

static reliht_status score_cut(prune_run *run, const reliht_model *model)
{
    double loss = NAN;
    if (model) {
        reliht_prune_scores *scores = &run->results[place_of_target(run)].cut;
        reliht_status status = score(run, scores);
        if (status)
            return status;
        loss = scores->train.loss;
    }
    run->epoch_samples = 0;
    return report_progress(run, 0, run->options->epochs, run->batches, loss);
}

/* Training on the present mask; `model` is that of the level if it is a target, else NULL. */
static reliht_status run_level(prune_run *run, reliht_model *model)
{
    const reliht_prune_options *options = run->options;
    size_t epochs = model && options->epochs_final ? options->epochs_final : options->epochs;
    size_t done = 0;
    reliht_status status = RELIHT_OK;
    if (run->round) {
        status = score_cut(run, model);
        if (!status)
            status = run->context->backend->operations->dense_rewind(run->network);
    }
    if (!status)
        status = train_level(run, epochs, model, &done);
    if (model && (!status || status == RELIHT_CANCELLED)) {
        reliht_status finished = finish_target(run, model, done);
        status = finished ? finished : status;
    }
    if (!status && !run->round)
        status = score(run, &run->report->dense);
    return status;
}

static reliht_status descend(prune_run *run)
{
    reliht_model *model = NULL;
    reliht_status status = RELIHT_OK;
    if (prune_plan_at_target(&run->plan))
        status = begin_target(run, &model);
    if (!status)
        status = run_level(run, model);
    while (!status && run->plan.served < run->plan.count) {
        status = cut(run, &model);
        if (!status)
            status = run_level(run, model);
    }
    return status;
}

/* After a cancellation: cuts straight to the targets that were not reached. */
static reliht_status cut_the_rest(prune_run *run)
{
    reliht_status status = RELIHT_OK;
    run->plan.rate = 0;
    while (!status && run->plan.served < run->plan.count) {
        reliht_model *model;
        status = cut(run, &model);
        if (!status)
            status = finish_target(run, model, 0);
    }
    return status;
}

/* ---------------------------------------------------------------- a run */

static int descending(const void *left, const void *right)
{
    size_t a = *(const size_t *)left, b = *(const size_t *)right;
    return (a < b) - (a > b);
}

static reliht_status sort_targets(prune_run *run)
{
    const reliht_prune_options *options = run->options;
    size_t count = options->targets;
    reliht_status status = gate_allocate(run->context, MEMORY_workspace, count,
                                         sizeof *run->targets, "targets", &run->targets);
    if (status)
        return status;
    for (size_t t = 0; t < count; t++)
        run->targets[t] = options->nnz[t];
    qsort(run->targets, count, sizeof *run->targets, descending);
    for (size_t t = 1; t < count; t++)
        if (run->targets[t] == run->targets[t - 1])
            return fail(run->context, RELIHT_ARGUMENT, "nnz %zu is given twice", run->targets[t]);
    run->plan = prune_plan_begin((size_t)count_weights(run->dataset, options), run->targets, count,
                                 options->rate);
    run->report->weights = run->plan.weights;
    run->rounds = prune_plan_rest(run->plan) + 1;
    return RELIHT_OK;
}

static reliht_status create_network(prune_run *run)
{
    const reliht_prune_options *options = run->options;
    dense_problem problem = {
        .inputs = run->dataset->inputs + options->bias,
        .layers = options->layers,
        .outputs = run->dataset->outputs,
        .bias = options->bias,
        .samples = run->batch_size,
        .loss = run->loss,
        .learning_rate = options->learning_rate,
        .mean_decay = MEAN_DECAY,
        .square_decay = SQUARE_DECAY,
        .epsilon = EPSILON,
        .seed = options->seed,
    };
    for (size_t l = 0; l < options->layers; l++)
        problem.hidden[l] = options->hidden;
    return run->context->backend->operations->dense_create(run->context->backend, &problem,
                                                           &run->network);
}

static reliht_status open_run(prune_run *run)
{
    reliht_context *context = run->context;
    const reliht_prune_options *options = run->options;
    const backend_operations *operations = context->backend->operations;
    run->train = run->dataset;
    reliht_status status = sort_targets(run);
    if (!status && options->validation > 0) {
        status = split_validation(context, run->dataset, options->validation, options->seed,
                                  &run->owned_train, &run->owned_validation);
        run->train = run->owned_train;
        run->validation = run->owned_validation;
    }
    if (status)
        return status;
    size_t samples = run->train->samples;
    bool full = !options->batch || options->batch >= samples;
    run->batch_size = full ? samples : options->batch;
    run->batches = (samples + run->batch_size - 1) / run->batch_size;
    if (!full)
        status = gate_allocate(context, MEMORY_workspace, samples, sizeof *run->order,
                               "order of the samples", &run->order);
    if (!status)
        status = create_network(run);
    if (!status)
        status = operations->batch_create(context->backend, run->train, options->bias,
                                          run->batch_size, &run->data);
    return status;
}

static void close_run(prune_run *run)
{
    const backend_operations *operations = run->context->backend->operations;
    operations->dense_destroy(run->network);
    operations->batch_destroy(run->data);
    reliht_dataset_destroy(run->owned_train);
    reliht_dataset_destroy(run->owned_validation);
    gate_release(run->context, run->order);
    gate_release(run->context, run->targets);
}

static reliht_status prune(prune_run *run)
{
    reliht_status status = open_run(run);
    if (!status)
        status = descend(run);
    if (status == RELIHT_CANCELLED) {
        reliht_status rest = cut_the_rest(run);
        status = rest ? rest : status;
    }
    close_run(run);
    return status;
}

reliht_status reliht_prune(reliht_context *context, const reliht_dataset *dataset,
                           const reliht_prune_options *options, reliht_model **models,
                           reliht_prune_target *results, reliht_prune_report *report)
{
    reliht_prune_report own_report;
    reliht_prune_target *own_results = NULL;
    if (!report)
        report = &own_report;
    *report = (reliht_prune_report){.dense = no_scores()};
    for (size_t t = 0; t < options->targets; t++)
        models[t] = NULL;
    reliht_status status = check_options(context, dataset, options);
    if (!status && !results)
        status = gate_allocate(context, MEMORY_workspace, options->targets, sizeof *own_results,
                               "results of targets", &own_results);
    if (status)
        return status;
    double wall = clock_wall(), cpu = clock_cpu();
    prune_run run = {
        .context = context,
        .dataset = dataset,
        .options = options,
        .loss = resolve_loss(dataset, options->loss),
        .start = wall,
        .models = models,
        .results = results ? results : own_results,
        .report = report,
    };
    status = prune(&run);
    gate_release(context, own_results);
    report->seconds = clock_wall() - wall;
    report->cpu_seconds = clock_cpu() - cpu;
    for (size_t t = 0; status && status != RELIHT_CANCELLED && t < options->targets; t++) {
        reliht_model_destroy(models[t]);
        models[t] = NULL;
    }
    return status;
}
