#include "support.h"

extern "C" {
#include "data/dataset.h"
}

#include <algorithm>
#include <cmath>
#include <vector>

using support::Context;

namespace
{

struct Drawn {
    Context context;
    reliht_model *model = nullptr;
    reliht_dataset *data = nullptr;
    reliht_status status;

    explicit Drawn(const reliht_planted_options &options, unsigned threads = 2) : context(threads)
    {
        status = reliht_planted_create(context, &options, &model, &data);
    }
    ~Drawn()
    {
        reliht_model_destroy(model);
        reliht_dataset_destroy(data);
    }
    double at(size_t sample, size_t input) const
    {
        return ((const float *)data->x)[input * data->stride + sample];
    }
    // Mean of x_a x_b over the samples.
    double product(size_t a, size_t b) const
    {
        double sum = 0;
        for (size_t i = 0; i < data->samples; i++)
            sum += at(i, a) * at(i, b);
        return sum / (double)data->samples;
    }
    double share(double beyond) const
    {
        double count = 0;
        for (size_t c = 0; c < data->inputs; c++)
            for (size_t i = 0; i < data->samples; i++)
                count += std::fabs(at(i, c)) > beyond;
        return count / (double)(data->samples * data->inputs);
    }
};

reliht_planted_options wide(reliht_draw draw)
{
    reliht_planted_options options;
    reliht_planted_options_default(&options);
    options.samples = 40000;
    options.inputs = 6;
    options.hidden = 3;
    options.nnz = 5;
    options.draw = draw;
    options.seed = 11;
    return options;
}

} // namespace

TEST(Draws, CorrelatedInputs)
{
    for (double rho : {0.5, -0.8, 0.95}) {
        reliht_planted_options options = wide(RELIHT_DRAW_CORRELATED);
        options.correlation = rho;
        Drawn drawn(options);
        ASSERT_EQ(drawn.status, RELIHT_OK) << drawn.context.message();
        for (size_t a = 0; a < options.inputs; a++)
            for (size_t b = a; b < options.inputs; b++)
                EXPECT_NEAR(drawn.product(a, b), std::pow(rho, (double)(b - a)), 0.04)
                    << a << ' ' << b;
    }
}

// The quantiles of Student's t: P(|t_3| > 3.182) = 0.05, P(|t_3| > 12.92) = 0.001.
TEST(Draws, HeavyInputs)
{
    Drawn drawn(wide(RELIHT_DRAW_HEAVY));
    ASSERT_EQ(drawn.status, RELIHT_OK) << drawn.context.message();
    EXPECT_NEAR(drawn.share(0.7649 / std::sqrt(3.0)), 0.5, 0.005);
    EXPECT_NEAR(drawn.share(3.1824 / std::sqrt(3.0)), 0.05, 0.002);
    EXPECT_NEAR(drawn.share(12.924 / std::sqrt(3.0)), 0.001, 0.0003);
    EXPECT_NEAR(drawn.product(0, 1), 0, 0.05);
}

TEST(Draws, SparseInputs)
{
    reliht_planted_options options = wide(RELIHT_DRAW_SPARSE);
    options.density = 0.2;
    Drawn drawn(options);
    ASSERT_EQ(drawn.status, RELIHT_OK) << drawn.context.message();
    EXPECT_NEAR(drawn.share(0), 0.2, 0.004);
    for (size_t c = 0; c < options.inputs; c++)
        EXPECT_NEAR(drawn.product(c, c), 1, 0.06);
    EXPECT_NEAR(drawn.product(0, 1), 0, 0.04);
    options.density = 1;
    Drawn dense(options), gaussian(wide(RELIHT_DRAW_GAUSSIAN));
    for (size_t i = 0; i < 100; i++)
        EXPECT_EQ(dense.at(i, 2), gaussian.at(i, 2));
}

TEST(Draws, DependOnTheSeedAlone)
{
    for (reliht_draw draw : {RELIHT_DRAW_CORRELATED, RELIHT_DRAW_HEAVY, RELIHT_DRAW_SPARSE}) {
        reliht_planted_options options = wide(draw);
        options.samples = 3000;
        options.noise = 0.5;
        Drawn one(options, 1), many(options, 3);
        const size_t values = options.inputs * one.data->stride;
        const auto *x = (const float *)one.data->x;
        EXPECT_TRUE(std::equal(x, x + values, (const float *)many.data->x));
        EXPECT_TRUE(std::equal(one.data->y, one.data->y + 3000, many.data->y));
        options.samples = 1500; // the beginning of the longer ones
        Drawn shorter(options);
        for (size_t i = 0; i < 1500; i++)
            ASSERT_EQ(shorter.at(i, 5), one.at(i, 5));
    }
}

TEST(Draws, NoiseHasItsDeviation)
{
    reliht_planted_options options = wide(RELIHT_DRAW_GAUSSIAN);
    Drawn clean(options);
    options.noise = 0.25;
    Drawn noisy(options);
    ASSERT_EQ(noisy.status, RELIHT_OK);
    double sum = 0, squares = 0, n = (double)options.samples;
    for (size_t i = 0; i < options.samples; i++) {
        double difference = noisy.data->y[i] - clean.data->y[i];
        sum += difference;
        squares += difference * difference;
        ASSERT_EQ(noisy.at(i, 3), clean.at(i, 3));
    }
    EXPECT_NEAR(sum / n, 0, 5 * 0.25 / std::sqrt(n));
    EXPECT_NEAR(std::sqrt(squares / n), 0.25, 0.005);
}

TEST(Draws, PlantsOnGivenInputs)
{
    Context context;
    std::vector<float> x(70 * 3), zero(70);
    for (size_t i = 0; i < x.size(); i++)
        x[i] = (float)std::sin((double)i);
    reliht_dataset *inputs, *data;
    reliht_model *model;
    ASSERT_EQ(reliht_dataset_from_arrays(context, 70, 3, x.data(), 1, zero.data(), &inputs),
              RELIHT_OK);
    reliht_planted_options options;
    reliht_planted_options_default(&options);
    options.hidden = 2;
    options.nnz = 3;
    options.inputs_from = inputs;
    ASSERT_EQ(reliht_planted_create(context, &options, &model, &data), RELIHT_OK)
        << context.message();
    EXPECT_EQ(reliht_dataset_samples(data), 70u);
    EXPECT_EQ(reliht_dataset_inputs(data), 3u);
    std::vector<float> y(70);
    ASSERT_EQ(reliht_model_predict(context, model, inputs, y.data()), RELIHT_OK);
    for (size_t i = 0; i < 70; i++) {
        EXPECT_EQ(((const float *)data->x)[data->stride + i], x[i * 3 + 1]);
        EXPECT_EQ(data->y[i], y[i]);
    }
    reliht_dataset_destroy(data);
    reliht_model_destroy(model);
    options.nnz = 7; // of 2 neurons on 3 inputs
    EXPECT_EQ(reliht_planted_create(context, &options, &model, &data), RELIHT_ARGUMENT);
    reliht_dataset_destroy(inputs);
}

TEST(Draws, RefuseWhatCannotBe)
{
    auto refused = [](auto change) {
        reliht_planted_options options = wide(RELIHT_DRAW_GAUSSIAN);
        options.samples = 10;
        change(options);
        Drawn drawn(options);
        EXPECT_EQ(drawn.status, RELIHT_ARGUMENT);
        EXPECT_NE(drawn.context.message(), "");
    };
    for (double value : {-1.0, (double)NAN, (double)INFINITY})
        refused([=](auto &o) { o.noise = value; });
    for (double value : {-1.0, 1.0, (double)NAN})
        refused([=](auto &o) { o.draw = RELIHT_DRAW_CORRELATED, o.correlation = value; });
    for (double value : {0.0, 1.5, -0.1, (double)NAN})
        refused([=](auto &o) { o.draw = RELIHT_DRAW_SPARSE, o.density = value; });
}
