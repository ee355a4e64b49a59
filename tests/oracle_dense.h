// The dense baseline in double precision, one sample and one weight at a time: forward, loss,
// gradient, Adam, pruning and rewinding as backend.h states them.
#ifndef RELIHT_TESTS_ORACLE_DENSE_H
#define RELIHT_TESTS_ORACLE_DENSE_H

extern "C" {
#include "backend/backend.h"
#include "core/rng.h"
}

#include <algorithm>
#include <cmath>
#include <vector>

namespace oracle
{

using Rows = std::vector<std::vector<double>>;

struct Dense {
    dense_problem problem;
    std::vector<Rows> w, mean, square; // by matrix
    std::vector<std::vector<std::vector<char>>> mask;
    double step = 0;

    explicit Dense(const dense_problem &p) : problem(p)
    {
        size_t columns = p.inputs;
        for (size_t l = 0; l <= p.layers; l++) {
            bool last = l == p.layers;
            size_t rows = p.hidden[last ? l - 1 : l];
            mask.emplace_back(rows, std::vector<char>(last ? p.outputs : columns, 1));
            columns = rows + p.bias;
        }
        rewind();
    }

    void rewind()
    {
        w.clear();
        for (size_t l = 0; l < mask.size(); l++) {
            size_t rows = mask[l].size(), columns = mask[l][0].size();
            size_t fan_in = l == problem.layers ? rows : columns - problem.bias;
            float bound = (float)(1 / std::sqrt((double)fan_in));
            w.emplace_back(rows, std::vector<double>(columns));
            for (size_t j = 0; j < rows; j++)
                for (size_t c = 0; c < columns; c++) {
                    uint32_t word =
                        rng_word(problem.seed, RNG_DENSE, (uint64_t)l << 32 | j, (uint32_t)c);
                    double u = (2.0 * (word >> 9) + 1) * 0x1p-23 - 1;
                    w[l][j][c] = mask[l][j][c] ? (double)(bound * (float)u) : 0.0;
                }
        }
        mean = square = zeros();
        step = 0;
    }

    std::vector<Rows> zeros() const
    {
        std::vector<Rows> made;
        for (const auto &matrix : mask)
            made.emplace_back(matrix.size(), std::vector<double>(matrix[0].size()));
        return made;
    }

    // Inputs of every layer, the outputs last.
    Rows forward(const std::vector<double> &x) const
    {
        Rows e = {x};
        for (size_t l = 0; l < problem.layers; l++) {
            std::vector<double> next;
            for (const auto &row : w[l]) {
                double z = 0;
                for (size_t c = 0; c < row.size(); c++)
                    z += row[c] * e[l][c];
                next.push_back(std::max(z, 0.0));
            }
            if (problem.bias && l + 1 < problem.layers)
                next.push_back(1);
            e.push_back(next);
        }
        std::vector<double> y(problem.outputs);
        for (size_t j = 0; j < w.back().size(); j++)
            for (size_t k = 0; k < y.size(); k++)
                y[k] += e.back()[j] * w.back()[j][k];
        e.push_back(y);
        return e;
    }

    // Loss of one sample; `error` <- its derivative by the outputs.
    double sample_loss(const std::vector<double> &y, const std::vector<double> &target,
                       std::vector<double> *error) const
    {
        double loss = 0, sum = 0, outputs = (double)y.size();
        error->assign(y.size(), 0);
        if (problem.loss == RELIHT_LOSS_MSE) {
            for (size_t k = 0; k < y.size(); k++) {
                loss += (y[k] - target[k]) * (y[k] - target[k]) / outputs;
                (*error)[k] = 2 * (y[k] - target[k]) / outputs;
            }
            return loss;
        }
        for (double v : y)
            sum += std::exp(v);
        for (size_t k = 0; k < y.size(); k++) {
            loss += target[k] * (std::log(sum) - y[k]);
            (*error)[k] = std::exp(y[k]) / sum - target[k];
        }
        return loss;
    }

    // Mean loss of a batch, targets as rows (one-hot for labels), and its gradient if wanted.
    double loss(const Rows &x, const Rows &targets, std::vector<Rows> *gradient = nullptr) const
    {
        double total = 0, n = (double)x.size();
        if (gradient)
            *gradient = zeros();
        for (size_t i = 0; i < x.size(); i++) {
            Rows e = forward(x[i]);
            std::vector<double> error;
            total += sample_loss(e.back(), targets[i], &error) / n;
            if (gradient)
                add_gradient(e, error, n, gradient);
        }
        return total;
    }

    void add_gradient(const Rows &e, std::vector<double> error, double n,
                      std::vector<Rows> *gradient) const
    {
        size_t layers = problem.layers;
        std::vector<double> below(w[layers].size());
        for (size_t j = 0; j < w[layers].size(); j++)
            for (size_t k = 0; k < error.size(); k++) {
                (*gradient)[layers][j][k] += e[layers][j] * error[k] / n;
                below[j] += w[layers][j][k] * error[k];
            }
        for (size_t l = layers; l-- > 0;) {
            error = below;
            below.assign(w[l][0].size(), 0);
            for (size_t j = 0; j < w[l].size(); j++) {
                if (!(e[l + 1][j] > 0))
                    continue;
                for (size_t c = 0; c < w[l][j].size(); c++) {
                    (*gradient)[l][j][c] += error[j] * e[l][c] / n;
                    below[c] += w[l][j][c] * error[j];
                }
            }
        }
    }

    void adam(const std::vector<Rows> &gradient)
    {
        const dense_problem &p = problem;
        step++;
        for (size_t l = 0; l < w.size(); l++)
            for (size_t j = 0; j < w[l].size(); j++)
                for (size_t c = 0; c < w[l][j].size(); c++) {
                    double g = mask[l][j][c] ? gradient[l][j][c] : 0;
                    double &m = mean[l][j][c], &v = square[l][j][c];
                    m = p.mean_decay * m + (1 - p.mean_decay) * g;
                    v = p.square_decay * v + (1 - p.square_decay) * g * g;
                    double corrected = m / (1 - std::pow(p.mean_decay, step));
                    double root = std::sqrt(v / (1 - std::pow(p.square_decay, step)));
                    w[l][j][c] -= p.learning_rate * corrected / (root + p.epsilon);
                }
    }

    // Keeps the largest magnitudes in the mask, equal ones by their place.
    void prune(size_t keep)
    {
        struct Entry {
            double magnitude;
            size_t l, j, c;
        };
        std::vector<Entry> entries;
        for (size_t l = 0; l < w.size(); l++)
            for (size_t j = 0; j < w[l].size(); j++)
                for (size_t c = 0; c < w[l][j].size(); c++)
                    if (mask[l][j][c])
                        entries.push_back({std::abs(w[l][j][c]), l, j, c});
        std::stable_sort(entries.begin(), entries.end(),
                         [](const Entry &a, const Entry &b) { return a.magnitude > b.magnitude; });
        for (size_t i = keep; i < entries.size(); i++) {
            const Entry &e = entries[i];
            mask[e.l][e.j][e.c] = 0;
            w[e.l][e.j][e.c] = 0;
        }
    }

    size_t weights() const
    {
        size_t count = 0;
        for (const auto &matrix : mask)
            count += matrix.size() * matrix[0].size();
        return count;
    }
};

} // namespace oracle

#endif
