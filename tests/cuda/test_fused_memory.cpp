// Device memory of a fused model: linear in the nonzeros, hardly anything for a neuron.
#include "parity/parity.h"

namespace
{

uint64_t bytes_of(size_t hidden, size_t nnz, reliht_generator generator)
{
    parity::Context context;
    fused_problem problem{};
    problem.hidden = hidden;
    problem.inputs = 20;
    problem.nnz = nnz;
    problem.samples = 100;
    problem.generator = generator;
    fused *model;
    EXPECT_EQ(context.operations().fused_create(context.on(), &problem, &model), RELIHT_OK);
    reliht_memory held;
    reliht_context_device_memory(context, &held, nullptr);
    context.operations().fused_destroy(model);
    return held.total;
}

} // namespace

TEST(CudaFusedMemory, GrowsByAtMostEightBytesANeuron)
{
    PARITY_NEEDS_BACKEND();
    for (reliht_generator generator : {RELIHT_GENERATOR_SPARSE, RELIHT_GENERATOR_GAUSSIAN}) {
        uint64_t before = bytes_of(10000, 300, generator);
        for (size_t hidden : {100000u, 1000000u})
            EXPECT_LE(bytes_of(hidden, 300, generator), before + 8 * (hidden - 10000));
    }
}

TEST(CudaFusedMemory, IsLinearInTheNonzeros)
{
    PARITY_NEEDS_BACKEND();
    // multiples of the 256 entries whose sums share a number
    const uint64_t first = bytes_of(1000, 10240, RELIHT_GENERATOR_SPARSE);
    const uint64_t slope = bytes_of(1000, 11264, RELIHT_GENERATOR_SPARSE) - first;
    EXPECT_GT(slope, 0u);
    EXPECT_LE(bytes_of(1000, 20480, RELIHT_GENERATOR_SPARSE), first + 10 * slope);
}
