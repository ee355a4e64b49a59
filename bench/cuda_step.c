/* One step of the fused and one of the factored model on the CUDA backend, on random data, for
 * counting what they move and compute: bench/cuda_counts.py runs this under an emulator.
 *     reliht_cuda_step fused|factored samples inputs hidden nnz [outputs]
 * Prints one JSON object: the peak of device memory by category, and what the step cannot do
 * without reading or writing once, in sectors of 32 bytes. */
#include "backend/backend.h"
#include "core/rng.h"
#include "core/sketch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    size_t samples, inputs, hidden, nnz, outputs;
} shape;

static void must(reliht_context *context, reliht_status status)
{
    if (!status)
        return;
    fprintf(stderr, "reliht_cuda_step: %s\n", reliht_context_message(context));
    exit(1);
}

static reliht_dataset *make_data(reliht_context *context, const shape *size, bool classes)
{
    float *x = malloc(size->samples * size->inputs * sizeof *x);
    float *y = malloc(size->samples * sizeof *y);
    int32_t *labels = malloc(size->samples * sizeof *labels);
    if (!x || !y || !labels)
        exit(1);
    for (size_t i = 0; i < size->samples; i++) {
        rng_normals(1, RNG_INPUTS, i, size->inputs, x + i * size->inputs);
        rng_normals(2, RNG_INPUTS, i, 1, y + i);
        labels[i] = (int32_t)(i % size->outputs);
    }
    reliht_dataset *data;
    must(context, classes ? reliht_dataset_from_labels(context, size->samples, size->inputs, x,
                                                       labels, size->outputs, &data)
                          : reliht_dataset_from_arrays(context, size->samples, size->inputs, x, 1,
                                                       y, &data));
    free(x);
    free(y);
    free(labels);
    return data;
}

/* `nnz` random entries of a matrix. */
static void random_sparse(reliht_context *context, sparse *matrix, size_t rows, size_t columns,
                          size_t nnz, uint64_t seed)
{
    uint64_t *place = malloc(nnz * sizeof *place),
             *scratch = malloc((4 * nnz + 64) * sizeof *scratch);
    float *value = malloc(nnz * sizeof *value);
    if (!place || !scratch || !value)
        exit(1);
    must(context, sparse_create(context, matrix, rows, columns, nnz));
    rng_distinct(seed, RNG_POSITIONS, 0, (uint64_t)rows * columns, nnz, place, scratch);
    rng_normals(seed, RNG_VALUES, 0, nnz, value);
    for (size_t k = 0; k < nnz; k++)
        sparse_append(matrix, (uint32_t)(place[k] / columns), (uint32_t)(place[k] % columns),
                      0.1f * value[k]);
    free(place);
    free(scratch);
    free(value);
}

static double sectors(double bytes)
{
    return bytes / 32;
}

/* X, targets, masks of the neurons with weights, weights, candidates: once each. */
static double fused_step(reliht_context *context, const shape *size)
{
    const backend_operations *on = context->backend->operations;
    reliht_dataset *data = make_data(context, size, false);
    const fused_problem problem = {.hidden = size->hidden,
                                   .inputs = size->inputs,
                                   .nnz = size->nnz,
                                   .samples = size->samples,
                                   .signs = RELIHT_SIGNS_MIXED,
                                   .generator = RELIHT_GENERATOR_SPARSE,
                                   .seed = 1};
    batch *rows;
    fused *model;
    sparse weights;
    step_report report;
    random_sparse(context, &weights, size->hidden, size->inputs, size->nnz, 3);
    must(context, on->batch_create(context->backend, data, false, size->samples, &rows));
    must(context, on->batch_load(rows, NULL, size->samples));
    must(context, on->fused_create(context->backend, &problem, &model));
    must(context, on->fused_set_weights(model, &weights));
    must(context, on->fused_begin(model, rows, PATTERNS_DRAWN));
    must(context, on->fused_sweep(model, rows, PATTERNS_DRAWN));
    must(context, on->fused_refit(model, rows, 10));
    must(context, on->fused_report(model, &report));
    double n = (double)size->samples, live = (double)weights.live, s = (double)size->nnz;
    on->fused_destroy(model);
    on->batch_destroy(rows);
    sparse_destroy(context, &weights);
    reliht_dataset_destroy(data);
    return sectors(4 * n * (double)size->inputs + 4 * n + n * live / 8 + 2 * 12 * s + 12 * s);
}

/* X, labels, masks, weights with their means, the sketch (read and written), candidates. */
static double factored_step(reliht_context *context, const shape *size)
{
    const backend_operations *on = context->backend->operations;
    reliht_dataset *data = make_data(context, size, true);
    const factored_problem problem = {.hidden = size->hidden,
                                      .inputs = size->inputs,
                                      .outputs = size->outputs,
                                      .nnz = size->nnz,
                                      .samples = size->samples,
                                      .loss = RELIHT_LOSS_CROSS_ENTROPY,
                                      .importance = RELIHT_IMPORTANCE_SKETCH,
                                      .step = RELIHT_STEP_AUTO,
                                      .generator = RELIHT_GENERATOR_SPARSE,
                                      .seed = 1,
                                      .input_scale = 1,
                                      .target_scale = 1};
    batch *rows;
    factored *model;
    sparse hidden, output;
    factored_report report;
    size_t of_output = size->nnz / 3;
    random_sparse(context, &hidden, size->hidden, size->inputs, size->nnz - of_output, 3);
    random_sparse(context, &output, size->hidden, size->outputs, of_output, 4);
    must(context, on->batch_create(context->backend, data, false, size->samples, &rows));
    must(context, on->batch_load(rows, NULL, size->samples));
    must(context, on->factored_create(context->backend, &problem, &model));
    must(context, on->factored_set_weights(model, &hidden, &output));
    const factored_step_options options = {.source = PATTERNS_WEIGHTS, .step_scale = 1};
    must(context, on->factored_step(model, rows, &options));
    must(context, on->factored_report(model, &report));
    double n = (double)size->samples, live = (double)hidden.live, s = (double)size->nnz;
    double counters =
        4.0 * (double)sketch_width((double)size->hidden * (double)(size->inputs + size->outputs),
                                   size->nnz);
    on->factored_destroy(model);
    on->batch_destroy(rows);
    sparse_destroy(context, &hidden);
    sparse_destroy(context, &output);
    reliht_dataset_destroy(data);
    return sectors(4 * n * (double)size->inputs + 4 * n + n * live / 8 + 2 * 24 * s +
                   2 * 8 * counters + 12 * s);
}

int main(int argc, char **argv)
{
    shape size = {.outputs = 10};
    size_t *const fields[] = {&size.samples, &size.inputs, &size.hidden, &size.nnz, &size.outputs};
    bool fused_model = argc > 1 && strcmp(argv[1], "fused") == 0;
    if (argc < 6 || argc > 7 || (!fused_model && strcmp(argv[1], "factored") != 0)) {
        fprintf(stderr, "usage: %s fused|factored samples inputs hidden nnz [outputs]\n", argv[0]);
        return 2;
    }
    for (int i = 2; i < argc; i++)
        *fields[i - 2] = strtoull(argv[i], NULL, 10);
    reliht_context_options options;
    reliht_context_options_default(&options);
    options.backend = RELIHT_BACKEND_CUDA;
    reliht_context *context;
    char message[512];
    if (reliht_context_create(&options, &context, message, sizeof message)) {
        fprintf(stderr, "reliht_cuda_step: %s\n", message);
        return 1;
    }
    double least = fused_model ? fused_step(context, &size) : factored_step(context, &size);
    reliht_memory peak;
    reliht_context_device_memory(context, NULL, &peak);
    printf("{\"compulsory_sectors\": %.0f, \"device_bytes\": {", least);
#define PRINT(name) printf("\"%s\": %llu, ", #name, (unsigned long long)peak.name);
    RELIHT_MEMORY_LIST(PRINT)
#undef PRINT
    printf("\"total\": %llu}}\n", (unsigned long long)peak.total);
    reliht_context_destroy(context);
    return 0;
}
