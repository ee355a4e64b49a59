// Gauss-Newton steps, gradients of listed generators, and the solver that recovers planted networks
// exactly.
#include "oracle_fused.h"
#include "support.h"

extern "C" {
#include "backend/cpu/cpu.h"
#include "model/model.h"
}

#include <random>
#include <stdexcept>

using oracle::Vector;
using support::Context;

namespace
{

constexpr size_t samples = 300, inputs = 7, hidden = 5, nnz = 20;

// A model with random weights on random data, and the same numbers for the oracle.
struct Model {
    Context context;
    oracle::Problem problem;
    Vector weights; // [linear_row(hidden) + 1, inputs]
    reliht_dataset *dataset = nullptr;
    sparse matrix{};
    fused *model = nullptr;
    batch *data = nullptr;

    Model(bool mixed, bool linear, unsigned threads = 2) : context(threads)
    {
        std::mt19937 random(7);
        std::normal_distribution<float> normal;
        problem = {samples,         inputs, linear_row(hidden) + 1, nnz, Vector(samples * inputs),
                   Vector(samples), mixed};
        for (double &v : problem.x)
            v = normal(random);
        for (double &v : problem.y)
            v = normal(random) + 0.5f;
        weights.resize(problem.hidden * inputs);
        for (size_t j = 0; j < hidden; j++)
            for (size_t k = 0; k < 3; k++)
                weights[j * inputs + (j + 2 * k) % inputs] = normal(random);
        if (linear)
            for (size_t c = 0; c < inputs; c++)
                weights[linear_row(hidden) * inputs + c] = normal(random);
        std::vector<float> x(problem.x.begin(), problem.x.end()),
            y(problem.y.begin(), problem.y.end());
        must(reliht_dataset_from_arrays(context, samples, inputs, x.data(), 1, y.data(), &dataset));
        must(sparse_create(context, &matrix, problem.hidden, inputs, nnz + inputs));
        fill(weights, linear);
        fused_problem of{};
        of.hidden = hidden;
        of.inputs = inputs;
        of.nnz = nnz + inputs;
        of.samples = samples;
        of.signs = mixed ? RELIHT_SIGNS_MIXED : RELIHT_SIGNS_PLUS;
        of.generator = RELIHT_GENERATOR_SPARSE;
        of.linear = linear;
        backend *on = context.handle->backend;
        must(on->operations->fused_create(on, &of, &model));
        must(on->operations->batch_create(on, dataset, false, samples, &data));
        must(on->operations->batch_load(data, nullptr, samples));
        must(cpu_fused_set_weights(model, &matrix));
    }
    ~Model()
    {
        cpu_fused_destroy(model);
        cpu_batch_destroy(data);
        sparse_destroy(context, &matrix);
        reliht_dataset_destroy(dataset);
    }
    void must(reliht_status status)
    {
        if (status)
            throw std::runtime_error(context.message());
    }
    void fill(const Vector &dense, bool linear)
    {
        sparse_clear(&matrix);
        for (size_t i = 0; i < dense.size(); i++)
            if (dense[i] != 0 || (linear && i / inputs == linear_row(hidden)))
                sparse_append(&matrix, (uint32_t)(i / inputs), (uint32_t)(i % inputs),
                              (float)dense[i]);
    }
    Vector get()
    {
        must(cpu_fused_get_weights(model, &matrix));
        Vector dense(weights.size());
        for (size_t j = 0; j < matrix.live; j++)
            for (size_t k = matrix.start[j]; k < matrix.start[j + 1]; k++)
                dense[matrix.row[j] * inputs + matrix.column[k]] = (double)matrix.value[k];
        return dense;
    }
    // The patterns of the weights; that of the linear term is full.
    std::vector<char> patterns(bool linear) const
    {
        std::vector<char> active = oracle::patterns(problem, weights);
        if (linear)
            for (size_t i = 0; i < samples; i++)
                active[i * problem.hidden + linear_row(hidden)] = 1;
        return active;
    }
};

// Solves the symmetric positive definite system a x = b by elimination.
Vector solve_system(Vector a, Vector b)
{
    size_t n = b.size();
    for (size_t k = 0; k < n; k++)
        for (size_t i = k + 1; i < n; i++) {
            double factor = a[i * n + k] / a[k * n + k];
            for (size_t j = k; j < n; j++)
                a[i * n + j] -= factor * a[k * n + j];
            b[i] -= factor * b[k];
        }
    for (size_t k = n; k-- > 0;) {
        for (size_t j = k + 1; j < n; j++)
            b[k] -= a[k * n + j] * b[j];
        b[k] /= a[k * n + k];
    }
    return b;
}

// The damped least-squares step by normal equations, in the variables (w, b) or (v, a).
Vector oracle_solve(const Model &m, bool linear, double damping)
{
    const oracle::Problem &p = m.problem;
    std::vector<char> active = m.patterns(linear);
    Vector r = oracle::residual(p, active, m.weights);
    std::vector<size_t> support;
    for (size_t i = 0; i < m.weights.size(); i++)
        if (m.weights[i] != 0)
            support.push_back(i);
    size_t count = support.size(), row = linear_row(hidden);
    Vector columns(samples * count);
    for (size_t i = 0; i < samples; i++)
        for (size_t k = 0; k < count; k++) {
            size_t j = support[k] / inputs, c = support[k] % inputs;
            double factor = active[i * p.hidden + j];
            if (linear && j != row)
                factor -= 0.5;
            columns[i * count + k] = (j == row ? 1 : p.sign(j)) * factor * p.x[i * inputs + c];
        }
    Vector normal(count * count), right(count);
    for (size_t k = 0; k < count; k++)
        for (size_t i = 0; i < samples; i++) {
            right[k] -= columns[i * count + k] * r[i];
            for (size_t l = 0; l < count; l++)
                normal[k * count + l] += columns[i * count + k] * columns[i * count + l];
        }
    double image = 0;
    for (size_t k = 0; k < count; k++)
        for (size_t l = 0; l < count; l++)
            image += right[k] * normal[k * count + l] * right[l];
    for (size_t k = 0; k < count; k++)
        normal[k * count + k] += damping * image / oracle::squares(right);
    Vector delta = solve_system(normal, right), out = m.weights;
    for (size_t k = 0; k < count; k++) {
        out[support[k]] += delta[k];
        size_t j = support[k] / inputs;
        if (linear && j != row)
            out[row * inputs + support[k] % inputs] -= 0.5 * p.sign(j) * delta[k];
    }
    return out;
}

TEST(Solve, IsTheDampedLeastSquaresStep)
{
    for (bool mixed : {false, true})
        for (bool linear : {false, true})
            for (double damping : {0.0, 0.3}) {
                Model m(mixed, linear);
                const solve_options options = {200, damping, 1e-7};
                m.must(cpu_fused_begin(m.model, m.data, PATTERNS_WEIGHTS));
                m.must(cpu_fused_solve(m.model, m.data, &options));
                Vector expected = oracle_solve(m, linear, damping), got = m.get();
                for (size_t i = 0; i < expected.size(); i++)
                    EXPECT_NEAR(got[i], expected[i], 2e-4)
                        << mixed << linear << damping << " entry " << i;
                step_report report;
                m.must(cpu_fused_report(m.model, &report));
                double objective =
                    oracle::squares(oracle::residual(m.problem, m.patterns(linear), expected));
                EXPECT_NEAR(report.objective_after, objective, 1e-4 * objective);
                EXPECT_LT(report.objective_after, report.objective_before);
                EXPECT_LE(report.refits, 60u);
            }
}

TEST(Solve, StopsAtItsLimitAndNeverRises)
{
    double before = INFINITY;
    for (size_t iterations = 0; iterations < 6; iterations++) {
        Model m(true, true);
        const solve_options options = {iterations, 0.01, 0};
        m.must(cpu_fused_begin(m.model, m.data, PATTERNS_WEIGHTS));
        m.must(cpu_fused_solve(m.model, m.data, &options));
        step_report report;
        m.must(cpu_fused_report(m.model, &report));
        EXPECT_EQ(report.refits, iterations);
        EXPECT_LE(report.objective_after, before);
        before = report.objective_after;
        if (!iterations) {
            EXPECT_EQ(m.get(), m.weights);
        }
    }
}

TEST(Solve, SameBitsForAnyNumberOfThreads)
{
    Vector first;
    for (unsigned threads : {1u, 3u}) {
        Model m(true, true, threads);
        const solve_options options = {5, 0.01, 0};
        m.must(cpu_fused_begin(m.model, m.data, PATTERNS_WEIGHTS));
        m.must(cpu_fused_solve(m.model, m.data, &options));
        if (first.empty())
            first = m.get();
        EXPECT_EQ(m.get(), first);
    }
}

TEST(Solve, ALinearTermHoldsAllInputs)
{
    Model m(false, true);
    m.matrix.nnz--;
    m.matrix.start[m.matrix.live]--;
    m.must(cpu_fused_set_weights(m.model, &m.matrix));
    m.must(cpu_fused_begin(m.model, m.data, PATTERNS_WEIGHTS));
    const solve_options options = {1, 0, 0};
    EXPECT_EQ(cpu_fused_solve(m.model, m.data, &options), RELIHT_ARGUMENT);
    EXPECT_NE(m.context.message().find("6 of 7 inputs"), std::string::npos) << m.context.message();
}

// Rows of a list of generators and those of drawn neurons, from any row on.
TEST(Gradients, AreThoseOfTheOracle)
{
    Model m(true, false);
    m.must(cpu_fused_begin(m.model, m.data, PATTERNS_WEIGHTS));
    std::vector<float> residual(samples);
    m.must(cpu_fused_read(m.model, residual.data(), nullptr, nullptr));
    oracle::Problem plus = m.problem;
    plus.mixed = false;
    Vector r(residual.begin(), residual.end());
    Vector expected = oracle::adjoint(plus, m.patterns(false), r);
    std::vector<float> got(hidden * inputs);
    m.must(cpu_fused_gradients(m.model, m.data, &m.matrix, 1, 3, got.data()));
    for (size_t i = 0; i < 3 * inputs; i++)
        EXPECT_NEAR(got[i], expected[inputs + i], 1e-3);
    std::vector<float> whole(hidden * inputs), part(2 * inputs);
    m.must(cpu_fused_gradients(m.model, m.data, nullptr, 0, hidden, whole.data()));
    m.must(cpu_fused_gradients(m.model, m.data, nullptr, 2, 2, part.data()));
    for (size_t i = 0; i < 2 * inputs; i++)
        EXPECT_EQ(part[i], whole[2 * inputs + i]);
    EXPECT_NE(whole, got);
}

// ---------------------------------------------------------------- the solver

// A planted problem and what training on it gives.
struct Planted {
    Context context;
    reliht_model *planted = nullptr, *model = nullptr;
    reliht_dataset *dataset = nullptr;
    reliht_train_options options;
    reliht_train_report report;

    explicit Planted(const reliht_planted_options &draw, unsigned threads = 2) : context(threads)
    {
        EXPECT_EQ(reliht_planted_create(context, &draw, &planted, &dataset), RELIHT_OK);
        reliht_train_options_default(&options);
        options.solver = RELIHT_SOLVER_RECOVER;
        options.hidden = draw.hidden;
        options.nnz = draw.nnz;
        options.seed = draw.seed;
    }
    ~Planted()
    {
        reliht_model_destroy(planted);
        reliht_model_destroy(model);
        reliht_dataset_destroy(dataset);
    }
    reliht_status train()
    {
        return reliht_train(context, dataset, &options, &model, &report);
    }
    double psnr()
    {
        reliht_evaluation evaluation;
        EXPECT_EQ(reliht_model_evaluate(context, model, dataset, &evaluation), RELIHT_OK);
        return evaluation.psnr_db;
    }
};

reliht_planted_options draw_of(size_t n, size_t d, size_t m, size_t s, uint64_t seed,
                               bool mixed = false)
{
    reliht_planted_options draw;
    reliht_planted_options_default(&draw);
    draw.samples = n;
    draw.inputs = d;
    draw.hidden = m;
    draw.nnz = s;
    draw.seed = seed;
    draw.mixed = mixed;
    return draw;
}

std::vector<float> values_of(const reliht_model *model)
{
    size_t count;
    EXPECT_EQ(reliht_model_weights(model, 0, 0, nullptr, nullptr, nullptr, &count), RELIHT_OK);
    std::vector<uint32_t> neuron(count), column(count);
    std::vector<float> value(count);
    EXPECT_EQ(
        reliht_model_weights(model, 0, count, neuron.data(), column.data(), value.data(), &count),
        RELIHT_OK);
    return value;
}

TEST(Recover, FindsPlantedNetworksExactly)
{
    for (bool mixed : {false, true})
        for (uint64_t seed : {0u, 1u, 2u}) {
            Planted p(draw_of(2000, 30, 8, 16, seed, mixed));
            ASSERT_EQ(p.train(), RELIHT_OK) << p.context.message();
            EXPECT_GT(p.psnr(), 100) << "mixed " << mixed << " seed " << seed;
            EXPECT_TRUE(p.report.converged);
            EXPECT_LE(reliht_model_nnz(p.model), 16u);
        }
}

TEST(Recover, FindsOneWeightAndOneNeuron)
{
    for (size_t s : {1u, 3u}) {
        Planted p(draw_of(500, 10, 1, s, 3));
        ASSERT_EQ(p.train(), RELIHT_OK) << p.context.message();
        EXPECT_GT(p.psnr(), 100) << s;
    }
}

TEST(Recover, KeepsTheBudgetOnDataOfNoNetwork)
{
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<float> x(400 * 6), y(400);
    for (float &v : x)
        v = normal(random);
    for (size_t i = 0; i < y.size(); i++)
        y[i] = std::sin(x[6 * i]) + normal(random) / 4;
    Context context;
    reliht_dataset *dataset;
    ASSERT_EQ(reliht_dataset_from_arrays(context, 400, 6, x.data(), 1, y.data(), &dataset),
              RELIHT_OK);
    reliht_train_options options;
    reliht_train_options_default(&options);
    options.hidden = 5;
    options.nnz = 9;
    options.bias = true;
    options.epochs = 3;
    double losses[2];
    for (int recover = 0; recover < 2; recover++) {
        reliht_model *model;
        reliht_train_report report;
        options.solver = recover ? RELIHT_SOLVER_RECOVER : RELIHT_SOLVER_AIHT;
        ASSERT_EQ(reliht_train(context, dataset, &options, &model, &report), RELIHT_OK)
            << context.message();
        EXPECT_LE(reliht_model_nnz(model), 9u);
        EXPECT_EQ(reliht_model_hidden(model, 0), 5u);
        losses[recover] = report.loss_final;
        reliht_model_destroy(model);
    }
    EXPECT_LE(losses[1], losses[0]);
    reliht_dataset_destroy(dataset);
}

TEST(Recover, ConvexModeFindsThePlantedAmongRandomGenerators)
{
    for (uint64_t seed = 0; seed < 5; seed++) {
        Planted p(draw_of(1000, 20, 3, 6, seed));
        p.options.hidden = 13;
        p.options.convex = true;
        p.options.generators = p.planted;
        ASSERT_EQ(p.train(), RELIHT_OK) << p.context.message();
        EXPECT_GT(p.psnr(), 100) << seed;
        double recall, error;
        ASSERT_EQ(reliht_model_compare(p.context, p.planted, p.model, &recall, &error), RELIHT_OK);
        EXPECT_LT(error, 1e-4) << seed;
    }
}

TEST(Recover, SameBitsForAnyNumberOfThreads)
{
    std::vector<float> first;
    for (unsigned threads : {1u, 2u, 3u}) {
        Planted p(draw_of(1500, 20, 6, 14, 5), threads);
        ASSERT_EQ(p.train(), RELIHT_OK);
        if (first.empty())
            first = values_of(p.model);
        EXPECT_EQ(values_of(p.model), first) << threads;
    }
}

// Ten times the hidden neurons cost nothing; no array is as large as hidden * inputs.
TEST(Recover, MemoryGrowsWithTheWeightsAlone)
{
    uint64_t peaks[2];
    for (int i = 0; i < 2; i++) {
        Planted p(draw_of(600, 20, 4, 8, 1));
        p.options.hidden = i ? 1000000 : 1000;
        p.options.epochs = 1;
        ASSERT_EQ(p.train(), RELIHT_OK);
        reliht_memory current, peak;
        reliht_context_memory(p.context, &current, &peak);
        peaks[i] = peak.weights + peak.patterns + peak.candidates + peak.workspace;
    }
    EXPECT_LE(peaks[1], peaks[0] + 65536);
    EXPECT_LT(peaks[1], 16u << 20);
}

TEST(Recover, RefusesWhatItCannotDo)
{
    Planted p(draw_of(200, 10, 3, 6, 1));
    p.options.validation = 0.2;
    EXPECT_EQ(p.train(), RELIHT_ARGUMENT);
    EXPECT_NE(p.context.message().find("validation"), std::string::npos);
    p.options.validation = 0;
    p.options.generators = p.planted;
    EXPECT_EQ(p.train(), RELIHT_ARGUMENT);
    EXPECT_NE(p.context.message().find("convex"), std::string::npos);
    p.options.generators = nullptr;
    p.options.hidden = 1u << 26;
    p.options.nnz = (1u << 28) + 1;
    EXPECT_EQ(p.train(), RELIHT_ARGUMENT);
}

TEST(Recover, NumbersTooLargeAreAnError)
{
    Context context;
    std::vector<float> x(40, 1e30f), y(20, 1e30f);
    reliht_dataset *dataset = nullptr;
    ASSERT_EQ(reliht_dataset_from_arrays(context, 20, 2, x.data(), 1, y.data(), &dataset),
              RELIHT_OK);
    reliht_train_options options;
    reliht_train_options_default(&options);
    options.solver = RELIHT_SOLVER_RECOVER;
    options.hidden = 2;
    options.nnz = 2;
    reliht_model *model = nullptr;
    EXPECT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_NUMERIC);
    EXPECT_NE(context.message().find("scale them"), std::string::npos) << context.message();
    reliht_dataset_destroy(dataset);
}

// Data of another scale are fitted as well, or refused where single precision ends.
TEST(Recover, DoesNotDependOnTheScaleOfTheData)
{
    const size_t samples = 500, inputs = 10;
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<float> x(samples * inputs), y(samples);
    for (float &v : x)
        v = normal(random);
    for (size_t i = 0; i < samples; i++)
        for (size_t j = 0; j < 3; j++)
            y[i] += std::max(0.0f, x[i * inputs + j] - 0.5f * x[i * inputs + j + 4]);
    for (float scale : {1e-12f, 1e-6f, 1e-3f, 1.0f, 1e3f, 1e6f, 1e7f, 1e12f}) {
        Context context;
        std::vector<float> scaled_x(x), scaled_y(y);
        for (float &v : scaled_x)
            v *= scale;
        for (float &v : scaled_y)
            v *= scale;
        reliht_dataset *dataset = nullptr;
        reliht_model *model = nullptr;
        ASSERT_EQ(reliht_dataset_from_arrays(context, samples, inputs, scaled_x.data(), 1,
                                             scaled_y.data(), &dataset),
                  RELIHT_OK);
        reliht_train_options options;
        reliht_train_options_default(&options);
        options.solver = RELIHT_SOLVER_RECOVER;
        options.hidden = 3;
        options.nnz = 6;
        reliht_status status = reliht_train(context, dataset, &options, &model, nullptr);
        if (scale >= 1e-3f && scale <= 1e3f) {
            EXPECT_EQ(status, RELIHT_OK) << scale << context.message();
        }
        if (status == RELIHT_OK) {
            reliht_evaluation evaluation;
            ASSERT_EQ(reliht_model_evaluate(context, model, dataset, &evaluation), RELIHT_OK);
            EXPECT_GT(evaluation.psnr_db, 100) << scale;
        } else {
            EXPECT_EQ(status, RELIHT_NUMERIC) << scale;
        }
        reliht_model_destroy(model);
        reliht_dataset_destroy(dataset);
    }
}

// Draws with neurons that differ in a small weight only: which are to be split is for the residual
// to say (13, 22), and the last fit has to follow directions of little curvature (38).
TEST(Recover, TellsNeuronsAtASmallAngleApart)
{
    for (uint64_t seed : {13u, 22u, 38u}) {
        Planted p(draw_of(2000, 20, 25, 40, seed));
        p.options.epochs = 4;
        ASSERT_EQ(p.train(), RELIHT_OK);
        EXPECT_GT(p.psnr(), 145) << seed;
    }
}

// No neuron that adds helps where all targets are negative.
TEST(Recover, SurvivesDataThatNoNeuronFits)
{
    Context context;
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    std::vector<float> x(300 * 4), y(300, -1.0f);
    for (float &v : x)
        v = std::fabs(normal(random));
    reliht_dataset *dataset = nullptr;
    reliht_model *model = nullptr;
    ASSERT_EQ(reliht_dataset_from_arrays(context, 300, 4, x.data(), 1, y.data(), &dataset),
              RELIHT_OK);
    reliht_train_options options;
    reliht_train_options_default(&options);
    options.solver = RELIHT_SOLVER_RECOVER;
    options.signs = RELIHT_SIGNS_PLUS;
    options.hidden = 3;
    options.nnz = 4;
    EXPECT_EQ(reliht_train(context, dataset, &options, &model, nullptr), RELIHT_OK)
        << context.message();
    EXPECT_EQ(reliht_model_nnz(model), 0u);
    reliht_model_destroy(model);
    reliht_dataset_destroy(dataset);
}

bool stop_at_third(void *user, const reliht_progress *)
{
    return ++*static_cast<int *>(user) < 3;
}

TEST(Recover, ACancelledRunHandsOverItsBest)
{
    for (bool convex : {false, true}) {
        Planted p(draw_of(1500, 30, 12, 60, 2));
        int calls = 0;
        p.options.progress = stop_at_third;
        p.options.progress_user = &calls;
        p.options.convex = convex;
        if (convex)
            p.options.hidden = 20;
        EXPECT_EQ(p.train(), RELIHT_CANCELLED);
        ASSERT_NE(p.model, nullptr);
        EXPECT_GT(reliht_model_nnz(p.model), 0u);
        EXPECT_LE(reliht_model_nnz(p.model), 60u);
        EXPECT_EQ(calls, 3);
    }
}

// Steps of the published method, tried in the end, are no steps of the search.
bool stop_within_an_epoch(void *user, const reliht_progress *progress)
{
    auto *calls = static_cast<int *>(user);
    if (progress->epoch == progress->epochs && progress->batch == 0)
        ++*calls;
    return *calls < 2;
}

TEST(Recover, ThePublishedMethodCanBeCancelledToo)
{
    Planted p(draw_of(300, 10, 6, 30, 3));
    int calls = 0;
    p.options.nnz = 20; // too few for an exact network
    p.options.epochs = 3;
    p.options.progress = stop_within_an_epoch;
    p.options.progress_user = &calls;
    EXPECT_EQ(p.train(), RELIHT_CANCELLED);
    EXPECT_EQ(calls, 2);
    ASSERT_NE(p.model, nullptr);
    EXPECT_GT(reliht_model_nnz(p.model), 0u);
    EXPECT_LE(reliht_model_nnz(p.model), 20u);
}

bool note_epoch(void *user, const reliht_progress *progress)
{
    if (progress->batch == progress->batches)
        static_cast<std::vector<size_t> *>(user)->push_back(progress->epoch);
    return true;
}

TEST(Recover, EveryEpochEndsOnceHoweverManyStepsItHad)
{
    for (bool convex : {false, true})
        for (size_t nnz : {14u, 10u}) { // the second is too few, and all epochs are used
            Planted p(draw_of(1500, 20, 6, 14, 5));
            std::vector<size_t> ended, expected;
            p.options.nnz = nnz;
            p.options.epochs = 3;
            p.options.convex = convex;
            if (convex)
                p.options.generators = p.planted;
            p.options.progress = note_epoch;
            p.options.progress_user = &ended;
            ASSERT_EQ(p.train(), RELIHT_OK);
            EXPECT_EQ(p.report.converged, nnz == 14);
            for (size_t epoch = 1; epoch <= p.report.epochs; epoch++)
                expected.push_back(epoch);
            EXPECT_EQ(ended, expected);
            EXPECT_FALSE(ended.empty());
        }
}

TEST(Recover, SurvivesFailingAllocations)
{
    for (bool convex : {false, true})
        support::fail_each_allocation([convex](reliht_context *context) {
            reliht_planted_options draw = draw_of(100, 5, 2, 3, 1);
            reliht_model *planted = nullptr, *model = nullptr;
            reliht_dataset *dataset = nullptr;
            reliht_status status = reliht_planted_create(context, &draw, &planted, &dataset);
            reliht_train_options options;
            reliht_train_options_default(&options);
            options.solver = RELIHT_SOLVER_RECOVER;
            options.hidden = 2;
            options.nnz = 2; // one too few, so that every part of the search runs
            options.epochs = 1;
            options.convex = convex;
            if (!status)
                status = reliht_train(context, dataset, &options, &model, nullptr);
            reliht_model_destroy(model);
            reliht_model_destroy(planted);
            reliht_dataset_destroy(dataset);
            return status;
        });
}

} // namespace
