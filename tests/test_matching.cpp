#include "support.h"

extern "C" {
#include "model/matching.h"
}

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

using support::Context;

namespace
{

using Rows = std::vector<std::vector<double>>; // dense, [row][column]; a row of zeros is absent

struct Matrix {
    Context &context;
    sparse matrix{};

    Matrix(Context &owner, const Rows &rows, const std::vector<uint32_t> &numbers, size_t columns)
        : context(owner)
    {
        size_t most = numbers.empty() ? 1 : numbers.back() + 1u;
        EXPECT_EQ(sparse_create(context, &matrix, most, columns, rows.size() * columns + 1),
                  RELIHT_OK);
        for (size_t i = 0; i < rows.size(); i++)
            for (size_t c = 0; c < columns; c++)
                if (rows[i][c] != 0)
                    sparse_append(&matrix, numbers[i], (uint32_t)c, (float)rows[i][c]);
    }
    ~Matrix()
    {
        sparse_destroy(context, &matrix);
    }
    Matrix(const Matrix &) = delete;
    Matrix &operator=(const Matrix &) = delete;
};

Rows draw_rows(std::mt19937 &random, size_t count, size_t columns, bool coarse)
{
    std::normal_distribution<double> normal;
    Rows rows(count, std::vector<double>(columns));
    for (auto &row : rows) {
        do
            for (double &v : row) {
                v = random() % 3 ? 0 : (float)normal(random);
                if (coarse) // many ties
                    v = std::round(v);
            }
        while (std::all_of(row.begin(), row.end(), [](double v) { return v == 0; }));
    }
    return rows;
}

// Numbers of rows, ascending, of both parities.
std::vector<uint32_t> draw_numbers(std::mt19937 &random, size_t count)
{
    std::vector<uint32_t> numbers;
    uint32_t next = 0;
    for (size_t i = 0; i < count; i++) {
        next += random() % 3;
        numbers.push_back(next++);
    }
    return numbers;
}

double squares(const std::vector<double> &a)
{
    return std::inner_product(a.begin(), a.end(), a.begin(), 0.0);
}

double distance(const std::vector<double> &a, const std::vector<double> &b)
{
    double sum = 0;
    for (size_t c = 0; c < a.size(); c++)
        sum += (a[c] - b[c]) * (a[c] - b[c]);
    return sum;
}

struct Instance {
    Rows left, right;
    std::vector<uint32_t> left_numbers, right_numbers;

    double cost(const std::vector<size_t> &partner) const
    {
        double sum = 0;
        for (const auto &row : right)
            sum += squares(row);
        for (size_t i = 0; i < left.size(); i++) {
            if (partner[i] == right.size())
                sum += squares(left[i]);
            else
                sum += distance(left[i], right[partner[i]]) - squares(right[partner[i]]);
        }
        return sum;
    }
    // Of one parity, and both nonzero in one of the first `pairing` columns.
    bool may_pair(size_t i, size_t j, size_t pairing) const
    {
        bool shared = false;
        for (size_t c = 0; c < pairing; c++)
            shared |= left[i][c] != 0 && right[j][c] != 0;
        return shared && !((left_numbers[i] ^ right_numbers[j]) & 1u);
    }
    // All partial pairings.
    double brute_force(size_t pairing) const
    {
        std::vector<size_t> partner(left.size(), right.size());
        std::vector<bool> used(right.size());
        double best = INFINITY;
        std::function<void(size_t)> choose = [&](size_t i) {
            if (i == left.size()) {
                best = std::min(best, cost(partner));
                return;
            }
            partner[i] = right.size();
            choose(i + 1);
            for (size_t j = 0; j < right.size(); j++) {
                if (used[j] || !may_pair(i, j, pairing))
                    continue;
                used[j] = true;
                partner[i] = j;
                choose(i + 1);
                used[j] = false;
            }
            partner[i] = right.size();
        };
        choose(0);
        return best;
    }
};

} // namespace

TEST(Matching, IsTheBestOfAllPairings)
{
    Context context(1);
    std::mt19937 random(7);
    for (int trial = 0; trial < 400; trial++) {
        size_t columns = 1 + random() % 6;
        bool coarse = trial % 2;
        Instance instance;
        instance.left = draw_rows(random, random() % 7, columns, coarse);
        instance.right = draw_rows(random, random() % 7, columns, coarse);
        if (trial % 3 == 0) // close to one another, as networks are that nearly agree
            for (size_t i = 0; i < std::min(instance.left.size(), instance.right.size()); i++)
                instance.right[i] = instance.left[instance.left.size() - 1 - i];
        if (trial % 4 == 1) // everybody wants everybody: long augmenting paths
            for (Rows *rows : {&instance.left, &instance.right})
                for (auto &row : *rows)
                    for (double &v : row)
                        v = (float)(1 + (double)(random() % 1000) / 200);
        instance.left_numbers = draw_numbers(random, instance.left.size());
        instance.right_numbers = draw_numbers(random, instance.right.size());
        if (trial % 4 == 1)
            for (auto *numbers : {&instance.left_numbers, &instance.right_numbers})
                for (uint32_t &number : *numbers)
                    number *= 2;
        Matrix left(context, instance.left, instance.left_numbers, columns);
        Matrix right(context, instance.right, instance.right_numbers, columns);
        std::vector<size_t> partner(instance.left.size());
        const size_t pairing = trial % 5 ? columns : 1 + columns / 2;
        ASSERT_EQ(match_rows(context, &left.matrix, &right.matrix, pairing, partner.data()),
                  RELIHT_OK);
        std::vector<bool> used(instance.right.size());
        for (size_t i = 0; i < partner.size(); i++) {
            if (partner[i] == instance.right.size())
                continue;
            ASSERT_LT(partner[i], instance.right.size());
            EXPECT_FALSE(used[partner[i]]) << "trial " << trial;
            used[partner[i]] = true;
            EXPECT_TRUE(instance.may_pair(i, partner[i], pairing)) << "trial " << trial;
        }
        EXPECT_NEAR(instance.cost(partner), instance.brute_force(pairing), 1e-9)
            << "trial " << trial;
    }
}

TEST(Matching, FindsAPermutationOfManyRows)
{
    Context context(1);
    std::mt19937 random(3);
    const size_t count = 1000, columns = 100;
    Rows rows = draw_rows(random, count, columns, false), permuted(count);
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), random);
    for (size_t i = 0; i < count; i++) {
        permuted[order[i]] = rows[i];
        for (double &v : permuted[order[i]])
            v = v == 0 ? 0 : (float)(v * 1.01);
    }
    std::vector<uint32_t> numbers(count);
    for (size_t i = 0; i < count; i++)
        numbers[i] = (uint32_t)(2 * i);
    Matrix left(context, rows, numbers, columns), right(context, permuted, numbers, columns);
    std::vector<size_t> partner(count);
    ASSERT_EQ(match_rows(context, &left.matrix, &right.matrix, columns, partner.data()), RELIHT_OK);
    EXPECT_EQ(partner, order);
}

TEST(Matching, SurvivesEveryFailedAllocation)
{
    EXPECT_GE(support::fail_each_allocation([](reliht_context *context) {
                  sparse left = {}, right = {};
                  size_t partner[2];
                  reliht_status status = sparse_create(context, &left, 2, 3, 2);
                  if (!status)
                      status = sparse_create(context, &right, 2, 3, 2);
                  if (!status) {
                      sparse_append(&left, 0, 1, 1);
                      sparse_append(&left, 1, 2, 1);
                      sparse_append(&right, 1, 2, 1);
                      status = match_rows(context, &left, &right, left.columns, partner);
                  }
                  sparse_destroy(context, &left);
                  sparse_destroy(context, &right);
                  return status;
              }),
              12u);
}
