// Prediction and embeddings.
#include "parity/parity.h"
#include "prediction.h"

#include <cstring>

using namespace models;
using namespace prediction;
using parity::Context;

TEST(ParityPredict, AgreesWithADenseOracleInDouble)
{
    PARITY_NEEDS_BACKEND();
    Context context(2);
    for (const Shape &shape : shapes())
        for (element_type element : {ELEMENT_FLOAT, ELEMENT_BYTE})
            for (size_t samples : {1u, 63u, 64u, 300u, 4500u}) {
                Data data(context, samples, shape.inputs, element, shape.outputs);
                reliht_model *model;
                ASSERT_EQ(make_model(context, shape, 0.5, 3, &model), RELIHT_OK);
                std::vector<float> y = predict(context, model, data);
                std::vector<double> magnitude;
                for (size_t i = 0; i < samples; i++) {
                    std::vector<double> expected = oracle(model, data, i, &magnitude);
                    for (size_t k = 0; k < shape.outputs; k++)
                        ASSERT_NEAR(y[i * shape.outputs + k], expected[k],
                                    1e-5 * magnitude[k] + 1e-7)
                            << "sample " << i << " of " << samples << ", output " << k;
                }
                reliht_model_destroy(model);
            }
}

TEST(ParityPredict, NothingOfAllHiddenNeuronsIsHeld)
{
    PARITY_NEEDS_BACKEND();
    Context context(2);
    Data data(context, 500, 20, ELEMENT_FLOAT, 1);
    uint64_t peaks[2];
    for (int wide = 0; wide < 2; wide++) {
        reliht_model *model;
        ASSERT_EQ(model_create(context, RELIHT_FUSED, 20, 1, false, &model), RELIHT_OK);
        size_t hidden = wide ? 2000000000u : 1000u;
        ASSERT_EQ(sparse_create(context, &model->hidden[0], hidden, 20, 3), RELIHT_OK);
        model->layers = 1;
        sparse_append(&model->hidden[0], 4, 0, 1);
        sparse_append(&model->hidden[0], 6, 19, -2);
        sparse_append(&model->hidden[0], (uint32_t)hidden - 1, 3, 1);
        reliht_context_memory_reset_peak(context);
        predict(context, model, data);
        reliht_memory peak;
        reliht_context_memory(context, nullptr, &peak);
        peaks[wide] = peak.total;
        reliht_model_destroy(model);
    }
    EXPECT_EQ(peaks[0], peaks[1]);
}

TEST(ParityEmbed, HoldsTheActivationsOfTheLiveNeurons)
{
    PARITY_NEEDS_BACKEND();
    for (element_type element : {ELEMENT_FLOAT, ELEMENT_BYTE})
        for (bool bias : {false, true}) {
            Context context(2);
            Data data(context, 1111, 7, element, 2);
            reliht_model *model;
            Shape shape = {RELIHT_FACTORED, {13}, 7, 2, bias, RELIHT_SIGNS_PLUS};
            ASSERT_EQ(make_model(context, shape, 0.5, 3, &model), RELIHT_OK);
            const sparse *weights = &model->hidden[0];
            reliht_dataset *embedding;
            ASSERT_EQ(
                context.operations().embed(context.on(), weights, bias, &data.set, &embedding),
                RELIHT_OK);
            EXPECT_EQ(embedding->element, ELEMENT_FLOAT);
            EXPECT_EQ(embedding->samples, 1111u);
            ASSERT_EQ(embedding->inputs, weights->live);
            for (size_t j = 0; j < weights->live; j++)
                for (size_t i = 0; i < 1111; i++) {
                    double z = 0, magnitude = 0;
                    for (size_t e = weights->start[j]; e < weights->start[j + 1]; e++) {
                        double term = weights->value[e] * data.input(i, weights->column[e]);
                        z += term;
                        magnitude += std::fabs(term);
                    }
                    const float *x = (const float *)embedding->x;
                    ASSERT_NEAR(x[j * embedding->stride + i], std::max(z, 0.0), 1e-6 * magnitude);
                }
            EXPECT_EQ(memcmp(embedding->y, data.set.y, data.targets.size() * sizeof(float)), 0);
            reliht_dataset_destroy(embedding);
            reliht_model_destroy(model);
        }
}

TEST(ParityEmbed, KeepsLabelsAndRefusesWhatCannotBe)
{
    PARITY_NEEDS_BACKEND();
    Context context(2);
    backend *self = context.handle->backend;
    Data data(context, 100, 7, ELEMENT_FLOAT, 3);
    data.label(3);
    data.set.y = nullptr;
    reliht_model *model;
    Shape shape = {RELIHT_FACTORED, {13}, 7, 3, false, RELIHT_SIGNS_PLUS};
    ASSERT_EQ(make_model(context, shape, 0.5, 3, &model), RELIHT_OK);
    reliht_dataset *embedding;
    ASSERT_EQ(context.operations().embed(self, &model->hidden[0], false, &data.set, &embedding),
              RELIHT_OK);
    EXPECT_EQ(embedding->classes, 3u);
    EXPECT_EQ(embedding->y, nullptr);
    EXPECT_EQ(memcmp(embedding->labels, data.labels.data(), 100 * sizeof(int32_t)), 0);
    reliht_dataset_destroy(embedding);
    EXPECT_EQ(context.operations().embed(self, &model->hidden[0], true, &data.set, &embedding),
              RELIHT_ARGUMENT);
    sparse_clear(&model->hidden[0]);
    EXPECT_EQ(context.operations().embed(self, &model->hidden[0], false, &data.set, &embedding),
              RELIHT_DATA);
    EXPECT_EQ(embedding, nullptr);
    // An activation past the largest float is named, not passed on.
    sparse_append(&model->hidden[0], 2, 0, 3e38f);
    data.floats[5] = 3;
    EXPECT_EQ(context.operations().embed(self, &model->hidden[0], false, &data.set, &embedding),
              RELIHT_DATA);
    reliht_model_destroy(model);
}
