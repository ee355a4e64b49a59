/* Gaussian compressed sensing (reliht_sense): normalised IHT on a drawn problem. */
#include "backend/backend.h"
#include "core/rng.h"
#include "solver/limits.h"

#include <math.h>

void reliht_sense_options_default(reliht_sense_options *options)
{
    *options = (reliht_sense_options){
        .length = 1000, .nnz = 10, .measurements = 200, .epochs = 15, .refits = 10};
}

static reliht_status check_options(reliht_context *context, const reliht_sense_options *options)
{
    reliht_status status = check_dimension(context, "length", options->length, 1);
    if (!status)
        status = check_dimension(context, "measurements", options->measurements, 1);
    if (!status)
        status = check_dimension(context, "nnz", options->nnz, 1);
    if (!status)
        status = check_dimension(context, "epochs", options->epochs, 1);
    if (!status)
        status = check_dimension(context, "refits", options->refits, 0);
    if (!status)
        status = check_tolerance(context, options->tolerance);
    if (!status && options->nnz > options->length)
        status = fail(context, RELIHT_ARGUMENT, "nnz %zu is more than the length %zu of the vector",
                      options->nnz, options->length);
    return status;
}

/* The vector to be recovered: positions uniform without replacement, values N(0,1). */
static reliht_status draw_vector(reliht_context *context, const reliht_sense_options *options,
                                 sparse *vector)
{
    uint64_t *positions = NULL, *scratch = NULL;
    reliht_status status = sparse_create(context, vector, 1, options->length, options->nnz);
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, options->nnz, sizeof *positions,
                               "positions", &positions);
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, 4 * options->nnz + 64, sizeof *scratch,
                               "scratch of the positions", &scratch);
    if (!status) {
        rng_distinct(options->seed, RNG_SENSE_VECTOR, 0, options->length, options->nnz, positions,
                     scratch);
        for (size_t k = 0; k < options->nnz; k++)
            sparse_append(vector, 0, (uint32_t)positions[k],
                          rng_normal_of(rng_word(options->seed, RNG_SENSE_VECTOR, 1, (uint32_t)k)));
    }
    gate_release(context, positions);
    gate_release(context, scratch);
    return status;
}

/* Steps until the epochs are done, the tolerance is met or the caller cancels. */
static reliht_status run_steps(reliht_context *context, const reliht_sense_options *options,
                               sensing *problem, reliht_sense_report *report)
{
    const backend_operations *operations = context->backend->operations;
    double start = clock_wall(), target = 0;
    for (size_t epoch = 0; epoch < options->epochs; epoch++) {
        step_report step;
        reliht_status status = operations->sensing_step(problem, options->refits);
        if (!status)
            status = operations->sensing_report(problem, &step);
        if (status)
            return status;
        if (epoch == 0)
            target = step.objective_before;
        report->epochs = epoch + 1;
        report->seconds_sweep += step.seconds_sweep;
        report->nnz_used = step.nnz;
        report->loss_final = step.objective_after / (double)options->measurements;
        const reliht_progress progress = {
            .epoch = epoch + 1,
            .epochs = options->epochs,
            .batch = 1,
            .batches = 1,
            .layers = 1,
            .nnz = step.nnz,
            .loss = step.objective_before / (double)options->measurements,
            .evaluation_loss = report->loss_final,
            .step_size = step.step_size,
            .seconds = clock_wall() - start,
        };
        if (options->progress && !options->progress(options->progress_user, &progress))
            return fail(context, RELIHT_CANCELLED, "cancelled after epoch %zu of %zu", epoch + 1,
                        options->epochs);
        if (options->tolerance > 0 &&
            step.objective_after <= options->tolerance * options->tolerance * target) {
            report->converged = true;
            break;
        }
    }
    return RELIHT_OK;
}

reliht_status reliht_sense(reliht_context *context, const reliht_sense_options *options,
                           reliht_sense_report *report)
{
    *report = (reliht_sense_report){0};
    reliht_status status = check_options(context, options);
    if (status)
        return status;
    const backend_operations *operations = context->backend->operations;
    double wall = clock_wall(), cpu = clock_cpu();
    sensing *problem = NULL;
    sparse vector = {0}, found = {0};
    status = draw_vector(context, options, &vector);
    if (!status)
        status = sparse_create(context, &found, 1, options->length, options->nnz);
    if (!status)
        status = operations->sensing_create(
            context->backend,
            &(sensing_problem){options->length, options->measurements, options->nnz, options->seed},
            &problem);
    if (!status)
        status = operations->sensing_set_targets(problem, &vector);
    if (!status)
        status = run_steps(context, options, problem, report);
    if (!status || status == RELIHT_CANCELLED) {
        reliht_status got = operations->sensing_get_weights(problem, &found);
        status = got ? got : status;
    }
    if (!status || status == RELIHT_CANCELLED) {
        sparse zero = {.rows = 1, .columns = options->length};
        report->support_recall = (double)sparse_common(&vector, &found) / (double)options->nnz;
        report->weight_rel_error =
            sparse_distance(&vector, &found) / sparse_distance(&vector, &zero);
        report->seconds = clock_wall() - wall;
        report->cpu_seconds = clock_cpu() - cpu;
    }
    operations->sensing_destroy(problem);
    sparse_destroy(context, &vector);
    sparse_destroy(context, &found);
    return status;
}
