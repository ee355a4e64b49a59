// Certificates against brute force: on tiny problems all supports are enumerated, and the exact
// restricted constants are the extreme eigenvalues over all of them, in double precision.
#include "support.h"

extern "C" {
#include "backend/backend.h"
#include "core/generator.h"
#include "data/dataset.h"
#include "model/model.h"
}

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

using support::Context;

namespace
{

using Dense = std::vector<std::vector<double>>;

struct Weight {
    uint32_t neuron, input;
    float value;
};

struct Problem {
    Context context;
    size_t samples, inputs;
    std::vector<float> x;
    reliht_dataset *data = nullptr;
    reliht_model *network = nullptr;
    reliht_certify_options options;

    Problem(size_t n, size_t d, size_t hidden, const std::vector<Weight> &weights, unsigned seed,
            unsigned threads = 2)
        : context(threads), samples(n), inputs(d), x(n * d)
    {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        for (float &v : x)
            v = normal(random);
        load();
        EXPECT_EQ(model_create(context, RELIHT_FUSED, d, 1, false, &network), RELIHT_OK);
        network->layers = 1;
        network->signs = RELIHT_SIGNS_PLUS;
        EXPECT_EQ(sparse_create(context, &network->hidden[0], 9, d, weights.size() + 1), RELIHT_OK);
        for (const Weight &w : weights)
            sparse_append(&network->hidden[0], w.neuron, w.input, w.value);
        reliht_certify_options_default(&options);
        options.hidden = hidden;
        options.seed = seed;
    }
    void load()
    {
        reliht_dataset_destroy(data);
        std::vector<float> y(samples);
        EXPECT_EQ(
            reliht_dataset_from_arrays(context, samples, inputs, x.data(), 1, y.data(), &data),
            RELIHT_OK);
    }
    ~Problem()
    {
        reliht_model_destroy(network);
        reliht_dataset_destroy(data);
    }
    Problem(const Problem &) = delete;
    Problem &operator=(const Problem &) = delete;

    reliht_certificate certify(reliht_status expected = RELIHT_OK)
    {
        reliht_certificate certificate;
        EXPECT_EQ(reliht_certify(context, data, network, &options, &certificate), expected)
            << context.message();
        return certificate;
    }

    // Patterns [pattern][sample] of the given rows, then of the drawn generators.
    std::vector<std::vector<char>> patterns(const Dense &rows) const
    {
        std::vector<std::vector<char>> all;
        for (uint32_t j = 0; j < options.hidden; j++) {
            std::vector<float> h(inputs);
            if (j < rows.size())
                h.assign(rows[j].begin(), rows[j].end());
            else
                generator_draw_gaussian(options.seed, j, inputs, h.data());
            std::vector<char> active(samples);
            for (size_t i = 0; i < samples; i++) {
                float z = 0;
                for (size_t c = 0; c < inputs; c++)
                    if (h[c] != 0)
                        z = std::fma(h[c], x[i * inputs + c], z);
                active[i] = z > 0;
            }
            all.push_back(active);
        }
        return all;
    }
    // A^T A / n.
    Dense gram(const Dense &rows) const
    {
        auto active = patterns(rows);
        size_t columns = active.size() * inputs;
        Dense g(columns, std::vector<double>(columns));
        for (size_t a = 0; a < columns; a++)
            for (size_t b = 0; b < columns; b++)
                for (size_t i = 0; i < samples; i++)
                    if (active[a / inputs][i] && active[b / inputs][i])
                        g[a][b] += (double)x[i * inputs + a % inputs] *
                                   (double)x[i * inputs + b % inputs] / (double)samples;
        return g;
    }
};

// Least and largest eigenvalue of a symmetric matrix, by Jacobi rotations.
std::pair<double, double> extremes(Dense a)
{
    size_t n = a.size();
    for (int sweep = 0; sweep < 12; sweep++)
        for (size_t p = 0; p < n; p++)
            for (size_t q = p + 1; q < n; q++) {
                double angle = 0.5 * std::atan2(2 * a[p][q], a[q][q] - a[p][p]);
                double c = std::cos(angle), s = std::sin(angle);
                for (size_t k = 0; k < n; k++) {
                    double u = a[k][p], v = a[k][q];
                    a[k][p] = c * u - s * v;
                    a[k][q] = s * u + c * v;
                }
                for (size_t k = 0; k < n; k++) {
                    double u = a[p][k], v = a[q][k];
                    a[p][k] = c * u - s * v;
                    a[q][k] = s * u + c * v;
                }
            }
    double low = a[0][0], high = a[0][0];
    for (size_t i = 1; i < n; i++) {
        low = std::min(low, a[i][i]);
        high = std::max(high, a[i][i]);
    }
    return {low, high};
}

// Over all supports of k columns.
std::pair<double, double> exact_constants(const Dense &gram, size_t k)
{
    std::vector<size_t> chosen;
    double low = INFINITY, high = 0;
    std::function<void(size_t)> choose = [&](size_t from) {
        if (chosen.size() == k) {
            Dense part(k, std::vector<double>(k));
            for (size_t i = 0; i < k; i++)
                for (size_t j = 0; j < k; j++)
                    part[i][j] = gram[chosen[i]][chosen[j]];
            auto [least, largest] = extremes(part);
            low = std::min(low, least);
            high = std::max(high, largest);
            return;
        }
        for (size_t c = from; c + (k - chosen.size()) <= gram.size(); c++) {
            chosen.push_back(c);
            choose(c + 1);
            chosen.pop_back();
        }
    };
    choose(0);
    return {low, high};
}

const std::vector<Weight> TWO_NEURONS = {{1, 0, 1}, {1, 2, -1}, {4, 1, 2}};
const Dense TWO_ROWS = {{1, 0, -1}, {0, 2, 0}};

} // namespace

TEST(Certify, EstimatesLieInsideTheExactConstantsAndBoundsOutside)
{
    for (unsigned seed = 0; seed < 6; seed++) {
        Problem problem(60, 3, 4, TWO_NEURONS, seed);
        problem.options.sparsity = 1 + seed % 2;
        problem.options.searches = 30;
        reliht_certificate found = problem.certify();
        Dense gram = problem.gram(TWO_ROWS);
        ASSERT_EQ(gram.size(), 12u);
        double largest = 0;
        for (size_t i = 0; i < 3; i++) {
            const reliht_certificate_level &level = found.levels[i];
            auto [low, high] = exact_constants(gram, level.sparsity);
            const double rounding = 1e-5 * high;
            EXPECT_EQ(level.sparsity, (i + 1) * problem.options.sparsity);
            for (double value : {level.direction_min, level.direction_max, level.support_min,
                                 level.support_max, level.convexity, level.smoothness}) {
                EXPECT_GE(value, low - rounding) << seed << ' ' << i;
                EXPECT_LE(value, high + rounding) << seed << ' ' << i;
            }
            EXPECT_GE(level.smoothness_bound, high);
            EXPECT_LE(level.convexity, level.support_min);
            EXPECT_LE(level.support_min, level.direction_max);
            EXPECT_GE(level.smoothness, level.support_max);
            EXPECT_GE(level.smoothness, largest);
            largest = level.smoothness;
            // on problems this small the searches end at the worst directions, or nearly
            EXPECT_LE(level.convexity, 1.05 * low + rounding) << seed << ' ' << i;
            EXPECT_GE(level.smoothness, 0.98 * high) << seed << ' ' << i;
        }
        double kappa = found.levels[2].smoothness / found.levels[2].convexity;
        EXPECT_DOUBLE_EQ(found.contraction, (1 + std::sqrt(5)) / 2 * (kappa - 1) / (kappa + 1));
        EXPECT_NEAR(found.relaxed_sparsity,
                    (double)problem.options.sparsity *
                        std::max(1.0, std::pow((kappa * kappa - 1) / (4 * kappa), 2)),
                    1e-9 * found.relaxed_sparsity);
    }
}

// The entries of u that thresholding keeps.
static std::vector<size_t> largest_entries(const std::vector<double> &u, size_t keep)
{
    std::vector<size_t> order(u.size());
    for (size_t i = 0; i < order.size(); i++)
        order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return std::fabs(u[a]) > std::fabs(u[b]); });
    order.resize(keep);
    return order;
}

// The contraction that is found is nearly that of the exact constants, which no step from an
// s-sparse vector exceeds.
TEST(Certify, StepsContractAsTheConstantsImply)
{
    double worst = 0;
    for (unsigned seed = 0; seed < 4; seed++) {
        Problem problem(60, 3, 4, TWO_NEURONS, seed);
        Dense gram = problem.gram(TWO_ROWS);
        const size_t columns = gram.size(), s = 2;
        auto [low, high] = exact_constants(gram, 3 * s);
        double delta = (high - low) / (high + low), bound = (1 + std::sqrt(5)) / 2 * delta;
        problem.options.sparsity = s;
        problem.options.searches = 30;
        EXPECT_NEAR(problem.certify().contraction, bound, 0.02 * bound) << seed;
        std::mt19937 random(seed);
        std::normal_distribution<double> normal;
        auto draw = [&] {
            std::vector<double> v(columns);
            for (size_t i = 0; i < s; i++)
                v[random() % columns] = normal(random);
            return v;
        };
        for (int trial = 0; trial < 500; trial++) {
            std::vector<double> planted = draw(), from = draw(), to(columns), error(columns);
            double before = 0, after = 0;
            for (size_t i = 0; i < columns; i++) {
                error[i] = from[i] - planted[i];
                before += error[i] * error[i];
            }
            std::vector<double> moved = from;
            for (size_t i = 0; i < columns; i++)
                for (size_t j = 0; j < columns; j++)
                    moved[i] -= 2 / (low + high) * gram[i][j] * error[j];
            for (size_t i : largest_entries(moved, s))
                to[i] = moved[i];
            for (size_t i = 0; i < columns; i++)
                after += (to[i] - planted[i]) * (to[i] - planted[i]);
            EXPECT_LE(std::sqrt(after), bound * std::sqrt(before) * (1 + 1e-9)) << seed;
            worst = std::max(worst, std::sqrt(after / before) / bound);
        }
    }
    EXPECT_GT(worst, 0.5); // not an empty claim
}

TEST(Certify, PatternsAreCountedExactly)
{
    for (unsigned seed = 0; seed < 4; seed++) {
        Problem problem(150, 3, 7, TWO_NEURONS, 30 + seed);
        reliht_certificate found = problem.certify();
        auto patterns = problem.patterns(TWO_ROWS);
        auto share = [&](size_t a, size_t b) {
            double count = 0;
            for (size_t i = 0; i < 150; i++)
                count += patterns[a][i] != patterns[b][i];
            return count / 150;
        };
        double active = 1, active_network = 1, all = 1, mean = 0, worst = 0;
        for (size_t j = 0; j < 7; j++) {
            double count = (double)std::count(patterns[j].begin(), patterns[j].end(), 1) / 150;
            active = std::min(active, count);
            active_network = j < 2 ? std::min(active_network, count) : active_network;
            for (size_t k = 0; k < j; k++)
                all = std::min(all, share(j, k));
        }
        for (size_t j = 0; j < 2; j++) {
            double nearest = 1;
            for (size_t k = 2; k < 7; k++)
                nearest = std::min(nearest, share(j, k));
            mean += nearest / 2;
            worst = std::max(worst, nearest);
        }
        EXPECT_DOUBLE_EQ(found.active_min, active);
        EXPECT_DOUBLE_EQ(found.active_min_network, active_network);
        EXPECT_DOUBLE_EQ(found.distance_min_network, share(0, 1));
        EXPECT_DOUBLE_EQ(found.distance_min, all);
        EXPECT_DOUBLE_EQ(found.coverage_mean, mean);
        EXPECT_DOUBLE_EQ(found.coverage_worst, worst);
        EXPECT_EQ(found.patterns, 7u);
        EXPECT_EQ(found.compared, 7u);
    }
}

TEST(Certify, TheNetworkAloneHasNoCoverage)
{
    Problem problem(100, 3, 1, TWO_NEURONS, 1);
    reliht_certificate found = problem.certify();
    EXPECT_EQ(found.patterns, 2u);
    EXPECT_TRUE(std::isnan(found.coverage_mean));
    EXPECT_EQ(found.sparsity, 3u);
    EXPECT_EQ(found.levels[2].sparsity, 6u); // all columns
    EXPECT_EQ(found.distance_min, found.distance_min_network);
}

TEST(Certify, SaysWhatItFound)
{
    // orthogonal inputs, one neuron and one column: nothing speaks against recovery
    Problem easy(400, 3, 1, {{0, 0, 1}}, 2);
    for (size_t i = 0; i < easy.samples; i++)
        for (size_t c = 0; c < 3; c++)
            easy.x[i * 3 + c] = (i >> c & 1) ? 1.0f : -1.0f;
    easy.load();
    reliht_certificate found = easy.certify();
    EXPECT_EQ(found.verdict, RELIHT_VERDICT_NO_OBSTACLE) << found.sentence;
    EXPECT_LT(found.contraction, 1);

    Problem hard(400, 3, 30, TWO_NEURONS, 3);
    found = hard.certify();
    EXPECT_EQ(found.verdict, RELIHT_VERDICT_NO_GUARANTEE) << found.sentence;
    EXPECT_GE(found.contraction, 1);
    EXPECT_NE(std::string(found.sentence).find("4.24"), std::string::npos);

    Problem copies(400, 3, 4, TWO_NEURONS, 4); // two equal inputs
    for (size_t i = 0; i < copies.samples; i++)
        copies.x[i * 3 + 2] = copies.x[i * 3 + 1];
    copies.load();
    found = copies.certify();
    EXPECT_EQ(found.verdict, RELIHT_VERDICT_NOT_IDENTIFIABLE) << found.sentence;
    EXPECT_LT(found.levels[1].convexity, 1e-6);

    Problem dead(100, 3, 4, {{0, 0, 1}, {2, 1, -1}}, 5);
    for (size_t i = 0; i < dead.samples; i++)
        dead.x[i * 3 + 1] = std::fabs(dead.x[i * 3 + 1]);
    dead.load();
    found = dead.certify();
    EXPECT_EQ(found.verdict, RELIHT_VERDICT_NOT_IDENTIFIABLE);
    EXPECT_NE(std::string(found.sentence).find("no sample"), std::string::npos) << found.sentence;
}

TEST(Certify, IsTheSameForAnyNumberOfThreads)
{
    Problem one(500, 3, 12, TWO_NEURONS, 6, 1), many(500, 3, 12, TWO_NEURONS, 6, 4);
    std::vector<double> directions(600), again(600);
    one.options.direction_values = directions.data();
    many.options.direction_values = again.data();
    reliht_certificate a = one.certify(), b = many.certify();
    EXPECT_EQ(directions, again);
    EXPECT_GT(*std::min_element(directions.begin(), directions.end()), 0);
    for (size_t i = 0; i < 3; i++) {
        EXPECT_EQ(a.levels[i].convexity, b.levels[i].convexity);
        EXPECT_EQ(a.levels[i].smoothness, b.levels[i].smoothness);
        EXPECT_EQ(a.levels[i].support_min, b.levels[i].support_min);
    }
    EXPECT_EQ(a.coverage_worst, b.coverage_worst);
}

TEST(Certify, MemoryDoesNotGrowWithThePatterns)
{
    Problem problem(64, 3, 60000, TWO_NEURONS, 7);
    problem.options.generator = RELIHT_GENERATOR_SPARSE;
    problem.options.directions = 2;
    problem.options.supports = 1;
    problem.options.searches = 1;
    problem.options.iterations = 1;
    reliht_certificate found = problem.certify();
    EXPECT_EQ(found.compared, 4096u);
    reliht_memory peak;
    reliht_context_memory(problem.context, nullptr, &peak);
    EXPECT_LT(peak.total, (uint64_t)60000 * 4 + 1500000); // 4 bytes a pattern
}

TEST(Certify, AFactoredNetworkByItsFirstLayer)
{
    Problem problem(100, 3, 5, TWO_NEURONS, 8);
    reliht_model *factored = nullptr;
    ASSERT_EQ(model_create(problem.context, RELIHT_FACTORED, 3, 2, false, &factored), RELIHT_OK);
    factored->layers = 1;
    ASSERT_EQ(sparse_create(problem.context, &factored->hidden[0], 9, 3, 4), RELIHT_OK);
    for (const Weight &w : TWO_NEURONS)
        sparse_append(&factored->hidden[0], w.neuron, w.input, w.value);
    reliht_certificate fused = problem.certify(), found;
    ASSERT_EQ(reliht_certify(problem.context, problem.data, factored, &problem.options, &found),
              RELIHT_OK)
        << problem.context.message();
    EXPECT_EQ(found.levels[2].convexity, fused.levels[2].convexity);
    EXPECT_EQ(found.distance_min, fused.distance_min);
    reliht_model_destroy(factored);
}

TEST(Certify, RefusesWhatCannotBe)
{
    auto refused = [](auto change, const char *word) {
        Problem problem(50, 3, 5, TWO_NEURONS, 9);
        change(problem);
        reliht_certificate found = problem.certify(RELIHT_ARGUMENT);
        EXPECT_NE(problem.context.message().find(word), std::string::npos)
            << problem.context.message();
        EXPECT_EQ(found.samples, 0u);
    };
    refused([](Problem &p) { p.options.hidden = 0; }, "hidden");
    refused([](Problem &p) { p.options.hidden = (size_t)1 << 40; }, "hidden");
    refused([](Problem &p) { p.options.directions = 0; }, "directions");
    refused([](Problem &p) { p.options.iterations = 0; }, "iterations");
    refused([](Problem &p) { p.options.sparsity = 16; }, "15 columns");
    refused([](Problem &p) { sparse_clear(&p.network->hidden[0]); }, "no weights");
    refused(
        [](Problem &p) {
            for (float &v : p.x)
                v = -std::fabs(v);
            p.load();
            sparse_clear(&p.network->hidden[0]);
            sparse_append(&p.network->hidden[0], 0, 0, 1);
        },
        "no neuron");
    refused([](Problem &p) { p.network->inputs = p.network->hidden[0].columns = 4; }, "4 inputs");

    Problem problem(50, 3, 5, TWO_NEURONS, 9);
    size_t calls = 0;
    problem.options.progress_user = &calls;
    problem.options.progress = [](void *user, const reliht_progress *) {
        return ++*(size_t *)user < 5;
    };
    problem.certify(RELIHT_CANCELLED);
    EXPECT_EQ(calls, 5u);
}

TEST(Certify, SurvivesEveryFailedAllocation)
{
    EXPECT_GE(support::fail_each_allocation([](reliht_context *context) {
                  reliht_planted_options options;
                  reliht_planted_options_default(&options);
                  options.samples = 40;
                  options.inputs = 4;
                  options.hidden = 2;
                  options.nnz = 3;
                  reliht_certify_options certify;
                  reliht_certify_options_default(&certify);
                  certify.hidden = 4;
                  certify.directions = certify.supports = 1;
                  certify.searches = certify.iterations = 1;
                  reliht_certificate found;
                  reliht_model *model;
                  reliht_dataset *data;
                  reliht_status status = reliht_planted_create(context, &options, &model, &data);
                  if (!status)
                      status = reliht_certify(context, data, model, &certify, &found);
                  reliht_model_destroy(model);
                  reliht_dataset_destroy(data);
                  return status;
              }),
              60u);
}
