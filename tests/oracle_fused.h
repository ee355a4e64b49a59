// The published algorithm for scalar outputs, dense and in double precision: the slow and plain
// counterpart of host/backend/cpu/fused.c and host/solver/fused.c. A is formed, f is evaluated.
#ifndef RELIHT_TESTS_ORACLE_FUSED_H
#define RELIHT_TESTS_ORACLE_FUSED_H

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

namespace oracle
{

using Vector = std::vector<double>;

struct Problem {
    size_t samples, inputs, hidden, nnz;
    Vector x, y; // [samples, inputs], [samples]
    bool mixed = false;
    size_t refits = 10;

    double sign(size_t neuron) const
    {
        return mixed && neuron % 2 ? -1.0 : 1.0;
    }
};

struct Step {
    Vector weights, chosen; // after the refits, after step and threshold
    double before, objective_chosen, after, step_size;
    Vector residual, gradient; // before the step; gradient of every entry
};

// 1[X h_j > 0], [samples, hidden]; the product by float fma in ascending input, as specified.
inline std::vector<char> patterns(const Problem &p, const Vector &generators)
{
    std::vector<char> active(p.samples * p.hidden);
    for (size_t i = 0; i < p.samples; i++)
        for (size_t j = 0; j < p.hidden; j++) {
            float z = 0;
            for (size_t c = 0; c < p.inputs; c++)
                if (generators[j * p.inputs + c] != 0)
                    z = std::fma((float)generators[j * p.inputs + c], (float)p.x[i * p.inputs + c],
                                 z);
            active[i * p.hidden + j] = z > 0;
        }
    return active;
}

inline Vector residual(const Problem &p, const std::vector<char> &active, const Vector &w,
                       bool subtract_target = true)
{
    Vector r(p.samples);
    for (size_t i = 0; i < p.samples; i++) {
        for (size_t j = 0; j < p.hidden; j++)
            if (active[i * p.hidden + j])
                for (size_t c = 0; c < p.inputs; c++)
                    r[i] += p.sign(j) * w[j * p.inputs + c] * p.x[i * p.inputs + c];
        if (subtract_target)
            r[i] -= p.y[i];
    }
    return r;
}

inline Vector adjoint(const Problem &p, const std::vector<char> &active, const Vector &r)
{
    Vector g(p.hidden * p.inputs);
    for (size_t i = 0; i < p.samples; i++)
        for (size_t j = 0; j < p.hidden; j++)
            if (active[i * p.hidden + j])
                for (size_t c = 0; c < p.inputs; c++)
                    g[j * p.inputs + c] += p.sign(j) * r[i] * p.x[i * p.inputs + c];
    return g;
}

inline double squares(const Vector &v)
{
    return std::inner_product(v.begin(), v.end(), v.begin(), 0.0);
}

inline Vector restricted(Vector v, const Vector &support)
{
    for (size_t i = 0; i < v.size(); i++)
        if (support[i] == 0)
            v[i] = 0;
    return v;
}

// Larger magnitude first, ties by lower index, zeros never.
inline Vector top(const Vector &v, size_t count)
{
    std::vector<size_t> order(v.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return std::fabs(v[a]) > std::fabs(v[b]); });
    Vector kept(v.size());
    for (size_t k = 0; k < std::min(count, order.size()); k++)
        kept[order[k]] = v[order[k]];
    return kept;
}

inline Step step(const Problem &p, const Vector &generators, const Vector &w)
{
    Step out;
    std::vector<char> active = patterns(p, generators);
    out.residual = residual(p, active, w);
    out.before = squares(out.residual);
    out.gradient = adjoint(p, active, out.residual);
    Vector on_support = restricted(out.gradient, w);
    double mu = 1e-14;
    if (squares(w) > 0)
        mu = squares(on_support) / (squares(residual(p, active, on_support, false)) + 1e-8);
    out.step_size = mu;
    Vector stepped(w.size());
    for (size_t i = 0; i < w.size(); i++)
        stepped[i] = w[i] - mu * out.gradient[i];
    out.chosen = top(stepped, p.nnz);
    Vector support = out.chosen;
    out.weights = out.chosen;
    Vector r = residual(p, active, out.weights);
    out.objective_chosen = squares(r);
    double f = out.objective_chosen;
    for (size_t refit = 0; refit < p.refits; refit++) {
        Vector g = restricted(adjoint(p, active, r), support);
        bool accepted = false;
        for (int failures = 0; failures < 11 && !accepted; failures++) {
            Vector trial = out.weights;
            for (size_t i = 0; i < trial.size(); i++)
                trial[i] -= mu * g[i];
            Vector trial_residual = residual(p, active, trial);
            if (squares(trial_residual) <= f - 0.9 * mu * squares(g)) {
                out.weights = trial;
                r = trial_residual;
                f = squares(r);
                accepted = true;
            } else {
                mu /= 2;
            }
        }
        if (!accepted) {
            out.weights = out.chosen;
            r = residual(p, active, out.weights);
            f = squares(r);
        }
    }
    out.after = f;
    return out;
}

// The whole run; the last iterate.
inline Vector run(const Problem &p, const Vector &generators, size_t epochs, bool convex)
{
    Vector w(p.hidden * p.inputs), h = generators;
    for (size_t epoch = 0; epoch < epochs; epoch++) {
        w = step(p, h, w).weights;
        if (!convex && epoch > 0)
            h = w;
    }
    return w;
}

} // namespace oracle

#endif
