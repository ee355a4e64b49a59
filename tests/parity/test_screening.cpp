// Screening leaves no trace: the same iterates bit for bit, with fewer neurons swept.
#include "parity/parity.h"
#include "screened_training.h"

using namespace screened_training;
using parity::Context;

namespace
{

Result run(const Problem &problem, unsigned threads, bool screening)
{
    Context context(threads);
    return train(context, problem, screening);
}

const Problem problems[] = {
    {300, 12, 300, 4, 10, false, true, RELIHT_GENERATOR_SPARSE, 0, 1},
    {200, 12, 140, 4, 10, false, true, RELIHT_GENERATOR_GAUSSIAN, 0, 2},
    {150, 131, 150, 3, 6, true, true, RELIHT_GENERATOR_SPARSE, 0, 3}, // two tiles of inputs
    {300, 12, 150, 4, 10, false, true, RELIHT_GENERATOR_SPARSE, 100, 5},
    {200, 12, 60, 4, 10, true, false, RELIHT_GENERATOR_GAUSSIAN, 100, 7},
    {64, 5, 1, 1, 2, false, true, RELIHT_GENERATOR_GAUSSIAN, 0, 8},
    {100, 6, 2, 2, 12, false, true, RELIHT_GENERATOR_SPARSE, 0, 9}, // every entry is kept
};

} // namespace

TEST(ParityScreening, IteratesAreTheSameBitForBit)
{
    PARITY_NEEDS_BACKEND();
    for (const Problem &problem : problems) {
        SCOPED_TRACE(problem.seed);
        const Result plain = run(problem, 1, false), screened = run(problem, 2, true);
        EXPECT_EQ(screened.value, plain.value);
        EXPECT_EQ(screened.row, plain.row);
        EXPECT_EQ(screened.column, plain.column);
        EXPECT_EQ(screened.report.loss_final, plain.report.loss_final);
        ASSERT_EQ(screened.swept.size(), plain.swept.size());
        for (size_t step = 0; step < plain.swept.size(); step++)
            EXPECT_LE(screened.swept[step], plain.swept[step]) << "step " << step;
        EXPECT_EQ(run(problem, 2, true).swept, screened.swept);
    }
}

TEST(ParityScreening, LeavesOutNearlyAllOnceTheSupportStays)
{
    PARITY_NEEDS_BACKEND();
    const Problem problem = {300, 12, 400, 3, 6, false, true, RELIHT_GENERATOR_SPARSE, 0, 11};
    const Result screened = run(problem, 2, true);
    ASSERT_EQ(screened.swept.size(), 8u);
    EXPECT_EQ(screened.swept[0], problem.hidden) << "nothing is known before the first sweep";
    EXPECT_LT(screened.swept[7], problem.hidden / 4);
    EXPECT_LT(screened.report.swept_fraction, 1.0);
    for (size_t swept : run(problem, 2, false).swept)
        EXPECT_EQ(swept, problem.hidden);
}
