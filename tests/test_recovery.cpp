// Reduced networks, recovery after the best pairing, identifiability and the oracle, against dense
// computations in double precision.
#include "support.h"

extern "C" {
#include "data/dataset.h"
#include "model/model.h"
#include "solver/merge.h"
}

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

using support::Context;

namespace
{

struct Weight {
    uint32_t neuron, input;
    float value;
};
using Network = std::vector<Weight>; // by (neuron, input)
using Dense = std::vector<std::vector<double>>;

struct Setting {
    Context context;
    size_t samples, inputs;
    std::vector<float> x;
    reliht_dataset *data = nullptr;

    Setting(size_t n, size_t d, unsigned seed, double noise = 0, const Network &network = {},
            reliht_signs signs = RELIHT_SIGNS_PLUS)
        : samples(n), inputs(d), x(n * d)
    {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        for (float &v : x)
            v = normal(random);
        std::vector<float> y(n);
        std::vector<double> clean = outputs(network, signs);
        for (size_t i = 0; i < n; i++)
            y[i] = (float)(clean[i] + noise * normal(random));
        make(y);
    }
    void make(const std::vector<float> &y)
    {
        reliht_dataset_destroy(data);
        EXPECT_EQ(
            reliht_dataset_from_arrays(context, samples, inputs, x.data(), 1, y.data(), &data),
            RELIHT_OK);
    }
    ~Setting()
    {
        reliht_dataset_destroy(data);
    }
    Setting(const Setting &) = delete;
    Setting &operator=(const Setting &) = delete;

    reliht_model *model(const Network &network, reliht_signs signs = RELIHT_SIGNS_PLUS,
                        size_t hidden = 20)
    {
        reliht_model *made;
        EXPECT_EQ(model_create(context, RELIHT_FUSED, inputs, 1, false, &made), RELIHT_OK);
        made->signs = signs;
        made->layers = 1;
        EXPECT_EQ(sparse_create(context, &made->hidden[0], hidden, inputs, network.size() + 1),
                  RELIHT_OK);
        for (const Weight &w : network)
            sparse_append(&made->hidden[0], w.neuron, w.input, w.value);
        return made;
    }
    static double sign(reliht_signs signs, uint32_t neuron)
    {
        return signs == RELIHT_SIGNS_MIXED && neuron % 2 ? -1 : 1;
    }
    std::vector<double> preactivation(const Network &network, uint32_t neuron) const
    {
        std::vector<double> z(samples);
        for (const Weight &w : network)
            if (w.neuron == neuron)
                for (size_t i = 0; i < samples; i++)
                    z[i] += (double)w.value * x[i * inputs + w.input];
        return z;
    }
    std::vector<double> outputs(const Network &network, reliht_signs signs) const
    {
        std::vector<double> y(samples);
        for (uint32_t neuron = 0; neuron < 100; neuron++) {
            std::vector<double> z = preactivation(network, neuron);
            for (size_t i = 0; i < samples; i++)
                y[i] += sign(signs, neuron) * std::max(z[i], 0.0);
        }
        return y;
    }
    // A_S, [samples][weights].
    Dense columns(const Network &network, reliht_signs signs) const
    {
        Dense a(samples, std::vector<double>(network.size()));
        for (size_t k = 0; k < network.size(); k++) {
            std::vector<double> z = preactivation(network, network[k].neuron);
            for (size_t i = 0; i < samples; i++)
                a[i][k] = z[i] > 0 ? sign(signs, network[k].neuron) *
                                         (double)x[i * inputs + network[k].input]
                                   : 0;
        }
        return a;
    }
};

Network network_of(const sparse &weights)
{
    Network network;
    for (size_t j = 0; j < weights.live; j++)
        for (size_t k = weights.start[j]; k < weights.start[j + 1]; k++)
            network.push_back({weights.row[j], weights.column[k], weights.value[k]});
    return network;
}

struct Merged {
    Network network;
    size_t neurons, inactive, always, live;

    Merged(Setting &setting, const Network &from, reliht_signs signs = RELIHT_SIGNS_PLUS)
    {
        reliht_model *model = setting.model(from, signs);
        merged_network merged;
        EXPECT_EQ(merge_network(setting.context, model, setting.data, &merged), RELIHT_OK);
        network = network_of(merged.weights);
        neurons = merged.neurons;
        inactive = merged.inactive;
        always = merged.always_active;
        live = merged.weights.live;
        merged_destroy(setting.context, &merged);
        reliht_model_destroy(model);
    }
};

reliht_recovery recover(Setting &setting, const Network &planted, const Network &found,
                        reliht_signs signs = RELIHT_SIGNS_PLUS)
{
    reliht_recovery recovery;
    reliht_model *one = setting.model(planted, signs), *other = setting.model(found, signs, 30);
    EXPECT_EQ(reliht_model_recovery(setting.context, one, other, setting.data, &recovery),
              RELIHT_OK)
        << setting.context.message();
    reliht_model_destroy(one);
    reliht_model_destroy(other);
    return recovery;
}

reliht_identifiability identify(Setting &setting, const Network &network,
                                reliht_signs signs = RELIHT_SIGNS_PLUS)
{
    reliht_identifiability result;
    reliht_model *model = setting.model(network, signs);
    EXPECT_EQ(reliht_model_identifiability(setting.context, model, setting.data, &result),
              RELIHT_OK)
        << setting.context.message();
    reliht_model_destroy(model);
    return result;
}

Network draw_network(std::mt19937 &random, uint32_t hidden, uint32_t inputs, size_t each)
{
    std::normal_distribution<float> normal;
    Network network;
    for (uint32_t j = 0; j < hidden; j++)
        for (uint32_t c = 0; c < inputs; c++)
            if (random() % inputs < each)
                network.push_back({j, c, normal(random)});
    return network;
}

// Eigenvalues of a symmetric matrix, ascending, by Jacobi rotations.
std::vector<double> eigenvalues(Dense a)
{
    size_t n = a.size();
    for (int sweep = 0; sweep < 60; sweep++)
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
    std::vector<double> values(n);
    for (size_t i = 0; i < n; i++)
        values[i] = a[i][i];
    std::sort(values.begin(), values.end());
    return values;
}

Dense gram(const Dense &a)
{
    size_t k = a[0].size();
    Dense g(k, std::vector<double>(k));
    for (const auto &row : a)
        for (size_t i = 0; i < k; i++)
            for (size_t j = 0; j < k; j++)
                g[i][j] += row[i] * row[j] / (double)a.size();
    return g;
}

// Gaussian elimination with pivoting.
std::vector<double> solve(Dense a, std::vector<double> b)
{
    size_t n = b.size();
    for (size_t p = 0; p < n; p++) {
        size_t best = p;
        for (size_t i = p; i < n; i++)
            best = std::fabs(a[i][p]) > std::fabs(a[best][p]) ? i : best;
        std::swap(a[p], a[best]);
        std::swap(b[p], b[best]);
        for (size_t i = p + 1; i < n; i++) {
            double f = a[i][p] / a[p][p];
            for (size_t j = p; j < n; j++)
                a[i][j] -= f * a[p][j];
            b[i] -= f * b[p];
        }
    }
    for (size_t p = n; p-- > 0;) {
        for (size_t j = p + 1; j < n; j++)
            b[p] -= a[p][j] * b[j];
        b[p] /= a[p][p];
    }
    return b;
}

} // namespace

// ---------------------------------------------------------------- merging

TEST(Merge, EqualPatternsAreOneNeuron)
{
    Setting setting(200, 4, 1);
    // 0, 3 and 7 read input 2 alone, 7 the other way round; 5 is its own
    Merged merged(setting, {{0, 2, 0.5f}, {3, 2, 1.25f}, {5, 0, 1}, {5, 1, -1}, {7, 2, -2}});
    EXPECT_EQ(merged.neurons, 4u);
    EXPECT_EQ(merged.live, 3u);
    EXPECT_EQ(merged.inactive, 0u);
    ASSERT_EQ(merged.network.size(), 4u);
    EXPECT_EQ(merged.network[0].value, 1.75f);
    EXPECT_EQ(merged.network[0].input, 2u);
    EXPECT_EQ(merged.network[1].input, 0u);
    EXPECT_EQ(merged.network[3].value, -2);
}

TEST(Merge, OppositeSignsSubtractWhereParallel)
{
    Setting setting(200, 4, 1);
    // even neurons add, odd ones subtract
    Merged less(setting, {{0, 2, 2}, {1, 2, 0.5f}}, RELIHT_SIGNS_MIXED);
    ASSERT_EQ(less.network.size(), 1u);
    EXPECT_EQ(less.network[0].neuron % 2, 0u);
    EXPECT_FLOAT_EQ(less.network[0].value, 1.5f);
    Merged more(setting, {{0, 2, 2}, {1, 2, 5}}, RELIHT_SIGNS_MIXED);
    ASSERT_EQ(more.network.size(), 1u);
    EXPECT_EQ(more.network[0].neuron % 2, 1u);
    EXPECT_FLOAT_EQ(more.network[0].value, 3);
    Merged none(setting, {{0, 2, 2}, {1, 2, 2}}, RELIHT_SIGNS_MIXED);
    EXPECT_EQ(none.network.size(), 0u);
    // antiparallel weights have complementary patterns: two neurons
    EXPECT_EQ(Merged(setting, {{0, 2, 2}, {1, 2, -2}}, RELIHT_SIGNS_MIXED).live, 2u);
}

TEST(Merge, DropsWhatIsNeverActiveAndCountsWhatAlwaysIs)
{
    Setting setting(100, 3, 1);
    for (size_t i = 0; i < 100; i++)
        setting.x[i * 3] = 1 + std::fabs(setting.x[i * 3]);
    setting.make(std::vector<float>(100));
    Merged merged(setting, {{0, 0, 1}, {1, 0, -1}, {2, 0, -2}, {3, 1, 1}, {4, 0, 9}, {4, 1, 0.1f}});
    EXPECT_EQ(merged.inactive, 2u);
    EXPECT_EQ(merged.always, 1u); // 0 and 4 together
    EXPECT_EQ(merged.live, 2u);
}

TEST(Merge, LeavesTheOutputsAsTheyAre)
{
    std::mt19937 random(5);
    for (int trial = 0; trial < 20; trial++) {
        Setting setting(60, 5, 100u + (unsigned)trial); // few samples: equal patterns by chance too
        reliht_signs signs = trial % 2 ? RELIHT_SIGNS_MIXED : RELIHT_SIGNS_PLUS;
        Network network = draw_network(random, 20, 5, 1);
        Merged merged(setting, network, signs);
        EXPECT_LT(merged.live, 20u);
        std::vector<double> before = setting.outputs(network, signs);
        std::vector<double> after = setting.outputs(merged.network, RELIHT_SIGNS_MIXED);
        for (size_t i = 0; i < before.size(); i++)
            ASSERT_NEAR(after[i], before[i], 1e-5) << "trial " << trial;
    }
}

// ---------------------------------------------------------------- recovery

TEST(Recovery, DoesNotDependOnTheNumbersOfNeurons)
{
    Setting setting(500, 8, 2);
    Network planted = {{0, 1, 1}, {0, 4, -2}, {2, 3, 0.5f}, {6, 0, -1}, {6, 7, 3}};
    Network found = {{1, 0, -1}, {1, 7, 3}, {4, 1, 1}, {4, 4, -2}, {5, 3, 0.5f}};
    reliht_recovery r = recover(setting, planted, found);
    EXPECT_EQ(r.support_recall, 1);
    EXPECT_EQ(r.support_precision, 1);
    EXPECT_EQ(r.weight_rel_error, 0);
    EXPECT_EQ(r.planted_neurons, 3u);
    EXPECT_EQ(r.matched_neurons, 3u);
    // a neuron split in two: the same function
    found = {{1, 0, -0.25f}, {1, 7, 0.75f}, {2, 0, -0.75f}, {2, 7, 2.25f},
             {4, 1, 1},      {4, 4, -2},    {5, 3, 0.5f}};
    r = recover(setting, planted, found);
    EXPECT_EQ(r.support_recall, 1);
    EXPECT_EQ(r.support_precision, 1);
    EXPECT_NEAR(r.weight_rel_error, 0, 1e-6);
}

TEST(Recovery, CountsWhatIsMissingAndWhatIsTooMuch)
{
    Setting setting(500, 8, 2);
    Network planted = {{0, 1, 1}, {0, 4, -2}, {2, 3, 2}};
    Network found = {{3, 1, 1.5f}, {3, 6, 1}, {9, 5, 4}};
    reliht_recovery r = recover(setting, planted, found);
    EXPECT_DOUBLE_EQ(r.support_recall, 1.0 / 3);
    EXPECT_DOUBLE_EQ(r.support_precision, 1.0 / 3);
    EXPECT_DOUBLE_EQ(r.weight_rel_error, std::sqrt((0.25 + 4 + 1 + 4 + 16) / 9));
    EXPECT_EQ(r.matched_neurons, 1u);
    r = recover(setting, planted, {});
    EXPECT_EQ(r.support_recall, 0);
    EXPECT_EQ(r.support_precision, 1);
    EXPECT_DOUBLE_EQ(r.weight_rel_error, 1);
}

TEST(Recovery, OfANetworkThatIsNeverActiveThereIsNone)
{
    Setting setting(50, 4, 1);
    reliht_model *empty = setting.model({}), *some = setting.model({{0, 0, 1}});
    for (const reliht_model *found : {empty, some}) {
        reliht_recovery recovery;
        ASSERT_EQ(reliht_model_recovery(setting.context, empty, found, setting.data, &recovery),
                  RELIHT_OK);
        EXPECT_TRUE(std::isnan(recovery.support_recall));
        EXPECT_TRUE(std::isnan(recovery.support_precision));
        EXPECT_TRUE(std::isnan(recovery.weight_rel_error));
        EXPECT_EQ(recovery.planted_neurons, 0u);
        EXPECT_EQ(recovery.found_neurons, found == some ? 1u : 0u);
    }
    reliht_model_destroy(empty);
    reliht_model_destroy(some);
}

TEST(Recovery, SignsOfNeuronsCount)
{
    Setting setting(500, 8, 2);
    reliht_recovery r = recover(setting, {{0, 1, 1}}, {{3, 1, 1}}, RELIHT_SIGNS_MIXED);
    EXPECT_EQ(r.support_recall, 0);
    EXPECT_EQ(r.matched_neurons, 0u);
    r = recover(setting, {{1, 1, 1}}, {{3, 1, 1}}, RELIHT_SIGNS_MIXED);
    EXPECT_EQ(r.support_recall, 1);
}

// ---------------------------------------------------------------- identifiability

TEST(Identifiability, EigenvaluesAreThoseOfTheSupport)
{
    std::mt19937 random(9);
    for (int trial = 0; trial < 6; trial++) {
        reliht_signs signs = trial % 2 ? RELIHT_SIGNS_MIXED : RELIHT_SIGNS_PLUS;
        Network network = draw_network(random, 7, 9, 3);
        Setting setting(300, 9, 40u + (unsigned)trial);
        reliht_identifiability result = identify(setting, network, signs);
        ASSERT_EQ(result.distinct, result.neurons) << "an unlucky draw";
        std::vector<double> exact = eigenvalues(gram(setting.columns(network, signs)));
        EXPECT_NEAR(result.smallest_eigenvalue, exact.front(), 1e-5 * exact.back());
        EXPECT_NEAR(result.largest_eigenvalue, exact.back(), 1e-5 * exact.back());
        EXPECT_GE(result.smallest_eigenvalue, exact.front() - 1e-7 * exact.back());
        EXPECT_LE(result.largest_eigenvalue, exact.back() * (1 + 1e-6));
        EXPECT_TRUE(result.identifiable);
        EXPECT_EQ(result.weights, network.size());
    }
}

TEST(Identifiability, SeesWhatTheDataCannotTell)
{
    Setting setting(200, 5, 3);
    reliht_identifiability result = identify(setting, {{0, 0, 1}, {4, 0, 2}, {5, 1, 1}});
    EXPECT_TRUE(result.identifiable); // as a reduced network
    EXPECT_EQ(result.neurons, 3u);
    EXPECT_EQ(result.distinct, 2u);

    for (size_t i = 0; i < 200; i++) {
        setting.x[i * 5 + 2] = std::fabs(setting.x[i * 5 + 2]);
        setting.x[i * 5 + 4] = setting.x[i * 5 + 3]; // equal inputs
    }
    setting.make(std::vector<float>(200));
    result = identify(setting, {{0, 0, 1}, {1, 2, -1}});
    EXPECT_FALSE(result.identifiable);
    EXPECT_EQ(result.inactive, 1u);
    result = identify(setting, {{0, 0, 1}, {0, 3, 1}, {0, 4, 1}});
    EXPECT_FALSE(result.identifiable);
    EXPECT_LT(result.smallest_eigenvalue, 1e-7);
    // relu(z) and relu(-z) together with the same inputs through a full pattern are dependent
    result = identify(setting, {{0, 2, 9}, {0, 0, 0.01f}, {2, 0, 1}, {4, 0, -1}});
    EXPECT_FALSE(result.identifiable);
    EXPECT_EQ(result.always_active, 1u);
}

TEST(Identifiability, MoreWeightsThanSamples)
{
    Setting setting(6, 5, 3);
    reliht_identifiability result = identify(
        setting,
        {{0, 0, 1}, {0, 1, 1}, {0, 2, 1}, {0, 3, 1}, {2, 0, -1}, {2, 2, 1}, {2, 4, 1}, {3, 4, -1}});
    EXPECT_FALSE(result.identifiable);
}

// ---------------------------------------------------------------- oracle

TEST(Oracle, IsLeastSquaresOnTheSupport)
{
    std::mt19937 random(22);
    for (int trial = 0; trial < 4; trial++) {
        reliht_signs signs = trial % 2 ? RELIHT_SIGNS_MIXED : RELIHT_SIGNS_PLUS;
        Network network = draw_network(random, 6, 10, 3);
        Setting setting(250, 10, 60u + (unsigned)trial, 0.3, network, signs);
        Dense a = setting.columns(network, signs);
        size_t k = network.size();
        std::vector<double> b(k);
        for (size_t i = 0; i < setting.samples; i++)
            for (size_t j = 0; j < k; j++)
                b[j] += a[i][j] * (double)setting.data->y[i] / (double)setting.samples;
        std::vector<double> w = solve(gram(a), b);
        double error = 0, norm = 0, squares = 0, peak = 0;
        for (size_t j = 0; j < k; j++) {
            error += std::pow(w[j] - (double)network[j].value, 2);
            norm += std::pow((double)network[j].value, 2);
        }
        for (size_t i = 0; i < setting.samples; i++) {
            double r = -(double)setting.data->y[i];
            for (size_t j = 0; j < k; j++)
                r += a[i][j] * w[j];
            squares += r * r;
            peak = std::max(peak, std::fabs((double)setting.data->y[i]));
        }
        reliht_oracle oracle;
        reliht_model *model = setting.model(network, signs);
        ASSERT_EQ(reliht_model_oracle(setting.context, model, setting.data, &oracle), RELIHT_OK)
            << setting.context.message();
        reliht_model_destroy(model);
        EXPECT_NEAR(oracle.weight_rel_error, std::sqrt(error / norm),
                    1e-4 * std::sqrt(error / norm));
        EXPECT_NEAR(oracle.psnr_db,
                    20 * std::log10(peak) - 10 * std::log10(squares / (double)setting.samples),
                    1e-3);
    }
}

// ---------------------------------------------------------------- several outputs

namespace
{

// A neuron of a factored network: relu(x . in) out.
struct Neuron {
    std::vector<double> in, out;
};

struct TwoSided {
    Setting setting{80, 4, 11};
    static constexpr size_t OUTPUTS = 3;

    reliht_model *model(const std::vector<Neuron> &neurons)
    {
        reliht_model *made;
        EXPECT_EQ(model_create(setting.context, RELIHT_FACTORED, 4, OUTPUTS, false, &made),
                  RELIHT_OK);
        made->layers = 1;
        const size_t hidden = neurons.size() + 2;
        EXPECT_EQ(sparse_create(setting.context, &made->hidden[0], hidden, 4, 4 * hidden),
                  RELIHT_OK);
        EXPECT_EQ(sparse_create(setting.context, &made->output, hidden, OUTPUTS, OUTPUTS * hidden),
                  RELIHT_OK);
        for (size_t j = 0; j < neurons.size(); j++) {
            for (uint32_t c = 0; c < 4; c++)
                if (neurons[j].in[c] != 0)
                    sparse_append(&made->hidden[0], (uint32_t)j + 1, c, (float)neurons[j].in[c]);
            for (uint32_t k = 0; k < OUTPUTS; k++)
                if (neurons[j].out[k] != 0)
                    sparse_append(&made->output, (uint32_t)j + 1, k, (float)neurons[j].out[k]);
        }
        return made;
    }
    reliht_recovery recover(const std::vector<Neuron> &planted, const std::vector<Neuron> &found)
    {
        reliht_recovery recovery;
        reliht_model *one = model(planted), *other = model(found);
        EXPECT_EQ(reliht_model_recovery(setting.context, one, other, setting.data, &recovery),
                  RELIHT_OK)
            << setting.context.message();
        reliht_model_destroy(one);
        reliht_model_destroy(other);
        return recovery;
    }
};

// Both sides at equal length, one after the other.
std::vector<double> balanced(const Neuron &neuron)
{
    auto length = [](const std::vector<double> &v) {
        double squares = 0;
        for (double e : v)
            squares += e * e;
        return std::sqrt(squares);
    };
    double factor = std::sqrt(length(neuron.out) / length(neuron.in));
    std::vector<double> both;
    for (double e : neuron.in)
        both.push_back(factor * e);
    for (double e : neuron.out)
        both.push_back(e / factor);
    return both;
}

const std::vector<Neuron> THREE = {
    {{1, 0, -2, 0}, {0, 3, 0}}, {{0, 0.5, 0, 0}, {1, 0, -1}}, {{0, -1, 0, 4}, {2, 0, 0}}};

} // namespace

TEST(RecoveryOfSeveralOutputs, OrderScaleAndPartsDoNotMatter)
{
    TwoSided two;
    // the second neuron in two parts, one of them beside a direction that is equal to rounding; the
    // others in another order and scale
    const std::vector<Neuron> same = {{{0, -0.25, 0, 1}, {8, 0, 0}},
                                      {{0, 0.25, 0, 0}, {1, 0, -2}},
                                      {{4, 0, -8, 0}, {0, 0.75, 0}},
                                      {{0, 1, 0, 1e-9}, {0.25, 0, 0}}};
    reliht_recovery found = two.recover(THREE, same);
    EXPECT_EQ(found.support_recall, 1);
    EXPECT_EQ(found.support_precision, 1);
    EXPECT_LT(found.weight_rel_error, 1e-6);
    EXPECT_EQ(found.planted_neurons, 3u);
    EXPECT_EQ(found.found_neurons, 3u);
    EXPECT_EQ(found.matched_neurons, 3u);
}

TEST(RecoveryOfSeveralOutputs, IsTheBestOfAllPairings)
{
    std::mt19937 random(5);
    std::normal_distribution<double> normal;
    for (int trial = 0; trial < 10; trial++) {
        std::vector<Neuron> found;
        for (size_t j = 0; j < 3; j++) {
            Neuron neuron = {std::vector<double>(4), std::vector<double>(3)};
            for (double &e : neuron.in)
                e = random() % 2 ? (double)(float)normal(random) : 0;
            neuron.in[j] = 1 + (double)j;
            for (double &e : neuron.out)
                e = random() % 2 ? (double)(float)normal(random) : 0;
            neuron.out[(size_t)trial % 3] = 1;
            found.push_back(neuron);
        }
        double least = INFINITY, norm = 0;
        std::vector<size_t> order = {0, 1, 2};
        do {
            double sum = 0;
            norm = 0;
            for (size_t j = 0; j < 3; j++) {
                std::vector<double> a = balanced(THREE[j]), b = balanced(found[order[j]]);
                double apart = 0, together = 0;
                bool shared = false; // an input, without which neurons do not pair
                for (size_t c = 0; c < 4; c++)
                    shared |= a[c] != 0 && b[c] != 0;
                for (size_t i = 0; i < a.size(); i++) {
                    apart += a[i] * a[i] + b[i] * b[i];
                    together += (a[i] - b[i]) * (a[i] - b[i]);
                    norm += a[i] * a[i];
                }
                sum += shared ? std::min(apart, together) : apart;
            }
            least = std::min(least, sum);
        } while (std::next_permutation(order.begin(), order.end()));
        TwoSided two;
        EXPECT_NEAR(two.recover(THREE, found).weight_rel_error, std::sqrt(least / norm), 1e-5);
    }
}

TEST(RecoveryOfSeveralOutputs, OnlyWholeNeuronsCount)
{
    TwoSided two;
    std::vector<Neuron> more = THREE;
    more[0].out = {0, 0, 0};
    more.push_back({{0, 0, 0, 0}, {1, 1, 1}});
    reliht_recovery found = two.recover(THREE, more);
    EXPECT_EQ(found.found_neurons, 2u);
    EXPECT_EQ(found.matched_neurons, 2u);
    EXPECT_DOUBLE_EQ(found.support_recall, 6.0 / 9);
    EXPECT_EQ(found.support_precision, 1);
}

// ---------------------------------------------------------------- bad input, memory

TEST(Recovery, RefusesOtherNetworks)
{
    Setting setting(50, 4, 1), wider(50, 5, 1);
    reliht_model *good = setting.model({{0, 0, 1}}), *other = wider.model({{0, 0, 1}}), *factored;
    reliht_recovery recovery;
    reliht_identifiability identifiability;
    EXPECT_EQ(reliht_model_recovery(setting.context, good, other, setting.data, &recovery),
              RELIHT_ARGUMENT);
    EXPECT_NE(setting.context.message().find("5 inputs"), std::string::npos);
    ASSERT_EQ(model_create(setting.context, RELIHT_FACTORED, 4, 2, false, &factored), RELIHT_OK);
    factored->layers = 1;
    EXPECT_EQ(reliht_model_recovery(setting.context, factored, good, setting.data, &recovery),
              RELIHT_ARGUMENT);
    EXPECT_NE(setting.context.message().find("factored network with 2 outputs was compared"),
              std::string::npos);
    EXPECT_EQ(
        reliht_model_identifiability(setting.context, factored, setting.data, &identifiability),
        RELIHT_ARGUMENT);
    EXPECT_NE(setting.context.message().find("factored"), std::string::npos);
    reliht_model_destroy(factored);
    reliht_model_destroy(good);
    reliht_model_destroy(other);
}

TEST(Recovery, SurvivesEveryFailedAllocation)
{
    for (size_t outputs : {1, 2})
        EXPECT_GE(support::fail_each_allocation([&](reliht_context *context) {
                      reliht_planted_options options;
                      reliht_planted_options_default(&options);
                      options.samples = 100;
                      options.inputs = 6;
                      options.hidden = 3;
                      options.nnz = 6 * outputs;
                      options.outputs = outputs;
                      options.noise = 0.1;
                      reliht_model *model;
                      reliht_dataset *data;
                      reliht_recovery recovery;
                      reliht_identifiability identifiability;
                      reliht_oracle oracle;
                      reliht_status status =
                          reliht_planted_create(context, &options, &model, &data);
                      if (!status)
                          status = reliht_model_recovery(context, model, model, data, &recovery);
                      if (!status && outputs == 1)
                          status =
                              reliht_model_identifiability(context, model, data, &identifiability);
                      if (!status && outputs == 1)
                          status = reliht_model_oracle(context, model, data, &oracle);
                      reliht_model_destroy(model);
                      reliht_dataset_destroy(data);
                      return status;
                  }),
                  outputs == 1 ? 40u : 20u);
}
