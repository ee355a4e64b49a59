/* `reliht bench sweep`: the sweep over all neurons beside one matrix product of the same shapes. */
#include "cli/cli.h"

#include <stddef.h>

struct shape {
    size_t samples, inputs, hidden;
};

static const struct shape SHAPES[] = {{50000, 100, 1000}, {5000, 784, 1000}, {784, 1500, 200}};

static int measure(struct run *run, const struct shape *shape, reliht_generator generator,
                   json_t *results)
{
    const char *kind = generator == RELIHT_GENERATOR_SPARSE ? "sparse" : "gaussian";
    reliht_bench_sweep_options options = {.samples = shape->samples,
                                          .inputs = shape->inputs,
                                          .hidden = shape->hidden,
                                          .nnz = run->settings->nnz,
                                          .repeats = run->settings->repeats,
                                          .generator = generator};
    reliht_bench_sweep_report report;
    reliht_status status = reliht_bench_sweep(run->context, &options, &report);
    if (status != RELIHT_OK)
        return run_failure(run, status);
    double ratio = report.seconds_sgemm / report.seconds_sweep;
    json_t *entry = json_object();
    json_put_count(entry, "samples", shape->samples);
    json_put_count(entry, "inputs", shape->inputs);
    json_put_count(entry, "hidden", shape->hidden);
    json_put(entry, "generator", json_string(kind));
    json_put(entry, "seconds_sweep", json_number(report.seconds_sweep));
    json_put(entry, "seconds_patterns", json_number(report.seconds_patterns));
    json_put(entry, "seconds_sgemm", json_number(report.seconds_sgemm));
    json_put(entry, "ratio", json_number(ratio));
    json_array_append_new(results, entry);
    if (!run->settings->json) {
        printf("%8zu %7zu %8zu  %-9s %10.3f %10.3f %10.3f %7.2f\n", shape->samples, shape->inputs,
               shape->hidden, kind, 1e3 * report.seconds_sweep, 1e3 * report.seconds_patterns,
               1e3 * report.seconds_sgemm, ratio);
        fflush(stdout);
    }
    return EXIT_DONE;
}

static int measure_all(struct run *run, json_t *results)
{
    const struct settings *settings = run->settings;
    const struct shape given = {(size_t)settings->samples, (size_t)settings->inputs,
                                (size_t)settings->hidden};
    bool table = settings->samples == UNSET_COUNT;
    size_t count = table ? sizeof SHAPES / sizeof SHAPES[0] : 1;
    if (!run->settings->json)
        printf("%8s %7s %8s  %-9s %10s %10s %10s %7s\n", "samples", "inputs", "hidden", "generator",
               "sweep ms", "patterns", "sgemm ms", "ratio");
    for (size_t i = 0; i < count; i++) {
        for (int kind = RELIHT_GENERATOR_SPARSE; kind >= RELIHT_GENERATOR_GAUSSIAN; kind--) {
            if (settings->generator != UNSET_CHOICE && settings->generator != kind)
                continue;
            int result = measure(run, table ? &SHAPES[i] : &given, (reliht_generator)kind, results);
            if (result != EXIT_DONE)
                return result;
        }
    }
    return EXIT_DONE;
}

int command_bench(const struct command *command, const struct settings *settings)
{
    struct run run;
    if (settings->word == UNSET_CHOICE)
        return usage_error(command, "what? There is `reliht bench sweep`");
    int given = (settings->samples != UNSET_COUNT) + (settings->inputs != UNSET_COUNT) +
                (settings->hidden != UNSET_COUNT);
    if (given != 0 && given != 3)
        return usage_error(command, "--samples, --inputs and --hidden go together; without them a "
                                    "table of three shapes is measured");
    int result = run_open(&run, command, settings);
    if (result == EXIT_DONE) {
        json_t *results = json_array();
        result = measure_all(&run, results);
        json_put(run.result, "results", results);
    }
    if (result == EXIT_DONE && settings->json && json_print_line(run.result, stdout))
        result = failure("the result could not be printed");
    return run_close(&run, result);
}
