/* `reliht info`: what a model file holds, or without one what the program computes on. */
#include "cli/cli.h"

#include <string.h>

static void describe_layers(struct run *run, const reliht_model *model)
{
    size_t layers = reliht_model_layers(model);
    bool factored = reliht_model_get_kind(model) == RELIHT_FACTORED;
    json_t *list = json_array();
    for (size_t layer = 0; layer < layers + factored; layer++) {
        size_t nnz = 0;
        bool output = layer == layers;
        reliht_model_weights(model, layer, 0, NULL, NULL, NULL, &nnz);
        size_t columns = output       ? reliht_model_outputs(model)
                         : layer == 0 ? reliht_model_inputs(model)
                                      : reliht_model_hidden(model, layer - 1);
        size_t rows = reliht_model_hidden(model, output ? layer - 1 : layer);
        run_fact(run, output ? "output weights" : "hidden layer", "[%zu, %zu%s], %zu nonzeros",
                 rows, columns, !output && reliht_model_bias(model) ? " and bias" : "", nnz);
        json_t *entry = json_object();
        json_put(entry, "name", json_string(output ? "output" : "hidden"));
        json_put_count(entry, "rows", rows);
        json_put_count(entry, "columns", columns);
        json_put_count(entry, "nnz", nnz);
        json_array_append_new(list, entry);
    }
    json_put(run->result, "shapes", list);
}

static void describe_metadata(struct run *run, const reliht_model *model)
{
    json_t *metadata = json_loads(reliht_model_metadata(model), 0, NULL);
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value)
    {
        if (json_is_string(value))
            run_fact(run, key, "%s", json_string_value(value));
    }
    json_put(run->result, "metadata", metadata);
}

static int describe_model(struct run *run, const char *path)
{
    reliht_model *model;
    reliht_status status = reliht_model_read(run->context, path, &model);
    if (status != RELIHT_OK)
        return run_failure(run, status);
    network_describe(run, NULL, model);
    describe_layers(run, model);
    describe_metadata(run, model);
    json_put_count(run->result, "dense_bytes", (uint64_t)reliht_model_dense_bytes(model));
    reliht_model_destroy(model);
    return EXIT_DONE;
}

#define DEVICES_LISTED 16

static void describe_devices(struct run *run)
{
    reliht_device devices[DEVICES_LISTED];
    size_t count;
    json_t *list = json_array();
    reliht_devices(devices, DEVICES_LISTED, &count);
    for (size_t i = 0; i < count && i < DEVICES_LISTED; i++) {
        const reliht_device *device = &devices[i];
        char label[16], amount[32];
        snprintf(label, sizeof label, "GPU %zu", i);
        run_fact(run, label, "%s, %s, compute capability %u.%u, %u multiprocessors", device->name,
                 bytes_text((double)device->memory_bytes, amount), device->major, device->minor,
                 device->processors);
        json_t *entry = json_object();
        json_put(entry, "name", json_string(device->name));
        json_put_count(entry, "memory_bytes", device->memory_bytes);
        json_put_count(entry, "processors", device->processors);
        json_put_count(entry, "compute_major", device->major);
        json_put_count(entry, "compute_minor", device->minor);
        json_array_append_new(list, entry);
    }
    if (!count)
        run_fact(run, "GPUs", "none");
    json_put(run->result, "devices", list);
}

int command_info(const struct command *command, const struct settings *settings)
{
    struct run run;
    int result = run_open(&run, command, settings);
    if (result == EXIT_DONE && settings->model)
        result = describe_model(&run, settings->model);
    if (result == EXIT_DONE && !settings->model) {
        const char *details = reliht_context_backend_details(run.context);
        json_put(run.result, "version", json_string(reliht_version()));
        json_put(run.result, "backend_details", json_string(details));
        run_fact(&run, "version", "%s", reliht_version());
        run_fact(&run, "backend", "%s", details);
        describe_devices(&run);
    }
    if (result == EXIT_DONE && settings->json && json_print_line(run.result, stdout))
        result = failure("the result could not be printed");
    return run_close(&run, result);
}
