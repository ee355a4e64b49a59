// Gradients of the factored model: g1_j = X^T e_j with e_j = D_j * (R w2_j), g2_j = R^T a_j.
//
// Signals. A warp takes one neuron and a part of the samples: a_j, its pattern as bits, and its
// share of g2_j. Only the bits are stored, for one wave of neurons.
//
// Tiles. A block takes 32 neurons x 64 inputs and goes through the samples by 64: the inputs arrive
// by asynchronous copies, two stages at a time, e_j is built from the bits and R beside them. Each
// of the 8 warps sums every eighth group of 4 samples for the whole tile, 8 x 8 sums a thread; at
// the end the warps' sums are added in order. Which sums are taken in which order depends on
// shapes alone, never on the number of blocks.
//
// On a support only, a warp takes one row and a part of the samples.
#ifndef RELIHT_KERNELS_FACTORED_GRADIENT_CUH
#define RELIHT_KERNELS_FACTORED_GRADIENT_CUH

#include "kernels/factored_rows.cuh"
#include "kernels/sketch.cuh"

#include <cuda_pipeline_primitives.h>

namespace reliht
{

constexpr unsigned CHUNK_GROUPS = 8; // of 32 samples that a warp holds at a time
constexpr unsigned CHUNK_SAMPLES = CHUNK_GROUPS * WARP;
constexpr unsigned TILE_NEURONS = 32, TILE_INPUTS = 64, STAGE_SAMPLES = 64;
constexpr unsigned TILE_STRIDE = STAGE_SAMPLES + 4; // rows 4 banks apart: float4 without conflicts
constexpr unsigned TILE_OUTPUTS = 16;               // outputs of W2 held at a time
constexpr unsigned THREAD_NEURONS = 8, THREAD_INPUTS = 8;

// ---------------------------------------------------------------- parts of the samples

struct sample_range {
    uint32_t first, last;
};

__device__ __forceinline__ uint32_t sample_chunks(const device_batch &batch)
{
    return (batch.stride + CHUNK_SAMPLES - 1) / CHUNK_SAMPLES;
}

__device__ __forceinline__ uint32_t sample_splits(const device_batch &batch)
{
    return min(FACTORED_SPLITS, sample_chunks(batch));
}

__device__ __forceinline__ sample_range split_range(const device_batch &batch, uint32_t split)
{
    uint32_t chunks = sample_chunks(batch), splits = sample_splits(batch);
    uint32_t first = (uint32_t)((uint64_t)split * chunks / splits) * CHUNK_SAMPLES;
    uint32_t last = (uint32_t)((uint64_t)(split + 1) * chunks / splits) * CHUNK_SAMPLES;
    return {first, min(last, batch.stride)};
}

// Numbers that the lanes of a warp gather one after the other and write together; the first chunk
// of a part sets them, the others add.
struct gathered {
    float *to;
    bool first;
    float mine;

    __device__ void take(uint32_t i, uint32_t count, float sum)
    {
        if (lane_index() == i % WARP)
            mine = sum;
        if (i % WARP != WARP - 1 && i + 1 != count)
            return;
        uint32_t at = i / WARP * WARP + lane_index();
        if (at < count)
            to[at] = first ? mine : to[at] + mine;
    }
};

// Sum over the lane's samples of signal[t] * from[32 t], then over the warp.
__device__ inline float signal_dot(const float (&signal)[CHUNK_GROUPS], const float *from,
                                   unsigned groups)
{
    float sum = 0.0f;
#pragma unroll
    for (unsigned t = 0; t < CHUNK_GROUPS; t++)
        if (t < groups)
            sum = __fmaf_rn(signal[t], from[t * WARP], sum);
    return warp_sum(sum);
}

// ---------------------------------------------------------------- signals of a wave

__device__ inline void store_patterns(const device_factored &self, const device_batch &batch,
                                      uint32_t place, uint32_t first, unsigned groups,
                                      unsigned bits)
{
    uint32_t mine = 0;
#pragma unroll
    for (unsigned t = 0; t < CHUNK_GROUPS; t++) {
        uint32_t word = __ballot_sync(ALL_LANES, bits >> t & 1);
        mine = lane_index() == t ? word : mine;
    }
    if (lane_index() < groups)
        self.patterns[(size_t)place * (batch.stride / WARP) + first / WARP + lane_index()] = mine;
}

__device__ inline void neuron_signals(const device_factored &self, const factored_view &view,
                                      const factored_neuron &neuron, uint32_t place, uint32_t split)
{
    const device_batch &batch = view.batch;
    sample_range range = split_range(batch, split);
    float *partial =
        self.output_partial + ((size_t)split * self.wave_neurons + place) * self.outputs;
    for (uint32_t first = range.first; first < range.last; first += CHUNK_SAMPLES) {
        unsigned groups = min(CHUNK_GROUPS, (range.last - first) / WARP);
        float activation[CHUNK_GROUPS];
        unsigned bits =
            activate(self, view, neuron.hidden, neuron.neuron, first, groups, activation);
        store_patterns(self, batch, place, first, groups, bits);
        if (!(neuron.flags & HAS_OUTPUT))
            continue;
        gathered sums = {partial, first == range.first, 0.0f};
        for (uint32_t o = 0; o < self.outputs; o++) {
            const float *residual = self.residual + (size_t)o * batch.stride + first + lane_index();
            sums.take(o, self.outputs, signal_dot(activation, residual, groups));
        }
    }
}

// Patterns and parts of g2 of neurons number first .. first + count - 1 of the step, and which
// gradients they can have, for the block from `block_place` on.
__device__ inline void wave_signals(const device_factored &self, const factored_view &view,
                                    uint32_t first, uint32_t count, uint32_t block_place)
{
    uint32_t padded = (count + BLOCK_WARPS - 1) / BLOCK_WARPS * BLOCK_WARPS;
    uint64_t items = (uint64_t)padded * sample_splits(view.batch);
    for (uint64_t item = (uint64_t)blockIdx.x * BLOCK_WARPS + warp_index(); item < items;
         item += gridDim.x * BLOCK_WARPS) {
        uint32_t place = (uint32_t)(item % padded), split = (uint32_t)(item / padded);
        if (place >= count)
            continue;
        factored_neuron neuron = open_neuron(self, view, neuron_number(self, view, first + place));
        if (split == 0 && lane_index() == 0)
            self.block_flags[block_place + place] = neuron.flags;
        if (neuron.flags)
            neuron_signals(self, view, neuron, place, split);
    }
}

// ---------------------------------------------------------------- where gradients go

enum sink_kind : uint32_t { SINK_STORE, SINK_STEPPED, SINK_SKETCH };

// SINK_STORE: into the block; SINK_STEPPED: -size * gradient; SINK_SKETCH: that, in quanta, into
// the sketch.
struct gradient_sink {
    sink_kind kind;
    uint32_t block_place;            // of the wave's first neuron in the block
    double hidden_size, output_size; // of the steps; with SINK_SKETCH in quanta
};

// What a thread has entered into the sketch: magnitudes in quanta, their high and low 32 bits
// apart, so that sums are exact; the lowest entry that isn't finite, by neuron, inputs before
// outputs.
struct entered {
    uint64_t high, low, invalid;
    bool overflow;
};

__device__ inline void enter_gradient(const device_factored &self, uint32_t row, uint32_t column,
                                      double scaled, entered &sum)
{
    if (!(fabs(scaled) < SKETCH_QUANTUM_LIMIT)) {
        sum.overflow = true;
        return;
    }
    int64_t quantum = sketch_quantum(scaled);
    uint64_t magnitude = (uint64_t)(quantum < 0 ? -quantum : quantum);
    sum.high += magnitude >> 32;
    sum.low += magnitude & 0xffffffffu;
    const sketch_view sketch = {self.key, self.counter, self.width};
    if (quantum)
        sketch_enter(sketch, row, column, quantum);
}

// A gradient of neuron `neuron` at `place` of the wave: number `index` of its row in the block.
__device__ inline void sink_gradient(const device_factored &self, const gradient_sink &sink,
                                     uint32_t place, uint32_t neuron, bool output, uint32_t index,
                                     uint32_t column, float gradient, entered &sum)
{
    double size = output ? sink.output_size : sink.hidden_size;
    if (sink.kind == SINK_SKETCH) {
        uint32_t row = output ? output_row(self, neuron) : neuron;
        /* In the order of a neuron's inputs, then its outputs. */
        if (!isfinite(gradient))
            sum.invalid =
                min(sum.invalid, (uint64_t)neuron << 33 | (uint64_t)output << 32 | column);
        enter_gradient(self, row, column, -size * (double)gradient, sum);
        return;
    }
    size_t row_length = self.state->actives + self.outputs;
    if (sink.kind == SINK_STEPPED)
        gradient = 0.0f - (float)size * gradient;
    self.block[(sink.block_place + place) * row_length + index] = gradient;
}

// Adds up what the threads of a warp have entered.
__device__ inline void count_entered(const device_factored &self, const entered &sum)
{
    bool overflow = __any_sync(ALL_LANES, sum.overflow);
    unsigned long long high = warp_sum(sum.high), low = warp_sum(sum.low);
    if (sum.invalid != UINT64_MAX)
        atomicMin((unsigned long long *)&self.state->invalid, (unsigned long long)sum.invalid);
    if (lane_index())
        return;
    if (overflow)
        atomicOr(&self.state->overflow, OVERFLOW_UPDATE);
    if (high)
        atomicAdd((unsigned long long *)&self.state->quanta[0], high);
    if (low)
        atomicAdd((unsigned long long *)&self.state->quanta[1], low);
}

// ---------------------------------------------------------------- tiles

struct tile_scratch {
    union {
        struct {
            float x[2][TILE_INPUTS][TILE_STRIDE];
            float error[TILE_NEURONS][TILE_STRIDE];
        };
        // Half of the tile's sums of every warp, [thread's sum, lane].
        float sums[BLOCK_WARPS][THREAD_NEURONS / 2 * THREAD_INPUTS][WARP];
    };
    float output[TILE_NEURONS][TILE_OUTPUTS]; // rows of W2, dense
    uint32_t column[TILE_INPUTS];
    factored_neuron neuron[TILE_NEURONS]; // flags 0: none
};

struct tile_place {
    uint32_t first_neuron, first_input; // within the wave and the active inputs
};

__device__ inline void open_tile(const device_factored &self, const factored_view &view,
                                 uint32_t first, uint32_t count, const tile_place &tile,
                                 tile_scratch &scratch)
{
    if (threadIdx.x < TILE_NEURONS) {
        uint32_t place = tile.first_neuron + threadIdx.x;
        factored_neuron neuron = {};
        if (place < count)
            neuron = open_neuron(self, view, neuron_number(self, view, first + place));
        scratch.neuron[threadIdx.x] = neuron;
    } else if (threadIdx.x < TILE_NEURONS + TILE_INPUTS) {
        uint32_t i = threadIdx.x - TILE_NEURONS;
        uint32_t active = tile.first_input + i;
        scratch.column[i] = active < self.state->actives ? self.active[active] : UINT32_MAX;
    }
    __syncthreads();
}

// Copies a stage of the tile's inputs; those past the active ones are zero.
__device__ inline void fetch_inputs(const device_batch &batch, uint32_t first,
                                    const tile_scratch &scratch,
                                    float (&x)[TILE_INPUTS][TILE_STRIDE])
{
    constexpr unsigned PARTS = STAGE_SAMPLES / 4;
    for (unsigned i = threadIdx.x; i < TILE_INPUTS * PARTS; i += BLOCK_THREADS) {
        unsigned input = i / PARTS, part = i % PARTS;
        uint32_t column = scratch.column[input];
        size_t from = column == UINT32_MAX ? 0 : (size_t)column * batch.stride;
        __pipeline_memcpy_async(&x[input][4 * part], batch.x + from + first + 4 * part, 16,
                                column == UINT32_MAX ? 16 : 0);
    }
    __pipeline_commit();
}

// output <- columns first .. of the tile's rows of W2.
__device__ inline void fill_outputs(const device_factored &self, uint32_t first,
                                    tile_scratch &scratch)
{
    for (unsigned i = threadIdx.x; i < TILE_NEURONS * TILE_OUTPUTS; i += BLOCK_THREADS) {
        const factored_neuron &neuron = scratch.neuron[i / TILE_OUTPUTS];
        uint32_t o = first + i % TILE_OUTPUTS;
        float value = 0.0f;
        if (neuron.flags & HAS_HIDDEN && o < self.outputs) {
            if (neuron.output.kind == ROW_LISTED) {
                uint32_t at = find_column(neuron.output, o);
                value = at < neuron.output.count ? neuron.output.value[at] : 0.0f;
            } else {
                float4 four = row_numbers(self, neuron.output, neuron.neuron, true, o / 4);
                value = pick(four, o);
            }
        }
        scratch.output[i / TILE_OUTPUTS][i % TILE_OUTPUTS] = value;
    }
}

// error <- D_j * (R w2_j) of a stage.
__device__ inline void build_errors(const device_factored &self, const factored_view &view,
                                    const tile_place &tile, uint32_t first, bool fresh,
                                    tile_scratch &scratch)
{
    constexpr unsigned EACH = TILE_NEURONS * STAGE_SAMPLES / BLOCK_THREADS;
    constexpr unsigned APART = BLOCK_THREADS / STAGE_SAMPLES;
    const device_batch &batch = view.batch;
    unsigned sample = threadIdx.x % STAGE_SAMPLES, neuron = threadIdx.x / STAGE_SAMPLES;
    float error[EACH] = {};
    for (uint32_t o = 0; o < self.outputs; o += TILE_OUTPUTS) {
        if (fresh || self.outputs > TILE_OUTPUTS) {
            __syncthreads();
            fill_outputs(self, o, scratch);
            __syncthreads();
        }
        const float *residual = self.residual + (size_t)o * batch.stride + first + sample;
        uint32_t end = min(self.outputs - o, TILE_OUTPUTS);
        for (uint32_t i = 0; i < end; i++) {
            float r = residual[(size_t)i * batch.stride];
#pragma unroll
            for (unsigned j = 0; j < EACH; j++)
                error[j] = __fmaf_rn(scratch.output[neuron + APART * j][i], r, error[j]);
        }
    }
#pragma unroll
    for (unsigned j = 0; j < EACH; j++) {
        unsigned place = neuron + APART * j;
        bool active = false;
        if (scratch.neuron[place].flags & HAS_HIDDEN) {
            size_t row = (size_t)(tile.first_neuron + place) * (batch.stride / WARP);
            active = self.patterns[row + (first + sample) / WARP] >> (sample % WARP) & 1;
        }
        scratch.error[place][sample] = active ? error[j] : 0.0f;
    }
}

// sum += error * x for this warp's groups of 4 samples.
__device__ inline void multiply_stage(const float (&error)[TILE_NEURONS][TILE_STRIDE],
                                      const float (&x)[TILE_INPUTS][TILE_STRIDE],
                                      float (&sum)[THREAD_NEURONS][THREAD_INPUTS])
{
    unsigned neuron = lane_index() / 8, input = lane_index() % 8;
    for (unsigned k = 4 * warp_index(); k < STAGE_SAMPLES; k += 4 * BLOCK_WARPS) {
        float4 e[THREAD_NEURONS];
#pragma unroll
        for (unsigned r = 0; r < THREAD_NEURONS; r++)
            e[r] = *reinterpret_cast<const float4 *>(&error[neuron + 4 * r][k]);
#pragma unroll
        for (unsigned c = 0; c < THREAD_INPUTS; c++) {
            float4 v = *reinterpret_cast<const float4 *>(&x[input + 8 * c][k]);
#pragma unroll
            for (unsigned r = 0; r < THREAD_NEURONS; r++) {
                sum[r][c] = __fmaf_rn(e[r].x, v.x, sum[r][c]);
                sum[r][c] = __fmaf_rn(e[r].y, v.y, sum[r][c]);
                sum[r][c] = __fmaf_rn(e[r].z, v.z, sum[r][c]);
                sum[r][c] = __fmaf_rn(e[r].w, v.w, sum[r][c]);
            }
        }
    }
}

// Adds the warps' sums of half the tile and hands them on.
template <unsigned Half>
__device__ inline void
sink_half(const device_factored &self, const gradient_sink &sink, const tile_place &tile,
          const float (&sum)[THREAD_NEURONS][THREAD_INPUTS], tile_scratch &scratch, entered &entry)
{
    constexpr unsigned ROWS = THREAD_NEURONS / 2;
    __syncthreads();
#pragma unroll
    for (unsigned r = 0; r < ROWS; r++)
#pragma unroll
        for (unsigned c = 0; c < THREAD_INPUTS; c++)
            scratch.sums[warp_index()][r * THREAD_INPUTS + c][lane_index()] =
                sum[Half * ROWS + r][c];
    __syncthreads();
    for (unsigned i = warp_index(); i < ROWS * THREAD_INPUTS; i += BLOCK_WARPS) {
        double total = 0;
        for (unsigned w = 0; w < BLOCK_WARPS; w++)
            total += (double)scratch.sums[w][i][lane_index()];
        unsigned neuron = lane_index() / 8 + 4 * (Half * ROWS + i / THREAD_INPUTS);
        unsigned input = lane_index() % 8 + 8 * (i % THREAD_INPUTS);
        uint32_t column = scratch.column[input];
        if (column != UINT32_MAX && scratch.neuron[neuron].flags & HAS_HIDDEN)
            sink_gradient(self, sink, tile.first_neuron + neuron, scratch.neuron[neuron].neuron,
                          false, tile.first_input + input, column, (float)total, entry);
    }
}

__device__ inline void gradient_tile(const device_factored &self, const factored_view &view,
                                     uint32_t first, uint32_t count, const tile_place &tile,
                                     const gradient_sink &sink, tile_scratch &scratch,
                                     entered &entry)
{
    const device_batch &batch = view.batch;
    float sum[THREAD_NEURONS][THREAD_INPUTS] = {};
    open_tile(self, view, first, count, tile, scratch);
    fetch_inputs(batch, 0, scratch, scratch.x[0]);
    for (uint32_t at = 0, stage = 0; at < batch.stride; at += STAGE_SAMPLES, stage ^= 1) {
        if (at + STAGE_SAMPLES < batch.stride)
            fetch_inputs(batch, at + STAGE_SAMPLES, scratch, scratch.x[stage ^ 1]);
        else
            __pipeline_commit();
        build_errors(self, view, tile, at, at == 0, scratch);
        __pipeline_wait_prior(1);
        __syncthreads();
        multiply_stage(scratch.error, scratch.x[stage], sum);
        __syncthreads();
    }
    sink_half<0>(self, sink, tile, sum, scratch, entry);
    sink_half<1>(self, sink, tile, sum, scratch, entry);
    __syncthreads();
}

// g2 of number `i` of the wave's neurons times outputs.
__device__ inline void output_gradient(const device_factored &self, const factored_view &view,
                                       uint32_t first, uint32_t place, uint32_t output,
                                       const gradient_sink &sink, entered &entry)
{
    uint32_t number = neuron_number(self, view, first + place);
    factored_neuron neuron = open_neuron(self, view, number);
    if (!(neuron.flags & HAS_OUTPUT))
        return;
    double total = 0;
    for (uint32_t split = 0; split < sample_splits(view.batch); split++)
        total +=
            (double)self.output_partial[((size_t)split * self.wave_neurons + place) * self.outputs +
                                        output];
    sink_gradient(self, sink, place, number, true, self.state->actives + output, output,
                  (float)total, entry);
}

// Gradients of all entries of neurons number first .. first + count - 1 of the step, whose signals
// are there.
__device__ inline void wave_gradients(const device_factored &self, const factored_view &view,
                                      uint32_t first, uint32_t count, const gradient_sink &sink,
                                      tile_scratch &scratch)
{
    entered entry = {0, 0, UINT64_MAX, false};
    uint32_t across = (count + TILE_NEURONS - 1) / TILE_NEURONS;
    uint64_t tiles = (uint64_t)across * ((self.state->actives + TILE_INPUTS - 1) / TILE_INPUTS);
    for (uint64_t i = blockIdx.x; i < tiles; i += gridDim.x) {
        const tile_place tile = {(uint32_t)(i % across) * TILE_NEURONS,
                                 (uint32_t)(i / across) * TILE_INPUTS};
        gradient_tile(self, view, first, count, tile, sink, scratch, entry);
    }
    uint64_t outputs = (uint64_t)count * self.outputs;
    for (uint64_t i = (gridDim.x - 1 - blockIdx.x) * BLOCK_THREADS + threadIdx.x; i < outputs;
         i += gridDim.x * BLOCK_THREADS)
        output_gradient(self, view, first, (uint32_t)(i / self.outputs),
                        (uint32_t)(i % self.outputs), sink, entry);
    __syncwarp();
    if (sink.kind == SINK_SKETCH)
        count_entered(self, entry);
}

// ---------------------------------------------------------------- gradients on a support

// e_j of samples first + 32 t + lane.
__device__ inline void error_signal(const device_factored &self, const device_batch &batch,
                                    const factored_neuron &neuron, uint32_t first, unsigned groups,
                                    unsigned bits, float (&error)[CHUNK_GROUPS])
{
    combine_row(self, neuron.output, neuron.neuron, true, self.residual + first + lane_index(),
                batch.stride, groups, error);
#pragma unroll
    for (unsigned t = 0; t < CHUNK_GROUPS; t++)
        error[t] = bits >> t & 1 ? error[t] : 0.0f;
}

// This part of the samples' share of the gradient of row number `at` of `list`.
__device__ inline void row_gradient(const device_factored &self, const factored_view &view,
                                    const device_sparse &list, uint32_t at, uint32_t split)
{
    const device_batch &batch = view.batch;
    uint32_t row = list.row[at], start = list.start[at], count = list.start[at + 1] - start;
    bool output = is_output_row(self, row);
    factored_neuron neuron = open_neuron(self, view, output ? row - self.hidden : row);
    bool wanted = neuron.flags & (output ? HAS_OUTPUT : HAS_HIDDEN);
    sample_range range = split_range(batch, split);
    float *partial = self.partial + (size_t)split * self.nnz + start;
    for (uint32_t first = range.first; first < range.last; first += CHUNK_SAMPLES) {
        unsigned groups = wanted ? min(CHUNK_GROUPS, (range.last - first) / WARP) : 0;
        float signal[CHUNK_GROUPS];
        unsigned bits = activate(self, view, neuron.hidden, neuron.neuron, first, groups, signal);
        if (!output)
            error_signal(self, batch, neuron, first, groups, bits, signal);
        gathered sums = {partial, first == range.first, 0.0f};
        const float *from = output ? self.residual : batch.x;
        from += first + lane_index();
        for (uint32_t k = 0; k < count; k++)
            sums.take(
                k, count,
                signal_dot(signal, from + (size_t)list.column[start + k] * batch.stride, groups));
    }
}

__device__ inline void support_gradient(const device_factored &self, const factored_view &view,
                                        const device_sparse &list)
{
    uint32_t live = list.counts[COUNT_LIVE];
    uint64_t items = (uint64_t)live * sample_splits(view.batch);
    for (uint64_t item = (uint64_t)blockIdx.x * BLOCK_WARPS + warp_index(); item < items;
         item += gridDim.x * BLOCK_WARPS)
        row_gradient(self, view, list, (uint32_t)(item % live), (uint32_t)(item / live));
}

} // namespace reliht

#endif
