#include "support.h"

extern "C" {
#include "backend/cpu/cpu.h"
#include "backend/cpu/sweep.h"
#include "core/generator.h"
#include "core/rng.h"
}

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <vector>

using support::Context;

namespace
{

std::vector<cpu_isa> available_isas()
{
    std::vector<cpu_isa> isas;
    for (int isa = ISA_base; isa <= cpu_isa_best(); isa++)
        isas.push_back((cpu_isa)isa);
    return isas;
}

cpu_backend *cpu_of(reliht_context *context)
{
    return reinterpret_cast<cpu_backend *>(context->backend);
}

// Data by columns with zero padding, as a loaded batch, and a residual.
struct Data {
    batch view{};
    std::vector<float> x, residual;

    Data(size_t samples, size_t inputs, uint64_t seed = 1)
    {
        view.capacity = view.samples = samples;
        view.inputs = inputs;
        view.stride = padded_samples(samples);
        x.assign(inputs * view.stride, 0.0f);
        residual.assign(view.stride, 0.0f);
        for (size_t c = 0; c < inputs; c++)
            rng_normals(seed, RNG_INPUTS, c, samples, &x[c * view.stride]);
        rng_normals(seed, RNG_VALUES, 0, samples, residual.data());
        view.x = x.data();
    }
    float at(size_t sample, size_t input) const
    {
        return x[input * view.stride + sample];
    }
};

// An owned sparse matrix.
struct Matrix {
    Context context{1};
    sparse s{};

    Matrix(size_t rows, size_t columns,
           const std::map<std::pair<uint32_t, uint32_t>, float> &entries = {})
    {
        sparse_create(context, &s, rows, columns, entries.size());
        for (const auto &[place, value] : entries)
            sparse_append(&s, place.first, place.second, value);
    }
    ~Matrix()
    {
        sparse_destroy(context, &s);
    }
    float at(uint32_t row, uint32_t column) const
    {
        size_t p = sparse_find_row(&s, row);
        if (p < s.live)
            for (size_t k = s.start[p]; k < s.start[p + 1]; k++)
                if (s.column[k] == column)
                    return s.value[k];
        return 0;
    }
};

// `count` distinct entries N(0,1), drawn.
std::map<std::pair<uint32_t, uint32_t>, float> random_entries(size_t rows, size_t columns,
                                                              size_t count, uint64_t seed)
{
    std::vector<uint64_t> places(count + 1), scratch(4 * count + 64);
    std::vector<float> values(count);
    rng_distinct(seed, RNG_POSITIONS, 0, rows * columns, count, places.data(), scratch.data());
    rng_normals(seed, RNG_VALUES, 1, count, values.data());
    std::map<std::pair<uint32_t, uint32_t>, float> entries;
    for (size_t i = 0; i < count; i++)
        entries[{(uint32_t)(places[i] / columns), (uint32_t)(places[i] % columns)}] = values[i];
    return entries;
}

// The generator of a neuron, dense.
std::vector<float> generator_of(const generator_source &source, uint32_t neuron)
{
    std::vector<float> h(source.inputs, 0.0f);
    const sparse *rows = nullptr;
    if (source.source == PATTERNS_WEIGHTS)
        rows = source.weights;
    else if (source.given && neuron < source.given->rows)
        rows = source.given;
    if (rows) {
        size_t p = sparse_find_row(rows, neuron);
        for (size_t k = p < rows->live ? rows->start[p] : 0;
             p < rows->live && k < rows->start[p + 1]; k++)
            h[rows->column[k]] = rows->value[k];
    } else if (source.kind == RELIHT_GENERATOR_GAUSSIAN) {
        generator_draw_gaussian(source.seed, neuron, source.inputs, h.data());
    } else {
        uint32_t columns[GENERATOR_NONZEROS];
        float values[GENERATOR_NONZEROS];
        size_t count = generator_draw_sparse(source.seed, neuron, source.inputs, columns, values);
        for (size_t k = 0; k < count; k++)
            h[columns[k]] = values[k];
    }
    return h;
}

// Pattern of a generator by scalar fma in ascending input: the definition.
std::vector<char> pattern_of(const Data &data, const std::vector<float> &h)
{
    std::vector<char> pattern(data.view.samples);
    for (size_t i = 0; i < pattern.size(); i++) {
        float z = 0;
        for (size_t c = 0; c < h.size(); c++)
            if (h[c] != 0)
                z = std::fmaf(h[c], data.at(i, c), z);
        pattern[i] = z > 0;
    }
    return pattern;
}

generator_source drawn_source(size_t hidden, size_t inputs, reliht_generator kind)
{
    generator_source source{};
    source.source = PATTERNS_DRAWN;
    source.hidden = hidden;
    source.inputs = inputs;
    source.kind = kind;
    source.seed = 11;
    return source;
}

struct Outcome {
    reliht_status status;
    std::string message;
    std::vector<entry> entries;
    size_t swept = 0;
};

Outcome run(const Data &data, const generator_source &source, reliht_signs signs, float step_size,
            const sparse &weights, size_t keep, unsigned threads = 2, cpu_isa isa = cpu_isa_best())
{
    Context context(threads);
    cpu_set_isa(context.handle->backend, isa);
    sweep *made;
    selector best;
    EXPECT_EQ(sweep_create(cpu_of(context), data.view.samples, data.view.inputs, &made), RELIHT_OK);
    EXPECT_EQ(selector_create(context, &best, keep), RELIHT_OK);
    Outcome outcome;
    outcome.status = sweep_run(made, &data.view, &source, signs, data.residual.data(), step_size,
                               &weights, &best, nullptr, &outcome.swept);
    if (!outcome.status)
        outcome.status = selector_finish(context, &best, "neuron", "input");
    outcome.message = context.message();
    if (!outcome.status)
        outcome.entries.assign(best.entries, best.entries + best.count);
    sweep_destroy(made);
    selector_destroy(context, &best);
    return outcome;
}

void expect_same(const std::vector<entry> &a, const std::vector<entry> &b)
{
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); i++) {
        ASSERT_EQ(a[i].row, b[i].row) << i;
        ASSERT_EQ(a[i].column, b[i].column) << i;
        ASSERT_EQ(magnitude_bits(a[i].value - b[i].value), 0u) << i;
    }
}

// Every candidate of a sweep against w - eta sign g in double. The error of a sum is measured
// against the sum of magnitudes of its terms.
void expect_candidates(const Data &data, const generator_source &source, reliht_signs signs,
                       float step_size, const Matrix &weights, cpu_isa isa = cpu_isa_best())
{
    size_t d = source.inputs;
    Outcome outcome = run(data, source, signs, step_size, weights.s, source.hidden * d + 1, 2, isa);
    ASSERT_EQ(outcome.status, RELIHT_OK) << outcome.message;
    std::vector<float> got(source.hidden * d, 0.0f);
    for (const entry &e : outcome.entries) {
        ASSERT_LT(e.row, source.hidden);
        ASSERT_LT(e.column, d);
        ASSERT_EQ(got[e.row * d + e.column], 0.0f) << "twice";
        ASSERT_NE(e.value, 0.0f);
        got[e.row * d + e.column] = e.value;
    }
    for (uint32_t j = 0; j < source.hidden; j++) {
        bool dead = source.source == PATTERNS_WEIGHTS &&
                    sparse_find_row(source.weights, j) == source.weights->live;
        std::vector<char> pattern = pattern_of(data, generator_of(source, j));
        double sign = signs == RELIHT_SIGNS_MIXED && j % 2 ? -1 : 1;
        for (uint32_t c = 0; c < d; c++) {
            double g = 0, size = 0;
            for (size_t i = 0; i < pattern.size() && !dead; i++)
                if (pattern[i]) {
                    g += (double)data.at(i, c) * data.residual[i];
                    size += std::fabs((double)data.at(i, c) * data.residual[i]);
                }
            double w = weights.at(j, c);
            ASSERT_NEAR(got[j * d + c], w - step_size * sign * g,
                        4e-7 * (std::fabs(w) + step_size * size))
                << "neuron " << j << ", input " << c;
        }
    }
}

const reliht_generator kinds[] = {RELIHT_GENERATOR_GAUSSIAN, RELIHT_GENERATOR_SPARSE};

} // namespace

TEST(Generator, SparseOnesAreDistinctAscendingAndEquallyLikely)
{
    std::map<size_t, int> counts, inputs;
    for (uint32_t neuron = 0; neuron < 6000; neuron++) {
        uint32_t columns[GENERATOR_NONZEROS];
        float values[GENERATOR_NONZEROS], normals[GENERATOR_NONZEROS];
        size_t count = generator_draw_sparse(3, neuron, 5, columns, values);
        ASSERT_GE(count, 1u);
        ASSERT_LE(count, 3u);
        counts[count]++;
        rng_normals(3, RNG_GENERATOR, neuron, count, normals);
        for (size_t k = 0; k < count; k++) {
            ASSERT_LT(columns[k], 5u);
            ASSERT_TRUE(!k || columns[k - 1] < columns[k]);
            ASSERT_EQ(values[k], normals[k]);
            inputs[columns[k]]++;
        }
    }
    for (const auto &[count, times] : counts)
        EXPECT_NEAR(times, 2000, 200) << count; // 5 standard deviations
    for (const auto &[input, times] : inputs)
        EXPECT_NEAR(times, 2400, 250) << input;
}

TEST(Generator, FewInputsBoundTheSparseOnes)
{
    uint32_t columns[GENERATOR_NONZEROS];
    float values[GENERATOR_NONZEROS];
    EXPECT_EQ(generator_draw_sparse(3, 1, 0, columns, values), 0u);
    std::set<size_t> seen;
    for (uint32_t neuron = 0; neuron < 100; neuron++) {
        EXPECT_EQ(generator_draw_sparse(3, neuron, 1, columns, values), 1u);
        EXPECT_EQ(columns[0], 0u);
        seen.insert(generator_draw_sparse(3, neuron, 2, columns, values));
    }
    EXPECT_EQ(seen, (std::set<size_t>{1, 2}));
}

TEST(Sweep, CandidatesMatchTheDenseOracle)
{
    for (size_t n : {1u, 63u, 64u, 65u, 200u})
        for (size_t d : {1u, 15u, 16u, 17u, 24u, 33u})
            for (size_t m : {1u, 3u, 257u})
                for (reliht_generator kind : kinds) {
                    if (m == 257 && (n == 63 || n == 64 || d == 15))
                        continue;
                    SCOPED_TRACE(testing::Message()
                                 << "n " << n << " d " << d << " m " << m << " kind " << kind);
                    Data data(n, d);
                    Matrix none(m, d), some(m, d, random_entries(m, d, (m * d + 3) / 4, 5));
                    generator_source source = drawn_source(m, d, kind);
                    expect_candidates(data, source, RELIHT_SIGNS_PLUS, 0.5f, none);
                    expect_candidates(data, source, RELIHT_SIGNS_MIXED, 0.01f, some);
                }
}

// Few tiles are shared by all threads, of many each thread takes its own.
TEST(Sweep, MoreNeuronsThanATile)
{
    for (reliht_generator kind : kinds)
        for (size_t m : {2051u, 20011u}) {
            size_t d = 5;
            Data data(70, d);
            Matrix some(m, d, random_entries(m, d, 1700, 5));
            expect_candidates(data, drawn_source(m, d, kind), RELIHT_SIGNS_MIXED, 0.1f, some);
        }
}

TEST(Sweep, ManySamples)
{
    Data data(20011, 17);
    Matrix some(20, 17, random_entries(20, 17, 30, 5));
    expect_candidates(data, drawn_source(20, 17, RELIHT_GENERATOR_SPARSE), RELIHT_SIGNS_PLUS, 0.1f,
                      some);
}

// Root mean square error of the gradients beside that of the matrix product they replace.
TEST(Sweep, ErrorsAreNotAboveThoseOfSgemm)
{
    const size_t n = 30000, d = 24, m = 30;
    Data data(n, d);
    Matrix none(m, d);
    generator_source source = drawn_source(m, d, RELIHT_GENERATOR_SPARSE);
    std::vector<float> masked(m * n), product(m * d);
    for (uint32_t j = 0; j < m; j++) {
        std::vector<char> pattern = pattern_of(data, generator_of(source, j));
        for (size_t i = 0; i < n; i++)
            masked[j * n + i] = pattern[i] ? data.residual[i] : 0.0f;
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, d, n, 1.0f, masked.data(), n,
                data.x.data(), (int)data.view.stride, 0.0f, product.data(), d);
    double ours = 0, theirs = 0;
    for (const entry &e : run(data, source, RELIHT_SIGNS_PLUS, -1.0f, none.s, m * d).entries) {
        double g = 0;
        for (size_t i = 0; i < n; i++)
            g += (double)masked[e.row * n + i] * data.at(i, e.column);
        ours += (e.value - g) * (e.value - g);
        theirs += std::pow(product[e.row * d + e.column] - g, 2);
    }
    EXPECT_GT(ours, 0.0);
    EXPECT_LE(ours, theirs);
}

TEST(Sweep, EveryInstructionSetMatchesTheOracle)
{
    for (cpu_isa isa : available_isas()) {
        Data data(130, 20);
        Matrix some(40, 20, random_entries(40, 20, 50, 5));
        for (reliht_generator kind : kinds)
            expect_candidates(data, drawn_source(40, 20, kind), RELIHT_SIGNS_MIXED, 0.1f, some,
                              isa);
    }
}

TEST(Sweep, GivenGeneratorsThenDrawnOnes)
{
    size_t m = 60, d = 18;
    Data data(150, d);
    Matrix given(40, d, random_entries(30, d, 100, 8)), none(m, d); // rows 30 .. 39 are zero
    for (reliht_generator kind : kinds) {
        generator_source source = drawn_source(m, d, kind);
        source.given = &given.s;
        expect_candidates(data, source, RELIHT_SIGNS_PLUS, 0.5f, none);
    }
}

TEST(Sweep, GeneratorsFromTheWeights)
{
    size_t m = 500, d = 18;
    Data data(150, d);
    Matrix weights(m, d, random_entries(m, d, 200, 8));
    generator_source source = drawn_source(m, d, RELIHT_GENERATOR_GAUSSIAN);
    source.source = PATTERNS_WEIGHTS;
    source.weights = &weights.s;
    expect_candidates(data, source, RELIHT_SIGNS_MIXED, 0.02f, weights);
    Matrix none(m, d);
    source.weights = &none.s;
    expect_candidates(data, source, RELIHT_SIGNS_MIXED, 0.02f, none);
}

TEST(Sweep, AllActiveAndAllInactivePatterns)
{
    size_t n = 130, d = 17, m = 4;
    Data data(n, d);
    for (size_t i = 0; i < n; i++)
        data.x[i] = 1.0f; // input 0
    // Neuron 0 is active everywhere, 1 nowhere, 2 nowhere for want of a generator.
    Matrix given(3, d, {{{0, 0}, 1.0f}, {{1, 0}, -1.0f}});
    Matrix weights(m, d, {{{1, 3}, 7.0f}, {{2, 16}, -3.0f}});
    generator_source source = drawn_source(m, d, RELIHT_GENERATOR_GAUSSIAN);
    source.given = &given.s;
    expect_candidates(data, source, RELIHT_SIGNS_PLUS, 0.5f, weights);
    Outcome outcome = run(data, source, RELIHT_SIGNS_PLUS, 0.5f, weights.s, m * d);
    std::vector<entry> inactive;
    for (const entry &e : outcome.entries)
        if (e.row == 1 || e.row == 2)
            inactive.push_back(e);
    expect_same(inactive, {{7.0f, 1, 3}, {-3.0f, 2, 16}});
}

TEST(Sweep, KeepsTheBestOfAllCandidates)
{
    size_t m = 300, d = 20;
    Data data(200, d);
    Matrix some(m, d, random_entries(m, d, 40, 5));
    generator_source source = drawn_source(m, d, RELIHT_GENERATOR_SPARSE);
    std::vector<entry> all = run(data, source, RELIHT_SIGNS_MIXED, 0.1f, some.s, m * d).entries;
    for (size_t keep : {1u, 50u, 1000u}) {
        std::vector<entry> best = all;
        std::sort(best.begin(), best.end(), [](const entry &a, const entry &b) {
            uint32_t left = magnitude_bits(a.value), right = magnitude_bits(b.value);
            if (left != right)
                return left > right;
            return a.row != b.row ? a.row < b.row : a.column < b.column;
        });
        best.resize(keep);
        std::sort(best.begin(), best.end(), [](const entry &a, const entry &b) {
            return a.row != b.row ? a.row < b.row : a.column < b.column;
        });
        expect_same(run(data, source, RELIHT_SIGNS_MIXED, 0.1f, some.s, keep).entries, best);
    }
}

TEST(Sweep, SameBitsForAnyThreadsAndInstructionSet)
{
    for (size_t m : {1100u, 9000u})
        for (reliht_generator kind : kinds) {
            size_t d = 37;
            Data data(150, d);
            Matrix some(m, d, random_entries(m, d, 100, 5));
            generator_source source = drawn_source(m, d, kind);
            Outcome first = run(data, source, RELIHT_SIGNS_MIXED, 0.1f, some.s, 5000, 1);
            for (unsigned threads : {2u, 3u, 5u})
                expect_same(
                    run(data, source, RELIHT_SIGNS_MIXED, 0.1f, some.s, 5000, threads).entries,
                    first.entries);
            for (cpu_isa isa : available_isas())
                if (m < 5000)
                    expect_same(
                        run(data, source, RELIHT_SIGNS_MIXED, 0.1f, some.s, 5000, 2, isa).entries,
                        first.entries);
        }
}

TEST(Sweep, ANeuronsSumsDoNotDependOnItsPlace)
{
    size_t m = 1030, d = 21;
    Data data(5000, d); // more than one span of words
    auto entries = random_entries(m, d, 3 * m, 4);
    std::vector<uint32_t> place(m);
    rng_permutation(5, RNG_BATCHES, 0, (uint32_t)m, place.data());
    auto moved = decltype(entries){};
    for (const auto &[at, value] : entries)
        moved[{place[at.first], at.second}] = value;
    Matrix given(m, d, entries), permuted(m, d, moved), none(m, d);
    generator_source source = drawn_source(m, d, RELIHT_GENERATOR_SPARSE);
    source.given = &given.s;
    std::vector<entry> plain = run(data, source, RELIHT_SIGNS_PLUS, 0.1f, none.s, m * d).entries;
    source.given = &permuted.s;
    std::vector<entry> other = run(data, source, RELIHT_SIGNS_PLUS, 0.1f, none.s, m * d, 3).entries;
    for (entry &e : plain)
        e.row = place[e.row];
    std::sort(plain.begin(), plain.end(), [](const entry &a, const entry &b) {
        return a.row != b.row ? a.row < b.row : a.column < b.column;
    });
    expect_same(plain, other);
}

TEST(Sweep, PatternsAreTheBitsOfTheDefinitionOnEveryInstructionSet)
{
    size_t n = 200, d = 33, m = 1050;
    Data data(n, d);
    Matrix given(500, d, random_entries(400, d, 1500, 8));
    Matrix weights(m, d, random_entries(m, d, 300, 9));
    std::vector<uint32_t> neurons;
    for (uint32_t j = 0; j < m; j++)
        if (j % 50 != 7)
            neurons.push_back(j);
    for (cpu_isa isa : available_isas())
        for (int which = 0; which < 4; which++) {
            generator_source source = drawn_source(m, d, kinds[which % 2]);
            if (which == 2)
                source.given = &given.s;
            source.weights = &weights.s;
            if (which == 3)
                source.source = PATTERNS_WEIGHTS;
            Context context(2);
            cpu_set_isa(context.handle->backend, isa);
            sweep *made;
            ASSERT_EQ(sweep_create(cpu_of(context), n, d, &made), RELIHT_OK);
            size_t words = data.view.stride / 64;
            std::vector<uint64_t> bits(neurons.size() * words, ~UINT64_C(0));
            ASSERT_EQ(sweep_patterns(made, &data.view, &source, neurons.data(), neurons.size(),
                                     bits.data()),
                      RELIHT_OK);
            sweep_destroy(made);
            for (size_t k = 0; k < neurons.size(); k++) {
                std::vector<char> pattern = pattern_of(data, generator_of(source, neurons[k]));
                pattern.resize(words * 64, 0);
                for (size_t i = 0; i < pattern.size(); i++)
                    ASSERT_EQ(bits[k * words + i / 64] >> (i % 64) & 1, (uint64_t)pattern[i])
                        << "isa " << isa << " case " << which << " neuron " << neurons[k]
                        << " sample " << i;
            }
        }
}

TEST(Sweep, SmallerBatchThanTheCapacity)
{
    Data data(100, 9), more(1000, 9);
    Matrix none(30, 9);
    generator_source source = drawn_source(30, 9, RELIHT_GENERATOR_GAUSSIAN);
    Context context(2);
    sweep *made;
    selector best;
    size_t swept;
    ASSERT_EQ(sweep_create(cpu_of(context), 1000, 9, &made), RELIHT_OK);
    ASSERT_EQ(selector_create(context, &best, 100), RELIHT_OK);
    for (const Data *some : {&more, &data}) {
        selector_reset(&best);
        ASSERT_EQ(sweep_run(made, &some->view, &source, RELIHT_SIGNS_PLUS, some->residual.data(),
                            1.0f, &none.s, &best, nullptr, &swept),
                  RELIHT_OK);
        ASSERT_EQ(selector_finish(context, &best, "neuron", "input"), RELIHT_OK);
        expect_same(std::vector<entry>(best.entries, best.entries + best.count),
                    run(*some, source, RELIHT_SIGNS_PLUS, 1.0f, none.s, 100).entries);
    }
    EXPECT_GT(sweep_pattern_seconds(made), 0.0);
    sweep_destroy(made);
    selector_destroy(context, &best);
}

TEST(Sweep, NonFiniteValuesNameNeuronAndInput)
{
    size_t m = 90, d = 20;
    const float infinite = std::numeric_limits<float>::infinity();
    for (float bad : {infinite, -infinite, std::nanf("")}) {
        Data data(100, d);
        for (size_t i = 0; i < 100; i++)
            data.x[i] = 1.0f;
        data.x[18 * data.view.stride + 77] = 3.0f;
        data.x[3 * data.view.stride + 77] = 0.0f; // times infinity is not a number either
        data.residual[77] = bad;
        // Only neuron 41 is active on sample 77, and there everywhere.
        std::map<std::pair<uint32_t, uint32_t>, float> rows;
        for (uint32_t j = 0; j < m; j++)
            rows[{j, 0}] = j == 41 ? 1.0f : -1.0f;
        Matrix given(m, d, rows), none(m, d);
        generator_source source = drawn_source(m, d, RELIHT_GENERATOR_GAUSSIAN);
        source.given = &given.s;
        Outcome outcome = run(data, source, RELIHT_SIGNS_PLUS, 0.1f, none.s, 5);
        EXPECT_EQ(outcome.status, RELIHT_NUMERIC);
        EXPECT_NE(outcome.message.find("neuron 41, input 0"), std::string::npos) << outcome.message;
    }
    Data data(100, d);
    Matrix none(m, d);
    Outcome outcome = run(data, drawn_source(m, d, RELIHT_GENERATOR_SPARSE), RELIHT_SIGNS_PLUS,
                          infinite, none.s, 5);
    EXPECT_EQ(outcome.status, RELIHT_NUMERIC);
    EXPECT_NE(outcome.message.find("neuron 0, input 0"), std::string::npos) << outcome.message;
}

TEST(Sweep, MemoryDoesNotGrowWithHiddenAndStaysModest)
{
    Context context(2);
    reliht_memory before, now;
    reliht_context_memory(context, &before, nullptr);
    sweep *made;
    ASSERT_EQ(sweep_create(cpu_of(context), 500, 1000, &made), RELIHT_OK);
    reliht_context_memory(context, &now, nullptr);
    EXPECT_LT(now.total - before.total, 8u << 20);
    sweep_destroy(made);
    ASSERT_EQ(sweep_create(cpu_of(context), 1000000, 10, &made), RELIHT_OK);
    reliht_context_memory(context, &now, nullptr);
    EXPECT_LE(now.patterns - before.patterns, 18u << 20);
    sweep_destroy(made);
    reliht_context_memory(context, &now, nullptr);
    EXPECT_EQ(now.total, before.total);
}

TEST(Sweep, SurvivesFailingAllocations)
{
    support::fail_each_allocation([](reliht_context *context) {
        sweep *made;
        reliht_status status = sweep_create(cpu_of(context), 100, 10, &made);
        if (!status)
            sweep_destroy(made);
        return status;
    });
}

namespace
{

reliht_bench_sweep_options small_benchmark()
{
    reliht_bench_sweep_options options{};
    options.samples = 100;
    options.inputs = 7;
    options.hidden = 20;
    options.nnz = 30;
    options.repeats = 1;
    options.generator = RELIHT_GENERATOR_SPARSE;
    return options;
}

} // namespace

TEST(Bench, MeasuresBothSides)
{
    Context context(2);
    reliht_bench_sweep_report report;
    reliht_bench_sweep_options options = small_benchmark();
    options.repeats = 2;
    ASSERT_EQ(reliht_bench_sweep(context, &options, &report), RELIHT_OK) << context.message();
    EXPECT_GT(report.seconds_sweep, 0.0);
    EXPECT_GT(report.seconds_sgemm, 0.0);
    EXPECT_GT(report.seconds_patterns, 0.0);
    EXPECT_LT(report.seconds_patterns, report.seconds_sweep);
}

TEST(Bench, RefusesEmptyAndAbsurdShapes)
{
    Context context(1);
    reliht_bench_sweep_report report;
    for (size_t reliht_bench_sweep_options::*field :
         {&reliht_bench_sweep_options::samples, &reliht_bench_sweep_options::inputs,
          &reliht_bench_sweep_options::hidden, &reliht_bench_sweep_options::nnz}) {
        reliht_bench_sweep_options options = small_benchmark();
        options.*field = 0;
        EXPECT_EQ(reliht_bench_sweep(context, &options, &report), RELIHT_ARGUMENT);
        options.*field = SIZE_MAX;
        EXPECT_EQ(reliht_bench_sweep(context, &options, &report), RELIHT_ARGUMENT);
    }
    reliht_bench_sweep_options options = small_benchmark();
    options.repeats = 0;
    EXPECT_EQ(reliht_bench_sweep(context, &options, &report), RELIHT_ARGUMENT);
}

TEST(Bench, SurvivesFailingAllocations)
{
    support::fail_each_allocation([](reliht_context *context) {
        reliht_bench_sweep_report report;
        reliht_bench_sweep_options options = small_benchmark();
        return reliht_bench_sweep(context, &options, &report);
    });
}
