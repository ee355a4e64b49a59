/* `reliht planted`: draws a sparse network and data, trains on the data alone, and tells how much
 * of the network was recovered. */
#include "cli/cli.h"

#include <math.h>

/* Words of reliht_draw. */
static const char *const DRAW_NAMES[] = {"gaussian", "correlated", "heavy", "sparse"};

void planted_options(const struct settings *settings, reliht_planted_options *options)
{
    reliht_planted_options_default(options);
    options->samples = settings->samples;
    options->inputs = settings->inputs;
    options->outputs = settings->outputs;
    options->hidden =
        settings->planted_hidden == UNSET_COUNT ? settings->hidden : settings->planted_hidden;
    options->nnz = settings->nnz;
    options->layers = settings->layers;
    options->disjoint = settings->disjoint;
    options->magnitude_minimum = (float)settings->magnitude_minimum;
    options->mixed = settings->signs == RELIHT_SIGNS_MIXED;
    options->draw = (reliht_draw)settings->inputs_draw;
    options->correlation = settings->correlation;
    options->density = settings->density;
    options->noise = settings->noise;
    options->seed = settings->seed;
}

int planted_draw(struct run *run, const reliht_planted_options *given, reliht_model **planted,
                 reliht_dataset **data)
{
    const char *path = run->settings->inputs_from;
    reliht_planted_options options = *given;
    reliht_dataset *inputs = NULL;
    reliht_status status = RELIHT_OK;
    if (path)
        status = reliht_dataset_read_npy(run->context, path, NULL, false, &inputs);
    options.inputs_from = inputs;
    if (status == RELIHT_OK)
        status = reliht_planted_create(run->context, &options, planted, data);
    reliht_dataset_destroy(inputs);
    return status == RELIHT_OK ? EXIT_DONE : run_failure(run, status);
}

static void put_recovery(struct run *run, double recall, double precision, double error)
{
    json_put(run->result, "support_recall", json_number(recall));
    json_put(run->result, "support_precision", json_number(precision));
    json_put(run->result, "weight_rel_error", json_number(error));
    if (isnan(recall))
        run_fact(run, "recovered", "nothing can be: the planted network is active on no sample");
    else
        run_fact(run, "recovered",
                 "%.4f of the planted support, %.4f of the support found is planted; weights to a "
                 "relative error of %.3g",
                 recall, precision, error);
}

/* With the planted neurons as fixed generators neurons keep their numbers. */
static int compare_by_number(struct run *run, const reliht_model *planted,
                             const reliht_model *model)
{
    double recall, error;
    reliht_status status = reliht_model_compare(run->context, planted, model, &recall, &error);
    if (status != RELIHT_OK)
        return run_failure(run, status);
    double found = (double)reliht_model_nnz(model);
    double precision = found > 0 ? recall * (double)reliht_model_nnz(planted) / found : 1;
    put_recovery(run, recall, precision, error);
    return EXIT_DONE;
}

static int compare_by_pairing(struct run *run, const reliht_model *planted,
                              const reliht_model *model, const reliht_dataset *data)
{
    reliht_recovery recovery;
    reliht_status status = reliht_model_recovery(run->context, planted, model, data, &recovery);
    if (status != RELIHT_OK)
        return run_failure(run, status);
    put_recovery(run, recovery.support_recall, recovery.support_precision,
                 recovery.weight_rel_error);
    json_put_count(run->result, "planted_neurons", recovery.planted_neurons);
    json_put_count(run->result, "found_neurons", recovery.found_neurons);
    json_put_count(run->result, "matched_neurons", recovery.matched_neurons);
    run_fact(run, "neurons", "%zu planted and %zu found that differ on the data, %zu paired",
             recovery.planted_neurons, recovery.found_neurons, recovery.matched_neurons);
    return EXIT_DONE;
}

void put_identifiability(json_t *result, const reliht_identifiability *found)
{
    json_put(result, "identifiable", json_boolean(found->identifiable));
    json_put_count(result, "merged_neurons", found->neurons - found->inactive - found->distinct);
    json_put_count(result, "inactive_neurons", found->inactive);
    json_put_count(result, "always_active_neurons", found->always_active);
    json_put(result, "support_eigenvalue_min", json_number(found->smallest_eigenvalue));
    json_put(result, "support_eigenvalue_max", json_number(found->largest_eigenvalue));
}

/* Whether the data determine the planted weights, neurons told apart by their patterns or, with
 * `by_number`, by their numbers. *active <- whether any neuron is active somewhere. */
static int report_identifiability(struct run *run, const reliht_model *network,
                                  const reliht_dataset *data, bool by_number, bool *active)
{
    reliht_identifiability found;
    reliht_status status = reliht_model_identifiability(run->context, network, data, &found);
    if (status != RELIHT_OK)
        return run_failure(run, status);
    size_t merged = found.neurons - found.inactive - found.distinct;
    bool identifiable = found.identifiable && !(by_number && merged);
    const char *reason = "";
    if (found.inactive)
        reason = ": neurons that are never active have no influence";
    else if (found.weights > reliht_dataset_samples(data))
        reason = ": more weights than samples";
    else if (!found.identifiable)
        reason = ": the columns of its weights are linearly dependent";
    else if (by_number && merged)
        reason = ": neurons with equal patterns share their weights in any way";
    else if (merged)
        reason = ", after merging neurons with equal patterns";
    found.identifiable = identifiable;
    *active = found.distinct > 0;
    put_identifiability(run->result, &found);
    run_fact(run, "identifiable", "%s%s (eigenvalues on the support %.3g to %.3g)",
             identifiable ? "yes" : "no", reason, found.smallest_eigenvalue,
             found.largest_eigenvalue);
    return EXIT_DONE;
}

static int report_oracle(struct run *run, const reliht_model *planted, const reliht_dataset *data)
{
    reliht_oracle oracle;
    reliht_status status = reliht_model_oracle(run->context, planted, data, &oracle);
    if (status != RELIHT_OK)
        return run_failure(run, status);
    json_put(run->result, "oracle_weight_rel_error", json_number(oracle.weight_rel_error));
    json_put(run->result, "oracle_psnr_db", json_number(oracle.psnr_db));
    run_fact(run, "oracle",
             "least squares on the planted support: weights to a relative error of %.3g, PSNR "
             "%.2f dB",
             oracle.weight_rel_error, oracle.psnr_db);
    return EXIT_DONE;
}

/* Recovery weight by weight, for the form of network whose weights have a meaning. */
static int report_recovery(struct run *run, const reliht_model *planted, const reliht_model *model,
                           const reliht_dataset *data, bool by_number)
{
    if (reliht_model_layers(planted) != 1)
        return EXIT_DONE;
    int result = by_number ? compare_by_number(run, planted, model)
                           : compare_by_pairing(run, planted, model, data);
    if (result != EXIT_DONE || reliht_model_get_kind(planted) != RELIHT_FUSED)
        return result;
    bool active = false;
    result = report_identifiability(run, planted, data, by_number, &active);
    if (result == EXIT_DONE && active && run->settings->noise > 0)
        result = report_oracle(run, planted, data);
    return result;
}

static int recover(struct run *run, const reliht_model *planted, const reliht_dataset *data)
{
    reliht_model *model = NULL;
    reliht_train_options options;
    reliht_train_report report;
    reliht_evaluation evaluation;
    network_options(run, data, &options);
    bool by_number = options.convex && options.layers == 1 && !run->settings->generators;
    if (by_number)
        options.generators = planted;
    /* noise makes negative targets of a network that has none */
    if (reliht_model_outputs(planted) == 1)
        options.signs = reliht_model_signs(planted);
    int result = network_train(run, data, &options, &model, &report);
    if (result != EXIT_DONE)
        goto done;
    reliht_status status = reliht_model_evaluate(run->context, model, data, &evaluation);
    if (status != RELIHT_OK) {
        result = run_failure(run, status);
        goto done;
    }
    json_put(
        run->result, "inputs_draw",
        json_string(run->settings->inputs_from ? "file" : DRAW_NAMES[run->settings->inputs_draw]));
    json_put(run->result, "noise", json_number(run->settings->noise));
    json_put(run->result, "psnr_db", json_number(evaluation.psnr_db));
    run_fact(run, "PSNR", "%.2f dB", evaluation.psnr_db);
    result = report_recovery(run, planted, model, data, by_number);
    if (result == EXIT_DONE)
        result =
            run_finish(run, report.seconds, report.seconds_sweep, reliht_model_dense_bytes(model));
done:
    reliht_model_destroy(model);
    return result;
}

int command_planted(const struct command *command, const struct settings *settings)
{
    struct run run;
    reliht_model *planted = NULL;
    reliht_dataset *data = NULL;
    reliht_planted_options options;
    const char *const outputs[] = {settings->model, settings->log};
    planted_options(settings, &options);
    int result = run_open(&run, command, settings);
    if (result == EXIT_DONE && options.hidden > settings->hidden)
        result = usage_error(command, "--planted-hidden: %zu is more than --hidden %zu",
                             options.hidden, (size_t)settings->hidden);
    if (result == EXIT_DONE)
        result = run_check_outputs(&run, outputs, 2);
    if (result == EXIT_DONE)
        result = planted_draw(&run, &options, &planted, &data);
    if (result == EXIT_DONE)
        result = recover(&run, planted, data);
    reliht_dataset_destroy(data);
    reliht_model_destroy(planted);
    return run_close(&run, result);
}
