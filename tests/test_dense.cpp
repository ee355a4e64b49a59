// The dense baseline on the CPU: its oracle, the first weights, threads and allocations. What every
// backend computes alike is in parity/test_dense.cpp.
#include "dense_pair.h"

using namespace dense_pair;
using support::Context;

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
