#include "models.h"

extern "C" {
#include "backend/cpu/cpu.h"
#include "core/rng.h"
#include "data/dataset.h"
}

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

using namespace models;
using support::Context;

namespace
{

// A data set over arrays of its own, so that these tests depend on no reader.
struct Data {
    reliht_dataset set{};
    std::vector<float> floats, targets;
    std::vector<uint8_t> bytes;
    std::vector<int32_t> labels;

    Data(reliht_context *context, size_t samples, size_t inputs, element_type element,
         size_t outputs, unsigned seed = 1)
    {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        set.context = context;
        set.samples = samples;
        set.inputs = inputs;
        set.stride = padded_samples(samples);
        set.element = element;
        set.scale = element == ELEMENT_BYTE ? 1.0f / 255 : 1.0f;
        set.outputs = outputs;
        targets.resize(outputs * set.stride);
        for (size_t k = 0; k < outputs; k++)
            for (size_t i = 0; i < samples; i++)
                targets[k * set.stride + i] = normal(random);
        set.y = targets.data();
        for (float y : targets)
            set.target_maximum = std::max(set.target_maximum, std::fabs(y));
        // Exactly as long as promised, for the address sanitizer.
        if (element == ELEMENT_BYTE) {
            bytes.resize(samples * inputs);
            for (uint8_t &byte : bytes)
                byte = (uint8_t)random();
            set.x = bytes.data();
        } else {
            floats.resize((inputs + 1) * set.stride);
            for (size_t c = 0; c <= inputs; c++)
                for (size_t i = 0; i < samples; i++)
                    floats[c * set.stride + i] = c == inputs ? 1.0f : normal(random);
            set.x = floats.data();
        }
    }
    void label(size_t classes)
    {
        labels.resize(set.samples);
        for (size_t i = 0; i < set.samples; i++)
            labels[i] = (int32_t)(i * 7 % classes);
        set.labels = labels.data();
        set.classes = classes;
    }
    double input(size_t sample, size_t column) const
    {
        if (column == set.inputs)
            return 1;
        if (set.element == ELEMENT_BYTE)
            return (double)((float)bytes[sample * set.inputs + column] * set.scale);
        return floats[column * set.stride + sample];
    }
};

// The network as written in reliht.h, dense and in double. `magnitude` is the sum of the absolute
// values of all that is added up, a scale for the error.
std::vector<double> oracle(const reliht_model *model, const Data &data, size_t sample,
                           std::vector<double> *magnitude)
{
    std::vector<double> here, size;
    for (size_t c = 0; c <= data.set.inputs; c++) {
        here.push_back(data.input(sample, c));
        size.push_back(std::fabs(here.back()));
    }
    for (size_t l = 0; l < model->layers; l++) {
        const sparse *w = &model->hidden[l];
        std::vector<double> next(w->rows), next_size(w->rows);
        for (size_t j = 0; j < w->live; j++) {
            double z = 0, s = 0;
            for (size_t e = w->start[j]; e < w->start[j + 1]; e++) {
                z += (double)w->value[e] * here[w->column[e]];
                s += std::fabs((double)w->value[e]) * size[w->column[e]];
            }
            next[w->row[j]] = z > 0 ? z : 0;
            next_size[w->row[j]] = s;
        }
        next.push_back(1);
        next_size.push_back(1);
        here = next;
        size = next_size;
    }
    std::vector<double> y(model->outputs);
    magnitude->assign(model->outputs, 0);
    if (model->kind == RELIHT_FUSED)
        for (size_t j = 0; j + 1 < here.size(); j++) {
            y[0] += (model->signs == RELIHT_SIGNS_MIXED && j % 2 ? -1 : 1) * here[j];
            (*magnitude)[0] += size[j];
        }
    for (size_t j = 0; j < model->output.live; j++)
        for (size_t e = model->output.start[j]; e < model->output.start[j + 1]; e++) {
            uint32_t k = model->output.column[e], neuron = model->output.row[j];
            y[k] += (double)model->output.value[e] * here[neuron];
            (*magnitude)[k] += std::fabs((double)model->output.value[e]) * size[neuron];
        }
    return y;
}

std::vector<float> predict(reliht_context *context, const reliht_model *model, const Data &data)
{
    std::vector<float> y(data.set.samples * model->outputs, NAN);
    EXPECT_EQ(reliht_model_predict(context, model, &data.set, y.data()), RELIHT_OK)
        << reliht_context_message(context);
    return y;
}

} // namespace

TEST(Predict, AgreesWithADenseOracleInDouble)
{
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

TEST(Predict, NothingOfAllHiddenNeuronsIsHeld)
{
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

TEST(Embed, HoldsTheActivationsOfTheLiveNeurons)
{
    for (element_type element : {ELEMENT_FLOAT, ELEMENT_BYTE})
        for (bool bias : {false, true}) {
            Context context(2);
            Data data(context, 1111, 7, element, 2);
            reliht_model *model;
            Shape shape = {RELIHT_FACTORED, {13}, 7, 2, bias, RELIHT_SIGNS_PLUS};
            ASSERT_EQ(make_model(context, shape, 0.5, 3, &model), RELIHT_OK);
            const sparse *weights = &model->hidden[0];
            reliht_dataset *embedding;
            ASSERT_EQ(cpu_embed(context.handle->backend, weights, bias, &data.set, &embedding),
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

TEST(Embed, KeepsLabelsAndRefusesWhatCannotBe)
{
    Context context(2);
    backend *self = context.handle->backend;
    Data data(context, 100, 7, ELEMENT_FLOAT, 3);
    data.label(3);
    data.set.y = nullptr;
    reliht_model *model;
    Shape shape = {RELIHT_FACTORED, {13}, 7, 3, false, RELIHT_SIGNS_PLUS};
    ASSERT_EQ(make_model(context, shape, 0.5, 3, &model), RELIHT_OK);
    reliht_dataset *embedding;
    ASSERT_EQ(cpu_embed(self, &model->hidden[0], false, &data.set, &embedding), RELIHT_OK);
    EXPECT_EQ(embedding->classes, 3u);
    EXPECT_EQ(embedding->y, nullptr);
    EXPECT_EQ(memcmp(embedding->labels, data.labels.data(), 100 * sizeof(int32_t)), 0);
    reliht_dataset_destroy(embedding);
    EXPECT_EQ(cpu_embed(self, &model->hidden[0], true, &data.set, &embedding), RELIHT_ARGUMENT);
    sparse_clear(&model->hidden[0]);
    EXPECT_EQ(cpu_embed(self, &model->hidden[0], false, &data.set, &embedding), RELIHT_DATA);
    EXPECT_EQ(embedding, nullptr);
    // An activation past the largest float is named, not passed on.
    sparse_append(&model->hidden[0], 2, 0, 3e38f);
    data.floats[5] = 3;
    EXPECT_EQ(cpu_embed(self, &model->hidden[0], false, &data.set, &embedding), RELIHT_DATA);
    reliht_model_destroy(model);
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
