#include "backend/embedding.h"

/* Targets, labels and preparation of a data set whose inputs are replaced. */
static void copy_targets(const reliht_dataset *from, reliht_dataset *to)
{
    if (from->y)
        for (size_t i = 0; i < from->outputs * from->stride; i++)
            to->y[i] = from->y[i];
    if (from->labels)
        for (size_t i = 0; i < from->samples; i++)
            to->labels[i] = from->labels[i];
    to->preparation = from->preparation;
}

reliht_status embedding_create(reliht_context *context, const sparse *weights, bool bias,
                               const reliht_dataset *dataset, reliht_dataset **embedding)
{
    *embedding = NULL;
    if (weights->columns != dataset->inputs + bias)
        return fail(context, RELIHT_ARGUMENT,
                    "the layer reads %zu inputs, but the data set has %zu", weights->columns - bias,
                    dataset->inputs);
    if (!weights->live)
        return fail(context, RELIHT_DATA,
                    "a hidden layer has no weights left, so the next one has no inputs; give it "
                    "more nonzeros or use fewer layers");
    reliht_status status =
        dataset_allocate(context, dataset->samples, weights->live, ELEMENT_FLOAT, dataset->outputs,
                         dataset->y != NULL, dataset->classes, embedding);
    if (!status)
        copy_targets(dataset, *embedding);
    return status;
}
