// Screening leaves no trace: the same iterates bit for bit, with fewer neurons swept.
#include "parity/parity.h"

#include <vector>

using parity::Context;

namespace
{

// Targets of a few planted neurons, which are also the generators of the first ones.
struct Problem {
    size_t samples, inputs, hidden, planted, nnz;
    bool mixed, convex;
    reliht_generator generator;
    size_t batch;
    uint64_t seed;
};

struct Result {
    std::vector<float> value;
    std::vector<uint32_t> row, column;
    reliht_train_report report{};
    std::vector<size_t> swept; // of every step
};

bool note_step(void *user, const reliht_progress *progress)
{
    static_cast<Result *>(user)->swept.push_back(progress->swept);
    return true;
}

Result run(const Problem &problem, unsigned threads, bool screening)
{
    Context context(threads);
    Result result;
    reliht_planted_options draw;
    reliht_planted_options_default(&draw);
    draw.samples = problem.samples;
    draw.inputs = problem.inputs;
    draw.hidden = problem.planted;
    draw.nnz = problem.nnz;
    draw.seed = problem.seed;
    draw.mixed = problem.mixed;
    reliht_dataset *data;
    reliht_model *planted, *model = nullptr;
    EXPECT_EQ(reliht_planted_create(context, &draw, &planted, &data), RELIHT_OK)
        << context.message();
    reliht_train_options options;
    reliht_train_options_default(&options);
    options.solver = RELIHT_SOLVER_AIHT;
    options.hidden = problem.hidden;
    options.nnz = problem.nnz;
    options.epochs = 8;
    options.batch = problem.batch;
    options.convex = problem.convex;
    options.generators = problem.convex ? planted : nullptr;
    options.generator = problem.generator;
    options.signs = problem.mixed ? RELIHT_SIGNS_MIXED : RELIHT_SIGNS_PLUS;
    options.return_last = true;
    options.screening = screening;
    options.seed = problem.seed;
    options.progress = note_step;
    options.progress_user = &result;
    EXPECT_EQ(reliht_train(context, data, &options, &model, &result.report), RELIHT_OK)
        << context.message();
    size_t nnz = 0;
    reliht_model_weights(model, 0, 0, nullptr, nullptr, nullptr, &nnz);
    result.value.resize(nnz);
    result.row.resize(nnz);
    result.column.resize(nnz);
    reliht_model_weights(model, 0, nnz, result.row.data(), result.column.data(),
                         result.value.data(), &nnz);
    reliht_model_destroy(model);
    reliht_model_destroy(planted);
    reliht_dataset_destroy(data);
    return result;
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
