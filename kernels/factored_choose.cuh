// The choice of the support of the factored model: top_s of the importance of all entries.
//     sketch       T += -alpha g for every entry, then importance = |query(T)|
//     magnitude    importance = |w - alpha g|
// Neurons go by in blocks, for which gradients by magnitude are held; the sketch's gradients go
// into it straight from the tiles. Entries whose gradient can't be nonzero in the step don't
// compete. Inputs that are zero in the whole batch compete only with the weights they have.
#ifndef RELIHT_KERNELS_FACTORED_CHOOSE_CUH
#define RELIHT_KERNELS_FACTORED_CHOOSE_CUH

#include "kernels/factored_gradient.cuh"
#include "kernels/factored_weights.cuh"
#include "kernels/select.cuh"

namespace reliht
{

// Shared memory of a choice, for one thing at a time.
union choice_scratch {
    tile_scratch tile;
    select_scratch select;
    double sums[BLOCK_WARPS];
};

// Sizes of the steps of W1 and W2.
struct step_sizes {
    double hidden, output;
};

// Neurons number first .. first + count - 1 of the step.
struct neuron_block {
    uint32_t first, count;
};

__device__ __forceinline__ neuron_block next_block(const device_factored &self,
                                                   const factored_view &view, uint32_t first)
{
    return {first, min(view.neurons - first, self.block_neurons)};
}

// ---------------------------------------------------------------- gradients of a block

// All gradients of a block, wave by wave. Begins after a barrier of the grid and ends with one.
static __device__ __noinline__ void block_gradients(grid_group &grid, const device_factored &self,
                                                    const factored_view &view,
                                                    const neuron_block &block, gradient_sink sink,
                                                    tile_scratch &scratch)
{
    for (uint32_t at = 0; at < block.count; at += self.wave_neurons) {
        uint32_t count = min(block.count - at, self.wave_neurons);
        wave_signals(self, view, block.first + at, count, at);
        grid.sync();
        sink.block_place = at;
        wave_gradients(self, view, block.first + at, count, sink, scratch);
        grid.sync();
    }
}

// ---------------------------------------------------------------- entries of a block

// Entries of a block, neuron by neuron: W1 by the active inputs, then W2; zero where a neuron has
// no gradient of those that are `wanted`.
struct block_entries {
    const device_factored &self;
    const factored_view &view;
    neuron_block block;
    unsigned wanted;
    uint32_t actives;

    __device__ uint32_t pieces() const
    {
        return block.count;
    }
    __device__ uint32_t entries() const
    {
        return actives + self.outputs;
    }
    __device__ bool competes(uint32_t piece, uint32_t i) const
    {
        return self.block_flags[piece] & wanted & (i < actives ? HAS_HIDDEN : HAS_OUTPUT);
    }
    __device__ void place(uint32_t piece, uint32_t i, uint32_t &row, uint32_t &column) const
    {
        uint32_t neuron = neuron_number(self, view, block.first + piece);
        bool output = i >= actives;
        row = output ? output_row(self, neuron) : neuron;
        column = output ? i - actives : self.active[i];
    }
};

// What the block holds of them.
struct held_entries : block_entries {
    __device__ float value(uint32_t piece, uint32_t i) const
    {
        return competes(piece, i) ? self.block[piece * (size_t)entries() + i] : 0.0f;
    }
};

// Their importance by the sketch.
struct sketched_entries : block_entries {
    __device__ float value(uint32_t piece, uint32_t i) const
    {
        if (!competes(piece, i))
            return 0.0f;
        const sketch_view sketch = {self.key, self.counter, self.width};
        uint32_t row, column;
        place(piece, i, row, column);
        return (float)sketch_importance(sketch, row, column);
    }
};

// Weights of W1 at inputs that are zero in the whole batch, which the blocks leave out.
struct idle_entries {
    const device_factored &self;
    const factored_view &view;
    bool sketched;

    __device__ uint32_t pieces() const
    {
        return (self.now.list.start[view.hidden_live] + BLOCK_THREADS - 1) / BLOCK_THREADS;
    }
    __device__ uint32_t entries() const
    {
        return BLOCK_THREADS;
    }
    __device__ void place(uint32_t piece, uint32_t i, uint32_t &row, uint32_t &column) const
    {
        const device_sparse &list = self.now.list;
        uint32_t at = piece * BLOCK_THREADS + i;
        row = list.row[lower_bound(list.start, view.hidden_live + 1, at + 1) - 1];
        column = list.column[at];
    }
    __device__ float value(uint32_t piece, uint32_t i) const
    {
        const device_sparse &list = self.now.list;
        uint32_t at = piece * BLOCK_THREADS + i, row, column;
        if (at >= list.start[view.hidden_live] || self.active_flag[list.column[at]])
            return 0.0f;
        place(piece, i, row, column);
        if (!sketched && row >= view.neurons && (view.draw || view.drawn_patterns))
            return 0.0f;
        if (!(open_neuron(self, view, row).flags & HAS_HIDDEN))
            return 0.0f;
        const sketch_view sketch = {self.key, self.counter, self.width};
        return sketched ? (float)sketch_importance(sketch, row, column) : list.value[at];
    }
};

// Offers what the block holds; begins and ends as select_offer_wave.
static __device__ __noinline__ void offer_held(grid_group &grid, const device_select &select,
                                               const held_entries &entries, select_scratch &scratch)
{
    select_offer_wave(grid, select, entries, scratch);
}

// chosen <- the best of what was offered; false if something wasn't finite. Begins after a barrier
// of the grid and ends with one.
static __device__ __noinline__ bool finish_choice(grid_group &grid, const device_factored &self,
                                                  const device_select &select,
                                                  select_scratch &scratch)
{
    uint64_t invalid = select.scalars->invalid;
    if (invalid == SELECT_VALID) {
        select_finish(grid, select, self.chosen, scratch);
        return true;
    }
    if (thread_of_grid() == 0) {
        uint64_t place = invalid >> 1;
        uint32_t row = (uint32_t)(place >> select.column_bits);
        uint32_t column = (uint32_t)(place & ((uint64_t(1) << select.column_bits) - 1));
        bool output = is_output_row(self, row);
        self.state->invalid =
            (uint64_t)(output ? row - self.hidden : row) << 33 | (uint64_t)output << 32 | column;
        self.state->failure = invalid & 1 ? FACTORED_NOT_A_NUMBER : FACTORED_INFINITE;
    }
    return false;
}

// ---------------------------------------------------------------- first step

// Sizes of the updates that importance adds up.
__device__ inline step_sizes importance_sizes(const device_factored &self, double step_size)
{
    if (!self.automatic)
        return {step_size, step_size};
    double weight = self.importance == FACTORED_SKETCH ? self.output_weight : 1.0;
    return {step_size * inverse_root(self.state->mean_square[0]),
            weight * step_size * inverse_root(self.state->mean_square[1])};
}

// Mean square (where wanted) and largest magnitude of what was chosen. By one block.
__device__ inline void measure_chosen(const device_factored &self, unsigned half, bool want_scale,
                                      double *scratch)
{
    uint32_t count = self.chosen.counts[COUNT_NNZ];
    double sum = 0;
    if (threadIdx.x == 0)
        self.state->largest[half] = 0;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < count; i += BLOCK_THREADS) {
        float magnitude = fabsf(self.chosen.value[i]);
        sum += (double)magnitude * (double)magnitude / (double)count;
        atomicMax(&self.state->largest[half], __float_as_uint(magnitude));
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0 && want_scale)
        self.state->mean_square[half] = sum;
}

// The sketch's scale: a magnitude of the largest update becomes 2^30 to 2^31 quanta.
__device__ inline void scale_sketch(const device_factored &self, double step_size)
{
    step_sizes sizes = importance_sizes(self, step_size);
    factored_state &state = *self.state;
    float update = (float)fmax(sizes.hidden * (double)__uint_as_float(state.largest[0]),
                               sizes.output * (double)__uint_as_float(state.largest[1]));
    if (!(update > 0))
        return;
    state.scaled = 1;
    state.factor = scalbn(1.0, 30 - ilogbf(update));
}

// The first step has no support to measure its gradient by: it takes the nnz largest entries of W1
// and of W2. Of many neurons the first block stands for all, with its share of nnz. False if
// something wasn't finite. Begins after a barrier of the grid and ends with one.
__device__ inline bool measure_first(grid_group &grid, const device_factored &self,
                                     const factored_view &view, double step_size,
                                     choice_scratch &scratch)
{
    const factored_state &state = *self.state;
    bool want_sketch = self.importance == FACTORED_SKETCH && !state.scaled;
    bool want_scale = self.automatic && state.mean_square[0] + state.mean_square[1] == 0;
    if ((!want_sketch && !want_scale) || !view.neurons)
        return true;
    const neuron_block block = next_block(self, view, 0);
    const gradient_sink sink = {SINK_STORE, 0, 0, 0};
    block_gradients(grid, self, view, block, sink, scratch.tile);
    device_select select = self.select;
    double share = (double)self.nnz * (double)block.count / (double)view.neurons;
    select.keep = share > 1 ? (uint32_t)share : 1;
    for (unsigned half = 0; half < 2; half++) {
        select_reset(select);
        grid.sync();
        const held_entries entries = {
            {self, view, block, half ? HAS_OUTPUT : HAS_HIDDEN, state.actives}};
        offer_held(grid, select, entries, scratch.select);
        if (!finish_choice(grid, self, select, scratch.select))
            return false;
        if (blockIdx.x == 0)
            measure_chosen(self, half, want_scale, scratch.sums);
        grid.sync();
    }
    if (thread_of_grid() == 0 && want_sketch)
        scale_sketch(self, step_size);
    grid.sync();
    return true;
}

// ---------------------------------------------------------------- sketch

// Whether a counter has grown beyond the limit.
__device__ inline void check_counters(const device_factored &self)
{
    bool large = false;
    for (uint64_t i = thread_of_grid(); i < (uint64_t)SKETCH_ROWS * self.width;
         i += threads_of_grid()) {
        int64_t counter = self.counter[i];
        large |= counter >= SKETCH_LIMIT || counter <= -SKETCH_LIMIT;
    }
    if (large)
        atomicOr(&self.state->overflow, OVERFLOW_COUNTER);
}

// Whether the updates of the step are in order; if not, says what isn't.
__device__ inline bool check_updates(const device_factored &self)
{
    factored_state &state = *self.state;
    uint64_t high = state.quanta[0] + (state.quanta[1] >> 32);
    bool updates = state.overflow & OVERFLOW_UPDATE || high >= (uint64_t)SKETCH_LIMIT >> 32;
    if (!updates && !state.overflow)
        return true;
    uint32_t failure = state.invalid != UINT64_MAX ? FACTORED_GRADIENT
                       : updates                   ? FACTORED_SATURATED
                                                   : FACTORED_COUNTER_SATURATED;
    if (thread_of_grid() == 0)
        state.failure = failure;
    return false;
}

__device__ inline bool add_updates(grid_group &grid, const device_factored &self,
                                   const factored_view &view, const step_sizes &sizes,
                                   choice_scratch &scratch)
{
    double factor = self.state->factor;
    const gradient_sink sink = {SINK_SKETCH, 0, sizes.hidden * factor, sizes.output * factor};
    for (uint32_t first = 0; first < view.neurons; first += self.block_neurons)
        block_gradients(grid, self, view, next_block(self, view, first), sink, scratch.tile);
    check_counters(self);
    select_reset(self.select);
    grid.sync();
    return check_updates(self);
}

__device__ inline void flag_neurons(const device_factored &self, const factored_view &view,
                                    const neuron_block &block)
{
    for (uint32_t i = thread_of_grid(); i < block.count; i += threads_of_grid())
        self.block_flags[i] =
            open_neuron(self, view, neuron_number(self, view, block.first + i)).flags;
}

__device__ inline bool offer_importances(grid_group &grid, const device_factored &self,
                                         const factored_view &view, const step_sizes &sizes,
                                         choice_scratch &scratch)
{
    if (!add_updates(grid, self, view, sizes, scratch))
        return false;
    for (uint32_t first = 0; first < view.neurons; first += self.block_neurons) {
        const neuron_block block = next_block(self, view, first);
        if (view.neurons > block.count) { // otherwise the flags are still those of the updates
            flag_neurons(self, view, block);
            grid.sync();
        }
        const sketched_entries entries = {
            {self, view, block, HAS_HIDDEN | HAS_OUTPUT, self.state->actives}};
        select_offer_wave(grid, self.select, entries, scratch.select);
    }
    return true;
}

// ---------------------------------------------------------------- magnitude

// block[entry] = -alpha g becomes w - alpha g where there is a weight.
__device__ inline void add_weights(const device_factored &self, const factored_view &view,
                                   const neuron_block &block)
{
    size_t row_length = self.state->actives + self.outputs;
    for (uint32_t place = first_warp(); place < block.count; place += all_warps()) {
        unsigned flags = self.block_flags[place];
        factored_neuron neuron =
            open_neuron(self, view, neuron_number(self, view, block.first + place));
        float *row = self.block + place * row_length;
        factored_row hidden = listed_row(self.now.list, view.live, neuron.neuron);
        for (uint32_t k = lane_index(); flags & HAS_HIDDEN && k < hidden.count; k += WARP)
            if (self.active_flag[hidden.column[k]])
                row[lower_bound(self.active, self.state->actives, hidden.column[k])] +=
                    hidden.value[k];
        factored_row output = listed_row(self.now.list, view.live, output_row(self, neuron.neuron));
        for (uint32_t k = lane_index(); flags & HAS_OUTPUT && k < output.count; k += WARP)
            row[self.state->actives + output.column[k]] += output.value[k];
    }
}

__device__ inline void offer_magnitudes(grid_group &grid, const device_factored &self,
                                        const factored_view &view, const step_sizes &sizes,
                                        choice_scratch &scratch)
{
    const gradient_sink sink = {SINK_STEPPED, 0, sizes.hidden, sizes.output};
    select_reset(self.select);
    grid.sync();
    for (uint32_t first = 0; first < view.neurons; first += self.block_neurons) {
        const neuron_block block = next_block(self, view, first);
        block_gradients(grid, self, view, block, sink, scratch.tile);
        add_weights(self, view, block);
        grid.sync();
        const held_entries entries = {
            {self, view, block, HAS_HIDDEN | HAS_OUTPUT, self.state->actives}};
        offer_held(grid, self.select, entries, scratch.select);
    }
}

// chosen <- the new support by the model's importance. False if the step fails; state->failure says
// why. Begins after a barrier of the grid and ends with one.
__device__ inline bool choose_support(grid_group &grid, const device_factored &self,
                                      const factored_view &view, double step_size,
                                      choice_scratch &scratch)
{
    if (!measure_first(grid, self, view, step_size, scratch))
        return false;
    const step_sizes sizes = importance_sizes(self, step_size);
    bool sketched = self.importance == FACTORED_SKETCH;
    if (!sketched)
        offer_magnitudes(grid, self, view, sizes, scratch);
    else if (!offer_importances(grid, self, view, sizes, scratch))
        return false;
    select_offer_wave(grid, self.select, idle_entries{self, view, sketched}, scratch.select);
    return finish_choice(grid, self, self.select, scratch.select);
}

// ---------------------------------------------------------------- candidates

__device__ inline double row_norm(const factored_row &row)
{
    double sum = 0;
    for (uint32_t k = lane_index(); k < row.count; k += WARP)
        sum += (double)row.value[k] * (double)row.value[k];
    return sqrt(warp_sum(sum));
}

// One side of a neuron: gradients over the norm of the other side, zero where there is a weight.
__device__ inline void scale_free(float *gradient, const uint32_t *columns, uint32_t count,
                                  const factored_row &weights, double norm)
{
    for (uint32_t i = lane_index(); i < count; i += WARP) {
        uint32_t column = columns ? columns[i] : i;
        bool taken = find_column(weights, column) < weights.count;
        gradient[i] = taken ? 0.0f : (float)((double)gradient[i] / norm);
    }
}

// The block's gradients become candidates: see backend.h.
__device__ inline void scale_block(const device_factored &self, const factored_view &view,
                                   const neuron_block &block)
{
    uint32_t actives = self.state->actives;
    for (uint32_t place = first_warp(); place < block.count; place += all_warps()) {
        unsigned flags = self.block_flags[place];
        factored_neuron neuron =
            open_neuron(self, view, neuron_number(self, view, block.first + place));
        float *row = self.block + place * (size_t)(actives + self.outputs);
        double hidden = row_norm(neuron.hidden), output = row_norm(neuron.output);
        if (flags & HAS_HIDDEN)
            scale_free(row, self.active, actives, neuron.hidden, output);
        if (flags & HAS_OUTPUT)
            scale_free(row + actives, nullptr, self.outputs, neuron.output, hidden);
    }
}

// chosen <- the `count` best candidates. Begins and ends as choose_support.
__device__ inline void choose_candidates(grid_group &grid, const device_factored &self,
                                         const factored_view &view, uint32_t count,
                                         choice_scratch &scratch)
{
    const gradient_sink sink = {SINK_STORE, 0, 0, 0};
    device_select select = self.select;
    select.keep = count;
    select_reset(select);
    grid.sync();
    for (uint32_t first = 0; first < view.neurons; first += self.block_neurons) {
        const neuron_block block = next_block(self, view, first);
        block_gradients(grid, self, view, block, sink, scratch.tile);
        scale_block(self, view, block);
        grid.sync();
        const held_entries entries = {
            {self, view, block, HAS_HIDDEN | HAS_OUTPUT, self.state->actives}};
        offer_held(grid, select, entries, scratch.select);
    }
    finish_choice(grid, self, select, scratch.select);
}

} // namespace reliht

#endif
