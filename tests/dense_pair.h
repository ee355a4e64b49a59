// A dense network of a backend beside the oracle, on the same data: the cases and the pair that
// tests of the dense baseline share.
#ifndef RELIHT_TESTS_DENSE_PAIR_H
#define RELIHT_TESTS_DENSE_PAIR_H

#include "oracle_dense.h"
#include "support.h"

#include <random>

namespace dense_pair
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

inline const std::vector<Case> &cases()
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

inline dense_problem problem_of(const Case &c)
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

} // namespace dense_pair

#endif
