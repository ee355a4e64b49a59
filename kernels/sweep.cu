// Stand-alone kernels of the sweep and of what it is made of, for tests and counts.
#include "kernels/select.cuh"
#include "kernels/sweep.cuh"

#include "kernels/launch.cuh"

namespace reliht
{

extern __shared__ __align__(128) unsigned char sweep_shared[];

// out [hidden, inputs] <- the candidates.
__global__ void __launch_bounds__(BLOCK_THREADS) sweep_dump(device_sweep self, float *out)
{
    grid_group grid = cooperative_groups::this_grid();
    sweep_scratch &scratch = *(sweep_scratch *)sweep_shared;
    sweep_run(grid, self, whole_sweep(self), scratch, [&](const sweep_candidates &candidates) {
        for (uint32_t piece = blockIdx.x; piece < candidates.pieces(); piece += gridDim.x)
            for (uint32_t i = threadIdx.x; i < candidates.entries(); i += BLOCK_THREADS) {
                float value = candidates.value(piece, i);
                uint32_t row, column;
                if (candidates.position(piece, i) >= candidates.wave.shape.neurons)
                    continue;
                candidates.place(piece, i, row, column);
                if (column < self.generators.inputs)
                    out[(size_t)row * self.generators.inputs + column] = value;
            }
        grid.sync();
    });
}

__global__ void __launch_bounds__(BLOCK_THREADS)
    sweep_select(device_sweep self, device_select select, device_sparse out)
{
    grid_group grid = cooperative_groups::this_grid();
    sweep_scratch &scratch = *(sweep_scratch *)sweep_shared;
    __shared__ select_scratch selection;
    select_reset(select);
    grid.sync();
    sweep_run(grid, self, whole_sweep(self), scratch, [&](const sweep_candidates &candidates) {
        select_offer_wave(grid, select, candidates, selection);
    });
    select_finish(grid, select, out, selection);
}

__global__ void __launch_bounds__(BLOCK_THREADS)
    patterns_store(device_generators source, const device_batch *batch, const uint32_t *neurons,
                   uint32_t count, uint32_t *words)
{
    __shared__ pattern_scratch scratch;
    store_patterns(
        source, *batch, [&](uint32_t i) { return neurons[i]; }, count, words, scratch);
}

__global__ void __launch_bounds__(BLOCK_THREADS)
    random_stream(uint64_t seed, uint32_t purpose, uint64_t row, uint32_t count, uint4 *words,
                  float4 *normals)
{
    uint32_t i = blockIdx.x * BLOCK_THREADS + threadIdx.x;
    if (i >= count)
        return;
    words[i] = random_block(seed, purpose, row, i);
    normals[i] = random_normals(seed, purpose, row, i);
}

__global__ void __launch_bounds__(BLOCK_THREADS)
    drawn_generators(uint64_t seed, uint32_t rows, uint32_t inputs, uint32_t *counts,
                     uint32_t *columns, float *values)
{
    uint32_t neuron = blockIdx.x * BLOCK_THREADS + threadIdx.x;
    if (neuron >= rows)
        return;
    drawn_generator h = draw_generator(seed, neuron, inputs);
    counts[neuron] = h.count;
    for (uint32_t i = 0; i < DRAWN_NONZEROS; i++) {
        columns[neuron * DRAWN_NONZEROS + i] = h.column[i];
        values[neuron * DRAWN_NONZEROS + i] = h.value[i];
    }
}

} // namespace reliht

using namespace reliht;

cudaError_t launch_sweep_candidates(cudaStream_t stream, device_sweep self, unsigned blocks,
                                    float *out)
{
    return launch_cooperative(stream, sweep_dump, sizeof(sweep_scratch), blocks, self, out);
}

cudaError_t launch_sweep(cudaStream_t stream, device_sweep self, unsigned blocks,
                         device_select select, device_sparse out)
{
    return launch_cooperative(stream, sweep_select, sizeof(sweep_scratch), blocks, self, select,
                              out);
}

cudaError_t launch_patterns(cudaStream_t stream, device_generators generators,
                            const device_batch *batch, const uint32_t *neurons, uint32_t count,
                            uint32_t *words)
{
    if (!count)
        return cudaSuccess;
    patterns_store<<<64, BLOCK_THREADS, 0, stream>>>(generators, batch, neurons, count, words);
    return cudaGetLastError();
}

cudaError_t launch_random(cudaStream_t stream, uint64_t seed, uint32_t purpose, uint64_t row,
                          uint32_t count, uint32_t *words, float *normals)
{
    random_stream<<<(count + BLOCK_THREADS - 1) / BLOCK_THREADS, BLOCK_THREADS, 0, stream>>>(
        seed, purpose, row, count, (uint4 *)words, (float4 *)normals);
    return cudaGetLastError();
}

cudaError_t launch_drawn(cudaStream_t stream, uint64_t seed, uint32_t rows, uint32_t inputs,
                         uint32_t *counts, uint32_t *columns, float *values)
{
    drawn_generators<<<(rows + BLOCK_THREADS - 1) / BLOCK_THREADS, BLOCK_THREADS, 0, stream>>>(
        seed, rows, inputs, counts, columns, values);
    return cudaGetLastError();
}
