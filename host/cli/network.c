/* Training as `train`, `planted` and `inr` share it: options for the library, the run itself, what
 * is reported of a network. */
#include "cli/cli.h"

#include <math.h>
#include <stddef.h>

/* Above this many training samples `train` steps through minibatches unless told otherwise. */
#define FULL_BATCH_MAXIMUM 20000u
#define MINIBATCH 500u
/* Colour images are fitted in factored form, where aiht takes small steps and so needs many of
 * them: with 100 full-batch steps they stay blurs. */
#define COLOUR_MINIBATCH 128u

static size_t default_batch(const struct run *run, const reliht_dataset *dataset)
{
    const struct settings *settings = run->settings;
    bool steps = settings->solver == RELIHT_SOLVER_AIHT || settings->step != RELIHT_STEP_AUTO ||
                 settings->importance != RELIHT_IMPORTANCE_SKETCH;
    if (run->command->bit == INR)
        return steps && reliht_dataset_outputs(dataset) > 1 ? COLOUR_MINIBATCH : 0;
    if (settings->solver == RELIHT_SOLVER_RECOVER && reliht_dataset_outputs(dataset) == 1)
        return 0; /* it chooses the samples of its search itself */
    return reliht_dataset_samples(dataset) > FULL_BATCH_MAXIMUM ? MINIBATCH : 0;
}

void network_options(const struct run *run, const reliht_dataset *dataset,
                     reliht_train_options *options)
{
    const struct settings *settings = run->settings;
    reliht_train_options_default(options);
    options->solver = (reliht_solver)settings->solver;
    options->hidden = settings->hidden;
    options->nnz = settings->nnz;
    options->layers = settings->layers;
    options->epochs = settings->epochs;
    options->batch = settings->batch;
    if (settings->batch == UNSET_COUNT)
        options->batch = default_batch(run, dataset);
    options->refits = settings->refits;
    options->seed = settings->seed;
    options->convex = settings->convex;
    options->bias = settings->bias && !settings->no_bias;
    options->screening = !settings->no_screening;
    options->signs = (reliht_signs)settings->signs;
    options->loss = (reliht_loss)settings->loss;
    options->generator = (reliht_generator)settings->generator;
    options->importance = (reliht_importance)settings->importance;
    options->step = (reliht_step)settings->step;
    options->validation = settings->validation;
    options->return_last = settings->returned != 0;
    options->tolerance = settings->tolerance;
}

void network_describe(struct run *run, const reliht_dataset *dataset, const reliht_model *model)
{
    static const char *const kinds[] = {[RELIHT_FUSED] = "fused", [RELIHT_FACTORED] = "factored"};
    size_t layers = reliht_model_layers(model), hidden = reliht_model_hidden(model, 0);
    size_t inputs = reliht_model_inputs(model), outputs = reliht_model_outputs(model);
    char sparse_text[32], dense_text[32], adam_text[32];
    double dense = reliht_model_dense_bytes(model);
    if (dataset)
        json_put_count(run->result, "samples", reliht_dataset_samples(dataset));
    json_put_count(run->result, "inputs", inputs);
    json_put_count(run->result, "outputs", outputs);
    json_put_count(run->result, "hidden", hidden);
    json_put_count(run->result, "layers", layers);
    json_put_count(run->result, "nnz_used", reliht_model_nnz(model));
    run_fact(run, "network", "%zu inputs, %zu hidden layer%s of %zu, %zu output%s (%s)", inputs,
             layers, layers == 1 ? "" : "s", hidden, outputs, outputs == 1 ? "" : "s",
             kinds[reliht_model_get_kind(model)]);
    run_fact(run, "nonzeros", "%zu of %.0f weights", reliht_model_nnz(model), dense / 4);
    run_fact(run, "weights", "%s; of a dense network %s, and %s to train it with Adam",
             bytes_text(8.0 * (double)reliht_model_nnz(model), sparse_text),
             bytes_text(dense, dense_text), bytes_text(4 * dense, adam_text));
}

/* Generators of the run: given as a file, else those the caller has put into the options. */
static int read_generators(struct run *run, reliht_train_options *options,
                           reliht_model **generators)
{
    *generators = NULL;
    if (!run->settings->generators)
        return EXIT_DONE;
    reliht_status status =
        reliht_generators_read_npy(run->context, run->settings->generators, generators);
    if (status != RELIHT_OK)
        return run_failure(run, status);
    options->generators = *generators;
    return EXIT_DONE;
}

int network_train(struct run *run, const reliht_dataset *dataset, const reliht_train_options *given,
                  reliht_model **model, reliht_train_report *report)
{
    reliht_train_options options = *given;
    reliht_model *generators;
    *model = NULL;
    int result = read_generators(run, &options, &generators);
    if (result == EXIT_DONE)
        result = progress_start(&run->progress, run->settings->log, run->settings->quiet);
    if (result != EXIT_DONE)
        goto done;
    options.progress = progress_step;
    options.progress_user = &run->progress;
    reliht_status status = reliht_train(run->context, dataset, &options, model, report);
    progress_pause(&run->progress);
    run->cancelled = status == RELIHT_CANCELLED;
    if (status != RELIHT_OK && !(run->cancelled && *model)) {
        result = run_failure(run, status);
        goto done;
    }
    if (run->settings->model) {
        status = reliht_model_write(run->context, *model, run->settings->model);
        if (status != RELIHT_OK) {
            result = run_failure(run, status);
            goto done;
        }
    }
    json_put(run->result, "solver",
             json_string(report->solver == RELIHT_SOLVER_RECOVER ? "recover" : "aiht"));
    json_put_count(run->result, "seed", options.seed);
    json_put_count(run->result, "nnz_budget", options.nnz);
    json_put_count(run->result, "epochs", report->epochs);
    json_put(run->result, "loss_final", json_number(report->loss_final));
    network_describe(run, dataset, *model);
    if (report->swept_fraction > 0)
        json_put(run->result, "swept_fraction", json_number(report->swept_fraction));
    run_fact(run, "training", "%zu epoch%s%s, loss %.6g", report->epochs,
             report->epochs == 1 ? "" : "s", report->converged ? " to convergence" : "",
             report->loss_final);
done:
    reliht_model_destroy(generators);
    return result;
}
