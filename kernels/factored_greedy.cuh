// The published choice of the support of the factored model, for comparison: neuron by neuron, W1
// then W2 of each,
//     sketch += -alpha g  (float32 counters, ascending entries)
//     the row's old weights (or first draws) less alpha g join the union of the support
//     the union is cut to the nnz most important by |query|, on ties the higher entry stays
// Greedy and sequential by nature: every cut sees a half-updated sketch. One block does it, so it
// is slow on any GPU. Entries are numbered row by row, hidden weights first.
#ifndef RELIHT_KERNELS_FACTORED_GREEDY_CUH
#define RELIHT_KERNELS_FACTORED_GREEDY_CUH

#include "kernels/factored_choose.cuh"

namespace reliht
{

struct greedy_scratch {
    uint32_t words[BLOCK_WARPS];
    uint32_t bins[256];
    uint32_t found[2];
};

__device__ __forceinline__ uint64_t hidden_entries(const device_factored &self)
{
    return (uint64_t)self.hidden * self.inputs;
}

__device__ __forceinline__ uint64_t entry_number(const device_factored &self, uint32_t row,
                                                 uint32_t column)
{
    return is_output_row(self, row)
               ? hidden_entries(self) + (uint64_t)(row - self.hidden) * self.outputs + column
               : (uint64_t)row * self.inputs + column;
}

// ---------------------------------------------------------------- sketch

// Counter and sign of an entry in row r of the sketch.
__device__ inline float *find_counter(const device_factored &self, uint64_t index, unsigned r,
                                      double &sign)
{
    const device_greedy &greedy = self.greedy;
    float *counter = greedy.counter + (size_t)r * self.width;
    if (greedy.hashes) {
        sign = greedy.signs[index * SKETCH_ROWS + r];
        return counter + greedy.hashes[index * SKETCH_ROWS + r];
    }
    uint32_t hash =
        sketch_hash(&self.key[r], (uint32_t)(index / UINT32_MAX), (uint32_t)(index % UINT32_MAX));
    sign = (double)sketch_sign(hash);
    return counter + sketch_slot(hash, self.width);
}

__device__ inline double importance_of(const device_factored &self, uint64_t index)
{
    double value[SKETCH_ROWS];
    for (unsigned r = 0; r < SKETCH_ROWS; r++) {
        double sign;
        const float *counter = find_counter(self, index, r, sign);
        value[r] = sign * (double)*counter;
    }
    double low = fmax(fmin(value[0], value[1]), fmin(value[2], value[3]));
    double high = fmin(fmax(value[0], value[1]), fmax(value[2], value[3]));
    return fabs(0.5 * (low + high));
}

// The row's updates enter the sketch in order, each rounded to float once; a thread for each row of
// the sketch.
__device__ inline void enter_updates(const device_factored &self, uint64_t base, uint32_t count)
{
    unsigned r = threadIdx.x;
    if (r >= SKETCH_ROWS)
        return;
    for (uint32_t i = 0; i < count; i++) {
        double sign;
        float update = self.greedy.update[i];
        if (update == 0.0f)
            continue;
        float *counter = find_counter(self, base + i, r, sign);
        *counter = (float)((double)*counter + sign * (double)update);
    }
}

// ---------------------------------------------------------------- support

// First of the support's entries that isn't less than `index`.
__device__ inline uint32_t find_entry(const uint64_t *entries, uint32_t count, uint64_t index)
{
    uint32_t first = 0;
    while (count) {
        uint32_t half = count / 2;
        if (entries[first + half] < index) {
            first += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return first;
}

// The support with the row's stepped values in it, into merged; entries that aren't in it yet join
// if they aren't zero. Returns how many there are.
__device__ inline uint32_t merge_row(const device_factored &self, uint32_t support, uint64_t base,
                                     uint32_t count, greedy_scratch &scratch)
{
    const device_greedy &greedy = self.greedy;
    uint32_t first = find_entry(greedy.index, support, base);
    uint32_t last = find_entry(greedy.index, support, base + count);
    for (uint32_t i = threadIdx.x; i < first; i += BLOCK_THREADS) {
        greedy.merged_index[i] = greedy.index[i];
        greedy.merged_value[i] = greedy.value[i];
    }
    uint32_t merged = first;
    for (uint32_t begin = 0; begin < count; begin += BLOCK_THREADS) {
        uint32_t i = begin + threadIdx.x, total;
        bool joins = i < count && greedy.stepped[i] != 0.0f;
        if (i < count && !joins) {
            uint32_t at = find_entry(greedy.index, support, base + i);
            joins = at < support && greedy.index[at] == base + i;
        }
        uint32_t at = merged + block_scan(joins, scratch.words, total);
        if (joins) {
            greedy.merged_index[at] = base + i;
            greedy.merged_value[at] = greedy.stepped[i];
        }
        merged += total;
    }
    for (uint32_t i = last + threadIdx.x; i < support; i += BLOCK_THREADS) {
        greedy.merged_index[merged + i - last] = greedy.index[i];
        greedy.merged_value[merged + i - last] = greedy.value[i];
    }
    __syncthreads();
    return merged + (support - last);
}

// Importances as integers: ordered alike, none is negative.
__device__ __forceinline__ uint64_t importance_bits(const device_greedy &greedy, uint32_t i)
{
    return (uint64_t)__double_as_longlong(greedy.importance[i]);
}

// The importance of which at least one of the `wanted` most important has; `spare`: how many more
// there are of it than are wanted. Digit by digit, the highest first.
__device__ inline uint64_t find_importance(const device_greedy &greedy, uint32_t count,
                                           uint32_t wanted, uint32_t &spare,
                                           greedy_scratch &scratch)
{
    uint64_t prefix = 0;
    for (int shift = 56; shift >= 0; shift -= 8) {
        scratch.bins[threadIdx.x] = 0;
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < count; i += BLOCK_THREADS) {
            uint64_t bits = importance_bits(greedy, i);
            if (shift == 56 || bits >> (shift + 8) == prefix >> (shift + 8))
                atomicAdd(&scratch.bins[bits >> shift & 255], 1u);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            uint32_t bin = 255, left = wanted;
            for (; scratch.bins[bin] < left; bin--)
                left -= scratch.bins[bin];
            scratch.found[0] = bin;
            scratch.found[1] = left;
        }
        __syncthreads();
        prefix |= (uint64_t)scratch.found[0] << shift;
        wanted = scratch.found[1];
        spare = scratch.bins[scratch.found[0]] - wanted;
        __syncthreads();
    }
    return prefix;
}

// support <- merged, cut to the nnz most important. Returns how many there are.
__device__ inline uint32_t cut_support(const device_factored &self, uint32_t count,
                                       greedy_scratch &scratch)
{
    const device_greedy &greedy = self.greedy;
    bool all = count <= self.nnz;
    uint64_t least = 0;
    uint32_t spare = 0, kept = 0, equals = 0;
    if (!all) {
        for (uint32_t i = threadIdx.x; i < count; i += BLOCK_THREADS)
            greedy.importance[i] = importance_of(self, greedy.merged_index[i]);
        __syncthreads();
        least = find_importance(greedy, count, self.nnz, spare, scratch);
    }
    for (uint32_t begin = 0; begin < count; begin += BLOCK_THREADS) {
        uint32_t i = begin + threadIdx.x, total;
        uint64_t bits = i < count && !all ? importance_bits(greedy, i) : 0;
        bool equal = i < count && !all && bits == least;
        uint32_t before = equals + block_scan(equal, scratch.words, total);
        equals += total;
        bool stays = i < count && (all || bits > least || (equal && before >= spare));
        uint32_t at = kept + block_scan(stays, scratch.words, total);
        if (stays) {
            greedy.index[at] = greedy.merged_index[i];
            greedy.value[at] = greedy.merged_value[i];
        }
        kept += total;
    }
    __syncthreads();
    return kept;
}

// ---------------------------------------------------------------- a row

// stepped <- the row's weights (or draws), update <- -step_size * its gradient; then their sum.
__device__ inline void step_row(const device_factored &self, const factored_row &row,
                                uint32_t neuron, bool output, uint32_t count,
                                const uint32_t *columns, uint32_t gradients, const float *gradient,
                                float step_size)
{
    const device_greedy &greedy = self.greedy;
    for (uint32_t i = threadIdx.x; i < count; i += BLOCK_THREADS) {
        greedy.update[i] = 0.0f;
        greedy.stepped[i] = 0.0f;
        if (row.kind != ROW_LISTED)
            greedy.stepped[i] = pick(row_numbers(self, row, neuron, output, i / 4), i % 4);
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < gradients; i += BLOCK_THREADS)
        greedy.update[columns ? columns[i] : i] = -step_size * gradient[i];
    if (row.kind == ROW_LISTED)
        for (uint32_t k = threadIdx.x; k < row.count; k += BLOCK_THREADS)
            greedy.stepped[row.column[k]] = row.value[k];
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < count; i += BLOCK_THREADS)
        greedy.stepped[i] += greedy.update[i];
    __syncthreads();
}

// One neuron of the block: W1, then W2. Returns the size of the support.
__device__ inline uint32_t greedy_neuron(const device_factored &self, const factored_view &view,
                                         const neuron_block &block, uint32_t place,
                                         uint32_t support, float step_size, greedy_scratch &scratch)
{
    factored_neuron neuron =
        open_neuron(self, view, neuron_number(self, view, block.first + place));
    uint32_t actives = self.state->actives;
    const float *gradient = self.block + place * (size_t)(actives + self.outputs);
    for (unsigned half = 0; half < 2; half++) {
        bool wanted = neuron.flags & (half ? HAS_OUTPUT : HAS_HIDDEN);
        uint32_t count = half ? self.outputs : self.inputs;
        uint64_t base =
            entry_number(self, half ? output_row(self, neuron.neuron) : neuron.neuron, 0);
        step_row(self, half ? neuron.output : neuron.hidden, neuron.neuron, half, count,
                 half ? nullptr : self.active, wanted ? half ? self.outputs : actives : 0,
                 half ? gradient + actives : gradient, step_size);
        enter_updates(self, base, count);
        __syncthreads();
        support = cut_support(self, merge_row(self, support, base, count, scratch), scratch);
    }
    return support;
}

// ---------------------------------------------------------------- weights

// The support as it stands, into a list of numbered entries. By one block.
__device__ inline void list_weights(const device_factored &self)
{
    const device_sparse &list = self.now.list;
    for (uint32_t r = warp_index(); r < list.counts[COUNT_LIVE]; r += BLOCK_WARPS)
        for (uint32_t k = list.start[r] + lane_index(); k < list.start[r + 1]; k += WARP) {
            self.greedy.index[k] = entry_number(self, list.row[r], list.column[k]);
            self.greedy.value[k] = list.value[k];
        }
    __syncthreads();
}

// merged <- what isn't zero of the support. Returns how many there are.
__device__ inline uint32_t drop_zeros(const device_factored &self, uint32_t support,
                                      greedy_scratch &scratch)
{
    const device_greedy &greedy = self.greedy;
    uint32_t kept = 0;
    for (uint32_t begin = 0; begin < support; begin += BLOCK_THREADS) {
        uint32_t i = begin + threadIdx.x, total;
        bool stays = i < support && greedy.value[i] != 0.0f;
        uint32_t at = kept + block_scan(stays, scratch.words, total);
        if (stays) {
            greedy.merged_index[at] = greedy.index[i];
            greedy.merged_value[at] = greedy.value[i];
        }
        kept += total;
    }
    __syncthreads();
    return kept;
}

__device__ inline void entry_place(const device_factored &self, uint64_t index, uint32_t &row,
                                   uint32_t &column)
{
    bool output = index >= hidden_entries(self);
    uint64_t place = index - (output ? hidden_entries(self) : 0);
    uint32_t columns = output ? self.outputs : self.inputs;
    row = (uint32_t)(place / columns) + (output ? self.hidden : 0);
    column = (uint32_t)(place % columns);
}

// now <- the support. By one block.
__device__ inline void write_weights(const device_factored &self, uint32_t support,
                                     greedy_scratch &scratch)
{
    const device_greedy &greedy = self.greedy;
    const device_sparse &list = self.now.list;
    uint32_t count = drop_zeros(self, support, scratch), rows = 0;
    for (uint32_t begin = 0; begin < count; begin += BLOCK_THREADS) {
        uint32_t i = begin + threadIdx.x, total, row = 0, column = 0, last = 0;
        if (i < count)
            entry_place(self, greedy.merged_index[i], row, column);
        if (i > 0 && i < count) {
            uint32_t ignored;
            entry_place(self, greedy.merged_index[i - 1], last, ignored);
        }
        bool begins = i < count && (i == 0 || last != row);
        uint32_t at = rows + block_scan(begins, scratch.words, total);
        if (begins) {
            list.row[at] = row;
            list.start[at] = i;
        }
        if (i < count) {
            list.column[i] = column;
            list.value[i] = greedy.merged_value[i];
        }
        rows += total;
    }
    if (threadIdx.x)
        return;
    list.start[rows] = count;
    list.counts[COUNT_LIVE] = rows;
    list.counts[COUNT_NNZ] = count;
}

// The whole step of weights and support. Begins after a barrier of the grid and ends with one.
__device__ inline void greedy_step(grid_group &grid, const device_factored &self,
                                   const factored_view &view, float step_size, tile_scratch &tile,
                                   greedy_scratch &scratch)
{
    uint32_t support = self.now.list.counts[COUNT_NNZ];
    const gradient_sink sink = {SINK_STORE, 0, 0, 0};
    if (blockIdx.x == 0)
        list_weights(self);
    for (uint32_t first = 0; first < view.neurons; first += self.block_neurons) {
        const neuron_block block = next_block(self, view, first);
        block_gradients(grid, self, view, block, sink, tile);
        for (uint32_t place = 0; blockIdx.x == 0 && place < block.count; place++)
            support = greedy_neuron(self, view, block, place, support, step_size, scratch);
        grid.sync();
    }
    if (blockIdx.x == 0)
        write_weights(self, support, scratch);
    grid.sync();
}

} // namespace reliht

#endif
