// Gaussian compressed sensing, step by step beside a dense oracle in double precision.
#include "parity/parity.h"

extern "C" {
#include "core/rng.h"
}

#include <algorithm>
#include <cmath>
#include <vector>

using parity::Context;

namespace
{

struct Case {
    size_t length, measurements, nnz, planted;
    uint64_t seed;
};

// Normalised IHT as published, nothing spared: A is stored, the line search evaluates.
struct Oracle {
    size_t length, rows;
    std::vector<double> a, y, x; // a [length, rows] by columns
    double step = 0;

    Oracle(const Case &c, const sparse &truth)
        : length(c.length), rows(c.measurements), a(c.length * c.measurements), y(rows), x(length)
    {
        std::vector<float> column(rows);
        for (size_t j = 0; j < length; j++) {
            rng_normals(c.seed, RNG_SENSE_MATRIX, j, rows, column.data());
            std::copy(column.begin(), column.end(), a.begin() + (ptrdiff_t)(j * rows));
        }
        for (size_t k = 0; k < truth.nnz; k++)
            for (size_t i = 0; i < rows; i++)
                y[i] += (double)truth.value[k] * a[truth.column[k] * rows + i];
    }
    std::vector<double> residual(const std::vector<double> &v) const
    {
        std::vector<double> r(rows);
        for (size_t i = 0; i < rows; i++)
            r[i] = -y[i];
        for (size_t j = 0; j < length; j++)
            for (size_t i = 0; v[j] != 0 && i < rows; i++)
                r[i] += v[j] * a[j * rows + i];
        return r;
    }
    static double squares(const std::vector<double> &v)
    {
        double sum = 0;
        for (double value : v)
            sum += value * value;
        return sum;
    }
    // A^T r; where `on` is given only on its support.
    std::vector<double> gradient(const std::vector<double> &r, const std::vector<double> *on) const
    {
        std::vector<double> g(length);
        for (size_t j = 0; j < length; j++)
            for (size_t i = 0; (!on || (*on)[j] != 0) && i < rows; i++)
                g[j] += a[j * rows + i] * r[i];
        return g;
    }
    double image_squares(const std::vector<double> &v) const
    {
        std::vector<double> r = residual(v);
        for (size_t i = 0; i < rows; i++)
            r[i] += y[i];
        return squares(r);
    }
    void take_step(size_t nnz, size_t refits)
    {
        std::vector<double> r = residual(x), g = gradient(r, &x);
        bool any = std::any_of(x.begin(), x.end(), [](double v) { return v != 0; });
        step = any ? squares(g) / (image_squares(g) + 1e-8) : 1e-14;
        g = gradient(r, nullptr);
        for (size_t j = 0; j < length; j++)
            x[j] = (double)(float)((float)(-step * g[j]) + (float)x[j]);
        std::vector<size_t> order(length);
        for (size_t j = 0; j < length; j++)
            order[j] = j;
        std::stable_sort(order.begin(), order.end(),
                         [&](size_t p, size_t q) { return std::fabs(x[p]) > std::fabs(x[q]); });
        for (size_t p = nnz; p < length; p++)
            x[order[p]] = 0;
        std::vector<double> chosen = x;
        for (size_t i = 0; i < refits; i++) {
            r = residual(x);
            g = gradient(r, &chosen);
            double image = image_squares(g), size = squares(g);
            int failures = 0;
            for (; failures < 11 && step * image > 1.1 * size; failures++)
                step /= 2;
            for (size_t j = 0; j < length; j++)
                x[j] = failures == 11 ? chosen[j] : (double)(float)(x[j] - step * g[j]);
        }
    }
};

void make_truth(reliht_context *context, const Case &c, sparse *truth)
{
    ASSERT_EQ(sparse_create(context, truth, 1, c.length, c.planted), RELIHT_OK);
    std::vector<uint64_t> place(c.planted), scratch(4 * c.planted + 64);
    std::vector<float> value(c.planted);
    rng_distinct(c.seed, RNG_SENSE_VECTOR, 0, c.length, c.planted, place.data(), scratch.data());
    rng_normals(c.seed, RNG_SENSE_VECTOR, 1, c.planted, value.data());
    for (size_t k = 0; k < c.planted; k++)
        sparse_append(truth, 0, (uint32_t)place[k], value[k]);
}

} // namespace

TEST(ParitySensing, StepsAreThoseOfADenseOracle)
{
    PARITY_NEEDS_BACKEND();
    const Case cases[] = {{50, 40, 3, 3, 1},     {1, 7, 1, 1, 2},    {40, 1, 1, 1, 3},
                          {130, 63, 5, 4, 4},    {64, 257, 8, 8, 5}, {300, 64, 300, 6, 6},
                          {1100, 120, 10, 10, 7}};
    for (const Case &c : cases) {
        SCOPED_TRACE(c.seed);
        Context context;
        const backend_operations &on = context.operations();
        sparse truth, now;
        make_truth(context, c, &truth);
        ASSERT_EQ(sparse_create(context, &now, 1, c.length, c.nnz), RELIHT_OK);
        Oracle oracle(c, truth);
        const sensing_problem problem = {c.length, c.measurements, c.nnz, c.seed};
        sensing *self;
        ASSERT_EQ(on.sensing_create(context.on(), &problem, &self), RELIHT_OK) << context.message();
        ASSERT_EQ(on.sensing_set_targets(self, &truth), RELIHT_OK);
        double scale = Oracle::squares(oracle.y);
        for (int step = 0; step < 4; step++) {
            SCOPED_TRACE(step);
            double before = Oracle::squares(oracle.residual(oracle.x));
            oracle.take_step(c.nnz, 5);
            step_report report;
            ASSERT_EQ(on.sensing_step(self, 5), RELIHT_OK) << context.message();
            ASSERT_EQ(on.sensing_report(self, &report), RELIHT_OK) << context.message();
            ASSERT_EQ(on.sensing_get_weights(self, &now), RELIHT_OK);
            EXPECT_NEAR(report.objective_before, before, 1e-5 * scale);
            EXPECT_NEAR(report.objective_after, Oracle::squares(oracle.residual(oracle.x)),
                        1e-5 * scale);
            EXPECT_EQ(report.nnz, now.nnz);
            ASSERT_EQ(now.live, now.nnz ? 1u : 0u);
            std::vector<double> found(c.length);
            for (size_t k = 0; k < now.nnz; k++)
                found[now.column[k]] = now.value[k];
            for (size_t j = 0; j < c.length; j++)
                ASSERT_NEAR(found[j], oracle.x[j], 1e-4) << "entry " << j;
        }
        on.sensing_destroy(self);
        sparse_destroy(context, &now);
        sparse_destroy(context, &truth);
    }
}

TEST(ParitySensing, RunsRepeatBitForBitAndNamesWhatIsNotFinite)
{
    PARITY_NEEDS_BACKEND();
    const Case c = {200, 90, 6, 6, 9};
    std::vector<float> first;
    for (int run = 0; run < 2; run++) {
        Context context;
        const backend_operations &on = context.operations();
        sparse truth, now;
        make_truth(context, c, &truth);
        ASSERT_EQ(sparse_create(context, &now, 1, c.length, c.nnz), RELIHT_OK);
        const sensing_problem problem = {c.length, c.measurements, c.nnz, c.seed};
        sensing *self;
        ASSERT_EQ(on.sensing_create(context.on(), &problem, &self), RELIHT_OK);
        ASSERT_EQ(on.sensing_set_targets(self, &truth), RELIHT_OK);
        step_report report;
        for (int step = 0; step < 3; step++) {
            ASSERT_EQ(on.sensing_step(self, 3), RELIHT_OK);
            ASSERT_EQ(on.sensing_report(self, &report), RELIHT_OK);
        }
        ASSERT_EQ(on.sensing_get_weights(self, &now), RELIHT_OK);
        std::vector<float> values(now.value, now.value + now.nnz);
        if (run == 0)
            first = values;
        EXPECT_EQ(values, first);
        truth.value[0] = INFINITY;
        ASSERT_EQ(on.sensing_set_targets(self, &truth), RELIHT_OK);
        reliht_status status = on.sensing_step(self, 3);
        if (!status)
            status = on.sensing_report(self, &report);
        EXPECT_EQ(status, RELIHT_NUMERIC);
        EXPECT_NE(context.message().find("entry 0"), std::string::npos) << context.message();
        on.sensing_destroy(self);
        sparse_destroy(context, &now);
        sparse_destroy(context, &truth);
    }
}
