// Gauss-Newton steps, gradients of listed generators, and the solver that recovers planted networks
// exactly.
#include "oracle_fused.h"
#include "support.h"

extern "C" {
#include "backend/cpu/cpu.h"
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

} // namespace
