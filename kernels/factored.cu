// One step of the factored model, in one cooperative launch:
//     forward     yhat, loss, R; which inputs matter            (factored_forward.cuh)
//     choice      gradients of all entries, importance, top_s   (factored_gradient, _choose.cuh)
//     or          the published greedy choice                   (factored_greedy.cuh)
//     support     neurons with both sides; gradient on them     (factored_weights, _gradient.cuh)
//     step        Adam on the support, zeros leave              (factored_weights.cuh)
// The inputs come from memory once and from the second-level cache after that; gradients of all
// entries go from registers into the sketch. A step that fails leaves the weights as they were and
// `failure` set, and the steps queued after it do nothing.
#include "kernels/factored.h"

#include "kernels/factored_choose.cuh"
#include "kernels/factored_forward.cuh"
#include "kernels/factored_greedy.cuh"
#include "kernels/factored_weights.cuh"
#include "kernels/launch.cuh"

using namespace reliht;

namespace
{

constexpr unsigned BLOCKS = 1; // resident on a processor

union step_scratch {
    forward_scratch forward;
    choice_scratch choice;
    greedy_scratch greedy;
    double sums[BLOCK_WARPS];
    uint32_t words[BLOCK_WARPS];
};

__device__ uint64_t nanoseconds()
{
    uint64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    return now;
}

// Residual, loss and active inputs. False if the loss isn't finite. Ends with a barrier.
__device__ bool forward(grid_group &grid, const device_factored &self, const factored_view &view,
                        bool choose, bool finite, step_scratch &scratch)
{
    factored_state &state = *self.state;
    if (thread_of_grid() == 0) {
        state.quanta[0] = state.quanta[1] = state.overflow = 0;
        state.invalid = UINT64_MAX;
        state.choice_nanoseconds = 0;
    }
    forward_pieces(self, view, scratch.forward);
    if (choose)
        flag_active_inputs(self, view.batch);
    grid.sync();
    if (blockIdx.x == 0) {
        add_losses(self, view, finite, scratch.sums);
        if (choose)
            list_active_inputs(self, scratch.words);
    }
    grid.sync();
    return state.failure == FACTORED_FINE;
}

// next <- now on the next support. False if the step fails. Ends with a barrier.
__device__ bool find_support(grid_group &grid, const device_factored &self,
                             const factored_view &view, bool choose, double step_size,
                             step_scratch &scratch)
{
    if (!choose) {
        keep_support(self);
        grid.sync();
        return true;
    }
    if (!choose_support(grid, self, view, step_size, scratch.choice))
        return false;
    if (blockIdx.x == 0)
        place_complete_rows(self, scratch.words);
    grid.sync();
    take_support(self, view);
    grid.sync();
    return true;
}

// now <- the stepped weights of next. Begins after a barrier of the grid.
__device__ void step_support(grid_group &grid, const device_factored &self,
                             const factored_view &view, double step_size, step_scratch &scratch)
{
    support_gradient(self, view, self.next.list);
    grid.sync();
    step_values(self, view.batch, step_size);
    grid.sync();
    if (blockIdx.x == 0) {
        update_scale(self, scratch.sums);
        __syncthreads();
        place_left_rows(self, scratch.words);
    }
    grid.sync();
    take_weights(self);
}

__device__ void report(const device_factored &self, const factored_view &view, double step_size)
{
    if (thread_of_grid())
        return;
    factored_state &state = *self.state;
    state.step_size = step_size;
    state.nnz = self.now.list.counts[COUNT_NNZ];
    state.draws += view.draw;
}

// next's values <- the gradient on the weights. Begins after a barrier of the grid.
__device__ void evaluate(grid_group &grid, const device_factored &self, const factored_view &view)
{
    keep_support(self);
    grid.sync();
    support_gradient(self, view, self.next.list);
    grid.sync();
    take_gradient(self, view.batch);
}

// The step after the forward pass. False if it fails.
__device__ bool take_step(grid_group &grid, const device_factored &self, const factored_view &view,
                          bool choose, double step_size, step_scratch &scratch)
{
    uint64_t start = nanoseconds();
    if (self.importance == FACTORED_GREEDY)
        greedy_step(grid, self, view, (float)step_size, scratch.choice.tile, scratch.greedy);
    else if (!find_support(grid, self, view, choose, step_size, scratch))
        return false;
    if (choose && thread_of_grid() == 0)
        self.state->choice_nanoseconds = nanoseconds() - start;
    if (self.importance != FACTORED_GREEDY)
        step_support(grid, self, view, step_size, scratch);
    return true;
}

} // namespace

__global__ void __launch_bounds__(BLOCK_THREADS, BLOCKS)
    factored_step(const __grid_constant__ device_factored self, const device_batch *batch,
                  uint32_t kind)
{
    extern __shared__ __align__(16) unsigned char memory[];
    __shared__ factored_view view;
    step_scratch &scratch = *reinterpret_cast<step_scratch *>(memory);
    grid_group grid = cooperative_groups::this_grid();
    if (self.state->failure)
        return;
    if (threadIdx.x == 0)
        view = view_of(self, *batch, kind);
    __syncthreads();
    const double step_size = self.request->step_scale * self.rate;
    const bool evaluation = kind & FACTORED_EVALUATE;
    const bool choose = self.importance == FACTORED_GREEDY || !(kind & FACTORED_KEEP);
    if (!forward(grid, self, view, choose, !evaluation, scratch))
        return;
    if (evaluation)
        evaluate(grid, self, view);
    else if (!take_step(grid, self, view, choose, step_size, scratch))
        return;
    report(self, view, step_size);
}

__global__ void __launch_bounds__(BLOCK_THREADS, BLOCKS)
    factored_candidates(const __grid_constant__ device_factored self, const device_batch *batch,
                        uint32_t count)
{
    extern __shared__ __align__(16) unsigned char memory[];
    __shared__ factored_view view;
    step_scratch &scratch = *reinterpret_cast<step_scratch *>(memory);
    grid_group grid = cooperative_groups::this_grid();
    if (self.state->failure)
        return;
    if (threadIdx.x == 0)
        view = view_of(self, *batch, 0);
    __syncthreads();
    choose_candidates(grid, self, view, count, scratch.choice);
}

cudaError_t launch_factored_step(cudaStream_t stream, const device_factored *self,
                                 const device_batch *view, uint32_t kind)
{
    return launch_cooperative(stream, factored_step, sizeof(step_scratch), 0, *self, view, kind);
}

cudaError_t launch_factored_candidates(cudaStream_t stream, const device_factored *self,
                                       const device_batch *view, uint32_t count)
{
    return launch_cooperative(stream, factored_candidates, sizeof(step_scratch), 0, *self, view,
                              count);
}
