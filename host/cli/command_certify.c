/* `reliht certify`: the conditions of the recovery guarantee, measured. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>

static const char *const VERDICTS[] = {
    [RELIHT_VERDICT_NOT_IDENTIFIABLE] = "not-identifiable",
    [RELIHT_VERDICT_NO_GUARANTEE] = "no-guarantee",
    [RELIHT_VERDICT_NO_OBSTACLE] = "no-obstacle",
};

/* ---------------------------------------------------------------- what is certified */

/* Inputs for a network from a file when no data are named: drawn as `planted` draws them, of which
 * the planted network is not used. */
static int draw_inputs(struct run *run, const reliht_model *network, reliht_dataset **data)
{
    reliht_planted_options options;
    reliht_model *unused = NULL;
    planted_options(run->settings, &options);
    options.inputs = reliht_model_inputs(network);
    options.hidden = options.nnz = 1;
    options.disjoint = options.mixed = false;
    int result = planted_draw(run, &options, &unused, data);
    reliht_model_destroy(unused);
    return result;
}

static int open_problem(struct run *run, reliht_model **network, reliht_dataset **data)
{
    const struct settings *settings = run->settings;
    int result = data_open_inputs(run, data);
    if (result != EXIT_DONE)
        return result;
    if (settings->model) {
        reliht_status status = reliht_model_read(run->context, settings->model, network);
        if (status != RELIHT_OK)
            return run_failure(run, status);
        return *data ? EXIT_DONE : draw_inputs(run, *network, data);
    }
    reliht_planted_options options;
    reliht_dataset *inputs = *data;
    planted_options(settings, &options);
    options.inputs_from = inputs;
    *data = NULL;
    reliht_status status = reliht_planted_create(run->context, &options, network, data);
    reliht_dataset_destroy(inputs);
    return status == RELIHT_OK ? EXIT_DONE : run_failure(run, status);
}

/* ---------------------------------------------------------------- what came out */

static void put_level(json_t *levels, const reliht_certificate_level *level)
{
    json_t *object = json_object();
    json_put_count(object, "sparsity", level->sparsity);
    json_put(object, "direction_min", json_number(level->direction_min));
    json_put(object, "direction_max", json_number(level->direction_max));
    json_put(object, "support_min", json_number(level->support_min));
    json_put(object, "support_max", json_number(level->support_max));
    json_put(object, "convexity", json_number(level->convexity));
    json_put(object, "smoothness", json_number(level->smoothness));
    json_put(object, "smoothness_bound", json_number(level->smoothness_bound));
    json_array_append_new(levels, object);
}

/* What each number is of the quantity it is named after. */
static void put_kinds(json_t *result, const reliht_certificate *found)
{
    json_t *kinds = json_object();
    static const char *const exact[] = {"active_min_network", "active_min", "distance_min_network",
                                        "coverage_mean", "coverage_worst"};
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++)
        json_put(kinds, exact[i], json_string("exact"));
    json_put(kinds, "distance_min",
             json_string(found->compared == found->patterns ? "exact" : "upper bound"));
    json_put(kinds, "convexity", json_string("upper bound"));
    json_put(kinds, "smoothness", json_string("lower bound"));
    json_put(kinds, "smoothness_bound", json_string("upper bound"));
    json_put(kinds, "contraction", json_string("lower bound"));
    json_put(kinds, "relaxed_sparsity", json_string("lower bound"));
    static const char *const estimates[] = {"direction_min", "direction_max", "support_min",
                                            "support_max"};
    for (size_t i = 0; i < sizeof estimates / sizeof estimates[0]; i++)
        json_put(kinds, estimates[i], json_string("estimate"));
    json_put(result, "kinds", kinds);
}

static void put_certificate(json_t *result, const reliht_certificate *found)
{
    json_t *levels = json_array();
    json_put_count(result, "samples", found->samples);
    json_put_count(result, "inputs", found->inputs);
    json_put_count(result, "patterns", found->patterns);
    json_put_count(result, "sparsity", found->sparsity);
    put_identifiability(result, &found->identifiability);
    json_put(result, "active_min_network", json_number(found->active_min_network));
    json_put(result, "active_min", json_number(found->active_min));
    json_put(result, "distance_min_network", json_number(found->distance_min_network));
    json_put(result, "distance_min", json_number(found->distance_min));
    json_put_count(result, "compared_patterns", found->compared);
    json_put(result, "coverage_mean", json_number(found->coverage_mean));
    json_put(result, "coverage_worst", json_number(found->coverage_worst));
    for (size_t i = 0; i < 3; i++)
        put_level(levels, &found->levels[i]);
    json_put(result, "levels", levels);
    json_put(result, "contraction", json_number(found->contraction));
    json_put(result, "relaxed_sparsity", json_number(found->relaxed_sparsity));
    json_put(result, "verdict", json_string(VERDICTS[found->verdict]));
    json_put(result, "sentence", json_string(found->sentence));
    put_kinds(result, found);
}

/* What there is of distances: a single pattern has none, and there may be no drawn ones. */
static void print_distances(const struct run *run, const reliht_certificate *found)
{
    const char *kind = found->compared == found->patterns ? "exact" : "an upper bound";
    if (!isnan(found->distance_min_network))
        run_fact(run, "distances", "at least %.4f in the network (exact), %.4f in all (%s)",
                 found->distance_min_network, found->distance_min, kind);
    else if (!isnan(found->distance_min))
        run_fact(run, "distances", "the network has a single pattern; at least %.4f in all (%s)",
                 found->distance_min, kind);
    else
        run_fact(run, "distances", "there is a single pattern");
    if (isnan(found->coverage_mean))
        run_fact(run, "coverage", "there are no drawn patterns beside the network's");
    else
        run_fact(run, "coverage",
                 "nearest drawn pattern at %.4f in the mean, %.4f at worst (exact)",
                 found->coverage_mean, found->coverage_worst);
}

static void print_certificate(const struct run *run, const reliht_certificate *found)
{
    const reliht_identifiability *network = &found->identifiability;
    run_fact(run, "problem", "%zu samples, %zu inputs, %zu patterns; s = %zu", found->samples,
             found->inputs, found->patterns, found->sparsity);
    run_fact(run, "network", "%zu neurons with weights, %zu differ on the data, %zu never active",
             network->neurons, network->distinct, network->inactive);
    run_fact(run, "active share", "at least %.4f for the network, %.4f for all (exact)",
             found->active_min_network, found->active_min);
    print_distances(run, found);
    for (size_t i = 0; i < 3; i++) {
        const reliht_certificate_level *level = &found->levels[i];
        char label[32];
        snprintf(label, sizeof label, "%zu-sparse", level->sparsity);
        run_fact(run, label,
                 "random directions %.4g to %.4g, random supports %.4g to %.4g "
                 "(estimates)",
                 level->direction_min, level->direction_max, level->support_min,
                 level->support_max);
        run_fact(run, "", "convexity at most %.4g, smoothness at least %.4g and at most %.4g",
                 level->convexity, level->smoothness, level->smoothness_bound);
    }
    run_fact(run, "contraction", "at least %.4g per step of IHT; below 1 is needed",
             found->contraction);
    run_fact(run, "verdict", "%s", found->sentence);
}

/* ---------------------------------------------------------------- the command */

static int certify(struct run *run, const reliht_model *network, const reliht_dataset *data)
{
    const struct settings *settings = run->settings;
    reliht_certify_options options;
    reliht_certificate found;
    double start = wall_seconds();
    reliht_certify_options_default(&options);
    options.hidden = settings->hidden;
    options.generator = (reliht_generator)settings->generator;
    options.directions = settings->directions;
    options.searches = settings->searches;
    options.seed = settings->seed;
    options.progress = progress_step;
    options.progress_user = &run->progress;
    struct certify_values values = {
        .certificate = &found, .directions = options.directions, .supports = options.supports};
    values.quotients = calloc(3 * options.directions + 1, sizeof *values.quotients);
    values.smallest = calloc(3 * options.supports + 1, sizeof *values.smallest);
    values.largest = calloc(3 * options.supports + 1, sizeof *values.largest);
    int result = EXIT_DONE;
    if (!values.quotients || !values.smallest || !values.largest)
        result = failure("out of memory for the values of %zu directions", options.directions);
    if (result == EXIT_DONE)
        result = progress_start(&run->progress, NULL, settings->quiet);
    if (result != EXIT_DONE)
        goto done;
    options.direction_values = values.quotients;
    options.smallest_values = values.smallest;
    options.largest_values = values.largest;
    reliht_status status = reliht_certify(run->context, data, network, &options, &found);
    progress_pause(&run->progress);
    if (status != RELIHT_OK) {
        result = status == RELIHT_CANCELLED ? 128 + progress_signal() : run_failure(run, status);
        goto done;
    }
    put_certificate(run->result, &found);
    print_certificate(run, &found);
    if (settings->picture)
        result = certify_plot(&values, settings->picture);
    if (result == EXIT_DONE)
        result = run_finish(run, wall_seconds() - start, -1, 0);
done:
    free(values.quotients);
    free(values.smallest);
    free(values.largest);
    return result;
}

int command_certify(const struct command *command, const struct settings *settings)
{
    struct run run;
    reliht_model *network = NULL;
    reliht_dataset *data = NULL;
    const char *const outputs[] = {settings->picture};
    int result = run_open(&run, command, settings);
    if (result == EXIT_DONE && settings->picture && !certify_plot_possible(settings->picture))
        result = usage_error(command, "--picture: '%s' ends neither in .svg nor in .png",
                             settings->picture);
    if (result == EXIT_DONE)
        result = run_check_outputs(&run, outputs, 1);
    if (result == EXIT_DONE)
        result = open_problem(&run, &network, &data);
    if (result == EXIT_DONE)
        result = certify(&run, network, data);
    reliht_dataset_destroy(data);
    reliht_model_destroy(network);
    return run_close(&run, result);
}
