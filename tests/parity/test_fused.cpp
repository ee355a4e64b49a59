// The fused model: steps, patterns, refits, solves and gradients against dense oracles in double
// precision, and by properties.
#include "oracle_fused.h"
#include "parity/parity.h"

extern "C" {
#include "core/generator.h"
#include "solver/restricted.h"
}

#include <random>
#include <stdexcept>

using oracle::Vector;

namespace
{

enum class Generators { Given, HalfGiven, Sparse, Gaussian };

struct Shape {
    size_t samples, inputs, hidden, nnz;
    bool mixed = false;
    Generators generators = Generators::Given;
    bool linear = false;

    size_t rows() const
    {
        return linear ? linear_row(hidden) + 1 : hidden;
    }
    bool is_given(size_t neuron) const
    {
        return generators == Generators::Given ||
               (generators == Generators::HalfGiven && neuron < (hidden + 1) / 2);
    }
};

// Random data with targets of both signs. All numbers are floats, so that the oracle and the
// backend compute with the same data.
struct Case {
    Shape shape;
    oracle::Problem problem;
    Vector generators; // [rows, inputs]

    explicit Case(const Shape &s, unsigned seed = 7)
        : shape(s),
          problem{s.samples,         s.inputs, s.rows(), s.nnz, Vector(s.samples * s.inputs),
                  Vector(s.samples), s.mixed},
          generators(s.rows() * s.inputs)
    {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        for (double &v : problem.x)
            v = normal(random);
        for (double &v : problem.y)
            v = normal(random) + 0.5f;
        std::vector<float> drawn(s.inputs);
        for (size_t j = 0; j < s.hidden; j++) {
            if (s.is_given(j))
                for (float &v : drawn)
                    v = random() % 3 ? normal(random) : 0.0f;
            else
                draw(j, drawn);
            std::copy(drawn.begin(), drawn.end(), generators.begin() + j * s.inputs);
        }
    }
    void draw(size_t neuron, std::vector<float> &h) const
    {
        if (shape.generators == Generators::Gaussian)
            return generator_draw_gaussian(9, (uint32_t)neuron, shape.inputs, h.data());
        uint32_t columns[GENERATOR_NONZEROS];
        float values[GENERATOR_NONZEROS];
        std::fill(h.begin(), h.end(), 0.0f);
        size_t count = generator_draw_sparse(9, (uint32_t)neuron, shape.inputs, columns, values);
        for (size_t k = 0; k < count; k++)
            h[columns[k]] = values[k];
    }
    // `count` random weights; with a linear term its row as well.
    Vector weights(size_t count, unsigned seed) const
    {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        Vector w(shape.rows() * shape.inputs);
        for (size_t k = 0; k < count; k++)
            w[random() % (shape.hidden * shape.inputs)] = normal(random);
        for (size_t c = 0; shape.linear && c < shape.inputs; c++)
            w[linear_row(shape.hidden) * shape.inputs + c] = normal(random);
        return w;
    }
    // Patterns of generators h; that of the linear term is full.
    std::vector<char> patterns(const Vector &h) const
    {
        std::vector<char> active = oracle::patterns(problem, h);
        for (size_t i = 0; shape.linear && i < shape.samples; i++)
            active[i * shape.rows() + linear_row(shape.hidden)] = 1;
        return active;
    }
};

// The case on the backend of this program.
struct Model {
    parity::Context context;
    const Shape shape;
    reliht_dataset *dataset = nullptr;
    sparse given{}, matrix{};
    fused_problem problem{};
    fused *model = nullptr;
    batch *data = nullptr;

    explicit Model(const Case &c, bool bias = false, size_t capacity = SIZE_MAX,
                   size_t spare_nnz = 0)
        : shape(c.shape)
    {
        const oracle::Problem &p = c.problem;
        size_t plain = shape.inputs - bias;
        std::vector<float> x, y(p.y.begin(), p.y.end());
        for (size_t i = 0; i < p.x.size(); i++)
            if (i % shape.inputs < plain)
                x.push_back((float)p.x[i]);
        must(reliht_dataset_from_arrays(context, shape.samples, plain, x.data(), 1, y.data(),
                                        &dataset));
        must(sparse_create(context, &given, shape.hidden, shape.inputs,
                           shape.hidden * shape.inputs));
        must(sparse_create(context, &matrix, shape.rows(), shape.inputs, shape.nnz + spare_nnz));
        size_t rows = 0;
        while (rows < shape.hidden && shape.is_given(rows))
            rows++;
        fill(&given, c.generators, rows);
        given.rows = rows;
        problem.hidden = shape.hidden;
        problem.inputs = shape.inputs;
        problem.nnz = shape.nnz;
        problem.samples = std::min(shape.samples, capacity);
        problem.signs = shape.mixed ? RELIHT_SIGNS_MIXED : RELIHT_SIGNS_PLUS;
        problem.generator = shape.generators == Generators::Gaussian ? RELIHT_GENERATOR_GAUSSIAN
                                                                     : RELIHT_GENERATOR_SPARSE;
        problem.seed = 9;
        problem.given = rows ? &given : nullptr;
        problem.linear = shape.linear;
        must(on().fused_create(context.on(), &problem, &model));
        must(on().batch_create(context.on(), dataset, bias, problem.samples, &data));
        if (capacity >= shape.samples)
            must(on().batch_load(data, nullptr, shape.samples));
    }
    ~Model()
    {
        on().fused_destroy(model);
        on().batch_destroy(data);
        sparse_destroy(context, &given);
        sparse_destroy(context, &matrix);
        reliht_dataset_destroy(dataset);
    }
    const backend_operations &on() const
    {
        return context.operations();
    }
    void must(reliht_status status) const
    {
        if (status)
            throw std::runtime_error(context.message());
    }
    // All entries of the linear term, the nonzeros of the others.
    void fill(sparse *to, const Vector &dense, size_t rows) const
    {
        sparse_clear(to);
        for (size_t i = 0; i < rows * shape.inputs; i++)
            if (dense[i] != 0 || (shape.linear && i / shape.inputs == linear_row(shape.hidden)))
                sparse_append(to, (uint32_t)(i / shape.inputs), (uint32_t)(i % shape.inputs),
                              (float)dense[i]);
    }
    void set(const Vector &dense)
    {
        fill(&matrix, dense, shape.rows());
        must(on().fused_set_weights(model, &matrix));
    }
    Vector get()
    {
        must(on().fused_get_weights(model, &matrix));
        Vector dense(shape.rows() * shape.inputs);
        for (size_t j = 0; j < matrix.live; j++)
            for (size_t k = matrix.start[j]; k < matrix.start[j + 1]; k++)
                dense[matrix.row[j] * shape.inputs + matrix.column[k]] = (double)matrix.value[k];
        return dense;
    }
    step_report report() const
    {
        step_report report;
        must(on().fused_report(model, &report));
        return report;
    }
    step_report step(pattern_source source, size_t refits)
    {
        must(on().fused_begin(model, data, source));
        must(on().fused_sweep(model, data, source));
        must(on().fused_refit(model, data, refits));
        return report();
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

void expect_step(Model &run, const oracle::Step &expected, pattern_source source)
{
    run.must(run.on().fused_begin(run.model, run.data, source));
    run.must(run.on().fused_sweep(run.model, run.data, source));
    expect_close(run.get(), expected.chosen, 1e-4, "chosen");
    run.must(run.on().fused_refit(run.model, run.data, 10));
    step_report report = run.report();
    EXPECT_NEAR(report.objective_before, expected.before, 1e-5 * expected.before);
    EXPECT_NEAR(report.step_size, expected.step_size, 1e-4 * expected.step_size);
    EXPECT_NEAR(report.objective_chosen, expected.objective_chosen, 1e-4 * expected.before);
    EXPECT_NEAR(report.objective_after, expected.after, 1e-4 * expected.before);
    expect_close(run.get(), expected.weights, 1e-3, "weights");
    EXPECT_EQ(report.nnz, run.matrix.nnz);
}

class ParityFusedStep : public testing::TestWithParam<Shape>
{
};

TEST_P(ParityFusedStep, AgreesWithTheDenseOracle)
{
    PARITY_NEEDS_BACKEND();
    Case c(GetParam());
    for (bool with_weights : {false, true}) {
        Model run(c);
        Vector w = c.weights(with_weights ? c.shape.nnz : 0, 3);
        run.set(w);
        expect_step(run, oracle::step(c.problem, c.generators, w), PATTERNS_DRAWN);
    }
    Model run(c);
    Vector w = c.weights(c.shape.nnz, 5);
    run.set(w);
    expect_step(run, oracle::step(c.problem, w, w), PATTERNS_WEIGHTS);
}

const Shape shapes[] = {
    {1, 1, 1, 1},
    {63, 5, 3, 4},
    {64, 16, 4, 10, true},
    {65, 17, 9, 20, true, Generators::HalfGiven},
    {200, 20, 10, 15, false, Generators::Sparse},
    {130, 4, 70, 50, false, Generators::Gaussian},
    {1100, 33, 7, 60, true, Generators::Sparse},
    {97, 150, 5, 30, true, Generators::Gaussian},
};
INSTANTIATE_TEST_SUITE_P(Shapes, ParityFusedStep, testing::ValuesIn(shapes));

// Bit for bit, of drawn and given generators and of the weights themselves.
TEST_P(ParityFusedStep, PatternsAreThoseOfTheOracle)
{
    PARITY_NEEDS_BACKEND();
    Case c(GetParam());
    Model run(c);
    Vector w = c.weights(c.shape.nnz, 3);
    run.set(w);
    for (pattern_source source : {PATTERNS_DRAWN, PATTERNS_WEIGHTS}) {
        size_t words = padded_samples(c.shape.samples) / 64;
        std::vector<uint64_t> bits(run.matrix.live * words);
        run.must(run.on().fused_begin(run.model, run.data, source));
        run.must(run.on().fused_read(run.model, nullptr, nullptr, bits.data()));
        std::vector<char> active = c.patterns(source == PATTERNS_DRAWN ? c.generators : w);
        for (size_t j = 0; j < run.matrix.live; j++)
            for (size_t i = 0; i < words * 64; i++) {
                bool expected =
                    i < c.shape.samples && active[i * c.shape.rows() + run.matrix.row[j]];
                ASSERT_EQ(bits[j * words + i / 64] >> (i % 64) & 1, expected)
                    << "neuron " << run.matrix.row[j] << ", sample " << i;
            }
    }
}

TEST(ParityFused, ResidualAndGradientAgreeWithTheOracle)
{
    PARITY_NEEDS_BACKEND();
    Case c({1500, 12, 8, 20, true});
    Model run(c);
    Vector w = c.weights(20, 5);
    run.set(w);
    run.must(run.on().fused_begin(run.model, run.data, PATTERNS_DRAWN));
    std::vector<float> residual(1500), gradient(20);
    run.must(run.on().fused_read(run.model, residual.data(), gradient.data(), nullptr));
    oracle::Step expected = oracle::step(c.problem, c.generators, w);
    expect_close(Vector(residual.begin(), residual.end()), expected.residual, 1e-5, "residual");
    Vector on_support;
    for (size_t i = 0; i < w.size(); i++)
        if (w[i] != 0)
            on_support.push_back(expected.gradient[i]);
    expect_close(Vector(gradient.begin(), gradient.begin() + on_support.size()), on_support, 1e-5,
                 "gradient");
}

TEST(ParityFused, LoadingAgainTakesNewTargets)
{
    PARITY_NEEDS_BACKEND();
    Case c({200, 12, 8, 20, true});
    Model run(c);
    run.set(Vector(c.shape.rows() * c.shape.inputs));
    run.step(PATTERNS_DRAWN, 1);
    for (size_t i = 0; i < c.shape.samples; i++) {
        c.problem.y[i] = 3 - 2 * c.problem.y[i];
        run.dataset->y[i] = (float)c.problem.y[i];
    }
    run.must(run.on().batch_load(run.data, nullptr, c.shape.samples));
    Vector w = c.weights(c.shape.nnz, 3);
    run.set(w);
    expect_step(run, oracle::step(c.problem, c.generators, w), PATTERNS_DRAWN);
}

// With y = 0 the residual is A w: |A w|^2 = <w, A^T A w>.
TEST(ParityFused, ForwardAndAdjointAreAdjoint)
{
    PARITY_NEEDS_BACKEND();
    Case c({2077, 10, 6, 25, true});
    std::fill(c.problem.y.begin(), c.problem.y.end(), 0);
    Model run(c);
    run.set(c.weights(25, 4));
    run.must(run.on().fused_begin(run.model, run.data, PATTERNS_DRAWN));
    std::vector<float> gradient(run.matrix.nnz);
    run.must(run.on().fused_read(run.model, nullptr, gradient.data(), nullptr));
    double product = 0, squares = run.report().objective_before;
    for (size_t k = 0; k < run.matrix.nnz; k++)
        product += (double)run.matrix.value[k] * (double)gradient[k];
    EXPECT_NEAR(product, squares, 1e-6 * squares);
}

TEST(ParityFused, PlantedWeightsAreAFixedPoint)
{
    PARITY_NEEDS_BACKEND();
    Case c({300, 8, 6, 9, true});
    Vector w = c.weights(9, 6);
    c.problem.y = oracle::residual(c.problem, c.patterns(c.generators), w, false);
    for (double &v : c.problem.y)
        v = (float)v;
    Model run(c);
    run.set(w);
    step_report report = run.step(PATTERNS_DRAWN, 10);
    expect_close(run.get(), w, 1e-5, "weights");
    EXPECT_LT(report.objective_after, 1e-10 * oracle::squares(c.problem.y));
}

// All patterns empty: no gradient, so nothing is chosen. All full: a linear model.
TEST(ParityFused, EmptyAndFullPatterns)
{
    PARITY_NEEDS_BACKEND();
    for (double sign : {-1.0, 1.0}) {
        Case c({150, 6, 5, 12});
        for (double &v : c.problem.x)
            v = std::fabs(v);
        for (double &h : c.generators)
            h = sign * (std::fabs(h) + 0.5);
        Model run(c);
        Vector none(c.generators.size());
        run.set(none);
        oracle::Step expected = oracle::step(c.problem, c.generators, none);
        expect_step(run, expected, PATTERNS_DRAWN);
        if (sign < 0) {
            EXPECT_EQ(run.matrix.nnz, 0u);
        }
    }
}

// Neurons with the same generator have the same gradient to the last bit: the lower one is chosen.
TEST(ParityFused, TiesGoToTheLowerNeuron)
{
    PARITY_NEEDS_BACKEND();
    Case c({200, 5, 40, 7});
    for (size_t i = 0; i < c.generators.size(); i++)
        c.generators[i] = c.generators[i % 5];
    Model run(c);
    Vector none(c.generators.size());
    run.set(none);
    expect_step(run, oracle::step(c.problem, c.generators, none), PATTERNS_DRAWN);
    ASSERT_EQ(run.matrix.live, 7u); // the same input of each of the first seven
    EXPECT_EQ(run.matrix.row[6], 6u);
}

// A step size that fits a small input alone is far too long for the others: eleven halvings don't
// help, and the refit goes back to what was chosen; the next one begins with the shorter step.
TEST(ParityFused, RefitsThatFailAreUndone)
{
    PARITY_NEEDS_BACKEND();
    Case c({120, 4, 3, 4});
    for (size_t i = 0; i < 120; i++)
        c.problem.x[i * 4] = (float)(1e-3 * c.problem.x[i * 4]);
    Vector w(12);
    w[0] = 1;
    for (size_t refits : {1u, 6u}) {
        Model run(c);
        run.set(w);
        c.problem.refits = refits;
        oracle::Step expected = oracle::step(c.problem, c.generators, w);
        step_report report = run.step(PATTERNS_DRAWN, refits);
        expect_close(run.get(), expected.weights, 1e-3, "weights");
        EXPECT_NEAR(report.objective_after, expected.after, 1e-3 * expected.after);
        if (refits == 1) {
            EXPECT_EQ(report.refits, 0u);
            EXPECT_EQ(report.objective_after, report.objective_chosen);
            expect_close(run.get(), expected.chosen, 1e-4, "chosen");
        }
    }
}

// A whole run, with patterns that follow the weights.
TEST(ParityFused, SequentialRunAgreesWithTheOracle)
{
    PARITY_NEEDS_BACKEND();
    Case c({120, 6, 5, 8, true});
    Model run(c);
    run.set(Vector(c.generators.size()));
    for (size_t epoch = 0; epoch < 6; epoch++)
        run.step(epoch < 2 ? PATTERNS_DRAWN : PATTERNS_WEIGHTS, 10);
    expect_close(run.get(), oracle::run(c.problem, c.generators, 6, false), 1e-3, "weights");
}

TEST(ParityFused, TheSameStepGivesTheSameBits)
{
    PARITY_NEEDS_BACKEND();
    Case c({1300, 9, 30, 40, true, Generators::Sparse});
    Vector first;
    for (int round = 0; round < 2; round++) {
        Model run(c);
        run.set(c.weights(40, 3));
        run.step(PATTERNS_DRAWN, 4);
        run.step(PATTERNS_WEIGHTS, 4);
        if (round == 0)
            first = run.get();
        EXPECT_EQ(run.get(), first);
    }
}

// Batches of listed rows, the last one short, through one model; the bias is the last input.
TEST(ParityFused, BatchesWithAShortLastOneAndABias)
{
    PARITY_NEEDS_BACKEND();
    Case c({230, 7, 6, 10, true});
    for (size_t i = 0; i < 230; i++)
        c.problem.x[i * 7 + 6] = 1;
    Model run(c, true, 100);
    Vector w = c.weights(10, 2);
    run.set(w);
    std::vector<uint32_t> order(230);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), std::mt19937(1));
    for (size_t first = 0; first < 230; first += 100) {
        size_t count = std::min<size_t>(100, 230 - first);
        run.must(run.on().batch_load(run.data, &order[first], count));
        oracle::Problem part = c.problem;
        part.samples = count;
        part.x.clear();
        part.y.clear();
        for (size_t i = first; i < first + count; i++) {
            part.x.insert(part.x.end(), &c.problem.x[order[i] * 7], &c.problem.x[order[i] * 7] + 7);
            part.y.push_back(c.problem.y[order[i]]);
        }
        oracle::Step expected = oracle::step(part, c.generators, run.get());
        run.set(run.get());
        step_report report = run.step(PATTERNS_DRAWN, 10);
        EXPECT_NEAR(report.objective_before, expected.before, 1e-5 * expected.before);
        EXPECT_NEAR(report.objective_after, expected.after, 1e-4 * expected.before);
        expect_close(run.get(), expected.weights, 1e-3, "weights");
    }
}

TEST(ParityFused, WeightsBeyondTheBudgetAreRefused)
{
    PARITY_NEEDS_BACKEND();
    Case c({50, 4, 4, 3});
    Model run(c, false, SIZE_MAX, 9);
    run.fill(&run.matrix, c.weights(9, 1), 4);
    EXPECT_EQ(run.on().fused_set_weights(run.model, &run.matrix), RELIHT_ARGUMENT);
    EXPECT_NE(run.context.message().find("budget of 3"), std::string::npos);
}

// The first of the calls of a step that is told of an error.
reliht_status first_failure(Model &run)
{
    step_report report;
    reliht_status status = run.on().fused_begin(run.model, run.data, PATTERNS_DRAWN);
    if (!status)
        status = run.on().fused_sweep(run.model, run.data, PATTERNS_DRAWN);
    if (!status)
        status = run.on().fused_report(run.model, &report);
    return status;
}

TEST(ParityFused, NumbersOutOfRangeAreErrorsThatSayWhere)
{
    PARITY_NEEDS_BACKEND();
    Case c({50, 4, 3, 5});
    for (double &v : c.problem.y)
        v = (float)(v * 1e17);
    Case huge = c;
    for (size_t i = 0; i < 50; i++)
        huge.problem.x[i * 4 + 2] = 1e30f * (float)huge.problem.x[i * 4 + 2];
    {
        Model run(huge);
        run.set(Vector(12)); // r x overflows at input 2, of the first active neuron
        EXPECT_EQ(first_failure(run), RELIHT_NUMERIC);
        EXPECT_NE(run.context.message().find("neuron 0, input 2"), std::string::npos)
            << run.context.message();
    }
    Model run(huge);
    Vector w(12);
    w[2] = 1; // its gradient overflows
    run.set(w);
    EXPECT_EQ(first_failure(run), RELIHT_NUMERIC);
    EXPECT_NE(run.context.message().find("step size is not finite"), std::string::npos)
        << run.context.message();
}

// ---------------------------------------------------------------- solves

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
Vector oracle_solve(const Case &c, const Vector &weights, double damping)
{
    const oracle::Problem &p = c.problem;
    const size_t row = c.shape.linear ? linear_row(c.shape.hidden) : SIZE_MAX, d = c.shape.inputs;
    std::vector<char> active = c.patterns(weights);
    Vector r = oracle::residual(p, active, weights);
    std::vector<size_t> support;
    for (size_t i = 0; i < weights.size(); i++)
        if (weights[i] != 0)
            support.push_back(i);
    size_t count = support.size();
    Vector columns(p.samples * count);
    for (size_t i = 0; i < p.samples; i++)
        for (size_t k = 0; k < count; k++) {
            size_t j = support[k] / d;
            double factor = active[i * p.hidden + j];
            if (c.shape.linear && j != row)
                factor -= 0.5;
            columns[i * count + k] =
                (j == row ? 1 : p.sign(j)) * factor * p.x[i * d + support[k] % d];
        }
    Vector normal(count * count), right(count);
    for (size_t i = 0; i < p.samples; i++)
        for (size_t k = 0; k < count; k++) {
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
    Vector delta = solve_system(normal, right), out = weights;
    for (size_t k = 0; k < count; k++) {
        out[support[k]] += delta[k];
        if (c.shape.linear && support[k] / d != row)
            out[row * d + support[k] % d] -= 0.5 * p.sign(support[k] / d) * delta[k];
    }
    return out;
}

TEST(ParityFusedSolve, IsTheDampedLeastSquaresStep)
{
    PARITY_NEEDS_BACKEND();
    for (bool mixed : {false, true})
        for (bool linear : {false, true}) {
            double damping = mixed ? 0.3 : 0.0;
            Case c({300, 5, 4, 20, mixed, Generators::Sparse, linear});
            Model run(c);
            Vector w = c.weights(8, 3);
            run.set(w);
            const solve_options options = {60, damping, 1e-6};
            run.must(run.on().fused_begin(run.model, run.data, PATTERNS_WEIGHTS));
            run.must(run.on().fused_solve(run.model, run.data, &options));
            step_report report = run.report();
            Vector expected = oracle_solve(c, w, damping);
            expect_close(run.get(), expected, 2e-4, "weights");
            double objective =
                oracle::squares(oracle::residual(c.problem, c.patterns(w), expected));
            EXPECT_NEAR(report.objective_after, objective, 1e-4 * objective);
            EXPECT_LT(report.objective_after, report.objective_before);
            EXPECT_LE(report.refits, 60u);
        }
}

TEST(ParityFusedSolve, StopsAtItsLimitAndNeverRises)
{
    PARITY_NEEDS_BACKEND();
    Case c({200, 6, 5, 25, true, Generators::Sparse, true});
    Vector w = c.weights(10, 3);
    double before = INFINITY;
    for (size_t iterations = 0; iterations < 4; iterations++) {
        Model run(c);
        run.set(w);
        const solve_options options = {iterations, 0.01, 0};
        run.must(run.on().fused_begin(run.model, run.data, PATTERNS_WEIGHTS));
        run.must(run.on().fused_solve(run.model, run.data, &options));
        step_report report = run.report();
        EXPECT_EQ(report.refits, iterations);
        EXPECT_LE(report.objective_after, before);
        before = report.objective_after;
        if (!iterations) {
            EXPECT_EQ(run.get(), w);
        }
    }
}

// Without a tolerance to stop at, directions made of rounding would grow until numbers overflow.
TEST(ParityFusedSolve, EndsWhereTheGradientIsRounding)
{
    PARITY_NEEDS_BACKEND();
    for (unsigned seed = 1; seed <= 20; seed++)
        for (double damping : {0.0, 0.03}) {
            Case c({5, 7, 1, 1}, seed);
            Model run(c);
            Vector w(c.generators.size());
            w[seed % 7] = 1;
            run.set(w);
            const solve_options options = {300, damping, 0};
            run.must(run.on().fused_begin(run.model, run.data, PATTERNS_WEIGHTS));
            run.must(run.on().fused_solve(run.model, run.data, &options));
            step_report report = run.report();
            EXPECT_LT(report.refits, 20u) << seed;
            if (report.objective_before > 0 && report.refits) {
                expect_close(run.get(), oracle_solve(c, w, damping), 1e-5, "weights");
            }
        }
}

TEST(ParityFusedSolve, FollowsASweep)
{
    PARITY_NEEDS_BACKEND();
    Case c({200, 6, 8, 10});
    Model run(c);
    run.set(Vector(c.generators.size()));
    const solve_options options = {40, 0, 1e-6};
    run.must(run.on().fused_begin(run.model, run.data, PATTERNS_DRAWN));
    run.must(run.on().fused_sweep(run.model, run.data, PATTERNS_DRAWN));
    double chosen = run.report().objective_chosen;
    run.must(run.on().fused_solve(run.model, run.data, &options));
    step_report report = run.report();
    EXPECT_LT(report.objective_after, chosen);
    Vector g = oracle::adjoint(c.problem, c.patterns(c.generators),
                               oracle::residual(c.problem, c.patterns(c.generators), run.get()));
    EXPECT_LT(oracle::squares(oracle::restricted(g, run.get())), 1e-6 * oracle::squares(g));
}

TEST(ParityFusedSolve, ALinearTermHoldsAllInputs)
{
    PARITY_NEEDS_BACKEND();
    Case c({60, 7, 4, 20, false, Generators::Sparse, true});
    Model run(c);
    run.fill(&run.matrix, c.weights(6, 3), c.shape.rows());
    run.matrix.nnz--;
    run.matrix.start[run.matrix.live]--;
    run.must(run.on().fused_set_weights(run.model, &run.matrix));
    run.must(run.on().fused_begin(run.model, run.data, PATTERNS_WEIGHTS));
    const solve_options options = {1, 0, 0};
    step_report report;
    reliht_status status = run.on().fused_solve(run.model, run.data, &options);
    EXPECT_EQ(status ? status : run.on().fused_report(run.model, &report), RELIHT_ARGUMENT);
    EXPECT_NE(run.context.message().find("6 of 7 inputs"), std::string::npos)
        << run.context.message();
}

// A v - y and its gradient for any values on the support; the model stays as it is.
TEST(ParityFusedProduct, IsThatOfTheOracleAndChangesNothing)
{
    PARITY_NEEDS_BACKEND();
    Case c({300, 7, 9, 25, true});
    Model run(c);
    Vector w = c.weights(25, 3), v = c.weights(25, 3);
    run.set(w);
    run.must(run.on().fused_begin(run.model, run.data, PATTERNS_DRAWN));
    std::vector<float> value, image(300), gradient(run.matrix.nnz), residual(300);
    for (double &entry : v)
        if (entry != 0)
            value.push_back((float)(entry = (float)(1 - 2 * entry)));
    double squares;
    run.must(run.on().fused_product(run.model, run.data, value.data(), image.data(),
                                    gradient.data(), &squares));
    std::vector<char> active = c.patterns(c.generators);
    Vector expected = oracle::residual(c.problem, active, v);
    Vector all = oracle::adjoint(c.problem, active, expected), on_support;
    for (size_t i = 0; i < w.size(); i++)
        if (w[i] != 0)
            on_support.push_back(all[i]);
    expect_close(Vector(image.begin(), image.end()), expected, 1e-5, "image");
    expect_close(Vector(gradient.begin(), gradient.end()), on_support, 1e-5, "gradient");
    EXPECT_NEAR(squares, oracle::squares(expected), 1e-5 * squares);
    run.must(run.on().fused_product(run.model, run.data, value.data(), nullptr, nullptr, nullptr));
    run.must(run.on().fused_read(run.model, residual.data(), nullptr, nullptr));
    expect_close(Vector(residual.begin(), residual.end()), oracle::residual(c.problem, active, w),
                 1e-5, "residual");
    EXPECT_EQ(run.get(), w);
}

// The largest entries of A^T u for one u after the other.
TEST(ParityRestricted, TopIsThatOfTheAdjoint)
{
    PARITY_NEEDS_BACKEND();
    Case c({300, 7, 9, 5, false, Generators::Gaussian});
    Model run(c);
    restricted on{};
    run.must(restricted_open(run.context, run.dataset, &run.problem, &on));
    for (double sign : {1.0, -2.0}) {
        std::vector<float> u;
        Vector exact;
        for (double y : c.problem.y) {
            u.push_back((float)(sign * y + 1));
            exact.push_back((double)u.back());
        }
        run.must(restricted_top(&on, u.data(), &run.matrix));
        Vector all = oracle::adjoint(c.problem, c.patterns(c.generators), exact), kept = all;
        std::vector<double> sizes;
        for (double v : all)
            sizes.push_back(std::fabs(v));
        std::sort(sizes.rbegin(), sizes.rend());
        for (double &v : kept)
            v = std::fabs(v) >= sizes[4] ? v : 0;
        Vector found(all.size());
        for (size_t j = 0; j < run.matrix.live; j++)
            for (size_t k = run.matrix.start[j]; k < run.matrix.start[j + 1]; k++)
                found[run.matrix.row[j] * 7 + run.matrix.column[k]] = (double)run.matrix.value[k];
        expect_close(found, kept, 1e-4, "top");
    }
    restricted_close(&on);
}

// Rows of a list of generators and those of drawn neurons, from any row on.
TEST(ParityFusedGradients, AreThoseOfTheOracle)
{
    PARITY_NEEDS_BACKEND();
    Case c({300, 7, 45, 60, true, Generators::Sparse});
    Model run(c);
    Vector w = c.weights(60, 3);
    run.set(w);
    run.must(run.on().fused_begin(run.model, run.data, PATTERNS_WEIGHTS));
    std::vector<float> residual(300);
    run.must(run.on().fused_read(run.model, residual.data(), nullptr, nullptr));
    oracle::Problem plus = c.problem;
    plus.mixed = false;
    Vector r(residual.begin(), residual.end());
    Vector of_weights = oracle::adjoint(plus, c.patterns(w), r);
    Vector of_drawn = oracle::adjoint(plus, c.patterns(c.generators), r);
    size_t rows = run.matrix.live - 3;
    std::vector<float> got(45 * 7);
    run.must(run.on().fused_gradients(run.model, run.data, &run.matrix, 2, rows, got.data()));
    for (size_t j = 0; j < rows; j++)
        for (size_t c = 0; c < 7; c++)
            ASSERT_NEAR(got[j * 7 + c], of_weights[run.matrix.row[2 + j] * 7 + c], 1e-3);
    run.must(run.on().fused_gradients(run.model, run.data, nullptr, 1, 44, got.data()));
    for (size_t i = 0; i < 44 * 7; i++)
        ASSERT_NEAR(got[i], of_drawn[7 + i], 1e-3);
}

} // namespace
