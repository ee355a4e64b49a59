#include "prediction.h"

extern "C" {
#include "backend/cpu/cpu.h"
#include "core/rng.h"
}

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

using namespace models;
using namespace prediction;
using support::Context;

TEST(Predict, SameBitsForAnyThreadsInstructionSetAndPlace)
{
    for (const Shape &shape : shapes())
        for (element_type element : {ELEMENT_FLOAT, ELEMENT_BYTE}) {
            std::vector<float> reference;
            for (unsigned threads : {1u, 2u, 3u, 7u})
                for (int isa = ISA_base; isa <= cpu_isa_best(); isa++) {
                    Context context(threads);
                    cpu_set_isa(context.handle->backend, (cpu_isa)isa);
                    Data data(context, 1111, shape.inputs, element, shape.outputs);
                    reliht_model *model;
                    ASSERT_EQ(make_model(context, shape, 0.5, 3, &model), RELIHT_OK);
                    std::vector<float> y = predict(context, model, data);
                    if (reference.empty())
                        reference = y;
                    EXPECT_EQ(memcmp(y.data(), reference.data(), y.size() * sizeof(float)), 0);
                    // Rows of their own, from an odd place.
                    size_t first = 77, count = 301;
                    std::vector<float> part(count * shape.outputs);
                    ASSERT_EQ(cpu_predict(context.handle->backend, model, &data.set, first, count,
                                          part.data()),
                              RELIHT_OK);
                    for (size_t i = 0; i < count; i++)
                        for (size_t k = 0; k < shape.outputs; k++)
                            ASSERT_EQ(part[k * count + i], y[(first + i) * shape.outputs + k]);
                    reliht_model_destroy(model);
                }
        }
}

TEST(Evaluate, ScoresOfRealTargets)
{
    Context context(2);
    for (const Shape &shape : shapes()) {
        Data data(context, 4099, shape.inputs, ELEMENT_FLOAT, shape.outputs);
        reliht_model *model;
        ASSERT_EQ(make_model(context, shape, 0.5, 3, &model), RELIHT_OK);
        std::vector<float> y = predict(context, model, data);
        double squares = 0;
        for (size_t i = 0; i < data.set.samples; i++)
            for (size_t k = 0; k < shape.outputs; k++)
                squares += std::pow(
                    (double)y[i * shape.outputs + k] - data.targets[k * data.set.stride + i], 2);
        double mse = squares / (double)y.size();
        reliht_evaluation evaluation;
        ASSERT_EQ(reliht_model_evaluate(context, model, &data.set, &evaluation), RELIHT_OK);
        EXPECT_NEAR(evaluation.mse, mse, 1e-12 * mse);
        EXPECT_EQ(evaluation.loss, evaluation.mse);
        EXPECT_NEAR(evaluation.psnr_db,
                    20 * std::log10((double)data.set.target_maximum) - 10 * std::log10(mse), 1e-9);
        EXPECT_TRUE(std::isnan(evaluation.accuracy));
        reliht_model_destroy(model);
    }
}

TEST(Evaluate, PerfectPredictionHasThePsnrOfEqualDoubles)
{
    Context context(1);
    Shape shape = shapes()[1];
    Data data(context, 100, shape.inputs, ELEMENT_FLOAT, 1);
    reliht_model *model;
    ASSERT_EQ(make_model(context, shape, 0.5, 3, &model), RELIHT_OK);
    std::vector<float> y = predict(context, model, data);
    memcpy(data.set.y, y.data(), y.size() * sizeof(float));
    reliht_evaluation evaluation;
    ASSERT_EQ(reliht_model_evaluate(context, model, &data.set, &evaluation), RELIHT_OK);
    EXPECT_EQ(evaluation.mse, 0);
    EXPECT_NEAR(evaluation.psnr_db, 20 * std::log10(std::pow(2.0, 53)), 1e-9);
    reliht_model_destroy(model);
}

TEST(Evaluate, ClassesByLargestOutputAndCrossEntropy)
{
    Context context(2);
    Shape shape = {RELIHT_FACTORED, {30}, 8, 5, true, RELIHT_SIGNS_PLUS};
    Data data(context, 700, shape.inputs, ELEMENT_BYTE, shape.outputs);
    data.label(5);
    data.set.y = nullptr; // one-hot rows of the labels
    reliht_model *model;
    ASSERT_EQ(make_model(context, shape, 0.5, 3, &model), RELIHT_OK);
    for (size_t e = 0; e < model->output.nnz; e++)
        model->output.value[e] *= 300; // exp of the outputs alone would overflow
    model->loss = RELIHT_LOSS_CROSS_ENTROPY;
    std::vector<float> y = predict(context, model, data);
    long double entropy = 0, squares = 0;
    size_t right = 0;
    for (size_t i = 0; i < data.set.samples; i++) {
        const float *row = &y[i * 5];
        long double sum = 0;
        for (size_t k = 0; k < 5; k++)
            sum += std::exp((long double)row[k]);
        size_t label = (size_t)data.labels[i];
        entropy += std::log(sum) - (long double)row[label];
        right += (size_t)(std::max_element(row, row + 5) - row) == label;
        for (size_t k = 0; k < 5; k++)
            squares += std::pow((long double)row[k] - (k == label), 2);
    }
    reliht_evaluation evaluation;
    ASSERT_EQ(reliht_model_evaluate(context, model, &data.set, &evaluation), RELIHT_OK);
    EXPECT_NEAR(evaluation.loss, (double)(entropy / 700), 1e-9 * (double)(entropy / 700));
    EXPECT_NEAR(evaluation.mse, (double)(squares / 3500), 1e-9 * (double)(squares / 3500));
    EXPECT_DOUBLE_EQ(evaluation.accuracy, (double)right / 700);
    reliht_model_destroy(model);
}

TEST(Evaluate, TiesGoToTheFirstClassAndTwoClassesToTheThreshold)
{
    Context context(1);
    // Output weights all absent: every output is 0, every class ties, the first one wins.
    Shape shape = {RELIHT_FACTORED, {4}, 3, 3, false, RELIHT_SIGNS_PLUS};
    Data data(context, 90, 3, ELEMENT_FLOAT, 3);
    data.label(3);
    reliht_model *model;
    ASSERT_EQ(make_model(context, shape, 0.5, 3, &model), RELIHT_OK);
    sparse_clear(&model->output);
    reliht_evaluation evaluation;
    ASSERT_EQ(reliht_model_evaluate(context, model, &data.set, &evaluation), RELIHT_OK);
    EXPECT_DOUBLE_EQ(evaluation.accuracy, 1.0 / 3);
    reliht_model_destroy(model);

    // yhat = relu(x_0): class 1 above 0.5.
    Data two(context, 4, 1, ELEMENT_FLOAT, 1);
    two.label(2);
    for (size_t i = 0; i < 4; i++) {
        two.floats[i] = (const float[]){0.5f, 0.51f, -3.0f, 7.0f}[i];
        two.labels[i] = (const int32_t[]){0, 1, 1, 1}[i];
    }
    ASSERT_EQ(model_create(context, RELIHT_FUSED, 1, 1, false, &model), RELIHT_OK);
    ASSERT_EQ(sparse_create(context, &model->hidden[0], 1, 1, 1), RELIHT_OK);
    model->layers = 1;
    sparse_append(&model->hidden[0], 0, 0, 1);
    ASSERT_EQ(reliht_model_evaluate(context, model, &two.set, &evaluation), RELIHT_OK);
    EXPECT_DOUBLE_EQ(evaluation.accuracy, 0.75);
    reliht_model_destroy(model);
}

TEST(Evaluate, RefusesDataOfOtherShapes)
{
    Context context(1);
    reliht_model *model;
    ASSERT_EQ(make_model(context, shapes()[5], 0.5, 3, &model), RELIHT_OK);
    Data narrow(context, 10, 6, ELEMENT_FLOAT, 3), two(context, 10, 7, ELEMENT_FLOAT, 2);
    float y[30];
    EXPECT_EQ(reliht_model_predict(context, model, &narrow.set, y), RELIHT_ARGUMENT);
    EXPECT_EQ(context.message(), "the model reads 7 inputs, but the data have 6");
    reliht_evaluation evaluation;
    EXPECT_EQ(reliht_model_evaluate(context, model, &narrow.set, &evaluation), RELIHT_ARGUMENT);
    EXPECT_EQ(reliht_model_evaluate(context, model, &two.set, &evaluation), RELIHT_ARGUMENT);
    EXPECT_EQ(context.message(), "the model has 3 outputs, but the data have targets for 2");
    reliht_model_destroy(model);
}

TEST(Predict, EveryFailedAllocationIsClean)
{
    size_t allocations = support::fail_each_allocation([](reliht_context *context) {
        Data data(context, 600, 11, ELEMENT_FLOAT, 5);
        reliht_model *model;
        reliht_status status = make_model(context, shapes().back(), 0.5, 3, &model);
        std::vector<float> y(600 * 5);
        if (!status)
            status = reliht_model_predict(context, model, &data.set, y.data());
        reliht_evaluation evaluation;
        if (!status)
            status = reliht_model_evaluate(context, model, &data.set, &evaluation);
        reliht_model_destroy(model);
        return status;
    });
    EXPECT_GT(allocations, 20u);
}

TEST(Embed, EveryFailedAllocationIsClean)
{
    support::fail_each_allocation([](reliht_context *context) {
        Data data(context, 100, 7, ELEMENT_FLOAT, 1);
        reliht_model *model;
        reliht_status status = make_model(context, shapes()[1], 0.5, 3, &model);
        reliht_dataset *embedding = nullptr;
        if (!status)
            status = cpu_embed(context->backend, &model->hidden[0], false, &data.set, &embedding);
        reliht_dataset_destroy(embedding);
        reliht_model_destroy(model);
        return status;
    });
}
