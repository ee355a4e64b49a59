#include "support.h"

extern "C" {
#include "backend/backend.h"
#include "core/rng.h"
}

#include <cmath>
#include <map>
#include <vector>

using support::Context;

namespace
{

const size_t SAMPLES = 600, INPUTS = 12, CLASSES = 3;

// Three noisy classes, each with its own mean.
reliht_dataset *blobs(reliht_context *context, float scale = 1, bool real_targets = false)
{
    std::vector<float> x(SAMPLES * INPUTS), mean(CLASSES * INPUTS), y(SAMPLES * CLASSES);
    std::vector<int32_t> labels(SAMPLES);
    rng_normals(1, RNG_INPUTS, 0, x.size(), x.data());
    rng_normals(1, RNG_VALUES, 0, mean.size(), mean.data());
    for (size_t i = 0; i < SAMPLES; i++) {
        labels[i] = (int32_t)(i % CLASSES);
        y[i * CLASSES + i % CLASSES] = 2;
        for (size_t c = 0; c < INPUTS; c++)
            x[i * INPUTS + c] =
                scale * (0.5f * x[i * INPUTS + c] + 2 * mean[(i % CLASSES) * INPUTS + c]);
    }
    reliht_dataset *made = nullptr;
    reliht_status status = real_targets
                               ? reliht_dataset_from_arrays(context, SAMPLES, INPUTS, x.data(),
                                                            CLASSES, y.data(), &made)
                               : reliht_dataset_from_labels(context, SAMPLES, INPUTS, x.data(),
                                                            labels.data(), CLASSES, &made);
    EXPECT_TRUE(status == RELIHT_OK || status == RELIHT_MEMORY);
    return made;
}

reliht_train_options options_of(size_t epochs = 30)
{
    reliht_train_options options;
    reliht_train_options_default(&options);
    options.hidden = 20;
    options.nnz = 60;
    options.epochs = epochs;
    options.batch = 100;
    return options;
}

// All weights of a model as triplets.
std::vector<std::map<std::pair<uint32_t, uint32_t>, float>> weights_of(const reliht_model *model)
{
    std::vector<std::map<std::pair<uint32_t, uint32_t>, float>> layers;
    for (size_t layer = 0; layer <= reliht_model_layers(model); layer++) {
        size_t nnz;
        EXPECT_EQ(reliht_model_weights(model, layer, 0, nullptr, nullptr, nullptr, &nnz),
                  RELIHT_OK);
        std::vector<uint32_t> neuron(nnz + 1), column(nnz + 1);
        std::vector<float> value(nnz + 1);
        EXPECT_EQ(reliht_model_weights(model, layer, nnz, neuron.data(), column.data(),
                                       value.data(), &nnz),
                  RELIHT_OK);
        layers.emplace_back();
        for (size_t i = 0; i < nnz; i++)
            layers.back()[{neuron[i], column[i]}] = value[i];
    }
    return layers;
}

struct Training {
    reliht_dataset *data;
    reliht_model *model = nullptr;
    reliht_train_report report = {};
    reliht_status status;

    Training(reliht_context *context, const reliht_train_options &options, float scale = 1,
             bool real_targets = false)
        : data(blobs(context, scale, real_targets)),
          status(reliht_train(context, data, &options, &model, &report))
    {
    }
    ~Training()
    {
        reliht_model_destroy(model);
        reliht_dataset_destroy(data);
    }
    Training(const Training &) = delete;
    Training &operator=(const Training &) = delete;
    reliht_evaluation evaluate(reliht_context *context) const
    {
        reliht_evaluation evaluation = {};
        EXPECT_EQ(reliht_model_evaluate(context, model, data, &evaluation), RELIHT_OK);
        return evaluation;
    }
};

} // namespace

TEST(FactoredTrain, LearnsWithEveryLossAndBatch)
{
    for (reliht_loss loss : {RELIHT_LOSS_AUTO, RELIHT_LOSS_MSE})
        for (size_t batch : {0u, 100u, 41u})
            for (bool bias : {false, true}) {
                Context context;
                reliht_train_options options = options_of(batch ? 30 : 150);
                options.loss = loss;
                options.batch = batch;
                options.bias = bias;
                Training run(context, options);
                ASSERT_EQ(run.status, RELIHT_OK) << context.message();
                reliht_evaluation evaluation = run.evaluate(context);
                EXPECT_GT(evaluation.accuracy, 0.97) << loss << " " << batch << " " << bias;
                EXPECT_EQ(evaluation.loss, run.report.loss_final);
                EXPECT_LE(reliht_model_nnz(run.model), 60u);
                EXPECT_EQ(run.report.epochs, options.epochs);
            }
}

TEST(FactoredTrain, FitsRealTargets)
{
    Context context;
    reliht_train_options options = options_of(60);
    options.bias = true;
    Training run(context, options, 1, true);
    ASSERT_EQ(run.status, RELIHT_OK) << context.message();
    reliht_evaluation evaluation = run.evaluate(context);
    EXPECT_LT(evaluation.mse, 0.15); // of a variance of 8/9
    EXPECT_TRUE(std::isnan(evaluation.accuracy));
}

TEST(FactoredTrain, SameBitsForAnyThreadsAndAgain)
{
    auto first = [] {
        Context context(1);
        return weights_of(Training(context, options_of(5)).model);
    }();
    for (unsigned threads : {1u, 2u, 3u}) {
        Context context(threads);
        EXPECT_EQ(weights_of(Training(context, options_of(5)).model), first) << threads;
    }
    Context context;
    reliht_train_options options = options_of(5);
    options.seed = 1;
    EXPECT_NE(weights_of(Training(context, options).model), first);
}

// Threads of a caller that has OpenMP's parallel regions too, each with its own context.
TEST(FactoredTrain, ServesThreadsOfTheCaller)
{
    Context context(1);
    auto expected = weights_of(Training(context, options_of(2)).model);
    std::vector<decltype(expected)> found(3);
#pragma omp parallel for num_threads(3) schedule(static, 1)
    for (int i = 0; i < 3; i++) {
        Context own(1);
        found[(size_t)i] = weights_of(Training(own, options_of(2)).model);
    }
    for (const auto &weights : found)
        EXPECT_EQ(weights, expected);
}

TEST(FactoredTrain, ScaleOfInputsChangesNothing)
{
    Context context;
    Training run(context, options_of(8)), scaled(context, options_of(8), 256);
    auto expected = weights_of(run.model), weights = weights_of(scaled.model);
    for (auto &entry : weights[0])
        entry.second *= 256;
    EXPECT_EQ(weights, expected);
}

TEST(FactoredTrain, LayersShareTheBudget)
{
    Context context;
    reliht_train_options options = options_of(40);
    options.layers = 2;
    options.nnz = 90;
    Training run(context, options);
    ASSERT_EQ(run.status, RELIHT_OK) << context.message();
    EXPECT_EQ(reliht_model_layers(run.model), 2u);
    EXPECT_LE(reliht_model_nnz(run.model), 90u);
    EXPECT_GT(run.evaluate(context).accuracy, 0.9);
}

TEST(FactoredTrain, PublishedStepsRun)
{
    for (size_t batch : {0u, 100u})
        for (reliht_importance importance :
             {RELIHT_IMPORTANCE_SKETCH, RELIHT_IMPORTANCE_SKETCH_PUBLISHED,
              RELIHT_IMPORTANCE_MAGNITUDE}) {
            Context context;
            reliht_train_options options = options_of(4);
            options.batch = batch;
            options.importance = importance;
            options.step = RELIHT_STEP_PUBLISHED;
            Training run(context, options);
            ASSERT_EQ(run.status, RELIHT_OK) << context.message();
            EXPECT_LE(run.report.loss_final, std::log(3.0) + 1e-3);
            EXPECT_LE(reliht_model_nnz(run.model), 60u);
        }
}

TEST(FactoredTrain, ReturnsTheBestByValidationOrTheLast)
{
    struct Seen {
        double best = INFINITY, last = 0;
        size_t epochs = 0;
    };
    auto watch = [](void *user, const reliht_progress *progress) {
        Seen *seen = static_cast<Seen *>(user);
        if (progress->batch == progress->batches) {
            seen->epochs++;
            EXPECT_EQ(progress->epoch, seen->epochs);
            if (!std::isnan(progress->evaluation_loss)) {
                seen->best = std::fmin(seen->best, progress->evaluation_loss);
                seen->last = progress->evaluation_loss;
            }
        } else {
            EXPECT_TRUE(std::isnan(progress->evaluation_loss));
        }
        EXPECT_GT(progress->step_size, 0);
        return true;
    };
    for (bool last : {false, true}) {
        Context context;
        Seen seen;
        reliht_train_options options = options_of(6);
        options.progress = watch;
        options.progress_user = &seen;
        options.return_last = last;
        Training run(context, options);
        ASSERT_EQ(run.status, RELIHT_OK);
        EXPECT_EQ(seen.epochs, 6u);
        if (!last) {
            EXPECT_EQ(run.report.loss_final, seen.best);
        }
        options.validation = 0.25;
        Seen validated;
        options.progress_user = &validated;
        Training other(context, options);
        ASSERT_EQ(other.status, RELIHT_OK);
        EXPECT_LT(validated.best, 1.0);
    }
}

TEST(FactoredTrain, ScheduleFallsAndKeepsTheSupportFromHalfway)
{
    struct Seen {
        size_t stop;
        std::vector<double> sizes;
    };
    // The support of a run of 60 steps after `stop` of them.
    auto support_after = [](size_t stop) {
        Context context;
        Seen seen = {stop, {}};
        reliht_train_options options = options_of(10);
        options.nnz = 40;
        options.return_last = true;
        options.progress = [](void *user, const reliht_progress *progress) {
            Seen *to = static_cast<Seen *>(user);
            to->sizes.push_back(progress->step_size);
            return to->sizes.size() < to->stop;
        };
        options.progress_user = &seen;
        Training run(context, options);
        for (size_t step = 0; step < stop; step++)
            EXPECT_NEAR(seen.sizes[step],
                        seen.sizes[0] * (0.5 + 0.5 * std::cos(M_PI * (double)step / 60)), 1e-9);
        auto weights = weights_of(run.model);
        for (auto &layer : weights)
            for (auto &entry : layer)
                entry.second = 1;
        return weights;
    };
    auto last = support_after(60);
    EXPECT_EQ(support_after(31), last);
    EXPECT_EQ(support_after(45), last);
    EXPECT_NE(support_after(10), last);
}

TEST(FactoredTrain, CancellingHandsOverAModel)
{
    for (size_t after : {1u, 9u, 14u})
        for (bool last : {false, true}) {
            Context context;
            size_t calls = after;
            reliht_train_options options = options_of(30);
            options.return_last = last;
            options.progress = [](void *user, const reliht_progress *) {
                return --*static_cast<size_t *>(user) > 0;
            };
            options.progress_user = &calls;
            Training run(context, options);
            EXPECT_EQ(run.status, RELIHT_CANCELLED);
            ASSERT_NE(run.model, nullptr);
            EXPECT_EQ(run.report.epochs, after / 6);
            EXPECT_GT(reliht_model_nnz(run.model), 0u);
        }
}

TEST(FactoredTrain, StopsAtTheTolerance)
{
    Context context;
    reliht_train_options options = options_of(300);
    options.tolerance = 0.05;
    Training run(context, options);
    ASSERT_EQ(run.status, RELIHT_OK);
    EXPECT_TRUE(run.report.converged);
    EXPECT_LT(run.report.epochs, 300u);
    EXPECT_GT(run.evaluate(context).accuracy, 0.9);
}

TEST(FactoredTrain, EachFailedAllocationIsReported)
{
    for (bool tolerance : {false, true}) {
        size_t allocations = support::fail_each_allocation([&](reliht_context *context) {
            reliht_dataset *data = blobs(context);
            if (!data)
                return RELIHT_MEMORY;
            reliht_train_options options = options_of(1);
            options.tolerance = tolerance ? 1e-9 : 0;
            options.batch = 300;
            reliht_model *model;
            reliht_status status = reliht_train(context, data, &options, &model, nullptr);
            reliht_model_destroy(model);
            reliht_dataset_destroy(data);
            return status;
        });
        EXPECT_GT(allocations, 30u);
    }
}

// Gradients whose squares no float can hold, then one a million times smaller: the step stays a few
// times the step size.
TEST(FactoredTrain, VanishingGradientsTakeNoLongSteps)
{
    Context context;
    const float tiny = 1e-23f, x[1] = {1},
                targets[2][2] = {{0, 0}, {std::nextafter(tiny, 1.0f), 0}};
    const backend_operations *operations = context.handle->backend->operations;
    factored_problem problem = {};
    problem.hidden = problem.inputs = problem.samples = 1;
    problem.outputs = problem.nnz = 2;
    problem.loss = RELIHT_LOSS_MSE;
    problem.input_scale = problem.target_scale = 1;
    sparse hidden = {}, output = {};
    factored *model = nullptr;
    ASSERT_EQ(sparse_create(context, &hidden, 1, 1, 2), RELIHT_OK);
    ASSERT_EQ(sparse_create(context, &output, 1, 2, 2), RELIHT_OK);
    sparse_append(&hidden, 0, 0, 1.0f);
    sparse_append(&output, 0, 0, tiny);
    ASSERT_EQ(operations->factored_create(context.handle->backend, &problem, &model), RELIHT_OK);
    ASSERT_EQ(operations->factored_set_weights(model, &hidden, &output), RELIHT_OK);
    for (int step = 0; step < 2; step++) {
        reliht_dataset *dataset;
        batch *data;
        ASSERT_EQ(reliht_dataset_from_arrays(context, 1, 1, x, 2, targets[step], &dataset),
                  RELIHT_OK);
        ASSERT_EQ(operations->batch_create(context.handle->backend, dataset, false, 1, &data),
                  RELIHT_OK);
        ASSERT_EQ(operations->batch_load(data, nullptr, 1), RELIHT_OK);
        factored_step_options options = {};
        options.source = PATTERNS_WEIGHTS;
        options.keep_support = true;
        options.step_scale = step == 0 ? 1e-35 : 1.0;
        ASSERT_EQ(operations->factored_step(model, data, &options), RELIHT_OK);
        operations->batch_destroy(data);
        reliht_dataset_destroy(dataset);
    }
    ASSERT_EQ(operations->factored_get_weights(model, &hidden, &output), RELIHT_OK);
    ASSERT_EQ(output.nnz, 1u);
    EXPECT_LT(std::fabs(output.value[0]), 1.0f);
    operations->factored_destroy(model);
    sparse_destroy(context, &hidden);
    sparse_destroy(context, &output);
}
