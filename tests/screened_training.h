// Training runs with and without screening, as the tests of both backends compare them.
#ifndef RELIHT_TESTS_SCREENED_TRAINING_H
#define RELIHT_TESTS_SCREENED_TRAINING_H

#include "support.h"

#include <vector>

namespace screened_training
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

inline bool note_step(void *user, const reliht_progress *progress)
{
    static_cast<Result *>(user)->swept.push_back(progress->swept);
    return true;
}

inline Result train(reliht_context *context, const Problem &problem, bool screening)
{
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
        << reliht_context_message(context);
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
        << reliht_context_message(context);
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

} // namespace screened_training

#endif
