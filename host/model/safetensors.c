/* The list of tensors a model file holds, which reader and writer share. */
#include "model/safetensors.h"

#include <stdio.h>

const char *tensor_dtype(tensor_part part)
{
    static const char *const names[] = {"I64", "I64", "F32", "I8"};
    return names[part];
}

size_t tensor_element_bytes(tensor_part part)
{
    static const size_t bytes[] = {8, 8, 4, 1};
    return bytes[part];
}

static size_t add(tensor *tensors, size_t count, tensor_part part, size_t layer, size_t layers)
{
    static const char *const parts[] = {"crow_indices", "col_indices", "values"};
    tensor *made = &tensors[count];
    *made = (tensor){.part = part, .layer = layer};
    if (part == TENSOR_SIGNS)
        snprintf(made->name, sizeof made->name, "signs");
    else if (layer == layers)
        snprintf(made->name, sizeof made->name, "output.%s", parts[part]);
    else
        snprintf(made->name, sizeof made->name, "layers.%zu.%s", layer, parts[part]);
    return count + 1;
}

size_t tensor_list(reliht_model_kind kind, size_t layers, tensor *tensors)
{
    size_t matrices = layers + (kind == RELIHT_FACTORED), count = 0;
    for (size_t l = 0; l < matrices; l++) {
        count = add(tensors, count, TENSOR_CROW_INDICES, l, layers);
        count = add(tensors, count, TENSOR_COL_INDICES, l, layers);
    }
    for (size_t l = 0; l < matrices; l++)
        count = add(tensors, count, TENSOR_VALUES, l, layers);
    if (kind == RELIHT_FUSED)
        count = add(tensors, count, TENSOR_SIGNS, layers - 1, layers);
    return count;
}
