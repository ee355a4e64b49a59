// The sweep over neurons by all blocks of a cooperative launch.
//
// Neurons are taken in the order: those with weights, then the others, ascending; a tile is 128 of
// them by 128 inputs. Where there are few tiles, the samples are split, by the shapes alone, so
// that sums don't depend on the device. A wave is as many tiles as the workspace holds: blocks make
// sums of pieces (tile, split), meet, add the splits in ascending order, step, and offer the
// candidates; nothing larger than a wave is stored.
#ifndef RELIHT_KERNELS_SWEEP_CUH
#define RELIHT_KERNELS_SWEEP_CUH

#include "backend/screen_rules.h"
#include "kernels/sweep_tile.cuh"

namespace reliht
{

using cooperative_groups::grid_group;

// Shared memory of a sweep.
union sweep_scratch {
    tile_scratch tile;
    pattern_scratch patterns;
};

// What stays the same in a sweep.
struct sweep_shape {
    uint32_t neurons, live; // end of the positions in question; with weights
    uint32_t first;         // of the positions
    uint32_t neuron_tiles, input_tiles;
    uint32_t splits, split_samples; // samples of a split, but the last
    uint32_t wave_tiles;            // tiles of a wave
    bool use_words;                 // patterns of neurons without stored words are in memory
};

// Which neurons a sweep takes: positions first .. end - 1, where the neurons without weights are
// those of a list, or all of them. What splits the samples is the number of all neurons, so that no
// sum depends on the part.
struct sweep_part {
    uint32_t first, end;
    const uint32_t *list; // or NULL
    float *bound;         // [hidden] raised by the gradients of every neuron, or NULL
    screen_facts facts;   // with bounds
};

__device__ inline sweep_shape shape_of(const device_sweep &self, const sweep_part &part)
{
    const device_generators &source = self.generators;
    sweep_shape shape;
    shape.live = self.weights.counts[COUNT_LIVE];
    shape.neurons = source.use_weights ? shape.live : source.hidden;
    shape.neuron_tiles = divide_up(shape.neurons, SWEEP_NEURONS);
    shape.input_tiles = divide_up(source.inputs, SWEEP_INPUTS);
    shape.use_words = sweep_needs_words(&source);
    uint64_t tiles = (uint64_t)shape.neuron_tiles * shape.input_tiles;
    uint32_t samples = divide_up(self.batch->samples, WORD_SAMPLES) * WORD_SAMPLES;
    uint32_t most = min(SWEEP_PIECES, self.tile_capacity);
    uint32_t splits = tiles && tiles < most ? most / (uint32_t)tiles : 1;
    splits = max(1u, min(splits, samples / self.split_samples));
    shape.split_samples =
        max(1u, divide_up(divide_up(samples, splits), WORD_SAMPLES)) * WORD_SAMPLES;
    shape.splits = max(1u, divide_up(samples, shape.split_samples));
    uint32_t wave = self.tile_capacity / shape.splits;
    if (shape.use_words && self.words)
        wave = min(wave, (max(self.word_tiles, 2u) - 1) * shape.input_tiles);
    if (wave > shape.input_tiles)
        wave -= wave % shape.input_tiles;
    shape.wave_tiles = wave;
    shape.first = part.first;
    shape.neurons = part.end;
    shape.neuron_tiles = divide_up(part.end - part.first, SWEEP_NEURONS);
    return shape;
}

// Neuron number `position` of the order.
__device__ __forceinline__ uint32_t neuron_at(const device_sparse &weights, uint32_t live,
                                              const uint32_t *list, uint32_t position)
{
    if (position < live)
        return weights.row[position];
    if (list)
        return list[position - live];
    // the (position - live)-th that is no row: row[i] - i of those before it don't reach it
    uint32_t wanted = position - live, first = 0, last = live;
    while (first < last) {
        uint32_t middle = first + (last - first) / 2;
        if (weights.row[middle] - middle <= wanted)
            first = middle + 1;
        else
            last = middle;
    }
    return wanted + first;
}

// One wave: tiles first_tile .. first_tile + tiles - 1; tile = neuron tile * input_tiles + input
// tile.
struct sweep_wave {
    const device_sweep &self;
    const sweep_shape &shape;
    const sweep_part &part;
    uint64_t first_tile;
    uint32_t tiles;

    __device__ uint32_t first_neuron(uint32_t tile) const
    {
        return shape.first + (uint32_t)((first_tile + tile) / shape.input_tiles) * SWEEP_NEURONS;
    }

    __device__ uint32_t neuron(uint32_t position) const
    {
        return neuron_at(self.weights, shape.live, part.list, position);
    }

    __device__ uint32_t first_input(uint32_t tile) const
    {
        return (uint32_t)((first_tile + tile) % shape.input_tiles) * SWEEP_INPUTS;
    }

    __device__ uint32_t last_neuron() const
    {
        return min(first_neuron(tiles - 1) + SWEEP_NEURONS, shape.neurons);
    }

    __device__ float *sums(uint32_t tile, uint32_t split) const
    {
        return self.tiles + ((size_t)tile * shape.splits + split) * SWEEP_TILE;
    }

    // First of the wave's neurons whose patterns are in self.words.
    __device__ uint32_t first_worded() const
    {
        return self.live_words ? max(first_neuron(0), shape.live) : first_neuron(0);
    }
};

// Words of the neuron at `position`, or NULL if its pattern is made on chip.
__device__ __forceinline__ const uint32_t *words_of(const sweep_wave &wave, uint32_t position)
{
    size_t row_words = wave.self.batch->stride / WORD_SAMPLES;
    if (wave.self.live_words && position < wave.shape.live)
        return wave.self.live_words + position * row_words;
    if (wave.shape.use_words)
        return wave.self.words + (position - wave.first_worded()) * row_words;
    return nullptr;
}

// generator <- those of a tile; whether all are drawn.
__device__ inline bool find_tile_generators(const sweep_wave &wave, uint32_t tile, uint32_t neurons,
                                            tile_scratch &scratch)
{
    bool drawn = true;
    if (threadIdx.x < SWEEP_NEURONS) {
        tile_generator h = {}; // of no neuron: drawn, an empty pattern
        if (threadIdx.x < neurons) {
            uint32_t position = wave.first_neuron(tile) + threadIdx.x;
            if (words_of(wave, position))
                h.kind = GENERATOR_STORED;
            else
                h = find_generator(wave.self.generators, wave.neuron(position), drawn_place);
        }
        put_generator(scratch.generator[threadIdx.x], h);
        drawn = h.kind == GENERATOR_DRAWN;
    }
    return __syncthreads_and(drawn);
}

// Sums of one piece.
__device__ inline void make_piece(const sweep_wave &wave, uint32_t tile, uint32_t split,
                                  tile_scratch &scratch)
{
    const device_batch &data = *wave.self.batch;
    const sweep_shape &shape = wave.shape;
    uint32_t first_neuron = wave.first_neuron(tile), first_input = wave.first_input(tile);
    uint32_t samples = divide_up(data.samples, WORD_SAMPLES) * WORD_SAMPLES;
    uint32_t first = split * shape.split_samples;
    tile_job job = {.source = &wave.self.generators,
                    .x = data.x + (size_t)first_input * data.stride,
                    .residual = wave.self.residual,
                    .stride = data.stride,
                    .neurons = min(SWEEP_NEURONS, shape.neurons - first_neuron),
                    .inputs = min(SWEEP_INPUTS, data.inputs - first_input),
                    .first = first,
                    .last = min(first + shape.split_samples, samples),
                    .drawn = false,
                    .stored = nullptr};
    if (lane_index() < WARP_NEURONS && lane_neuron() < job.neurons)
        job.stored = words_of(wave, first_neuron + lane_neuron());
    __syncthreads();
    job.drawn = find_tile_generators(wave, tile, job.neurons, scratch);
    make_tile(job, scratch, wave.self.product, wave.sums(tile, split));
}

// The candidates of a wave as select_offer_wave takes them: a piece is a neuron for every warp.
struct sweep_candidates {
    static constexpr uint32_t PIECE_NEURONS = BLOCK_WARPS;
    static constexpr uint32_t TILE_PIECES = SWEEP_NEURONS / PIECE_NEURONS;
    const sweep_wave &wave;

    __device__ uint32_t pieces() const
    {
        return wave.tiles * TILE_PIECES;
    }

    __device__ uint32_t entries() const
    {
        return PIECE_NEURONS * SWEEP_INPUTS;
    }

    __device__ float *piece(uint32_t piece) const
    {
        return wave.sums(piece / TILE_PIECES, 0) + (size_t)(piece % TILE_PIECES) * entries();
    }

    __device__ float value(uint32_t piece, uint32_t i) const
    {
        return this->piece(piece)[i];
    }

    __device__ uint32_t position(uint32_t piece, uint32_t i) const
    {
        return wave.first_neuron(piece / TILE_PIECES) + piece % TILE_PIECES * PIECE_NEURONS +
               i / SWEEP_INPUTS;
    }

    __device__ void place(uint32_t piece, uint32_t i, uint32_t &row, uint32_t &column) const
    {
        row = wave.neuron(position(piece, i));
        column = wave.first_input(piece / TILE_PIECES) + i % SWEEP_INPUTS;
    }
};

// This lane's four of the weights of the neuron at `position` in the tile's inputs.
__device__ __forceinline__ float4 weights_at(const sweep_wave &wave, uint32_t position,
                                             uint32_t first_input)
{
    float4 w = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (position >= wave.shape.live)
        return w;
    const device_sparse &weights = wave.self.weights;
    uint32_t input = first_input + 4 * lane_index();
    for (uint32_t k = weights.start[position]; k < weights.start[position + 1]; k++) {
        uint32_t column = weights.column[k] - input;
        float value = weights.value[k];
        w.x = column == 0 ? value : w.x;
        w.y = column == 1 ? value : w.y;
        w.z = column == 2 ? value : w.z;
        w.w = column == 3 ? value : w.w;
    }
    return w;
}

// Raises the bound of a neuron by its gradients, of which each lane of the warp has four.
__device__ __forceinline__ void raise_bound(const sweep_part &part, uint32_t neuron, float4 sum)
{
    // bits of magnitudes are ordered as these, and NaN is above all
    unsigned x = __float_as_uint(sum.x) & 0x7fffffffu, y = __float_as_uint(sum.y) & 0x7fffffffu;
    unsigned z = __float_as_uint(sum.z) & 0x7fffffffu, w = __float_as_uint(sum.w) & 0x7fffffffu;
    unsigned largest = __reduce_max_sync(ALL_LANES, max(max(x, y), max(z, w)));
    if (lane_index() != 0)
        return;
    float bound = screen_bound(&part.facts, __uint_as_float(largest)) + 0.0f; // no -0
    // floats of one sign are ordered as integers, those below zero the other way
    if (bound >= 0)
        atomicMax((int *)&part.bound[neuron], __float_as_int(bound));
    else
        atomicMin((unsigned *)&part.bound[neuron], __float_as_uint(bound));
}

// Candidates of the pieces that select_offer_wave deals to this block, in place of the first
// split's sums. No neuron or input: zero already.
__device__ inline void step_candidates(const sweep_candidates &candidates)
{
    const sweep_wave &wave = candidates.wave;
    float step = (float)*wave.self.step_size;
    for (uint32_t piece = blockIdx.x; piece < candidates.pieces(); piece += gridDim.x) {
        uint32_t row = warp_index() * SWEEP_INPUTS, tile = piece / candidates.TILE_PIECES;
        uint32_t position = candidates.position(piece, row);
        if (position >= wave.shape.neurons)
            continue;
        float4 *first = (float4 *)(candidates.piece(piece) + row) + lane_index(), *at = first;
        float4 sum = *first;
        for (uint32_t split = 1; split < wave.shape.splits; split++) {
            at += SWEEP_TILE / 4;
            sum.x += at->x;
            sum.y += at->y;
            sum.z += at->z;
            sum.w += at->w;
        }
        uint32_t neuron = wave.neuron(position);
        if (wave.part.bound)
            raise_bound(wave.part, neuron, sum);
        float scale = wave.self.mixed && neuron % 2 ? step : -step;
        float4 w = weights_at(wave, position, wave.first_input(tile));
        *first = make_float4(__fmaf_rn(scale, sum.x, w.x), __fmaf_rn(scale, sum.y, w.y),
                             __fmaf_rn(scale, sum.z, w.z), __fmaf_rn(scale, sum.w, w.w));
    }
    __syncthreads();
}

// Calls offer(sweep_candidates) for every wave, by all threads; that must end with a barrier of the
// grid and read a piece in the block that select_offer_wave deals it to. Begins after a barrier of
// the grid.
template <typename Offer>
__device__ void sweep_run(grid_group &grid, const device_sweep &self, const sweep_part &part,
                          sweep_scratch &scratch, const Offer &offer)
{
    const sweep_shape shape = shape_of(self, part);
    uint64_t tiles = (uint64_t)shape.neuron_tiles * shape.input_tiles;
    for (uint64_t first = 0; first < tiles; first += shape.wave_tiles) {
        const sweep_wave wave = {self, shape, part, first,
                                 tiles - first < shape.wave_tiles ? (uint32_t)(tiles - first)
                                                                  : shape.wave_tiles};
        uint32_t worded = wave.first_worded(), last = wave.last_neuron();
        if (shape.use_words && worded < last) {
            store_patterns(
                self.generators, *self.batch, [&](uint32_t i) { return wave.neuron(worded + i); },
                last - worded, self.words, scratch.patterns);
            grid.sync();
        }
        for (uint32_t piece = blockIdx.x; piece < wave.tiles * shape.splits; piece += gridDim.x)
            make_piece(wave, piece % wave.tiles, piece / wave.tiles, scratch.tile);
        grid.sync();
        const sweep_candidates candidates = {wave};
        step_candidates(candidates);
        offer(candidates);
    }
}

// All neurons in question.
__device__ inline sweep_part whole_sweep(const device_sweep &self)
{
    uint32_t live = self.weights.counts[COUNT_LIVE];
    return {0, self.generators.use_weights ? live : self.generators.hidden, nullptr, nullptr, {}};
}

} // namespace reliht

#endif
