// What the tensor cores' truncation costs the sweep: a model on the host that truncates each single
// addition inside an mma, in the order and with the flushes of kernels/sweep_tile.cuh, against sums
// in double precision and beside a plain fp32 product. Nothing runs on a GPU here.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace
{

constexpr size_t STEP = 32, PARTS = 3; // samples of a step, parts of a product

float upper_bits(float value)
{
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits &= 0xffff0000u;
    std::memcpy(&value, &bits, sizeof bits);
    return value;
}

// Towards zero, to 24 significant bits.
double truncated(double value)
{
    int exponent;
    double mantissa = std::frexp(value, &exponent);
    return std::ldexp(std::trunc(std::ldexp(mantissa, 24)), exponent - 24);
}

struct Sample {
    float x, residual;
    bool active;
};

// The accumulator goes to the total after every step or, if it isn't flushed, in the end.
double tensor_sum(const std::vector<Sample> &samples, bool flushed)
{
    float total = 0;
    double accumulator = 0;
    for (size_t first = 0; first < samples.size(); first += STEP) {
        size_t last = std::min(samples.size(), first + STEP);
        for (size_t part = PARTS; part-- > 0;)
            for (size_t i = first; i < last; i++) {
                float rest = samples[i].x * samples[i].residual;
                for (size_t above = 0; above < part; above++)
                    rest -= upper_bits(rest);
                if (samples[i].active)
                    accumulator = truncated(accumulator + 2 * (double)upper_bits(rest));
            }
        if (flushed || last == samples.size()) {
            total += (float)accumulator;
            accumulator = 0;
        }
    }
    return 0.5 * total;
}

double plain_sum(const std::vector<Sample> &samples)
{
    float total = 0;
    for (const Sample &s : samples)
        total = std::fma(s.x, s.active ? s.residual : 0.0f, total);
    return total;
}

struct Errors {
    double tensor = 0, tensor_unflushed = 0, plain = 0; // root mean squares
    double worst = 0; // of the tensor product, in units of its bound
};

// `offset` is added to normal inputs and residuals: 0 gives sums that cancel, 10 sums that don't.
Errors errors_of(size_t count, double offset)
{
    std::mt19937 random(count);
    std::normal_distribution<double> normal(offset, 1);
    const size_t trials = 100;
    Errors e;
    for (size_t trial = 0; trial < trials; trial++) {
        std::vector<Sample> samples(count);
        double exact = 0, magnitudes = 0;
        for (Sample &s : samples) {
            s = {(float)normal(random), (float)normal(random), random() % 2 != 0};
            if (s.active) {
                exact += (double)s.x * s.residual;
                magnitudes += std::fabs((double)s.x * s.residual);
            }
        }
        double error = tensor_sum(samples, true) - exact;
        double steps = std::ceil((double)count / STEP);
        // a rounded product, PARTS * STEP truncations in a step, a rounded sum of steps
        double bound = (0x1p-24 + (PARTS * STEP) * 0x1p-23 + steps * 0x1p-24) * magnitudes;
        e.worst = std::max(e.worst, std::fabs(error) / bound);
        e.tensor += error * error / trials;
        error = tensor_sum(samples, false) - exact;
        e.tensor_unflushed += error * error / trials;
        error = plain_sum(samples) - exact;
        e.plain += error * error / trials;
    }
    e.tensor = std::sqrt(e.tensor);
    e.tensor_unflushed = std::sqrt(e.tensor_unflushed);
    e.plain = std::sqrt(e.plain);
    return e;
}

TEST(SweepRounding, ThreePartsAreTheProduct)
{
    std::mt19937 random(3);
    for (int i = 0; i < 100000; i++) {
        float value = std::ldexp((float)(int32_t)random(), (int)(random() % 200) - 130);
        if (std::fabs(value) < 0x1p-109f || !std::isfinite(value))
            continue;
        float first = upper_bits(value), second = upper_bits(value - first),
              third = upper_bits(value - first - second);
        ASSERT_EQ((double)first + second + third, (double)value);
    }
}

// Of sums that cancel (offset 0) and of sums that don't.
TEST(SweepRounding, IsNoWorseThanAPlainProduct)
{
    for (double offset : {0.0, 10.0})
        for (size_t count : {256u, 1024u, 4096u, 16384u}) {
            SCOPED_TRACE(testing::Message() << count << " samples around " << offset);
            Errors e = errors_of(count, offset);
            EXPECT_LE(e.worst, 1);
            EXPECT_LE(e.tensor, e.plain);
            EXPECT_GE(e.tensor_unflushed, 10 * e.plain);
        }
}

} // namespace
