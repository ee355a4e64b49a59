// What a step of the factored model sees of a neuron: its rows of W1 and W2 and its generator,
// whether they are listed or drawn, and the products X v of a warp.
//
// A warp computes 32 T samples of one neuron, lane by lane, as a chain of fused multiply-adds from
// 0 in ascending order of the inputs: signs, and so patterns, agree with the CPU to the bit. Drawn
// rows are made in panels of 128 numbers, 4 a lane, and handed around by shuffles; they never see
// memory.
#ifndef RELIHT_KERNELS_FACTORED_ROWS_CUH
#define RELIHT_KERNELS_FACTORED_ROWS_CUH

#include "kernels/factored.h"
#include "kernels/grid.cuh"
#include "kernels/random.cuh"

namespace reliht
{

// The batch and the kind of a step. `neurons` can have gradients.
struct factored_view {
    device_batch batch;
    bool drawn_patterns, draw;
    uint32_t live;        // rows of both matrices that hold weights
    uint32_t hidden_live; // of W1: the first ones
    uint32_t neurons;
};

enum row_kind : uint32_t { ROW_LISTED, ROW_DENSE, ROW_UNIFORM, ROW_NORMAL, ROW_FEW };

// A row of weights or a generator. ROW_LISTED: values at columns; ROW_DENSE: [count] values;
// ROW_UNIFORM, ROW_NORMAL: drawn; ROW_FEW: the sparse generator.
struct factored_row {
    row_kind kind;
    uint32_t count;
    const uint32_t *column;
    const float *value;
};

enum : unsigned { HAS_HIDDEN = 1, HAS_OUTPUT = 2 }; // gradients that a step can give a neuron

struct factored_neuron {
    uint32_t neuron;
    factored_row hidden, output;
    unsigned flags;
};

// ---------------------------------------------------------------- lists

// First of rows[0 .. count) that isn't less than `row`.
__device__ inline uint32_t lower_bound(const uint32_t *rows, uint32_t count, uint32_t row)
{
    uint32_t first = 0;
    while (count) {
        uint32_t half = count / 2;
        if (rows[first + half] < row) {
            first += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return first;
}

__device__ inline factored_row listed_row(const device_sparse &list, uint32_t live, uint32_t row)
{
    uint32_t at = lower_bound(list.row, live, row);
    if (at == live || list.row[at] != row)
        return {ROW_LISTED, 0, nullptr, nullptr};
    uint32_t start = list.start[at];
    return {ROW_LISTED, list.start[at + 1] - start, list.column + start, list.value + start};
}

// Place of `column` in a listed row, or its count.
__device__ inline uint32_t find_column(const factored_row &row, uint32_t column)
{
    uint32_t at = lower_bound(row.column, row.count, column);
    return at < row.count && row.column[at] == column ? at : row.count;
}

__device__ __forceinline__ uint32_t output_row(const device_factored &self, uint32_t neuron)
{
    return self.hidden + neuron;
}

__device__ __forceinline__ bool is_output_row(const device_factored &self, uint32_t row)
{
    return row >= self.hidden;
}

// ---------------------------------------------------------------- neurons

__device__ inline factored_view view_of(const device_factored &self, const device_batch &batch,
                                        uint32_t kind)
{
    factored_view view;
    view.batch = batch;
    view.drawn_patterns = kind & FACTORED_DRAWN;
    view.draw = kind & FACTORED_DRAW;
    view.live = self.now.list.counts[COUNT_LIVE];
    view.hidden_live = lower_bound(self.now.list.row, view.live, self.hidden);
    view.neurons = view.drawn_patterns ? self.hidden
                   : view.draw         ? self.drawn_neurons
                                       : view.hidden_live;
    return view;
}

// Neuron number i of those that can have gradients.
__device__ __forceinline__ uint32_t neuron_number(const device_factored &self,
                                                  const factored_view &view, uint32_t i)
{
    return view.draw || view.drawn_patterns ? i : self.now.list.row[i];
}

// An empty row of a step that draws starts from uniform numbers, or from given ones.
__device__ inline factored_row drawn_row(const float *given, uint32_t neuron, uint32_t count)
{
    if (given)
        return {ROW_DENSE, count, nullptr, given + (size_t)neuron * count};
    return {ROW_UNIFORM, count, nullptr, nullptr};
}

// An empty neuron's pattern comes from the draw, but as published it has none.
__device__ inline factored_neuron open_neuron(const device_factored &self,
                                              const factored_view &view, uint32_t neuron)
{
    factored_neuron out;
    out.neuron = neuron;
    out.hidden = listed_row(self.now.list, view.live, neuron);
    out.output = listed_row(self.now.list, view.live, output_row(self, neuron));
    bool hidden = out.hidden.count, output = out.output.count;
    bool pattern =
        view.drawn_patterns || hidden || (view.draw && self.importance != FACTORED_GREEDY);
    hidden |= view.draw;
    output |= view.draw;
    out.flags = pattern ? (output ? HAS_HIDDEN : 0u) | (hidden ? HAS_OUTPUT : 0u) : 0u;
    if (view.draw && !out.hidden.count)
        out.hidden = drawn_row(self.first_hidden, neuron, self.inputs);
    if (view.draw && !out.output.count)
        out.output = drawn_row(self.first_output, neuron, self.outputs);
    return out;
}

__device__ inline factored_row open_generator(const device_factored &self, uint32_t neuron)
{
    if (neuron < self.given_rows)
        return listed_row(self.given, self.given.counts[COUNT_LIVE], neuron);
    return {self.gaussian ? ROW_NORMAL : ROW_FEW, self.inputs, nullptr, nullptr};
}

// ---------------------------------------------------------------- drawn numbers

// Numbers 4 * block .. 4 * block + 3 of a neuron's drawn row of W1 or W2.
__device__ inline float4 uniform_numbers(const device_factored &self, bool output, uint32_t neuron,
                                         uint32_t block)
{
    uint64_t row = (uint64_t)self.state->draws << 32 | neuron;
    uint4 word = random_block(self.seed, output ? RNG_EMPTY_OUTPUT : RNG_EMPTY_HIDDEN, row, block);
    float width = output ? self.output_width : self.hidden_width;
    return make_float4(
        width * (0x1p-31f * (float)word.x - 1.0f), width * (0x1p-31f * (float)word.y - 1.0f),
        width * (0x1p-31f * (float)word.z - 1.0f), width * (0x1p-31f * (float)word.w - 1.0f));
}

__device__ __forceinline__ float value_or_zero(const factored_row &row, uint32_t i)
{
    return i < row.count ? row.value[i] : 0.0f;
}

__device__ __forceinline__ float pick(const float4 &four, unsigned i)
{
    float low = i & 1 ? four.y : four.x, high = i & 1 ? four.w : four.z;
    return i & 2 ? high : low;
}

// Numbers 4 * block .. 4 * block + 3 of a row that isn't listed; of use up to its end.
__device__ inline float4 row_numbers(const device_factored &self, const factored_row &row,
                                     uint32_t neuron, bool output, uint32_t block)
{
    if (row.kind == ROW_UNIFORM)
        return uniform_numbers(self, output, neuron, block);
    if (row.kind == ROW_NORMAL)
        return random_normals(self.seed, RNG_GENERATOR, neuron, block);
    return make_float4(value_or_zero(row, 4 * block), value_or_zero(row, 4 * block + 1),
                       value_or_zero(row, 4 * block + 2), value_or_zero(row, 4 * block + 3));
}

// ---------------------------------------------------------------- products of a warp

// total[t] += weight * x[32 t] for the lane's samples; the first `groups` of them are there.
template <unsigned T>
__device__ __forceinline__ void add_term(float (&total)[T], float weight, const float *x,
                                         unsigned groups)
{
#pragma unroll
    for (unsigned t = 0; t < T; t++)
        if (t < groups)
            total[t] = __fmaf_rn(weight, x[t * WARP], total[t]);
}

template <unsigned T>
__device__ inline void add_listed(const factored_row &row, const float *x, size_t stride,
                                  unsigned groups, float (&total)[T])
{
    for (uint32_t k = 0; k < row.count; k++)
        add_term(total, row.value[k], x + row.column[k] * stride, groups);
}

template <unsigned T>
__device__ inline void add_few(const device_factored &self, uint32_t neuron, const float *x,
                               size_t stride, unsigned groups, float (&total)[T])
{
    drawn_generator h = draw_generator(self.seed, neuron, self.inputs);
#pragma unroll
    for (unsigned k = 0; k < DRAWN_NONZEROS; k++)
        if (k < h.count)
            add_term(total, h.value[k], x + h.column[k] * stride, groups);
}

template <unsigned T>
__device__ inline void add_panels(const device_factored &self, const factored_row &row,
                                  uint32_t neuron, bool output, const float *x, size_t stride,
                                  unsigned groups, float (&total)[T])
{
    for (uint32_t first = 0; first < row.count; first += 4 * WARP) {
        float4 number = row_numbers(self, row, neuron, output, first / 4 + lane_index());
        uint32_t end = min(row.count - first, 4 * WARP);
        for (uint32_t c = 0; c < end; c++)
            add_term(total, __shfl_sync(ALL_LANES, pick(number, c), c / 4),
                     x + (first + c) * stride, groups);
    }
}

// total <- sum_c row_c x[c * stride + 32 t] for t < groups: X v for a row of W1 or a generator, R v
// for a row of W2 (`output`).
template <unsigned T>
__device__ inline void combine_row(const device_factored &self, const factored_row &row,
                                   uint32_t neuron, bool output, const float *x, size_t stride,
                                   unsigned groups, float (&total)[T])
{
#pragma unroll
    for (unsigned t = 0; t < T; t++)
        total[t] = 0.0f;
    if (row.kind == ROW_LISTED)
        add_listed(row, x, stride, groups, total);
    else if (row.kind == ROW_FEW)
        add_few(self, neuron, x, stride, groups, total);
    else
        add_panels(self, row, neuron, output, x, stride, groups, total);
}

// a_j of samples first + 32 t + lane, t < groups. Returns the lane's pattern: bit t for sample t.
template <unsigned T>
__device__ inline unsigned activate(const device_factored &self, const factored_view &view,
                                    const factored_row &hidden, uint32_t neuron, uint32_t first,
                                    unsigned groups, float (&activation)[T])
{
    const float *x = view.batch.x + first + lane_index();
    size_t stride = view.batch.stride;
    float own[T];
    unsigned bits = 0;
    combine_row(self, hidden, neuron, false, x, stride, groups, activation);
    if (view.drawn_patterns)
        combine_row(self, open_generator(self, neuron), neuron, false, x, stride, groups, own);
#pragma unroll
    for (unsigned t = 0; t < T; t++) {
        bool active = (view.drawn_patterns ? own[t] : activation[t]) > 0.0f;
        bits |= (unsigned)active << t;
        activation[t] = active ? activation[t] : 0.0f;
    }
    return bits;
}

} // namespace reliht

#endif
