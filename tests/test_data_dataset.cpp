#include "support.h"

extern "C" {
#include "data/dataset.h"
}

#include <cmath>
#include <limits>
#include <vector>

using support::Context;

static std::vector<float> ramp(size_t count)
{
    std::vector<float> values(count);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(i % 1000) - 300.0f;
    return values;
}

TEST(Dataset, KeepsArraysByColumnsWithAColumnOfOnes)
{
    for (size_t samples : {1u, 63u, 64u, 65u, 200u})
        for (size_t inputs : {1u, 5u, 64u, 130u}) {
            Context context;
            const size_t outputs = 3;
            std::vector<float> x = ramp(samples * inputs), y = ramp(samples * outputs);
            reliht_dataset *data;
            ASSERT_EQ(reliht_dataset_from_arrays(context, samples, inputs, x.data(), outputs,
                                                 y.data(), &data),
                      RELIHT_OK);
            EXPECT_EQ(data->stride % SAMPLE_BLOCK, 0u);
            EXPECT_EQ((uintptr_t)data->x % 64, 0u);
            for (size_t sample = 0; sample < data->stride; sample++) {
                bool real = sample < samples;
                for (size_t input = 0; input < inputs; input++)
                    ASSERT_EQ(((float *)data->x)[input * data->stride + sample],
                              real ? x[sample * inputs + input] : 0.0f);
                ASSERT_EQ(((float *)data->x)[inputs * data->stride + sample], real ? 1.0f : 0.0f);
                for (size_t output = 0; output < outputs; output++)
                    ASSERT_EQ(data->y[output * data->stride + sample],
                              real ? y[sample * outputs + output] : 0.0f);
            }
            EXPECT_EQ(reliht_dataset_samples(data), samples);
            EXPECT_EQ(reliht_dataset_inputs(data), inputs);
            EXPECT_EQ(reliht_dataset_outputs(data), outputs);
            EXPECT_EQ(reliht_dataset_classes(data), 0u);
            reliht_dataset_destroy(data);
        }
}

TEST(Dataset, FindsTheRangeOfItsTargets)
{
    Context context;
    std::vector<float> x(3, 1.0f), y = {0.5f, -4.0f, 2.0f};
    reliht_dataset *data;
    ASSERT_EQ(reliht_dataset_from_arrays(context, 3, 1, x.data(), 1, y.data(), &data), RELIHT_OK);
    EXPECT_EQ(reliht_dataset_target_maximum(data), 4.0f);
    EXPECT_EQ(reliht_dataset_target_minimum(data), -4.0f);
    reliht_dataset_destroy(data);
}

TEST(Dataset, TwoClassesAreScalarAndMoreAreOneOutputEach)
{
    Context context;
    std::vector<float> x = ramp(8);
    std::vector<int32_t> labels = {0, 1, 1, 0};
    reliht_dataset *data;
    ASSERT_EQ(reliht_dataset_from_labels(context, 4, 2, x.data(), labels.data(), 2, &data),
              RELIHT_OK);
    EXPECT_EQ(reliht_dataset_outputs(data), 1u);
    EXPECT_EQ(reliht_dataset_classes(data), 2u);
    for (size_t i = 0; i < 4; i++)
        EXPECT_EQ(data->y[i], (float)labels[i]);
    EXPECT_EQ(reliht_dataset_target_minimum(data), 0.0f);
    EXPECT_EQ(reliht_dataset_target_maximum(data), 1.0f);
    reliht_dataset_destroy(data);

    ASSERT_EQ(reliht_dataset_from_labels(context, 4, 2, x.data(), labels.data(), 5, &data),
              RELIHT_OK);
    EXPECT_EQ(reliht_dataset_outputs(data), 5u);
    EXPECT_EQ(data->y, nullptr);
    EXPECT_EQ(reliht_dataset_target_maximum(data), 1.0f);
    reliht_dataset_destroy(data);
}

TEST(Dataset, NamesRowAndColumnOfWhatIsNotFinite)
{
    for (float bad : {INFINITY, -INFINITY, NAN}) {
        Context context;
        std::vector<float> x = ramp(700), y = ramp(100);
        reliht_dataset *data;
        x[38 * 7 + 4] = bad;
        EXPECT_EQ(reliht_dataset_from_arrays(context, 100, 7, x.data(), 1, y.data(), &data),
                  RELIHT_DATA);
        EXPECT_EQ(data, nullptr);
        EXPECT_NE(context.message().find("x, row 38, column 4"), std::string::npos)
            << context.message();
        x = ramp(700);
        y[99] = bad;
        EXPECT_EQ(reliht_dataset_from_arrays(context, 50, 7, x.data(), 2, y.data(), &data),
                  RELIHT_DATA);
        EXPECT_NE(context.message().find("y, row 49, column 1"), std::string::npos)
            << context.message();
    }
    // The largest finite and denormal values are none of these.
    Context context;
    std::vector<float> x = {std::numeric_limits<float>::max(),
                            -std::numeric_limits<float>::denorm_min()};
    reliht_dataset *data;
    EXPECT_EQ(reliht_dataset_from_arrays(context, 2, 1, x.data(), 1, x.data(), &data), RELIHT_OK);
    reliht_dataset_destroy(data);
}

TEST(Dataset, RefusesLabelsOutOfRangeAndAbsurdShapes)
{
    Context context;
    std::vector<float> x = ramp(8);
    reliht_dataset *data;
    for (int32_t wrong : {-1, 3, INT32_MAX, INT32_MIN}) {
        std::vector<int32_t> labels = {0, 1, wrong, 0};
        EXPECT_EQ(reliht_dataset_from_labels(context, 4, 2, x.data(), labels.data(), 3, &data),
                  RELIHT_DATA);
        EXPECT_NE(context.message().find("row 2"), std::string::npos) << context.message();
        EXPECT_EQ(data, nullptr);
    }
    std::vector<int32_t> labels(4, 0);
    EXPECT_EQ(reliht_dataset_from_labels(context, 4, 2, x.data(), labels.data(), 1, &data),
              RELIHT_ARGUMENT);
    const size_t huge[] = {0, (size_t)RELIHT_MAX_DIMENSION + 1, SIZE_MAX};
    for (size_t size : huge) {
        EXPECT_EQ(reliht_dataset_from_arrays(context, size, 1, x.data(), 1, x.data(), &data),
                  RELIHT_ARGUMENT);
        EXPECT_EQ(reliht_dataset_from_arrays(context, 1, size, x.data(), 1, x.data(), &data),
                  RELIHT_ARGUMENT);
        EXPECT_EQ(reliht_dataset_from_arrays(context, 1, 1, x.data(), size, x.data(), &data),
                  RELIHT_ARGUMENT);
    }
    EXPECT_EQ(
        reliht_dataset_from_arrays(context, 2147483000u, 2147483000u, x.data(), 1, x.data(), &data),
        RELIHT_MEMORY);
    EXPECT_EQ(reliht_dataset_from_arrays(context, 1, 1, nullptr, 1, x.data(), &data),
              RELIHT_ARGUMENT);
    EXPECT_EQ(reliht_dataset_from_labels(context, 1, 1, x.data(), nullptr, 2, &data),
              RELIHT_ARGUMENT);
    reliht_dataset_destroy(nullptr);
}

TEST(Dataset, SubsetPicksRows)
{
    Context context;
    std::vector<float> x = ramp(500);
    std::vector<int32_t> labels(100);
    for (size_t i = 0; i < labels.size(); i++)
        labels[i] = (int32_t)(i % 2);
    reliht_dataset *data, *subset;
    ASSERT_EQ(reliht_dataset_from_labels(context, 100, 5, x.data(), labels.data(), 2, &data),
              RELIHT_OK);
    snprintf(data->preparation.source, sizeof data->preparation.source, "mnist");
    const std::vector<uint32_t> rows = {99, 0, 7, 7};
    ASSERT_EQ(dataset_subset(data, rows.data(), rows.size(), &subset), RELIHT_OK);
    for (size_t i = 0; i < rows.size(); i++) {
        for (size_t input = 0; input < 5; input++)
            EXPECT_EQ(((float *)subset->x)[input * subset->stride + i], x[rows[i] * 5 + input]);
        EXPECT_EQ(((float *)subset->x)[5 * subset->stride + i], 1.0f);
        EXPECT_EQ(subset->labels[i], labels[rows[i]]);
        EXPECT_EQ(subset->y[i], (float)labels[rows[i]]);
    }
    EXPECT_STREQ(subset->preparation.source, "mnist");
    reliht_dataset_destroy(subset);
    const uint32_t outside = 100;
    EXPECT_EQ(dataset_subset(data, &outside, 1, &subset), RELIHT_ARGUMENT);
    EXPECT_EQ(dataset_subset(data, &outside, 0, &subset), RELIHT_ARGUMENT);
    EXPECT_EQ(subset, nullptr);
    reliht_dataset_destroy(data);
}

TEST(Dataset, SubsetKeepsBytesAndOneHotLabels)
{
    Context context;
    reliht_dataset *data, *subset;
    ASSERT_EQ(dataset_allocate(context, 70, 3, ELEMENT_BYTE, 4, false, 4, &data), RELIHT_OK);
    for (size_t i = 0; i < 3 * data->samples; i++)
        ((unsigned char *)data->x)[i] = (unsigned char)i;
    data->scale = 0.25f;
    data->labels[69] = 3;
    ASSERT_EQ(dataset_finish(data), RELIHT_OK);
    const uint32_t row = 69;
    ASSERT_EQ(dataset_subset(data, &row, 1, &subset), RELIHT_OK);
    EXPECT_EQ(subset->element, ELEMENT_BYTE);
    EXPECT_EQ(subset->scale, 0.25f);
    for (size_t input = 0; input < 3; input++)
        EXPECT_EQ(((unsigned char *)subset->x)[input], ((unsigned char *)data->x)[69 * 3 + input]);
    EXPECT_EQ(subset->labels[0], 3);
    EXPECT_EQ(subset->y, nullptr);
    reliht_dataset_destroy(subset);
    reliht_dataset_destroy(data);
}

TEST(Dataset, SurvivesEveryFailedAllocation)
{
    std::vector<float> x = ramp(40), y = ramp(20);
    std::vector<int32_t> labels(10, 1);
    EXPECT_GE(support::fail_each_allocation([&](reliht_context *context) {
                  reliht_dataset *data, *subset = nullptr;
                  reliht_status status =
                      reliht_dataset_from_arrays(context, 10, 4, x.data(), 2, y.data(), &data);
                  const uint32_t row = 3;
                  if (!status)
                      status = dataset_subset(data, &row, 1, &subset);
                  reliht_dataset_destroy(subset);
                  reliht_dataset_destroy(data);
                  return status;
              }),
              6u);
    EXPECT_GE(support::fail_each_allocation([&](reliht_context *context) {
                  reliht_dataset *data;
                  reliht_status status =
                      reliht_dataset_from_labels(context, 10, 4, x.data(), labels.data(), 2, &data);
                  reliht_dataset_destroy(data);
                  return status;
              }),
              4u);
}
