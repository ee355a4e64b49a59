/* The data sets that options speak of, and for eval and predict those that a model was made for:
 * its metadata names the source, the classes, the split and the scaling. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

static const char *const DATA_NAMES[] = {"fashion-mnist", "mnist", "cifar10"};
#define DATA_NAME_COUNT 3

static size_t limit_of(uint64_t setting)
{
    return setting == UNSET_COUNT ? 0 : (size_t)setting;
}

static void named_options(const struct settings *settings, reliht_named_options *options)
{
    reliht_named_options_default(options);
    if (settings->data != UNSET_CHOICE)
        options->name = DATA_NAMES[settings->data];
    options->directory = settings->data_dir;
    options->classes = settings->classes.values;
    options->class_count = settings->classes.count;
    options->paper_split = settings->split == 1;
    options->raw = settings->raw;
    options->train_limit = limit_of(settings->train_limit);
    options->test_limit = limit_of(settings->test_limit);
}

/* Options that only make sense together. */
static int check_options(const struct run *run)
{
    const struct settings *settings = run->settings;
    if (settings->x && settings->data != UNSET_CHOICE)
        return usage_error(run->command, "--data and --x exclude each other");
    if (settings->x && (settings->data_dir || settings->classes.count))
        return usage_error(run->command, "--%s goes with --data, not with --x",
                           settings->data_dir ? "data-dir" : "classes");
    bool train_limit = settings->train_limit != UNSET_COUNT;
    if (settings->x && (train_limit || settings->test_limit != UNSET_COUNT))
        return usage_error(run->command, "--%s-limit goes with --data, not with --x",
                           train_limit ? "train" : "test");
    if (settings->x && settings->split == 1)
        return usage_error(run->command, "--split paper goes with --data, not with --x");
    if (settings->y && !settings->x)
        return usage_error(run->command, "--y needs --x");
    return EXIT_DONE;
}

/* Whether a network of `inputs` and `outputs` can be scored on the data; labels may lack the
 * highest classes. */
static int check_shape(const struct run *run, size_t inputs, size_t outputs,
                       const reliht_dataset *data, const char *what)
{
    size_t classes = reliht_dataset_classes(data);
    if (reliht_dataset_inputs(data) != inputs)
        return failure("the model takes %zu inputs, the %s have %zu", inputs, what,
                       reliht_dataset_inputs(data));
    if (reliht_dataset_outputs(data) == outputs || (outputs > 1 && classes && classes <= outputs))
        return EXIT_DONE;
    return failure("the model gives %zu output%s, the %s have targets for %zu%s", outputs,
                   outputs == 1 ? "" : "s", what, reliht_dataset_outputs(data),
                   run->settings->x ? "" : " (--classes chooses them)");
}

/* ---------------------------------------------------------------- for training */

/* Labels of a single class train nothing; to be scored on they may be. */
static int check_classes(const struct settings *settings, const reliht_dataset *data)
{
    if (!settings->x || reliht_dataset_classes(data) != 2 ||
        reliht_dataset_target_minimum(data) < reliht_dataset_target_maximum(data))
        return EXIT_DONE;
    return failure("%s: all labels are %g; at least two classes are needed (real targets are "
                   "floats)",
                   settings->y, (double)reliht_dataset_target_maximum(data));
}

int data_open_training(struct run *run, reliht_dataset **train, reliht_dataset **test)
{
    const struct settings *settings = run->settings;
    reliht_status status;
    *train = *test = NULL;
    int checked = check_options(run);
    if (checked != EXIT_DONE)
        return checked;
    if (!settings->x && settings->data == UNSET_CHOICE)
        return usage_error(run->command, "which data? Give --data NAME, or --x X.npy --y Y.npy");
    if (!settings->x != !settings->y)
        return usage_error(run->command, "--x needs --y");
    if (!settings->x_test != !settings->y_test)
        return usage_error(run->command, "--x-test and --y-test go together");
    if (settings->x_test && !settings->x)
        return usage_error(run->command, "--x-test goes with --x");
    if (settings->x) {
        status =
            reliht_dataset_read_npy(run->context, settings->x, settings->y, settings->raw, train);
        if (status == RELIHT_OK && settings->x_test)
            status = reliht_dataset_read_npy(run->context, settings->x_test, settings->y_test,
                                             settings->raw, test);
    } else {
        reliht_named_options options;
        named_options(settings, &options);
        status = reliht_dataset_read_named(run->context, &options, train, test);
    }
    if (status != RELIHT_OK)
        return run_failure(run, status);
    checked = check_classes(settings, *train);
    if (checked != EXIT_DONE)
        return checked;
    return *test ? check_shape(run, reliht_dataset_inputs(*train), reliht_dataset_outputs(*train),
                               *test, "test data")
                 : EXIT_DONE;
}

int data_open_inputs(struct run *run, reliht_dataset **dataset)
{
    const struct settings *settings = run->settings;
    reliht_named_options options;
    reliht_status status = RELIHT_OK;
    *dataset = NULL;
    int checked = check_options(run);
    if (checked != EXIT_DONE)
        return checked;
    named_options(settings, &options);
    if (settings->x)
        status = reliht_dataset_read_npy(run->context, settings->x, NULL, settings->raw, dataset);
    else if (settings->data != UNSET_CHOICE)
        status = reliht_dataset_read_named(run->context, &options, dataset, NULL);
    return status == RELIHT_OK ? EXIT_DONE : run_failure(run, status);
}

/* ---------------------------------------------------------------- for a model */

/* What the model's metadata says of its data; NULL if it says nothing. The metadata are strings by
 * name, the one called "preprocessing" holds a JSON object itself. */
static json_t *preprocessing_of(const reliht_model *model)
{
    json_t *metadata = json_loads(reliht_model_metadata(model), 0, NULL);
    const char *text = json_string_value(json_object_get(metadata, "preprocessing"));
    json_t *preprocessing = text ? json_loads(text, 0, NULL) : NULL;
    json_decref(metadata);
    return preprocessing;
}

/* Fills from the metadata what no option has said. */
static void defaults_from_model(const struct settings *settings, const json_t *preprocessing,
                                reliht_named_options *options, uint32_t classes[LIST_MAXIMUM])
{
    const json_t *kept = json_object_get(preprocessing, "classes");
    size_t count = json_array_size(kept);
    named_options(settings, options);
    if (settings->data == UNSET_CHOICE)
        options->name = json_string_value(json_object_get(preprocessing, "source"));
    if (!options->class_count && count <= LIST_MAXIMUM) {
        for (size_t i = 0; i < count; i++)
            classes[i] = (uint32_t)json_integer_value(json_array_get(kept, i));
        options->classes = classes;
        options->class_count = count;
    }
    if (settings->split == UNSET_CHOICE)
        options->paper_split = json_is_true(json_object_get(preprocessing, "paper_split"));
    if (!settings->raw)
        options->raw = json_number_value(json_object_get(preprocessing, "scale")) == 1.0;
}

static int open_image(struct run *run, const json_t *preprocessing, reliht_dataset **dataset,
                      size_t *width, size_t *height)
{
    reliht_image_options options;
    const json_t *fourier = json_object_get(preprocessing, "fourier");
    const char *seed = json_string_value(json_object_get(fourier, "seed"));
    if (!fourier)
        return usage_error(run->command,
                           "--image: '%s' was not fitted to an image; give --data or --x",
                           run->settings->model);
    reliht_image_options_default(&options);
    options.features = (size_t)json_integer_value(json_object_get(fourier, "features"));
    options.sigma = json_number_value(json_object_get(fourier, "sigma"));
    options.unit_coordinates = json_is_true(json_object_get(fourier, "unit_coordinates"));
    options.seed = seed ? strtoull(seed, NULL, 10) : 0;
    reliht_status status =
        reliht_image_read(run->context, run->settings->image, &options, width, height, dataset);
    return status == RELIHT_OK ? EXIT_DONE : run_failure(run, status);
}

static int open_named(struct run *run, const json_t *preprocessing, reliht_dataset **dataset)
{
    const struct settings *settings = run->settings;
    uint32_t classes[LIST_MAXIMUM];
    reliht_named_options options;
    defaults_from_model(settings, preprocessing, &options, classes);
    if (!options.name || !*options.name)
        return usage_error(run->command, "the model doesn't name the data it was trained on; "
                                         "give --data NAME, --x X.npy or --image FILE.png");
    bool train = settings->part == 1;
    reliht_status status = reliht_dataset_read_named(run->context, &options, train ? dataset : NULL,
                                                     train ? NULL : dataset);
    return status == RELIHT_OK ? EXIT_DONE : run_failure(run, status);
}

int data_open_for_model(struct run *run, const reliht_model *model, bool targets_needed,
                        reliht_dataset **dataset, size_t *width, size_t *height)
{
    const struct settings *settings = run->settings;
    int result = check_options(run);
    *dataset = NULL;
    *width = *height = 0;
    if (result != EXIT_DONE)
        return result;
    if (targets_needed && settings->x && !settings->y)
        return usage_error(run->command, "--x needs --y");
    json_t *preprocessing = preprocessing_of(model);
    if (settings->image) {
        result = open_image(run, preprocessing, dataset, width, height);
    } else if (settings->x) {
        bool raw =
            settings->raw || json_number_value(json_object_get(preprocessing, "scale")) == 1.0;
        reliht_status status =
            reliht_dataset_read_npy(run->context, settings->x, settings->y, raw, dataset);
        result = status == RELIHT_OK ? EXIT_DONE : run_failure(run, status);
    } else {
        result = open_named(run, preprocessing, dataset);
    }
    if (result == EXIT_DONE)
        result = check_shape(run, reliht_model_inputs(model),
                             targets_needed ? reliht_model_outputs(model)
                                            : reliht_dataset_outputs(*dataset),
                             *dataset, "data");
    if (result != EXIT_DONE) {
        reliht_dataset_destroy(*dataset);
        *dataset = NULL;
    }
    json_decref(preprocessing);
    return result;
}
