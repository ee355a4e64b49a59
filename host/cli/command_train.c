/* `reliht train`: a network on a data set; accuracy on training and test data, the picture. */
#include "cli/cli.h"

#include <math.h>

/* The model's figures on one part of the data, into the result under `part` ("train"). */
static int evaluate(struct run *run, const reliht_model *model, const reliht_dataset *dataset,
                    const char *part)
{
    char key[32];
    reliht_evaluation evaluation;
    reliht_status status = reliht_model_evaluate(run->context, model, dataset, &evaluation);
    if (status != RELIHT_OK)
        return run_failure(run, status);
    if (reliht_dataset_classes(dataset)) {
        snprintf(key, sizeof key, "%s_accuracy", part);
        json_put(run->result, key, json_number(evaluation.accuracy));
        snprintf(key, sizeof key, "%s accuracy", part);
        run_fact(run, key, "%.4f (%zu samples)", evaluation.accuracy,
                 reliht_dataset_samples(dataset));
    } else {
        snprintf(key, sizeof key, "%s PSNR", part);
        run_fact(run, key, "%.2f dB (%zu samples)", evaluation.psnr_db,
                 reliht_dataset_samples(dataset));
        /* the test data's figure, which comes last, stands where there are test data */
        json_put(run->result, "psnr_db", json_number(evaluation.psnr_db));
    }
    return EXIT_DONE;
}

static int train(struct run *run, const reliht_dataset *data, const reliht_dataset *test)
{
    const struct settings *settings = run->settings;
    reliht_model *model = NULL;
    reliht_train_options options;
    reliht_train_report report;
    network_options(run, data, &options);
    int result = network_train(run, data, &options, &model, &report);
    if (result == EXIT_DONE)
        result = evaluate(run, model, data, "train");
    if (result == EXIT_DONE && test)
        result = evaluate(run, model, test, "test");
    if (result == EXIT_DONE && settings->picture)
        result = picture_write(run, model, settings->picture);
    if (result == EXIT_DONE)
        result =
            run_finish(run, report.seconds, report.seconds_sweep, reliht_model_dense_bytes(model));
    reliht_model_destroy(model);
    return result;
}

int command_train(const struct command *command, const struct settings *settings)
{
    struct run run;
    reliht_dataset *data = NULL, *test = NULL;
    const char *const outputs[] = {settings->model, settings->log, settings->picture};
    int result = run_open(&run, command, settings);
    if (result == EXIT_DONE)
        result = run_check_outputs(&run, outputs, 3);
    if (result == EXIT_DONE)
        result = data_open_training(&run, &data, &test);
    size_t width, height, channels;
    if (result == EXIT_DONE && settings->picture &&
        !picture_shape(reliht_dataset_inputs(data), &width, &height, &channels))
        result = usage_error(command, "--picture: %zu inputs are no square image",
                             reliht_dataset_inputs(data));
    if (result == EXIT_DONE)
        result = train(&run, data, test);
    reliht_dataset_destroy(data);
    reliht_dataset_destroy(test);
    return run_close(&run, result);
}
