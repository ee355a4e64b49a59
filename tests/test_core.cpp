#include "support.h"

extern "C" {
#include "core/context.h"
#include "core/rng.h"
#include "core/sparse.h"
}

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

using support::Context;

// Phi(z) in double, the oracle of the inverse.
static double normal_distribution(double z)
{
    return 0.5 * std::erfc(-z / std::sqrt(2.0));
}

TEST(Rng, NormalInvertsTheNormalDistribution)
{
    for (uint64_t i = 0; i < 100000; i++) {
        uint32_t bits = (uint32_t)(i * 42949u + 3);
        double p = (bits + 0.5) / 4294967296.0;
        double z = rng_normal_of(bits);
        double slope = std::exp(-0.5 * z * z) / std::sqrt(2 * M_PI);
        EXPECT_NEAR((normal_distribution(z) - p) / slope, 0.0, 2e-6 * (1 + std::fabs(z))) << bits;
    }
}

TEST(Rng, NormalReachesBothTailsAndIsOdd)
{
    EXPECT_NEAR(rng_normal_of(0), -6.3380, 1e-3);
    EXPECT_NEAR(rng_normal_of(0xffffffffu), 6.3380, 1e-3);
    for (uint32_t bits : {0u, 1u, 77u, 0x12345678u, 0x7fffffffu})
        EXPECT_EQ(rng_normal_of(bits), -rng_normal_of(~bits)) << bits;
}

TEST(Rng, PhiloxKnownAnswer)
{
    // Random123's kat_vectors: philox4x32 10 rounds, all zero counter and key.
    uint32_t words[4];
    rng_block(0, (rng_purpose)0, 0, 0, words);
    EXPECT_EQ(words[0], 0x6627e8d5u);
    EXPECT_EQ(words[1], 0xe169c58du);
    EXPECT_EQ(words[2], 0xbc57ac4cu);
    EXPECT_EQ(words[3], 0x9b00dbd8u);
}

TEST(Rng, StreamsAreAddressable)
{
    std::vector<float> all(37);
    rng_normals(5, RNG_INPUTS, 3, all.size(), all.data());
    for (uint32_t i = 0; i < all.size(); i++)
        EXPECT_EQ(all[i], rng_normal_of(rng_word(5, RNG_INPUTS, 3, i)));
}

TEST(Rng, DistinctIsDistinctSortedAndCoversAll)
{
    for (size_t count : {0u, 1u, 7u, 50u}) {
        std::vector<uint64_t> out(count + 1), scratch(4 * count + 64);
        rng_distinct(1, RNG_POSITIONS, 0, 50, count, out.data(), scratch.data());
        out.resize(count);
        EXPECT_TRUE(std::is_sorted(out.begin(), out.end()));
        EXPECT_EQ(std::set<uint64_t>(out.begin(), out.end()).size(), count);
        for (uint64_t value : out)
            EXPECT_LT(value, 50u);
    }
}

TEST(Rng, PermutationIsOne)
{
    std::vector<uint32_t> order(1001), sorted(1001);
    rng_permutation(9, RNG_BATCHES, 2, 1001, order.data());
    std::iota(sorted.begin(), sorted.end(), 0u);
    EXPECT_NE(order, sorted);
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, sorted);
}

TEST(Gate, CountsByCategoryAndKeepsPeaks)
{
    Context context;
    reliht_memory before, now, peak;
    reliht_context_memory(context, &before, nullptr);
    void *a, *b;
    ASSERT_EQ(gate_allocate(context, MEMORY_weights, 10, 100, "a", &a), RELIHT_OK);
    ASSERT_EQ(gate_allocate(context, MEMORY_patterns, 3, 8, "b", &b), RELIHT_OK);
    EXPECT_EQ((uintptr_t)a % 64, 0u);
    gate_release(context, a);
    reliht_context_memory(context, &now, &peak);
    EXPECT_EQ(now.weights, 0u);
    EXPECT_EQ(peak.weights, 1000u);
    EXPECT_EQ(now.patterns, 24u);
    EXPECT_EQ(now.total, before.total + 24);
    gate_release(context, b);
}

TEST(Gate, RefusesProductsThatOverflow)
{
    Context context;
    void *pointer;
    EXPECT_EQ(gate_allocate(context, MEMORY_data, SIZE_MAX / 2, 3, "huge", &pointer),
              RELIHT_MEMORY);
    EXPECT_EQ(pointer, nullptr);
    EXPECT_NE(context.message().find("huge"), std::string::npos);
}

// The system would grant it and kill the program once it is written to.
TEST(Gate, RefusesMoreThanTheMachineHas)
{
    Context context;
    void *pointer;
    context.handle->machine_bytes = 1 << 20;
    EXPECT_EQ(gate_allocate(context, MEMORY_data, 1 << 20, 1, "large", &pointer), RELIHT_MEMORY);
    EXPECT_EQ(pointer, nullptr);
    EXPECT_NE(context.message().find("this machine can give"), std::string::npos);
    EXPECT_EQ(gate_allocate(context, MEMORY_data, 1 << 10, 1, "small", &pointer), RELIHT_OK);
    gate_release(context, pointer);
}

TEST(Context, RefusesHalfAnAllocatorAndAbsurdThreads)
{
    reliht_context_options options;
    reliht_context *context;
    char message[200];
    reliht_context_options_default(&options);
    options.allocator.allocate = support::FailingAllocator::allocate;
    EXPECT_EQ(reliht_context_create(&options, &context, message, sizeof message), RELIHT_ARGUMENT);
    EXPECT_STRNE(message, "");
    reliht_context_options_default(&options);
    options.threads = 5000;
    EXPECT_EQ(reliht_context_create(&options, &context, message, sizeof message), RELIHT_ARGUMENT);
    options.threads = 1;
    options.backend = RELIHT_BACKEND_CUDA;
    EXPECT_EQ(reliht_context_create(&options, &context, message, sizeof message), RELIHT_BACKEND);
    EXPECT_EQ(context, nullptr);
}

TEST(Sparse, AppendFindCompare)
{
    Context context;
    sparse a, b;
    ASSERT_EQ(sparse_create(context, &a, 10, 10, 5), RELIHT_OK);
    ASSERT_EQ(sparse_create(context, &b, 10, 10, 5), RELIHT_OK);
    sparse_append(&a, 1, 2, 1.0f);
    sparse_append(&a, 1, 3, 2.0f);
    sparse_append(&a, 7, 0, 3.0f);
    sparse_append(&b, 1, 3, 5.0f);
    sparse_append(&b, 7, 1, 4.0f);
    EXPECT_EQ(a.live, 2u);
    EXPECT_EQ(a.start[2], 3u);
    EXPECT_EQ(sparse_find_row(&a, 7), 1u);
    EXPECT_EQ(sparse_find_row(&a, 2), a.live);
    EXPECT_EQ(sparse_common(&a, &b), 1u);
    EXPECT_EQ(sparse_row_squares(&a, 0), 5.0);
    EXPECT_EQ(sparse_row_squares(&a, 1), 9.0);
    EXPECT_DOUBLE_EQ(sparse_distance(&a, &b), std::sqrt(1.0 + 9 + 9 + 16));
    sparse_copy(&b, &a);
    EXPECT_EQ(sparse_distance(&a, &b), 0.0);
    sparse_clear(&b);
    EXPECT_DOUBLE_EQ(sparse_distance(&a, &b), std::sqrt(14.0));
    sparse_destroy(context, &a);
    sparse_destroy(context, &b);
}
