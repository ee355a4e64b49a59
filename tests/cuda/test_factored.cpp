// The factored model in device memory.
#include "cuda/device.h"
#include "oracle_factored.h"
#include "parity/parity.h"

using namespace oracle_factored;

TEST(CudaFactored, MemoryGrowsWithNnzNotWithHidden)
{
    PARITY_NEEDS_BACKEND();
    std::vector<reliht_memory> seen;
    for (size_t hidden : {10000u, 100000u, 1000000u}) {
        Case shape;
        shape.hidden = hidden;
        shape.samples = 64;
        shape.inputs = 5;
        shape.outputs = 2;
        parity::Context context;
        factored_problem problem = problem_of(shape);
        factored *model;
        ASSERT_EQ(context.operations().factored_create(context.on(), &problem, &model), RELIHT_OK)
            << context.message();
        reliht_memory current;
        reliht_context_device_memory(context, &current, nullptr);
        seen.push_back(current);
        context.operations().factored_destroy(model);
    }
    EXPECT_EQ(seen[1].weights, seen[0].weights);
    EXPECT_EQ(seen[2].weights, seen[0].weights);
    EXPECT_EQ(seen[2].candidates, seen[0].candidates);
    // a block of neurons is held at most, and the sketch grows as ln(N / s)
    EXPECT_EQ(seen[2].workspace, seen[1].workspace);
    EXPECT_EQ(seen[2].patterns, seen[1].patterns);
    EXPECT_LT(seen[2].importance, seen[0].importance * 2);
}

TEST(CudaFactored, MemoryIsLinearInNnz)
{
    PARITY_NEEDS_BACKEND();
    uint64_t total[3];
    for (size_t i = 0; i < 3; i++) {
        Case shape;
        shape.hidden = 1000;
        shape.inputs = 100;
        shape.nnz = 1000 * (i + 1);
        shape.importance = RELIHT_IMPORTANCE_MAGNITUDE;
        parity::Context context;
        factored_problem problem = problem_of(shape);
        factored *model;
        ASSERT_EQ(context.operations().factored_create(context.on(), &problem, &model), RELIHT_OK);
        reliht_memory current;
        reliht_context_device_memory(context, &current, nullptr);
        total[i] = current.total;
        context.operations().factored_destroy(model);
    }
    EXPECT_EQ(total[2] - total[1], total[1] - total[0]);
}

TEST(CudaFactored, OneGraphPerKindOfStepServesChangingBatches)
{
    PARITY_NEEDS_BACKEND();
    // Two models on one stream, stepped in turn, and a second batch: as each on its own.
    Case shape;
    Data data(shape);
    parity::Context context;
    Model alone(context, shape, data), one(context, shape, data), other(context, shape, data);
    batch *second;
    ASSERT_EQ(
        context.operations().batch_create(context.on(), one.dataset, false, shape.samples, &second),
        RELIHT_OK);
    ASSERT_EQ(context.operations().batch_load(second, nullptr, shape.samples), RELIHT_OK);
    for (int step = 0; step < 3; step++)
        ASSERT_EQ(alone.step(step == 0), RELIHT_OK);
    for (int step = 0; step < 3; step++) {
        std::swap(one.data, second);
        ASSERT_EQ(one.step(step == 0), RELIHT_OK);
        ASSERT_EQ(other.step(step == 0), RELIHT_OK);
    }
    EXPECT_EQ(one.weights(), alone.weights());
    EXPECT_EQ(other.weights(), alone.weights());
    context.operations().batch_destroy(second);
}
