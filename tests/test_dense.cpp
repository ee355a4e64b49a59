// The dense baseline of the backend against the oracle in double precision: one step of each kind
// (forward, backward, Adam, prune, rewind, predict), for every form of data and network.
#include "oracle_dense.h"
#include "support.h"

#include <random>

using support::Context;

namespace
{

enum class Targets { real, labels, two_classes };

struct Case {
    const char *name;
    size_t inputs; // without the bias input
    std::vector<size_t> hidden;
    size_t outputs;
    bool bias;
    Targets targets;
    reliht_loss loss;
    size_t samples, batch;
};

const std::vector<Case> &cases()
{
    const reliht_loss mse = RELIHT_LOSS_MSE, entropy = RELIHT_LOSS_CROSS_ENTROPY;
    static const std::vector<Case> all = {
        {"smallest", 1, {1}, 1, false, Targets::real, mse, 1, 1},
        {"scalar", 7, {11}, 1, false, Targets::real, mse, 130, 130},
        {"scalar with bias", 7, {11}, 1, true, Targets::real, mse, 130, 50},
        {"two classes", 9, {10}, 1, false, Targets::two_classes, mse, 64, 64},
        {"classes", 30, {20}, 5, true, Targets::labels, entropy, 200, 70},
        {"classes by mse", 12, {9}, 4, false, Targets::labels, mse, 90, 90},
        {"deep", 10, {12, 8, 9}, 3, false, Targets::real, mse, 100, 33},
        {"deep with bias", 10, {12, 8}, 4, true, Targets::labels, entropy, 100, 64},
        {"many samples", 5, {6, 4}, 2, true, Targets::real, mse, 3000, 3000},
        {"several tiles", 300, {140}, 2, false, Targets::real, mse, 70, 70},
    };
    return all;
}

dense_problem problem_of(const Case &c)
{
    dense_problem problem = {};
    problem.inputs = c.inputs + c.bias;
    problem.layers = c.hidden.size();
    std::copy(c.hidden.begin(), c.hidden.end(), problem.hidden);
    problem.outputs = c.outputs;
    problem.bias = c.bias;
    problem.samples = c.batch;
    problem.loss = c.loss;
    problem.learning_rate = 1e-3;
    problem.mean_decay = 0.9;
    problem.square_decay = 0.999;
    problem.epsilon = 1e-8;
    problem.seed = 17;
    return problem;
}

// Data, a network of the backend and the oracle beside it.
struct Pair {
    reliht_context *context;
    const Case &c;
    dense_problem problem;
    oracle::Dense expected;
    oracle::Rows x, targets; // of the oracle: with the bias input, one-hot
    reliht_dataset *dataset = nullptr;
    dense_network *network = nullptr;
    batch *data = nullptr;
    std::vector<sparse> weights;

    Pair(reliht_context *on, const Case &which, const dense_problem &p)
        : context(on), c(which), problem(p), expected(p), weights(p.layers + 1)
    {
        make_data();
        const backend_operations *operations = context->backend->operations;
        EXPECT_EQ(operations->dense_create(context->backend, &problem, &network), RELIHT_OK);
        EXPECT_EQ(operations->batch_create(context->backend, dataset, c.bias, c.batch, &data),
                  RELIHT_OK);
        for (size_t l = 0; l <= problem.layers; l++) {
            size_t rows = expected.w[l].size(), columns = expected.w[l][0].size();
            EXPECT_EQ(sparse_create(context, &weights[l], rows, columns, rows * columns),
                      RELIHT_OK);
        }
    }
    Pair(const Pair &) = delete;
    Pair &operator=(const Pair &) = delete;
    ~Pair()
    {
        for (sparse &matrix : weights)
            sparse_destroy(context, &matrix);
        operations()->dense_destroy(network);
        operations()->batch_destroy(data);
        reliht_dataset_destroy(dataset);
    }
    const backend_operations *operations() const
    {
        return context->backend->operations;
    }

    void make_data()
    {
        std::mt19937 random(5);
        std::normal_distribution<float> normal;
        size_t classes = c.targets == Targets::two_classes ? 2 : c.outputs;
        std::vector<float> inputs(c.samples * c.inputs), values(c.samples * c.outputs);
        std::vector<int32_t> labels(c.samples);
        for (float &v : inputs)
            v = normal(random);
        for (float &v : values)
            v = normal(random);
        for (int32_t &label : labels)
            label = (int32_t)(random() % classes);
        for (size_t i = 0; i < c.samples; i++) {
            x.emplace_back(&inputs[i * c.inputs], &inputs[i * c.inputs] + c.inputs);
            if (c.bias)
                x[i].push_back(1);
            targets.emplace_back(c.outputs);
            for (size_t k = 0; k < c.outputs; k++)
                targets[i][k] = c.targets == Targets::real     ? values[i * c.outputs + k]
                                : c.targets == Targets::labels ? labels[i] == (int32_t)k
                                                               : labels[i];
        }
        if (c.targets == Targets::real)
            EXPECT_EQ(reliht_dataset_from_arrays(context, c.samples, c.inputs, inputs.data(),
                                                 c.outputs, values.data(), &dataset),
                      RELIHT_OK);
        else
            EXPECT_EQ(reliht_dataset_from_labels(context, c.samples, c.inputs, inputs.data(),
                                                 labels.data(), classes, &dataset),
                      RELIHT_OK);
    }

    // Loads batch number b into the backend; the oracle's rows of it come back.
    void load(size_t b, oracle::Rows *batch_x, oracle::Rows *batch_targets) const
    {
        size_t first = b * c.batch % c.samples;
        size_t count = std::min(c.batch, c.samples - first);
        std::vector<uint32_t> rows(count);
        batch_x->clear();
        batch_targets->clear();
        for (size_t i = 0; i < count; i++) {
            rows[i] = (uint32_t)(first + i);
            batch_x->push_back(x[first + i]);
            batch_targets->push_back(targets[first + i]);
        }
        bool whole = c.batch == c.samples;
        EXPECT_EQ(operations()->batch_load(data, whole ? nullptr : rows.data(), count), RELIHT_OK);
    }

    // A step of both; the reported loss must be the oracle's. Returns the oracle's gradient.
    std::vector<oracle::Rows> step(size_t b)
    {
        oracle::Rows batch_x, batch_targets;
        std::vector<oracle::Rows> gradient;
        load(b, &batch_x, &batch_targets);
        double loss = expected.loss(batch_x, batch_targets, &gradient);
        dense_report report;
        EXPECT_EQ(operations()->dense_step(network, data), RELIHT_OK);
        EXPECT_EQ(operations()->dense_report(network, &report), RELIHT_OK);
        EXPECT_NEAR(report.loss, loss, 1e-5 * (1 + loss)) << c.name;
        EXPECT_EQ(report.samples, batch_x.size()) << c.name;
        expected.adam(gradient);
        return gradient;
    }

    std::vector<oracle::Rows> read()
    {
        std::vector<oracle::Rows> made = expected.zeros();
        EXPECT_EQ(operations()->dense_get_weights(network, weights.data()), RELIHT_OK);
        for (size_t l = 0; l < made.size(); l++)
            for (size_t j = 0; j < weights[l].live; j++)
                for (size_t e = weights[l].start[j]; e < weights[l].start[j + 1]; e++)
                    made[l][weights[l].row[j]][weights[l].column[e]] = weights[l].value[e];
        return made;
    }

    size_t entries() const
    {
        size_t count = 0;
        for (const sparse &matrix : weights)
            count += matrix.nnz;
        return count;
    }

    template <typename Check> void each_weight(Check check)
    {
        std::vector<oracle::Rows> got = read();
        for (size_t l = 0; l < got.size(); l++)
            for (size_t j = 0; j < got[l].size(); j++)
                for (size_t k = 0; k < got[l][j].size(); k++)
                    check(got[l][j][k], l, j, k);
    }

    void expect_same_weights(double tolerance)
    {
        double worst = 0;
        each_weight([&](double value, size_t l, size_t j, size_t k) {
            worst = std::max(worst, std::abs(value - expected.w[l][j][k]));
        });
        EXPECT_LE(worst, tolerance) << c.name;
    }
};

} // namespace

TEST(Dense, BeginsAsDocumentedToTheBit)
{
    for (const Case &c : cases()) {
        Context context;
        Pair pair(context, c, problem_of(c));
        pair.expect_same_weights(0);
        EXPECT_EQ(pair.entries(), pair.expected.weights()) << c.name;
    }
}

TEST(Dense, FirstWeightsAreUniformWithinTheBoundsOfLinear)
{
    const Case wide = {"wide", 100, {400}, 25, false, Targets::real, RELIHT_LOSS_MSE, 1, 1};
    Context context;
    Pair pair(context, wide, problem_of(wide));
    double sum[2] = {0, 0}, squares[2] = {0, 0}, count[2] = {40000, 10000};
    const double bound[2] = {0.1, 0.05};
    pair.each_weight([&](double value, size_t l, size_t, size_t) {
        EXPECT_LE(std::abs(value), bound[l] * (1 + 1e-7));
        sum[l] += value / bound[l];
        squares[l] += value * value / (bound[l] * bound[l]);
    });
    for (size_t l = 0; l < 2; l++) {
        EXPECT_NEAR(sum[l] / count[l], 0, 0.02);
        EXPECT_NEAR(squares[l] / count[l], 1.0 / 3, 0.01);
    }
}

// The oracle's gradient is that of its loss: everything else is held to it.
TEST(Dense, OracleGradientIsThatOfFiniteDifferences)
{
    for (const Case &c : cases()) {
        if (c.inputs > 100)
            continue;
        Context context;
        Pair pair(context, c, problem_of(c));
        oracle::Rows x(pair.x.begin(), pair.x.begin() + (long)std::min<size_t>(c.samples, 20));
        oracle::Rows t(pair.targets.begin(), pair.targets.begin() + (long)x.size());
        std::vector<oracle::Rows> gradient;
        pair.expected.loss(x, t, &gradient);
        const double h = 1e-7;
        for (size_t l = 0; l < gradient.size(); l++)
            for (size_t j = 0; j < gradient[l].size(); j++)
                for (size_t k = 0; k < gradient[l][j].size(); k++) {
                    double &weight = pair.expected.w[l][j][k], kept = weight;
                    weight = kept + h;
                    double above = pair.expected.loss(x, t);
                    weight = kept - h;
                    double below = pair.expected.loss(x, t);
                    weight = kept;
                    EXPECT_NEAR((above - below) / (2 * h), gradient[l][j][k], 2e-6)
                        << c.name << ": matrix " << l << ", " << j << ", " << k;
                }
    }
}

// With b1 = 0 and an epsilon that drowns the root, a step of Adam subtracts the gradient itself.
TEST(Dense, GradientIsTheOracles)
{
    for (const Case &c : cases()) {
        Context context;
        dense_problem problem = problem_of(c);
        problem.mean_decay = 0;
        problem.epsilon = problem.learning_rate = 1e6;
        Pair pair(context, c, problem);
        pair.step(0);
        pair.expect_same_weights(2e-6);
        pair.step(1);
        pair.expect_same_weights(4e-6);
    }
}

TEST(Dense, StepsOfAdamAreTheOracles)
{
    for (const Case &c : cases()) {
        Context context;
        Pair pair(context, c, problem_of(c));
        std::vector<oracle::Rows> certain = pair.expected.zeros(); // 1 where rounding decides
        for (size_t t = 0; t < 5; t++) {
            std::vector<oracle::Rows> gradient = pair.step(t);
            for (size_t l = 0; l < certain.size(); l++)
                for (size_t j = 0; j < certain[l].size(); j++)
                    for (size_t k = 0; k < certain[l][j].size(); k++)
                        if (gradient[l][j][k] != 0 && std::abs(gradient[l][j][k]) < 1e-4)
                            certain[l][j][k] = 1;
        }
        pair.each_weight([&](double value, size_t l, size_t j, size_t k) {
            if (certain[l][j][k] == 0) {
                EXPECT_NEAR(value, pair.expected.w[l][j][k], 2e-6) << c.name;
            }
        });
    }
}

TEST(Dense, PruningKeepsExactlyTheLargest)
{
    for (const Case &c : cases()) {
        Context context;
        Pair pair(context, c, problem_of(c));
        for (double share : {1.0, 0.8, 0.5, 0.13, 0.0}) {
            size_t keep = std::max<size_t>(1, (size_t)(share * (double)pair.expected.weights()));
            pair.expected.prune(keep);
            ASSERT_EQ(pair.operations()->dense_prune(pair.network, keep), RELIHT_OK);
            pair.expect_same_weights(0);
            EXPECT_EQ(pair.entries(), keep) << c.name;
        }
    }
}

// 23 bits make many equal magnitudes among 42280 weights: of a tie the lower place stays.
TEST(Dense, PruningBreaksTiesByPlace)
{
    const Case &c = cases().back();
    Context context;
    Pair pair(context, c, problem_of(c));
    std::vector<double> magnitudes;
    pair.each_weight(
        [&](double value, size_t, size_t, size_t) { magnitudes.push_back(std::abs(value)); });
    std::sort(magnitudes.rbegin(), magnitudes.rend());
    size_t ties = 0;
    for (size_t keep = magnitudes.size() - 1; keep > 0; keep--) {
        if (magnitudes[keep] != magnitudes[keep - 1])
            continue;
        ties++;
        pair.expected.prune(keep);
        ASSERT_EQ(pair.operations()->dense_prune(pair.network, keep), RELIHT_OK);
        pair.expect_same_weights(0);
    }
    EXPECT_GE(ties, 10u);
}

TEST(Dense, PrunedWeightsStayZeroAndRewindingRestoresTheRest)
{
    for (const Case &c : cases()) {
        Context context;
        Pair pair(context, c, problem_of(c));
        size_t keep = (pair.expected.weights() + 1) / 2;
        pair.step(0);
        ASSERT_EQ(pair.operations()->dense_prune(pair.network, keep), RELIHT_OK);
        pair.each_weight([&](double value, size_t l, size_t j, size_t k) {
            pair.expected.mask[l][j][k] = value != 0;
            pair.expected.w[l][j][k] = value;
        });
        pair.step(1);
        pair.each_weight([&](double value, size_t l, size_t j, size_t k) {
            if (!pair.expected.mask[l][j][k]) {
                EXPECT_EQ(value, 0) << c.name;
            }
        });
        ASSERT_EQ(pair.operations()->dense_rewind(pair.network), RELIHT_OK);
        pair.expected.rewind();
        pair.expect_same_weights(0);
        pair.step(2); // Adam begins anew: the means of the steps before are gone
        pair.each_weight([&](double value, size_t l, size_t j, size_t k) {
            EXPECT_LE(std::abs(value - pair.expected.w[l][j][k]), 2.1e-3) << c.name;
        });
        EXPECT_EQ(pair.entries(), keep) << c.name;
    }
}

TEST(Dense, PredictsAsTheOracle)
{
    for (const Case &c : cases()) {
        Context context;
        Pair pair(context, c, problem_of(c));
        ASSERT_EQ(pair.operations()->dense_prune(pair.network, (pair.expected.weights() + 2) / 3),
                  RELIHT_OK);
        pair.expected.w = pair.read();
        oracle::Rows x, targets;
        pair.load(0, &x, &targets);
        std::vector<float> y(x.size() * c.outputs);
        ASSERT_EQ(pair.operations()->dense_predict(pair.network, pair.data, y.data()), RELIHT_OK);
        for (size_t i = 0; i < x.size(); i++)
            for (size_t k = 0; k < c.outputs; k++)
                EXPECT_NEAR(y[k * x.size() + i], pair.expected.forward(x[i]).back()[k], 2e-6)
                    << c.name;
    }
}

TEST(Dense, SameBitsForAnyNumberOfThreads)
{
    for (const Case &c : cases()) {
        std::vector<std::vector<oracle::Rows>> results;
        for (unsigned threads : {1u, 2u, 5u}) {
            Context context(threads);
            Pair pair(context, c, problem_of(c));
            for (size_t t = 0; t < 3; t++)
                pair.step(t);
            results.push_back(pair.read());
        }
        EXPECT_EQ(results[0], results[1]) << c.name;
        EXPECT_EQ(results[0], results[2]) << c.name;
    }
}

TEST(Dense, RefusesWhatCannotBe)
{
    const Case &c = cases()[1];
    Context context;
    Pair pair(context, c, problem_of(c));
    size_t weights = pair.expected.weights();
    EXPECT_EQ(pair.operations()->dense_prune(pair.network, 0), RELIHT_ARGUMENT);
    EXPECT_EQ(pair.operations()->dense_prune(pair.network, weights + 1), RELIHT_ARGUMENT);
    EXPECT_EQ(pair.operations()->dense_prune(pair.network, weights - 1), RELIHT_OK);
    EXPECT_EQ(pair.operations()->dense_prune(pair.network, weights), RELIHT_ARGUMENT);
    EXPECT_NE(context.message().find(std::to_string(weights)), std::string::npos);

    dense_problem huge = problem_of(c);
    huge.hidden[0] = huge.inputs = RELIHT_MAX_DIMENSION - 1;
    dense_network *none;
    EXPECT_EQ(
        context.handle->backend->operations->dense_create(context.handle->backend, &huge, &none),
        RELIHT_MEMORY);
    EXPECT_EQ(none, nullptr);
}

TEST(Dense, WhatIsNotFiniteIsNamed)
{
    Case c = cases()[1];
    Context context;
    dense_problem problem = problem_of(c);
    problem.learning_rate = 1e38;
    Pair pair(context, c, problem);
    oracle::Rows x, targets;
    pair.load(0, &x, &targets);
    reliht_status status = RELIHT_OK;
    for (size_t t = 0; t < 3 && status == RELIHT_OK; t++)
        status = pair.operations()->dense_step(pair.network, pair.data);
    EXPECT_EQ(status, RELIHT_NUMERIC);
    EXPECT_NE(context.message().find("loss"), std::string::npos) << context.message();

    problem.learning_rate = 1e39; // infinite as a float
    Pair other(context, c, problem);
    other.load(0, &x, &targets);
    EXPECT_EQ(other.operations()->dense_step(other.network, other.data), RELIHT_OK);
    EXPECT_EQ(other.operations()->dense_prune(other.network, 1), RELIHT_NUMERIC);
    EXPECT_NE(context.message().find("neuron"), std::string::npos) << context.message();
    EXPECT_EQ(other.operations()->dense_get_weights(other.network, other.weights.data()),
              RELIHT_NUMERIC);
}

TEST(Dense, EveryAllocationMayFail)
{
    const Case &c = cases()[7];
    support::fail_each_allocation([&](reliht_context *context) {
        dense_problem problem = problem_of(c);
        dense_network *network;
        const backend_operations *operations = context->backend->operations;
        reliht_status status = operations->dense_create(context->backend, &problem, &network);
        operations->dense_destroy(network);
        return status;
    });
}
