// The sweep on the device against sums in double precision, by both products.
#include "cuda/arrays.h"
#include "parity/parity.h"

extern "C" {
#include "core/generator.h"
}
#include "kernels/sweep.h"

#include <cmath>
#include <cstring>
#include <random>

using cuda_arrays::Array;
using cuda_arrays::Batch;
using cuda_arrays::Selection;
using cuda_arrays::Sparse;

namespace
{

enum Source { DRAWN, GAUSSIAN, GIVEN, WEIGHTS };

struct SweepCase {
    const char *name;
    uint32_t samples, inputs, hidden, nnz;
    Source source;
    bool mixed = false;
    bool live_words = false;
    uint32_t split_samples = SWEEP_SPLIT_SAMPLES;
    uint32_t tile_capacity = SWEEP_PIECES;
    float input_scale = 1;
    unsigned blocks = 0;
};

// A problem on host and device.
struct Problem {
    const SweepCase shape;
    std::vector<float> x, residual; // [inputs, samples], [samples]
    std::vector<entry> weights, given;
    std::vector<float> generators; // [hidden, inputs]
    const double step = 0.37;
    const uint64_t seed = 11;

    explicit Problem(const SweepCase &shape)
        : shape(shape), x((size_t)shape.samples * shape.inputs), residual(shape.samples),
          generators((size_t)shape.hidden * shape.inputs)
    {
        std::mt19937 random(shape.samples + shape.inputs);
        std::normal_distribution<float> normal;
        for (float &value : x)
            value = shape.input_scale * normal(random);
        for (float &value : residual)
            value = normal(random);
        weights = entries(shape.nnz, random);
        given = entries(3 * shape.hidden / 2, random);
        make_generators();
    }
    // `count` entries at random, in the higher half of the neurons only.
    std::vector<entry> entries(uint32_t count, std::mt19937 &random) const
    {
        std::normal_distribution<float> normal;
        std::vector<entry> list;
        uint64_t first = (uint64_t)(shape.hidden / 2) * shape.inputs,
                 all = (uint64_t)shape.hidden * shape.inputs, left = all - first;
        for (uint64_t i = first; i < all && count; i++, left--)
            if (random() % left < count) {
                list.push_back(
                    {normal(random), (uint32_t)(i / shape.inputs), (uint32_t)(i % shape.inputs)});
                count--;
            }
        return list;
    }
    void make_generators()
    {
        const std::vector<entry> *matrix = shape.source == WEIGHTS ? &weights
                                           : shape.source == GIVEN ? &given
                                                                   : nullptr;
        if (matrix)
            for (const entry &e : *matrix)
                generators[(size_t)e.row * shape.inputs + e.column] = e.value;
        for (uint32_t j = 0; j < shape.hidden; j++) {
            float *h = &generators[(size_t)j * shape.inputs];
            if (shape.source == GAUSSIAN)
                generator_draw_gaussian(seed, j, shape.inputs, h);
            if (shape.source == DRAWN) {
                uint32_t columns[GENERATOR_NONZEROS];
                float values[GENERATOR_NONZEROS];
                size_t count = generator_draw_sparse(seed, j, shape.inputs, columns, values);
                for (size_t k = 0; k < count; k++)
                    h[columns[k]] = values[k];
            }
        }
    }
    bool active(uint32_t neuron, uint32_t sample) const
    {
        const float *h = &generators[(size_t)neuron * shape.inputs];
        float z = 0;
        for (uint32_t c = 0; c < shape.inputs; c++)
            if (h[c] != 0)
                z = std::fma(h[c], x[(size_t)c * shape.samples + sample], z);
        return z > 0;
    }
    bool swept(uint32_t neuron) const
    {
        return shape.source != WEIGHTS ||
               std::any_of(weights.begin(), weights.end(),
                           [&](const entry &e) { return e.row == neuron; });
    }
    std::vector<uint32_t> live() const
    {
        std::vector<uint32_t> rows;
        for (const entry &e : weights)
            if (rows.empty() || rows.back() != e.row)
                rows.push_back(e.row);
        return rows;
    }
};

// Candidates in double and the sums of |x r| that their rounding is measured by; NaN where no
// neuron is swept.
struct Expected {
    std::vector<double> candidate, scale;
};

Expected oracle(const Problem &p)
{
    const SweepCase &s = p.shape;
    size_t all = (size_t)s.hidden * s.inputs;
    Expected out = {std::vector<double>(all, NAN), std::vector<double>(all)};
    for (uint32_t j = 0; j < s.hidden; j++) {
        if (!p.swept(j))
            continue;
        std::vector<double> g(s.inputs), sum(s.inputs);
        for (uint32_t i = 0; i < s.samples; i++)
            if (p.active(j, i))
                for (uint32_t c = 0; c < s.inputs; c++) {
                    double product = (double)p.x[(size_t)c * s.samples + i] * p.residual[i];
                    g[c] += product;
                    sum[c] += std::fabs(product);
                }
        double scale = s.mixed && j % 2 ? p.step : -p.step;
        for (uint32_t c = 0; c < s.inputs; c++) {
            out.candidate[(size_t)j * s.inputs + c] = (float)scale * g[c];
            out.scale[(size_t)j * s.inputs + c] = p.step * sum[c];
        }
    }
    for (const entry &e : p.weights) {
        out.candidate[(size_t)e.row * s.inputs + e.column] += e.value;
        out.scale[(size_t)e.row * s.inputs + e.column] += std::fabs(e.value);
    }
    return out;
}

// What a sweep needs in device memory.
struct DeviceSweep {
    Batch batch;
    Sparse weights, given;
    Array<float> residual, tiles;
    Array<double> step;
    Array<uint32_t> words, live, live_words;
    device_sweep view = {};

    DeviceSweep(const Problem &p, sweep_product product)
        : batch(p.x, p.shape.samples, p.shape.inputs), weights(p.weights), given(p.given),
          residual(Batch::padded(p.residual, p.shape.samples, 1, batch.stride)),
          tiles(p.shape.tile_capacity * SWEEP_TILE), step(std::vector<double>{p.step}),
          words((size_t)SWEEP_WORD_TILES * SWEEP_NEURONS * batch.stride / 32), live(p.live()),
          live_words(std::max<size_t>(p.live().size(), 1) * batch.stride / 32)
    {
        device_generators &source = view.generators;
        source.hidden = p.shape.hidden;
        source.inputs = p.shape.inputs;
        source.use_weights = p.shape.source == WEIGHTS;
        source.gaussian = p.shape.source == GAUSSIAN;
        source.seed = p.seed;
        source.weights = weights.view;
        source.given = given.view;
        source.given_rows = p.shape.source == GIVEN ? p.shape.hidden : 0;
        view.batch = batch.view.data;
        view.weights = weights.view;
        view.residual = residual.data;
        view.step_size = step.data;
        view.tiles = tiles.data;
        view.words = words.data;
        view.tile_capacity = p.shape.tile_capacity;
        view.word_tiles = sweep_word_tiles(&source);
        view.mixed = p.shape.mixed;
        view.product = product;
        view.split_samples = p.shape.split_samples;
        if (p.shape.live_words) {
            view.live_words = live_words.data;
            EXPECT_EQ(launch_patterns(nullptr, source, batch.view.data, live.data,
                                      (uint32_t)live.count, live_words.data),
                      cudaSuccess);
        }
    }
};

std::vector<float> candidates_of(const Problem &p, sweep_product product)
{
    DeviceSweep device(p, product);
    Array<float> out(std::vector<float>((size_t)p.shape.hidden * p.shape.inputs, NAN));
    EXPECT_EQ(launch_sweep_candidates(nullptr, device.view, p.shape.blocks, out.data), cudaSuccess);
    return out.read(out.count);
}

const SweepCase sweep_cases[] = {
    {"single neuron, input and sample", 1, 1, 1, 0, DRAWN},
    {"single weight", 5, 1, 1, 1, WEIGHTS},
    {"odd sizes", 333, 37, 45, 20, DRAWN, true},
    {"a full tile", 64, 128, 128, 128, DRAWN},
    {"two tiles of neurons", 100, 17, 131, 60, DRAWN, true, true},
    {"splits", 700, 20, 30, 10, DRAWN, false, false, 128},
    {"splits and waves", 300, 9, 400, 10, DRAWN, true, false, 64, 5},
    {"two tiles of inputs", 90, 130, 140, 30, DRAWN, false, false, 32, 3},
    {"two tiles of inputs, live words", 90, 130, 140, 30, DRAWN, true, true, 32, 3},
    {"dense generators", 200, 21, 40, 10, GAUSSIAN, true},
    {"dense generators, live words", 100, 140, 150, 40, GAUSSIAN, false, true, 64, 4},
    {"given generators", 150, 12, 60, 15, GIVEN, true},
    {"given generators, two tiles of inputs", 70, 150, 20, 15, GIVEN},
    {"weights as generators", 400, 25, 300, 200, WEIGHTS, true, false, 128},
    {"weights as generators, live words", 130, 135, 300, 200, WEIGHTS, false, true},
    {"no weights to be swept", 40, 5, 10, 0, WEIGHTS},
    {"tiny inputs", 100, 10, 12, 0, DRAWN, false, false, 64, 8, 1e-37f},
};

TEST(CudaSweep, CandidatesAreThoseInDoublePrecision)
{
    PARITY_NEEDS_BACKEND();
    for (const SweepCase &shape : sweep_cases)
        for (sweep_product product : {SWEEP_TENSOR, SWEEP_PLAIN}) {
            SCOPED_TRACE(testing::Message() << shape.name << (product ? ", plain" : ", tensor"));
            Problem p(shape);
            Expected expected = oracle(p);
            std::vector<float> found = candidates_of(p, product);
            for (size_t i = 0; i < found.size(); i++) {
                if (std::isnan(expected.candidate[i])) {
                    ASSERT_TRUE(std::isnan(found[i])) << i;
                    continue;
                }
                // products and totals are rounded once each step of 32; a walk, not the bound
                double tolerance = 4e-7 * expected.scale[i] + 1e-44;
                ASSERT_NEAR(found[i], expected.candidate[i], tolerance)
                    << "neuron " << i / shape.inputs << ", input " << i % shape.inputs;
            }
        }
}

TEST(CudaSweep, CandidatesDontDependOnTheNumberOfBlocks)
{
    PARITY_NEEDS_BACKEND();
    for (sweep_product product : {SWEEP_TENSOR, SWEEP_PLAIN}) {
        SweepCase shape = {"splits", 700, 20, 150, 40, DRAWN, true, false, 128};
        std::vector<float> expected = candidates_of(Problem(shape), product);
        for (unsigned blocks : {1u, 3u}) {
            shape.blocks = blocks;
            std::vector<float> found = candidates_of(Problem(shape), product);
            ASSERT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0);
        }
    }
}

// A product that overflows is infinite for the neurons that its sample activates, and nothing for
// the others, though 0 * infinity isn't a number.
TEST(CudaSweep, OverflowConcernsActiveNeuronsOnly)
{
    PARITY_NEEDS_BACKEND();
    Problem p({"overflow", 100, 9, 40, 0, DRAWN});
    const uint32_t sample = 77, input = 4;
    p.x[input * p.shape.samples + sample] = 1e38f;
    p.residual[sample] = 1e3f;
    Expected expected = oracle(p);
    std::vector<float> found = candidates_of(p, SWEEP_TENSOR);
    size_t infinite = 0;
    for (uint32_t j = 0; j < p.shape.hidden; j++)
        for (uint32_t c = 0; c < p.shape.inputs; c++) {
            size_t i = (size_t)j * p.shape.inputs + c;
            if (c == input && p.active(j, sample)) {
                EXPECT_TRUE(std::isinf(found[i]));
                infinite++;
            } else {
                EXPECT_NEAR(found[i], expected.candidate[i], 4e-7 * expected.scale[i]);
            }
        }
    EXPECT_GT(infinite, 0u);
    EXPECT_LT(infinite, p.shape.hidden);
}

// The best `keep` of all candidates, by sorting.
std::vector<entry> best_of(const Problem &p, const std::vector<float> &candidates, size_t keep)
{
    std::vector<entry> entries;
    for (size_t i = 0; i < candidates.size(); i++)
        if (!std::isnan(candidates[i]) && candidates[i] != 0)
            entries.push_back(
                {candidates[i], (uint32_t)(i / p.shape.inputs), (uint32_t)(i % p.shape.inputs)});
    std::stable_sort(entries.begin(), entries.end(), [](const entry &a, const entry &b) {
        return magnitude_bits(a.value) > magnitude_bits(b.value);
    });
    entries.resize(std::min(entries.size(), keep));
    std::sort(entries.begin(), entries.end(), [](const entry &a, const entry &b) {
        return a.row != b.row ? a.row < b.row : a.column < b.column;
    });
    return entries;
}

void expect_best(const SweepCase &shape, size_t keep)
{
    SCOPED_TRACE(shape.name);
    Problem p(shape);
    std::vector<entry> expected = best_of(p, candidates_of(p, SWEEP_TENSOR), keep);
    DeviceSweep device(p, SWEEP_TENSOR);
    Selection best(keep, shape.hidden, shape.inputs);
    ASSERT_EQ(launch_sweep(nullptr, device.view, shape.blocks, best.view, best.result),
              cudaSuccess);
    std::vector<entry> found = best.entries();
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); i++) {
        ASSERT_EQ(found[i].row, expected[i].row);
        ASSERT_EQ(found[i].column, expected[i].column);
        ASSERT_EQ(found[i].value, expected[i].value);
    }
}

TEST(CudaSweep, KeepsTheBestOfAllCandidates)
{
    PARITY_NEEDS_BACKEND();
    for (const SweepCase &shape : sweep_cases)
        if (shape.hidden > 1)
            expect_best(shape, shape.hidden);
}

// The size that bench/model_sweep scales from; one sweep of it is one launch of sweep_select.
TEST(CudaSweep, KeepsTheBestOfAFullTile)
{
    PARITY_NEEDS_BACKEND();
    SweepCase shape = {"a full tile", 3136, 128, 128, 100, DRAWN};
    shape.blocks = 1; // nobody waits at a barrier, so that counts are those of the work alone
    expect_best(shape, 1024);
}

} // namespace
