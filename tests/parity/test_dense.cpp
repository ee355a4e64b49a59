// The dense baseline of the backend against the oracle in double precision: one step of each kind
// (forward, backward, Adam, prune, rewind, predict), for every form of data and network.
#include "dense_pair.h"
#include "parity/parity.h"

using namespace dense_pair;
using parity::Context;

TEST(ParityDense, BeginsAsDocumentedToTheBit)
{
    PARITY_NEEDS_BACKEND();
    for (const Case &c : cases()) {
        Context context;
        Pair pair(context, c, problem_of(c));
        pair.expect_same_weights(0);
        EXPECT_EQ(pair.entries(), pair.expected.weights()) << c.name;
    }
}

// With b1 = 0 and an epsilon that drowns the root, a step of Adam subtracts the gradient itself.
TEST(ParityDense, GradientIsTheOracles)
{
    PARITY_NEEDS_BACKEND();
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

TEST(ParityDense, StepsOfAdamAreTheOracles)
{
    PARITY_NEEDS_BACKEND();
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

TEST(ParityDense, PruningKeepsExactlyTheLargest)
{
    PARITY_NEEDS_BACKEND();
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

// 23 bits make many equal magnitudes among 42280 weights: of a tie the lower place stays. Some of
// them are tried.
TEST(ParityDense, PruningBreaksTiesByPlace)
{
    PARITY_NEEDS_BACKEND();
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
        if (ties++ % 16)
            continue;
        pair.expected.prune(keep);
        ASSERT_EQ(pair.operations()->dense_prune(pair.network, keep), RELIHT_OK);
        pair.expect_same_weights(0);
    }
    EXPECT_GE(ties, 100u);
}

TEST(ParityDense, PrunedWeightsStayZeroAndRewindingRestoresTheRest)
{
    PARITY_NEEDS_BACKEND();
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

TEST(ParityDense, PredictsAsTheOracle)
{
    PARITY_NEEDS_BACKEND();
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

TEST(ParityDense, RefusesWhatCannotBe)
{
    PARITY_NEEDS_BACKEND();
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
    EXPECT_EQ(context.operations().dense_create(context.on(), &huge, &none), RELIHT_MEMORY);
    EXPECT_EQ(none, nullptr);
}

TEST(ParityDense, WhatIsNotFiniteIsNamed)
{
    PARITY_NEEDS_BACKEND();
    Case c = cases()[1];
    Context context;
    dense_problem problem = problem_of(c);
    problem.learning_rate = 1e38;
    Pair pair(context, c, problem);
    oracle::Rows x, targets;
    pair.load(0, &x, &targets);
    reliht_status status = RELIHT_OK;
    dense_report report;
    for (size_t t = 0; t < 3 && status == RELIHT_OK; t++) {
        status = pair.operations()->dense_step(pair.network, pair.data);
        if (!status) // a backend that doesn't wait says so here
            status = pair.operations()->dense_report(pair.network, &report);
    }
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

// What a backend has queued when a loss isn't finite changes nothing, and after it was reported the
// network goes on: it is rewound and steps as a new one.
TEST(ParityDense, GoesOnAfterALossThatIsNotFinite)
{
    PARITY_NEEDS_BACKEND();
    const Case &c = cases()[4];
    Context context;
    dense_problem problem = problem_of(c);
    problem.learning_rate = 1e30;
    Pair pair(context, c, problem);
    oracle::Rows x, targets;
    pair.load(0, &x, &targets);
    reliht_status status = RELIHT_OK;
    for (size_t t = 0; t < 4 && status == RELIHT_OK; t++)
        status = pair.operations()->dense_step(pair.network, pair.data);
    dense_report report;
    if (!status)
        status = pair.operations()->dense_report(pair.network, &report);
    EXPECT_EQ(status, RELIHT_NUMERIC);
    pair.read(); // finite: as the first step left them
    ASSERT_EQ(pair.operations()->dense_rewind(pair.network), RELIHT_OK);
    pair.expect_same_weights(0);
    ASSERT_EQ(pair.operations()->dense_report(pair.network, &report), RELIHT_OK);
    ASSERT_EQ(pair.operations()->dense_step(pair.network, pair.data), RELIHT_OK);
    ASSERT_EQ(pair.operations()->dense_report(pair.network, &report), RELIHT_OK);
    EXPECT_NEAR(report.loss, pair.expected.loss(x, targets), 1e-5);
    EXPECT_EQ(report.samples, x.size());
}

TEST(ParityDense, SameBitsInEveryRun)
{
    PARITY_NEEDS_BACKEND();
    for (const Case &c : {cases()[3], cases()[7]}) {
        std::vector<std::vector<oracle::Rows>> results;
        for (int run = 0; run < 2; run++) {
            Context context;
            Pair pair(context, c, problem_of(c));
            for (size_t t = 0; t < 3; t++)
                pair.step(t);
            results.push_back(pair.read());
        }
        EXPECT_EQ(results[0], results[1]) << c.name;
    }
}
