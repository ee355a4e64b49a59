// Random sparse models of every kind, for the tests of prediction and of model files.
#ifndef RELIHT_TESTS_MODELS_H
#define RELIHT_TESTS_MODELS_H

#include "support.h"

extern "C" {
#include "model/model.h"
}

#include <random>
#include <vector>

namespace models
{

struct Shape {
    reliht_model_kind kind;
    std::vector<size_t> hidden;
    size_t inputs, outputs;
    bool bias;
    reliht_signs signs;
};

inline void fill(sparse *weights, double density, std::mt19937 &random)
{
    std::normal_distribution<float> normal;
    std::bernoulli_distribution there(density);
    for (size_t j = 0; j < weights->rows; j++)
        for (size_t c = 0; c < weights->columns; c++)
            if (j % 5 != 3 && there(random)) // some neurons stay without weights
                sparse_append(weights, (uint32_t)j, (uint32_t)c, normal(random));
}

inline reliht_status make_model(reliht_context *context, const Shape &shape, double density,
                                unsigned seed, reliht_model **out)
{
    std::mt19937 random(seed);
    *out = nullptr;
    reliht_model *model;
    reliht_status status =
        model_create(context, shape.kind, shape.inputs, shape.outputs, shape.bias, &model);
    if (status)
        return status;
    model->signs = shape.signs;
    size_t before = shape.inputs;
    for (size_t hidden : shape.hidden) {
        sparse *layer = &model->hidden[model->layers];
        size_t columns = before + shape.bias;
        status = sparse_create(context, layer, hidden, columns, hidden * columns);
        if (status)
            break;
        fill(layer, density, random);
        model->layers++;
        before = hidden;
    }
    if (!status && shape.kind == RELIHT_FACTORED) {
        status =
            sparse_create(context, &model->output, before, shape.outputs, before * shape.outputs);
        if (!status)
            fill(&model->output, density, random);
    }
    if (status) {
        reliht_model_destroy(model);
        model = nullptr;
    }
    *out = model;
    return status;
}

inline std::vector<Shape> shapes()
{
    return {
        {RELIHT_FUSED, {1}, 1, 1, false, RELIHT_SIGNS_PLUS},
        {RELIHT_FUSED, {13}, 7, 1, false, RELIHT_SIGNS_MIXED},
        {RELIHT_FUSED, {13}, 7, 1, true, RELIHT_SIGNS_PLUS},
        {RELIHT_FUSED, {9, 17}, 11, 1, true, RELIHT_SIGNS_MIXED},
        {RELIHT_FUSED, {9, 17, 8}, 11, 1, false, RELIHT_SIGNS_PLUS},
        {RELIHT_FACTORED, {21}, 7, 3, false, RELIHT_SIGNS_PLUS},
        {RELIHT_FACTORED, {21}, 7, 4, true, RELIHT_SIGNS_PLUS},
        {RELIHT_FACTORED, {9, 17, 8, 12}, 11, 5, true, RELIHT_SIGNS_PLUS},
    };
}

} // namespace models

#endif
