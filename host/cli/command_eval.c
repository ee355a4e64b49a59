/* `reliht eval` and `reliht predict`: a model applied to data, which unless options say otherwise
 * are those that its metadata name. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

/* Opens the model and its data; release both whatever comes back. */
static int open_both(struct run *run, bool targets_needed, reliht_model **model,
                     reliht_dataset **dataset, size_t *width, size_t *height)
{
    if (!run->settings->model)
        return usage_error(run->command, "which model? Give --model FILE");
    reliht_status status = reliht_model_read(run->context, run->settings->model, model);
    if (status != RELIHT_OK)
        return run_failure(run, status);
    return data_open_for_model(run, *model, targets_needed, dataset, width, height);
}

static int evaluate(struct run *run, const reliht_model *model, const reliht_dataset *dataset)
{
    reliht_evaluation evaluation;
    double start = wall_seconds();
    bool train = !run->settings->x && !run->settings->image && run->settings->part == 1;
    reliht_status status = reliht_model_evaluate(run->context, model, dataset, &evaluation);
    double seconds = wall_seconds() - start;
    if (status != RELIHT_OK)
        return run_failure(run, status);
    network_describe(run, dataset, model);
    json_put(run->result, "loss_final", json_number(evaluation.loss));
    run_fact(run, "loss", "%.6g on %zu samples", evaluation.loss, reliht_dataset_samples(dataset));
    if (reliht_dataset_classes(dataset)) {
        json_put(run->result, train ? "train_accuracy" : "test_accuracy",
                 json_number(evaluation.accuracy));
        run_fact(run, "accuracy", "%.4f", evaluation.accuracy);
    } else {
        json_put(run->result, "psnr_db", json_number(evaluation.psnr_db));
        run_fact(run, "PSNR", "%.2f dB", evaluation.psnr_db);
    }
    return run_finish(run, seconds, -1, reliht_model_dense_bytes(model));
}

int command_eval(const struct command *command, const struct settings *settings)
{
    struct run run;
    size_t width, height;
    reliht_model *model = NULL;
    reliht_dataset *dataset = NULL;
    int result = run_open(&run, command, settings);
    if (result == EXIT_DONE)
        result = open_both(&run, true, &model, &dataset, &width, &height);
    if (result == EXIT_DONE)
        result = evaluate(&run, model, dataset);
    reliht_dataset_destroy(dataset);
    reliht_model_destroy(model);
    return run_close(&run, result);
}

/* ---------------------------------------------------------------- predict */

static void print_rows(size_t rows, size_t columns, const float *values)
{
    for (size_t row = 0; row < rows; row++) {
        for (size_t column = 0; column < columns; column++)
            printf(column ? " %.9g" : "%.9g", (double)values[row * columns + column]);
        putchar('\n');
    }
}

static int write_outputs(struct run *run, size_t rows, size_t columns, const float *values,
                         size_t width, size_t height)
{
    const char *path = run->settings->out;
    size_t length = path ? strlen(path) : 0;
    if (!path) {
        print_rows(rows, columns, values);
        return EXIT_DONE;
    }
    bool image = length >= 4 && !strcmp(path + length - 4, ".png");
    if (image && !width)
        return usage_error(run->command, "--out: a PNG needs --image; other outputs are .npy");
    reliht_status status =
        image ? reliht_image_write(run->context, path, width, height, columns, values)
              : reliht_npy_write(run->context, path, rows, columns, values);
    return status == RELIHT_OK ? EXIT_DONE : run_failure(run, status);
}

static int predict(struct run *run, const reliht_model *model, const reliht_dataset *dataset,
                   size_t width, size_t height)
{
    size_t rows = reliht_dataset_samples(dataset), columns = reliht_model_outputs(model);
    float *values = calloc(rows * columns, sizeof *values);
    if (!values)
        return failure("out of memory for %zu x %zu outputs", rows, columns);
    double start = wall_seconds();
    reliht_status status = reliht_model_predict(run->context, model, dataset, values);
    double seconds = wall_seconds() - start;
    int result = status == RELIHT_OK ? write_outputs(run, rows, columns, values, width, height)
                                     : run_failure(run, status);
    free(values);
    /* without --out standard output holds the values, and nothing else but the JSON result */
    if (result != EXIT_DONE || (!run->settings->out && !run->settings->json))
        return result;
    network_describe(run, dataset, model);
    run_fact(run, "predicted", "%zu samples", rows);
    return run_finish(run, seconds, -1, reliht_model_dense_bytes(model));
}

int command_predict(const struct command *command, const struct settings *settings)
{
    struct run run;
    size_t width = 0, height = 0;
    reliht_model *model = NULL;
    reliht_dataset *dataset = NULL;
    const char *const outputs[] = {settings->out};
    int result = run_open(&run, command, settings);
    if (result == EXIT_DONE)
        result = run_check_outputs(&run, outputs, 1);
    if (result == EXIT_DONE)
        result = open_both(&run, false, &model, &dataset, &width, &height);
    if (result == EXIT_DONE)
        result = predict(&run, model, dataset, width, height);
    reliht_dataset_destroy(dataset);
    reliht_model_destroy(model);
    return run_close(&run, result);
}
