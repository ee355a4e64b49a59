// Iterative magnitude pruning through the public interface: levels, targets, models and scores,
// against the whole procedure in double precision and by properties.
#include "oracle_dense.h"
#include "support.h"

extern "C" {
#include "solver/prune_plan.h"
}

#include <functional>
#include <limits>
#include <random>

using support::Context;

namespace
{

// Data in memory, also as rows for the oracle (without bias inputs; labels as one-hot targets).
struct Data {
    size_t samples, inputs, outputs;
    std::vector<float> x, y;
    std::vector<int32_t> labels; // empty: real targets

    static Data real(size_t samples, size_t inputs, size_t outputs, unsigned seed = 1)
    {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        Data data = {samples,
                     inputs,
                     outputs,
                     std::vector<float>(samples * inputs),
                     std::vector<float>(samples * outputs),
                     {}};
        for (float &v : data.x)
            v = normal(random);
        for (size_t i = 0; i < samples; i++)
            for (size_t k = 0; k < outputs; k++)
                data.y[i * outputs + k] = std::max(0.0f, data.x[i * inputs + k % inputs]) -
                                          0.5f * data.x[i * inputs + (k + 1) % inputs];
        return data;
    }
    // The class is the largest of the first inputs.
    static Data classes(size_t samples, size_t inputs, size_t count, unsigned seed = 1)
    {
        Data data = real(samples, inputs, count, seed);
        data.labels.resize(samples);
        for (size_t i = 0; i < samples; i++) {
            const float *row = &data.x[i * inputs];
            data.labels[i] = (int32_t)(std::max_element(row, row + count) - row);
            for (size_t k = 0; k < count; k++)
                data.y[i * count + k] = data.labels[i] == (int32_t)k;
        }
        return data;
    }
    reliht_dataset *make(reliht_context *context) const
    {
        reliht_dataset *dataset = nullptr;
        if (labels.empty())
            reliht_dataset_from_arrays(context, samples, inputs, x.data(), outputs, y.data(),
                                       &dataset);
        else
            reliht_dataset_from_labels(context, samples, inputs, x.data(), labels.data(), outputs,
                                       &dataset);
        return dataset;
    }
    oracle::Rows rows(const std::vector<float> &values, size_t columns, bool bias = false) const
    {
        oracle::Rows made;
        for (size_t i = 0; i < samples; i++) {
            made.emplace_back(&values[i * columns], &values[i * columns] + columns);
            if (bias)
                made.back().push_back(1);
        }
        return made;
    }
};

// A run and everything that comes of it.
struct Pruned {
    reliht_dataset *dataset;
    std::vector<size_t> nnz;
    std::vector<reliht_model *> models;
    std::vector<reliht_prune_target> results;
    reliht_prune_report report;
    reliht_status status;

    Pruned(reliht_context *context, const Data &data, std::vector<size_t> targets,
           const std::function<void(reliht_prune_options *)> &change = nullptr)
        : dataset(data.make(context)), nnz(std::move(targets)), models(nnz.size()),
          results(nnz.size())
    {
        reliht_prune_options options;
        reliht_prune_options_default(&options);
        options.hidden = 6;
        options.epochs = 3;
        options.nnz = nnz.data();
        options.targets = nnz.size();
        if (change)
            change(&options);
        status = reliht_prune(context, dataset, &options, models.data(), results.data(), &report);
    }
    ~Pruned()
    {
        for (reliht_model *model : models)
            reliht_model_destroy(model);
        reliht_dataset_destroy(dataset);
    }
    Pruned(const Pruned &) = delete;
    Pruned &operator=(const Pruned &) = delete;
};

struct Triplets {
    std::vector<uint32_t> neuron, column;
    std::vector<float> value;
    bool operator==(const Triplets &other) const
    {
        return neuron == other.neuron && column == other.column && value == other.value;
    }
};

Triplets weights_of(const reliht_model *model, size_t layer)
{
    size_t nnz = 0;
    reliht_model_weights(model, layer, 0, nullptr, nullptr, nullptr, &nnz);
    Triplets t = {std::vector<uint32_t>(nnz), std::vector<uint32_t>(nnz), std::vector<float>(nnz)};
    EXPECT_EQ(reliht_model_weights(model, layer, nnz, t.neuron.data(), t.column.data(),
                                   t.value.data(), &nnz),
              RELIHT_OK);
    return t;
}

void expect_equal_models(const reliht_model *a, const reliht_model *b)
{
    ASSERT_EQ(reliht_model_layers(a), reliht_model_layers(b));
    for (size_t l = 0; l <= reliht_model_layers(a); l++)
        EXPECT_TRUE(weights_of(a, l) == weights_of(b, l)) << "layer " << l;
}

dense_problem oracle_problem(const Data &data, size_t hidden, size_t layers, bool bias)
{
    dense_problem problem = {};
    problem.inputs = data.inputs + bias;
    problem.layers = layers;
    for (size_t l = 0; l < layers; l++)
        problem.hidden[l] = hidden;
    problem.outputs = data.outputs;
    problem.bias = bias;
    problem.loss = data.labels.empty() ? RELIHT_LOSS_MSE : RELIHT_LOSS_CROSS_ENTROPY;
    problem.learning_rate = 1e-3;
    problem.mean_decay = 0.9;
    problem.square_decay = 0.999;
    problem.epsilon = 1e-8;
    return problem;
}

// The oracle's network with the weights of a model.
oracle::Dense oracle_of(const reliht_model *model, const Data &data)
{
    oracle::Dense dense(oracle_problem(data, reliht_model_hidden(model, 0),
                                       reliht_model_layers(model), reliht_model_bias(model)));
    dense.w = dense.zeros();
    for (size_t l = 0; l < dense.w.size(); l++) {
        Triplets t = weights_of(model, l);
        for (size_t e = 0; e < t.value.size(); e++)
            dense.w[l][t.neuron[e]][t.column[e]] = t.value[e];
    }
    return dense;
}

std::vector<size_t> levels(size_t weights, std::vector<size_t> targets, double rate)
{
    prune_plan plan = prune_plan_begin(weights, targets.data(), targets.size(), rate);
    std::vector<size_t> made = {plan.left};
    size_t rest = prune_plan_rest(plan);
    while (prune_plan_next(&plan)) {
        made.push_back(plan.left);
        EXPECT_EQ(prune_plan_rest(plan), rest - (made.size() - 1));
        EXPECT_EQ(prune_plan_at_target(&plan),
                  std::count(targets.begin(), targets.end(), plan.left) == 1);
    }
    return made;
}

using Levels = std::vector<size_t>;

// Collects what a run reports, and ends it at report number `stop`.
struct Watcher {
    std::vector<reliht_progress> seen;
    size_t stop = SIZE_MAX;

    static bool look(void *user, const reliht_progress *progress)
    {
        auto *self = static_cast<Watcher *>(user);
        self->seen.push_back(*progress);
        return self->seen.size() <= self->stop;
    }
    void watch(reliht_prune_options *options)
    {
        options->progress = look;
        options->progress_user = this;
    }
};

} // namespace

// ---------------------------------------------------------------- levels

TEST(PrunePlan, SharesOfWhatIsLeftStopAtTargets)
{
    EXPECT_EQ(levels(100, {50}, 0.1), (Levels{100, 90, 81, 73, 66, 59, 53, 50}));
    EXPECT_EQ(levels(100, {70, 50}, 0.25), (Levels{100, 75, 70, 52, 50}));
    EXPECT_EQ(levels(10, {1}, 0.9), (Levels{10, 1}));
    EXPECT_EQ(levels(5, {1}, 0.001), (Levels{5, 4, 3, 2, 1})); // at least one weight goes
}

TEST(PrunePlan, OneRoundAndRoundsOfEqualRatio)
{
    EXPECT_EQ(levels(1000, {100, 10}, 0), (Levels{1000, 100, 10}));
    EXPECT_EQ(levels(10000, {10}, 3), (Levels{10000, 1000, 100, 10}));
    EXPECT_EQ(levels(10000, {500, 10}, 3), (Levels{10000, 1000, 500, 100, 10}));
    EXPECT_EQ(levels(10000, {10}, 1), (Levels{10000, 10}));
    EXPECT_EQ(levels(4, {2}, 1000), (Levels{4, 3, 2})); // rounds that would remove nothing go
}

TEST(PrunePlan, ATargetOfAllWeightsNeedsNoCut)
{
    for (double rate : {0.0, 0.1, 3.0}) {
        EXPECT_EQ(levels(100, {100}, rate), (Levels{100}));
        EXPECT_EQ(levels(100, {100, 99}, rate), (Levels{100, 99}));
    }
}

// ---------------------------------------------------------------- the whole procedure

// Train, cut, rewind, train again, in double precision: the same masks, nearly the same weights.
TEST(Prune, FollowsTheOracleThroughTheDescent)
{
    struct Case {
        Data data;
        size_t layers;
        bool bias;
    };
    for (const Case &c : {Case{Data::real(40, 5, 1), 1, false}, Case{Data::real(40, 5, 2), 2, true},
                          Case{Data::classes(60, 6, 3), 1, true}}) {
        Context context;
        Pruned run(context, c.data, {12, 20}, [&](reliht_prune_options *options) {
            options->layers = c.layers;
            options->bias = c.bias;
            options->rate = 0.3;
            options->epochs = 30;
            options->epochs_final = 40;
        });
        ASSERT_EQ(run.status, RELIHT_OK) << context.message();

        oracle::Dense dense(oracle_problem(c.data, 6, c.layers, c.bias));
        oracle::Rows x = c.data.rows(c.data.x, c.data.inputs, c.bias);
        oracle::Rows y = c.data.rows(c.data.y, c.data.outputs);
        auto train = [&](size_t steps) {
            std::vector<oracle::Rows> gradient;
            for (size_t t = 0; t < steps; t++) {
                dense.loss(x, y, &gradient);
                dense.adam(gradient);
            }
        };
        EXPECT_EQ(run.report.weights, dense.weights());
        Levels expected = levels(dense.weights(), {20, 12}, 0.3);
        train(30);
        EXPECT_NEAR(run.report.dense.train.loss, dense.loss(x, y), 1e-4);
        for (size_t r = 1; r < expected.size(); r++) {
            size_t target = expected[r] == 20 ? 1 : 0;
            bool at_target = expected[r] == 20 || expected[r] == 12;
            dense.prune(expected[r]);
            if (at_target) {
                EXPECT_NEAR(run.results[target].cut.train.loss, dense.loss(x, y), 1e-4);
            }
            dense.rewind();
            train(at_target ? 40 : 30);
            if (!at_target)
                continue;
            EXPECT_NEAR(run.results[target].loss_final, dense.loss(x, y), 1e-4);
            EXPECT_EQ(run.results[target].round, r);
            EXPECT_EQ(run.results[target].epochs, 40u);
            for (size_t l = 0; l < dense.w.size(); l++) {
                Triplets t = weights_of(run.models[target], l);
                size_t kept = 0;
                for (const auto &row : dense.mask[l])
                    kept += (size_t)std::count(row.begin(), row.end(), 1);
                EXPECT_EQ(t.value.size(), kept);
                for (size_t e = 0; e < t.value.size(); e++) {
                    EXPECT_TRUE(dense.mask[l][t.neuron[e]][t.column[e]]);
                    EXPECT_NEAR(t.value[e], dense.w[l][t.neuron[e]][t.column[e]], 1e-3);
                }
            }
        }
        EXPECT_EQ(run.report.rounds, expected.size() - 1);
        EXPECT_EQ(run.report.epochs, 30 * (expected.size() - 2) + 2 * 40);
    }
}

TEST(Prune, EveryLevelHasItsExactNumberOfWeights)
{
    Context context;
    Data data = Data::classes(50, 8, 3);
    Watcher watcher;
    Pruned run(context, data, {7, 30}, [&](reliht_prune_options *options) {
        options->batch = 16;
        watcher.watch(options);
    });
    ASSERT_EQ(run.status, RELIHT_OK);
    EXPECT_EQ(reliht_model_nnz(run.models[0]), 7u);
    EXPECT_EQ(reliht_model_nnz(run.models[1]), 30u);
    Levels expected = levels(66, {30, 7}, 0.1), seen;
    for (const reliht_progress &p : watcher.seen) {
        EXPECT_EQ(p.rounds, expected.size());
        EXPECT_EQ(p.nnz, expected[p.round]);
        if (p.epoch == p.epochs && p.batch == p.batches)
            seen.push_back(p.nnz);
    }
    EXPECT_EQ(seen, expected);
    // a report a step, one after each cut
    EXPECT_EQ(watcher.seen.size(), expected.size() * 3 * 4 + run.report.rounds);
}

TEST(Prune, TrainingLowersTheLoss)
{
    Context context;
    Data data = Data::classes(400, 10, 4), test = Data::classes(400, 10, 4, 2);
    reliht_dataset *held = test.make(context);
    Watcher watcher;
    Pruned run(context, data, {60}, [&](reliht_prune_options *options) {
        options->hidden = 30;
        options->epochs = 15;
        options->batch = 20;
        options->learning_rate = 5e-3;
        options->rate = 2;
        options->test = held;
        watcher.watch(options);
    });
    ASSERT_EQ(run.status, RELIHT_OK);
    double before = INFINITY;
    for (const reliht_progress &p : watcher.seen)
        if (p.epoch && p.epoch % 5 == 0 && p.batch == p.batches) {
            if (p.epoch == 5)
                before = INFINITY;
            EXPECT_LT(p.loss, before) << "round " << p.round << " epoch " << p.epoch;
            before = p.loss;
        }
    EXPECT_GT(run.report.dense.train.accuracy, 0.95);
    EXPECT_GT(run.report.dense.test.accuracy, 0.85);
    EXPECT_GT(run.results[0].cut.test.accuracy, 0.25);
    reliht_evaluation evaluation;
    ASSERT_EQ(reliht_model_evaluate(context, run.models[0], held, &evaluation), RELIHT_OK);
    EXPECT_GT(evaluation.accuracy, 0.8);
    EXPECT_GT(evaluation.accuracy, run.results[0].cut.test.accuracy);
    reliht_dataset_destroy(held);
}

// ---------------------------------------------------------------- targets

TEST(Prune, TheLargestOfSeveralTargetsIsAsIfAlone)
{
    Context context;
    Data data = Data::real(60, 7, 2);
    auto change = [](reliht_prune_options *options) {
        options->epochs_final = 5;
        options->batch = 25;
    };
    Pruned all(context, data, {10, 40, 25}, change), alone(context, data, {40}, change);
    ASSERT_EQ(all.status, RELIHT_OK);
    ASSERT_EQ(alone.status, RELIHT_OK);
    expect_equal_models(all.models[1], alone.models[0]);
    EXPECT_EQ(all.results[1].cut.train.loss, alone.results[0].cut.train.loss);
    EXPECT_EQ(all.results[1].loss_final, alone.results[0].loss_final);
    EXPECT_LT(all.results[1].round, all.results[2].round);
    EXPECT_LT(all.results[2].round, all.results[0].round);
}

TEST(Prune, MasksOfSmallerTargetsLieWithinThoseOfLarger)
{
    Context context;
    Pruned run(context, Data::real(60, 7, 2), {40, 25, 10});
    ASSERT_EQ(run.status, RELIHT_OK);
    for (size_t t = 1; t < 3; t++)
        for (size_t l = 0; l <= 1; l++) {
            Triplets outer = weights_of(run.models[t - 1], l), inner = weights_of(run.models[t], l);
            for (size_t e = 0; e < inner.value.size(); e++) {
                bool found = false;
                for (size_t o = 0; o < outer.value.size(); o++)
                    found |=
                        outer.neuron[o] == inner.neuron[e] && outer.column[o] == inner.column[e];
                EXPECT_TRUE(found);
            }
        }
}

TEST(Prune, AllWeightsAreATargetToo)
{
    Context context;
    Data data = Data::classes(80, 6, 3);
    Pruned run(context, data, {54, 20},
               [](reliht_prune_options *options) { options->epochs_final = 7; });
    ASSERT_EQ(run.status, RELIHT_OK) << context.message();
    EXPECT_EQ(reliht_model_nnz(run.models[0]), 54u);
    EXPECT_EQ(run.results[0].round, 0u);
    EXPECT_EQ(run.results[0].epochs, 7u);
    EXPECT_TRUE(std::isnan(run.results[0].cut.train.loss));
    EXPECT_NEAR(run.results[0].loss_final, run.report.dense.train.loss, 1e-6);
}

// ---------------------------------------------------------------- models

// The file, read back, predicts what the masked network does, whatever its form.
TEST(Prune, ModelsReadBackPredictAsTheMaskedNetwork)
{
    support::TemporaryDirectory folder;
    for (size_t layers : {1u, 3u})
        for (bool bias : {false, true})
            for (bool classes : {false, true}) {
                Context context;
                Data data = classes ? Data::classes(70, 6, 4) : Data::real(70, 6, 1);
                Pruned run(context, data, {25}, [&](reliht_prune_options *options) {
                    options->layers = layers;
                    options->bias = bias;
                });
                ASSERT_EQ(run.status, RELIHT_OK) << context.message();
                std::string path = folder.file("model.safetensors");
                ASSERT_EQ(reliht_model_write(context, run.models[0], path.c_str()), RELIHT_OK);
                reliht_model *model;
                ASSERT_EQ(reliht_model_read(context, path.c_str(), &model), RELIHT_OK)
                    << context.message();
                EXPECT_EQ(reliht_model_layers(model), layers);
                EXPECT_EQ(reliht_model_bias(model), bias);
                EXPECT_EQ(reliht_model_get_kind(model), RELIHT_FACTORED);
                EXPECT_EQ(reliht_model_nnz(model), 25u);
                EXPECT_NE(std::string(reliht_model_metadata(model)).find("\"solver\":\"imp\""),
                          std::string::npos);
                std::vector<float> y(data.samples * data.outputs);
                ASSERT_EQ(reliht_model_predict(context, model, run.dataset, y.data()), RELIHT_OK);
                oracle::Dense dense = oracle_of(run.models[0], data);
                oracle::Rows x = data.rows(data.x, data.inputs, bias);
                for (size_t i = 0; i < data.samples; i++)
                    for (size_t k = 0; k < data.outputs; k++)
                        EXPECT_NEAR(y[i * data.outputs + k], dense.forward(x[i]).back()[k], 1e-5);
                reliht_evaluation evaluation;
                ASSERT_EQ(reliht_model_evaluate(context, model, run.dataset, &evaluation),
                          RELIHT_OK);
                EXPECT_EQ(evaluation.loss, run.results[0].loss_final);
                reliht_model_destroy(model);
            }
}

TEST(Prune, ValidationChoosesTheBestEpoch)
{
    Context context;
    Data data = Data::classes(60, 10, 3);
    for (int32_t &label : data.labels) // noise: training on goes wrong
        label = (int32_t)((unsigned)label * 7919u % 3);
    Watcher watcher;
    Pruned run(context, data, {40}, [&](reliht_prune_options *options) {
        options->validation = 0.3;
        options->learning_rate = 0.05;
        options->epochs = 20;
        options->rate = 0;
        watcher.watch(options);
    });
    ASSERT_EQ(run.status, RELIHT_OK) << context.message();
    double best = INFINITY;
    size_t evaluations = 0;
    for (const reliht_progress &p : watcher.seen)
        if (p.round == 1 && p.epoch && !std::isnan(p.evaluation_loss)) {
            evaluations++;
            best = std::min(best, p.evaluation_loss);
        }
    EXPECT_EQ(evaluations, 20u);
    EXPECT_LT(best, watcher.seen.back().evaluation_loss); // the last epoch was not the best
    // the same run, ended at its best epoch and without looking further, has the same weights
    size_t best_epoch = 0;
    for (const reliht_progress &p : watcher.seen)
        if (p.round == 1 && p.epoch && p.evaluation_loss == best && !best_epoch)
            best_epoch = p.epoch;
    Pruned shorter(context, data, {40}, [&](reliht_prune_options *options) {
        options->validation = 0.3;
        options->learning_rate = 0.05;
        options->epochs = 20;
        options->epochs_final = best_epoch;
        options->rate = 0;
    });
    expect_equal_models(run.models[0], shorter.models[0]);
}

TEST(Prune, SameBitsForAnyNumberOfThreadsAndOthersForAnotherSeed)
{
    Data data = Data::classes(300, 12, 4);
    auto change = [](reliht_prune_options *options) {
        options->hidden = 40;
        options->batch = 64;
        options->layers = 2;
    };
    Context one(1), four(4);
    Pruned first(one, data, {100}, change), second(four, data, {100}, change);
    ASSERT_EQ(first.status, RELIHT_OK);
    ASSERT_EQ(second.status, RELIHT_OK);
    expect_equal_models(first.models[0], second.models[0]);
    EXPECT_EQ(first.report.dense.train.loss, second.report.dense.train.loss);
    Pruned other(one, data, {100}, [&](reliht_prune_options *options) {
        change(options);
        options->seed = 1;
    });
    EXPECT_FALSE(weights_of(first.models[0], 0) == weights_of(other.models[0], 0));
}

// ---------------------------------------------------------------- cancelling and failing

TEST(Prune, CancelledAnywhereItHandsOverEveryTarget)
{
    Data data = Data::real(50, 6, 2);
    Watcher whole;
    {
        Context context;
        Pruned run(context, data, {30, 8}, [&](reliht_prune_options *o) { whole.watch(o); });
        ASSERT_EQ(run.status, RELIHT_OK);
    }
    for (size_t stop = 0; stop < whole.seen.size(); stop++) {
        Context context;
        Watcher watcher;
        watcher.stop = stop;
        Pruned run(context, data, {30, 8}, [&](reliht_prune_options *o) { watcher.watch(o); });
        EXPECT_EQ(run.status, RELIHT_CANCELLED);
        EXPECT_EQ(watcher.seen.size(), stop + 1);
        for (size_t t = 0; t < 2; t++) {
            ASSERT_NE(run.models[t], nullptr);
            EXPECT_EQ(reliht_model_nnz(run.models[t]), run.nnz[t]) << "after report " << stop;
            EXPECT_TRUE(std::isfinite(run.results[t].loss_final));
            EXPECT_EQ(run.results[t].nnz, run.nnz[t]);
        }
    }
}

// A run that is ended right after the cut to a target hands over what was scored there.
TEST(Prune, CutScoresAreThoseOfTheCutNetwork)
{
    Data data = Data::classes(90, 8, 3), test = Data::classes(50, 8, 3, 9);
    Context context;
    reliht_dataset *held = test.make(context);
    Watcher watcher;
    watcher.stop = 3; // 3 epochs of one step, then the report of the cut
    Pruned run(context, data, {20}, [&](reliht_prune_options *options) {
        options->rate = 0;
        options->test = held;
        watcher.watch(options);
    });
    ASSERT_EQ(run.status, RELIHT_CANCELLED);
    EXPECT_EQ(run.results[0].epochs, 0u);
    reliht_evaluation evaluation;
    ASSERT_EQ(reliht_model_evaluate(context, run.models[0], held, &evaluation), RELIHT_OK);
    EXPECT_NEAR(run.results[0].cut.test.loss, evaluation.loss, 1e-6);
    EXPECT_NEAR(run.results[0].cut.test.accuracy, evaluation.accuracy, 1e-9);
    EXPECT_NEAR(run.results[0].cut.train.loss, run.results[0].loss_final, 1e-6);
    EXPECT_EQ(watcher.seen.back().evaluation_loss, run.results[0].cut.train.loss);
    reliht_dataset_destroy(held);
}

TEST(Prune, BadOptionsAreRefusedWithTheirNames)
{
    using Change = std::function<void(reliht_prune_options *)>;
    struct Case {
        const char *part; // of the message
        Change change;
    };
    static const size_t zero = 0, many = 43, twice[] = {5, 9, 5}, large = 3000000000u;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    std::vector<Case> cases = {
        {"hidden is 0", [](auto *o) { o->hidden = 0; }},
        {"hidden is 3000000000", [](auto *o) { o->hidden = large; }},
        {"layers is 0", [](auto *o) { o->layers = 0; }},
        {"layers is 65", [](auto *o) { o->layers = 65; }},
        {"epochs is 0", [](auto *o) { o->epochs = 0; }},
        {"epochs_final is 3000000000", [](auto *o) { o->epochs_final = large; }},
        {"batch is 3000000000", [](auto *o) { o->batch = large; }},
        {"no target", [](auto *o) { o->targets = 0; }},
        {"no target", [](auto *o) { o->nnz = nullptr; }},
        {"nnz is 0", [](auto *o) { o->nnz = &zero; }},
        {"nnz 43 is more than the 42 weights", [](auto *o) { o->nnz = &many; }},
        {"nnz 5 is given twice", [](auto *o) { o->nnz = twice; }},
        {"loss cross-entropy", [](auto *o) { o->loss = RELIHT_LOSS_CROSS_ENTROPY; }},
    };
    for (double rate : {-0.1, 0.0001, 1.5, 1001.0, (double)INFINITY, nan})
        cases.push_back({"pruning rate is", [rate](auto *o) { o->rate = rate; }});
    for (double step : {0.0, -1.0, 1e7, (double)INFINITY, nan})
        cases.push_back({"learning rate is", [step](auto *o) { o->learning_rate = step; }});
    for (double share : {-0.1, 1.0, nan})
        cases.push_back({"validation is", [share](auto *o) { o->validation = share; }});
    cases.push_back({"validation 0.001 of", [](auto *o) { o->validation = 0.001; }});
    const Data data = Data::real(30, 6, 1);
    for (const Case &c : cases) {
        Context context;
        Pruned run(context, data, {5, 9, 6}, c.change);
        EXPECT_EQ(run.status, RELIHT_ARGUMENT) << c.part;
        EXPECT_NE(context.message().find(c.part), std::string::npos) << context.message();
        for (const reliht_model *model : run.models)
            EXPECT_EQ(model, nullptr);
    }
    Context context;
    for (const Data &other : {Data::real(9, 5, 1), Data::real(9, 6, 2), Data::classes(9, 6, 3)}) {
        reliht_dataset *test = other.make(context);
        Pruned run(context, data, {5}, [&](auto *o) { o->test = test; });
        EXPECT_EQ(run.status, RELIHT_ARGUMENT);
        EXPECT_NE(context.message().find("test data"), std::string::npos) << context.message();
        reliht_dataset_destroy(test);
    }
    Pruned huge(context, data, {5}, [](auto *o) {
        o->hidden = RELIHT_MAX_DIMENSION - 1;
        o->layers = 3;
    });
    EXPECT_EQ(huge.status, RELIHT_MEMORY) << context.message();
}

TEST(Prune, LossesThatOverflowAreErrors)
{
    Context context;
    Data data = Data::real(30, 6, 1);
    for (float &y : data.y)
        y *= 1e30f;
    Pruned run(context, data, {5}, [](auto *o) { o->learning_rate = 1e6; });
    EXPECT_EQ(run.status, RELIHT_NUMERIC) << context.message();
    EXPECT_EQ(run.models[0], nullptr);
}

TEST(Prune, EveryAllocationMayFail)
{
    Data data = Data::classes(20, 5, 3);
    size_t allocations = support::fail_each_allocation([&](reliht_context *context) {
        reliht_dataset *dataset = data.make(context);
        if (!dataset)
            return RELIHT_MEMORY;
        const size_t nnz[] = {20, 30};
        reliht_model *models[2];
        reliht_prune_options options;
        reliht_prune_options_default(&options);
        options.hidden = 6;
        options.layers = 2;
        options.bias = true;
        options.epochs = 1;
        options.batch = 8;
        options.rate = 0;
        options.validation = 0.2;
        options.test = dataset;
        options.nnz = nnz;
        options.targets = 2;
        reliht_status status = reliht_prune(context, dataset, &options, models, nullptr, nullptr);
        EXPECT_EQ(models[0] == nullptr, status != RELIHT_OK);
        for (reliht_model *model : models)
            reliht_model_destroy(model);
        reliht_dataset_destroy(dataset);
        return status;
    });
    EXPECT_GT(allocations, 50u);
}

// Only the baseline holds arrays of all weights, and they are counted.
TEST(Prune, MemoryIsCounted)
{
    Context context;
    Pruned run(context, Data::real(64, 50, 1), {10}, [](auto *o) { o->hidden = 300; });
    ASSERT_EQ(run.status, RELIHT_OK);
    reliht_memory now, peak;
    reliht_context_memory(context, &now, &peak);
    uint64_t weights = 300 * 51;
    EXPECT_GE(peak.weights, 17 * weights); // four floats and a byte each
    EXPECT_LE(peak.weights, 17 * weights + 4096);
    EXPECT_LE(now.weights, 1024u);
}
