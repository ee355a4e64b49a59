// Selection on the device: the set and the order of the CPU's selector, whatever the order of
// blocks, and that of the two-pass oracle.
#include "cuda/arrays.h"
#include "parity/parity.h"
#include "support.h"

extern "C" {
#include "core/selector.h"
}
#include "kernels/select.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace
{

using cuda_arrays::Array;
using cuda_arrays::Selection;

struct Stream {
    Array<float> value;
    Array<uint32_t> row, column;

    template <typename T, typename Field>
    static std::vector<T> field(const std::vector<entry> &from, Field name)
    {
        std::vector<T> values;
        for (const entry &e : from)
            values.push_back(e.*name);
        return values;
    }
    explicit Stream(const std::vector<entry> &from)
        : value(field<float>(from, &entry::value)), row(field<uint32_t>(from, &entry::row)),
          column(field<uint32_t>(from, &entry::column))
    {
    }
    device_entries view() const
    {
        return {value.data, row.data, column.data, (uint32_t)value.count};
    }
};

// What the CPU's selector makes of the stream.
std::vector<entry> best_of(const std::vector<entry> &stream, size_t keep)
{
    support::Context context(1);
    selector best;
    EXPECT_EQ(selector_create(context, &best, keep), RELIHT_OK);
    selector_offer(&best, stream.data(), stream.size());
    EXPECT_EQ(selector_finish(context, &best, "row", "column"), RELIHT_OK);
    std::vector<entry> kept(best.entries, best.entries + best.count);
    selector_destroy(context, &best);
    return kept;
}

void expect_same(const std::vector<entry> &expected, const std::vector<entry> &got)
{
    ASSERT_EQ(expected.size(), got.size());
    for (size_t i = 0; i < got.size(); i++) {
        ASSERT_EQ(expected[i].row, got[i].row) << i;
        ASSERT_EQ(expected[i].column, got[i].column) << i;
        ASSERT_EQ(expected[i].value, got[i].value) << i;
    }
}

enum class Kind { Normal, FewValues, Rising, AllEqual, MostlyZero };

std::vector<entry> stream_of(Kind kind, uint32_t rows, uint32_t columns, bool shuffled)
{
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<entry> stream;
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++) {
            float value = normal(random);
            if (kind == Kind::FewValues)
                value = std::round(value * 2) / 2;
            else if (kind == Kind::Rising)
                value = (float)(row * columns + column + 1) * (column % 2 ? 1e-3f : -1e-3f);
            else if (kind == Kind::AllEqual)
                value = row % 2 ? 3 : -3;
            else if (kind == Kind::MostlyZero && value < 1.5f)
                value = value < 0 ? 0.0f : -0.0f;
            stream.push_back({value, row, column});
        }
    if (shuffled)
        std::shuffle(stream.begin(), stream.end(), random);
    return stream;
}

void check(const std::vector<entry> &stream, size_t keep, uint32_t rows, uint32_t columns,
           uint32_t wave)
{
    const std::vector<entry> expected = best_of(stream, keep);
    Selection selection(keep, rows, columns);
    Stream device(stream);
    // Twice over the same buffers, so that a reset is seen to forget everything.
    for (int round = 0; round < 2; round++) {
        ASSERT_EQ(launch_select(nullptr, selection.view, device.view(), wave, selection.result),
                  cudaSuccess);
        ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
        expect_same(expected, selection.entries());
    }
    ASSERT_EQ(launch_select_two_pass(nullptr, selection.view, device.view(), selection.result),
              cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    expect_same(expected, selection.entries());
}

struct Case {
    Kind kind;
    uint32_t rows, columns;
    size_t keep;
    uint32_t wave;
};

class Select : public testing::TestWithParam<Case>
{
};

TEST_P(Select, KeepsWhatTheSelectorOfTheCpuKeeps)
{
    PARITY_NEEDS_BACKEND();
    const Case &c = GetParam();
    check(stream_of(c.kind, c.rows, c.columns, true), c.keep, c.rows, c.columns, c.wave);
}

// Candidates beyond 4 s + 4096 overflow: equal magnitudes pass every threshold, rising ones pass
// because each wave is larger than all before.
INSTANTIATE_TEST_SUITE_P(
    Streams, Select,
    testing::Values(Case{Kind::Normal, 1, 1, 1, 10}, Case{Kind::Normal, 1, 1, 5, 10},
                    Case{Kind::Normal, 40, 33, 1, 400}, Case{Kind::Normal, 40, 33, 100, 1320},
                    Case{Kind::Normal, 40, 33, 1319, 7000}, Case{Kind::Normal, 40, 33, 1320, 999},
                    Case{Kind::FewValues, 40, 33, 500, 600}, Case{Kind::FewValues, 7, 999, 3, 999},
                    Case{Kind::AllEqual, 300, 30, 17, 9000},
                    Case{Kind::AllEqual, 9000, 1, 3000, 4500},
                    Case{Kind::AllEqual, 1, 9000, 300, 9000},
                    Case{Kind::MostlyZero, 40, 33, 600, 500},
                    Case{Kind::MostlyZero, 40, 33, 20, 500}, Case{Kind::Rising, 70, 99, 10, 5000}));

TEST(SelectOrder, RisingMagnitudesCutTheBufferAgainAndAgain)
{
    PARITY_NEEDS_BACKEND();
    check(stream_of(Kind::Rising, 60, 150, false), 5, 60, 150, 9000);
    check(stream_of(Kind::Rising, 60, 150, false), 700, 60, 150, 512);
}

TEST(SelectOrder, LargePlacesAreTold)
{
    PARITY_NEEDS_BACKEND();
    const uint32_t last = RELIHT_MAX_DIMENSION - 1;
    std::vector<entry> stream;
    for (uint32_t i = 0; i < 40; i++) {
        stream.push_back({1.0f, last - i * 50000000u, last - i % 3});
        stream.push_back({1.0f, last - i * 50000000u, i % 2});
    }
    check(stream, 33, RELIHT_MAX_DIMENSION, RELIHT_MAX_DIMENSION, 64);
}

TEST(SelectOrder, NothingComesOfNothing)
{
    PARITY_NEEDS_BACKEND();
    check({}, 3, 10, 10, 5);
    check({{0.0f, 1, 2}, {-0.0f, 0, 0}}, 3, 10, 10, 5);
}

TEST(SelectOrder, TheFirstNonFiniteEntryIsRecorded)
{
    PARITY_NEEDS_BACKEND();
    std::vector<entry> stream = stream_of(Kind::Normal, 30, 40, true);
    for (entry &e : stream) {
        if (e.row == 20 && e.column == 3)
            e.value = std::numeric_limits<float>::quiet_NaN();
        if ((e.row == 20 && e.column == 5) || (e.row == 29 && e.column == 0))
            e.value = -std::numeric_limits<float>::infinity();
    }
    Selection selection(50, 30, 40);
    Stream device(stream);
    ASSERT_EQ(launch_select(nullptr, selection.view, device.view(), 300, selection.result),
              cudaSuccess);
    uint64_t invalid = selection.scalars.read(1)[0].invalid;
    EXPECT_EQ(invalid, ((uint64_t)20 << selection.view.column_bits | 3) << 1 | 1);
    EXPECT_EQ(selection.entries().size(), 50u);
    for (entry &e : stream)
        if (std::isnan(e.value))
            e.value = 0;
    Stream infinite(stream);
    ASSERT_EQ(launch_select(nullptr, selection.view, infinite.view(), 300, selection.result),
              cudaSuccess);
    invalid = selection.scalars.read(1)[0].invalid;
    EXPECT_EQ(invalid, ((uint64_t)20 << selection.view.column_bits | 5) << 1);
}

} // namespace
