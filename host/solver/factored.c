/* Training of the factored model, yhat = relu(X W1^T) W2, on batches of samples.
 *
 * Automatic step: the step size falls as (1 + cos(pi t / T)) / 2 over all T steps; the support is
 * chosen anew in the first half of them and kept in the second, where a step costs O(batch * nnz)
 * only. Empty neurons take part with drawn weights in the first step, and again whenever no weight
 * is left. A last batch that isn't full is left out: every epoch has another order.
 * Published: constant step, a choice in every step, draws in step 0 (full batch) or in the first
 * batch of every epoch. */
#include "solver/factored.h"

#include "backend/backend.h"
#include "core/rng.h"
#include "solver/evaluation.h"

#include <math.h>

#define PI 3.14159265358979323846
#define SCALE_SAMPLES 4096u /* samples from which typical magnitudes are taken, about */

typedef struct factored_run {
    reliht_context *context;
    const reliht_dataset *train, *validation;
    const reliht_train_options *options;
    size_t layer, layers;
    size_t batch_size, batches;
    size_t step, steps; /* taken, and in all */
    bool published;
    factored *model;
    batch *data;
    uint32_t *order; /* [samples] of the epoch's samples; NULL for full batch */
    sparse hidden, output;
    sparse before_hidden, before_output; /* a step earlier; kept only for a tolerance */
    sparse *best_hidden, *best_output;   /* the caller's */
    double best_loss;                    /* of those; infinite before any was scored */
    double target_square;                /* mean square of the targets */
    factored_report step_report;
    double start;
    reliht_train_report *report;
} factored_run;

/* ---------------------------------------------------------------- scales */

/* The power of two nearest to the root of a mean square; 1 for nothing. */
static float nearest_power(double mean_square)
{
    if (!(mean_square > 0) || !isfinite(mean_square))
        return 1.0f;
    return (float)exp2(round(0.5 * log2(mean_square)));
}

float factored_input_scale(const reliht_dataset *dataset)
{
    size_t pace = (dataset->samples + SCALE_SAMPLES - 1) / SCALE_SAMPLES, count = 0;
    bool bytes = dataset->element == ELEMENT_BYTE;
    double sum = 0;
    for (size_t i = 0; i < dataset->samples; i += pace)
        for (size_t c = 0; c < dataset->inputs; c++, count++) {
            double value = bytes ? (double)((const uint8_t *)dataset->x)[i * dataset->inputs + c] *
                                       (double)dataset->scale
                                 : (double)((const float *)dataset->x)[c * dataset->stride + i];
            sum += value * value;
        }
    return nearest_power(sum / (double)count);
}

double factored_target_square(const reliht_dataset *dataset)
{
    double count = (double)dataset->samples * (double)dataset->outputs;
    if (!dataset->y)
        return (double)dataset->samples / count;
    double sum = 0;
    for (size_t k = 0; k < dataset->outputs; k++)
        for (size_t i = 0; i < dataset->samples; i++) {
            double value = (double)dataset->y[k * dataset->stride + i];
            sum += value * value;
        }
    return sum / count;
}

/* ---------------------------------------------------------------- one step */

static reliht_status load_batch(factored_run *run, size_t epoch, size_t batch_number)
{
    const backend_operations *operations = run->context->backend->operations;
    size_t samples = run->train->samples;
    if (!run->order)
        return epoch == 0 ? operations->batch_load(run->data, NULL, samples) : RELIHT_OK;
    if (batch_number == 0)
        rng_permutation(run->options->seed, RNG_BATCHES, epoch, (uint32_t)samples, run->order);
    return operations->batch_load(run->data, run->order + batch_number * run->batch_size,
                                  run->batch_size);
}

static factored_step_options options_of(const factored_run *run, size_t epoch, size_t batch_number)
{
    bool empty = run->step == 0 || run->step_report.nnz == 0;
    bool full = !run->order;
    factored_step_options options = {
        .source = PATTERNS_WEIGHTS,
        .draw_empty = empty,
        .step_scale = 1.0,
    };
    if (!run->published) {
        options.step_scale = 0.5 * (1.0 + cos(PI * (double)run->step / (double)run->steps));
        options.keep_support = !empty && run->step >= (run->steps + 1) / 2;
        return options;
    }
    if (!full && batch_number == 0)
        options.draw_empty = true;
    bool first = full ? epoch <= 1 : epoch == 0 || (epoch == 1 && batch_number == 0);
    if (run->options->importance == RELIHT_IMPORTANCE_SKETCH_PUBLISHED && first)
        options.source = PATTERNS_DRAWN;
    return options;
}

static reliht_status take_step(factored_run *run, size_t epoch, size_t batch_number)
{
    const backend_operations *operations = run->context->backend->operations;
    const factored_step_options options = options_of(run, epoch, batch_number);
    reliht_status status = load_batch(run, epoch, batch_number);
    if (!status)
        status = operations->factored_step(run->model, run->data, &options);
    if (!status && run->order && batch_number + 1 < run->batches) /* the next one may travel */
        status = operations->batch_stage(
            run->data, run->order + (batch_number + 1) * run->batch_size, run->batch_size);
    if (!status)
        status = operations->factored_report(run->model, &run->step_report);
    run->step++;
    if (!status)
        run->report->seconds_sweep += run->step_report.seconds_sweep;
    return status;
}

/* ---------------------------------------------------------------- an epoch */

static reliht_status evaluate_current(factored_run *run, double *loss)
{
    const layer_view view = {
        .kind = RELIHT_FACTORED,
        .loss = run->options->loss,
        .bias = run->options->bias,
        .hidden = &run->hidden,
        .output = &run->output,
    };
    return evaluate_layer(run->context, &view, run->validation ? run->validation : run->train,
                          loss);
}

/* Whether the tolerance is met: by the residual, or by weights that have come to rest. */
static bool has_converged(const factored_run *run, double evaluation)
{
    double tolerance = run->options->tolerance;
    if (tolerance <= 0)
        return false;
    if (!run->validation && run->options->loss == RELIHT_LOSS_MSE &&
        evaluation <= tolerance * tolerance * run->target_square)
        return true;
    const sparse nothing = {0};
    double moved = hypot(sparse_distance(&run->hidden, &run->before_hidden),
                         sparse_distance(&run->output, &run->before_output));
    double size =
        hypot(sparse_distance(&run->hidden, &nothing), sparse_distance(&run->output, &nothing));
    return moved <= tolerance * size;
}

/* Scores the weights at the end of an epoch and keeps them if they are the best so far. */
static reliht_status score_epoch(factored_run *run, double *evaluation)
{
    const backend_operations *operations = run->context->backend->operations;
    reliht_status status = operations->factored_get_weights(run->model, &run->hidden, &run->output);
    bool wanted = !run->options->return_last || run->validation || run->options->tolerance > 0;
    if (!status && wanted)
        status = evaluate_current(run, evaluation);
    if (status || (!run->options->return_last && !(*evaluation < run->best_loss)))
        return status;
    run->best_loss = *evaluation;
    sparse_copy(run->best_hidden, &run->hidden);
    sparse_copy(run->best_output, &run->output);
    return RELIHT_OK;
}

static bool report_progress(const factored_run *run, size_t epoch, size_t batch_number,
                            double evaluation)
{
    if (!run->options->progress)
        return true;
    bool last = batch_number + 1 == run->batches;
    const reliht_progress progress = {
        .epoch = epoch + last,
        .epochs = run->options->epochs,
        .batch = batch_number + 1,
        .batches = run->batches,
        .layer = run->layer,
        .layers = run->layers,
        .nnz = run->step_report.nnz,
        .loss = run->step_report.loss,
        .evaluation_loss = evaluation,
        .step_size = run->step_report.step_size,
        .seconds = clock_wall() - run->start,
    };
    return run->options->progress(run->options->progress_user, &progress);
}

static reliht_status run_epoch(factored_run *run, size_t epoch, bool *stop)
{
    const backend_operations *operations = run->context->backend->operations;
    for (size_t b = 0; b < run->batches; b++) {
        bool last = b + 1 == run->batches;
        double evaluation = NAN;
        reliht_status status = RELIHT_OK;
        if (last && run->options->tolerance > 0)
            status = operations->factored_get_weights(run->model, &run->before_hidden,
                                                      &run->before_output);
        if (!status)
            status = take_step(run, epoch, b);
        if (!status && last)
            status = score_epoch(run, &evaluation);
        if (status)
            return status;
        run->report->epochs = epoch + last;
        if (!report_progress(run, epoch, b, evaluation))
            return fail(run->context, RELIHT_CANCELLED, "cancelled in epoch %zu of %zu", epoch + 1,
                        run->options->epochs);
        if (last && run->step > 1 && has_converged(run, evaluation))
            run->report->converged = *stop = true;
    }
    return RELIHT_OK;
}

/* ---------------------------------------------------------------- a run */

static reliht_status create_model(factored_run *run)
{
    const reliht_train_options *options = run->options;
    const reliht_dataset *train = run->train;
    const factored_problem problem = {
        .hidden = options->hidden,
        .inputs = train->inputs + options->bias,
        .outputs = train->outputs,
        .nnz = options->nnz,
        .samples = run->batch_size,
        .loss = options->loss,
        .importance = options->importance,
        .step = options->step,
        .seed = options->seed,
        .generator = options->generator,
        .input_scale = factored_input_scale(train),
        .target_scale = options->loss == RELIHT_LOSS_MSE ? nearest_power(run->target_square) : 1.0f,
    };
    return run->context->backend->operations->factored_create(run->context->backend, &problem,
                                                              &run->model);
}

static reliht_status open_run(factored_run *run)
{
    const backend_operations *operations = run->context->backend->operations;
    const reliht_train_options *options = run->options;
    const reliht_dataset *train = run->train;
    reliht_context *context = run->context;
    size_t inputs = train->inputs + options->bias, nnz = options->nnz;
    size_t kept = options->tolerance > 0 ? nnz : 0;
    bool full = !options->batch || options->batch >= train->samples;
    run->published = options->step == RELIHT_STEP_PUBLISHED ||
                     options->importance == RELIHT_IMPORTANCE_SKETCH_PUBLISHED;
    run->batch_size = full ? train->samples : options->batch;
    run->batches = train->samples / run->batch_size;
    run->steps = run->batches * options->epochs;
    run->target_square = factored_target_square(train);
    reliht_status status = sparse_create(context, &run->hidden, options->hidden, inputs, nnz);
    if (!status)
        status = sparse_create(context, &run->output, options->hidden, train->outputs, nnz);
    if (!status)
        status = sparse_create(context, &run->before_hidden, options->hidden, inputs, kept);
    if (!status)
        status = sparse_create(context, &run->before_output, options->hidden, train->outputs, kept);
    if (!status && !full)
        status = gate_allocate(context, MEMORY_workspace, train->samples, sizeof *run->order,
                               "order of the samples", &run->order);
    if (!status)
        status = operations->batch_create(context->backend, train, options->bias, run->batch_size,
                                          &run->data);
    return status ? status : create_model(run);
}

static void close_run(factored_run *run)
{
    const backend_operations *operations = run->context->backend->operations;
    operations->factored_destroy(run->model);
    operations->batch_destroy(run->data);
    gate_release(run->context, run->order);
    sparse_destroy(run->context, &run->hidden);
    sparse_destroy(run->context, &run->output);
    sparse_destroy(run->context, &run->before_hidden);
    sparse_destroy(run->context, &run->before_output);
}

reliht_status factored_train(reliht_context *context, const reliht_dataset *train,
                             const reliht_dataset *validation, const reliht_train_options *options,
                             size_t layer, size_t layers, sparse *hidden, sparse *output,
                             reliht_train_report *report)
{
    factored_run run = {
        .context = context,
        .train = train,
        .validation = validation,
        .options = options,
        .layer = layer,
        .layers = layers,
        .best_hidden = hidden,
        .best_output = output,
        .best_loss = INFINITY,
        .start = clock_wall(),
        .report = report,
    };
    bool stop = false;
    reliht_status status = open_run(&run);
    for (size_t epoch = 0; !status && !stop && epoch < options->epochs; epoch++)
        status = run_epoch(&run, epoch, &stop);
    /* Cancelled before any epoch ended, or by a caller who wants the last weights. */
    if (status == RELIHT_CANCELLED && (options->return_last || run.best_loss == INFINITY)) {
        reliht_status read =
            context->backend->operations->factored_get_weights(run.model, hidden, output);
        status = read ? read : status;
    }
    close_run(&run);
    return status;
}
