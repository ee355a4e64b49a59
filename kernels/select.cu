// Stand-alone kernels of select.cuh, for its tests.
#include "kernels/select.cuh"

#include "kernels/launch.cuh"

namespace reliht
{

// Entries first .. first + length - 1 of a stream as a wave.
struct stream_wave {
    static constexpr uint32_t PIECE = 2 * BLOCK_THREADS;
    const device_entries &stream;
    uint32_t first, length;

    __device__ uint32_t pieces() const
    {
        return (length + PIECE - 1) / PIECE;
    }

    __device__ uint32_t entries() const
    {
        return PIECE;
    }

    __device__ float value(uint32_t piece, uint32_t i) const
    {
        uint32_t at = piece * PIECE + i;
        return at < length ? stream.value[first + at] : 0.0f;
    }

    __device__ void place(uint32_t piece, uint32_t i, uint32_t &row, uint32_t &column) const
    {
        uint32_t at = first + piece * PIECE + i;
        row = stream.row[at];
        column = stream.column[at];
    }
};

// A stream as it stands in memory; what isn't finite counts as nothing.
struct stream_entries {
    const device_select &self;
    const device_entries &stream;

    __device__ uint32_t count() const
    {
        return stream.count;
    }

    __device__ select_entry at(uint32_t i) const
    {
        float value = stream.value[i];
        uint64_t place = (uint64_t)stream.row[i] << self.column_bits | stream.column[i];
        return {magnitude_of(value) < SELECT_INFINITE ? value : 0.0f, place};
    }
};

__global__ void __launch_bounds__(BLOCK_THREADS)
    select_stream(device_select self, device_entries entries, uint32_t wave, device_sparse out)
{
    __shared__ select_scratch scratch;
    grid_group grid = cooperative_groups::this_grid();
    select_reset(self);
    grid.sync();
    for (uint32_t first = 0; first < entries.count; first += wave) {
        uint32_t length = min(wave, entries.count - first);
        select_offer_wave(grid, self, stream_wave{entries, first, length}, scratch);
    }
    select_finish(grid, self, out, scratch);
}

__global__ void __launch_bounds__(BLOCK_THREADS)
    select_two_pass(device_select self, device_entries entries, device_sparse out)
{
    __shared__ select_scratch scratch;
    grid_group grid = cooperative_groups::this_grid();
    select_reset(self);
    grid.sync();
    const stream_entries stream = {self, entries};
    select_bound bound = find_bound(grid, self, stream, scratch);
    keep_best(self, stream, bound);
    grid.sync();
    take_kept(self, bound);
    grid.sync();
    select_write(grid, self, out, scratch);
}

} // namespace reliht

cudaError_t launch_select(cudaStream_t stream, device_select self, device_entries entries,
                          uint32_t wave, device_sparse out)
{
    return reliht::launch_cooperative(stream, reliht::select_stream, 0, 0, self, entries, wave,
                                      out);
}

cudaError_t launch_select_two_pass(cudaStream_t stream, device_select self, device_entries entries,
                                   device_sparse out)
{
    return reliht::launch_cooperative(stream, reliht::select_two_pass, 0, 0, self, entries, out);
}
