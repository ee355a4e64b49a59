#include "oracle_factored.h"

extern "C" {
#include "backend/cpu/cpu.h"
#include "solver/fit.h"
#include "solver/network.h"
#include "solver/trials.h"
}

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

using namespace oracle_factored;

namespace
{

reliht_dataset *planted(reliht_context *context, uint64_t seed, size_t samples = 1500)
{
    reliht_planted_options options;
    reliht_planted_options_default(&options);
    options.samples = samples;
    options.inputs = 20;
    options.outputs = 4;
    options.hidden = 10;
    options.nnz = 40;
    options.seed = seed;
    reliht_model *network = nullptr;
    reliht_dataset *made = nullptr;
    reliht_status status = reliht_planted_create(context, &options, &network, &made);
    EXPECT_TRUE(status == RELIHT_OK || status == RELIHT_MEMORY);
    reliht_model_destroy(network);
    return made;
}

reliht_train_options recover_options(size_t epochs)
{
    reliht_train_options options;
    reliht_train_options_default(&options);
    options.solver = RELIHT_SOLVER_RECOVER;
    options.hidden = 10;
    options.nnz = 40;
    options.epochs = epochs;
    return options;
}

std::vector<float> predictions(reliht_context *context, const reliht_model *model,
                               const reliht_dataset *data)
{
    std::vector<float> y(reliht_dataset_samples(data) * reliht_dataset_outputs(data));
    EXPECT_EQ(reliht_model_predict(context, model, data, y.data()), RELIHT_OK);
    return y;
}

} // namespace

TEST(FactoredEvaluate, SameBitsForAnyThreadsAndInstructionSet)
{
    for (const Case &shape : evaluation_cases()) {
        std::vector<float> first;
        Matrix first_found;
        for (unsigned threads : {1u, 3u})
            for (int isa = 0; isa <= (int)cpu_isa_best(); isa++) {
                Context context(threads);
                cpu_set_isa(((reliht_context *)context)->backend, (cpu_isa)isa);
                Data data(shape);
                Model model(context, shape, data);
                Network at(context, shape, 0.2), found(context, shape, 0);
                std::vector<float> all(network_nnz(&at.it) + 1);
                double loss;
                model.operations->factored_set_weights(model.it, &at.it.hidden, &at.it.output);
                model.operations->factored_evaluate(model.it, model.data, &loss, all.data());
                model.operations->factored_candidates(model.it, model.data, 60, &found.it.hidden,
                                                      &found.it.output);
                all.back() = (float)loss;
                if (first.empty()) {
                    first = all;
                    first_found = found.dense();
                }
                EXPECT_EQ(all, first) << threads << " threads, instruction set " << isa;
                EXPECT_EQ(found.dense(), first_found);
            }
    }
}

TEST(Network, BalancingChangesNoOutput)
{
    Context context;
    Case shape;
    Network at(context, shape, 0.3);
    Matrix before = at.dense();
    network_balance(&at.it);
    Matrix after = at.dense();
    for (uint32_t j = 0; j < shape.hidden; j++) {
        double product = at.norm(false, j) * at.norm(true, j);
        EXPECT_NEAR(product > 0 ? at.norm(false, j) - at.norm(true, j) : 0.0, 0, 1e-5);
        for (size_t c = 0; c < shape.inputs; c++)
            for (size_t k = 0; k < shape.outputs; k++) {
                size_t in = j * shape.inputs + c,
                       out = shape.hidden * shape.inputs + j * shape.outputs + k;
                EXPECT_NEAR(before[in] * before[out], after[in] * after[out], 1e-5);
            }
    }
}

TEST(Network, CutKeepsTheStrongestAndTheMostSalient)
{
    Context context;
    Case shape;
    shape.hidden = 30;
    for (size_t hidden : {30u, 12u, 5u})
        for (size_t nnz : {400u, 60u, 20u}) {
            Network at(context, shape, 0.2), before(context, shape, 0.2),
                scratch(context, shape, 0);
            network_drop_incomplete(&before.it);
            std::vector<double> strength, saliency;
            for (uint32_t j = 0; j < shape.hidden; j++)
                strength.push_back(before.norm(false, j) * before.norm(true, j));
            std::vector<double> sorted = strength;
            std::sort(sorted.rbegin(), sorted.rend());
            std::map<float, double> worth; // of a weight of this value, 0 in a neuron that goes
            for (uint32_t j = 0; j < shape.hidden; j++)
                for (bool output : {false, true})
                    for (uint32_t c = 0; c < (output ? shape.outputs : shape.inputs); c++) {
                        double value = before.value(output, j, c);
                        bool stays = value != 0 && strength[j] >= sorted[hidden - 1];
                        worth[(float)value] =
                            stays ? std::fabs(value) * before.norm(!output, j) : 0.0;
                        if (stays)
                            saliency.push_back(worth[(float)value]);
                    }
            std::sort(saliency.rbegin(), saliency.rend());
            double least = saliency[std::min(nnz, saliency.size()) - 1] * (1 - 1e-9);
            std::vector<ranking> ranks(2000);
            network_cut(&at.it, hidden, nnz, ranks.data(), &scratch.it);
            EXPECT_LE(network_nnz(&at.it), nnz);
            EXPECT_GT(network_nnz(&at.it), 0u);
            for (const sparse *side : {&at.it.hidden, &at.it.output})
                for (size_t k = 0; k < side->nnz; k++)
                    EXPECT_GE(worth[side->value[k]], least) << hidden << " " << nnz;
            ASSERT_LE(at.it.hidden.live, hidden);
            ASSERT_EQ(at.it.hidden.live, at.it.output.live);
            for (size_t row = 0; row < at.it.hidden.live; row++) {
                EXPECT_LT(at.it.hidden.row[row], hidden);
                EXPECT_EQ(at.it.hidden.row[row], at.it.output.row[row]);
            }
            bool nothing_to_cut = nnz == 400 && hidden == 30;
            EXPECT_EQ(at.dense() == before.dense(), nothing_to_cut);
        }
}

TEST(Network, UnitingAddsZerosWhereOnlyTheOtherHasEntries)
{
    Context context;
    Case shape;
    Network a(context, shape, 0.2), out(context, shape, 0);
    shape.seed = 6;
    Network b(context, shape, 0.2);
    sparse_unite(&a.it.hidden, &b.it.hidden, &out.it.hidden);
    EXPECT_EQ(out.dense(), [&] {
        Matrix expected = a.dense();
        std::fill(expected.begin() + (long)(shape.hidden * shape.inputs), expected.end(), 0.0);
        return expected;
    }());
    size_t common = sparse_common(&a.it.hidden, &b.it.hidden);
    EXPECT_EQ(out.it.hidden.nnz, a.it.hidden.nnz + b.it.hidden.nnz - common);
    EXPECT_EQ(sparse_common(&out.it.hidden, &b.it.hidden), b.it.hidden.nnz);
    sparse_drop_zeros(&out.it.hidden);
    EXPECT_EQ(sparse_distance(&out.it.hidden, &a.it.hidden), 0);
}

TEST(Trials, AreUnitRowsOfFewInputs)
{
    Context context;
    Case shape;
    shape.hidden = 400;
    for (double density : {0.0, 0.1, 0.9}) { // of the rows they are made from
        Network at(context, shape, density, 400 * 23 + 1600);
        sparse *rows = &at.it.hidden;
        while (rows->live && rows->row[rows->live - 1] >= 10) // rows below 10 stay
            rows->nnz = rows->start[--rows->live];
        size_t nnz = rows->nnz, live = rows->live;
        append_trials(rows, 3, 7, 10, 390);
        EXPECT_GT(rows->live, live + 300);
        size_t longest = 0;
        for (size_t row = live; row < rows->live; row++) {
            EXPECT_GE(rows->row[row], 10u);
            EXPECT_NEAR(sparse_row_square(rows, row), 1, 1e-6);
            longest = std::max<size_t>(longest, rows->start[row + 1] - rows->start[row]);
        }
        EXPECT_LE(longest, (size_t)TRIAL_LENGTH);
        EXPECT_GE(longest, density > 0 ? 3u : 2u);
        std::vector<float> again(rows->value + nnz, rows->value + rows->nnz);
        rows->live = live;
        rows->nnz = nnz;
        append_trials(rows, 3, 7, 10, 390);
        EXPECT_EQ(again, std::vector<float>(rows->value + nnz, rows->value + rows->nnz));
    }
}

// From the planted weights, disturbed, the fit finds them again.
TEST(Fit, FindsTheMinimumOfItsSupport)
{
    Case shape;
    shape.loss = RELIHT_LOSS_MSE;
    shape.samples = 900;
    shape.nnz = 400;
    shape.importance = RELIHT_IMPORTANCE_MAGNITUDE;
    shape.step = RELIHT_STEP_PUBLISHED;
    for (float scale : {1.0f, 0x1p-10f, 0x1p8f}) {
        Context context;
        Case scaled = shape;
        scaled.x_scale = scale;
        Network truth(context, shape, 0.1), at(context, shape, 0.1);
        Data data(scaled);
        Oracle oracle(scaled, data);
        Matrix weights = truth.dense();
        const Matrix patterns(weights.begin(), weights.begin() + (long)oracle.split);
        for (size_t i = 0; i < shape.samples; i++) {
            Matrix y = oracle.outputs(weights, patterns, i);
            std::copy(y.begin(), y.end(), data.y.begin() + (long)(i * shape.outputs));
        }
        Model model(context, scaled, data);
        fit space = {};
        ASSERT_EQ(fit_create(context, &space, 400), RELIHT_OK);
        space.model = model.it;
        space.data = model.data;
        space.inputs_square = (double)scale * (double)scale;
        space.gradient_unit = 0.5 * (double)shape.outputs;
        for (size_t k = 0; k < at.it.hidden.nnz; k++)
            at.it.hidden.value[k] *= 1 + 0.2f * (float)((int)(k % 3) - 1);
        double start, loss, before = INFINITY;
        ASSERT_EQ(fit_network(context, &space, &at.it, 0, 0, &start), RELIHT_OK);
        for (int round = 0; round < 6; round++) {
            ASSERT_EQ(fit_network(context, &space, &at.it, 25, 0, &loss), RELIHT_OK);
            EXPECT_LE(loss, before + 1e-8 * start); // balancing rounds
            before = loss;
        }
        EXPECT_LT(loss, 1e-8 * start) << "inputs of scale " << scale;
        fit_destroy(context, &space);
    }
}

TEST(FactoredRecover, RecoversPlantedNetworks)
{
    size_t exact = 0;
    for (uint64_t seed = 0; seed < 4; seed++) {
        Context context(1);
        reliht_dataset *data = planted(context, seed, 600);
        reliht_model *model = nullptr;
        reliht_train_report report;
        reliht_evaluation evaluation;
        reliht_train_options options = recover_options(120);
        options.solver = RELIHT_SOLVER_AUTO;
        ASSERT_EQ(reliht_train(context, data, &options, &model, &report), RELIHT_OK);
        ASSERT_EQ(reliht_model_evaluate(context, model, data, &evaluation), RELIHT_OK);
        EXPECT_EQ(report.solver, RELIHT_SOLVER_RECOVER);
        EXPECT_EQ(report.converged, report.epochs < 120);
        EXPECT_LE(reliht_model_nnz(model), 40u);
        EXPECT_NE(std::string(reliht_model_metadata(model)).find("\"solver\":\"recover\""),
                  std::string::npos);
        EXPECT_GT(evaluation.psnr_db, 45);
        exact += evaluation.psnr_db > 100;
        reliht_model_destroy(model);
        reliht_dataset_destroy(data);
    }
    EXPECT_GE(exact, 3u);
}

TEST(FactoredRecover, BatchesAreFittedToAllSamplesInTheEnd)
{
    Context context;
    reliht_dataset *data = planted(context, 1, 5000);
    reliht_train_options options = recover_options(100);
    options.batch = 10; // raised to 10 values a weight: 100 samples
    reliht_model *model = nullptr;
    reliht_evaluation evaluation;
    ASSERT_EQ(reliht_train(context, data, &options, &model, nullptr), RELIHT_OK);
    ASSERT_EQ(reliht_model_evaluate(context, model, data, &evaluation), RELIHT_OK);
    EXPECT_GT(evaluation.psnr_db, 45);
    reliht_model_destroy(model);
    reliht_dataset_destroy(data);
}

TEST(FactoredRecover, SameBitsForAnyThreadsAndAgain)
{
    std::vector<float> first;
    for (unsigned threads : {1u, 3u, 1u})
        for (size_t batch : {0u, 400u}) {
            Context context(threads);
            reliht_dataset *data = planted(context, 2);
            reliht_train_options options = recover_options(12);
            options.batch = batch;
            reliht_model *model = nullptr;
            ASSERT_EQ(reliht_train(context, data, &options, &model, nullptr), RELIHT_OK);
            std::vector<float> y = predictions(context, model, data);
            if (batch == 0 && first.empty())
                first = y;
            EXPECT_EQ(y == first, batch == 0);
            reliht_model_destroy(model);
            reliht_dataset_destroy(data);
        }
}

TEST(FactoredRecover, ReturnsTheBestByValidationOrTheLast)
{
    Context context;
    reliht_dataset *data = planted(context, 3, 400);
    struct Record {
        std::vector<double> loss, evaluation;
    };
    for (double validation : {0.0, 0.3})
        for (bool last : {false, true}) {
            Record record;
            reliht_train_options options = recover_options(25);
            options.validation = validation;
            options.return_last = last;
            options.progress_user = &record;
            options.progress = [](void *user, const reliht_progress *progress) {
                auto *to = static_cast<Record *>(user);
                to->loss.push_back(progress->loss);
                to->evaluation.push_back(progress->evaluation_loss);
                return true;
            };
            reliht_model *model = nullptr;
            reliht_train_report report;
            ASSERT_EQ(reliht_train(context, data, &options, &model, &report), RELIHT_OK);
            ASSERT_EQ(record.loss.size(), report.epochs);
            EXPECT_EQ(record.loss == record.evaluation, validation == 0);
            if (validation == 0) {
                double best = *std::min_element(record.loss.begin(), record.loss.end());
                double expected = last ? record.loss.back() : best;
                EXPECT_NEAR(report.loss_final, expected, 1e-4 * expected + 1e-12);
            }
            reliht_model_destroy(model);
        }
    reliht_dataset_destroy(data);
}

TEST(FactoredRecover, ServesClassesBiasAndLayers)
{
    Context context(1);
    std::vector<float> x(600 * 12);
    std::vector<int32_t> labels(600);
    rng_normals(1, RNG_INPUTS, 0, x.size(), x.data());
    for (size_t i = 0; i < 600; i++)
        labels[i] = x[i * 12] > x[i * 12 + 1] ? 2 : x[i * 12 + 5] > 0.3f;
    reliht_dataset *data = nullptr;
    ASSERT_EQ(reliht_dataset_from_labels(context, 600, 12, x.data(), labels.data(), 3, &data),
              RELIHT_OK);
    for (size_t nnz : {30u, 31u}) { // auto recovers up to ten weights a class
        reliht_train_options options = recover_options(1);
        options.solver = RELIHT_SOLVER_AUTO;
        options.nnz = nnz;
        reliht_model *model = nullptr;
        reliht_train_report report;
        ASSERT_EQ(reliht_train(context, data, &options, &model, &report), RELIHT_OK);
        EXPECT_EQ(report.solver, nnz == 30 ? RELIHT_SOLVER_RECOVER : RELIHT_SOLVER_AIHT);
        reliht_model_destroy(model);
    }
    for (size_t layers : {1u, 2u})
        for (bool bias : {false, true}) {
            reliht_train_options options = recover_options(12);
            options.layers = layers;
            options.bias = bias;
            reliht_model *model = nullptr;
            reliht_evaluation evaluation;
            ASSERT_EQ(reliht_train(context, data, &options, &model, nullptr), RELIHT_OK)
                << context.message();
            ASSERT_EQ(reliht_model_evaluate(context, model, data, &evaluation), RELIHT_OK);
            EXPECT_GT(evaluation.accuracy, 0.9) << layers << " layers, bias " << bias;
            reliht_model_destroy(model);
        }
    reliht_dataset_destroy(data);
}

TEST(FactoredRecover, CancellingAndToleranceEndARun)
{
    Context context;
    reliht_dataset *data = planted(context, 4);
    reliht_train_options options = recover_options(50);
    options.tolerance = 0.3;
    reliht_model *model = nullptr;
    reliht_train_report report;
    ASSERT_EQ(reliht_train(context, data, &options, &model, &report), RELIHT_OK);
    EXPECT_TRUE(report.converged);
    EXPECT_LT(report.epochs, 10u);
    reliht_model_destroy(model);
    options.tolerance = 0;
    options.progress = [](void *, const reliht_progress *progress) { return progress->epoch < 2; };
    ASSERT_EQ(reliht_train(context, data, &options, &model, &report), RELIHT_CANCELLED);
    ASSERT_NE(model, nullptr);
    EXPECT_EQ(report.epochs, 2u);
    EXPECT_GT(reliht_model_nnz(model), 0u);
    reliht_model_destroy(model);
    reliht_dataset_destroy(data);
}

TEST(FactoredRecover, NonFiniteLossIsAnError)
{
    Context context;
    std::vector<float> x(40, 1e30f), y(40, 1e30f);
    reliht_dataset *data = nullptr;
    ASSERT_EQ(reliht_dataset_from_arrays(context, 20, 2, x.data(), 2, y.data(), &data), RELIHT_OK);
    reliht_train_options options = recover_options(3);
    options.nnz = 8;
    reliht_model *model = nullptr;
    EXPECT_EQ(reliht_train(context, data, &options, &model, nullptr), RELIHT_NUMERIC);
    EXPECT_NE(context.message().find("smaller magnitude"), std::string::npos) << context.message();
    reliht_dataset_destroy(data);
}

TEST(FactoredRecover, EachFailedAllocationIsReported)
{
    for (size_t batch : {0u, 150u})
        EXPECT_GT(support::fail_each_allocation([&](reliht_context *context) {
                      reliht_dataset *data = planted(context, 1, 200);
                      if (!data)
                          return RELIHT_MEMORY;
                      reliht_train_options options = recover_options(4);
                      options.batch = batch;
                      reliht_model *model = nullptr;
                      reliht_status status = reliht_train(context, data, &options, &model, nullptr);
                      reliht_model_destroy(model);
                      reliht_dataset_destroy(data);
                      return status;
                  }),
                  30u);
}

TEST(FactoredRecover, MemoryDoesNotGrowWithHidden)
{
    std::vector<reliht_memory> seen;
    for (size_t hidden : {100000u, 100000000u}) {
        Context context(1);
        reliht_dataset *data = planted(context, 1, 200);
        reliht_train_options options = recover_options(4);
        options.hidden = hidden;
        reliht_model *model = nullptr;
        ASSERT_EQ(reliht_train(context, data, &options, &model, nullptr), RELIHT_OK);
        reliht_memory peak;
        reliht_context_memory(context, nullptr, &peak);
        seen.push_back(peak);
        reliht_model_destroy(model);
        reliht_dataset_destroy(data);
    }
    EXPECT_EQ(seen[0].weights, seen[1].weights);
    EXPECT_EQ(seen[0].candidates, seen[1].candidates);
    EXPECT_LT(seen[0].weights + seen[0].workspace, 4u << 20);
    EXPECT_LT(seen[1].workspace, seen[0].workspace + (2u << 20)); // a block of gradients
}
