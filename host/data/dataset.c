/* Data sets in memory: making, checking and picking rows of them. */
#include "data/dataset.h"

#include "data/columns.h"

#include <math.h>
#include <string.h>

static reliht_status check_dimension(reliht_context *context, const char *name, size_t value,
                                     size_t maximum)
{
    if (value >= 1 && value <= maximum)
        return RELIHT_OK;
    return fail(context, RELIHT_ARGUMENT, "data set: %zu %s; 1 to %zu are supported", value, name,
                maximum);
}

reliht_status dataset_allocate(reliht_context *context, size_t samples, size_t inputs,
                               element_type element, size_t outputs, bool real_targets,
                               size_t classes, reliht_dataset **dataset)
{
    *dataset = NULL;
    /* One less than the limit leaves the bias input and the padding within it. */
    reliht_status status =
        check_dimension(context, "samples", samples, RELIHT_MAX_DIMENSION - SAMPLE_BLOCK);
    if (!status)
        status = check_dimension(context, "inputs", inputs, RELIHT_MAX_DIMENSION - 1);
    if (!status)
        status = check_dimension(context, "outputs", outputs, RELIHT_MAX_DIMENSION);
    if (!status && classes)
        status = check_dimension(context, "classes", classes, INT32_MAX);
    reliht_dataset *made = NULL;
    if (!status)
        status = gate_allocate(context, MEMORY_data, 1, sizeof *made, "data set", &made);
    if (status)
        return status;
    *made = (reliht_dataset){.context = context,
                             .samples = samples,
                             .inputs = inputs,
                             .stride = padded_samples(samples),
                             .element = element,
                             .scale = 1.0f,
                             .outputs = outputs,
                             .classes = classes};
    /* Two factors below 2^31 each: the products fit a size_t of 64 bits. */
    if (element == ELEMENT_FLOAT)
        status = gate_allocate(context, MEMORY_data, (inputs + 1) * made->stride, sizeof(float),
                               "inputs of the data set", &made->x);
    else
        status = gate_allocate(context, MEMORY_data, samples * inputs, 1, "inputs of the data set",
                               &made->x);
    if (!status && real_targets)
        status = gate_allocate(context, MEMORY_data, outputs * made->stride, sizeof *made->y,
                               "targets of the data set", &made->y);
    if (!status && classes)
        status = gate_allocate(context, MEMORY_data, samples, sizeof *made->labels,
                               "labels of the data set", &made->labels);
    if (status) {
        reliht_dataset_destroy(made);
        return status;
    }
    if (element == ELEMENT_FLOAT) {
        float *ones = (float *)made->x + inputs * made->stride;
        for (size_t sample = 0; sample < samples; sample++)
            ones[sample] = 1.0f;
    }
    *dataset = made;
    return RELIHT_OK;
}

void reliht_dataset_destroy(reliht_dataset *dataset)
{
    if (!dataset)
        return;
    gate_release(dataset->context, dataset->x);
    gate_release(dataset->context, dataset->y);
    gate_release(dataset->context, dataset->labels);
    gate_release(dataset->context, dataset);
}

size_t reliht_dataset_samples(const reliht_dataset *dataset)
{
    return dataset->samples;
}

size_t reliht_dataset_inputs(const reliht_dataset *dataset)
{
    return dataset->inputs;
}

size_t reliht_dataset_outputs(const reliht_dataset *dataset)
{
    return dataset->outputs;
}

size_t reliht_dataset_classes(const reliht_dataset *dataset)
{
    return dataset->classes;
}

float reliht_dataset_target_maximum(const reliht_dataset *dataset)
{
    return dataset->target_maximum;
}

float reliht_dataset_target_minimum(const reliht_dataset *dataset)
{
    return dataset->target_minimum;
}

/* All exponent bits set: infinity or not a number. */
static bool column_is_finite(const float *column, size_t samples)
{
    uint32_t largest = 0;
    for (size_t sample = 0; sample < samples; sample++) {
        uint32_t bits;
        memcpy(&bits, column + sample, sizeof bits);
        bits &= 0x7f800000u;
        largest = bits > largest ? bits : largest;
    }
    return largest != 0x7f800000u;
}

/* DATA for the first non-finite entry of a matrix held by columns, by column and then row. */
static reliht_status check_finite(const reliht_dataset *dataset, const char *name,
                                  const float *matrix, size_t columns)
{
    size_t samples = dataset->samples, first_bad = columns;
#pragma omp parallel for num_threads(dataset->context->threads) \
    reduction(min                                               \
              : first_bad) if (samples * columns > 65536)
    for (size_t column = 0; column < columns; column++)
        if (!column_is_finite(matrix + column * dataset->stride, samples) && column < first_bad)
            first_bad = column;
    if (first_bad == columns)
        return RELIHT_OK;
    const float *bad = matrix + first_bad * dataset->stride;
    size_t row = 0;
    while (isfinite(bad[row]))
        row++;
    return fail(dataset->context, RELIHT_DATA,
                "%s, row %zu, column %zu (from 0): %g is not a finite number", name, row, first_bad,
                (double)bad[row]);
}

static reliht_status check_labels(const reliht_dataset *dataset)
{
    for (size_t sample = 0; sample < dataset->samples; sample++) {
        int32_t label = dataset->labels[sample];
        if (label < 0 || (size_t)label >= dataset->classes)
            return fail(dataset->context, RELIHT_DATA,
                        "label of row %zu (from 0): %d is not one of the classes 0 to %zu", sample,
                        (int)label, dataset->classes - 1);
    }
    return RELIHT_OK;
}

static void find_target_range(reliht_dataset *dataset)
{
    float minimum = INFINITY, maximum = 0.0f;
    for (size_t output = 0; output < dataset->outputs; output++) {
        const float *y = dataset->y + output * dataset->stride;
        for (size_t sample = 0; sample < dataset->samples; sample++) {
            float magnitude = fabsf(y[sample]);
            minimum = y[sample] < minimum ? y[sample] : minimum;
            maximum = magnitude > maximum ? magnitude : maximum;
        }
    }
    dataset->target_minimum = minimum;
    dataset->target_maximum = maximum;
}

reliht_status dataset_finish(reliht_dataset *dataset)
{
    reliht_status status = RELIHT_OK;
    if (dataset->element == ELEMENT_FLOAT)
        status = check_finite(dataset, "x", dataset->x, dataset->inputs);
    if (!status && dataset->labels)
        status = check_labels(dataset);
    if (status)
        return status;
    if (!dataset->y) { /* one-hot rows */
        dataset->target_minimum = 0.0f;
        dataset->target_maximum = 1.0f;
        return RELIHT_OK;
    }
    if (dataset->classes)
        for (size_t sample = 0; sample < dataset->samples; sample++)
            dataset->y[sample] = (float)dataset->labels[sample];
    status = check_finite(dataset, "y", dataset->y, dataset->outputs);
    if (!status)
        find_target_range(dataset);
    return status;
}

/* to[c, i] = from[c, rows[i]]. */
static void gather_columns(const reliht_dataset *from, size_t columns, const float *source,
                           const uint32_t *rows, size_t count, float *target, size_t target_stride)
{
#pragma omp parallel for num_threads(from->context->threads) if (columns * count > 65536)
    for (size_t column = 0; column < columns; column++) {
        const float *in = source + column * from->stride;
        float *out = target + column * target_stride;
        for (size_t i = 0; i < count; i++)
            out[i] = in[rows[i]];
    }
}

reliht_status dataset_subset(const reliht_dataset *dataset, const uint32_t *rows, size_t count,
                             reliht_dataset **subset)
{
    *subset = NULL;
    for (size_t i = 0; i < count; i++)
        if (rows[i] >= dataset->samples)
            return fail(dataset->context, RELIHT_ARGUMENT, "row %u of a data set of %zu samples",
                        (unsigned)rows[i], dataset->samples);
    reliht_dataset *made;
    reliht_status status =
        dataset_allocate(dataset->context, count, dataset->inputs, dataset->element,
                         dataset->outputs, dataset->y != NULL, dataset->classes, &made);
    if (status)
        return status;
    made->scale = dataset->scale;
    made->preparation = dataset->preparation;
    if (dataset->element == ELEMENT_FLOAT)
        gather_columns(dataset, dataset->inputs, dataset->x, rows, count, made->x, made->stride);
    else
        for (size_t i = 0; i < count; i++)
            memcpy((unsigned char *)made->x + i * made->inputs,
                   (const unsigned char *)dataset->x + rows[i] * dataset->inputs, made->inputs);
    if (dataset->y)
        gather_columns(dataset, dataset->outputs, dataset->y, rows, count, made->y, made->stride);
    if (dataset->labels)
        for (size_t i = 0; i < count; i++)
            made->labels[i] = dataset->labels[rows[i]];
    status = dataset_finish(made);
    if (status) {
        reliht_dataset_destroy(made);
        return status;
    }
    *subset = made;
    return RELIHT_OK;
}

reliht_status reliht_dataset_from_arrays(reliht_context *context, size_t samples, size_t inputs,
                                         const float *x, size_t outputs, const float *y,
                                         reliht_dataset **dataset)
{
    *dataset = NULL;
    if (!x || !y)
        return fail(context, RELIHT_ARGUMENT, "data set from arrays: x and y are both needed");
    reliht_dataset *made;
    reliht_status status =
        dataset_allocate(context, samples, inputs, ELEMENT_FLOAT, outputs, true, 0, &made);
    if (status)
        return status;
    columns_from_floats(x, samples, inputs, made->x, made->stride);
    columns_from_floats(y, samples, outputs, made->y, made->stride);
    status = dataset_finish(made);
    if (status) {
        reliht_dataset_destroy(made);
        return status;
    }
    *dataset = made;
    return RELIHT_OK;
}

reliht_status reliht_dataset_from_labels(reliht_context *context, size_t samples, size_t inputs,
                                         const float *x, const int32_t *labels, size_t classes,
                                         reliht_dataset **dataset)
{
    *dataset = NULL;
    if (!x || !labels)
        return fail(context, RELIHT_ARGUMENT, "data set from labels: x and labels are both needed");
    if (classes < 2)
        return fail(context, RELIHT_ARGUMENT,
                    "data set from labels: %zu classes; at least 2 are needed", classes);
    bool scalar = classes == 2;
    reliht_dataset *made;
    reliht_status status = dataset_allocate(context, samples, inputs, ELEMENT_FLOAT,
                                            scalar ? 1 : classes, scalar, classes, &made);
    if (status)
        return status;
    columns_from_floats(x, samples, inputs, made->x, made->stride);
    memcpy(made->labels, labels, samples * sizeof *labels);
    status = dataset_finish(made);
    if (status) {
        reliht_dataset_destroy(made);
        return status;
    }
    *dataset = made;
    return RELIHT_OK;
}
