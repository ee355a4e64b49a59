// One step of normalised IHT for y = A x with a Gaussian A, in one cooperative launch. Columns of A
// are drawn whenever they are needed; only those of the support are kept, for the refits. All
// vectors are double, as on the CPU. Sums are taken per block in a fixed tree and over blocks of
// rows in order, so they don't depend on the number of blocks.
#include "kernels/launch.cuh"
#include "kernels/random.cuh"
#include "kernels/select.cuh"
#include "kernels/sensing.h"

#include "backend/iht_rules.h"

namespace reliht
{

struct sensing_scratch {
    double sums[BLOCK_WARPS];
    union {
        select_scratch select;
    };
};

// Column `column` of A times `vector`; every thread of the block has it.
__device__ __forceinline__ double drawn_dot(const device_sensing &self, uint32_t column,
                                            const double *vector, sensing_scratch &scratch)
{
    double sum = 0;
    for (uint32_t i = 4 * threadIdx.x; i < self.measurements; i += 4 * BLOCK_THREADS) {
        float4 normals = random_normals(self.seed, RNG_SENSE_MATRIX, column, i / 4);
        const float value[4] = {normals.x, normals.y, normals.z, normals.w};
#pragma unroll
        for (uint32_t k = 0; k < 4; k++)
            if (i + k < self.measurements)
                sum = fma((double)value[k], vector[i + k], sum);
    }
    return block_sum(sum, scratch.sums);
}

__device__ __forceinline__ void draw_support(const device_sensing &self)
{
    uint32_t blocks = (self.measurements + 3) / 4;
    uint64_t work = (uint64_t)self.weights.counts[COUNT_NNZ] * blocks;
    for (uint64_t w = thread_of_grid(); w < work; w += threads_of_grid()) {
        uint32_t k = (uint32_t)(w / blocks), block = (uint32_t)(w % blocks);
        float4 normals = random_normals(self.seed, RNG_SENSE_MATRIX, self.weights.column[k], block);
        const float value[4] = {normals.x, normals.y, normals.z, normals.w};
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            if (4 * block + i < self.measurements)
                self.columns[(size_t)k * self.measurements + 4 * block + i] = value[i];
    }
}

// |vector|^2 from the sums of squares of its blocks of rows; every thread has it.
__device__ __forceinline__ double total_squares(const device_sensing &self)
{
    double total = 0;
    for (uint32_t b = 0; b * SENSING_ROWS < self.measurements; b++)
        total += self.sums[b];
    return total;
}

// out <- A_S value - target (target may be NULL) and its squares by blocks of rows; a barrier of
// the grid must follow.
template <typename Value>
__device__ __forceinline__ void combine_columns(const device_sensing &self, const Value *value,
                                                const double *target, double *out,
                                                sensing_scratch &scratch)
{
    static_assert(SENSING_ROWS == BLOCK_THREADS, "a thread for every row");
    uint32_t nnz = self.weights.counts[COUNT_NNZ];
    for (uint32_t b = blockIdx.x; b * SENSING_ROWS < self.measurements; b += gridDim.x) {
        uint32_t i = b * SENSING_ROWS + threadIdx.x;
        double sum = 0;
        if (i < self.measurements) {
            if (target)
                sum = -target[i];
            for (uint32_t k = 0; k < nnz; k++)
                sum = fma((double)value[k], (double)self.columns[(size_t)k * self.measurements + i],
                          sum);
            out[i] = sum;
        }
        double squares = block_sum(sum * sum, scratch.sums);
        if (threadIdx.x == 0)
            self.sums[b] = squares;
    }
}

// gradient <- A_S^T residual, image <- A_S gradient; returns |gradient|^2, sets |image|^2.
__device__ __forceinline__ double find_gradient(grid_group &grid, const device_sensing &self,
                                                double &image_squares, sensing_scratch &scratch)
{
    uint32_t nnz = self.weights.counts[COUNT_NNZ];
    for (uint32_t k = blockIdx.x; k < nnz; k += gridDim.x) {
        double sum = 0;
        for (uint32_t i = threadIdx.x; i < self.measurements; i += BLOCK_THREADS)
            sum =
                fma((double)self.columns[(size_t)k * self.measurements + i], self.residual[i], sum);
        sum = block_sum(sum, scratch.sums);
        if (threadIdx.x == 0)
            self.gradient[k] = sum;
    }
    grid.sync();
    double squares = 0;
    for (uint32_t k = threadIdx.x; k < nnz; k += BLOCK_THREADS)
        squares = fma(self.gradient[k], self.gradient[k], squares);
    squares = block_sum(squares, scratch.sums);
    combine_columns(self, self.gradient, nullptr, self.image, scratch);
    grid.sync();
    image_squares = total_squares(self);
    grid.sync(); // before the sums are overwritten
    return squares;
}

// residual <- A_S x - y; returns its square.
__device__ __forceinline__ double find_residual(grid_group &grid, const device_sensing &self,
                                                sensing_scratch &scratch)
{
    combine_columns(self, self.weights.value, self.target, self.residual, scratch);
    grid.sync();
    double squares = total_squares(self);
    grid.sync();
    return squares;
}

// A wave of candidates for the selection.
struct sensing_source {
    const float *stepped;
    uint32_t first, count;

    __device__ uint32_t pieces() const
    {
        return (count + BLOCK_THREADS - 1) / BLOCK_THREADS;
    }
    __device__ uint32_t entries() const
    {
        return BLOCK_THREADS;
    }
    __device__ float value(uint32_t piece, uint32_t i) const
    {
        uint32_t at = piece * BLOCK_THREADS + i;
        return at < count ? stepped[at] : 0.0f;
    }
    __device__ void place(uint32_t piece, uint32_t i, uint32_t &row, uint32_t &column) const
    {
        row = 0;
        column = first + piece * BLOCK_THREADS + i;
    }
};

// Offers x - mu A^T r, a wave of columns at a time.
__device__ __forceinline__ void sweep_columns(grid_group &grid, const device_sensing &self,
                                              double step, sensing_scratch &scratch)
{
    for (uint32_t first = 0; first < self.length; first += SENSING_WAVE) {
        uint32_t rest = self.length - first;
        uint32_t count = rest < SENSING_WAVE ? rest : SENSING_WAVE;
        for (uint32_t i = blockIdx.x; i < count; i += gridDim.x) {
            double product = drawn_dot(self, first + i, self.residual, scratch);
            if (threadIdx.x == 0)
                self.stepped[i] = (float)(-step * product);
        }
        grid.sync();
        for (uint32_t k = thread_of_grid(); k < self.weights.counts[COUNT_NNZ];
             k += threads_of_grid()) {
            uint32_t column = self.weights.column[k];
            if (column >= first && column - first < count)
                self.stepped[column - first] += self.weights.value[k];
        }
        grid.sync();
        select_offer_wave(grid, self.select, sensing_source{self.stepped, first, count},
                          scratch.select);
    }
}

// One refit; `step` and `objective` are the same in every thread.
__device__ __forceinline__ void refit(grid_group &grid, const device_sensing &self, double &step,
                                      double &objective, double objective_chosen,
                                      uint32_t &accepted, sensing_scratch &scratch)
{
    double image_squares, squares = find_gradient(grid, self, image_squares, scratch);
    if (squares == 0)
        return;
    uint32_t nnz = self.weights.counts[COUNT_NNZ];
    bool descends = iht_line_search(&step, squares, image_squares);
    for (uint32_t k = thread_of_grid(); k < nnz; k += threads_of_grid())
        self.weights.value[k] =
            descends ? (float)((double)self.weights.value[k] - step * self.gradient[k])
                     : self.chosen[k];
    grid.sync();
    if (descends) {
        objective = find_residual(grid, self, scratch);
        accepted++;
        return;
    }
    for (uint32_t i = thread_of_grid(); i < self.measurements; i += threads_of_grid())
        self.residual[i] = self.residual_chosen[i];
    objective = objective_chosen;
    grid.sync();
}

__device__ __forceinline__ uint64_t nanoseconds()
{
    uint64_t now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
}

__global__ void __launch_bounds__(BLOCK_THREADS, 1)
    sensing_step(device_sensing self, uint32_t refits)
{
    __shared__ sensing_scratch scratch;
    grid_group grid = cooperative_groups::this_grid();
    sensing_scalars result = {};
    draw_support(self);
    grid.sync();
    result.objective_before = find_residual(grid, self, scratch);
    double step = IHT_FIRST_STEP;
    if (self.weights.counts[COUNT_NNZ]) {
        double image_squares, squares = find_gradient(grid, self, image_squares, scratch);
        step = iht_step_size(squares, image_squares);
    }
    result.first_step = step;

    uint64_t start = nanoseconds();
    select_reset(self.select);
    grid.sync();
    sweep_columns(grid, self, step, scratch);
    select_finish(grid, self.select, self.weights, scratch.select);
    result.nanoseconds = nanoseconds() - start;

    uint32_t nnz = self.weights.counts[COUNT_NNZ];
    for (uint32_t k = thread_of_grid(); k < nnz; k += threads_of_grid())
        self.chosen[k] = self.weights.value[k];
    draw_support(self);
    grid.sync();
    result.objective_chosen = result.objective_after = find_residual(grid, self, scratch);
    for (uint32_t i = thread_of_grid(); i < self.measurements; i += threads_of_grid())
        self.residual_chosen[i] = self.residual[i];
    grid.sync();
    for (uint32_t i = 0; i < refits && nnz; i++)
        refit(grid, self, step, result.objective_after, result.objective_chosen, result.refits,
              scratch);
    result.step = step;
    if (thread_of_grid() == 0)
        *self.scalars = result;
}

} // namespace reliht

extern "C" cudaError_t launch_sensing_step(cudaStream_t stream, device_sensing self,
                                           uint32_t refits)
{
    return reliht::launch_cooperative(stream, reliht::sensing_step, 0, 0, self, refits);
}
