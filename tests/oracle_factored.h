// Steps of the factored model, dense and in double precision: the slow and plain counterpart of
// host/backend/cpu/factored*.c. With it the cases, data and handles that its tests share.
#ifndef RELIHT_TESTS_ORACLE_FACTORED_H
#define RELIHT_TESTS_ORACLE_FACTORED_H

#include "support.h"

extern "C" {
#include "backend/backend.h"
#include "core/generator.h"
#include "core/rng.h"
#include "core/sketch.h"
#include "solver/network.h"
}

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

namespace oracle_factored
{

using support::Context;
using Matrix = std::vector<double>; // row-major, the columns are the user's care

// What a case is trained on; sizes odd on purpose.
struct Case {
    size_t samples = 131, inputs = 23, outputs = 5, hidden = 13, nnz = 60;
    reliht_loss loss = RELIHT_LOSS_CROSS_ENTROPY;
    reliht_importance importance = RELIHT_IMPORTANCE_SKETCH;
    reliht_step step = RELIHT_STEP_AUTO;
    pattern_source source = PATTERNS_WEIGHTS;
    reliht_generator generator = RELIHT_GENERATOR_GAUSSIAN;
    uint64_t seed = 5;
    float x_scale = 1;
};

struct Data {
    std::vector<float> x, y; // row-major
    std::vector<int32_t> labels;

    explicit Data(const Case &shape)
        : x(shape.samples * shape.inputs), y(shape.samples * shape.outputs), labels(shape.samples)
    {
        rng_normals(shape.seed, RNG_INPUTS, 0, x.size(), x.data());
        rng_normals(shape.seed, RNG_VALUES, 1, y.size(), y.data());
        for (size_t i = 0; i < shape.samples; i++) {
            labels[i] = (int32_t)rng_below(shape.seed, RNG_VALUES, 2, (uint32_t)i, shape.outputs);
            if (shape.inputs > 3)
                x[i * shape.inputs + 3] = 0; // an input that is always zero
            for (size_t c = 0; c < shape.inputs; c++)
                x[i * shape.inputs + c] *= shape.x_scale;
            if (shape.loss == RELIHT_LOSS_CROSS_ENTROPY)
                for (size_t k = 0; k < shape.outputs; k++)
                    y[i * shape.outputs + k] = labels[i] == (int32_t)k;
        }
    }
};

inline factored_problem problem_of(const Case &shape)
{
    factored_problem problem = {};
    problem.hidden = shape.hidden;
    problem.inputs = shape.inputs;
    problem.outputs = shape.outputs;
    problem.nnz = shape.nnz;
    problem.samples = shape.samples;
    problem.loss = shape.loss;
    problem.importance = shape.importance;
    problem.step = shape.step;
    problem.seed = shape.seed;
    problem.generator = shape.generator;
    problem.input_scale = 1;
    problem.target_scale = 1;
    return problem;
}

// A factored model on a batch of all samples.
struct Model {
    reliht_context *context;
    const backend_operations *operations;
    reliht_dataset *dataset = nullptr;
    batch *data = nullptr;
    factored *it = nullptr;
    sparse hidden = {}, output = {};
    factored_report report = {};
    Case shape;

    Model(reliht_context *owner, const Case &of, const Data &from, const factored_problem &problem,
          bool labels = false)
        : context(owner), operations(owner->backend->operations), shape(of)
    {
        reliht_status status =
            labels ? reliht_dataset_from_labels(context, shape.samples, shape.inputs, from.x.data(),
                                                from.labels.data(), shape.outputs, &dataset)
                   : reliht_dataset_from_arrays(context, shape.samples, shape.inputs, from.x.data(),
                                                shape.outputs, from.y.data(), &dataset);
        EXPECT_EQ(status, RELIHT_OK);
        EXPECT_EQ(operations->batch_create(context->backend, dataset, false, shape.samples, &data),
                  RELIHT_OK);
        EXPECT_EQ(operations->batch_load(data, nullptr, shape.samples), RELIHT_OK);
        EXPECT_EQ(operations->factored_create(context->backend, &problem, &it), RELIHT_OK);
        EXPECT_EQ(sparse_create(context, &hidden, shape.hidden, shape.inputs, shape.nnz),
                  RELIHT_OK);
        EXPECT_EQ(sparse_create(context, &output, shape.hidden, shape.outputs, shape.nnz),
                  RELIHT_OK);
    }
    Model(reliht_context *owner, const Case &of, const Data &from)
        : Model(owner, of, from, problem_of(of))
    {
    }
    ~Model()
    {
        sparse_destroy(context, &hidden);
        sparse_destroy(context, &output);
        operations->factored_destroy(it);
        operations->batch_destroy(data);
        reliht_dataset_destroy(dataset);
    }
    Model(const Model &) = delete;
    Model &operator=(const Model &) = delete;

    reliht_status step(bool draw, bool keep = false, double scale = 1,
                       pattern_source source = PATTERNS_WEIGHTS)
    {
        factored_step_options options = {};
        options.source = shape.source == PATTERNS_DRAWN ? PATTERNS_DRAWN : source;
        options.draw_empty = draw;
        options.step_scale = scale;
        options.keep_support = keep;
        reliht_status status = operations->factored_step(it, data, &options);
        if (status == RELIHT_OK)
            status = operations->factored_report(it, &report);
        if (status == RELIHT_OK)
            status = operations->factored_get_weights(it, &hidden, &output);
        return status;
    }
    // All weights in one list, hidden ones first.
    Matrix weights() const
    {
        Matrix all(shape.hidden * (shape.inputs + shape.outputs));
        for (size_t j = 0; j < hidden.live; j++)
            for (size_t k = hidden.start[j]; k < hidden.start[j + 1]; k++)
                all[hidden.row[j] * shape.inputs + hidden.column[k]] = hidden.value[k];
        double *rest = all.data() + shape.hidden * shape.inputs;
        for (size_t j = 0; j < output.live; j++)
            for (size_t k = output.start[j]; k < output.start[j + 1]; k++)
                rest[output.row[j] * shape.outputs + output.column[k]] = output.value[k];
        return all;
    }
};

// The step as backend.h and factored.c state it, dense and in double.
struct Oracle {
    Case shape;
    size_t n, d, k, m, split, entries;
    Matrix x, y, weights, mean, square, age;
    Matrix gradient; // of the last step, draws in place of empty rows
    std::vector<bool> competes;
    Matrix h1, h2, generators;
    std::unique_ptr<Context> own = std::make_unique<Context>();
    sketch table = {};
    Matrix scale = {0, 0};
    bool smoothed = false;
    uint32_t draws = 0;
    double loss = 0;

    Oracle(const Case &of, const Data &data)
        : shape(of), n(of.samples), d(of.inputs), k(of.outputs), m(of.hidden), split(m * d),
          entries(m * (d + k)), x(data.x.begin(), data.x.end()), y(data.y.begin(), data.y.end()),
          weights(entries), mean(entries), square(entries), age(entries)
    {
        EXPECT_EQ(sketch_create(*own, &table, sketch_width((double)entries, of.nnz), of.seed),
                  RELIHT_OK);
        std::vector<float> h(d);
        for (size_t j = 0; j < m; j++) {
            uint32_t columns[GENERATOR_NONZEROS];
            float values[GENERATOR_NONZEROS];
            generator_draw_gaussian(of.seed, (uint32_t)j, d, h.data());
            if (of.generator == RELIHT_GENERATOR_SPARSE) {
                size_t count = generator_draw_sparse(of.seed, (uint32_t)j, d, columns, values);
                std::fill(h.begin(), h.end(), 0.0f);
                for (size_t i = 0; i < count; i++)
                    h[columns[i]] = values[i];
            }
            generators.insert(generators.end(), h.begin(), h.end());
        }
    }
    ~Oracle()
    {
        sketch_destroy(*own, &table);
    }

    static bool any(const Matrix &from, size_t first, size_t count)
    {
        return std::any_of(from.begin() + (long)first, from.begin() + (long)(first + count),
                           [](double value) { return value != 0; });
    }
    double drawn(rng_purpose purpose, size_t j, size_t count, size_t i) const
    {
        uint32_t word = rng_word(shape.seed, purpose, (uint64_t)draws << 32 | j, (uint32_t)i);
        float width = (float)(1.0 / std::sqrt((double)count * (double)m));
        return width * (0x1p-31f * (float)word - 1.0f);
    }
    // yhat of sample i for weights w, patterns by `pattern` [m, d].
    Matrix outputs(const Matrix &w, const Matrix &pattern, size_t i) const
    {
        Matrix out(k);
        for (size_t j = 0; j < m; j++) {
            double z = 0, p = 0;
            for (size_t c = 0; c < d; c++) {
                z += w[j * d + c] * x[i * d + c];
                p += pattern[j * d + c] * x[i * d + c];
            }
            for (size_t o = 0; p > 0 && o < k; o++)
                out[o] += z * w[split + j * k + o];
        }
        return out;
    }
    // Loss whose gradient is the residual: cross-entropy, or half the squares per sample.
    double loss_of(const Matrix &w, const Matrix &pattern) const
    {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += sample_loss(outputs(w, pattern, i), i, nullptr);
        return sum / (double)n;
    }
    double sample_loss(const Matrix &out, size_t i, double *residual) const
    {
        double largest = *std::max_element(out.begin(), out.end()), total = 0, sum = 0;
        for (double o : out)
            total += std::exp(o - largest);
        for (size_t o = 0; o < k; o++) {
            double target = y[i * k + o];
            bool classes = shape.loss == RELIHT_LOSS_CROSS_ENTROPY;
            double difference = (classes ? std::exp(out[o] - largest) / total : out[o]) - target;
            sum += classes ? target * (std::log(total) + largest - out[o])
                           : 0.5 * difference * difference;
            if (residual)
                residual[o] = difference / (double)n;
        }
        return sum;
    }
    // Neurons that take part in a step that draws: with the automatic step, one per 8 weights of
    // the budget, at least 16.
    size_t drawing() const
    {
        bool all = shape.source == PATTERNS_DRAWN || shape.step == RELIHT_STEP_PUBLISHED;
        return all ? m : std::min(m, std::max<size_t>(16, shape.nnz / 8));
    }
    void find_gradient(bool draw)
    {
        Matrix residual(n * k);
        const Matrix hidden_patterns(weights.begin(), weights.begin() + (long)split);
        const Matrix &forward = shape.source == PATTERNS_DRAWN ? generators : hidden_patterns;
        loss = 0;
        for (size_t i = 0; i < n; i++)
            loss += sample_loss(outputs(weights, forward, i), i, &residual[i * k]);
        loss /= (double)n;
        if (shape.loss == RELIHT_LOSS_MSE)
            loss *= 2.0 / (double)k;
        Matrix w = weights;
        competes.assign(entries, false);
        for (size_t j = 0; j < (draw ? drawing() : m); j++) {
            bool has_hidden = any(weights, j * d, d), has_output = any(weights, split + j * k, k);
            for (size_t c = 0; draw && !has_hidden && c < d; c++)
                w[j * d + c] = drawn(RNG_EMPTY_HIDDEN, j, d, c);
            for (size_t o = 0; draw && !has_output && o < k; o++)
                w[split + j * k + o] = drawn(RNG_EMPTY_OUTPUT, j, k, o);
            bool pattern = shape.source == PATTERNS_DRAWN || has_hidden || draw;
            for (size_t c = 0; c < d; c++)
                competes[j * d + c] = pattern && (has_output || draw);
            for (size_t o = 0; o < k; o++)
                competes[split + j * k + o] = pattern && (has_hidden || draw);
        }
        gradient.assign(entries, 0);
        const Matrix drawn_patterns(w.begin(), w.begin() + (long)split);
        const Matrix &pattern = shape.source == PATTERNS_DRAWN ? generators : drawn_patterns;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < m; j++) {
                double z = 0, p = 0, e = 0;
                for (size_t c = 0; c < d; c++) {
                    z += w[j * d + c] * x[i * d + c];
                    p += pattern[j * d + c] * x[i * d + c];
                }
                if (p <= 0)
                    continue;
                for (size_t o = 0; o < k; o++) {
                    e += residual[i * k + o] * w[split + j * k + o];
                    gradient[split + j * k + o] += residual[i * k + o] * z;
                }
                for (size_t c = 0; c < d; c++)
                    gradient[j * d + c] += e * x[i * d + c];
            }
        for (size_t c = 0; c < d; c++) {
            bool zero = true;
            for (size_t i = 0; i < n; i++)
                zero &= x[i * d + c] == 0;
            for (size_t j = 0; zero && j < m; j++)
                if (weights[j * d + c] == 0)
                    competes[j * d + c] = false;
        }
    }
    uint32_t row_of(size_t i) const
    {
        return (uint32_t)(i < split ? i / d : m + (i - split) / k);
    }
    uint32_t column_of(size_t i) const
    {
        return (uint32_t)(i < split ? i % d : (i - split) % k);
    }
    void measure()
    {
        double largest[2];
        for (size_t half = 0; half < 2; half++) {
            Matrix magnitudes;
            // The first block of neurons stands for all.
            size_t block = std::min(m, std::max<size_t>(16, 0x40000 / (d + k)));
            for (size_t i = half ? split : 0; i < (half ? split + block * k : block * d); i++)
                if (gradient[i] != 0)
                    magnitudes.push_back(std::fabs(gradient[i]));
            std::sort(magnitudes.rbegin(), magnitudes.rend());
            magnitudes.resize(std::min(magnitudes.size(), shape.nnz * block / m));
            double sum = 0;
            for (double value : magnitudes)
                sum += value * value;
            if (scale[half] == 0 && !smoothed)
                scale[half] = sum / (double)magnitudes.size();
            largest[half] = magnitudes[0];
        }
        if (!table.scaled)
            sketch_set_scale(&table,
                             (float)std::max(size(0) * largest[0], size(split) * largest[1]));
    }
    double rate = 0;
    // Size of the update of entry i that importance sees.
    double size(size_t i) const
    {
        if (shape.step == RELIHT_STEP_PUBLISHED)
            return rate;
        bool sketched = shape.importance == RELIHT_IMPORTANCE_SKETCH;
        return (i >= split && sketched ? 4.0 : 1.0) * rate / std::sqrt(scale[i >= split]);
    }
    Matrix importance()
    {
        Matrix out(entries);
        for (size_t i = 0; i < entries; i++)
            out[i] = std::fabs(weights[i] - size(i) * gradient[i]);
        if (shape.importance == RELIHT_IMPORTANCE_MAGNITUDE)
            return out;
        for (size_t i = 0; i < entries; i++)
            for (size_t r = 0; r < SKETCH_ROWS; r++) {
                uint32_t hash = sketch_hash(&table.key[r], row_of(i), column_of(i));
                table.counter[r * table.width + sketch_slot(hash, table.width)] +=
                    sketch_sign(hash) * std::llrint(-size(i) * gradient[i] * sketch_factor(&table));
            }
        for (size_t i = 0; i < entries; i++)
            out[i] = (double)(float)sketch_query(&table, row_of(i), column_of(i));
        return out;
    }
    void choose()
    {
        Matrix value = importance();
        std::vector<size_t> order;
        for (size_t i = 0; i < entries; i++)
            if (competes[i] && value[i] != 0)
                order.push_back(i);
        std::stable_sort(order.begin(), order.end(),
                         [&](size_t a, size_t b) { return value[a] > value[b]; });
        order.resize(std::min(order.size(), shape.nnz));
        std::vector<bool> chosen(entries, false), in(m, false), out(m, false);
        for (size_t i : order)
            (i < split ? in[i / d] : out[(i - split) / k]) = true;
        for (size_t i : order) {
            size_t j = i < split ? i / d : (i - split) / k;
            chosen[i] = in[j] && out[j];
        }
        for (size_t i = 0; i < entries; i++)
            if (!chosen[i])
                weights[i] = mean[i] = square[i] = age[i] = 0;
        support = chosen;
    }
    std::vector<bool> support;
    void step(bool draw, bool keep = false, double factor = 1)
    {
        double per_neuron = (double)shape.nnz / (double)m;
        bool published = shape.step == RELIHT_STEP_PUBLISHED;
        rate = factor * (!published ? 0.1 * std::sqrt(std::min(1.0, (double)n / 100) /
                                                      std::max(10.0, per_neuron))
                         : shape.loss == RELIHT_LOSS_CROSS_ENTROPY            ? 0.001
                         : (double)shape.nnz < 6 * std::pow((double)m, 0.536) ? 2.0
                                                                              : 0.005);
        find_gradient(draw);
        if (keep) {
            support.assign(entries, false);
            for (size_t i = 0; i < entries; i++)
                support[i] = weights[i] != 0;
        } else {
            if (!table.scaled)
                measure();
            choose();
        }
        bool seen = false;
        for (size_t half = 0; half < 2; half++) {
            double sum = 0, count = 0;
            for (size_t i = half ? split : 0; i < (half ? entries : split); i++)
                if (support[i]) {
                    sum += gradient[i] * gradient[i];
                    count++;
                }
            if (sum > 0)
                scale[half] = smoothed ? 0.95 * scale[half] + 0.05 * sum / count : sum / count;
            seen |= count > 0;
        }
        smoothed |= seen;
        for (size_t i = 0; i < entries; i++)
            if (support[i])
                move(i, published);
        draws += draw;
    }
    void move(size_t i, bool published)
    {
        if (published) {
            weights[i] -= rate * gradient[i];
            return;
        }
        age[i]++;
        mean[i] = 0.9 * mean[i] + 0.1 * gradient[i];
        square[i] = 0.99 * square[i] + 0.01 * gradient[i] * gradient[i];
        if (square[i] > 0)
            weights[i] -= rate * mean[i] / (1 - std::pow(0.9, age[i])) /
                          std::sqrt(square[i] / (1 - std::pow(0.99, age[i])));
    }
};

// Supports equal and values within `tolerance` of the largest.
inline void expect_equal_weights(const Matrix &weights, const Matrix &expected, double tolerance,
                                 const std::string &where)
{
    double largest = 0;
    for (double value : expected)
        largest = std::max(largest, std::fabs(value));
    ASSERT_EQ(weights.size(), expected.size());
    for (size_t i = 0; i < weights.size(); i++) {
        ASSERT_EQ(weights[i] != 0, expected[i] != 0) << where << ", entry " << i;
        ASSERT_NEAR(weights[i], expected[i], tolerance * largest) << where << ", entry " << i;
    }
}

inline std::vector<Case> all_cases()
{
    std::vector<Case> cases;
    for (reliht_loss loss : {RELIHT_LOSS_MSE, RELIHT_LOSS_CROSS_ENTROPY})
        for (reliht_importance importance : {RELIHT_IMPORTANCE_SKETCH, RELIHT_IMPORTANCE_MAGNITUDE})
            for (reliht_step step : {RELIHT_STEP_AUTO, RELIHT_STEP_PUBLISHED})
                for (pattern_source source : {PATTERNS_WEIGHTS, PATTERNS_DRAWN}) {
                    Case shape;
                    shape.loss = loss;
                    shape.importance = importance;
                    shape.step = step;
                    shape.source = source;
                    cases.push_back(shape);
                }
    Case drawn;
    drawn.source = PATTERNS_DRAWN;
    drawn.generator = RELIHT_GENERATOR_SPARSE;
    cases.push_back(drawn);
    Case one = cases[0]; // a single output, full support
    one.outputs = 1;
    one.nnz = 13 * 24;
    cases.push_back(one);
    Case tiny;
    tiny.samples = 3;
    tiny.inputs = 1;
    tiny.outputs = 2;
    tiny.hidden = 2;
    tiny.nnz = 6;
    cases.push_back(tiny);
    Case wide; // more than a chunk of samples, more than a tile of neurons
    wide.samples = 700;
    wide.hidden = 37;
    wide.inputs = 70;
    wide.nnz = 150;
    cases.push_back(wide);
    Case blocks; // more gradients than are held at a time
    blocks.samples = 20;
    blocks.hidden = 30000;
    blocks.inputs = 8;
    blocks.outputs = 2;
    blocks.nnz = 500;
    cases.push_back(blocks);
    blocks.importance = RELIHT_IMPORTANCE_MAGNITUDE;
    cases.push_back(blocks);
    return cases;
}

inline std::string name_of(const Case &shape)
{
    return "loss " + std::to_string(shape.loss) + " importance " +
           std::to_string(shape.importance) + " step " + std::to_string(shape.step) + " source " +
           std::to_string(shape.source) + " inputs " + std::to_string(shape.inputs) + " outputs " +
           std::to_string(shape.outputs);
}

// A network of given density: neuron j has every weight with that probability.
struct Network {
    reliht_context *context;
    network it = {};

    Network(reliht_context *owner, const Case &shape, double density, size_t room = 4096)
        : context(owner)
    {
        EXPECT_EQ(
            network_create(context, &it, shape.hidden, shape.inputs, shape.outputs, room, room),
            RELIHT_OK);
        fill(&it.hidden, shape, density, 1);
        fill(&it.output, shape, density, 2);
    }
    ~Network()
    {
        network_destroy(context, &it);
    }
    Network(const Network &) = delete;
    Network &operator=(const Network &) = delete;

    static void fill(sparse *matrix, const Case &shape, double density, uint64_t stream)
    {
        for (uint32_t j = 0; j < shape.hidden; j++)
            for (uint32_t c = 0; c < matrix->columns; c++) {
                float value;
                uint32_t index = j * (uint32_t)matrix->columns + c;
                rng_normals(shape.seed, RNG_VALUES, stream << 32 | index, 1, &value);
                if (0x1p-32 * rng_word(shape.seed, RNG_POSITIONS, stream, index) < density)
                    sparse_append(matrix, j, c, value);
            }
    }
    double value(bool output, uint32_t j, uint32_t c) const
    {
        const sparse *matrix = output ? &it.output : &it.hidden;
        for (size_t at = 0; at < matrix->live; at++)
            for (size_t k = matrix->start[at]; k < matrix->start[at + 1]; k++)
                if (matrix->row[at] == j && matrix->column[k] == c)
                    return matrix->value[k];
        return 0;
    }
    Matrix dense() const
    {
        Matrix all;
        for (bool output : {false, true})
            for (uint32_t j = 0; j < it.hidden.rows; j++)
                for (uint32_t c = 0; c < (output ? it.output : it.hidden).columns; c++)
                    all.push_back(value(output, j, c));
        return all;
    }
    double norm(bool output, uint32_t j) const
    {
        double sum = 0;
        for (uint32_t c = 0; c < (output ? it.output : it.hidden).columns; c++)
            sum += value(output, j, c) * value(output, j, c);
        return std::sqrt(sum);
    }
    // Places in the dense list of the entries held, in the order of the weights.
    std::vector<size_t> places() const
    {
        std::vector<size_t> all;
        Matrix values = dense();
        for (size_t i = 0; i < values.size(); i++)
            if (values[i] != 0)
                all.push_back(i);
        return all;
    }
};

inline std::vector<Case> evaluation_cases()
{
    std::vector<Case> cases;
    for (reliht_loss loss : {RELIHT_LOSS_MSE, RELIHT_LOSS_CROSS_ENTROPY}) {
        Case shape;
        shape.loss = loss;
        shape.nnz = 400;
        shape.importance = RELIHT_IMPORTANCE_MAGNITUDE;
        shape.step = RELIHT_STEP_PUBLISHED;
        cases.push_back(shape);
        shape.samples = 1100;
        shape.inputs = 40;
        shape.hidden = 19;
        shape.nnz = 900;
        cases.push_back(shape);
    }
    return cases;
}

} // namespace oracle_factored

#endif
