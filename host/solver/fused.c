/* The published algorithm for scalar outputs (REFERENCE: Fridovich-Keil & Pilanci, algorithm 1 and
 * section "sequential convex"): per step
 *     w <- refit(top_s(w - mu A^T (A w - y))),   then h_j := w_j in sequential mode.
 * The first two full-batch steps (with minibatches: epoch 0 and one batch more) use the drawn
 * generators; in convex mode all steps do. The objective is not monotone, so the best weights seen
 * are kept: O(nnz) memory. */
#include "solver/fused.h"

#include "backend/backend.h"
#include "core/rng.h"
#include "solver/evaluation.h"

#include <math.h>

typedef struct fused_run {
    reliht_context *context;
    const reliht_dataset *train, *validation;
    const reliht_train_options *options;
    size_t layer, layers;
    size_t batch_size, batches;
    fused *model;
    batch *data;
    uint32_t *order;       /* [samples] of the epoch's samples; NULL for full batch */
    sparse current;        /* after the last step */
    sparse before;         /* after the step before that */
    sparse *best;          /* the caller's */
    double best_loss;      /* of `best`; infinite before any was scored */
    double target_squares; /* |y|^2 */
    double swept;          /* neurons, over all steps */
    size_t steps;
    double start;
    reliht_train_report *report;
} fused_run;

static void keep_if_better(fused_run *run, const sparse *weights, double loss)
{
    if (loss < run->best_loss) {
        run->best_loss = loss;
        sparse_copy(run->best, weights);
    }
}

static pattern_source source_of(const fused_run *run, size_t epoch, size_t batch_number)
{
    bool first = run->order ? epoch == 0 || (epoch == 1 && batch_number == 0) : epoch <= 1;
    return run->options->convex || first ? PATTERNS_DRAWN : PATTERNS_WEIGHTS;
}

/* Whether the training objective of the steps itself tells the best weights. */
static bool scored_by_steps(const fused_run *run)
{
    return !run->order && !run->validation;
}

/* Loss of the current weights on the validation data, or else the training data. */
static reliht_status evaluate_current(fused_run *run, double *loss)
{
    const layer_view view = {
        .kind = RELIHT_FUSED,
        .signs = run->options->signs,
        .loss = RELIHT_LOSS_MSE,
        .bias = run->options->bias,
        .hidden = &run->current,
    };
    return evaluate_layer(run->context, &view, run->validation ? run->validation : run->train,
                          loss);
}

/* Samples of a batch: the last one takes what is left. */
static size_t samples_of(const fused_run *run, size_t batch_number)
{
    size_t rest = run->train->samples - batch_number * run->batch_size;
    return rest < run->batch_size ? rest : run->batch_size;
}

/* One IHT step on the loaded batch; current and before are updated. The next batch may travel
 * meanwhile. */
static reliht_status take_step(fused_run *run, pattern_source source, size_t batch_number,
                               step_report *step)
{
    const backend_operations *operations = run->context->backend->operations;
    reliht_status status = operations->fused_begin(run->model, run->data, source);
    if (!status)
        status = operations->fused_sweep(run->model, run->data, source);
    if (!status)
        status = operations->fused_refit(run->model, run->data, run->options->refits);
    if (!status && run->order && batch_number + 1 < run->batches)
        status =
            operations->batch_stage(run->data, run->order + (batch_number + 1) * run->batch_size,
                                    samples_of(run, batch_number + 1));
    if (!status)
        status = operations->fused_report(run->model, step);
    if (status)
        return status;
    sparse swap = run->before;
    run->before = run->current;
    run->current = swap;
    run->report->seconds_sweep += step->seconds_sweep;
    run->swept += (double)step->swept;
    run->steps++;
    return operations->fused_get_weights(run->model, &run->current);
}

/* Full batch: the step's own objectives are those of the network when its patterns are the
 * weights' own (before the step) or fixed (after it, in convex mode). */
static void score_step(fused_run *run, pattern_source source, const step_report *step)
{
    if (run->options->convex)
        keep_if_better(run, &run->current, step->objective_after);
    else if (source == PATTERNS_WEIGHTS)
        keep_if_better(run, &run->before, step->objective_before);
}

static bool has_converged(const fused_run *run, const step_report *step)
{
    double tolerance = run->options->tolerance;
    if (tolerance <= 0)
        return false;
    if (!run->order && step->objective_after <= tolerance * tolerance * run->target_squares)
        return true;
    const sparse zero = {.rows = run->current.rows, .columns = run->current.columns};
    return sparse_distance(&run->current, &run->before) <=
           tolerance * sparse_distance(&run->current, &zero);
}

static bool report_progress(const fused_run *run, size_t epoch, size_t batch_number,
                            const step_report *step, double evaluation)
{
    if (!run->options->progress)
        return true;
    bool last = batch_number + 1 == run->batches;
    const reliht_progress progress = {
        .epoch = last ? epoch + 1 : epoch,
        .epochs = run->options->epochs,
        .batch = batch_number + 1,
        .batches = run->batches,
        .layer = run->layer,
        .layers = run->layers,
        .nnz = step->nnz,
        .loss = step->objective_before / (double)samples_of(run, batch_number),
        .evaluation_loss = evaluation,
        .step_size = step->step_size,
        .swept = step->swept,
        .seconds = clock_wall() - run->start,
    };
    return run->options->progress(run->options->progress_user, &progress);
}

static reliht_status load_batch(fused_run *run, size_t epoch, size_t batch_number)
{
    const backend_operations *operations = run->context->backend->operations;
    size_t samples = run->train->samples;
    if (!run->order)
        return epoch == 0 ? operations->batch_load(run->data, NULL, samples) : RELIHT_OK;
    if (batch_number == 0)
        rng_permutation(run->options->seed, RNG_BATCHES, epoch, (uint32_t)samples, run->order);
    return operations->batch_load(run->data, run->order + batch_number * run->batch_size,
                                  samples_of(run, batch_number));
}

/* Whether weights that are all zero after this step stay so: patterns of their own are empty, and
 * another step on the same data with the same generators finds no more. */
static bool is_final(const fused_run *run, size_t epoch, size_t batch_number)
{
    bool last = batch_number + 1 == run->batches;
    return !run->order ||
           source_of(run, epoch + last, last ? 0 : batch_number + 1) == PATTERNS_WEIGHTS;
}

static reliht_status run_epoch(fused_run *run, size_t epoch, bool *stop)
{
    for (size_t b = 0; b < run->batches; b++) {
        pattern_source source = source_of(run, epoch, b);
        bool last = b + 1 == run->batches;
        double evaluation = NAN;
        step_report step;
        reliht_status status = load_batch(run, epoch, b);
        if (!status)
            status = take_step(run, source, b, &step);
        if (!status && scored_by_steps(run))
            score_step(run, source, &step);
        else if (!status && last && (run->validation || !run->options->return_last)) {
            status = evaluate_current(run, &evaluation);
            if (!status)
                keep_if_better(run, &run->current, evaluation);
        }
        if (status)
            return status;
        run->report->epochs = epoch + last;
        if (!report_progress(run, epoch, b, &step, evaluation))
            return fail(run->context, RELIHT_CANCELLED, "cancelled in epoch %zu of %zu", epoch + 1,
                        run->options->epochs);
        if (run->current.nnz == 0 && is_final(run, epoch, b)) {
            *stop = true;
            return RELIHT_OK;
        }
        if (last && (source == PATTERNS_WEIGHTS || run->options->convex) &&
            has_converged(run, &step)) {
            run->report->converged = *stop = true;
            return RELIHT_OK;
        }
    }
    return RELIHT_OK;
}

/* Scores the weights of the last step, or takes them as they are if the last are wanted. */
static reliht_status finish(fused_run *run)
{
    if (run->options->return_last || run->best_loss == INFINITY) {
        sparse_copy(run->best, &run->current);
        return RELIHT_OK;
    }
    if (run->options->convex || run->validation)
        return RELIHT_OK;
    double loss;
    reliht_status status = evaluate_current(run, &loss);
    if (!status && scored_by_steps(run))
        loss *= (double)run->train->samples;
    if (!status)
        keep_if_better(run, &run->current, loss);
    return status;
}

static reliht_status open_run(fused_run *run)
{
    const backend_operations *operations = run->context->backend->operations;
    const reliht_train_options *options = run->options;
    const reliht_dataset *train = run->train;
    size_t inputs = train->inputs + options->bias;
    bool full = !options->batch || options->batch >= train->samples;
    run->batch_size = full ? train->samples : options->batch;
    run->batches = (train->samples + run->batch_size - 1) / run->batch_size;
    for (size_t i = 0; i < train->samples; i++)
        run->target_squares += (double)train->y[i] * (double)train->y[i];
    const fused_problem problem = {
        .hidden = options->hidden,
        .inputs = inputs,
        .nnz = options->nnz,
        .samples = run->batch_size,
        .signs = options->signs,
        .generator = options->generator,
        .seed = options->seed,
        .given = options->generators ? &options->generators->hidden[0] : NULL,
        .screening = !options->screening       ? SCREENING_NONE
                     : options->convex && full ? SCREENING_HISTORY
                                               : SCREENING_MEMORYLESS,
    };
    reliht_status status =
        sparse_create(run->context, &run->current, options->hidden, inputs, options->nnz);
    if (!status)
        status = sparse_create(run->context, &run->before, options->hidden, inputs, options->nnz);
    if (!status && !full)
        status = gate_allocate(run->context, MEMORY_workspace, train->samples, sizeof *run->order,
                               "order of the samples", &run->order);
    if (!status)
        status = operations->batch_create(run->context->backend, train, options->bias,
                                          run->batch_size, &run->data);
    if (!status)
        status = operations->fused_create(run->context->backend, &problem, &run->model);
    return status;
}

static void close_run(fused_run *run)
{
    const backend_operations *operations = run->context->backend->operations;
    operations->fused_destroy(run->model);
    operations->batch_destroy(run->data);
    gate_release(run->context, run->order);
    sparse_destroy(run->context, &run->current);
    sparse_destroy(run->context, &run->before);
}

reliht_status fused_train(reliht_context *context, const reliht_dataset *train,
                          const reliht_dataset *validation, const reliht_train_options *options,
                          size_t layer, size_t layers, sparse *weights, reliht_train_report *report)
{
    fused_run run = {
        .context = context,
        .train = train,
        .validation = validation,
        .options = options,
        .layer = layer,
        .layers = layers,
        .best = weights,
        .best_loss = INFINITY,
        .start = clock_wall(),
        .report = report,
    };
    bool stop = false;
    reliht_status status = open_run(&run);
    for (size_t epoch = 0; !status && !stop && epoch < options->epochs; epoch++)
        status = run_epoch(&run, epoch, &stop);
    if (!status || status == RELIHT_CANCELLED) {
        reliht_status finished = finish(&run);
        status = finished ? finished : status;
    }
    if (run.steps)
        report->swept_fraction = run.swept / ((double)run.steps * (double)options->hidden);
    close_run(&run);
    return status;
}
