/* What was recovered of a planted network, what could be, and what an oracle would:
 *     recall = |S and S*| / |S*|,  precision = |S and S*| / |S|,  error = |w - w*| / |w*|
 * over reduced networks (merge.c) whose neurons are paired (matching.c). */
#include "backend/backend.h"
#include "model/matching.h"
#include "solver/merge.h"
#include "solver/restricted.h"

#include <float.h>
#include <math.h>

/* Products are in single precision: below this share of the largest eigenvalue, the smallest one is
 * as good as zero. */
#define SINGULAR 1e-7
#define SPECTRUM_STEPS 128u
/* Work of all steps together, in weights times samples, for larger networks; and fewest steps. */
#define SPECTRUM_WORK 2e9
#define SPECTRUM_STEPS_LEAST 32u

/* ---------------------------------------------------------------- recovery */

/* Number of shared columns of two rows; *squares <- their squared distance. */
static size_t compare_rows(const sparse *a, size_t i, const sparse *b, size_t j, double *squares)
{
    size_t common = 0, p = a->start[i], q = b->start[j];
    *squares = 0;
    while (p < a->start[i + 1] || q < b->start[j + 1]) {
        bool left = p < a->start[i + 1], right = q < b->start[j + 1];
        bool take_left = left && (!right || a->column[p] <= b->column[q]);
        bool take_right = right && (!left || b->column[q] <= a->column[p]);
        double difference = 0;
        common += take_left && take_right;
        if (take_left)
            difference += (double)a->value[p++];
        if (take_right)
            difference -= (double)b->value[q++];
        *squares += difference * difference;
    }
    return common;
}

/* paired [found->live]: zeros on entry. */
static void score_pairs(const sparse *planted, const sparse *found, const size_t *partner,
                        uint8_t *paired, reliht_recovery *recovery)
{
    size_t common = 0;
    double error = 0, norm = 0;
    for (size_t i = 0; i < planted->live; i++) {
        double squares = sparse_row_squares(planted, i);
        norm += squares;
        if (partner[i] != found->live) {
            paired[partner[i]] = 1;
            common += compare_rows(planted, i, found, partner[i], &squares);
            recovery->matched_neurons++;
        }
        error += squares;
    }
    for (size_t j = 0; j < found->live; j++)
        if (!paired[j])
            error += sparse_row_squares(found, j);
    recovery->planted_neurons = planted->live;
    recovery->found_neurons = found->live;
    if (!planted->nnz) {
        recovery->support_recall = recovery->support_precision = recovery->weight_rel_error = NAN;
        return;
    }
    recovery->support_recall = (double)common / (double)planted->nnz;
    recovery->support_precision = found->nnz ? (double)common / (double)found->nnz : 1;
    recovery->weight_rel_error = error > 0 ? sqrt(error / norm) : 0;
}

reliht_status reliht_model_recovery(reliht_context *context, const reliht_model *planted,
                                    const reliht_model *model, const reliht_dataset *dataset,
                                    reliht_recovery *recovery)
{
    merged_network truth, found = {0};
    size_t *partner = NULL;
    uint8_t *paired = NULL;
    *recovery = (reliht_recovery){0};
    if (planted->kind != model->kind || planted->outputs != model->outputs)
        return fail(context, RELIHT_ARGUMENT,
                    "a %s network with %zu outputs was compared with a %s one with %zu",
                    model_kind_name(planted), planted->outputs, model_kind_name(model),
                    model->outputs);
    reliht_status status = merge_network(context, planted, dataset, &truth);
    if (status)
        return status;
    status = merge_network(context, model, dataset, &found);
    if (status)
        goto done;
    /* one of them may have a bias input */
    if (found.weights.columns < truth.weights.columns)
        found.weights.columns = truth.weights.columns;
    status = gate_allocate(context, MEMORY_workspace, truth.weights.live, sizeof *partner,
                           "pairs of neurons", &partner);
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, found.weights.live, sizeof *paired,
                               "neurons that are paired", &paired);
    if (!status)
        status = match_rows(context, &truth.weights, &found.weights, dataset->inputs + 1, partner);
    if (!status)
        score_pairs(&truth.weights, &found.weights, partner, paired, recovery);
done:
    gate_release(context, paired);
    gate_release(context, partner);
    merged_destroy(context, &found);
    merged_destroy(context, &truth);
    return status;
}

/* ---------------------------------------------------------------- identifiability, oracle */

static reliht_status check_fused(reliht_context *context, const reliht_model *model)
{
    if (model->kind == RELIHT_FUSED)
        return RELIHT_OK;
    return fail(context, RELIHT_ARGUMENT,
                "the network is factored (%zu outputs); one output is needed", model->outputs);
}

/* The operator on the support and with the patterns of a reduced network. */
static reliht_status open_merged(reliht_context *context, const reliht_dataset *dataset,
                                 const sparse *weights, restricted *operator)
{
    const fused_problem problem = {.hidden = weights->rows,
                                   .inputs = weights->columns,
                                   .nnz = weights->nnz,
                                   .signs = RELIHT_SIGNS_MIXED,
                                   .given = weights};
    reliht_status status = restricted_open(context, dataset, &problem, operator);
    if (status)
        return status;
    status = restricted_load(operator, weights, PATTERNS_DRAWN);
    if (status)
        restricted_close(operator);
    return status;
}

static size_t spectrum_steps(size_t weights, size_t samples)
{
    double steps = SPECTRUM_WORK / ((double)weights * (double)samples);
    if (steps >= SPECTRUM_STEPS)
        return SPECTRUM_STEPS;
    return steps > SPECTRUM_STEPS_LEAST ? (size_t)steps : SPECTRUM_STEPS_LEAST;
}

reliht_status reliht_model_identifiability(reliht_context *context, const reliht_model *model,
                                           const reliht_dataset *dataset,
                                           reliht_identifiability *identifiability)
{
    merged_network merged;
    restricted operator;
    restricted_spectrum spectrum = {0};
    *identifiability = (reliht_identifiability){0};
    reliht_status status = check_fused(context, model);
    if (!status)
        status = merge_network(context, model, dataset, &merged);
    if (status)
        return status;
    const sparse *weights = &merged.weights;
    if (weights->nnz) {
        status = open_merged(context, dataset, weights, &operator);
        if (status)
            goto done;
        status = restricted_extremes(&operator, weights->nnz,
                                     spectrum_steps(weights->nnz, dataset->samples), 0, &spectrum,
                                     NULL, NULL);
        restricted_close(&operator);
    }
    if (status)
        goto done;
    *identifiability = (reliht_identifiability){
        .identifiable = !merged.inactive && weights->nnz && weights->nnz <= dataset->samples &&
                        spectrum.smallest > SINGULAR * spectrum.largest,
        .neurons = merged.neurons,
        .distinct = weights->live,
        .inactive = merged.inactive,
        .always_active = merged.always_active,
        .weights = weights->nnz,
        .smallest_eigenvalue = spectrum.smallest,
        .largest_eigenvalue = spectrum.largest,
    };
done:
    merged_destroy(context, &merged);
    return status;
}

/* solution <- least squares, from the planted weights on. */
static reliht_status solve_oracle(reliht_context *context, const reliht_dataset *dataset,
                                  const sparse *weights, sparse *solution, double *squares)
{
    restricted operator;
    reliht_status status = open_merged(context, dataset, weights, &operator);
    if (status)
        return status;
    sparse_copy(solution, weights);
    status = restricted_set_targets(&operator, dataset->y);
    if (!status)
        status = restricted_least_squares(&operator, solution, squares);
    restricted_close(&operator);
    return status;
}

reliht_status reliht_model_oracle(reliht_context *context, const reliht_model *planted,
                                  const reliht_dataset *dataset, reliht_oracle *oracle)
{
    merged_network merged;
    sparse solution = {0};
    double squares = 0;
    *oracle = (reliht_oracle){0};
    if (dataset->outputs != 1 || !dataset->y)
        return fail(context, RELIHT_ARGUMENT,
                    "the data have targets for %zu outputs; one is needed", dataset->outputs);
    reliht_status status = check_fused(context, planted);
    if (!status)
        status = merge_network(context, planted, dataset, &merged);
    if (status)
        return status;
    const sparse *weights = &merged.weights;
    if (!weights->nnz)
        status = fail(context, RELIHT_ARGUMENT, "no neuron of the network is active on the data");
    if (!status)
        status = sparse_create(context, &solution, weights->rows, weights->columns, weights->nnz);
    if (!status)
        status = solve_oracle(context, dataset, weights, &solution, &squares);
    if (!status) {
        const sparse zero = {.rows = weights->rows, .columns = weights->columns};
        double peak = (double)dataset->target_maximum, least = 0x1p-53 * peak;
        double mse = squares / (double)dataset->samples;
        oracle->weight_rel_error =
            sparse_distance(&solution, weights) / sparse_distance(weights, &zero);
        oracle->psnr_db = 20 * log10(peak) - 10 * log10(fmax(mse, fmax(least * least, DBL_MIN)));
    }
    sparse_destroy(context, &solution);
    merged_destroy(context, &merged);
    return status;
}
