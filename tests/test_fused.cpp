#include "npy.h"
#include "oracle_fused.h"
#include "support.h"

extern "C" {
#include "backend/cpu/cpu.h"
#include "backend/cpu/support.h"
#include "core/rng.h"
}

#include <random>

using oracle::Vector;
using support::Context;

namespace
{

// A problem on both sides: dense doubles for the oracle, a data set and given generators for us.
// All numbers are floats, so both compute with the same data.
struct Case {
    oracle::Problem problem;
    Vector generators; // [hidden, inputs]

    Case(size_t samples, size_t inputs, size_t hidden, size_t nnz, unsigned seed,
         bool mixed = false)
    {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        problem = {samples, inputs, hidden, nnz, Vector(samples * inputs), Vector(samples), mixed};
        for (double &v : problem.x)
            v = normal(random);
        for (double &v : problem.y)
            v = normal(random) + 0.5f;
        generators.resize(hidden * inputs);
        for (double &v : generators)
            v = normal(random);
    }
};

struct FusedRun {
    Context context;
    reliht_dataset *dataset = nullptr;
    sparse given{}, weights{};
    fused *model = nullptr;
    batch *data = nullptr;
    const oracle::Problem &problem;

    FusedRun(const Case &c, unsigned threads = 2, cpu_isa isa = cpu_isa_best())
        : context(threads), problem(c.problem)
    {
        const oracle::Problem &p = c.problem;
        cpu_set_isa(context.handle->backend, isa);
        std::vector<float> x(p.x.begin(), p.x.end()), y(p.y.begin(), p.y.end());
        must(reliht_dataset_from_arrays(context, p.samples, p.inputs, x.data(), 1, y.data(),
                                        &dataset));
        must(sparse_create(context, &given, p.hidden, p.inputs, c.generators.size()));
        must(sparse_create(context, &weights, p.hidden, p.inputs, p.nnz));
        fill(&given, c.generators);
        fused_problem problem_of{};
        problem_of.hidden = p.hidden;
        problem_of.inputs = p.inputs;
        problem_of.nnz = p.nnz;
        problem_of.samples = p.samples;
        problem_of.signs = p.mixed ? RELIHT_SIGNS_MIXED : RELIHT_SIGNS_PLUS;
        problem_of.given = &given;
        backend *on = context.handle->backend;
        must(on->operations->fused_create(on, &problem_of, &model));
        must(on->operations->batch_create(on, dataset, false, p.samples, &data));
        must(on->operations->batch_load(data, nullptr, p.samples));
    }
    ~FusedRun()
    {
        cpu_fused_destroy(model);
        cpu_batch_destroy(data);
        sparse_destroy(context, &given);
        sparse_destroy(context, &weights);
        reliht_dataset_destroy(dataset);
    }
    void must(reliht_status status)
    {
        if (status)
            throw std::runtime_error(context.message());
    }
    void fill(sparse *matrix, const Vector &dense)
    {
        sparse_clear(matrix);
        for (size_t i = 0; i < dense.size(); i++)
            if (dense[i] != 0)
                sparse_append(matrix, (uint32_t)(i / problem.inputs),
                              (uint32_t)(i % problem.inputs), (float)dense[i]);
    }
    void set(const Vector &dense)
    {
        fill(&weights, dense);
        must(cpu_fused_set_weights(model, &weights));
    }
    Vector get()
    {
        must(cpu_fused_get_weights(model, &weights));
        Vector dense(problem.hidden * problem.inputs);
        for (size_t j = 0; j < weights.live; j++)
            for (size_t k = weights.start[j]; k < weights.start[j + 1]; k++)
                dense[weights.row[j] * problem.inputs + weights.column[k]] =
                    (double)weights.value[k];
        return dense;
    }
    step_report step(pattern_source source, size_t refits, Vector *chosen = nullptr)
    {
        step_report report;
        must(cpu_fused_begin(model, data, source));
        must(cpu_fused_sweep(model, data, source));
        if (chosen)
            *chosen = get();
        must(cpu_fused_refit(model, data, refits));
        must(cpu_fused_report(model, &report));
        return report;
    }
};

void expect_close(const Vector &ours, const Vector &theirs, double relative, const char *what)
{
    double scale = 0;
    for (double v : theirs)
        scale = std::max(scale, std::fabs(v));
    for (size_t i = 0; i < theirs.size(); i++)
        ASSERT_NEAR(ours[i], theirs[i], relative * scale) << what << " entry " << i;
}

Vector sparse_weights(const Case &c, size_t count, unsigned seed)
{
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    Vector w(c.problem.hidden * c.problem.inputs);
    for (size_t k = 0; k < count; k++)
        w[random() % w.size()] = normal(random);
    return w;
}

} // namespace

struct Shape {
    size_t samples, inputs, hidden, nnz;
    bool mixed;
};

class FusedStep : public testing::TestWithParam<Shape>
{
};

TEST_P(FusedStep, AgreesWithTheDenseOracle)
{
    const Shape &s = GetParam();
    Case c(s.samples, s.inputs, s.hidden, s.nnz, 7, s.mixed);
    for (bool with_weights : {false, true}) {
        FusedRun run(c);
        Vector w = sparse_weights(c, with_weights ? s.nnz : 0, 3);
        run.set(w);
        oracle::Step expected = oracle::step(c.problem, c.generators, w);
        Vector chosen;
        step_report report = run.step(PATTERNS_DRAWN, 10, &chosen);
        EXPECT_NEAR(report.objective_before, expected.before, 1e-5 * expected.before);
        EXPECT_NEAR(report.step_size, expected.step_size, 1e-4 * expected.step_size);
        EXPECT_NEAR(report.objective_chosen, expected.objective_chosen, 1e-4 * expected.before);
        EXPECT_NEAR(report.objective_after, expected.after, 1e-4 * expected.before);
        expect_close(chosen, expected.chosen, 1e-4, "chosen");
        expect_close(run.get(), expected.weights, 1e-3, "weights");
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, FusedStep,
                         testing::Values(Shape{1, 1, 1, 1, false}, Shape{63, 5, 3, 4, false},
                                         Shape{64, 16, 4, 10, true}, Shape{65, 17, 9, 20, true},
                                         Shape{200, 20, 10, 15, false},
                                         Shape{1100, 33, 7, 60, true},
                                         Shape{130, 4, 70, 50, false}));

TEST(FusedStep, ResidualAndGradientAgreeWithTheOracle)
{
    Case c(150, 12, 8, 20, 11, true);
    FusedRun run(c);
    Vector w = sparse_weights(c, 20, 5);
    run.set(w);
    run.must(cpu_fused_begin(run.model, run.data, PATTERNS_DRAWN));
    std::vector<float> residual(150), gradient(20);
    run.must(cpu_fused_read(run.model, residual.data(), gradient.data(), nullptr));
    oracle::Step expected = oracle::step(c.problem, c.generators, w);
    expect_close(Vector(residual.begin(), residual.end()), expected.residual, 1e-5, "residual");
    Vector on_support;
    for (size_t i = 0; i < w.size(); i++)
        if (w[i] != 0)
            on_support.push_back(expected.gradient[i]);
    gradient.resize(on_support.size());
    expect_close(Vector(gradient.begin(), gradient.end()), on_support, 1e-5, "gradient");
}

// <A v, r> = <v, A^T r> for the products on the support.
TEST(FusedStep, ForwardAndAdjointAreAdjoint)
{
    Case c(777, 10, 6, 25, 2, true);
    FusedRun run(c);
    run.set(sparse_weights(c, 25, 9));
    run.must(cpu_fused_begin(run.model, run.data, PATTERNS_DRAWN));
    run.must(cpu_fused_get_weights(run.model, &run.weights));
    std::vector<uint64_t> bits(run.weights.live * run.data->stride / 64);
    run.must(cpu_fused_read(run.model, nullptr, nullptr, bits.data()));
    support_operator a{};
    a.backend = (cpu_backend *)run.context.handle->backend;
    a.x = run.data->x;
    a.stride = run.data->stride;
    a.support = &run.weights;
    a.patterns = bits.data();
    a.signs = RELIHT_SIGNS_MIXED;
    std::vector<float> r(a.stride), image(a.stride), gradient(run.weights.nnz);
    std::vector<double> sums(support_chunks(a.stride));
    for (size_t i = 0; i < 777; i++)
        r[i] = rng_normal_of((uint32_t)(i * 2654435761u));
    support_forward(&a, run.weights.value, nullptr, image.data(), sums.data());
    std::vector<double> scratch(ADJOINT_SCRATCH * gradient.size());
    support_adjoint(&a, r.data(), gradient.data(), scratch.data());
    double left = 0, right = 0, size = 0;
    for (size_t i = 0; i < 777; i++)
        left += (double)image[i] * (double)r[i];
    for (size_t k = 0; k < gradient.size(); k++) {
        right += (double)run.weights.value[k] * (double)gradient[k];
        size += std::fabs((double)run.weights.value[k] * (double)gradient[k]);
    }
    EXPECT_NEAR(left, right, 1e-6 * size);
}

TEST(FusedStep, SameBitsForAnyThreadsAndInstructionSet)
{
    Case c(2500, 19, 40, 60, 4, true);
    std::vector<Vector> results;
    for (unsigned threads : {1u, 2u, 3u, 5u})
        for (int isa = 0; isa <= (int)cpu_isa_best(); isa++) {
            if (isa != (int)cpu_isa_best() && threads > 1)
                continue;
            FusedRun run(c, threads, (cpu_isa)isa);
            run.step(PATTERNS_DRAWN, 10);
            run.step(PATTERNS_DRAWN, 10);
            for (int i = 0; i < 4; i++)
                run.step(PATTERNS_WEIGHTS, 10);
            results.push_back(run.get());
        }
    for (const Vector &result : results)
        EXPECT_EQ(result, results[0]);
    EXPECT_GT(oracle::squares(results[0]), 0);
}

TEST(FusedStep, PlantedWeightsAreAFixedPoint)
{
    Case c(500, 20, 5, 10, 21);
    Vector planted = sparse_weights(c, 10, 8);
    c.problem.nnz =
        (size_t)std::count_if(planted.begin(), planted.end(), [](double v) { return v != 0; });
    std::vector<char> active = oracle::patterns(c.problem, planted);
    Vector y = oracle::residual(c.problem, active, planted, false);
    for (size_t i = 0; i < y.size(); i++)
        c.problem.y[i] = (float)y[i];
    FusedRun run(c);
    run.set(planted);
    for (int i = 0; i < 3; i++) {
        step_report report = run.step(PATTERNS_WEIGHTS, 10);
        EXPECT_LT(report.objective_before, 1e-11 * oracle::squares(y));
    }
    expect_close(run.get(), planted, 1e-6, "planted");
}

TEST(FusedStep, PermutingSamplesKeepsTheSupport)
{
    Case c(300, 15, 6, 12, 33);
    Case permuted = c;
    for (size_t i = 0; i < 300; i++) {
        size_t from = (i * 7 + 11) % 300;
        permuted.problem.y[i] = c.problem.y[from];
        for (size_t k = 0; k < 15; k++)
            permuted.problem.x[i * 15 + k] = c.problem.x[from * 15 + k];
    }
    FusedRun a(c), b(permuted);
    for (int i = 0; i < 5; i++) {
        a.step(i < 2 ? PATTERNS_DRAWN : PATTERNS_WEIGHTS, 10);
        b.step(i < 2 ? PATTERNS_DRAWN : PATTERNS_WEIGHTS, 10);
    }
    expect_close(a.get(), b.get(), 1e-3, "weights");
}

TEST(FusedStep, PermutingNeuronsPermutesTheWeights)
{
    Case c(300, 15, 6, 12, 34);
    Case permuted = c;
    for (size_t j = 0; j < 6; j++)
        for (size_t k = 0; k < 15; k++)
            permuted.generators[j * 15 + k] = c.generators[(5 - j) * 15 + k];
    FusedRun a(c), b(permuted);
    for (int i = 0; i < 5; i++) {
        a.step(i < 2 ? PATTERNS_DRAWN : PATTERNS_WEIGHTS, 10);
        b.step(i < 2 ? PATTERNS_DRAWN : PATTERNS_WEIGHTS, 10);
    }
    Vector first = a.get(), second = b.get();
    for (size_t j = 0; j < 6; j++)
        for (size_t k = 0; k < 15; k++)
            EXPECT_NEAR(first[(5 - j) * 15 + k], second[j * 15 + k], 1e-4);
}

TEST(FusedStep, NonFiniteGradientNamesNeuronAndInput)
{
    Case c(10, 3, 2, 3, 5);
    for (double &v : c.problem.x)
        v = 3e38f;
    for (double &v : c.generators)
        v = 1;
    for (double &v : c.problem.y)
        v = 3e38f;
    FusedRun run(c);
    cpu_fused_begin(run.model, run.data, PATTERNS_DRAWN);
    EXPECT_EQ(cpu_fused_sweep(run.model, run.data, PATTERNS_DRAWN), RELIHT_NUMERIC);
    EXPECT_NE(run.context.message().find("neuron 0"), std::string::npos) << run.context.message();
    EXPECT_NE(run.context.message().find("input 0"), std::string::npos);
}

// Recorded runs of the published code (tests/python/convert_scalar_refcases.py): the same supports
// and squared errors. In seed 0, sequential, two neurons come to have equal patterns after step 4,
// and the choice between their equal gradients is a matter of rounding.
struct Recorded {
    const char *name;
    bool convex;
    size_t steps;
};

class FusedRecorded : public testing::TestWithParam<Recorded>
{
};

TEST_P(FusedRecorded, TakesTheSameSteps)
{
    const Recorded &recorded = GetParam();
    auto array = [&](const char *field) {
        return read_npy(std::string("refcases/") + recorded.name + "." + field + ".npy");
    };
    Npy x = array("x"), y = array("y"), generators = array("generators");
    Npy chosen = array("chosen"), after = array("after"), scalars = array("scalars");
    Case c(x.rows, x.columns, generators.rows, 15, 0);
    c.problem.x.assign(x.values.begin(), x.values.end());
    c.problem.y.assign(y.values.begin(), y.values.end());
    c.generators.assign(generators.values.begin(), generators.values.end());
    FusedRun run(c);
    for (size_t t = 0; t < recorded.steps; t++) {
        Vector ours;
        step_report report =
            run.step(recorded.convex || t < 2 ? PATTERNS_DRAWN : PATTERNS_WEIGHTS, 10, &ours);
        EXPECT_NEAR(report.objective_before, scalars.at(t, 0), 1e-3 * scalars.at(t, 0)) << t;
        EXPECT_NEAR(report.objective_chosen, scalars.at(t, 1), 1e-3 * scalars.at(t, 1)) << t;
        EXPECT_NEAR(report.objective_after, scalars.at(t, 2), 1e-3 * scalars.at(t, 2)) << t;
        EXPECT_NEAR(report.step_size / scalars.at(t, 3), 1.0, 1e-3) << t;
        Vector refitted = run.get();
        for (size_t i = 0; i < ours.size(); i++) {
            EXPECT_EQ(ours[i] != 0, chosen.at(t, i) != 0) << "step " << t << " entry " << i;
            EXPECT_NEAR(refitted[i], after.at(t, i), 1e-3) << "step " << t << " entry " << i;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Cases, FusedRecorded,
                         testing::Values(Recorded{"scalar_seed0_convex0", false, 5},
                                         Recorded{"scalar_seed0_convex1", true, 6},
                                         Recorded{"scalar_seed1_convex0", false, 6},
                                         Recorded{"scalar_seed1_convex1", true, 6},
                                         Recorded{"scalar_seed2_convex0", false, 6},
                                         Recorded{"scalar_seed2_convex1", true, 6}),
                         [](const auto &test) { return std::string(test.param.name); });
