#include "support.h"

extern "C" {
#include "core/selector.h"
}

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using support::Context;

namespace
{

bool better(const entry &a, const entry &b)
{
    uint32_t left = magnitude_bits(a.value), right = magnitude_bits(b.value);
    if (left != right)
        return left > right;
    return a.row != b.row ? a.row < b.row : a.column < b.column;
}

bool by_place(const entry &a, const entry &b)
{
    return a.row != b.row ? a.row < b.row : a.column < b.column;
}

// Full sort: the oracle.
std::vector<entry> best_of(std::vector<entry> all, size_t keep)
{
    all.erase(std::remove_if(all.begin(), all.end(), [](const entry &e) { return e.value == 0; }),
              all.end());
    std::sort(all.begin(), all.end(), better);
    all.resize(std::min(keep, all.size()));
    std::sort(all.begin(), all.end(), by_place);
    return all;
}

// What a selector makes of a stream that is offered `piece` entries at a time, twice over the same
// selector so that a reset is seen to forget everything.
std::vector<entry> select(const std::vector<entry> &stream, size_t keep, size_t piece)
{
    Context context(1);
    selector best;
    EXPECT_EQ(selector_create(context, &best, keep), RELIHT_OK);
    std::vector<entry> result;
    for (int round = 0; round < 2; round++) {
        selector_reset(&best);
        for (size_t i = 0; i < stream.size(); i += piece)
            selector_offer(&best, &stream[i], std::min(piece, stream.size() - i));
        EXPECT_EQ(selector_finish(context, &best, "neuron", "input"), RELIHT_OK);
        result.assign(best.entries, best.entries + best.count);
    }
    selector_destroy(context, &best);
    return result;
}

void expect_same(const std::vector<entry> &a, const std::vector<entry> &b)
{
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); i++) {
        ASSERT_EQ(a[i].row, b[i].row) << i;
        ASSERT_EQ(a[i].column, b[i].column) << i;
        ASSERT_EQ(a[i].value, b[i].value) << i;
    }
}

// A value for every place of a 300 x 100 matrix, by `kind`.
std::vector<entry> stream_of(int kind, uint32_t seed)
{
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<entry> stream;
    for (uint32_t row = 0; row < 300; row++)
        for (uint32_t column = 0; column < 100; column++) {
            float value = normal(random);
            switch (kind) {
            case 1: // all equal, both signs
                value = std::copysign(0.25f, value);
                break;
            case 2: // denormals
                value = (float)(random() % 5000) * std::numeric_limits<float>::denorm_min();
                break;
            case 3: // few distinct magnitudes
                value = std::copysign((float)(random() % 3), value);
                break;
            case 4: // all zero, of both signs
                value = std::copysign(0.0f, value);
                break;
            case 5: // neurons in groups of ten share their values
                value = std::sin((float)(row / 10 * 100 + column));
                break;
            case 6: // largest finite beside smallest
                value = random() % 2 ? std::numeric_limits<float>::max()
                                     : std::numeric_limits<float>::denorm_min();
                break;
            case 7: // rising: every one enters
                value = (float)(row * 100 + column + 1);
                break;
            default:
                break;
            }
            // Spread the places over all bytes of their numbers.
            stream.push_back({value, row * 70001u, column * 16777u});
        }
    return stream;
}

} // namespace

TEST(Selector, AgreesWithAFullSort)
{
    for (int kind = 0; kind < 8; kind++) {
        std::vector<entry> stream = stream_of(kind, 7);
        for (size_t keep : {1u, 3u, 256u, 1000u, 29999u, 40000u}) {
            SCOPED_TRACE(testing::Message() << "kind " << kind << ", keep " << keep);
            expect_same(select(stream, keep, 97), best_of(stream, keep));
        }
    }
}

TEST(Selector, ChoiceDoesNotDependOnTheOrder)
{
    for (int kind = 0; kind < 8; kind++) {
        std::vector<entry> stream = stream_of(kind, 3), expected = best_of(stream, 500);
        std::mt19937 random(1);
        for (size_t piece : {1u, 1000u, 30000u}) {
            std::shuffle(stream.begin(), stream.end(), random);
            SCOPED_TRACE(testing::Message() << "kind " << kind << ", piece " << piece);
            expect_same(select(stream, 500, piece), expected);
        }
        std::sort(stream.begin(), stream.end(), better);
        expect_same(select(stream, 500, 64), expected);
        std::reverse(stream.begin(), stream.end());
        expect_same(select(stream, 500, 64), expected);
    }
}

TEST(Selector, FewerThanAskedFor)
{
    expect_same(select({}, 5, 1), {});
    std::vector<entry> few = {{1.0f, 4, 0}, {-2.0f, 1, 9}, {0.0f, 0, 0}, {3.0f, 1, 2}};
    expect_same(select(few, 5, 4), best_of(few, 5));
    EXPECT_EQ(select(few, 5, 4).size(), 3u);
}

TEST(Selector, KeepingNothingKeepsNothing)
{
    EXPECT_TRUE(select(stream_of(0, 1), 0, 100).empty());
}

TEST(Selector, TheThresholdOnlyRisesAndAdmitsTies)
{
    Context context(1);
    selector best;
    ASSERT_EQ(selector_create(context, &best, 10), RELIHT_OK);
    EXPECT_EQ(best.threshold, 1u);
    uint32_t last = 1;
    for (const entry &e : stream_of(3, 5)) {
        selector_offer(&best, &e, 1);
        EXPECT_GE(best.threshold, last);
        last = best.threshold;
    }
    EXPECT_EQ(last, magnitude_bits(2.0f));
    selector_destroy(context, &best);
}

TEST(Selector, NamesTheFirstNonFiniteEntry)
{
    const float infinite = std::numeric_limits<float>::infinity();
    for (float bad : {infinite, -infinite, std::nanf(""), -std::nanf("")}) {
        Context context(1);
        selector best;
        ASSERT_EQ(selector_create(context, &best, 10), RELIHT_OK);
        std::vector<entry> stream = stream_of(0, 5);
        std::mt19937 random(2);
        std::shuffle(stream.begin(), stream.end(), random);
        stream.push_back({bad, 8, 1});
        stream.push_back({bad, 7, 4});
        stream.push_back({bad, 7, 3});
        stream.push_back({bad, 9, 0});
        selector_offer(&best, stream.data(), stream.size());
        EXPECT_EQ(selector_finish(context, &best, "neuron", "input"), RELIHT_NUMERIC);
        EXPECT_NE(context.message().find("neuron 7, input 3"), std::string::npos)
            << context.message();
        selector_reset(&best);
        EXPECT_EQ(selector_finish(context, &best, "neuron", "input"), RELIHT_OK);
        selector_destroy(context, &best);
    }
}

TEST(Selector, AbsurdSizesAreRefused)
{
    Context context(1);
    selector best;
    EXPECT_EQ(selector_create(context, &best, SIZE_MAX), RELIHT_MEMORY);
    EXPECT_EQ(selector_create(context, &best, SIZE_MAX / 16), RELIHT_MEMORY);
}

TEST(Selector, SurvivesFailingAllocations)
{
    support::fail_each_allocation([](reliht_context *context) {
        selector best;
        reliht_status status = selector_create(context, &best, 100);
        if (!status)
            selector_destroy(context, &best);
        return status;
    });
}
