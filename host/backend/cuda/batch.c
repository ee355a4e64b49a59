/* Batches on the GPU: rows of a data set as float columns [inputs, stride].
 *
 * A whole float data set is copied as it lies. Minibatches pass through pinned staging, gathered by
 * the host; bytes (images) travel as bytes and are turned into scaled columns by a kernel. Two
 * slots take turns: the rows announced by batch_stage travel, on a stream of their own, while the
 * step that was queued before runs. */
#include "backend/cuda/cuda.h"
#include "kernels/batch.h"

#include <string.h>

#define ROWS_AT_ONCE 8192u /* of bytes, in a whole data set */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool has_bytes(const batch *self)
{
    return self->dataset->element == ELEMENT_BYTE;
}

/* Rows of bytes that are moved together. */
static size_t rows_at_once(const batch *self)
{
    return self->whole ? smaller(self->capacity, ROWS_AT_ONCE) : self->capacity;
}

/* ---------------------------------------------------------------- life of a handle */

/* Bytes of the staging: inputs (with real data sets, columns of them), targets, labels. */
static size_t staging_inputs(const batch *self)
{
    return has_bytes(self) ? rows_at_once(self) * self->dataset->inputs
                           : self->inputs * padded_samples(self->capacity) * sizeof(float);
}

static size_t staging_targets(const batch *self)
{
    return self->dataset->y ? self->outputs * padded_samples(self->capacity) * sizeof(float) : 0;
}

static size_t padded_bytes(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static void want_slot(batch *self, batch_slot *slot)
{
    device_block *memory = &self->memory;
    const reliht_dataset *dataset = self->dataset;
    size_t stride = padded_samples(self->capacity);
    if (!self->whole)
        device_want_pinned(memory, MEMORY_data,
                           padded_bytes(staging_inputs(self)) +
                               padded_bytes(staging_targets(self)) +
                               self->capacity * sizeof(int32_t),
                           1, &slot->staging);
    device_want_pinned(memory, MEMORY_data, 1, sizeof *slot->pinned, &slot->pinned);
    if (has_bytes(self))
        device_want_by_samples(memory, MEMORY_data, rows_at_once(self), dataset->inputs,
                               &slot->rows);
    device_want_by_samples(memory, MEMORY_data, self->inputs * stride, sizeof *slot->x, &slot->x);
    if (dataset->y)
        device_want_by_samples(memory, MEMORY_data, self->outputs * stride, sizeof *slot->y,
                               &slot->y);
    if (dataset->labels)
        device_want_by_samples(memory, MEMORY_data, self->capacity, sizeof *slot->labels,
                               &slot->labels);
}

static reliht_status create_streams(batch *self)
{
    cuda_backend *cuda = self->backend;
    reliht_status status =
        CUDA_CALL(cuda, cudaStreamCreateWithFlags, &self->copies, cudaStreamNonBlocking);
    for (size_t i = 0; !status && i < 2; i++) {
        status =
            CUDA_CALL(cuda, cudaEventCreateWithFlags, &self->slot[i].ready, cudaEventDisableTiming);
        if (!status)
            status = CUDA_CALL(cuda, cudaEventCreateWithFlags, &self->slot[i].idle,
                               cudaEventDisableTiming);
    }
    return status;
}

reliht_status cuda_batch_create(backend *on, const reliht_dataset *dataset, bool bias,
                                size_t capacity, batch **out)
{
    batch *self;
    *out = NULL;
    reliht_status status =
        gate_allocate(on->context, MEMORY_workspace, 1, sizeof *self, "batch", &self);
    if (status)
        return status;
    capacity = smaller(capacity, dataset->samples);
    *self = (batch){
        .backend = (cuda_backend *)on,
        .dataset = dataset,
        .bias = bias,
        .whole = capacity == dataset->samples,
        .capacity = capacity,
        .inputs = dataset->inputs + bias,
        .outputs = dataset->outputs,
        .memory = {.owner = (cuda_backend *)on},
    };
    device_want(&self->memory, MEMORY_data, 1, sizeof *self->view, &self->view);
    for (size_t i = 0; i < (self->whole ? 1u : 2u); i++)
        want_slot(self, &self->slot[i]);
    status = device_obtain(&self->memory, "a batch", capacity);
    if (!status)
        status = create_streams(self);
    if (!status) /* the pieces are cleared on the other stream */
        status = cuda_wait(self->backend);
    if (status) {
        cuda_batch_destroy(self);
        return status;
    }
    *out = self;
    return RELIHT_OK;
}

void cuda_batch_destroy(batch *self)
{
    if (!self)
        return;
    if (self->copies)
        cudaStreamSynchronize(self->copies);
    device_release(&self->memory);
    for (size_t i = 0; i < 2; i++) {
        if (self->slot[i].ready)
            cudaEventDestroy(self->slot[i].ready);
        if (self->slot[i].idle)
            cudaEventDestroy(self->slot[i].idle);
    }
    if (self->copies)
        cudaStreamDestroy(self->copies);
    gate_release(self->backend->base.context, self);
}

/* ---------------------------------------------------------------- moving data */

static reliht_status upload(batch *self, void *to, const void *from, size_t bytes)
{
    return CUDA_CALL(self->backend, cudaMemcpyAsync, to, from, bytes, cudaMemcpyHostToDevice,
                     self->copies);
}

static reliht_status columns_of_rows(batch *self, batch_slot *slot, size_t first, size_t count)
{
    return CUDA_CALL(self->backend, launch_columns_of_bytes, self->copies, slot->rows,
                     (uint32_t)count, (uint32_t)self->dataset->inputs, self->dataset->scale,
                     (uint32_t)first, slot->x, (uint32_t)padded_samples(slot->samples));
}

/* What is behind the last sample of every column, and the bias input. */
static reliht_status finish_columns(batch *self, batch_slot *slot)
{
    return CUDA_CALL(self->backend, launch_finish_columns, self->copies, slot->x,
                     (uint32_t)slot->samples, (uint32_t)padded_samples(slot->samples),
                     (uint32_t)self->dataset->inputs, (uint32_t)self->inputs);
}

/* Everything, from where the data set lies. */
static reliht_status move_whole(batch *self, batch_slot *slot)
{
    const reliht_dataset *dataset = self->dataset;
    size_t stride = dataset->stride, inputs = dataset->inputs;
    reliht_status status = RELIHT_OK;
    if (!has_bytes(self)) {
        status = upload(self, slot->x, dataset->x, self->inputs * stride * sizeof(float));
    } else {
        size_t step = rows_at_once(self);
        for (size_t first = 0; !status && first < slot->samples; first += step) {
            size_t count = smaller(step, slot->samples - first);
            status = upload(self, slot->rows, (const unsigned char *)dataset->x + first * inputs,
                            count * inputs);
            if (!status)
                status = columns_of_rows(self, slot, first, count);
        }
        if (!status)
            status = finish_columns(self, slot);
    }
    if (!status && dataset->y)
        status = upload(self, slot->y, dataset->y, self->outputs * stride * sizeof(float));
    if (!status && dataset->labels)
        status = upload(self, slot->labels, dataset->labels, slot->samples * sizeof(int32_t));
    return status;
}

/* Columns of float rows into the staging, padding and bias included. */
static void gather_columns(const batch *self, const uint32_t *rows, size_t count, float *to)
{
    const reliht_dataset *dataset = self->dataset;
    size_t stride = padded_samples(count);
    int64_t columns = (int64_t)self->inputs;
#pragma omp parallel for num_threads(self->backend->base.context->threads) schedule(static)
    for (int64_t c = 0; c < columns; c++) {
        const float *from = (const float *)dataset->x + (size_t)c * dataset->stride;
        float *column = to + (size_t)c * stride;
        for (size_t i = 0; i < count; i++)
            column[i] = from[rows[i]];
        memset(column + count, 0, (stride - count) * sizeof *column);
    }
}

static void gather_rows(const batch *self, const uint32_t *rows, size_t count, unsigned char *to)
{
    const unsigned char *from = self->dataset->x;
    size_t inputs = self->dataset->inputs;
    for (size_t i = 0; i < count; i++)
        memcpy(to + i * inputs, from + rows[i] * inputs, inputs);
}

static reliht_status move_inputs(batch *self, batch_slot *slot, const uint32_t *rows)
{
    size_t count = slot->samples;
    if (!has_bytes(self)) {
        gather_columns(self, rows, count, (float *)slot->staging);
        return upload(self, slot->x, slot->staging,
                      self->inputs * padded_samples(count) * sizeof(float));
    }
    gather_rows(self, rows, count, slot->staging);
    reliht_status status = upload(self, slot->rows, slot->staging, count * self->dataset->inputs);
    if (!status)
        status = columns_of_rows(self, slot, 0, count);
    return status ? status : finish_columns(self, slot);
}

static reliht_status move_targets(batch *self, batch_slot *slot, const uint32_t *rows)
{
    const reliht_dataset *dataset = self->dataset;
    size_t count = slot->samples, stride = padded_samples(count);
    float *y = (float *)(slot->staging + padded_bytes(staging_inputs(self)));
    int32_t *labels = (int32_t *)((unsigned char *)y + padded_bytes(staging_targets(self)));
    reliht_status status = RELIHT_OK;
    if (dataset->y) {
        for (size_t k = 0; k < self->outputs; k++) {
            for (size_t i = 0; i < count; i++)
                y[k * stride + i] = dataset->y[k * dataset->stride + rows[i]];
            memset(y + k * stride + count, 0, (stride - count) * sizeof *y);
        }
        status = upload(self, slot->y, y, self->outputs * stride * sizeof *y);
    }
    if (!status && dataset->labels) {
        for (size_t i = 0; i < count; i++)
            labels[i] = dataset->labels[rows[i]];
        status = upload(self, slot->labels, labels, count * sizeof *labels);
    }
    return status;
}

/* Fills a slot on the stream of copies. */
static reliht_status fill(batch *self, batch_slot *slot, const uint32_t *rows, size_t count)
{
    cuda_backend *cuda = self->backend;
    slot->samples = count;
    slot->announced = NULL;
    /* its staging must have been read, and the steps that read its columns must have ended */
    reliht_status status = CUDA_CALL(cuda, cudaEventSynchronize, slot->ready);
    if (!status)
        status = CUDA_CALL(cuda, cudaStreamWaitEvent, self->copies, slot->idle, 0);
    if (!status)
        status = self->whole ? move_whole(self, slot) : move_inputs(self, slot, rows);
    if (!status && !self->whole)
        status = move_targets(self, slot, rows);
    if (!status)
        status = CUDA_CALL(cuda, cudaEventRecord, slot->ready, self->copies);
    return status;
}

/* Makes a filled slot the batch at hand. */
static reliht_status use(batch *self, batch_slot *slot)
{
    cuda_backend *cuda = self->backend;
    *slot->pinned = (device_batch){
        .x = slot->x,
        .y = slot->y,
        .labels = slot->labels,
        .samples = (uint32_t)slot->samples,
        .stride = (uint32_t)padded_samples(slot->samples),
        .inputs = (uint32_t)self->inputs,
        .outputs = (uint32_t)self->outputs,
    };
    self->samples = slot->samples;
    slot->announced = NULL;
    reliht_status status = CUDA_CALL(cuda, cudaStreamWaitEvent, cuda->stream, slot->ready, 0);
    if (!status)
        status = CUDA_CALL(cuda, cudaMemcpyAsync, self->view, slot->pinned, sizeof *slot->pinned,
                           cudaMemcpyHostToDevice, cuda->stream);
    return status;
}

static batch_slot *other_slot(batch *self)
{
    return &self->slot[self->whole ? 0 : 1 - self->current];
}

reliht_status cuda_batch_stage(batch *self, const uint32_t *rows, size_t count)
{
    if (self->whole || !rows || count > self->capacity)
        return RELIHT_OK; /* the load will say what is wrong */
    batch_slot *slot = other_slot(self);
    reliht_status status = fill(self, slot, rows, count);
    if (!status)
        slot->announced = rows;
    return status;
}

/* Targets again, which may have been changed in the data set. */
static reliht_status renew_targets(batch *self)
{
    const reliht_dataset *dataset = self->dataset;
    if (!dataset->y)
        return RELIHT_OK;
    return CUDA_CALL(self->backend, cudaMemcpyAsync, self->slot[0].y, dataset->y,
                     self->outputs * dataset->stride * sizeof(float), cudaMemcpyHostToDevice,
                     self->backend->stream);
}

reliht_status cuda_batch_load(batch *self, const uint32_t *rows, size_t count)
{
    cuda_backend *cuda = self->backend;
    if (!rows)
        count = self->dataset->samples;
    if (count > self->capacity)
        return fail(cuda->base.context, RELIHT_ARGUMENT,
                    "a batch of %zu samples was given room for %zu", count, self->capacity);
    if (self->whole && rows)
        return fail(cuda->base.context, RELIHT_ARGUMENT,
                    "a batch of the whole data set takes no rows");
    if (self->whole && self->loaded)
        return renew_targets(self);
    batch_slot *slot = other_slot(self);
    reliht_status status = RELIHT_OK;
    if (!self->whole && self->loaded)
        status = CUDA_CALL(cuda, cudaEventRecord, self->slot[self->current].idle, cuda->stream);
    if (!status && (self->whole || slot->announced != rows || slot->samples != count))
        status = fill(self, slot, rows, count);
    if (!status)
        status = use(self, slot);
    if (status)
        return status;
    self->current = (size_t)(slot - self->slot);
    self->loaded = true;
    return RELIHT_OK;
}
