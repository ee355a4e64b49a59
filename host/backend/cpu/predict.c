/* Prediction of a sparse network:
 *     e_0 = x,  e_l = relu(e_(l-1) W_l^T),  y = sum_j sign_j e_L,j  or  e_L V,
 * a chunk of samples at a time, so that nothing of size samples * hidden exists. Sums over the
 * inputs of a neuron are float fma chains in ascending input, as the patterns of training are; sums
 * over neurons are double. Chunks don't touch each other, so the result doesn't depend on threads.
 */
#include "backend/cpu/predict.h"

#include "backend/cpu/cpu.h"
#include "backend/embedding.h"
#include "data/columns.h"

#include <omp.h>

/* Samples of a chunk: activations of one neuron fit the first cache, inputs of a chunk the second.
 */
#define CHUNK 256u

static const predict_kernels *const tables[ISA_COUNT] = ISA_TABLE(predict_table);

static const predict_kernels *kernels_of(const backend *self)
{
    return tables[((const cpu_backend *)self)->isa];
}

/* The inputs of a data set, a chunk of samples at a time. Float columns are read in place; bytes
 * are made into columns in a buffer of each thread. */
typedef struct input_reader {
    reliht_context *context;
    const reliht_dataset *dataset;
    float *columns; /* bytes: [threads, inputs + 1, CHUNK], the last column is 1 */
} input_reader;

static reliht_status reader_open(reliht_context *context, const reliht_dataset *dataset,
                                 size_t threads, input_reader *self)
{
    *self = (input_reader){.context = context, .dataset = dataset};
    if (dataset->element == ELEMENT_FLOAT)
        return RELIHT_OK;
    size_t columns = dataset->inputs + 1;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, threads * columns, CHUNK * sizeof(float),
                      "inputs of a chunk", &self->columns);
    for (size_t t = 0; !status && t < threads; t++)
        for (size_t i = 0; i < CHUNK; i++)
            self->columns[((t + 1) * columns - 1) * CHUNK + i] = 1;
    return status;
}

static void reader_close(input_reader *self)
{
    gate_release(self->context, self->columns);
}

/* Samples first .. first + count - 1 as columns. */
static predict_inputs read_chunk(const input_reader *self, size_t thread, size_t first,
                                 size_t count)
{
    const reliht_dataset *dataset = self->dataset;
    if (dataset->element == ELEMENT_FLOAT)
        return (predict_inputs){(const float *)dataset->x + first, dataset->stride};
    float *columns = self->columns + thread * (dataset->inputs + 1) * CHUNK;
    columns_of_bytes(dataset->x, dataset->inputs, NULL, first, count, 0, dataset->inputs,
                     dataset->scale, columns, CHUNK);
    return (predict_inputs){columns, CHUNK};
}

/* A network whose columns count only what the layer before has: the first layer as it is, the
 * others renumbered copies. Entries that read a neuron without weights multiply zero and are gone.
 */
typedef struct network {
    const reliht_model *model;
    const predict_kernels *kernels;
    const sparse *layer[MODEL_LAYERS_MAXIMUM];
    sparse compact[MODEL_LAYERS_MAXIMUM]; /* empty for the first */
    size_t widest;                        /* most live neurons of a layer but the last */
    float *activations;                   /* [threads, activation_floats] */
    double *sums;                         /* [threads, outputs, CHUNK] */
    size_t activation_floats;
} network;

/* to <- from with columns renumbered to positions among the live rows of `before`; the bias input,
 * column before->rows, comes right after them. */
static void renumber_columns(sparse *to, const sparse *from, const sparse *before)
{
    for (size_t j = 0; j < from->live; j++)
        for (size_t e = from->start[j]; e < from->start[j + 1]; e++) {
            uint32_t column = from->column[e];
            size_t position =
                column == before->rows ? before->live : sparse_find_row(before, column);
            if (column == before->rows || position < before->live)
                sparse_append(to, from->row[j], (uint32_t)position, from->value[e]);
        }
}

static void network_close(reliht_context *context, network *self)
{
    for (size_t l = 1; l < self->model->layers; l++)
        sparse_destroy(context, &self->compact[l]);
    gate_release(context, self->activations);
    gate_release(context, self->sums);
}

static reliht_status network_open(reliht_context *context, network *self, const reliht_model *model,
                                  size_t threads)
{
    *self = (network){.model = model};
    self->kernels = kernels_of(context->backend);
    self->layer[0] = &model->hidden[0];
    reliht_status status = RELIHT_OK;
    for (size_t l = 1; l < model->layers && !status; l++) {
        const sparse *from = &model->hidden[l], *before = self->layer[l - 1];
        status = sparse_create(context, &self->compact[l], from->rows, from->columns, from->nnz);
        if (status)
            break;
        renumber_columns(&self->compact[l], from, before);
        self->layer[l] = &self->compact[l];
        if (before->live > self->widest)
            self->widest = before->live;
    }
    /* All layers but the last are held whole, in turns in two buffers; of the last one neuron. */
    size_t buffers = model->layers > 2 ? 2 : model->layers - 1;
    self->activation_floats = CHUNK * (1 + buffers * (self->widest + 1));
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, threads * self->activation_floats,
                               sizeof(float), "activations", &self->activations);
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, threads * CHUNK,
                               model->outputs * sizeof(double), "outputs of a chunk", &self->sums);
    if (status)
        network_close(context, self);
    return status;
}

/* Activations [live + 1, CHUNK] of one layer, the bias input last. */
static void activate_layer(const network *self, const sparse *layer, const predict_inputs *inputs,
                           size_t count, float *activations)
{
    for (size_t j = 0; j < layer->live; j++) {
        size_t start = layer->start[j];
        self->kernels->activate(inputs, count, layer->column + start, layer->value + start,
                                layer->start[j + 1] - start, activations + j * CHUNK);
    }
    for (size_t i = 0; i < count; i++)
        activations[layer->live * CHUNK + i] = 1;
}

/* sums [outputs, CHUNK] += what one neuron adds; `position` is its row among the output weights. */
static void add_neuron(const network *self, uint32_t row, size_t position, size_t count,
                       const float *activation, double *sums)
{
    const reliht_model *model = self->model;
    const sparse *output = &model->output;
    if (model->kind == RELIHT_FUSED)
        self->kernels->accumulate(count, neuron_sign(model->signs, row), activation, sums);
    else
        for (size_t e = output->start[position]; e < output->start[position + 1]; e++)
            self->kernels->accumulate(count, output->value[e], activation,
                                      sums + output->column[e] * (size_t)CHUNK);
}

static void predict_chunk(const network *self, size_t thread, predict_inputs inputs, size_t count,
                          double *sums)
{
    const reliht_model *model = self->model;
    float *activation = self->activations + thread * self->activation_floats;
    float *here = activation + CHUNK, *there = here + (self->widest + 1) * CHUNK;
    for (size_t l = 0; l + 1 < model->layers; l++) {
        activate_layer(self, self->layer[l], &inputs, count, here);
        inputs = (predict_inputs){here, CHUNK};
        float *swap = here;
        here = there;
        there = swap;
    }
    for (size_t i = 0; i < model->outputs * CHUNK; i++)
        sums[i] = 0;
    const sparse *last = self->layer[model->layers - 1];
    size_t cursor = 0;
    for (size_t j = 0; j < last->live; j++) {
        while (cursor < model->output.live && model->output.row[cursor] < last->row[j])
            cursor++;
        if (model->kind == RELIHT_FACTORED &&
            (cursor == model->output.live || model->output.row[cursor] != last->row[j]))
            continue; /* nothing reads this neuron */
        size_t start = last->start[j];
        self->kernels->activate(&inputs, count, last->column + start, last->value + start,
                                last->start[j + 1] - start, activation);
        add_neuron(self, last->row[j], cursor, count, activation, sums);
    }
}

static size_t threads_for(const reliht_context *context, size_t chunks)
{
    size_t threads = context->threads < chunks ? context->threads : chunks;
    return threads ? threads : 1;
}

reliht_status cpu_predict(backend *self, const reliht_model *model, const reliht_dataset *dataset,
                          size_t first, size_t count, float *outputs)
{
    reliht_context *context = self->context;
    size_t chunks = (count + CHUNK - 1) / CHUNK, threads = threads_for(context, chunks);
    network net;
    input_reader reader;
    reliht_status status = network_open(context, &net, model, threads);
    if (status)
        return status;
    status = reader_open(context, dataset, threads, &reader);
    if (status) {
        network_close(context, &net);
        return status;
    }
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        size_t thread = (size_t)omp_get_thread_num(), begin = chunk * CHUNK;
        size_t size = count - begin < CHUNK ? count - begin : CHUNK;
        double *sums = net.sums + thread * model->outputs * CHUNK;
        predict_chunk(&net, thread, read_chunk(&reader, thread, first + begin, size), size, sums);
        for (size_t k = 0; k < model->outputs; k++)
            for (size_t i = 0; i < size; i++)
                outputs[k * count + begin + i] = (float)sums[k * CHUNK + i];
    }
    reader_close(&reader);
    network_close(context, &net);
    return RELIHT_OK;
}

reliht_status cpu_embed(backend *self, const sparse *weights, bool bias,
                        const reliht_dataset *dataset, reliht_dataset **embedding)
{
    reliht_context *context = self->context;
    reliht_dataset *made;
    reliht_status status = embedding_create(context, weights, bias, dataset, &made);
    *embedding = NULL;
    if (status)
        return status;
    const predict_kernels *kernels = kernels_of(self);
    size_t chunks = (dataset->samples + CHUNK - 1) / CHUNK;
    size_t threads = threads_for(context, chunks);
    input_reader reader;
    status = reader_open(context, dataset, threads, &reader);
    if (status) {
        reliht_dataset_destroy(made);
        return status;
    }
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        size_t first = chunk * CHUNK, left = dataset->samples - first;
        size_t count = left < CHUNK ? left : CHUNK;
        predict_inputs inputs = read_chunk(&reader, (size_t)omp_get_thread_num(), first, count);
        for (size_t j = 0; j < weights->live; j++) {
            size_t start = weights->start[j];
            kernels->activate(&inputs, count, weights->column + start, weights->value + start,
                              weights->start[j + 1] - start,
                              (float *)made->x + j * made->stride + first);
        }
    }
    reader_close(&reader);
    status = dataset_finish(made);
    if (status)
        reliht_dataset_destroy(made);
    else
        *embedding = made;
    return status;
}
