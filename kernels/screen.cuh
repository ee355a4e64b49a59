// Screening without loss in the sweep of a step: host/backend/cpu/screen.h says what and why.
#ifndef RELIHT_KERNELS_SCREEN_CUH
#define RELIHT_KERNELS_SCREEN_CUH

#include "backend/screen_rules.h"
#include "kernels/fused.h"
#include "kernels/select.cuh"
#include "kernels/support.cuh"

namespace reliht
{

// Roundings a term of a gradient passes through, besides one for every sample: on the plain path as
// many additions as there are samples; on the tensor cores 96 truncating ones (two each) and one
// for every 32 samples; then one for every split.
constexpr double SCREEN_ROUNDINGS = 600;

struct screen_view {
    grid_group &grid;
    const device_screen &self;
    const device_sweep &sweep;
    const device_batch &data;
    const device_select &select;
    double *sums; // [stride / 32] scratch
    support_scratch &scratch;
};

// The neurons without weights that are swept.
struct screen_rest {
    uint32_t count;
    const uint32_t *list; // NULL: all of them
};

// state.column <- C^2.
__device__ inline void longest_column(const screen_view &view)
{
    for (uint32_t c = blockIdx.x * BLOCK_WARPS + warp_index(); c < view.data.inputs;
         c += gridDim.x * BLOCK_WARPS) {
        const float *x = view.data.x + (size_t)c * view.data.stride;
        double squares = 0;
        for (uint32_t i = lane_index(); i < view.data.samples; i += WARP)
            squares = fma((double)x[i], (double)x[i], squares);
        squares = warp_sum(squares);
        if (lane_index() == 0) // of numbers that aren't negative the bits are ordered as they are
            atomicMax((unsigned long long *)&view.self.state->column,
                      (unsigned long long)__double_as_longlong(squares));
    }
}

// sums <- |r - r of the last sweep|^2 by 32 samples; this r is the next one's last.
__device__ inline void measure_path(const screen_view &view)
{
    for (uint32_t word = blockIdx.x * BLOCK_WARPS + warp_index(); word < view.data.stride / WARP;
         word += gridDim.x * BLOCK_WARPS) {
        uint32_t i = word * WARP + lane_index();
        double difference = (double)view.sweep.residual[i] - (double)view.self.residual[i];
        double squares = warp_sum(difference * difference);
        view.self.residual[i] = view.sweep.residual[i];
        if (lane_index() == 0)
            view.sums[word] = squares;
    }
}

// Before a sweep; squares: |r|^2. Forgets the bounds of the neurons with weights. Begins and ends
// with a barrier of the grid.
__device__ inline screen_facts screen_begin(const screen_view &view, double squares)
{
    const device_screen &self = view.self;
    const bool history = self.kind == SCREEN_HISTORY;
    const screen_state before = *self.state;
    view.grid.sync();
    if (thread_of_grid() == 0) {
        self.state->listed = 0;
        if (!history || !before.swept)
            self.state->column = 0;
    }
    view.grid.sync();
    if (!history || !before.swept)
        longest_column(view);
    if (history) {
        measure_path(view);
        uint32_t live = view.sweep.weights.counts[COUNT_LIVE];
        for (uint32_t j = thread_of_grid(); j < live; j += threads_of_grid())
            self.bound[view.sweep.weights.row[j]] = -INFINITY;
    }
    view.grid.sync();
    screen_facts facts;
    facts.column = sqrt(__longlong_as_double((long long)self.state->column)) * SCREEN_SAFE;
    facts.norm = sqrt(squares) * (1 + 1e-6);
    facts.largest = fmax(before.largest, facts.norm);
    facts.path = before.path;
    facts.gamma = screen_gamma(SCREEN_ROUNDINGS + view.data.samples);
    if (history && before.swept) {
        double moved = support_total(view.sums, view.data.stride / WARP, view.scratch);
        facts.path = (facts.path + sqrt(moved) * SCREEN_SAFE) * SCREEN_SAFE;
    }
    if (thread_of_grid() == 0) {
        self.state->path = facts.path;
        self.state->largest = facts.largest;
        self.state->swept = 1;
    }
    view.grid.sync();
    return facts;
}

__device__ inline bool has_weights(const device_sparse &weights, uint32_t neuron)
{
    uint32_t first = 0, last = weights.counts[COUNT_LIVE];
    while (first < last) {
        uint32_t middle = first + (last - first) / 2;
        if (weights.row[middle] < neuron)
            first = middle + 1;
        else
            last = middle;
    }
    return first < weights.counts[COUNT_LIVE] && weights.row[first] == neuron;
}

// After the neurons with weights and a cut: what the others can still offer. Ends with a barrier of
// the grid.
__device__ inline screen_rest screen_decide(const screen_view &view, const screen_facts &facts)
{
    const device_screen &self = view.self;
    const float step = (float)*view.sweep.step_size;
    const float theta = __uint_as_float(view.select.scalars->threshold);
    const uint32_t hidden = view.sweep.generators.hidden;
    if (screen_all(&facts, step, theta, view.data.samples))
        return {0, nullptr};
    if (self.kind != SCREEN_HISTORY)
        return {hidden - view.sweep.weights.counts[COUNT_LIVE], nullptr};
    const double limit = screen_limit(&facts, step, theta, view.data.samples);
    for (uint32_t j = thread_of_grid(); j < hidden; j += threads_of_grid())
        if (!((double)self.bound[j] < limit) && !has_weights(view.sweep.weights, j)) {
            self.list[atomicAdd(&self.state->listed, 1u)] = j;
            self.bound[j] = -INFINITY;
        }
    view.grid.sync();
    return {self.state->listed, self.list};
}

} // namespace reliht

#endif
