/* Batches on the CPU: rows of a data set as float columns [inputs, stride].
 *
 * A whole float data set is borrowed, not copied. Otherwise each column is gathered on its own, so
 * the reads stay within one column of the data set. */
#include "backend/cpu/cpu.h"

#include <string.h>

reliht_status cpu_batch_create(backend *self, const reliht_dataset *dataset, bool bias,
                               size_t capacity, batch **out)
{
    reliht_context *context = self->context;
    batch *made;
    *out = NULL;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, 1, sizeof *made, "batch", &made);
    if (status)
        return status;
    if (capacity > dataset->samples)
        capacity = dataset->samples;
    *made = (batch){
        .backend = (cpu_backend *)self,
        .dataset = dataset,
        .bias = bias,
        .borrowed = capacity == dataset->samples && dataset->element == ELEMENT_FLOAT,
        .capacity = capacity,
        .inputs = dataset->inputs + bias,
        .outputs = dataset->outputs,
        .stride = padded_samples(capacity),
    };
    if (!made->borrowed) {
        status = gate_allocate(context, MEMORY_data, made->inputs * made->stride, sizeof(float),
                               "inputs of a batch", &made->x);
        if (!status && dataset->y)
            status = gate_allocate(context, MEMORY_data, made->outputs * made->stride,
                                   sizeof(float), "targets of a batch", &made->y);
        if (!status && dataset->labels)
            status = gate_allocate(context, MEMORY_data, capacity, sizeof(int32_t),
                                   "labels of a batch", &made->labels);
    }
    if (status) {
        cpu_batch_destroy(made);
        return status;
    }
    *out = made;
    return RELIHT_OK;
}

void cpu_batch_destroy(batch *self)
{
    if (!self)
        return;
    reliht_context *context = self->backend->base.context;
    if (!self->borrowed) {
        gate_release(context, self->x);
        gate_release(context, self->y);
        gate_release(context, self->labels);
    }
    gate_release(context, self);
}

/* The data set holds a batch of all its rows in order already. */
static void borrow(batch *self)
{
    const reliht_dataset *dataset = self->dataset;
    self->x = dataset->x;
    self->y = dataset->y;
    self->labels = dataset->labels;
    self->samples = dataset->samples;
    self->stride = dataset->stride;
}

static void gather_floats(const float *from, const uint32_t *rows, size_t count, float *to)
{
    if (!rows)
        memcpy(to, from, count * sizeof *to);
    else
        for (size_t i = 0; i < count; i++)
            to[i] = from[rows[i]];
}

static void gather_bytes(const uint8_t *from, float scale, const uint32_t *rows, size_t count,
                         float *to)
{
    if (!rows)
        for (size_t i = 0; i < count; i++)
            to[i] = (float)from[i] * scale;
    else
        for (size_t i = 0; i < count; i++)
            to[i] = (float)from[rows[i]] * scale;
}

static void load_column(batch *self, size_t column, const uint32_t *rows, size_t count)
{
    const reliht_dataset *dataset = self->dataset;
    float *to = self->x + column * self->stride;
    if (column == dataset->inputs)
        for (size_t i = 0; i < count; i++)
            to[i] = 1.0f;
    else if (dataset->element == ELEMENT_BYTE)
        gather_bytes((const uint8_t *)dataset->x + column * dataset->stride, dataset->scale, rows,
                     count, to);
    else
        gather_floats((const float *)dataset->x + column * dataset->stride, rows, count, to);
    memset(to + count, 0, (self->stride - count) * sizeof *to);
}

reliht_status cpu_batch_load(batch *self, const uint32_t *rows, size_t count)
{
    const reliht_dataset *dataset = self->dataset;
    reliht_context *context = self->backend->base.context;
    if (!rows)
        count = dataset->samples;
    if (count > self->capacity)
        return fail(context, RELIHT_ARGUMENT, "a batch of %zu samples was given room for %zu",
                    count, self->capacity);
    if (self->borrowed) {
        if (rows)
            return fail(context, RELIHT_ARGUMENT, "a batch of the whole data set takes no rows");
        borrow(self);
        return RELIHT_OK;
    }
    self->samples = count;
    self->stride = padded_samples(count);
    int64_t columns = (int64_t)self->inputs;
#pragma omp parallel for num_threads(context->threads) schedule(static)
    for (int64_t c = 0; c < columns; c++)
        load_column(self, (size_t)c, rows, count);
    if (self->y)
        for (size_t k = 0; k < self->outputs; k++) {
            float *to = self->y + k * self->stride;
            gather_floats(dataset->y + k * dataset->stride, rows, count, to);
            memset(to + count, 0, (self->stride - count) * sizeof *to);
        }
    if (self->labels)
        for (size_t i = 0; i < count; i++)
            self->labels[i] = dataset->labels[rows ? rows[i] : i];
    return RELIHT_OK;
}
