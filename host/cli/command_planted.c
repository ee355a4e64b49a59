/* `reliht planted`: draws a sparse network and data, trains on the data alone, and tells how much
 * of the network was recovered. */
#include "cli/cli.h"

static void planted_options(const struct settings *settings, reliht_planted_options *options)
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
    options->seed = settings->seed;
}

/* Recovery weight by weight means something where neurons keep their numbers: with the planted
 * neurons as fixed generators. */
static int compare(struct run *run, const reliht_model *planted, const reliht_model *model)
{
    double recall, error;
    reliht_status status = reliht_model_compare(run->context, planted, model, &recall, &error);
    if (status != RELIHT_OK)
        return run_failure(run, status);
    json_put(run->result, "support_recall", json_number(recall));
    json_put(run->result, "weight_rel_error", json_number(error));
    run_fact(run, "recovered", "%.4f of the planted support, weights to a relative error of %.3g",
             recall, error);
    return EXIT_DONE;
}

static int recover(struct run *run, const reliht_model *planted, const reliht_dataset *data)
{
    reliht_model *model = NULL;
    reliht_train_options options;
    reliht_train_report report;
    reliht_evaluation evaluation;
    network_options(run, data, &options);
    bool comparable = options.convex && options.layers == 1 && !run->settings->generators;
    if (comparable)
        options.generators = planted;
    int result = network_train(run, data, &options, &model, &report);
    if (result != EXIT_DONE)
        goto done;
    reliht_status status = reliht_model_evaluate(run->context, model, data, &evaluation);
    if (status != RELIHT_OK) {
        result = run_failure(run, status);
        goto done;
    }
    json_put(run->result, "psnr_db", json_number(evaluation.psnr_db));
    run_fact(run, "PSNR", "%.2f dB", evaluation.psnr_db);
    if (comparable)
        result = compare(run, planted, model);
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
    if (result == EXIT_DONE) {
        reliht_status status = reliht_planted_create(run.context, &options, &planted, &data);
        result = status == RELIHT_OK ? recover(&run, planted, data) : run_failure(&run, status);
    }
    reliht_dataset_destroy(data);
    reliht_model_destroy(planted);
    return run_close(&run, result);
}
