#include "support.h"

extern "C" {
#include "backend/cpu/normals.h"
#include "data/dataset.h"
}

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

using support::Context;

struct Planted {
    Context context;
    reliht_model *model = nullptr;
    reliht_dataset *data = nullptr;
    reliht_status status;

    explicit Planted(const reliht_planted_options &options, unsigned threads = 2) : context(threads)
    {
        status = reliht_planted_create(context, &options, &model, &data);
    }
    ~Planted()
    {
        reliht_model_destroy(model);
        reliht_dataset_destroy(data);
    }
};

struct Triplets {
    std::vector<uint32_t> neuron, column;
    std::vector<float> value;

    Triplets(const reliht_model *model, size_t layer)
    {
        size_t nnz;
        EXPECT_EQ(reliht_model_weights(model, layer, 0, nullptr, nullptr, nullptr, &nnz),
                  RELIHT_OK);
        neuron.resize(nnz);
        column.resize(nnz);
        value.resize(nnz);
        EXPECT_EQ(reliht_model_weights(model, layer, nnz, neuron.data(), column.data(),
                                       value.data(), &nnz),
                  RELIHT_OK);
    }
};

static reliht_planted_options small()
{
    reliht_planted_options options;
    reliht_planted_options_default(&options);
    options.samples = 300;
    options.inputs = 12;
    options.hidden = 7;
    options.nnz = 30;
    options.seed = 5;
    return options;
}

// relu(e W^T) of dense double vectors.
static std::vector<double> layer_forward(const Triplets &weights, size_t hidden,
                                         const std::vector<double> &input)
{
    std::vector<double> output(hidden);
    for (size_t i = 0; i < weights.value.size(); i++)
        output[weights.neuron[i]] += (double)weights.value[i] * input[weights.column[i]];
    for (double &value : output)
        value = std::max(value, 0.0);
    return output;
}

static void expect_targets_of_the_network(const Planted &planted,
                                          const reliht_planted_options &options)
{
    const reliht_dataset *data = planted.data;
    std::vector<Triplets> hidden;
    for (size_t layer = 0; layer < options.layers; layer++)
        hidden.emplace_back(planted.model, layer);
    for (size_t sample = 0; sample < options.samples; sample++) {
        std::vector<double> e(options.inputs);
        for (size_t input = 0; input < options.inputs; input++)
            e[input] = ((float *)data->x)[input * data->stride + sample];
        for (const Triplets &weights : hidden)
            e = layer_forward(weights, options.hidden, e);
        std::vector<double> y(options.outputs);
        if (options.outputs == 1) {
            for (size_t neuron = 0; neuron < options.hidden; neuron++)
                y[0] += options.mixed && neuron % 2 ? -e[neuron] : e[neuron];
        } else {
            Triplets output(planted.model, options.layers);
            for (size_t i = 0; i < output.value.size(); i++)
                y[output.column[i]] += (double)output.value[i] * e[output.neuron[i]];
        }
        for (size_t output = 0; output < options.outputs; output++)
            EXPECT_NEAR(data->y[output * data->stride + sample], y[output],
                        1e-5 * (1 + std::fabs(y[output])))
                << sample;
    }
}

TEST(Normals, EveryInstructionSetDrawsTheSameBits)
{
    for (int isa = 0; isa <= (int)cpu_isa_best(); isa++)
        for (size_t count : {0u, 1u, 127u, 128u, 1001u}) {
            const uint64_t row = UINT64_C(0x123456789abc), seed = UINT64_C(0xfedcba9876543210);
            std::vector<float> all(count + 400), some(count + 1, 7.0f);
            rng_normals(seed, RNG_INPUTS, row, all.size(), all.data());
            normals_for((cpu_isa)isa)->fill(seed, RNG_INPUTS, row, 396, count, some.data());
            for (size_t i = 0; i < count; i++)
                ASSERT_EQ(some[i], all[396 + i]) << isa << ' ' << i;
            EXPECT_EQ(some[count], 7.0f);
        }
}

TEST(Planted, TargetsAreTheNetworksOutputs)
{
    for (size_t layers : {1u, 2u, 3u})
        for (size_t outputs : {1u, 4u})
            for (bool mixed : {false, true}) {
                if (mixed && outputs > 1)
                    continue;
                reliht_planted_options options = small();
                options.layers = layers;
                options.outputs = outputs;
                options.mixed = mixed;
                Planted planted(options);
                ASSERT_EQ(planted.status, RELIHT_OK) << planted.context.message();
                EXPECT_EQ(reliht_model_layers(planted.model), layers);
                EXPECT_EQ(reliht_model_nnz(planted.model), options.nnz);
                EXPECT_EQ(reliht_model_get_kind(planted.model),
                          outputs > 1 ? RELIHT_FACTORED : RELIHT_FUSED);
                EXPECT_EQ(reliht_dataset_outputs(planted.data), outputs);
                expect_targets_of_the_network(planted, options);
            }
}

TEST(Planted, SplitsTheNonzerosEvenly)
{
    reliht_planted_options options = small();
    options.layers = 2;
    options.outputs = 3;
    options.nnz = 32; // three weight layers: 11, 11, 10
    Planted planted(options);
    ASSERT_EQ(planted.status, RELIHT_OK);
    EXPECT_EQ(Triplets(planted.model, 0).value.size(), 11u);
    EXPECT_EQ(Triplets(planted.model, 1).value.size(), 11u);
    EXPECT_EQ(Triplets(planted.model, 2).value.size(), 10u);
}

TEST(Planted, InputsAreStandardNormal)
{
    reliht_planted_options options = small();
    options.samples = 50000;
    Planted planted(options);
    ASSERT_EQ(planted.status, RELIHT_OK);
    const auto *x = (const float *)planted.data->x;
    for (size_t input = 0; input < options.inputs; input++) {
        double sum = 0, squares = 0, next = 0;
        for (size_t i = 0; i < options.samples; i++) {
            double value = x[input * planted.data->stride + i];
            sum += value;
            squares += value * value;
            next += value * x[(input + 1) % options.inputs * planted.data->stride + i];
        }
        double n = (double)options.samples;
        EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
        EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2 / n));
        EXPECT_NEAR(next / n, 0, 5 / std::sqrt(n));
    }
}

TEST(Planted, PositionsAndValuesDependOnTheSeedAlone)
{
    reliht_planted_options options = small();
    options.samples = 5000;
    Planted one(options, 1), many(options, 4);
    ASSERT_EQ(one.status, RELIHT_OK);
    ASSERT_EQ(many.status, RELIHT_OK);
    EXPECT_EQ(Triplets(one.model, 0).column, Triplets(many.model, 0).column);
    const size_t values = (options.inputs + 1) * one.data->stride;
    EXPECT_TRUE(
        std::equal((float *)one.data->x, (float *)one.data->x + values, (float *)many.data->x));
    EXPECT_TRUE(std::equal(one.data->y, one.data->y + one.data->stride, many.data->y));
    options.seed++;
    Planted other(options);
    EXPECT_NE(Triplets(one.model, 0).value, Triplets(other.model, 0).value);
    EXPECT_NE(((float *)one.data->x)[0], ((float *)other.data->x)[0]);
}

TEST(Planted, PositionsAreUniform)
{
    reliht_planted_options options = small();
    options.samples = 1;
    std::vector<int> hits(options.hidden * options.inputs);
    const int draws = 1000;
    for (int draw = 0; draw < draws; draw++) {
        options.seed = (uint64_t)draw;
        Planted planted(options, 1);
        ASSERT_EQ(planted.status, RELIHT_OK);
        Triplets weights(planted.model, 0);
        for (size_t i = 0; i < weights.value.size(); i++)
            hits[weights.neuron[i] * options.inputs + weights.column[i]]++;
    }
    double p = (double)options.nnz / (double)hits.size();
    for (int count : hits)
        EXPECT_NEAR(count, draws * p, 5 * std::sqrt(draws * p * (1 - p)));
}

TEST(Planted, DisjointGivesEveryNeuronItsOwnInputs)
{
    for (size_t nnz : {3u, 7u, 12u}) {
        reliht_planted_options options = small();
        options.disjoint = true;
        options.nnz = nnz;
        options.magnitude_minimum = 1;
        Planted planted(options);
        ASSERT_EQ(planted.status, RELIHT_OK) << planted.context.message();
        Triplets weights(planted.model, 0);
        EXPECT_EQ(std::set<uint32_t>(weights.column.begin(), weights.column.end()).size(), nnz);
        EXPECT_EQ(std::set<uint32_t>(weights.neuron.begin(), weights.neuron.end()).size(),
                  std::min(nnz, options.hidden));
        std::set<bool> signs;
        for (float value : weights.value) {
            EXPECT_GE(std::fabs(value), 1.0f);
            signs.insert(value < 0);
        }
        EXPECT_EQ(signs.size(), nnz < 12 ? signs.size() : 2u);
    }
}

TEST(Planted, RefusesWhatCannotBe)
{
    auto refused = [](auto change) {
        reliht_planted_options options = small();
        change(options);
        Planted planted(options);
        EXPECT_EQ(planted.status, RELIHT_ARGUMENT);
        EXPECT_NE(planted.context.message(), "");
        EXPECT_EQ(planted.model, nullptr);
        EXPECT_EQ(planted.data, nullptr);
    };
    refused([](auto &o) { o.samples = 0; });
    refused([](auto &o) { o.inputs = 0; });
    refused([](auto &o) { o.outputs = 0; });
    refused([](auto &o) { o.hidden = 0; });
    refused([](auto &o) { o.layers = 0; });
    refused([](auto &o) { o.layers = 65; });
    refused([](auto &o) { o.nnz = 0; });
    refused([](auto &o) { o.nnz = 12 * 7 + 1; });
    refused([](auto &o) { o.samples = SIZE_MAX; });
    refused([](auto &o) { o.hidden = (size_t)1 << 40; });
    refused([](auto &o) { o.layers = 2, o.nnz = 1; });
    refused([](auto &o) { o.outputs = 2, o.mixed = true; });
    refused([](auto &o) { o.magnitude_minimum = -1; });
    refused([](auto &o) { o.magnitude_minimum = NAN; });
    refused([](auto &o) { o.magnitude_minimum = INFINITY; });
    refused([](auto &o) { o.disjoint = true; }); // 30 of 12 inputs
    refused([](auto &o) { o.disjoint = true, o.layers = 2, o.nnz = 10; });
    refused([](auto &o) { o.disjoint = true, o.outputs = 2, o.nnz = 10; });
}

TEST(Planted, AWideNetworkCostsNoMoreThanItsNonzeros)
{
    reliht_planted_options options = small();
    options.hidden = 2000000000;
    options.inputs = 1000;
    options.samples = 64;
    Planted planted(options);
    ASSERT_EQ(planted.status, RELIHT_OK) << planted.context.message();
    reliht_memory peak;
    reliht_context_memory(planted.context, nullptr, &peak);
    EXPECT_LT(peak.total, 2u << 20);
}

TEST(Planted, SurvivesEveryFailedAllocation)
{
    for (size_t outputs : {1u, 3u})
        EXPECT_GE(support::fail_each_allocation([&](reliht_context *context) {
                      reliht_planted_options options = small();
                      options.outputs = outputs;
                      options.layers = 2;
                      reliht_model *model;
                      reliht_dataset *data;
                      reliht_status status =
                          reliht_planted_create(context, &options, &model, &data);
                      reliht_model_destroy(model);
                      reliht_dataset_destroy(data);
                      return status;
                  }),
                  10u);
}
