/* Recovery of a factored network, yhat = relu(X W1^T) W2 with at most nnz weights. A round is
 *     grow    the entries off the support with the largest gradients join it, also outputs of trial
 *             neurons (trials.h), which so are born
 *     fit     all of them together, by L-BFGS (fit.h)
 *     cut     back to nnz by saliency (network.h), and fit again
 * as in CoSaMP (Needell & Tropp 2009), for a model that is not linear. When rounds gain no more, a
 * cycle is over: the next one starts from the best network without some of its neurons, on other
 * samples if a batch is not all of them (basin hopping, Wales & Doye 1997). Everything that is kept
 * is O(nnz), but for the order of the samples. */
#include "solver/factored_recover.h"

#include "backend/backend.h"
#include "core/rng.h"
#include "solver/evaluation.h"
#include "solver/factored.h"
#include "solver/fit.h"
#include "solver/network.h"
#include "solver/trials.h"

#include <math.h>

#define GROWTH_SHARE 4 /* weights that join in a round: nnz / 4, at least GROWTH_LEAST */
#define GROWTH_LEAST 8
#define TRIAL_SHARE 8 /* trial neurons of a round: nnz / 8, from 16 to 1024 */
#define TRIALS_LEAST 16
#define TRIALS_MOST 1024u
#define FIT_STEPS 30       /* after growing, and after cutting */
#define REFIT_STEPS 20     /* of the best network on the samples of a new cycle */
#define FINAL_STEPS 100    /* of the best network on all samples */
#define LEAST_GAIN 1e-3    /* relative, of a step of a fit */
#define ROUND_GAIN 0.03    /* relative, less of which counts as none */
#define PATIENCE 3         /* rounds without gain that end a cycle */
#define DROPPED_LEAST 0.03 /* of the neurons, at the start of a cycle; the share is drawn */
#define DROPPED_MOST 0.25
#define EXACT 0x1p-21 /* relative residual that is rounding */
/* Values fitted for every weight, at least, when batches are drawn. Classes are never without
 * noise, and a batch is fitted as far as it goes. */
#define VALUES_PER_WEIGHT 10.0
#define CLASS_VALUES_PER_WEIGHT 1000.0

typedef struct recover_run {
    reliht_context *context;
    const reliht_dataset *train, *validation;
    const reliht_train_options *options;
    size_t layer, layers;
    size_t batch_size, growth, trials;
    uint32_t *order; /* [samples]; NULL when a batch is all of them */
    factored *model;
    batch *data;
    fit fit;
    network now, tried, grown, best;
    network found; /* what joins: values are scores */
    ranking *ranks;
    double best_loss, cycle_loss; /* of the batch; of the validation part if there is one */
    double target_square;         /* mean square of the targets */
    size_t cycle, stalled;        /* rounds without gain */
    double start;
    reliht_train_report *report;
} recover_run;

/* ---------------------------------------------------------------- life of a run */

static size_t clamp(size_t value, size_t least, size_t most)
{
    return value < least ? least : value > most ? most : value;
}

static reliht_status create_networks(recover_run *run, size_t hidden_room, size_t output_room)
{
    size_t hidden = run->options->hidden, nnz = run->options->nnz;
    size_t inputs = run->train->inputs + run->options->bias, outputs = run->train->outputs;
    size_t rows = hidden + run->trials;
    reliht_context *context = run->context;
    reliht_status status = network_create(context, &run->now, hidden, inputs, outputs, nnz, nnz);
    if (!status)
        status = network_create(context, &run->best, hidden, inputs, outputs, nnz, nnz);
    if (!status)
        status =
            network_create(context, &run->tried, rows, inputs, outputs, hidden_room, output_room);
    if (!status)
        status =
            network_create(context, &run->grown, rows, inputs, outputs, hidden_room, output_room);
    if (!status)
        status =
            network_create(context, &run->found, rows, inputs, outputs, run->growth, run->growth);
    return status;
}

static reliht_status create_backend(recover_run *run, size_t room)
{
    const reliht_train_options *options = run->options;
    const backend_operations *operations = run->context->backend->operations;
    backend *on = run->context->backend;
    const factored_problem problem = {
        .hidden = options->hidden + run->trials,
        .inputs = run->train->inputs + options->bias,
        .outputs = run->train->outputs,
        .nnz = room,
        .samples = run->train->samples,
        .loss = options->loss,
        .importance = RELIHT_IMPORTANCE_MAGNITUDE,
        .step = RELIHT_STEP_PUBLISHED,
        .seed = options->seed,
        .input_scale = 1,
        .target_scale = 1,
    };
    reliht_status status =
        operations->batch_create(on, run->train, options->bias, run->batch_size, &run->data);
    if (!status)
        status = operations->factored_create(on, &problem, &run->model);
    run->fit.model = run->model;
    run->fit.data = run->data;
    return status;
}

/* Samples of a cycle: all, or as asked but enough to tell nnz weights apart. */
static size_t cycle_samples(const reliht_dataset *train, const reliht_train_options *options)
{
    bool classes = options->loss == RELIHT_LOSS_CROSS_ENTROPY;
    double values = classes ? CLASS_VALUES_PER_WEIGHT : VALUES_PER_WEIGHT;
    double least = values * (double)options->nnz / (double)train->outputs;
    double wanted = fmax((double)options->batch, least);
    return options->batch && wanted < (double)train->samples ? (size_t)wanted : train->samples;
}

static reliht_status open_run(recover_run *run)
{
    const reliht_train_options *options = run->options;
    if (options->hidden > RELIHT_MAX_DIMENSION - TRIALS_MOST)
        return fail(run->context, RELIHT_ARGUMENT,
                    "hidden is %zu; the solver recover can tell at most %u neurons apart",
                    options->hidden, RELIHT_MAX_DIMENSION - TRIALS_MOST);
    size_t nnz = options->nnz, samples = run->train->samples;
    run->growth = clamp(nnz / GROWTH_SHARE, GROWTH_LEAST, nnz + GROWTH_LEAST);
    run->trials = clamp(nnz / TRIAL_SHARE, TRIALS_LEAST, TRIALS_MOST);
    run->batch_size = cycle_samples(run->train, options);
    run->best_loss = run->cycle_loss = INFINITY;
    run->target_square = factored_target_square(run->train);
    double scale = factored_input_scale(run->train);
    run->fit.inputs_square = scale * scale;
    run->fit.gradient_unit =
        options->loss == RELIHT_LOSS_MSE ? 0.5 * (double)run->train->outputs : 1.0;
    size_t born = run->growth < run->trials ? run->growth : run->trials;
    size_t trial_inputs = TRIAL_LENGTH * run->trials;
    size_t hidden_room = nnz + run->growth + trial_inputs, output_room = nnz + run->growth;
    size_t fit_room = nnz + run->growth + TRIAL_LENGTH * born, tried_room = nnz + trial_inputs;
    size_t room = fit_room > tried_room ? fit_room : tried_room;
    reliht_status status = create_networks(run, hidden_room, output_room);
    if (!status)
        status = fit_create(run->context, &run->fit, room);
    if (!status)
        status = gate_allocate(run->context, MEMORY_weights, room, sizeof *run->ranks,
                               "ranks of weights", &run->ranks);
    if (!status && run->batch_size < samples)
        status = gate_allocate(run->context, MEMORY_workspace, samples, sizeof *run->order,
                               "order of the samples", &run->order);
    return status ? status : create_backend(run, room);
}

static void close_run(recover_run *run)
{
    const backend_operations *operations = run->context->backend->operations;
    network_destroy(run->context, &run->now);
    network_destroy(run->context, &run->best);
    network_destroy(run->context, &run->tried);
    network_destroy(run->context, &run->grown);
    network_destroy(run->context, &run->found);
    operations->factored_destroy(run->model);
    operations->batch_destroy(run->data);
    fit_destroy(run->context, &run->fit);
    gate_release(run->context, run->ranks);
    gate_release(run->context, run->order);
}

/* ---------------------------------------------------------------- a round */

/* out <- the rows of `tried` below hidden, and those trials that found an output. */
static void keep_found(const recover_run *run, const sparse *tried, sparse *out)
{
    sparse_clear(out);
    for (size_t at = 0; at < tried->live; at++) {
        uint32_t row = tried->row[at];
        if (row >= run->options->hidden &&
            sparse_find_row(&run->found.output, row) == run->found.output.live)
            continue;
        for (size_t k = tried->start[at]; k < tried->start[at + 1]; k++)
            sparse_append(out, row, tried->column[k], tried->value[k]);
    }
}

/* run->grown <- run->now and what joins it. */
static reliht_status grow(recover_run *run, size_t round)
{
    const backend_operations *operations = run->context->backend->operations;
    double start = clock_wall(), loss;
    network *tried = &run->tried;
    network_balance(&run->now);
    network_copy(tried, &run->now);
    tried->hidden.rows = tried->output.rows = run->options->hidden + run->trials;
    append_trials(&tried->hidden, run->options->seed, round, (uint32_t)run->options->hidden,
                  run->trials);
    reliht_status status = fit_evaluate(run->context, &run->fit, tried, run->fit.gradient, &loss);
    if (!status)
        status = operations->factored_candidates(run->model, run->data, run->growth,
                                                 &run->found.hidden, &run->found.output);
    run->report->seconds_sweep += clock_wall() - start;
    if (status)
        return status;
    keep_found(run, &tried->hidden, &run->grown.hidden);
    sparse_copy(&tried->hidden, &run->grown.hidden);
    sparse_unite(&tried->hidden, &run->found.hidden, &run->grown.hidden);
    sparse_unite(&run->now.output, &run->found.output, &run->grown.output);
    return RELIHT_OK;
}

/* Loss that decides which network is best. */
static reliht_status score(recover_run *run, double *loss)
{
    const layer_view view = {
        .kind = RELIHT_FACTORED,
        .loss = run->options->loss,
        .bias = run->options->bias,
        .hidden = &run->now.hidden,
        .output = &run->now.output,
    };
    return run->validation ? evaluate_layer(run->context, &view, run->validation, loss) : RELIHT_OK;
}

static reliht_status take_round(recover_run *run, size_t round, double *loss)
{
    reliht_context *context = run->context;
    const reliht_train_options *options = run->options;
    reliht_status status = grow(run, round);
    if (!status)
        status = fit_network(context, &run->fit, &run->grown, FIT_STEPS, LEAST_GAIN, loss);
    if (status)
        return status;
    network_cut(&run->grown, options->hidden, options->nnz, run->ranks, &run->tried);
    run->grown.hidden.rows = run->grown.output.rows = options->hidden;
    network_copy(&run->now, &run->grown);
    return fit_network(context, &run->fit, &run->now, FIT_STEPS, LEAST_GAIN, loss);
}

/* ---------------------------------------------------------------- cycles */

/* Leaves out a share of the neurons of `now`, every neuron by its own draw. */
static void drop_neurons(recover_run *run)
{
    uint64_t seed = run->options->seed;
    double drawn = 0x1p-32 * (double)rng_word(seed, RNG_DROPS, run->cycle, 0);
    double share = DROPPED_LEAST + (DROPPED_MOST - DROPPED_LEAST) * drawn;
    for (size_t at = 0; at < run->now.hidden.live; at++)
        if (0x1p-32 * (double)rng_word(seed, RNG_DROPS, run->cycle, 1 + (uint32_t)at) < share)
            sparse_scale_row(&run->now.hidden, at, 0);
    network_drop_incomplete(&run->now);
}

/* Begins a cycle: other samples, to which the best network is fitted; some of its neurons go. */
static reliht_status begin_cycle(recover_run *run)
{
    const backend_operations *operations = run->context->backend->operations;
    const reliht_train_options *options = run->options;
    bool first = run->cycle == 0;
    reliht_status status = RELIHT_OK;
    run->stalled = 0;
    run->cycle_loss = INFINITY;
    if (run->order)
        rng_permutation(options->seed, RNG_BATCHES, run->cycle, (uint32_t)run->train->samples,
                        run->order);
    if (run->order || first)
        status = operations->batch_load(run->data, run->order, run->batch_size);
    if (first || status)
        return status;
    double loss;
    network_copy(&run->now, &run->best);
    if (run->order) {
        status = fit_network(run->context, &run->fit, &run->now, REFIT_STEPS, LEAST_GAIN, &loss);
        if (!status)
            status = score(run, &loss);
        run->best_loss = loss;
        network_copy(&run->best, &run->now);
    }
    drop_neurons(run);
    return status;
}

/* Takes the network of a round into account. */
static void judge_round(recover_run *run, double loss)
{
    bool gained = loss < (1 - ROUND_GAIN) * run->cycle_loss;
    run->stalled = gained ? 0 : run->stalled + 1;
    run->cycle_loss = fmin(run->cycle_loss, loss);
    if (loss < run->best_loss) {
        run->best_loss = loss;
        network_copy(&run->best, &run->now);
    }
}

static bool report_progress(const recover_run *run, size_t round, double loss, double evaluation)
{
    if (!run->options->progress)
        return true;
    const reliht_progress progress = {
        .epoch = round + 1,
        .epochs = run->options->epochs,
        .batch = 1,
        .batches = 1,
        .layer = run->layer,
        .layers = run->layers,
        .nnz = network_nnz(&run->now),
        .loss = loss,
        .evaluation_loss = evaluation,
        .step_size = NAN,
        .seconds = clock_wall() - run->start,
    };
    return run->options->progress(run->options->progress_user, &progress);
}

/* Whether the residual of a batch meets the tolerance, or is nothing but rounding. */
static bool is_solved(const recover_run *run, double loss)
{
    double tolerance = fmax(run->options->tolerance, EXACT);
    return run->options->loss == RELIHT_LOSS_MSE &&
           loss <= tolerance * tolerance * run->target_square;
}

static reliht_status run_rounds(recover_run *run)
{
    for (size_t round = 0; round < run->options->epochs; round++) {
        double loss = NAN;
        bool begin = round == 0 || run->stalled >= PATIENCE;
        run->cycle += begin && round > 0;
        reliht_status status = begin ? begin_cycle(run) : RELIHT_OK;
        if (!status)
            status = take_round(run, round, &loss);
        double evaluation = loss;
        if (!status)
            status = score(run, &evaluation);
        if (status)
            return status;
        judge_round(run, evaluation);
        run->report->epochs = round + 1;
        if (!report_progress(run, round, loss, evaluation))
            return fail(run->context, RELIHT_CANCELLED, "cancelled in epoch %zu of %zu", round + 1,
                        run->options->epochs);
        if (!is_solved(run, loss))
            continue;
        run->report->converged = true;
        break;
    }
    return RELIHT_OK;
}

/* The network that is returned, if it was found on batches, is fitted to all samples. */
static reliht_status fit_all(recover_run *run, network *weights)
{
    const backend_operations *operations = run->context->backend->operations;
    double loss;
    if (!run->order)
        return RELIHT_OK;
    operations->batch_destroy(run->data);
    run->fit.data = run->data = NULL;
    reliht_status status = operations->batch_create(
        run->context->backend, run->train, run->options->bias, run->train->samples, &run->data);
    if (!status)
        status = operations->batch_load(run->data, NULL, run->train->samples);
    run->fit.data = run->data;
    if (!status)
        status =
            fit_network(run->context, &run->fit, weights, FINAL_STEPS, 0.1 * LEAST_GAIN, &loss);
    return status;
}

reliht_status factored_recover(reliht_context *context, const reliht_dataset *train,
                               const reliht_dataset *validation,
                               const reliht_train_options *options, size_t layer, size_t layers,
                               sparse *hidden, sparse *output, reliht_train_report *report)
{
    recover_run run = {
        .context = context,
        .train = train,
        .validation = validation,
        .options = options,
        .layer = layer,
        .layers = layers,
        .start = clock_wall(),
        .report = report,
    };
    reliht_status status = open_run(&run);
    if (!status)
        status = run_rounds(&run);
    network *result = options->return_last ? &run.now : &run.best;
    if (!status)
        status = fit_all(&run, result);
    if (!status || status == RELIHT_CANCELLED) {
        sparse_copy(hidden, &result->hidden);
        sparse_copy(output, &result->output);
    }
    close_run(&run);
    return status;
}
