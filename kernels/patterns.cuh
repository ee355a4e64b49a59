// Patterns 1[X h_j > 0] by warp ballot: a lane is a sample, so a ballot is a word of 32 samples.
//
// Sparse generators (drawn, given, weights) are sums of a few columns of X; dense Gaussian ones are
// drawn again in shared memory, panel by panel, and never stored.
#ifndef RELIHT_KERNELS_PATTERNS_CUH
#define RELIHT_KERNELS_PATTERNS_CUH

#include "kernels/grid.cuh"
#include "kernels/patterns.h"
#include "kernels/random.cuh"

namespace reliht
{

constexpr uint32_t WORD_SAMPLES = 32;

// Position in matrix.row[] of `row`, or UINT32_MAX.
__device__ __forceinline__ uint32_t find_row(const device_sparse &matrix, uint32_t row)
{
    uint32_t first = 0, last = matrix.counts[COUNT_LIVE];
    while (first < last) {
        uint32_t middle = first + (last - first) / 2;
        if (matrix.row[middle] < row)
            first = middle + 1;
        else
            last = middle;
    }
    return first < matrix.counts[COUNT_LIVE] && matrix.row[first] == row ? first : UINT32_MAX;
}

enum generator_kind : uint32_t {
    GENERATOR_DRAWN,    // up to three nonzeros, held here; the rest is padded with 0 * x
    GENERATOR_WEIGHTS,  // entries first .. first + count - 1 of generators.weights
    GENERATOR_GIVEN,    // ... of generators.given
    GENERATOR_GAUSSIAN, // to be drawn
    GENERATOR_STORED,   // its words are in memory already
};

// Generator of a neuron: what a warp reads to make a word of its pattern.
struct tile_generator {
    generator_kind kind;
    uint32_t place[DRAWN_NONZEROS]; // drawn: of its inputs; in a matrix: first entry, count
    float value[DRAWN_NONZEROS];    // drawn
};

// The same in shared memory, read by two vector loads.
struct alignas(16) tile_generator_slot {
    uint4 low, high;
};

__device__ __forceinline__ void put_generator(tile_generator_slot &slot, const tile_generator &h)
{
    slot.low = make_uint4(h.place[0], __float_as_uint(h.value[0]), h.place[1],
                          __float_as_uint(h.value[1]));
    slot.high = make_uint4(h.place[2], __float_as_uint(h.value[2]), h.kind, 0);
}

__device__ __forceinline__ tile_generator get_generator(const tile_generator_slot &slot)
{
    uint4 low = slot.low, high = slot.high;
    return {(generator_kind)high.z,
            {low.x, low.z, high.x},
            {__uint_as_float(low.y), __uint_as_float(low.w), __uint_as_float(high.y)}};
}

// The generator of a neuron, by one thread; `place` turns an input into what is stored for it.
template <typename Place>
__device__ tile_generator find_generator(const device_generators &source, uint32_t neuron,
                                         const Place &place)
{
    tile_generator h = {};
    bool given = !source.use_weights && neuron < source.given_rows;
    if (source.use_weights || given) {
        const device_sparse matrix = given ? source.given : source.weights;
        uint32_t at = find_row(matrix, neuron);
        h.kind = given ? GENERATOR_GIVEN : GENERATOR_WEIGHTS;
        if (at != UINT32_MAX) {
            h.place[0] = matrix.start[at];
            h.place[1] = matrix.start[at + 1] - matrix.start[at];
        }
    } else if (source.gaussian) {
        h.kind = GENERATOR_GAUSSIAN;
    } else {
        drawn_generator drawn = draw_generator(source.seed, neuron, source.inputs);
        h.kind = GENERATOR_DRAWN;
        for (uint32_t i = 0; i < DRAWN_NONZEROS; i++) {
            h.place[i] = place(drawn.column[i]);
            h.value[i] = drawn.value[i];
        }
    }
    return h;
}

// A word of the pattern of one neuron, by a warp; x(place): the lane's sample of a drawn input. A
// padded term adds 0 * x = 0 to the sum: no bit changes.
template <typename X>
__device__ __forceinline__ uint32_t drawn_word(const tile_generator &h, const X &x)
{
    float z = 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < DRAWN_NONZEROS; i++)
        z = __fmaf_rn(h.value[i], x(h.place[i]), z);
    return __ballot_sync(ALL_LANES, z > 0.0f);
}

// The same for all kinds that are sparse; column(input): the lane's sample of any input.
template <typename X, typename Column>
__device__ __forceinline__ uint32_t pattern_word(const device_generators &source,
                                                 const tile_generator &h, const X &x,
                                                 const Column &column)
{
    if (h.kind == GENERATOR_DRAWN)
        return drawn_word(h, x);
    bool weights = h.kind == GENERATOR_WEIGHTS;
    const uint32_t *columns = weights ? source.weights.column : source.given.column;
    const float *values = weights ? source.weights.value : source.given.value;
    float z = 0.0f;
#pragma unroll 1
    for (uint32_t k = h.place[0]; k < h.place[0] + h.place[1]; k++)
        z = __fmaf_rn(values[k], column(columns[k]), z);
    return __ballot_sync(ALL_LANES, z > 0.0f);
}

// ---------------------------------------------------------------- patterns in memory

// An item of work: so many neurons and words.
constexpr uint32_t PATTERN_NEURONS = 32, PATTERN_WORDS = 32;
// Gaussian generators at once, inputs of a panel of them, samples of a thread.
constexpr uint32_t PANEL_NEURONS = 16, PANEL_INPUTS = 64, PANEL_SAMPLES = 4;
static_assert(PANEL_NEURONS * PANEL_INPUTS == 4 * BLOCK_THREADS, "a Philox block for every thread");
static_assert(PATTERN_WORDS * WORD_SAMPLES == PANEL_SAMPLES * BLOCK_THREADS, "all in one pass");

struct pattern_scratch {
    tile_generator_slot generator[PATTERN_NEURONS];
    uint32_t neuron[PATTERN_NEURONS];
    alignas(16) float panel[PANEL_INPUTS][PANEL_NEURONS];
};

// panel <- inputs first_input .. + PANEL_INPUTS - 1 of Gaussian generators.
__device__ __forceinline__ void draw_panel(const device_generators &source, const uint32_t *neurons,
                                           uint32_t first_input, float (*panel)[PANEL_NEURONS])
{
    uint32_t i = threadIdx.x % PANEL_NEURONS, block = threadIdx.x / PANEL_NEURONS;
    float4 normals =
        random_normals(source.seed, RNG_GENERATOR, neurons[i], first_input / 4 + block);
    panel[4 * block][i] = normals.x;
    panel[4 * block + 1][i] = normals.y;
    panel[4 * block + 2][i] = normals.z;
    panel[4 * block + 3][i] = normals.w;
}

// Words first_word .. + PATTERN_WORDS - 1 of up to PANEL_NEURONS Gaussian generators; `mask` says
// which of them are Gaussian.
__device__ inline void gaussian_words(const device_generators &source, const device_batch &data,
                                      uint32_t mask, uint32_t first_word, uint32_t group,
                                      uint32_t *words, uint32_t row_words, pattern_scratch &scratch)
{
    float z[PANEL_SAMPLES][PANEL_NEURONS] = {};
    uint32_t sample = first_word * WORD_SAMPLES + threadIdx.x;
    for (uint32_t first = 0; first < source.inputs; first += PANEL_INPUTS) {
        __syncthreads();
        draw_panel(source, scratch.neuron + group, first, scratch.panel);
        __syncthreads();
        uint32_t inputs = min(PANEL_INPUTS, source.inputs - first);
        for (uint32_t c = 0; c < inputs; c++) {
            const float *x = data.x + (size_t)(first + c) * data.stride;
            float sampled[PANEL_SAMPLES];
#pragma unroll
            for (uint32_t q = 0; q < PANEL_SAMPLES; q++) {
                uint32_t at = sample + q * BLOCK_THREADS;
                sampled[q] = at < data.stride ? x[at] : 0.0f;
            }
#pragma unroll
            for (uint32_t i = 0; i < PANEL_NEURONS; i += 4) {
                float4 h = *(const float4 *)&scratch.panel[c][i];
#pragma unroll
                for (uint32_t q = 0; q < PANEL_SAMPLES; q++) {
                    z[q][i] = __fmaf_rn(h.x, sampled[q], z[q][i]);
                    z[q][i + 1] = __fmaf_rn(h.y, sampled[q], z[q][i + 1]);
                    z[q][i + 2] = __fmaf_rn(h.z, sampled[q], z[q][i + 2]);
                    z[q][i + 3] = __fmaf_rn(h.w, sampled[q], z[q][i + 3]);
                }
            }
        }
    }
#pragma unroll
    for (uint32_t q = 0; q < PANEL_SAMPLES; q++) {
        uint32_t word = 0;
#pragma unroll
        for (uint32_t i = 0; i < PANEL_NEURONS; i++) {
            uint32_t bits = __ballot_sync(ALL_LANES, z[q][i] > 0.0f);
            word = lane_index() == i ? bits : word;
        }
        uint32_t at = first_word + q * BLOCK_WARPS + warp_index();
        if (at < row_words && lane_index() < PANEL_NEURONS && (mask >> lane_index() & 1))
            words[(size_t)lane_index() * row_words + at] = word;
    }
}

// The same for the other generators of an item: a warp makes 32 words of a neuron and writes them
// together.
__device__ inline void sparse_words(const device_generators &source, const device_batch &data,
                                    uint32_t count, uint32_t first_word, uint32_t *words,
                                    uint32_t row_words, pattern_scratch &scratch)
{
    uint32_t last = min(PATTERN_WORDS, row_words - first_word);
    const float *x = data.x + first_word * WORD_SAMPLES + lane_index();
    for (uint32_t i = warp_index(); i < count; i += BLOCK_WARPS) {
        tile_generator h = get_generator(scratch.generator[i]);
        if (h.kind == GENERATOR_GAUSSIAN)
            continue;
        uint32_t word = 0;
#pragma unroll 4
        for (uint32_t w = 0; w < last; w++) {
            auto column = [&](uint32_t input) {
                return x[(size_t)input * data.stride + w * WORD_SAMPLES];
            };
            uint32_t bits = pattern_word(source, h, column, column);
            word = lane_index() == w ? bits : word;
        }
        if (lane_index() < last)
            words[(size_t)i * row_words + first_word + lane_index()] = word;
    }
}

// words [count, row_words] <- patterns of the neurons neuron_at(0 .. count - 1), by all blocks.
// row_words = stride / 32. A barrier of the grid must follow before they are read.
template <typename Neurons>
__device__ void store_patterns(const device_generators &source, const device_batch &data,
                               const Neurons &neuron_at, uint32_t count, uint32_t *words,
                               pattern_scratch &scratch)
{
    uint32_t row_words = data.stride / WORD_SAMPLES;
    uint32_t groups = (count + PATTERN_NEURONS - 1) / PATTERN_NEURONS;
    uint32_t spans = (row_words + PATTERN_WORDS - 1) / PATTERN_WORDS;
    for (uint64_t item = blockIdx.x; item < (uint64_t)groups * spans; item += gridDim.x) {
        uint32_t group = (uint32_t)(item / spans), span = (uint32_t)(item % spans);
        uint32_t first = group * PATTERN_NEURONS, neurons = min(PATTERN_NEURONS, count - first);
        uint32_t *out = words + (size_t)first * row_words;
        __syncthreads();
        if (warp_index() == 0) {
            uint32_t i = min(lane_index(), neurons - 1);
            scratch.neuron[lane_index()] = neuron_at(first + i);
            put_generator(scratch.generator[lane_index()],
                          find_generator(source, scratch.neuron[lane_index()],
                                         [](uint32_t input) { return input; }));
        }
        __syncthreads();
        sparse_words(source, data, neurons, span * PATTERN_WORDS, out, row_words, scratch);
        if (source.use_weights || !source.gaussian)
            continue;
        uint32_t dense = __ballot_sync(ALL_LANES, lane_index() < neurons &&
                                                      scratch.generator[lane_index()].high.z ==
                                                          GENERATOR_GAUSSIAN);
        for (uint32_t i = 0; i < neurons; i += PANEL_NEURONS) {
            uint32_t mask = dense >> i & ((1u << PANEL_NEURONS) - 1);
            if (mask)
                gaussian_words(source, data, mask, span * PATTERN_WORDS, i,
                               out + (size_t)i * row_words, row_words, scratch);
        }
    }
    __syncthreads();
}

} // namespace reliht

#endif
