#include "oracle_factored.h"

extern "C" {
#include "backend/cpu/cpu.h"
}

#include <algorithm>
#include <cmath>
#include <vector>

using namespace oracle_factored;

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
