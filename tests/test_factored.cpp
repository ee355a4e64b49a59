#include "oracle_factored.h"
#include "paths.h"

extern "C" {
#include "backend/cpu/cpu.h"
}

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <numeric>
#include <vector>

using namespace oracle_factored;

TEST(Factored, StepsAsTheDenseOracle)
{
    for (const Case &shape : all_cases()) {
        Context context;
        Data data(shape);
        Model model(context, shape, data);
        Oracle oracle(shape, data);
        for (int step = 0; step < 12; step++) {
            bool draw = step == 0, keep = step >= 9;
            double scale = 1 - 0.05 * step;
            oracle.step(draw, keep, scale);
            ASSERT_EQ(model.step(draw, keep, scale), RELIHT_OK) << context.message();
            std::string where = name_of(shape) + " step " + std::to_string(step);
            EXPECT_NEAR(model.report.loss, oracle.loss, 1e-5 * std::fabs(oracle.loss)) << where;
            expect_equal_weights(model.weights(), oracle.weights, 1e-3, where);
            if (HasFatalFailure())
                return;
        }
        EXPECT_LE(model.report.nnz, shape.nnz);
        EXPECT_GT(model.report.nnz, 0u) << name_of(shape);
    }
}

TEST(Factored, OraclesGradientIsThatOfTheLoss)
{
    for (reliht_loss loss : {RELIHT_LOSS_MSE, RELIHT_LOSS_CROSS_ENTROPY}) {
        Case shape;
        shape.loss = loss;
        shape.source = PATTERNS_DRAWN; // patterns that don't move with the weights
        Data data(shape);
        Oracle oracle(shape, data);
        for (size_t i = 0; i < oracle.entries; i++)
            oracle.weights[i] = oracle.drawn(RNG_EMPTY_HIDDEN, 77, 1, i);
        oracle.find_gradient(false);
        for (size_t i = 0; i < oracle.entries; i += 7) {
            Matrix above = oracle.weights, below = oracle.weights;
            above[i] += 1e-5;
            below[i] -= 1e-5;
            double slope = (oracle.loss_of(above, oracle.generators) -
                            oracle.loss_of(below, oracle.generators)) /
                           2e-5;
            EXPECT_NEAR(oracle.gradient[i], slope, 1e-7) << i;
        }
    }
}

TEST(Factored, SameBitsForAnyThreadsAndInstructionSet)
{
    for (reliht_importance importance : {RELIHT_IMPORTANCE_SKETCH, RELIHT_IMPORTANCE_MAGNITUDE,
                                         RELIHT_IMPORTANCE_SKETCH_PUBLISHED}) {
        Case shape;
        shape.importance = importance;
        shape.samples = 700;
        shape.hidden = 37;
        shape.nnz = 200;
        Data data(shape);
        Matrix first;
        for (unsigned threads : {1u, 2u, 3u})
            for (int isa = 0; isa <= (int)cpu_isa_best(); isa++) {
                Context context(threads);
                cpu_set_isa(context.handle->backend, (cpu_isa)isa);
                Model model(context, shape, data);
                for (int step = 0; step < 6; step++)
                    ASSERT_EQ(model.step(model.report.nnz == 0), RELIHT_OK);
                if (first.empty())
                    first = model.weights();
                EXPECT_EQ(model.weights(), first)
                    << importance << " threads " << threads << " isa " << isa;
            }
        EXPECT_TRUE(std::any_of(first.begin(), first.end(), [](double w) { return w != 0; }))
            << importance;
    }
}

TEST(Factored, LabelsAreOneHotTargets)
{
    Case shape;
    Data data(shape);
    Context context;
    Model real(context, shape, data), labels(context, shape, data, problem_of(shape), true);
    for (int step = 0; step < 4; step++) {
        ASSERT_EQ(real.step(step == 0), RELIHT_OK);
        ASSERT_EQ(labels.step(step == 0), RELIHT_OK);
    }
    EXPECT_EQ(real.weights(), labels.weights());
}

TEST(Factored, OrderOfSamplesDoesNotMatter)
{
    Case shape;
    Data data(shape), shuffled(shape);
    std::vector<uint32_t> order(shape.samples);
    rng_permutation(3, RNG_BATCHES, 0, (uint32_t)shape.samples, order.data());
    for (size_t i = 0; i < shape.samples; i++) {
        std::copy_n(&data.x[order[i] * shape.inputs], shape.inputs, &shuffled.x[i * shape.inputs]);
        std::copy_n(&data.y[order[i] * shape.outputs], shape.outputs,
                    &shuffled.y[i * shape.outputs]);
    }
    Context context;
    Model model(context, shape, data), other(context, shape, shuffled);
    for (int step = 0; step < 5; step++) {
        ASSERT_EQ(model.step(step == 0), RELIHT_OK);
        ASSERT_EQ(other.step(step == 0), RELIHT_OK);
    }
    expect_equal_weights(other.weights(), model.weights(), 1e-3, "shuffled");
}

TEST(Factored, OrderOfOutputsDoesNotMatterToTheGreatest)
{
    // By magnitude nothing depends on the number of an output but the order of sums over outputs.
    Case shape;
    shape.importance = RELIHT_IMPORTANCE_MAGNITUDE;
    shape.loss = RELIHT_LOSS_MSE;
    Data data(shape), turned(shape);
    size_t k = shape.outputs;
    for (size_t i = 0; i < shape.samples; i++)
        for (size_t o = 0; o < k; o++)
            turned.y[i * k + (o + 1) % k] = data.y[i * k + o];
    std::vector<float> hidden(shape.hidden * shape.inputs), output(shape.hidden * k),
        turned_output(output.size());
    rng_normals(1, RNG_VALUES, 0, hidden.size(), hidden.data());
    rng_normals(1, RNG_VALUES, 1, output.size(), output.data());
    for (size_t j = 0; j < shape.hidden; j++)
        for (size_t o = 0; o < k; o++)
            turned_output[j * k + (o + 1) % k] = output[j * k + o];
    factored_problem problem = problem_of(shape), turned_problem = problem;
    problem.first_hidden = turned_problem.first_hidden = hidden.data();
    problem.first_output = output.data();
    turned_problem.first_output = turned_output.data();
    Context context;
    Model model(context, shape, data, problem), other(context, shape, turned, turned_problem);
    for (int step = 0; step < 4; step++) {
        ASSERT_EQ(model.step(step == 0), RELIHT_OK);
        ASSERT_EQ(other.step(step == 0), RELIHT_OK);
    }
    Matrix expected = model.weights(), weights = other.weights();
    size_t split = shape.hidden * shape.inputs;
    Matrix back = weights;
    for (size_t j = 0; j < shape.hidden; j++)
        for (size_t o = 0; o < k; o++)
            back[split + j * k + o] = weights[split + j * k + (o + 1) % k];
    expect_equal_weights(back, expected, 1e-3, "turned");
}

TEST(Factored, ScalesByPowersOfTwoExactly)
{
    Case shape, scaled;
    shape.loss = scaled.loss = RELIHT_LOSS_MSE;
    scaled.x_scale = 256;
    Data data(shape), larger(scaled);
    for (float &y : larger.y)
        y *= 64;
    factored_problem problem = problem_of(scaled);
    problem.input_scale = 256;
    problem.target_scale = 64;
    Context context;
    Model model(context, shape, data), other(context, scaled, larger, problem);
    for (int step = 0; step < 8; step++) {
        ASSERT_EQ(model.step(step == 0, step > 5), RELIHT_OK);
        ASSERT_EQ(other.step(step == 0, step > 5), RELIHT_OK);
        EXPECT_EQ(other.report.loss, model.report.loss * 4096) << step;
        EXPECT_EQ(other.report.nnz, model.report.nnz) << step;
    }
    Matrix expected = model.weights(), weights = other.weights();
    for (size_t i = 0; i < weights.size(); i++)
        EXPECT_EQ(weights[i], expected[i] * (i < shape.hidden * shape.inputs ? 1.0 / 256 : 64.0));
}

TEST(Factored, KeepsASetSupportAndRefusesTooManyWeights)
{
    Case shape;
    shape.nnz = 3;
    Data data(shape);
    Context context;
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

TEST(Factored, NonFiniteIsAnErrorThatSaysWhere)
{
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
        Context context;
        Model model(context, shape, data);
        EXPECT_EQ(model.step(true), RELIHT_NUMERIC);
        EXPECT_NE(context.message().find("neuron"), std::string::npos) << context.message();
        EXPECT_NE(context.message().find("input"), std::string::npos) << context.message();
    }
}

TEST(Factored, DivergenceSaturatesTheSketch)
{
    Case shape;
    shape.loss = RELIHT_LOSS_MSE;
    shape.step = RELIHT_STEP_PUBLISHED;
    shape.nnz = 20; // step size 2
    shape.x_scale = 30;
    Data data(shape);
    Context context;
    Model model(context, shape, data);
    reliht_status status = RELIHT_OK;
    for (int step = 0; status == RELIHT_OK && step < 200; step++)
        status = model.step(step == 0);
    EXPECT_EQ(status, RELIHT_NUMERIC);
    EXPECT_NE(context.message().find("saturated"), std::string::npos) << context.message();
}

TEST(Factored, EachFailedAllocationIsReported)
{
    for (reliht_importance importance :
         {RELIHT_IMPORTANCE_SKETCH, RELIHT_IMPORTANCE_SKETCH_PUBLISHED}) {
        Case shape;
        shape.importance = importance;
        size_t allocations = support::fail_each_allocation([&](reliht_context *context) {
            factored_problem problem = problem_of(shape);
            factored *model;
            const backend_operations *operations = context->backend->operations;
            reliht_status status = operations->factored_create(context->backend, &problem, &model);
            if (status == RELIHT_OK)
                operations->factored_destroy(model);
            else
                EXPECT_EQ(model, nullptr);
            return status;
        });
        EXPECT_GT(allocations, 20u);
    }
}

TEST(Factored, MemoryGrowsWithNnzNotWithHidden)
{
    std::vector<reliht_memory> seen;
    for (size_t hidden : {20000u, 40000u, 80000u}) {
        Case shape;
        shape.hidden = hidden;
        shape.samples = 64;
        shape.nnz = 500;
        Context context;
        factored_problem problem = problem_of(shape);
        factored *model;
        ASSERT_EQ(context.handle->backend->operations->factored_create(context.handle->backend,
                                                                       &problem, &model),
                  RELIHT_OK);
        reliht_memory current;
        reliht_context_memory(context, &current, nullptr);
        seen.push_back(current);
        context.handle->backend->operations->factored_destroy(model);
    }
    for (size_t i = 1; i < seen.size(); i++) {
        EXPECT_EQ(seen[i].weights, seen[0].weights);
        EXPECT_EQ(seen[i].candidates, seen[0].candidates);
        EXPECT_EQ(seen[i].workspace, seen[0].workspace);
        EXPECT_LT(seen[i].importance, seen[0].importance * 3 / 2); // ln(N / s)
    }
}

// ---------------------------------------------------------------- the recorded cases

namespace
{

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

TEST(FactoredRecorded, PublishedStepsAreReproduced)
{
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
            Context context;
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
