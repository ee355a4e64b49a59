// Steps of the factored model: against the dense oracle in double, the recorded cases of the
// published code, and by properties.
#include "oracle_factored.h"
#include "parity/parity.h"
#include "paths.h"

#include <cstring>
#include <fstream>

using namespace oracle_factored;

namespace
{

// Steps of model and oracle side by side; the support is kept in the last `kept` of them.
void expect_steps(const Case &shape, int steps, int kept)
{
    parity::Context context;
    Data data(shape);
    Model model(context, shape, data);
    Oracle oracle(shape, data);
    for (int step = 0; step < steps; step++) {
        bool draw = step == 0, keep = step >= steps - kept;
        double scale = 1 - 0.05 * step;
        oracle.step(draw, keep, scale);
        ASSERT_EQ(model.step(draw, keep, scale), RELIHT_OK) << context.message();
        std::string where = name_of(shape) + " step " + std::to_string(step);
        EXPECT_NEAR(model.report.loss, oracle.loss, 1e-5 * std::fabs(oracle.loss)) << where;
        expect_equal_weights(model.weights(), oracle.weights, 1e-3, where);
        if (testing::Test::HasFatalFailure())
            return;
    }
    EXPECT_LE(model.report.nnz, shape.nnz);
    EXPECT_GT(model.report.nnz, 0u) << name_of(shape);
}

Case small_case(reliht_importance importance)
{
    Case shape;
    shape.importance = importance;
    shape.samples = 300;
    shape.hidden = 37;
    shape.nnz = 150;
    return shape;
}

const reliht_importance every_importance[] = {RELIHT_IMPORTANCE_SKETCH, RELIHT_IMPORTANCE_MAGNITUDE,
                                              RELIHT_IMPORTANCE_SKETCH_PUBLISHED};

// Elements of a .npy file written by numpy (version 1, little endian, C order).
template <typename Element> std::vector<Element> read_npy(const std::string &name)
{
    std::ifstream file(std::string(RELIHT_TEST_DATA) + "/refcases/" + name + ".npy",
                       std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    EXPECT_GT(bytes.size(), 10u) << name;
    size_t start = 10 + (size_t)(unsigned char)bytes[8] + 256 * (size_t)(unsigned char)bytes[9];
    std::vector<Element> out((bytes.size() - start) / sizeof(Element));
    memcpy(out.data(), bytes.data() + start, out.size() * sizeof(Element));
    return out;
}

} // namespace

TEST(ParityFactored, StepsAsTheDenseOracle)
{
    PARITY_NEEDS_BACKEND();
    for (const Case &shape : all_cases()) {
        expect_steps(shape, 8, 2);
        if (HasFatalFailure())
            return;
    }
}

TEST(ParityFactored, ManyOutputsAreHeldAFewAtATime)
{
    PARITY_NEEDS_BACKEND();
    for (reliht_loss loss : {RELIHT_LOSS_MSE, RELIHT_LOSS_CROSS_ENTROPY}) {
        Case shape;
        shape.loss = loss;
        shape.outputs = 39;
        shape.inputs = 9;
        shape.nnz = 120;
        expect_steps(shape, 4, 1);
        if (HasFatalFailure())
            return;
    }
}

TEST(ParityFactored, LabelsAreOneHotTargets)
{
    PARITY_NEEDS_BACKEND();
    Case shape;
    Data data(shape);
    parity::Context context;
    Model real(context, shape, data), labels(context, shape, data, problem_of(shape), true);
    for (int step = 0; step < 4; step++) {
        ASSERT_EQ(real.step(step == 0), RELIHT_OK);
        ASSERT_EQ(labels.step(step == 0), RELIHT_OK);
    }
    EXPECT_EQ(real.weights(), labels.weights());
}

TEST(ParityFactored, RunsRepeatBitForBit)
{
    PARITY_NEEDS_BACKEND();
    for (reliht_importance importance : every_importance) {
        Case shape = small_case(importance);
        Data data(shape);
        Matrix first;
        for (int run = 0; run < 2; run++) {
            parity::Context context;
            Model model(context, shape, data);
            for (int step = 0; step < 5; step++)
                ASSERT_EQ(model.step(model.report.nnz == 0), RELIHT_OK) << context.message();
            if (run == 0)
                first = model.weights();
            EXPECT_EQ(model.weights(), first) << importance;
        }
        EXPECT_TRUE(std::any_of(first.begin(), first.end(), [](double w) { return w != 0; }))
            << importance;
    }
}

TEST(ParityFactored, BatchesWithAShortLastOne)
{
    PARITY_NEEDS_BACKEND();
    for (reliht_importance importance : {RELIHT_IMPORTANCE_SKETCH, RELIHT_IMPORTANCE_MAGNITUDE}) {
        Case shape;
        shape.importance = importance;
        shape.step = RELIHT_STEP_PUBLISHED; // whose size doesn't depend on the batch
        Data data(shape);
        parity::Context context;
        factored_problem problem = problem_of(shape);
        problem.samples = 70;
        Model model(context, shape, data, problem);
        context.operations().batch_destroy(model.data);
        ASSERT_EQ(
            context.operations().batch_create(context.on(), model.dataset, false, 70, &model.data),
            RELIHT_OK);
        Oracle oracle(shape, data);
        const Matrix x = oracle.x, y = oracle.y;
        for (int step = 0; step < 6; step++) {
            std::vector<uint32_t> rows(step % 2 ? 61 : 70); // 131 samples in two batches
            for (size_t i = 0; i < rows.size(); i++)
                rows[i] = (uint32_t)((i + 70 * (size_t)step) * 11 % 131);
            oracle.n = rows.size();
            for (size_t i = 0; i < rows.size(); i++) {
                std::copy_n(&x[rows[i] * oracle.d], oracle.d, &oracle.x[i * oracle.d]);
                std::copy_n(&y[rows[i] * oracle.k], oracle.k, &oracle.y[i * oracle.k]);
            }
            ASSERT_EQ(context.operations().batch_load(model.data, rows.data(), rows.size()),
                      RELIHT_OK);
            oracle.step(step == 0);
            ASSERT_EQ(model.step(step == 0), RELIHT_OK) << context.message();
            std::string where = name_of(shape) + " step " + std::to_string(step);
            EXPECT_NEAR(model.report.loss, oracle.loss, 1e-5 * std::fabs(oracle.loss)) << where;
            expect_equal_weights(model.weights(), oracle.weights, 1e-3, where);
            if (HasFatalFailure())
                return;
        }
    }
}

TEST(ParityFactored, ScalesByPowersOfTwoExactly)
{
    PARITY_NEEDS_BACKEND();
    Case shape, scaled;
    shape.loss = scaled.loss = RELIHT_LOSS_MSE;
    scaled.x_scale = 256;
    Data data(shape), larger(scaled);
    for (float &y : larger.y)
        y *= 64;
    factored_problem problem = problem_of(scaled);
    problem.input_scale = 256;
    problem.target_scale = 64;
    parity::Context context;
    Model model(context, shape, data), other(context, scaled, larger, problem);
    for (int step = 0; step < 6; step++) {
        ASSERT_EQ(model.step(step == 0, step > 3), RELIHT_OK);
        ASSERT_EQ(other.step(step == 0, step > 3), RELIHT_OK);
        EXPECT_EQ(other.report.loss, model.report.loss * 4096) << step;
        EXPECT_EQ(other.report.nnz, model.report.nnz) << step;
    }
    Matrix expected = model.weights(), weights = other.weights();
    for (size_t i = 0; i < weights.size(); i++)
        EXPECT_EQ(weights[i], expected[i] * (i < shape.hidden * shape.inputs ? 1.0 / 256 : 64.0));
}

TEST(ParityFactored, InactiveNeuronsStay)
{
    PARITY_NEEDS_BACKEND();
    // One neuron that no sample activates, one that every sample does.
    for (reliht_importance importance : {RELIHT_IMPORTANCE_SKETCH, RELIHT_IMPORTANCE_MAGNITUDE}) {
        Case shape;
        shape.importance = importance;
        shape.step = RELIHT_STEP_PUBLISHED;
        shape.nnz = 24;
        Data data(shape);
        for (size_t i = 0; i < shape.samples; i++)
            data.x[i * shape.inputs] = 1 + std::fabs(data.x[i * shape.inputs]);
        parity::Context context;
        Model model(context, shape, data);
        Oracle oracle(shape, data);
        sparse hidden, output;
        ASSERT_EQ(sparse_create(context, &hidden, shape.hidden, shape.inputs, 4), RELIHT_OK);
        ASSERT_EQ(sparse_create(context, &output, shape.hidden, shape.outputs, 4), RELIHT_OK);
        const struct {
            uint32_t neuron;
            float hidden, output;
        } weights[] = {{2, -1.0f, 0.5f}, {12, 1.0f, -0.25f}};
        for (const auto &weight : weights) {
            sparse_append(&hidden, weight.neuron, 0, weight.hidden);
            sparse_append(&output, weight.neuron, 1, weight.output);
            oracle.weights[weight.neuron * shape.inputs] = (double)weight.hidden;
            oracle.weights[oracle.split + weight.neuron * shape.outputs + 1] =
                (double)weight.output;
        }
        ASSERT_EQ(model.operations->factored_set_weights(model.it, &hidden, &output), RELIHT_OK);
        for (int step = 0; step < 3; step++) {
            oracle.step(false);
            ASSERT_EQ(model.step(false), RELIHT_OK) << context.message();
            EXPECT_NEAR(model.report.loss, oracle.loss, 1e-5 * oracle.loss);
            expect_equal_weights(model.weights(), oracle.weights, 1e-3, name_of(shape));
        }
        sparse_destroy(context, &hidden);
        sparse_destroy(context, &output);
        if (HasFatalFailure())
            return;
    }
}

TEST(ParityFactored, TiesFallToTheLowerEntry)
{
    PARITY_NEEDS_BACKEND();
    // Inputs 5 and 6 are the same: without room for both the lower one is taken.
    Case shape;
    shape.importance = RELIHT_IMPORTANCE_MAGNITUDE;
    shape.loss = RELIHT_LOSS_MSE;
    shape.step = RELIHT_STEP_PUBLISHED;
    shape.hidden = 3;
    shape.outputs = 1;
    Data data(shape);
    for (size_t i = 0; i < shape.samples; i++) {
        for (size_t c = 0; c < shape.inputs; c++)
            if (c != 5)
                data.x[i * shape.inputs + c] *= 0x1p-20f;
        data.x[i * shape.inputs + 6] = data.x[i * shape.inputs + 5];
        data.y[i] = data.x[i * shape.inputs + 5];
    }
    std::vector<float> hidden(shape.hidden * shape.inputs, 0x1p-30f), output(shape.hidden, 1.0f);
    for (size_t j = 0; j < shape.hidden; j++)
        hidden[j * shape.inputs + 5] = hidden[j * shape.inputs + 6] = 2.0f;
    for (size_t nnz : {4u, 5u}) { // three neurons' outputs, and one or two inputs of the first
        shape.nnz = nnz;
        factored_problem problem = problem_of(shape);
        problem.first_hidden = hidden.data();
        problem.first_output = output.data();
        parity::Context context;
        Model model(context, shape, data, problem);
        ASSERT_EQ(model.step(true), RELIHT_OK) << context.message();
        ASSERT_EQ(model.hidden.nnz, nnz - 3);
        for (size_t k = 0; k < model.hidden.nnz; k++)
            EXPECT_EQ(model.hidden.column[k], 5u + (k % 2)) << nnz;
        EXPECT_EQ(model.hidden.row[0], 0u);
    }
}

TEST(ParityFactored, LossAndGradientAreTheOracles)
{
    PARITY_NEEDS_BACKEND();
    for (const Case &shape : evaluation_cases()) {
        parity::Context context;
        Data data(shape);
        Model model(context, shape, data);
        Network at(context, shape, 0.2);
        Oracle oracle(shape, data);
        oracle.weights = at.dense();
        oracle.find_gradient(false);
        std::vector<float> gradient(network_nnz(&at.it));
        double loss;
        ASSERT_EQ(model.operations->factored_set_weights(model.it, &at.it.hidden, &at.it.output),
                  RELIHT_OK);
        ASSERT_EQ(model.operations->factored_evaluate(model.it, model.data, &loss, gradient.data()),
                  RELIHT_OK);
        EXPECT_NEAR(loss, oracle.loss, 1e-5 * oracle.loss) << name_of(shape);
        std::vector<size_t> places = at.places();
        ASSERT_EQ(places.size(), gradient.size());
        double largest = 0;
        for (size_t place : places)
            largest = std::max(largest, std::fabs(oracle.gradient[place]));
        for (size_t i = 0; i < places.size(); i++)
            EXPECT_NEAR(gradient[i], oracle.gradient[places[i]], 1e-5 * largest) << name_of(shape);
    }
}

TEST(ParityFactored, CandidatesAreTheLargestOfTheOracle)
{
    PARITY_NEEDS_BACKEND();
    for (const Case &shape : evaluation_cases()) {
        parity::Context context;
        Data data(shape);
        Model model(context, shape, data);
        Network at(context, shape, 0.15); // sparse enough for incomplete neurons
        Oracle oracle(shape, data);
        oracle.weights = at.dense();
        oracle.find_gradient(false);
        std::vector<std::pair<double, size_t>> expected;
        for (size_t i = 0; i < oracle.entries; i++) {
            bool output = i >= oracle.split;
            auto j = (uint32_t)(output ? (i - oracle.split) / shape.outputs : i / shape.inputs);
            double other = at.norm(!output, j);
            if (oracle.weights[i] == 0 && oracle.gradient[i] != 0 && other > 0)
                expected.emplace_back(-std::fabs(oracle.gradient[i]) / other, i);
        }
        std::sort(expected.begin(), expected.end());
        std::vector<float> gradient(network_nnz(&at.it));
        double loss;
        ASSERT_EQ(model.operations->factored_set_weights(model.it, &at.it.hidden, &at.it.output),
                  RELIHT_OK);
        ASSERT_EQ(model.operations->factored_evaluate(model.it, model.data, &loss, gradient.data()),
                  RELIHT_OK);
        for (size_t count : {1u, 7u, 50u, 400u}) {
            size_t found_count = std::min(count, expected.size());
            Network found(context, shape, 0);
            ASSERT_EQ(model.operations->factored_candidates(model.it, model.data, count,
                                                            &found.it.hidden, &found.it.output),
                      RELIHT_OK);
            Matrix values = found.dense();
            ASSERT_EQ(network_nnz(&found.it), found_count) << name_of(shape);
            for (size_t i = 0; i < found_count; i++)
                EXPECT_NEAR(std::fabs(values[expected[i].second]), -expected[i].first,
                            1e-4 * -expected[0].first)
                    << name_of(shape) << " count " << count << " place " << i;
        }
    }
}

TEST(ParityFactored, KeepsASetSupportAndRefusesTooManyWeights)
{
    PARITY_NEEDS_BACKEND();
    Case shape;
    shape.nnz = 3;
    Data data(shape);
    parity::Context context;
    Model model(context, shape, data);
    sparse hidden, output;
    ASSERT_EQ(sparse_create(context, &hidden, shape.hidden, shape.inputs, 3), RELIHT_OK);
    ASSERT_EQ(sparse_create(context, &output, shape.hidden, shape.outputs, 3), RELIHT_OK);
    sparse_append(&hidden, 2, 0, 0.5f);
    sparse_append(&hidden, 2, 7, -0.5f);
    sparse_append(&output, 2, 1, 1.0f);
    ASSERT_EQ(model.operations->factored_set_weights(model.it, &hidden, &output), RELIHT_OK);
    for (int step = 0; step < 50; step++)
        ASSERT_EQ(model.step(false, true, 0.2), RELIHT_OK);
    double loss = model.report.loss;
    ASSERT_EQ(model.step(false, true, 0.2), RELIHT_OK);
    EXPECT_LT(model.report.loss, std::log(5.0));
    EXPECT_NEAR(model.report.loss, loss, 1e-2);
    EXPECT_EQ(sparse_common(&model.hidden, &hidden), 2u);
    EXPECT_EQ(sparse_common(&model.output, &output), 1u);
    sparse_append(&output, 2, 3, 1.0f);
    EXPECT_EQ(model.operations->factored_set_weights(model.it, &hidden, &output), RELIHT_ARGUMENT);
    sparse_destroy(context, &hidden);
    sparse_destroy(context, &output);
}

TEST(ParityFactored, NonFiniteIsAnErrorThatSaysWhere)
{
    PARITY_NEEDS_BACKEND();
    for (reliht_importance importance : {RELIHT_IMPORTANCE_SKETCH, RELIHT_IMPORTANCE_MAGNITUDE}) {
        Case shape;
        shape.importance = importance;
        shape.loss = RELIHT_LOSS_MSE;
        shape.step = RELIHT_STEP_PUBLISHED;
        Data data(shape);
        for (float &x : data.x)
            x *= 3e37f;
        for (float &y : data.y)
            y *= 1e5f;
        parity::Context context;
        Model model(context, shape, data);
        EXPECT_EQ(model.step(true), RELIHT_NUMERIC);
        EXPECT_NE(context.message().find("neuron"), std::string::npos) << context.message();
        EXPECT_NE(context.message().find("input"), std::string::npos) << context.message();
    }
}

TEST(ParityFactored, AFailedStepLeavesTheWeights)
{
    PARITY_NEEDS_BACKEND();
    Case shape;
    Data data(shape);
    parity::Context context;
    Model model(context, shape, data);
    ASSERT_EQ(model.step(true), RELIHT_OK);
    for (size_t k = 0; k < model.hidden.nnz; k++)
        model.hidden.value[k] = 1e30f;
    for (size_t k = 0; k < model.output.nnz; k++)
        model.output.value[k] = 1e30f;
    Matrix before = model.weights();
    ASSERT_EQ(model.operations->factored_set_weights(model.it, &model.hidden, &model.output),
              RELIHT_OK);
    EXPECT_EQ(model.step(false), RELIHT_NUMERIC);
    EXPECT_NE(context.message().find("loss"), std::string::npos) << context.message();
    ASSERT_EQ(model.operations->factored_get_weights(model.it, &model.hidden, &model.output),
              RELIHT_OK);
    EXPECT_EQ(model.weights(), before);
}

TEST(ParityFactored, DivergenceSaturatesTheSketch)
{
    PARITY_NEEDS_BACKEND();
    Case shape;
    shape.loss = RELIHT_LOSS_MSE;
    shape.step = RELIHT_STEP_PUBLISHED;
    shape.nnz = 20; // step size 2
    shape.x_scale = 30;
    Data data(shape);
    parity::Context context;
    Model model(context, shape, data);
    reliht_status status = RELIHT_OK;
    for (int step = 0; status == RELIHT_OK && step < 200; step++)
        status = model.step(step == 0);
    EXPECT_EQ(status, RELIHT_NUMERIC);
    EXPECT_NE(context.message().find("saturated"), std::string::npos) << context.message();
}

TEST(ParityFactored, PublishedStepsAreReproduced)
{
    PARITY_NEEDS_BACKEND();
    Case shape;
    shape.samples = 200;
    shape.inputs = 20;
    shape.hidden = 10;
    shape.outputs = 3;
    shape.nnz = 40;
    shape.importance = RELIHT_IMPORTANCE_SKETCH_PUBLISHED;
    shape.step = RELIHT_STEP_PUBLISHED;
    auto generators = read_npy<float>("vector_generators");
    auto hashes = read_npy<uint32_t>("vector_hashes");
    auto signs = read_npy<int8_t>("vector_hash_signs");
    auto first_hidden = read_npy<float>("vector_first_hidden");
    auto first_output = read_npy<float>("vector_first_output");
    for (std::string loss : {"mse", "ce"})
        for (bool convex : {false, true}) {
            shape.loss = loss == "mse" ? RELIHT_LOSS_MSE : RELIHT_LOSS_CROSS_ENTROPY;
            Data data(shape);
            data.x = read_npy<float>("vector_x");
            data.y = read_npy<float>("vector_" + loss + "_y");
            auto expected =
                read_npy<float>("vector_" + loss + "_convex" + (convex ? "1" : "0") + "_weights");
            parity::Context context;
            sparse given;
            ASSERT_EQ(sparse_create(context, &given, 10, 20, 200), RELIHT_OK);
            for (uint32_t i = 0; i < 200; i++)
                sparse_append(&given, i / 20, i % 20, generators[i]);
            factored_problem problem = problem_of(shape);
            problem.given = &given;
            problem.hashes = hashes.data();
            problem.hash_signs = signs.data();
            problem.sketch_width = 69;
            problem.first_hidden = first_hidden.data();
            problem.first_output = first_output.data();
            {
                Model model(context, shape, data, problem);
                for (size_t step = 0; step < 30; step++) {
                    bool drawn = convex || step < 2;
                    ASSERT_EQ(
                        model.step(step == 0, false, 1, drawn ? PATTERNS_DRAWN : PATTERNS_WEIGHTS),
                        RELIHT_OK)
                        << context.message();
                    const float *row = &expected[step * 230];
                    expect_equal_weights(model.weights(), Matrix(row, row + 230), 1e-4,
                                         loss + (convex ? " convex" : " sequential") + " step " +
                                             std::to_string(step));
                    if (HasFatalFailure())
                        break;
                }
            }
            sparse_destroy(context, &given);
        }
}
