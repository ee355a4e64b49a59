/* Exact recovery with fixed generators: y = A w is linear and w sparse, but the columns of A are
 * anything but independent. Compressive sampling matching pursuit (Needell & Tropp 2009) with a
 * support that grows by a changing amount: the entries with the largest gradient join the support,
 * least squares on all of it, the largest s stay, least squares again. When no growth helps, some
 * of the entries are dropped. */
#include "solver/recover.h"

#include "core/rng.h"

#include <math.h>

#define EXACT 4e-12 /* as in recover.c */
#define STALLED 3   /* rounds through the growths that help nothing, before entries are dropped */

/* Entries that join the support, in multiples of s. */
static const double growths[] = {1, 0.25, 3, 8};
#define GROWTHS (sizeof growths / sizeof *growths)
#define GROWTH_MOST 8

static const solve_options least_squares = {.iterations = 300, .damping = 1e-9, .tolerance = 1e-6};

typedef struct convex_run {
    reliht_context *context;
    const reliht_train_options *options;
    const reliht_dataset *train;
    reliht_train_report *report;
    size_t layer, layers;
    double start;
    size_t inputs, nnz, capacity;
    fused *model;
    batch *data;
    double target_squares;
    sparse current, grown; /* the best since entries were dropped; the one under way */
    double objective;      /* of `current` */
    sparse *best;          /* the caller's */
    double best_objective;
    selector chosen;
    float *gradients; /* [TILE_ROWS, inputs] */
    size_t steps;
} convex_run;

static reliht_status load(convex_run *run, const sparse *weights, double *objective)
{
    const backend_operations *operations = run->context->backend->operations;
    step_report report = {0};
    reliht_status status = operations->fused_set_weights(run->model, weights);
    if (!status)
        status = operations->fused_begin(run->model, run->data, PATTERNS_DRAWN);
    if (!status)
        status = operations->fused_report(run->model, &report);
    if (!status)
        *objective = report.objective_before;
    return status;
}

/* weights <- least squares on their support. */
static reliht_status solve(convex_run *run, sparse *weights)
{
    const backend_operations *operations = run->context->backend->operations;
    double objective;
    reliht_status status = load(run, weights, &objective);
    if (!status)
        status = operations->fused_solve(run->model, run->data, &least_squares);
    if (!status)
        status = operations->fused_get_weights(run->model, weights);
    return status;
}

/* Offers what the gradient of one neuron holds beside its support; `row` of the weights follows the
 * neurons. */
static void offer_row(convex_run *run, const sparse *w, size_t *row, uint32_t neuron,
                      float *gradient)
{
    while (*row < w->live && w->row[*row] < neuron)
        ++*row;
    if (*row < w->live && w->row[*row] == neuron)
        for (size_t k = w->start[*row]; k < w->start[*row + 1]; k++)
            gradient[w->column[k]] = 0;
    for (size_t c = 0; c < run->inputs; c++) {
        const entry offered = {gradient[c], neuron, (uint32_t)c};
        if (magnitude_bits(gradient[c]) >= run->chosen.threshold)
            selector_offer(&run->chosen, &offered, 1);
    }
}

/* chosen <- the entries off the support with the largest gradient, from what is loaded. */
static reliht_status choose_entries(convex_run *run, const sparse *w, size_t count)
{
    const backend_operations *operations = run->context->backend->operations;
    size_t hidden = run->options->hidden, row = 0;
    double start = clock_wall();
    run->chosen.keep = count;
    selector_reset(&run->chosen);
    for (size_t first = 0; first < hidden; first += TILE_ROWS) {
        size_t rows = hidden - first < TILE_ROWS ? hidden - first : TILE_ROWS;
        reliht_status status =
            operations->fused_gradients(run->model, run->data, NULL, first, rows, run->gradients);
        if (status)
            return status;
        for (size_t i = 0; i < rows; i++)
            offer_row(run, w, &row, (uint32_t)(first + i), run->gradients + i * run->inputs);
    }
    run->report->seconds_sweep += clock_wall() - start;
    return selector_finish(run->context, &run->chosen, "neuron", "input");
}

/* to <- from with the chosen entries, zero as yet. */
static void unite(const sparse *from, const selector *chosen, sparse *to)
{
    size_t p = 0, k = 0, i = 0;
    sparse_clear(to);
    while (k < from->nnz || i < chosen->count) {
        while (p < from->live && from->start[p + 1] <= k)
            p++;
        uint64_t old =
            k < from->nnz ? ((uint64_t)from->row[p] << 32 | from->column[k]) : UINT64_MAX;
        const entry *e = &chosen->entries[i];
        uint64_t new = i < chosen->count ? ((uint64_t)e->row << 32 | e->column) : UINT64_MAX;
        if (old < new) {
            sparse_append(to, from->row[p], from->column[k], from->value[k]);
            k++;
        } else {
            sparse_append(to, e->row, e->column, 0);
            i++;
        }
    }
}

/* weights <- the largest `keep` of them. */
static reliht_status cut(convex_run *run, sparse *weights, size_t keep)
{
    run->chosen.keep = keep;
    selector_reset(&run->chosen);
    for (size_t p = 0; p < weights->live; p++)
        for (size_t k = weights->start[p]; k < weights->start[p + 1]; k++) {
            const entry offered = {weights->value[k], weights->row[p], weights->column[k]};
            selector_offer(&run->chosen, &offered, 1);
        }
    reliht_status status = selector_finish(run->context, &run->chosen, "neuron", "input");
    sparse_clear(weights);
    for (size_t i = 0; !status && i < run->chosen.count; i++) {
        const entry *e = &run->chosen.entries[i];
        sparse_append(weights, e->row, e->column, e->value);
    }
    return status;
}

/* One step from `current`; *better if its result took its place. */
static reliht_status take_step(convex_run *run, double share, bool *better)
{
    double objective;
    size_t possible = run->options->hidden * run->inputs - run->current.nnz;
    size_t count = (size_t)ceil(share * (double)run->nnz);
    reliht_status status = load(run, &run->current, &objective);
    if (!status)
        status = choose_entries(run, &run->current, count < possible ? count : possible);
    if (!status) {
        unite(&run->current, &run->chosen, &run->grown);
        status = solve(run, &run->grown);
    }
    if (!status)
        status = cut(run, &run->grown, run->nnz);
    for (int refinement = 0; !status && refinement < 2; refinement++)
        status = solve(run, &run->grown);
    if (!status)
        status = load(run, &run->grown, &objective);
    *better = !status && objective < 0.999 * run->objective;
    if (*better) {
        sparse_copy(&run->current, &run->grown);
        run->objective = objective;
    }
    run->steps++;
    return status;
}

/* After a step, which ends an epoch if it is the tenth of it or the last of all. */
static bool report_progress(const convex_run *run)
{
    if (!run->options->progress)
        return true;
    bool ends = run->steps % RECOVER_STEPS == 0 || run->report->converged;
    const reliht_progress progress = {
        .epoch = (run->steps + (ends ? RECOVER_STEPS - 1 : 0)) / RECOVER_STEPS,
        .epochs = run->options->epochs,
        .batch = ends ? RECOVER_STEPS : run->steps % RECOVER_STEPS,
        .batches = RECOVER_STEPS,
        .layer = run->layer,
        .layers = run->layers,
        .nnz = run->current.nnz,
        .loss = run->objective / (double)run->train->samples,
        .evaluation_loss = NAN,
        .step_size = NAN,
        .seconds = clock_wall() - run->start,
    };
    return run->options->progress(run->options->progress_user, &progress);
}

/* Half of the entries of the best go, at random. */
static reliht_status drop_entries(convex_run *run)
{
    sparse *w = &run->current;
    sparse_clear(w);
    for (size_t p = 0; p < run->best->live; p++)
        for (size_t k = run->best->start[p]; k < run->best->start[p + 1]; k++)
            if (rng_word(run->options->seed, RNG_RECOVER, run->steps, (uint32_t)k) % 2)
                sparse_append(w, run->best->row[p], run->best->column[k], run->best->value[k]);
    reliht_status status = solve(run, w);
    return status ? status : load(run, w, &run->objective);
}

static reliht_status search(convex_run *run)
{
    size_t limit = run->options->epochs * RECOVER_STEPS, stalled = 0;
    double goal = fmax(EXACT, run->options->tolerance * run->options->tolerance);
    reliht_status status = load(run, &run->current, &run->objective);
    run->best_objective = run->objective;
    while (!status && run->steps < limit) {
        bool better;
        status = take_step(run, growths[stalled % GROWTHS], &better);
        if (status)
            return status;
        stalled = better ? stalled / GROWTHS * GROWTHS : stalled + 1;
        if (run->objective < run->best_objective) {
            run->best_objective = run->objective;
            sparse_copy(run->best, &run->current);
        }
        run->report->converged = run->best_objective <= goal * run->target_squares;
        if (!report_progress(run))
            return fail(run->context, RELIHT_CANCELLED, "cancelled after %zu steps of the search",
                        run->steps);
        if (run->report->converged)
            return RELIHT_OK;
        if (stalled == STALLED * GROWTHS) {
            status = drop_entries(run);
            stalled = 0;
        }
    }
    return status;
}

static reliht_status open_run(convex_run *run)
{
    const backend_operations *operations = run->context->backend->operations;
    const reliht_train_options *options = run->options;
    const reliht_dataset *train = run->train;
    const fused_problem problem = {
        .hidden = options->hidden,
        .inputs = run->inputs,
        .nnz = run->capacity,
        .samples = train->samples,
        .signs = options->signs,
        .generator = options->generator,
        .seed = options->seed,
        .given = options->generators ? &options->generators->hidden[0] : NULL,
    };
    for (size_t i = 0; i < train->samples; i++)
        run->target_squares += (double)train->y[i] * (double)train->y[i];
    reliht_status status =
        sparse_create(run->context, &run->current, options->hidden, run->inputs, run->capacity);
    if (!status)
        status =
            sparse_create(run->context, &run->grown, options->hidden, run->inputs, run->capacity);
    if (!status)
        status = selector_create(run->context, &run->chosen, run->capacity);
    if (!status)
        status =
            gate_allocate(run->context, MEMORY_workspace, TILE_ROWS * run->inputs,
                          sizeof *run->gradients, "gradients of some neurons", &run->gradients);
    if (!status)
        status = operations->batch_create(run->context->backend, train, options->bias,
                                          train->samples, &run->data);
    if (!status)
        status = operations->batch_load(run->data, NULL, train->samples);
    if (!status)
        status = operations->fused_create(run->context->backend, &problem, &run->model);
    return status;
}

static void close_run(convex_run *run)
{
    const backend_operations *operations = run->context->backend->operations;
    operations->fused_destroy(run->model);
    operations->batch_destroy(run->data);
    sparse_destroy(run->context, &run->current);
    sparse_destroy(run->context, &run->grown);
    selector_destroy(run->context, &run->chosen);
    gate_release(run->context, run->gradients);
}

reliht_status recover_convex(reliht_context *context, const reliht_dataset *train,
                             const reliht_train_options *options, size_t layer, size_t layers,
                             sparse *weights, reliht_train_report *report)
{
    convex_run run = {
        .context = context,
        .options = options,
        .train = train,
        .report = report,
        .layer = layer,
        .layers = layers,
        .start = clock_wall(),
        .inputs = train->inputs + options->bias,
        .nnz = options->nnz,
        .best = weights,
    };
    /* Room for the largest growth, but no more entries than there are. */
    size_t most = (GROWTH_MOST + 1) * options->nnz, all = options->hidden * run.inputs;
    run.capacity = most < all ? most : all;
    reliht_status status = open_run(&run);
    if (!status)
        status = search(&run);
    close_run(&run);
    report->epochs = (run.steps + RECOVER_STEPS - 1) / RECOVER_STEPS;
    return status;
}
