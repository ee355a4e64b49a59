// Screening leaves no trace: the same iterates bit for bit, with fewer neurons swept.
#include "screened_training.h"

extern "C" {
#include "backend/cpu/cpu.h"
#include "backend/cpu/screen.h"
#include "backend/cpu/sweep.h"
#include "core/rng.h"
#include "data/dataset.h"
}

#include <cmath>
#include <cstring>
#include <vector>

using namespace screened_training;
using support::Context;

namespace
{

Result run(const Problem &problem, unsigned threads, bool screening, cpu_isa isa)
{
    Context context(threads);
    cpu_set_isa(context.handle->backend, isa);
    return train(context, problem, screening);
}

const Problem problems[] = {
    {600, 12, 300, 4, 10, false, true, RELIHT_GENERATOR_SPARSE, 0, 1},
    {600, 12, 300, 4, 10, false, true, RELIHT_GENERATOR_GAUSSIAN, 0, 2},
    {1000, 20, 3000, 3, 6, true, true, RELIHT_GENERATOR_SPARSE, 0, 3},
    {5000, 17, 40, 5, 12, true, true, RELIHT_GENERATOR_SPARSE, 0, 4},
    {900, 12, 200, 4, 10, false, true, RELIHT_GENERATOR_SPARSE, 300, 5},
    {900, 12, 200, 4, 10, false, false, RELIHT_GENERATOR_SPARSE, 0, 6},
    {900, 12, 200, 4, 10, true, false, RELIHT_GENERATOR_GAUSSIAN, 200, 7},
    {64, 5, 1, 1, 2, false, true, RELIHT_GENERATOR_GAUSSIAN, 0, 8},
    {300, 6, 2, 2, 12, false, true, RELIHT_GENERATOR_SPARSE, 0, 9}, // every entry is kept
};

} // namespace

TEST(Screening, IteratesAreTheSameBitForBit)
{
    for (const Problem &problem : problems) {
        SCOPED_TRACE(problem.seed);
        const Result plain = run(problem, 1, false, cpu_isa_best());
        std::vector<size_t> swept;
        for (unsigned threads : {1u, 2u, 5u})
            for (int isa : {(int)ISA_base, (int)cpu_isa_best()}) {
                const Result screened = run(problem, threads, true, (cpu_isa)isa);
                EXPECT_EQ(screened.value, plain.value);
                EXPECT_EQ(screened.row, plain.row);
                EXPECT_EQ(screened.column, plain.column);
                EXPECT_EQ(screened.report.loss_final, plain.report.loss_final);
                EXPECT_EQ(screened.report.epochs, plain.report.epochs);
                if (swept.empty())
                    swept = screened.swept;
                EXPECT_EQ(screened.swept, swept) << threads << " threads";
                EXPECT_LE(screened.report.swept_fraction, plain.report.swept_fraction);
            }
    }
}

TEST(Screening, LeavesOutNearlyAllOnceTheSupportIsFound)
{
    // disjoint inputs and large weights: the steps end at the planted network
    Problem problem = {3000, 50, 2000, 5, 15, false, true, RELIHT_GENERATOR_SPARSE, 0, 11};
    const Result screened = run(problem, 2, true, cpu_isa_best());
    ASSERT_EQ(screened.swept.size(), 8u);
    EXPECT_EQ(screened.swept[0], problem.hidden) << "nothing is known before the first sweep";
    const Result plain = run(problem, 2, false, cpu_isa_best());
    for (size_t swept : plain.swept)
        EXPECT_EQ(swept, problem.hidden);
    EXPECT_LT(screened.report.swept_fraction, plain.report.swept_fraction);
}

TEST(Screening, TakesAtMostEightBytesANeuron)
{
    for (size_t hidden : {1000u, 100000u}) {
        Context context(2);
        screen made;
        ASSERT_EQ(screen_create(context, &made, hidden, 640, true), RELIHT_OK);
        reliht_memory now;
        reliht_context_memory(context, &now, nullptr);
        EXPECT_EQ(now.screening, 4 * hidden + 4 * 640);
        screen_destroy(context, &made);
        ASSERT_EQ(screen_create(context, &made, hidden, 640, false), RELIHT_OK);
        reliht_context_memory(context, &now, nullptr);
        EXPECT_EQ(now.screening, 0u);
        screen_destroy(context, &made);
    }
    support::fail_each_allocation([](reliht_context *context) {
        screen made;
        reliht_status status = screen_create(context, &made, 10, 64, true);
        screen_destroy(context, &made);
        return status;
    });
}

// The bound itself: after any path of residuals, no entry of a neuron that is left out reaches the
// threshold, computed anew in double.
TEST(Screening, NoNeuronThatIsLeftOutReachesTheThreshold)
{
    constexpr size_t samples = 200, inputs = 6, hidden = 60, stride = 256;
    Context context(1);
    std::vector<float> x((inputs + 1) * stride), r(stride), noise(stride);
    for (size_t c = 0; c < inputs; c++)
        rng_normals(1, RNG_INPUTS, c, samples, &x[c * stride]);
    batch data = {};
    data.backend = reinterpret_cast<cpu_backend *>(context.handle->backend);
    data.samples = data.capacity = samples;
    data.inputs = inputs;
    data.stride = stride;
    data.x = x.data();
    screen made;
    ASSERT_EQ(screen_create(context, &made, hidden, stride, true), RELIHT_OK);
    rng_normals(2, RNG_INPUTS, 0, samples, r.data());
    size_t left_out = 0;
    for (uint32_t step = 0; step < 12; step++) {
        double squares = 0;
        for (float value : r)
            squares += (double)value * value;
        screen_begin(&made, &data, r.data(), squares);
        // each neuron sees the samples of its own number's bits
        std::vector<float> gradient(hidden * inputs);
        for (size_t j = 0; j < hidden; j++)
            for (size_t c = 0; c < inputs; c++) {
                float g = 0;
                for (size_t i = 0; i < samples; i++)
                    if (rng_word(3, RNG_INPUTS, j, (uint32_t)i) & 1)
                        g += x[c * stride + i] * r[i];
                gradient[j * inputs + c] = g;
            }
        const float eta = 0.01f, theta = 0.05f + 0.02f * (float)(step % 3);
        uint32_t bits;
        memcpy(&bits, &theta, sizeof bits);
        screen_decide(&made, eta, bits, samples);
        for (uint32_t j = 0; j < hidden; j++) {
            float largest = 0;
            for (size_t c = 0; c < inputs; c++)
                largest = std::max(largest, std::fabs(eta * gradient[j * inputs + c]));
            if (screen_skips(&made, j)) {
                left_out++;
                EXPECT_LT(largest, theta) << "neuron " << j << ", step " << step;
                continue;
            }
            screen_forget(&made, &j, 1);
            screen_raise(&made, j, &gradient[j * inputs], inputs / 2);
            screen_raise(&made, j, &gradient[j * inputs + inputs / 2], inputs - inputs / 2);
        }
        // a path that turns and shortens
        rng_normals(4, RNG_INPUTS, step, samples, noise.data());
        for (size_t i = 0; i < samples; i++)
            r[i] = 0.8f * r[i] + 0.02f * noise[i];
    }
    EXPECT_GT(left_out, hidden / 2);
    screen_destroy(context, &made);
}
