#include "support.h"

extern "C" {
#include "backend/cpu/factored_kernels.h"
#include "core/rng.h"
#include "core/sketch.h"
}

#include <cmath>
#include <cstring>
#include <set>
#include <vector>

using support::Context;

namespace
{

const factored_kernels *const tables[] = ISA_TABLE(factored_kernels);

struct Sketch {
    Context context;
    sketch it = {};
    Sketch(size_t width, uint64_t seed)
    {
        EXPECT_EQ(sketch_create(context, &it, width, seed), RELIHT_OK);
    }
    ~Sketch()
    {
        sketch_destroy(context, &it);
    }
    void add(const factored_kernels *kernels, uint32_t row, const std::vector<uint32_t> &columns,
             const std::vector<float> &values, double factor)
    {
        for (size_t r = 0; r < SKETCH_ROWS; r++)
            kernels->sketch_add(&it.key[r], it.counter + r * it.width, it.width, row,
                                columns.empty() ? nullptr : columns.data(), values.size(),
                                values.data(), factor);
    }
};

} // namespace

TEST(Sketch, PublishedWidth)
{
    EXPECT_EQ(sketch_width(230, 40), 69u); // recorded from the published code
    EXPECT_EQ(sketch_width(10, 10), 10u);  // the logarithm counts at least 1
    EXPECT_EQ(sketch_width(1, 1), 1u);
    EXPECT_EQ(sketch_width(1e18, 2147483647), SKETCH_WIDTH_MAXIMUM);
}

TEST(Sketch, RoundsToTheNearestQuantum)
{
    for (double value : {0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 1e15, -1e15, 12345.678, -0.0})
        EXPECT_EQ(sketch_quantum(value), (int64_t)std::nearbyint(value)) << value;
    EXPECT_EQ(sketch_quantum(0x1p51 - 1), INT64_C(0x7ffffffffffff));
}

TEST(Sketch, HashesSpreadEvenlyAndPairsCollideByChanceOnly)
{
    // Buckets of 20000 entries in a grid: chi-square within 6 sigma, per row; signs balanced; two
    // fixed entries collide with probability 1/width over seeds.
    Sketch sketch(64, 7);
    for (size_t r = 0; r < SKETCH_ROWS; r++) {
        std::vector<double> seen(64);
        double signs = 0;
        for (uint32_t row = 0; row < 200; row++)
            for (uint32_t column = 0; column < 100; column++) {
                uint32_t hash = sketch_hash(&sketch.it.key[r], row, column);
                seen[sketch_slot(hash, 64)]++;
                signs += (double)sketch_sign(hash);
            }
        double chi = 0, mean = 20000 / 64.0;
        for (double count : seen)
            chi += (count - mean) * (count - mean) / mean;
        EXPECT_LT(chi, 63 + 6 * std::sqrt(2 * 63.0));
        EXPECT_LT(std::fabs(signs), 6 * std::sqrt(20000.0));
    }
    size_t collisions = 0;
    for (uint64_t seed = 0; seed < 4000; seed++) {
        Sketch small(16, seed);
        uint32_t a = sketch_hash(&small.it.key[0], 3, 5), b = sketch_hash(&small.it.key[0], 3, 6);
        collisions += sketch_slot(a, 16) == sketch_slot(b, 16);
    }
    EXPECT_NEAR((double)collisions, 250.0, 6 * std::sqrt(250.0));
}

TEST(Sketch, QueriesTheMeanOfTheMiddleTwo)
{
    Sketch sketch(1, 3); // one counter a row: all entries collide
    for (size_t r = 0; r < SKETCH_ROWS; r++) {
        uint32_t hash = sketch_hash(&sketch.it.key[r], 2, 9);
        const int64_t values[SKETCH_ROWS] = {100, -7, 30, 5};
        sketch.it.counter[r] = sketch_sign(hash) * values[r];
    }
    EXPECT_EQ(sketch_query(&sketch.it, 2, 9), 35); // twice the mean of 5 and 30
}

TEST(Sketch, FindsHeavyEntriesAmongMany)
{
    Sketch sketch(4000, 1);
    for (uint32_t row = 0; row < 50; row++) {
        std::vector<float> values(100);
        rng_normals(4, RNG_VALUES, row, values.size(), values.data());
        values[row] += 300;
        sketch.add(tables[ISA_base], row, {}, values, 65536.0);
    }
    for (uint32_t row = 0; row < 50; row++) {
        EXPECT_NEAR((double)sketch_query(&sketch.it, row, row) / 131072.0, 300, 60);
        EXPECT_LT((double)sketch_query(&sketch.it, row, 99 - row) / 131072.0, 100);
    }
}

TEST(Sketch, KernelsAgreeWithTheDefinitionOnEveryInstructionSet)
{
    for (int isa = 0; isa <= (int)cpu_isa_best(); isa++) {
        Sketch sketch(97, 11), plain(97, 11);
        const double factor = 0x1p20;
        for (uint32_t row = 0; row < 9; row++) {
            std::vector<uint32_t> columns;
            std::vector<float> values(1 + row * 13);
            rng_normals(1, RNG_VALUES, row, values.size(), values.data());
            for (uint32_t i = 0; i < values.size(); i++)
                columns.push_back(3 * i + row);
            if (row % 2 == 0)
                for (uint32_t i = 0; i < values.size(); i++)
                    columns[i] = i;
            sketch.add(tables[isa], row, row % 2 ? columns : std::vector<uint32_t>(), values,
                       factor);
            double expected_sum = 0, sum = 0;
            for (size_t i = 0; i < values.size(); i++) {
                expected_sum += std::fabs((double)values[i] * factor);
                for (size_t r = 0; r < SKETCH_ROWS; r++) {
                    uint32_t hash = sketch_hash(&plain.it.key[r], row, columns[i]);
                    plain.it.counter[r * 97 + sketch_slot(hash, 97)] +=
                        sketch_sign(hash) * sketch_quantum((double)values[i] * factor);
                }
            }
            int64_t unused[97] = {0};
            sum = tables[isa]->sketch_add(&sketch.it.key[0], unused, 97, row, nullptr,
                                          values.size(), values.data(), factor);
            EXPECT_NEAR(sum, expected_sum, 1e-9 * expected_sum);
        }
        ASSERT_EQ(memcmp(sketch.it.counter, plain.it.counter, 4 * 97 * sizeof(int64_t)), 0);
        std::vector<int64_t> importance(100);
        tables[isa]->sketch_query(&sketch.it, 3, nullptr, importance.size(), importance.data());
        for (uint32_t i = 0; i < importance.size(); i++)
            EXPECT_EQ(importance[i], sketch_query(&sketch.it, 3, i));
    }
}

TEST(Sketch, KernelsReportWhatDoesNotFit)
{
    for (int isa = 0; isa <= (int)cpu_isa_best(); isa++)
        for (float bad : {INFINITY, -INFINITY, NAN, 3e38f}) {
            Sketch sketch(10, 1);
            std::vector<float> values(40, 1.0f);
            values[37] = bad;
            EXPECT_TRUE(
                std::isinf(tables[isa]->sketch_add(&sketch.it.key[0], sketch.it.counter, 10, 0,
                                                   nullptr, values.size(), values.data(), 1.0)));
        }
}

TEST(Sketch, ScaleLeavesRoom)
{
    Sketch sketch(4, 1);
    for (float largest : {1e-30f, 0.75f, 1.0f, 3e30f}) {
        sketch_set_scale(&sketch.it, largest);
        double quanta = (double)largest * sketch_factor(&sketch.it);
        EXPECT_GE(quanta, 0x1p30);
        EXPECT_LT(quanta, 0x1p31);
    }
}

TEST(Sketch, SaturationIsAnError)
{
    Sketch sketch(4, 1);
    sketch.it.counter[7] = -(SKETCH_LIMIT - 1);
    EXPECT_EQ(sketch_check(sketch.context, &sketch.it), RELIHT_OK);
    sketch.it.counter[7]--;
    EXPECT_EQ(sketch_check(sketch.context, &sketch.it), RELIHT_NUMERIC);
    EXPECT_NE(sketch.context.message().find("saturated"), std::string::npos);
}
