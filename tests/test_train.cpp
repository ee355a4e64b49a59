#include "oracle_fused.h"
#include "support.h"

extern "C" {
#include "backend/cpu/cpu.h"
#include "model/model.h"
}

#include <algorithm>
#include <random>

using oracle::Vector;
using support::Context;

namespace
{

// A planted scalar network with its generators known: planted rows first, then random ones.
struct Draw {
    oracle::Problem problem;
    Vector planted, generators;

    Draw(size_t samples, size_t inputs, size_t neurons, size_t others, size_t nnz, unsigned seed,
         bool disjoint)
    {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        size_t hidden = neurons + others;
        problem = {samples, inputs, hidden, nnz, Vector(samples * inputs), Vector(samples)};
        for (double &v : problem.x)
            v = normal(random);
        planted.resize(hidden * inputs);
        generators.resize(hidden * inputs);
        std::vector<size_t> order(inputs);
        std::iota(order.begin(), order.end(), 0u);
        std::shuffle(order.begin(), order.end(), random);
        for (size_t k = 0; k < nnz;) {
            size_t neuron = k % neurons;
            size_t input = disjoint ? order[k] : random() % inputs;
            double &w = planted[neuron * inputs + input];
            if (w != 0)
                continue;
            float value = normal(random);
            w = disjoint ? (value < 0 ? -1.0f : 1.0f) + value : value;
            k++;
        }
        for (size_t i = 0; i < planted.size(); i++)
            generators[i] = i < neurons * inputs ? planted[i] : normal(random);
        std::vector<char> active = oracle::patterns(problem, generators);
        Vector y = oracle::residual(problem, active, planted, false);
        for (size_t i = 0; i < samples; i++)
            problem.y[i] = (float)y[i];
    }

    bool has_duplicate_patterns() const
    {
        std::vector<char> active = oracle::patterns(problem, generators);
        for (size_t a = 0; a < problem.hidden; a++)
            for (size_t b = a + 1; b < problem.hidden; b++) {
                size_t differences = 0;
                for (size_t i = 0; i < problem.samples; i++)
                    differences += active[i * problem.hidden + a] != active[i * problem.hidden + b];
                if (differences == 0)
                    return true;
            }
        return false;
    }
};

reliht_dataset *dataset_of(reliht_context *context, const oracle::Problem &p)
{
    std::vector<float> x(p.x.begin(), p.x.end()), y(p.y.begin(), p.y.end());
    reliht_dataset *dataset;
    EXPECT_EQ(
        reliht_dataset_from_arrays(context, p.samples, p.inputs, x.data(), 1, y.data(), &dataset),
        RELIHT_OK);
    return dataset;
}

reliht_model *model_of(reliht_context *context, const oracle::Problem &p, const Vector &dense)
{
    reliht_model *model;
    EXPECT_EQ(model_create(context, RELIHT_FUSED, p.inputs, 1, false, &model), RELIHT_OK);
    EXPECT_EQ(sparse_create(context, &model->hidden[0], p.hidden, p.inputs, dense.size()),
              RELIHT_OK);
    model->layers = 1;
    for (size_t i = 0; i < dense.size(); i++)
        if (dense[i] != 0)
            sparse_append(&model->hidden[0], (uint32_t)(i / p.inputs), (uint32_t)(i % p.inputs),
                          (float)dense[i]);
    return model;
}

Vector dense_of(const reliht_model *model, size_t layer = 0)
{
    size_t columns =
        layer < reliht_model_layers(model)
            ? (layer ? reliht_model_hidden(model, layer - 1) : reliht_model_inputs(model)) +
                  reliht_model_bias(model)
            : reliht_model_outputs(model);
    size_t rows = reliht_model_hidden(model, std::min(layer, reliht_model_layers(model) - 1)), nnz;
    reliht_model_weights(model, layer, 0, nullptr, nullptr, nullptr, &nnz);
    std::vector<uint32_t> row(nnz), column(nnz);
    std::vector<float> value(nnz);
    EXPECT_EQ(
        reliht_model_weights(model, layer, nnz, row.data(), column.data(), value.data(), &nnz),
        RELIHT_OK);
    Vector dense(rows * columns);
    for (size_t k = 0; k < nnz; k++)
        dense[row[k] * columns + column[k]] = value[k];
    return dense;
}

double relative_error(const Vector &ours, const Vector &planted)
{
    double error = 0;
    for (size_t i = 0; i < planted.size(); i++)
        error += (ours[i] - planted[i]) * (ours[i] - planted[i]);
    return std::sqrt(error / oracle::squares(planted));
}

bool same_support(const Vector &a, const Vector &b)
{
    for (size_t i = 0; i < a.size(); i++)
        if ((a[i] != 0) != (b[i] != 0))
            return false;
    return true;
}

reliht_train_options options_for(const oracle::Problem &p)
{
    reliht_train_options options;
    reliht_train_options_default(&options);
    options.hidden = p.hidden;
    options.nnz = p.nnz;
    return options;
}

} // namespace

// The theorem's setting at its easiest: exactly the planted patterns, disjoint inputs, weights of
// size at least one.
TEST(Recovery, PlantedPatternsAreRecoveredExactly)
{
    for (unsigned seed = 0; seed < 20; seed++) {
        Draw draw(3000, 50, 5, 0, 20, seed, true);
        Context context;
        reliht_dataset *dataset = dataset_of(context, draw.problem);
        reliht_model *given = model_of(context, draw.problem, draw.generators), *model;
        reliht_train_options options = options_for(draw.problem);
        options.convex = true;
        options.epochs = 60;
        options.generators = given;
        ASSERT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_OK)
            << context.message();
        double recall, error;
        EXPECT_TRUE(same_support(dense_of(model), draw.planted)) << "seed " << seed;
        EXPECT_LT(relative_error(dense_of(model), draw.planted), 1e-5) << "seed " << seed;
        reliht_model *planted = model_of(context, draw.problem, draw.planted);
        ASSERT_EQ(reliht_model_compare(context, planted, model, &recall, &error), RELIHT_OK);
        EXPECT_EQ(recall, 1.0);
        EXPECT_LT(error, 1e-5);
        reliht_model_destroy(planted);
        reliht_model_destroy(model);
        reliht_model_destroy(given);
        reliht_dataset_destroy(dataset);
    }
}

// With random generators besides, recovery is not certain; it must not be rarer than for the same
// algorithm in double precision.
TEST(Recovery, IsNotRarerThanInDoublePrecision)
{
    struct {
        size_t inputs, neurons, others, nnz, samples;
    } settings[] = {{10, 2, 1, 4, 200}, {12, 3, 2, 6, 300}, {20, 3, 4, 6, 300}};
    for (const auto &s : settings) {
        int ours = 0, oracles = 0, excluded = 0, draws = 0;
        for (unsigned seed = 0; draws < 20; seed++) {
            Draw draw(s.samples, s.inputs, s.neurons, s.others, s.nnz, 100 + seed, false);
            if (draw.has_duplicate_patterns()) {
                excluded++;
                continue;
            }
            draws++;
            Context context;
            reliht_dataset *dataset = dataset_of(context, draw.problem);
            reliht_model *given = model_of(context, draw.problem, draw.generators), *model;
            reliht_train_options options = options_for(draw.problem);
            options.convex = true;
            options.epochs = 40;
            options.return_last = true;
            options.generators = given;
            ASSERT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_OK);
            ours += relative_error(dense_of(model), draw.planted) < 1e-4;
            Vector expected = oracle::run(draw.problem, draw.generators, 40, true);
            oracles += relative_error(expected, draw.planted) < 1e-4;
            reliht_model_destroy(model);
            reliht_model_destroy(given);
            reliht_dataset_destroy(dataset);
        }
        EXPECT_GE(ours, oracles) << "inputs " << s.inputs << ", excluded " << excluded;
        RecordProperty("recovered_" + std::to_string(s.inputs), ours);
        EXPECT_GT(oracles, 0);
    }
}

TEST(Train, SequentialRunFollowsTheOracle)
{
    Draw draw(400, 15, 4, 0, 8, 3, false);
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (double &v : draw.generators)
        v = normal(random);
    Context context;
    reliht_dataset *dataset = dataset_of(context, draw.problem);
    reliht_model *given = model_of(context, draw.problem, draw.generators), *model;
    reliht_train_options options = options_for(draw.problem);
    options.generators = given;
    options.epochs = 8;
    options.return_last = true;
    ASSERT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_OK);
    Vector expected = oracle::run(draw.problem, draw.generators, 8, false);
    EXPECT_LT(relative_error(dense_of(model), expected), 1e-3);
    reliht_model_destroy(model);
    reliht_model_destroy(given);
    reliht_dataset_destroy(dataset);
}

static Vector train_and_get(unsigned threads, size_t batch, size_t layers, bool bias, bool last,
                            double *loss = nullptr)
{
    Draw draw(700, 12, 6, 0, 20, 5, false);
    Context context(threads);
    reliht_dataset *dataset = dataset_of(context, draw.problem);
    reliht_train_options options = options_for(draw.problem);
    options.hidden = 30;
    options.batch = batch;
    options.layers = layers;
    options.bias = bias;
    options.return_last = last;
    options.epochs = 6;
    reliht_model *model;
    reliht_train_report report;
    EXPECT_EQ(reliht_train(context, dataset, &options, &model, &report), RELIHT_OK)
        << context.message();
    if (loss)
        *loss = report.loss_final;
    Vector all;
    for (size_t layer = 0; layer < layers; layer++) {
        Vector dense = dense_of(model, layer);
        all.insert(all.end(), dense.begin(), dense.end());
    }
    reliht_model_destroy(model);
    reliht_dataset_destroy(dataset);
    return all;
}

TEST(Train, SameBitsForAnyNumberOfThreads)
{
    for (size_t batch : {0u, 128u})
        for (size_t layers : {1u, 2u}) {
            Vector one = train_and_get(1, batch, layers, true, false);
            EXPECT_EQ(one, train_and_get(2, batch, layers, true, false));
            EXPECT_EQ(one, train_and_get(3, batch, layers, true, false));
            EXPECT_GT(oracle::squares(one), 0);
        }
}

TEST(Train, EveryLayerReadsTheOneBefore)
{
    Draw draw(700, 12, 6, 0, 20, 5, false);
    Context context;
    reliht_dataset *dataset = dataset_of(context, draw.problem);
    for (size_t layers : {3u, 4u}) {
        reliht_train_options options = options_for(draw.problem);
        options.hidden = 30;
        options.nnz = 20 * layers;
        options.layers = layers;
        options.validation = 0.2;
        reliht_model *model;
        ASSERT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_OK)
            << context.message();
        ASSERT_EQ(reliht_model_layers(model), layers);
        // every column that a layer reads is a neuron with weights in the layer before
        for (size_t layer = 1; layer < layers; layer++) {
            Vector below = dense_of(model, layer - 1), above = dense_of(model, layer);
            size_t inputs = below.size() / 30;
            ASSERT_EQ(above.size(), 30u * 30u);
            for (size_t i = 0; i < above.size(); i++)
                if (above[i] != 0) {
                    size_t row = i % 30;
                    EXPECT_TRUE(std::any_of(below.begin() + (long)(row * inputs),
                                            below.begin() + (long)((row + 1) * inputs),
                                            [](double weight) { return weight != 0; }));
                }
        }
        reliht_model_destroy(model);
    }
    reliht_dataset_destroy(dataset);
}

TEST(Train, BestIsNotWorseThanLast)
{
    for (size_t batch : {0u, 100u}) {
        double best, last;
        train_and_get(2, batch, 1, false, false, &best);
        train_and_get(2, batch, 1, false, true, &last);
        EXPECT_LE(best, last * (1 + 1e-6));
    }
}

TEST(Train, ValidationChoosesWithoutTouchingTheBudget)
{
    Draw draw(600, 10, 3, 0, 9, 8, false);
    Context context;
    reliht_dataset *dataset = dataset_of(context, draw.problem);
    reliht_train_options options = options_for(draw.problem);
    options.validation = 0.25;
    reliht_model *model;
    ASSERT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_OK);
    EXPECT_LE(reliht_model_nnz(model), 9u);
    reliht_model_destroy(model);
    reliht_dataset_destroy(dataset);
}

TEST(Train, ToleranceStopsEarly)
{
    Draw draw(500, 30, 3, 0, 9, 2, true);
    Context context;
    reliht_dataset *dataset = dataset_of(context, draw.problem);
    reliht_model *given = model_of(context, draw.problem, draw.generators), *model;
    reliht_train_options options = options_for(draw.problem);
    options.convex = true;
    options.epochs = 500;
    options.tolerance = 1e-5;
    options.generators = given;
    reliht_train_report report;
    ASSERT_EQ(reliht_train(context, dataset, &options, &model, &report), RELIHT_OK);
    EXPECT_TRUE(report.converged);
    EXPECT_LT(report.epochs, 100u);
    EXPECT_LT(relative_error(dense_of(model), draw.planted), 1e-4);
    reliht_model_destroy(model);
    reliht_model_destroy(given);
    reliht_dataset_destroy(dataset);
}

TEST(Train, CancellingHandsOverTheBestSoFar)
{
    Draw draw(300, 10, 4, 0, 8, 6, false);
    Context context;
    reliht_dataset *dataset = dataset_of(context, draw.problem);
    reliht_train_options options = options_for(draw.problem);
    options.epochs = 1000;
    size_t calls = 0;
    options.progress_user = &calls;
    options.progress = [](void *user, const reliht_progress *progress) {
        EXPECT_EQ(progress->epochs, 1000u);
        return ++*(size_t *)user < 5;
    };
    reliht_model *model;
    EXPECT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_CANCELLED);
    EXPECT_EQ(calls, 5u);
    ASSERT_NE(model, nullptr);
    EXPECT_GT(reliht_model_nnz(model), 0u);
    reliht_model_destroy(model);
    reliht_dataset_destroy(dataset);
}

TEST(Train, ProgressTellsTheLossOfEveryBatchWhateverItsSize)
{
    // No input says anything: the weights stay zero, and every target of 1 is a loss of 1.
    Context context;
    const size_t samples = 10;
    std::vector<float> x(samples), y(samples, 1.0f);
    reliht_dataset *dataset;
    ASSERT_EQ(reliht_dataset_from_arrays(context, samples, 1, x.data(), 1, y.data(), &dataset),
              RELIHT_OK);
    reliht_train_options options;
    reliht_train_options_default(&options);
    options.hidden = options.nnz = options.epochs = 1;
    options.batch = 4;
    std::vector<double> losses;
    options.progress_user = &losses;
    options.progress = [](void *user, const reliht_progress *progress) {
        ((std::vector<double> *)user)->push_back(progress->loss);
        return true;
    };
    reliht_model *model;
    ASSERT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_OK);
    EXPECT_EQ(losses, std::vector<double>(3, 1.0));
    reliht_model_destroy(model);
    reliht_dataset_destroy(dataset);
}

TEST(Train, ABatchWithoutSignalDoesNotEndARunThatStillDraws)
{
    Context context;
    const std::vector<float> x = {0, 1}, y = {1, 1};
    reliht_dataset *dataset;
    ASSERT_EQ(reliht_dataset_from_arrays(context, 2, 1, x.data(), 1, y.data(), &dataset),
              RELIHT_OK);
    reliht_train_options options;
    reliht_train_options_default(&options);
    options.hidden = 8;
    options.nnz = 1;
    options.batch = 1;
    options.epochs = 2;
    for (options.seed = 0; options.seed < 8; options.seed++) { /* either order of the samples */
        reliht_model *model;
        ASSERT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_OK);
        EXPECT_EQ(reliht_model_nnz(model), 1u) << "seed " << options.seed;
        reliht_model_destroy(model);
    }
    reliht_dataset_destroy(dataset);
}

TEST(Train, ScalesWithItsTargets)
{
    Draw draw(400, 10, 4, 0, 8, 12, false);
    oracle::Problem larger = draw.problem;
    for (double &v : larger.y)
        v *= 8;
    Vector results[2];
    const oracle::Problem *problems[] = {&draw.problem, &larger};
    for (int i = 0; i < 2; i++) {
        Context context;
        reliht_dataset *dataset = dataset_of(context, *problems[i]);
        reliht_train_options options = options_for(draw.problem);
        options.epochs = 5;
        options.return_last = true;
        reliht_model *model;
        ASSERT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_OK);
        results[i] = dense_of(model);
        reliht_model_destroy(model);
        reliht_dataset_destroy(dataset);
    }
    for (size_t i = 0; i < results[0].size(); i++)
        EXPECT_NEAR(8 * results[0][i], results[1][i], 1e-3);
}

TEST(Train, WrongOptionsAreExplained)
{
    Draw draw(50, 4, 2, 0, 3, 1, false);
    Context context;
    reliht_dataset *dataset = dataset_of(context, draw.problem);
    struct {
        void (*spoil)(reliht_train_options *);
        const char *word;
    } cases[] = {
        {[](reliht_train_options *o) { o->hidden = 0; }, "hidden"},
        {[](reliht_train_options *o) { o->nnz = 0; }, "nnz"},
        {[](reliht_train_options *o) { o->nnz = 9; }, "nnz 9"},
        {[](reliht_train_options *o) { o->epochs = 0; }, "epochs"},
        {[](reliht_train_options *o) { o->layers = 0; }, "layers"},
        {[](reliht_train_options *o) { o->layers = 65; }, "layers"},
        {[](reliht_train_options *o) { o->layers = 5; }, "layers"},
        {[](reliht_train_options *o) { o->hidden = (size_t)1 << 40; }, "hidden"},
        {[](reliht_train_options *o) { o->validation = 1; }, "validation"},
        {[](reliht_train_options *o) { o->validation = 0.001; }, "validation"},
        {[](reliht_train_options *o) { o->validation = NAN; }, "validation"},
        {[](reliht_train_options *o) { o->tolerance = -1; }, "tolerance"},
        {[](reliht_train_options *o) { o->loss = RELIHT_LOSS_CROSS_ENTROPY; }, "cross-entropy"},
    };
    for (const auto &c : cases) {
        reliht_train_options options = options_for(draw.problem);
        c.spoil(&options);
        reliht_model *model;
        EXPECT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_ARGUMENT)
            << c.word;
        EXPECT_EQ(model, nullptr);
        EXPECT_NE(context.message().find(c.word), std::string::npos) << context.message();
    }
    Draw wider(50, 5, 3, 0, 3, 1, false);
    reliht_model *given = model_of(context, wider.problem, wider.generators), *model;
    reliht_train_options options = options_for(draw.problem);
    options.generators = given;
    EXPECT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_ARGUMENT);
    EXPECT_NE(context.message().find("generators"), std::string::npos);
    reliht_model_destroy(given);
    reliht_dataset_destroy(dataset);
}

TEST(Train, EveryFailedAllocationIsClean)
{
    Draw draw(100, 6, 3, 0, 6, 1, false);
    for (size_t batch : {0u, 40u}) {
        size_t allocations = support::fail_each_allocation([&](reliht_context *context) {
            std::vector<float> x(draw.problem.x.begin(), draw.problem.x.end());
            std::vector<float> y(draw.problem.y.begin(), draw.problem.y.end());
            reliht_dataset *dataset;
            reliht_model *model = nullptr;
            reliht_status status =
                reliht_dataset_from_arrays(context, 100, 6, x.data(), 1, y.data(), &dataset);
            reliht_train_options options = options_for(draw.problem);
            options.batch = batch;
            options.layers = 2;
            options.validation = 0.2;
            options.epochs = 4;
            if (!status)
                status = reliht_train(context, dataset, &options, &model, nullptr);
            EXPECT_TRUE(status || model);
            reliht_model_destroy(model);
            reliht_dataset_destroy(dataset);
            return status;
        });
        EXPECT_GT(allocations, 30u);
    }
}

// Memory grows with nnz; with hidden only patterns of a tile may, up to the tile's size.
TEST(Train, MemoryDoesNotGrowWithHidden)
{
    Draw draw(200, 8, 3, 0, 6, 1, false);
    reliht_memory peaks[3];
    size_t hidden[3] = {10000, 100000, 1000000};
    for (int i = 0; i < 3; i++) {
        Context context;
        reliht_dataset *dataset = dataset_of(context, draw.problem);
        reliht_train_options options = options_for(draw.problem);
        options.hidden = hidden[i];
        options.nnz = 500;
        options.epochs = 2;
        options.generator = RELIHT_GENERATOR_SPARSE;
        reliht_model *model;
        ASSERT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_OK);
        reliht_context_memory(context, nullptr, &peaks[i]);
        reliht_model_destroy(model);
        reliht_dataset_destroy(dataset);
    }
    for (int i = 1; i < 3; i++) {
        EXPECT_EQ(peaks[i].weights, peaks[0].weights);
        EXPECT_EQ(peaks[i].candidates, peaks[0].candidates);
        EXPECT_EQ(peaks[i].patterns, peaks[0].patterns);
        EXPECT_EQ(peaks[i].importance, 0u);
        EXPECT_LE(peaks[i].total, peaks[0].total + 8 * (hidden[i] - hidden[0]));
    }
    EXPECT_LT(peaks[2].total, 20u << 20);
}

TEST(Sense, RecoversGaussianMeasurementsExactly)
{
    for (uint64_t seed = 0; seed < 5; seed++) {
        Context context;
        reliht_sense_options options;
        reliht_sense_options_default(&options);
        options.length = 400;
        options.nnz = 8;
        options.measurements = 150;
        options.epochs = 30;
        options.seed = seed;
        reliht_sense_report report;
        ASSERT_EQ(reliht_sense(context, &options, &report), RELIHT_OK) << context.message();
        EXPECT_EQ(report.support_recall, 1.0) << seed;
        EXPECT_LT(report.weight_rel_error, 1e-6) << seed;
        EXPECT_EQ(report.nnz_used, 8u);
    }
}

TEST(Sense, SameBitsForAnyNumberOfThreadsAndLongVectors)
{
    double errors[3];
    for (unsigned threads = 1; threads <= 3; threads++) {
        Context context(threads);
        reliht_sense_options options;
        reliht_sense_options_default(&options);
        options.length = 3001;
        options.measurements = 150;
        options.epochs = 6;
        options.nnz = 12;
        reliht_sense_report report;
        ASSERT_EQ(reliht_sense(context, &options, &report), RELIHT_OK);
        errors[threads - 1] = report.weight_rel_error;
    }
    EXPECT_EQ(errors[0], errors[1]);
    EXPECT_EQ(errors[0], errors[2]);
}

TEST(Sense, BadOptionsFailedAllocationsAndCancelling)
{
    Context context;
    reliht_sense_options options;
    reliht_sense_report report;
    reliht_sense_options_default(&options);
    options.nnz = 2000;
    EXPECT_EQ(reliht_sense(context, &options, &report), RELIHT_ARGUMENT);
    EXPECT_NE(context.message().find("nnz 2000"), std::string::npos);
    options.nnz = 0;
    EXPECT_EQ(reliht_sense(context, &options, &report), RELIHT_ARGUMENT);
    reliht_sense_options_default(&options);
    options.tolerance = 1e-4;
    options.epochs = 1000;
    ASSERT_EQ(reliht_sense(context, &options, &report), RELIHT_OK);
    EXPECT_TRUE(report.converged);
    options.progress = [](void *, const reliht_progress *progress) { return progress->epoch < 2; };
    EXPECT_EQ(reliht_sense(context, &options, &report), RELIHT_CANCELLED);
    EXPECT_EQ(report.epochs, 2u);
    reliht_sense_options_default(&options);
    support::fail_each_allocation(
        [&](reliht_context *failing) { return reliht_sense(failing, &options, &report); });
}
