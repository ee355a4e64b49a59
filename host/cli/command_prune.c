/* `reliht prune [train|planted|inr]`: iterative magnitude pruning on the data of those commands;
 * scores of the dense network and, for every target, right after its cut and after training. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum prune_task { TASK_TRAIN, TASK_PLANTED, TASK_INR } prune_task;

#define PATH_BYTES 4096u
#define MINIBATCH 128u

/* What is pruned on, and everything that comes of it, by target. */
typedef struct pruning {
    struct run *run;
    prune_task task;
    reliht_dataset *data, *test;
    size_t width, height; /* of the image, or 0 */
    size_t count;
    size_t nnz[LIST_MAXIMUM];
    reliht_model *models[LIST_MAXIMUM];
    reliht_prune_target results[LIST_MAXIMUM];
    reliht_prune_report report;
} pruning;

/* ---------------------------------------------------------------- options */

static size_t chosen(uint64_t setting, size_t otherwise)
{
    return setting == UNSET_COUNT ? otherwise : (size_t)setting;
}

static size_t hidden_of(const pruning *self)
{
    return chosen(self->run->settings->hidden, self->task == TASK_TRAIN ? 100 : 10);
}

static void take_targets(pruning *self)
{
    const number_list *list = &self->run->settings->targets;
    self->count = list->count ? list->count : 1;
    self->nnz[0] = self->task == TASK_PLANTED ? 50 : 1000;
    for (size_t t = 0; t < list->count; t++)
        self->nnz[t] = list->values[t];
}

static void prune_options(pruning *self, reliht_prune_options *options)
{
    const struct settings *settings = self->run->settings;
    bool image = self->task == TASK_INR;
    reliht_prune_options_default(options);
    options->hidden = hidden_of(self);
    options->layers = settings->layers;
    options->nnz = self->nnz;
    options->targets = self->count;
    options->rate = settings->prune_rate;
    options->epochs = chosen(settings->epochs, image ? 100 : 10);
    options->epochs_final = chosen(settings->epochs_final, 0);
    options->batch = chosen(settings->batch, MINIBATCH);
    options->learning_rate = settings->learning_rate;
    options->seed = settings->seed;
    options->bias = (settings->bias || image) && !settings->no_bias;
    options->loss = (reliht_loss)settings->loss;
    options->validation = settings->validation;
    options->test = self->test;
    options->progress = progress_step;
    options->progress_user = &self->run->progress;
}

static size_t largest_target(const pruning *self)
{
    size_t largest = 0;
    for (size_t t = 0; t < self->count; t++)
        largest = self->nnz[t] > largest ? self->nnz[t] : largest;
    return largest;
}

static size_t smallest_place(const pruning *self)
{
    size_t place = 0;
    for (size_t t = 1; t < self->count; t++)
        place = self->nnz[t] < self->nnz[place] ? t : place;
    return place;
}

/* ---------------------------------------------------------------- data */

static int open_planted(pruning *self)
{
    const struct settings *settings = self->run->settings;
    reliht_planted_options options;
    reliht_model *planted = NULL;
    planted_options(settings, &options);
    options.hidden = chosen(settings->planted_hidden, hidden_of(self));
    options.nnz = chosen(settings->planted_nnz, largest_target(self));
    int status = planted_draw(self->run, &options, &planted, &self->data);
    reliht_model_destroy(planted);
    return status;
}

static int open_image(pruning *self)
{
    const struct settings *settings = self->run->settings;
    reliht_image_options options;
    if (image_options(self->run->command, settings, &options) != EXIT_DONE)
        return EXIT_USAGE;
    reliht_status status = reliht_image_read(self->run->context, settings->image, &options,
                                             &self->width, &self->height, &self->data);
    return status == RELIHT_OK ? EXIT_DONE : run_failure(self->run, status);
}

static int open_data(pruning *self)
{
    switch (self->task) {
    case TASK_TRAIN:
        return data_open_training(self->run, &self->data, &self->test);
    case TASK_PLANTED:
        return open_planted(self);
    case TASK_INR:
        return open_image(self);
    }
    return EXIT_FAILED;
}

/* ---------------------------------------------------------------- files */

/* `given` for one target, else with its number before the ending: name-50.safetensors. */
static int path_of(const pruning *self, const char *given, size_t target, char path[PATH_BYTES])
{
    const char *slash = strrchr(given, '/'), *dot = strrchr(given, '.');
    size_t stem = strlen(given);
    if (dot && dot != given && (!slash || dot > slash + 1))
        stem = (size_t)(dot - given);
    int length = self->count == 1 ? snprintf(path, PATH_BYTES, "%s", given)
                                  : snprintf(path, PATH_BYTES, "%.*s-%zu%s", (int)stem, given,
                                             self->nnz[target], given + stem);
    return length < (int)PATH_BYTES ? EXIT_DONE : failure("'%s' is too long for a path", given);
}

/* Refuses, before any work, what could not be written. */
static int check_outputs(const pruning *self)
{
    const struct settings *settings = self->run->settings;
    for (size_t t = 0; t < self->count; t++) {
        char model[PATH_BYTES] = "", out[PATH_BYTES] = "";
        if (settings->model && path_of(self, settings->model, t, model) != EXIT_DONE)
            return EXIT_FAILED;
        if (settings->out && path_of(self, settings->out, t, out) != EXIT_DONE)
            return EXIT_FAILED;
        const char *const paths[] = {*model ? model : NULL, *out ? out : NULL, settings->log};
        int result = run_check_outputs(self->run, paths, 3);
        if (result != EXIT_DONE)
            return result;
    }
    return EXIT_DONE;
}

/* Writes the target's files; `line` is what the result says of it. */
static int write_files(pruning *self, size_t target, json_t *line)
{
    const struct settings *settings = self->run->settings;
    char path[PATH_BYTES];
    if (settings->model) {
        int result = path_of(self, settings->model, target, path);
        if (result != EXIT_DONE)
            return result;
        reliht_status status = reliht_model_write(self->run->context, self->models[target], path);
        if (status != RELIHT_OK)
            return run_failure(self->run, status);
        json_put(line, "model", json_string(path));
    }
    if (!settings->out)
        return EXIT_DONE;
    int result = path_of(self, settings->out, target, path);
    return result != EXIT_DONE ? result
                               : image_write(self->run, self->models[target], self->data,
                                             self->width, self->height, path);
}

/* ---------------------------------------------------------------- scores */

/* object[prefix + key + suffix] <- value */
static void put_score(json_t *object, const char *prefix, const char *key, const char *suffix,
                      double value)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s%s", prefix, key, suffix);
    json_put(object, name, json_number(value));
}

/* Accuracies of both parts where there are classes, else the PSNR: of the test data if there are
 * any. `text` <- the same for people. */
static void put_scores(const pruning *self, json_t *object, const char *prefix, const char *suffix,
                       const reliht_prune_scores *scores, char *text, size_t bytes)
{
    if (!reliht_dataset_classes(self->data)) {
        double psnr = self->test ? scores->test.psnr_db : scores->train.psnr_db;
        put_score(object, prefix, "psnr_db", suffix, psnr);
        snprintf(text, bytes, "PSNR %.2f dB", psnr);
        return;
    }
    put_score(object, prefix, "train_accuracy", suffix, scores->train.accuracy);
    snprintf(text, bytes, "train accuracy %.4f", scores->train.accuracy);
    if (!self->test)
        return;
    size_t length = strlen(text);
    put_score(object, prefix, "test_accuracy", suffix, scores->test.accuracy);
    snprintf(text + length, bytes - length, ", test accuracy %.4f", scores->test.accuracy);
}

static int score_model(const pruning *self, const reliht_model *model, reliht_prune_scores *scores)
{
    reliht_status status =
        reliht_model_evaluate(self->run->context, model, self->data, &scores->train);
    if (status == RELIHT_OK && self->test)
        status = reliht_model_evaluate(self->run->context, model, self->test, &scores->test);
    return status == RELIHT_OK ? EXIT_DONE : run_failure(self->run, status);
}

/* One target: its scores and files into `line`. */
static int describe_target(pruning *self, size_t target, json_t *line)
{
    const reliht_prune_target *result = &self->results[target];
    reliht_prune_scores scores = {0};
    char label[32], after[96], cut[96];
    int status = score_model(self, self->models[target], &scores);
    if (status != EXIT_DONE)
        return status;
    json_put_count(line, "nnz_budget", result->nnz);
    json_put_count(line, "nnz_used", reliht_model_nnz(self->models[target]));
    json_put_count(line, "round", result->round);
    json_put_count(line, "epochs", result->epochs);
    json_put(line, "loss_final", json_number(result->loss_final));
    put_scores(self, line, "", "", &scores, after, sizeof after);
    put_scores(self, line, "", "_cut", &result->cut, cut, sizeof cut);
    snprintf(label, sizeof label, "%zu weights", result->nnz);
    if (isnan(result->cut.train.mse))
        run_fact(self->run, label, "%s", after);
    else
        run_fact(self->run, label, "%s; right after the cut %s", after, cut);
    return write_files(self, target, line);
}

/* All targets as an array, from the largest; the keys of the smallest also stand by themselves. */
static int describe_targets(pruning *self)
{
    json_t *targets = json_array();
    int status = EXIT_DONE;
    bool done[LIST_MAXIMUM] = {false};
    for (size_t rest = self->count; rest && status == EXIT_DONE; rest--) {
        size_t next = 0;
        while (done[next])
            next++;
        for (size_t t = next; t < self->count; t++)
            next = !done[t] && self->nnz[t] > self->nnz[next] ? t : next;
        json_t *line = json_object();
        status = describe_target(self, next, line);
        if (rest == 1)
            json_object_update_missing(self->run->result, line);
        json_array_append_new(targets, line);
        done[next] = true;
    }
    json_put(self->run->result, "targets", targets);
    return status;
}

static int describe(pruning *self, const reliht_prune_options *options)
{
    static const char *const tasks[] = {"train", "planted", "inr"};
    struct run *run = self->run;
    char dense[96];
    const reliht_model *smallest = self->models[smallest_place(self)];
    json_put(run->result, "task", json_string(tasks[self->task]));
    json_put(run->result, "solver", json_string("imp"));
    json_put_count(run->result, "seed", options->seed);
    json_put_count(run->result, "rounds", self->report.rounds);
    json_put_count(run->result, "epochs_all", self->report.epochs);
    network_describe(run, self->data, smallest);
    put_scores(self, run->result, "dense_", "", &self->report.dense, dense, sizeof dense);
    run_fact(run, "dense", "%s (%zu weights)", dense, self->report.weights);
    int status = describe_targets(self);
    run_fact(run, "pruning", "%zu round%s, %zu epochs in all", self->report.rounds,
             self->report.rounds == 1 ? "" : "s", self->report.epochs);
    return status != EXIT_DONE
               ? status
               : run_finish(run, self->report.seconds, -1, reliht_model_dense_bytes(smallest));
}

/* ---------------------------------------------------------------- the run */

static int prune(pruning *self)
{
    struct run *run = self->run;
    reliht_prune_options options;
    prune_options(self, &options);
    int result = progress_start(&run->progress, run->settings->log, run->settings->quiet);
    if (result != EXIT_DONE)
        return result;
    reliht_status status = reliht_prune(run->context, self->data, &options, self->models,
                                        self->results, &self->report);
    progress_pause(&run->progress);
    run->cancelled = status == RELIHT_CANCELLED;
    if (status != RELIHT_OK && !run->cancelled)
        return run_failure(run, status);
    return describe(self, &options);
}

static int check_settings(const struct command *command, const struct settings *settings,
                          prune_task task)
{
    if (task != TASK_PLANTED && settings->signs)
        return usage_error(command, "--signs is for the task planted");
    bool planted = settings->planted_hidden != UNSET_COUNT || settings->planted_nnz != UNSET_COUNT;
    if (task != TASK_PLANTED && planted)
        return usage_error(command, "--planted-%s is for the task planted",
                           settings->planted_hidden != UNSET_COUNT ? "hidden" : "nnz");
    return EXIT_DONE;
}

int command_prune(const struct command *command, const struct settings *settings)
{
    struct run run;
    prune_task task = settings->word == UNSET_CHOICE ? TASK_TRAIN : (prune_task)settings->word;
    if (check_settings(command, settings, task) != EXIT_DONE)
        return EXIT_USAGE;
    pruning *self = calloc(1, sizeof *self);
    if (!self)
        return failure("out of memory");
    *self = (pruning){.run = &run, .task = task};
    int result = run_open(&run, command, settings);
    take_targets(self);
    if (result == EXIT_DONE)
        result = check_outputs(self);
    if (result == EXIT_DONE)
        result = open_data(self);
    if (result == EXIT_DONE)
        result = prune(self);
    for (size_t t = 0; t < self->count; t++)
        reliht_model_destroy(self->models[t]);
    reliht_dataset_destroy(self->data);
    reliht_dataset_destroy(self->test);
    free(self);
    return run_close(&run, result);
}
