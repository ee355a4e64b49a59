// Random numbers and patterns on the device: equal to the host's to the last bit.
#include "cuda/arrays.h"
#include "parity/parity.h"

extern "C" {
#include "core/generator.h"
#include "core/rng.h"
}
#include "kernels/patterns.h"

#include <cmath>
#include <random>

using cuda_arrays::Array;
using cuda_arrays::Batch;
using cuda_arrays::Sparse;

namespace
{

TEST(CudaRandom, StreamsAndNormalsAreTheHosts)
{
    PARITY_NEEDS_BACKEND();
    const uint64_t seed = 0x123456789abcdef0u, row = 0x1000000007u;
    const uint32_t blocks = 600;
    Array<uint32_t> words(4 * blocks);
    Array<float> normals(4 * blocks);
    ASSERT_EQ(launch_random(nullptr, seed, RNG_INPUTS, row, blocks, words.data, normals.data),
              cudaSuccess);
    std::vector<uint32_t> found = words.read(4 * blocks);
    std::vector<float> found_normals = normals.read(4 * blocks);
    for (uint32_t i = 0; i < blocks; i++) {
        uint32_t expected[4];
        rng_block(seed, RNG_INPUTS, row, i, expected);
        for (uint32_t k = 0; k < 4; k++) {
            ASSERT_EQ(found[4 * i + k], expected[k]);
            ASSERT_EQ(found_normals[4 * i + k], rng_normal_of(expected[k]));
        }
    }
}

TEST(CudaRandom, SparseGeneratorsAreTheHosts)
{
    PARITY_NEEDS_BACKEND();
    for (uint32_t inputs : {1u, 2u, 3u, 4u, 100u}) {
        const uint32_t rows = 300;
        const uint64_t seed = 77 + inputs;
        Array<uint32_t> counts(rows), columns(rows * GENERATOR_NONZEROS);
        Array<float> values(rows * GENERATOR_NONZEROS);
        ASSERT_EQ(launch_drawn(nullptr, seed, rows, inputs, counts.data, columns.data, values.data),
                  cudaSuccess);
        std::vector<uint32_t> found_counts = counts.read(rows),
                              found_columns = columns.read(rows * GENERATOR_NONZEROS);
        std::vector<float> found_values = values.read(rows * GENERATOR_NONZEROS);
        for (uint32_t j = 0; j < rows; j++) {
            uint32_t expected_columns[GENERATOR_NONZEROS];
            float expected_values[GENERATOR_NONZEROS];
            size_t count =
                generator_draw_sparse(seed, j, inputs, expected_columns, expected_values);
            ASSERT_EQ(found_counts[j], count);
            for (size_t k = 0; k < count; k++) {
                ASSERT_EQ(found_columns[j * GENERATOR_NONZEROS + k], expected_columns[k]);
                ASSERT_EQ(found_values[j * GENERATOR_NONZEROS + k], expected_values[k]);
            }
        }
    }
}

struct PatternCase {
    uint32_t samples, inputs, neurons;
    bool gaussian;
    uint32_t given_rows;
    bool weights;
};

// 1[x . h > 0] by float fma over the nonzeros in ascending input.
std::vector<uint32_t> expected_words(const PatternCase &c, const std::vector<float> &x,
                                     uint64_t seed, const std::vector<entry> &matrix,
                                     uint32_t neuron, uint32_t stride)
{
    std::vector<float> h(c.inputs);
    if (c.weights || neuron < c.given_rows) {
        for (const entry &e : matrix)
            if (e.row == neuron)
                h[e.column] = e.value;
    } else if (c.gaussian) {
        generator_draw_gaussian(seed, neuron, c.inputs, h.data());
    } else {
        uint32_t columns[GENERATOR_NONZEROS];
        float values[GENERATOR_NONZEROS];
        size_t count = generator_draw_sparse(seed, neuron, c.inputs, columns, values);
        for (size_t k = 0; k < count; k++)
            h[columns[k]] = values[k];
    }
    std::vector<uint32_t> words(stride / 32);
    for (uint32_t i = 0; i < c.samples; i++) {
        float z = 0;
        for (uint32_t input = 0; input < c.inputs; input++)
            if (h[input] != 0)
                z = std::fma(h[input], x[(size_t)input * c.samples + i], z);
        words[i / 32] |= (uint32_t)(z > 0) << i % 32;
    }
    return words;
}

TEST(CudaPatterns, AreTheHostsForEveryKindOfGenerator)
{
    PARITY_NEEDS_BACKEND();
    const PatternCase cases[] = {
        {1, 1, 1, false, 0, false},      {33, 2, 3, false, 0, false},
        {1500, 20, 70, false, 0, false}, {200, 150, 40, false, 10, false},
        {70, 5, 17, true, 0, false},     {1100, 67, 33, true, 4, false},
        {130, 64, 16, true, 40, false},  {300, 30, 50, false, 0, true},
    };
    for (const PatternCase &c : cases) {
        SCOPED_TRACE(testing::Message() << c.samples << " samples, " << c.inputs << " inputs, "
                                        << c.neurons << " neurons");
        std::mt19937 random(c.samples);
        std::normal_distribution<float> normal;
        std::vector<float> x((size_t)c.samples * c.inputs);
        for (float &value : x)
            value = normal(random);
        std::vector<entry> matrix; // every third row is empty
        for (uint32_t j = 0; j < 2 * c.neurons; j++)
            for (uint32_t input = 0; input < c.inputs; input++)
                if (j % 3 && random() % 5 == 0)
                    matrix.push_back({normal(random), j, input});
        Batch batch(x, c.samples, c.inputs);
        Sparse sparse(matrix);
        device_generators source = {};
        source.hidden = 2 * c.neurons;
        source.inputs = c.inputs;
        source.use_weights = c.weights;
        source.gaussian = c.gaussian;
        source.seed = 5;
        source.weights = source.given = sparse.view;
        source.given_rows = c.given_rows;
        std::vector<uint32_t> neurons;
        for (uint32_t j = 0; j < c.neurons; j++)
            neurons.push_back(2 * c.neurons - 1 - 2 * j);
        Array<uint32_t> device_neurons(neurons);
        Array<uint32_t> words((size_t)c.neurons * batch.stride / 32);
        ASSERT_EQ(launch_patterns(nullptr, source, batch.view.data, device_neurons.data, c.neurons,
                                  words.data),
                  cudaSuccess);
        std::vector<uint32_t> found = words.read(words.count);
        for (uint32_t j = 0; j < c.neurons; j++) {
            std::vector<uint32_t> expected =
                expected_words(c, x, source.seed, matrix, neurons[j], batch.stride);
            for (size_t w = 0; w < expected.size(); w++)
                ASSERT_EQ(found[j * expected.size() + w], expected[w]) << "neuron " << neurons[j];
        }
    }
}

} // namespace
