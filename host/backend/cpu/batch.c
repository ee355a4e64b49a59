/* Batches on the CPU: rows of a data set as float columns [inputs, stride]. A whole float data set
 * is borrowed, not copied. */
#include "backend/cpu/cpu.h"

#include "data/columns.h"

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

/* Columns first .. end - 1 of the batch, which may end with the bias input. */
static void load_columns(batch *self, size_t first, size_t end, const uint32_t *rows, size_t count)
{
    const reliht_dataset *dataset = self->dataset;
    if (dataset->element == ELEMENT_BYTE)
        columns_of_bytes(dataset->x, dataset->inputs, rows, 0, count, first,
                         end < dataset->inputs ? end : dataset->inputs, dataset->scale, self->x,
                         self->stride);
    for (size_t c = first; c < end; c++) {
        float *to = self->x + c * self->stride;
        if (dataset->element == ELEMENT_FLOAT)
            gather_floats((const float *)dataset->x + c * dataset->stride, rows, count, to);
        else if (c == dataset->inputs)
            for (size_t i = 0; i < count; i++)
                to[i] = 1.0f;
        memset(to + count, 0, (self->stride - count) * sizeof *to);
    }
}

/* Columns that one thread loads at a time: a cache line of bytes of every row. */
#define COLUMN_GROUP 64

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
    for (int64_t c = 0; c < columns; c += COLUMN_GROUP)
        load_columns(self, (size_t)c,
                     (size_t)(columns - c < COLUMN_GROUP ? columns : c + COLUMN_GROUP), rows,
                     count);
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

/* Nothing has to travel. */
reliht_status cpu_batch_stage(batch *self, const uint32_t *rows, size_t count)
{
    (void)self;
    (void)rows;
    (void)count;
    return RELIHT_OK;
}
