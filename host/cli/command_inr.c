/* `reliht inr`: fits an image by a network on random Fourier features of the pixel coordinates and
 * writes what it draws from them. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>

int image_write(struct run *run, const reliht_model *model, const reliht_dataset *data,
                size_t width, size_t height, const char *path)
{
    size_t channels = reliht_dataset_outputs(data);
    float *values = calloc(width * height * channels, sizeof *values);
    if (!values)
        return failure("out of memory for the image of %zu x %zu pixels", width, height);
    reliht_status status = reliht_model_predict(run->context, model, data, values);
    if (status == RELIHT_OK)
        status = reliht_image_write(run->context, path, width, height, channels, values);
    free(values);
    return status == RELIHT_OK ? EXIT_DONE : run_failure(run, status);
}

static int fit(struct run *run, const reliht_dataset *data, size_t width, size_t height)
{
    reliht_model *model = NULL;
    reliht_train_options options;
    reliht_train_report report;
    reliht_evaluation evaluation;
    network_options(run, data, &options);
    int result = network_train(run, data, &options, &model, &report);
    if (result != EXIT_DONE)
        goto done;
    reliht_status status = reliht_model_evaluate(run->context, model, data, &evaluation);
    if (status != RELIHT_OK) {
        result = run_failure(run, status);
        goto done;
    }
    json_put(run->result, "psnr_db", json_number(evaluation.psnr_db));
    run_fact(run, "PSNR", "%.2f dB on %zu x %zu pixels", evaluation.psnr_db, width, height);
    if (run->settings->out)
        result = image_write(run, model, data, width, height, run->settings->out);
    if (result == EXIT_DONE)
        result =
            run_finish(run, report.seconds, report.seconds_sweep, reliht_model_dense_bytes(model));
done:
    reliht_model_destroy(model);
    return result;
}

int image_options(const struct command *command, const struct settings *settings,
                  reliht_image_options *options)
{
    reliht_image_options_default(options);
    options->features = settings->features;
    options->sigma = settings->sigma;
    options->unit_coordinates = settings->coordinates == 1;
    options->seed = settings->seed;
    if (!settings->image)
        return usage_error(command, "which image? Give --image FILE.png");
    if (settings->features % 2)
        return usage_error(command, "--features: %zu is odd; every sine has its cosine",
                           (size_t)settings->features);
    return EXIT_DONE;
}

int command_inr(const struct command *command, const struct settings *settings)
{
    struct run run;
    reliht_dataset *data = NULL;
    size_t width = 0, height = 0;
    reliht_image_options options;
    const char *const outputs[] = {settings->model, settings->log, settings->out};
    if (image_options(command, settings, &options) != EXIT_DONE)
        return EXIT_USAGE;
    int result = run_open(&run, command, settings);
    if (result == EXIT_DONE)
        result = run_check_outputs(&run, outputs, 3);
    if (result == EXIT_DONE) {
        reliht_status status =
            reliht_image_read(run.context, settings->image, &options, &width, &height, &data);
        result = status == RELIHT_OK ? fit(&run, data, width, height) : run_failure(&run, status);
    }
    reliht_dataset_destroy(data);
    return run_close(&run, result);
}
