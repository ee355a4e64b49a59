/* The search for a network that fits the data exactly. Each step
 *     grows   the best network so far: neurons from the residual, weights from the gradient,
 *     fits    by Gauss-Newton, patterns following the weights,
 *     merges  neurons of one direction, cuts to 1.15 s weights, fits, cuts to s, fits,
 * and keeps what is better. When no kind of growth helps, some neurons are dropped and the search
 * goes on from there (basin hopping). It runs on some of the samples, with a free linear term,
 * under which a neuron and its opposite are the same; at the end the neurons are turned so that the
 * term vanishes, the search goes on without it if it has to, and the fit ends on all samples. */
#include "solver/recover.h"

#include "core/rng.h"
#include "solver/fused.h"

#include <math.h>

/* (|r| / |y|)^2 at which a network is taken to be exact: rounding is at about 1e-14. */
#define EXACT 4e-12
#define SAMPLES_LEAST 5000    /* of the search */
#define SAMPLES_PER_WEIGHT 15 /* of the search, for each weight and input */
#define STARTS_MOST 128
#define DRAFTS 4
#define BETTER 0.98  /* of the objective: a step that reaches less has paid */
#define SURPLUS 0.15 /* of s, kept by the first cut */

static const effort coarse = {6, 30, 1e-2, 1e-2, 1e-3};
static const effort fine = {10, 100, 1e-4, 1e-7, 1e-2};
/* Of what is handed over: neurons at a small angle leave little curvature. */
static const effort finest = {10, 300, 1e-7, 1e-9, 1e-2};

static const growth levels[] = {{0.3, 0.3, false, &coarse},
                                {0.1, 0.1, false, &coarse},
                                {0.1, 0.1, true, &fine},
                                {0.3, 0.3, false, &fine},
                                {0.01, 0.03, false, &fine}};
#define LEVELS (sizeof levels / sizeof *levels)
#define GROWTH_MOST 0.3

/* Shares of the neurons that hops drop, in turn. */
static const double dropped[] = {0.1, 0.02, 0.25};

/* ---------------------------------------------------------------- data */

static void unload(recovery *run)
{
    const backend_operations *operations = run->context->backend->operations;
    operations->fused_destroy(run->model);
    operations->batch_destroy(run->data);
    run->model = NULL;
    run->data = NULL;
}

static double squares_of_targets(const reliht_dataset *dataset, const uint32_t *order, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double y = (double)dataset->y[order ? order[i] : i];
        sum += y * y;
    }
    return sum;
}

/* Makes `count` of the samples, drawn without replacement, the data of the search. */
static reliht_status load_samples(recovery *run, size_t count)
{
    const backend_operations *operations = run->context->backend->operations;
    size_t all = run->train->samples;
    uint32_t *order = NULL;
    reliht_status status = RELIHT_OK;
    unload(run);
    if (count < all)
        status = gate_allocate(run->context, MEMORY_workspace, all, sizeof *order,
                               "order of the samples", &order);
    if (!status && order)
        rng_permutation(run->options->seed, RNG_BATCHES, 0, (uint32_t)all, order);
    const fused_problem problem = {
        .hidden = 2 * run->most_neurons,
        .inputs = run->inputs,
        .nnz = run->capacity + run->inputs,
        .samples = count,
        .signs = RELIHT_SIGNS_MIXED,
        .generator = RELIHT_GENERATOR_SPARSE,
        .seed = run->options->seed,
        .linear = true,
    };
    if (!status)
        status = operations->batch_create(run->context->backend, run->train, run->options->bias,
                                          count, &run->data);
    if (!status)
        status = operations->batch_load(run->data, order, count);
    if (!status)
        status = operations->fused_create(run->context->backend, &problem, &run->model);
    if (!status)
        run->target_squares = squares_of_targets(run->train, order, count);
    run->samples = count;
    gate_release(run->context, order);
    return status;
}

/* ---------------------------------------------------------------- search */

/* `done` steps of an epoch; RECOVER_STEPS end it. */
static bool report_progress(const recovery *run, const draft *net, size_t done)
{
    if (!run->options->progress)
        return true;
    bool ends = done == RECOVER_STEPS;
    const reliht_progress progress = {
        .epoch = (run->steps + (ends ? RECOVER_STEPS - 1 : 0)) / RECOVER_STEPS,
        .epochs = run->options->epochs,
        .batch = done,
        .batches = RECOVER_STEPS,
        .layer = run->layer,
        .layers = run->layers,
        .nnz = net->weights.nnz,
        .loss = net->objective / (double)run->samples,
        .evaluation_loss = NAN,
        .step_size = NAN,
        .seconds = clock_wall() - run->start,
    };
    return run->options->progress(run->options->progress_user, &progress);
}

/* trial <- a step from `local`. */
static reliht_status take_step(recovery *run, const growth *by)
{
    draft *trial = &run->trial;
    draft_copy(run, trial, &run->local);
    reliht_status status = draft_load(run, trial);
    if (!status)
        status = draft_grow(run, trial, by);
    if (!status)
        status = draft_fit(run, trial, by->effort);
    const size_t keep[] = {run->nnz + (size_t)(SURPLUS * (double)run->nnz), run->nnz};
    for (size_t i = 0; !status && i < 2; i++) {
        draft_merge(run, trial);
        status = draft_cut(run, trial, keep[i]);
        if (!status)
            status = draft_fit(run, trial, by->effort);
    }
    run->steps++;
    return status;
}

static void keep_best(recovery *run)
{
    if (run->local.objective < run->winner.objective)
        draft_copy(run, &run->winner, &run->local);
}

static bool is_exact(const recovery *run, const draft *net)
{
    return net->objective <= run->goal * run->target_squares;
}

/* The search from `local` for up to run->limit steps in all; the best network becomes `winner`. */
static reliht_status search(recovery *run)
{
    size_t level = 0, hops = 0;
    reliht_status status = draft_fit(run, &run->local, &coarse);
    draft_copy(run, &run->winner, &run->local);
    while (!status && !is_exact(run, &run->local) && run->steps < run->limit) {
        status = take_step(run, &levels[level]);
        if (status)
            break;
        level += run->trial.objective >= BETTER * run->local.objective;
        if (run->trial.objective < run->local.objective)
            draft_copy(run, &run->local, &run->trial);
        keep_best(run);
        if (!report_progress(run, &run->local, (run->steps - 1) % RECOVER_STEPS + 1))
            return fail(run->context, RELIHT_CANCELLED, "cancelled after %zu steps of the search",
                        run->steps);
        if (level == LEVELS && !is_exact(run, &run->local)) {
            draft_copy(run, &run->local, &run->winner);
            draft_drop(run, &run->local, dropped[hops++ % 3]);
            status = draft_fit(run, &run->local, &coarse);
            level = 0;
        }
    }
    return status;
}

/* ---------------------------------------------------------------- phases */

/* winner <- the network without the linear term, within its budget. */
static reliht_status drop_linear(recovery *run, const effort *last)
{
    draft *net = &run->winner;
    draft_merge(run, net);
    reliht_status status = draft_orient(run, net);
    if (!status)
        status = draft_load(run, net);
    if (!status)
        status = draft_fit(run, net, &fine);
    draft_merge(run, net);
    if (!status)
        status = draft_cut(run, net, run->nnz);
    if (!status)
        status = draft_fit(run, net, last);
    return status;
}

/* With the linear term for up to three quarters of the steps, then without, then on all samples. */
static reliht_status search_and_refine(recovery *run)
{
    size_t steps = run->options->epochs * RECOVER_STEPS, all = run->train->samples;
    bool cancelled = false;
    run->limit = steps - steps / 4;
    run->local.has_linear = true;
    reliht_status status = search(run);
    cancelled = status == RELIHT_CANCELLED;
    if (!status || cancelled)
        status = drop_linear(run, cancelled ? &fine : &finest);
    run->limit = steps;
    if (!status && !cancelled && !is_exact(run, &run->winner)) {
        draft_copy(run, &run->local, &run->winner);
        status = search(run);
        cancelled = status == RELIHT_CANCELLED;
        status = cancelled ? RELIHT_OK : status;
    }
    if (!status && run->samples < all)
        status = load_samples(run, all);
    if (!status)
        status = draft_fit(run, &run->winner, cancelled ? &fine : &finest);
    return status ? status : cancelled ? RELIHT_CANCELLED : RELIHT_OK;
}

/* ---------------------------------------------------------------- the published method */

/* local <- a model's weights, as a network of the search. */
static void take_weights(recovery *run, const sparse *weights)
{
    bool mixed = run->neurons[1] > 0;
    sparse *to = &run->local.weights;
    sparse_clear(to);
    for (size_t p = 0; p < weights->live; p++)
        for (size_t k = weights->start[p]; k < weights->start[p + 1]; k++)
            sparse_append(to, (uint32_t)(2 * p) + (mixed && weights->row[p] % 2),
                          weights->column[k], weights->value[k]);
    run->local.has_linear = false;
}

/* Every step of the published method can be the last; what is shown is the best network so far. */
static bool watch_published(void *user, const reliht_progress *progress)
{
    const recovery *run = user;
    (void)progress;
    return report_progress(run, &run->winner, run->steps % RECOVER_STEPS);
}

/* Where no exact network was found, the published method may have a better one. */
static reliht_status try_published(recovery *run, sparse *weights)
{
    reliht_train_options options = *run->options;
    reliht_train_report report = {0};
    options.progress = watch_published;
    options.progress_user = run;
    options.batch = 0;
    reliht_status status = fused_train(run->context, run->train, NULL, &options, run->layer,
                                       run->layers, weights, &report);
    run->report->seconds_sweep += report.seconds_sweep;
    if (status)
        return status;
    take_weights(run, weights);
    status = draft_fit(run, &run->local, &fine);
    if (!status)
        keep_best(run);
    return status;
}

/* ---------------------------------------------------------------- the whole */

/* Numbers the neurons of the winner as the model does: all ascending, or those that add even and
 * those that subtract odd. */
static void hand_over(const recovery *run, sparse *weights)
{
    const sparse *w = &run->winner.weights;
    size_t place[2] = {0, 0};
    uint32_t next[2] = {0, 1}, stride = run->neurons[1] ? 2 : 1;
    sparse_clear(weights);
    for (;;) {
        for (uint32_t sign = 0; sign < 2; sign++)
            while (place[sign] < w->live && w->row[place[sign]] % 2 != sign)
                place[sign]++;
        if (place[0] == w->live && place[1] == w->live)
            return;
        int sign = place[0] == w->live || (place[1] < w->live && next[1] < next[0]);
        size_t p = place[sign]++;
        for (size_t k = w->start[p]; k < w->start[p + 1]; k++)
            if (w->value[k] != 0)
                sparse_append(weights, next[sign], w->column[k], w->value[k]);
        next[sign] += stride;
    }
}

static void count_sizes(recovery *run)
{
    const reliht_train_options *options = run->options;
    bool mixed = options->signs == RELIHT_SIGNS_MIXED;
    size_t add = mixed ? options->hidden - options->hidden / 2 : options->hidden;
    size_t subtract = options->hidden - add, most = run->nnz;
    run->neurons[0] = add < most ? add : most;
    run->neurons[1] = subtract < most ? subtract : most;
    size_t live = run->neurons[0] + run->neurons[1];
    live = live < most ? live : most;
    run->most_neurons = live + live / 2 + 16;
    run->capacity = run->nnz + (size_t)(GROWTH_MOST * (double)run->nnz) + 16 +
                    ATOM_INPUTS * (size_t)(GROWTH_MOST * (double)live);
    run->start_count = run->inputs < STARTS_MOST ? run->inputs : STARTS_MOST;
}

static reliht_status allocate(recovery *run)
{
    reliht_context *context = run->context;
    draft *const drafts[DRAFTS] = {&run->local, &run->trial, &run->winner, &run->before};
    reliht_status status = RELIHT_OK;
    for (size_t i = 0; !status && i < DRAFTS; i++)
        status = draft_create(run, drafts[i]);
    if (!status)
        status = sparse_create(context, &run->packed, linear_row(2 * run->most_neurons) + 1,
                               run->inputs, run->capacity + run->inputs);
    if (!status)
        status =
            sparse_create(context, &run->tile, TILE_ROWS, run->inputs, TILE_ROWS * ATOM_INPUTS);
    if (!status)
        status = selector_create(context, &run->best, run->capacity);
#define ALLOCATE(field, count)                                                   \
    if (!status)                                                                 \
    status = gate_allocate(context, MEMORY_workspace, count, sizeof *run->field, \
                           "recover: " #field, &run->field)
    ALLOCATE(gradients, TILE_ROWS * run->inputs);
    ALLOCATE(atoms, 2 * ATOM_INPUTS * run->start_count);
    ALLOCATE(starts, run->start_count);
    ALLOCATE(norms, run->capacity);
    ALLOCATE(owner, run->capacity);
    ALLOCATE(turned, run->capacity);
    ALLOCATE(dense, run->inputs);
    ALLOCATE(marked, run->inputs);
#undef ALLOCATE
    return status;
}

static void release(recovery *run)
{
    draft *const drafts[DRAFTS] = {&run->local, &run->trial, &run->winner, &run->before};
    void *const arrays[] = {run->gradients, run->atoms,  run->starts, run->norms,
                            run->owner,     run->turned, run->dense,  run->marked};
    unload(run);
    for (size_t i = 0; i < DRAFTS; i++)
        draft_destroy(run, drafts[i]);
    sparse_destroy(run->context, &run->packed);
    sparse_destroy(run->context, &run->tile);
    selector_destroy(run->context, &run->best);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        gate_release(run->context, arrays[i]);
}

/* The data of the search and the scale of its inputs. */
static reliht_status begin(recovery *run)
{
    size_t all = run->train->samples, count = run->options->batch;
    if (!count)
        count = SAMPLES_PER_WEIGHT * (run->nnz + run->inputs);
    if (count < SAMPLES_LEAST)
        count = SAMPLES_LEAST;
    step_report report;
    reliht_status status = load_samples(run, count < all ? count : all);
    run->local.has_linear = true;
    if (!status)
        status = draft_load(run, &run->local);
    if (!status)
        status = run->context->backend->operations->fused_report(run->model, &report);
    if (!status)
        run->unit = 1 / report.step_size;
    return status;
}

reliht_status recover_train(reliht_context *context, const reliht_dataset *train,
                            const reliht_train_options *options, size_t layer, size_t layers,
                            sparse *weights, reliht_train_report *report)
{
    if (options->convex)
        return recover_convex(context, train, options, layer, layers, weights, report);
    recovery run = {
        .context = context,
        .options = options,
        .train = train,
        .report = report,
        .layer = layer,
        .layers = layers,
        .start = clock_wall(),
        .inputs = train->inputs + options->bias,
        .nnz = options->nnz,
        .goal = fmax(EXACT, options->tolerance * options->tolerance),
    };
    count_sizes(&run);
    reliht_status status = allocate(&run);
    if (!status)
        status = begin(&run);
    if (!status)
        status = search_and_refine(&run);
    if (!status && !is_exact(&run, &run.winner))
        status = try_published(&run, weights);
    /* An epoch that was cut short has ended, too. */
    if (!status && (run.steps % RECOVER_STEPS || !run.steps))
        report_progress(&run, &run.winner, RECOVER_STEPS);
    if (!status || status == RELIHT_CANCELLED) {
        hand_over(&run, weights);
        report->epochs = (run.steps + RECOVER_STEPS - 1) / RECOVER_STEPS;
        report->converged = is_exact(&run, &run.winner);
    }
    release(&run);
    return status;
}
