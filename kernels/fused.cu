// One IHT step of the fused model as one cooperative launch:
//     begin   r = A w - y,  g = A_S^T r,  mu = |g|^2 / |A g|^2
//     sweep   w <- top_s(w - mu A^T r)
//     refit   w_S <- w_S - mu A_S^T (A w - y), a few times
//     solve   w_S <- w_S + delta by conjugate gradients on the normal equations
//     product A_S v - y and its gradient for values from the host
// Every block computes the same scalars from the same sums, so none waits for another one's
// decision; the first block writes them down at the end.
#include "kernels/fused.h"

#include "backend/iht_rules.h"
#include "kernels/launch.cuh"
#include "kernels/select.cuh"
#include "kernels/support.cuh"
#include "kernels/screen.cuh"
#include "kernels/sweep.cuh"

namespace reliht
{

struct fused_shared {
    fused_scalars state; // the same in every block
    device_batch data;
    union {
        support_scratch support;
        pattern_scratch patterns;
        sweep_scratch tiles;
        select_scratch select; // of a wave whose tiles are done
    };
};

// What the phases share.
struct fused_run {
    grid_group &grid;
    const device_fused &self;
    const device_batch &data;
    fused_shared &shared;
};

// Changes the block's scalars: by one thread, after all have read what they needed.
template <typename Change> __device__ void update(const fused_run &run, const Change &change)
{
    __syncthreads();
    if (threadIdx.x == 0)
        change(run.shared.state);
    __syncthreads();
}

__device__ __forceinline__ bool fails(const fused_run &run, fused_failure failure,
                                      uint64_t invalid = 0)
{
    update(run, [&](fused_scalars &state) {
        state.failure = failure;
        state.invalid = invalid;
    });
    return false;
}

__device__ __forceinline__ uint64_t nanoseconds()
{
    uint64_t time;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));
    return time;
}

__device__ __forceinline__ support_view view_of(const fused_run &run)
{
    const device_fused &self = run.self;
    return {run.data.x,
            run.data.stride,
            run.data.stride / WARP,
            self.sweep.weights.counts[COUNT_NNZ],
            self.sweep.weights.counts[COUNT_LIVE],
            self.sweep.weights,
            self.owner,
            self.patterns,
            self.sweep.mixed != 0};
}

__device__ __forceinline__ double total(const fused_run &run, const double *sums, uint32_t count)
{
    return support_total(sums, count, run.shared.support);
}

// Sum over samples, over entries of the support.
__device__ __forceinline__ double sample_total(const fused_run &run, const double *sums)
{
    return total(run, sums, run.data.stride / WARP);
}

__device__ __forceinline__ double entry_total(const fused_run &run, const double *sums)
{
    return total(run, sums, divide_up(run.self.sweep.weights.counts[COUNT_NNZ], SUPPORT_PIECE));
}

__device__ inline void copy_floats(float *to, const float *from, uint32_t count)
{
    for (uint32_t i = thread_of_grid(); i < count; i += threads_of_grid())
        to[i] = from[i];
}

// ---------------------------------------------------------------- support

// Whether the last row of the weights is the linear term.
__device__ __forceinline__ bool has_linear_row(const device_fused &self)
{
    uint32_t live = self.sweep.weights.counts[COUNT_LIVE];
    return live && self.sweep.weights.row[live - 1] == self.linear_row;
}

// Owners and patterns of the rows that hold weights; that of the linear term is full.
__device__ void support_patterns(const fused_run &run)
{
    const device_fused &self = run.self;
    const uint32_t words = run.data.stride / WARP;
    uint32_t neurons = self.sweep.weights.counts[COUNT_LIVE];
    support_owners(self.sweep.weights, self.owner);
    if (has_linear_row(self)) {
        neurons--;
        for (uint32_t w = thread_of_grid(); w < words; w += threads_of_grid())
            self.patterns[(size_t)neurons * words + w] = ~0u;
    }
    store_patterns(
        self.sweep.generators, run.data, [&](uint32_t i) { return self.sweep.weights.row[i]; },
        neurons, self.patterns, run.shared.patterns);
}

// gradient <- A_S^T r; entry_sums: its squares. Ends with a barrier.
__device__ void gradient_on_support(const fused_run &run, const support_view &view, const float *r,
                                    float *gradient)
{
    const device_fused &self = run.self;
    support_adjoint(view.x, view.stride, view.patterns, support_entries{view}, r, self.partial);
    run.grid.sync();
    support_gradient(view, self.partial, gradient, self.entry_sums, run.shared.support);
    run.grid.sync();
}

// image <- A_S v - target (or zero); returns its square. Ends with a barrier.
__device__ double image_of(const fused_run &run, const support_view &view, const float *value,
                           const float *target = nullptr)
{
    support_forward(view, value, target, run.self.image, run.self.image_sums, run.shared.support);
    run.grid.sync();
    return sample_total(run, run.self.image_sums);
}

// residual <- A_S w - y; returns its square. Ends with a barrier.
__device__ double residual_of(const fused_run &run, const support_view &view)
{
    const device_fused &self = run.self;
    support_forward(view, self.sweep.weights.value, run.data.y, self.residual, self.residual_sums,
                    run.shared.support);
    run.grid.sync();
    return sample_total(run, self.residual_sums);
}

// ---------------------------------------------------------------- begin

// generators.weights <- weights.
__device__ void keep_generators(const device_fused &self)
{
    const device_sparse &from = self.sweep.weights, &to = self.sweep.generators.weights;
    uint32_t nnz = from.counts[COUNT_NNZ], live = from.counts[COUNT_LIVE];
    for (uint32_t k = thread_of_grid(); k < nnz; k += threads_of_grid()) {
        to.column[k] = from.column[k];
        to.value[k] = from.value[k];
    }
    for (uint32_t j = thread_of_grid(); j < live; j += threads_of_grid())
        to.row[j] = from.row[j];
    for (uint32_t j = thread_of_grid(); j <= live; j += threads_of_grid())
        to.start[j] = live ? from.start[j] : 0;
    if (thread_of_grid() == 0) {
        to.counts[COUNT_NNZ] = nnz;
        to.counts[COUNT_LIVE] = live;
    }
}

__device__ bool begin(const fused_run &run)
{
    const device_fused &self = run.self;
    keep_generators(self);
    run.grid.sync();
    support_patterns(run);
    run.grid.sync();
    const support_view view = view_of(run);
    double before = residual_of(run, view), step = IHT_FIRST_STEP;
    if (view.nnz) {
        gradient_on_support(run, view, run.self.residual, run.self.gradient);
        double squares = entry_total(run, self.entry_sums);
        step = iht_step_size(squares, image_of(run, view, self.gradient));
    }
    update(run, [&](fused_scalars &state) {
        state.objective_before = state.objective_chosen = state.objective_after = before;
        state.step_size = state.step = step;
        state.refits = state.swept = 0;
        state.sweep_time = 0;
    });
    if (thread_of_grid() == 0)
        self.scalars->step = step; // for the sweep
    return isfinite(before) && isfinite(step) ? true : fails(run, FUSED_BEGIN_INFINITE);
}

// ---------------------------------------------------------------- sweep

// row_gradients [count, inputs] <- X^T (D_j r) of the neurons neuron_at(0 .. count - 1). Ends with
// a barrier.
template <typename Neurons>
__device__ void gradient_rows(const fused_run &run, const Neurons &neuron_at, uint32_t count)
{
    const device_fused &self = run.self;
    const dense_entries entries = {count, run.data.inputs};
    store_patterns(self.sweep.generators, run.data, neuron_at, count, self.row_patterns,
                   run.shared.patterns);
    run.grid.sync();
    support_adjoint(run.data.x, run.data.stride, self.row_patterns, entries, self.residual,
                    self.partial);
    run.grid.sync();
    for (uint32_t k = thread_of_grid(); k < entries.count(); k += threads_of_grid())
        self.row_gradients[k] =
            (float)support_spans(self.partial, run.data.stride, entries.count(), k);
    run.grid.sync();
}

// Offers the candidates of all neurons in question; with screening of those with weights, then of
// the others that aren't left out. Returns how many were swept.
__device__ uint32_t offer_neurons(const fused_run &run)
{
    const device_fused &self = run.self;
    const screen_view view = {run.grid,    self.screen,     self.sweep,        run.data,
                              self.select, self.image_sums, run.shared.support};
    const uint32_t live = self.sweep.weights.counts[COUNT_LIVE];
    sweep_part part = whole_sweep(self.sweep);
    bool more = self.screen.kind != SCREEN_NONE && !self.sweep.generators.use_weights;
    if (more) {
        part.facts = screen_begin(view, run.shared.state.objective_before);
        part.end = live;
        part.bound = self.screen.bound;
    }
    for (;;) {
        sweep_run(run.grid, self.sweep, part, run.shared.tiles,
                  [&](const sweep_candidates &candidates) {
                      select_offer_wave(run.grid, self.select, candidates, run.shared.select);
                  });
        if (!more)
            return part.end;
        select_cut(run.grid, self.select, run.shared.select);
        const screen_rest rest = screen_decide(view, part.facts);
        part.first = live;
        part.end = live + rest.count;
        part.list = rest.list;
        more = false;
    }
}

__device__ bool sweep(const fused_run &run)
{
    const device_fused &self = run.self;
    update(run, [](fused_scalars &state) { state.sweep_time = nanoseconds(); });
    select_reset(self.select);
    run.grid.sync();
    const uint32_t swept = offer_neurons(run);
    uint64_t invalid = self.select.scalars->invalid;
    if (invalid != SELECT_VALID)
        return fails(run, FUSED_WEIGHT_INFINITE, invalid);
    select_finish(run.grid, self.select, self.sweep.weights, run.shared.select);
    update(run, [](fused_scalars &state) { state.sweep_time = nanoseconds() - state.sweep_time; });
    support_patterns(run);
    run.grid.sync();
    const support_view view = view_of(run);
    copy_floats(self.chosen, self.sweep.weights.value, view.nnz);
    double objective = residual_of(run, view);
    copy_floats(self.residual_chosen, self.residual, run.data.stride);
    update(run, [&](fused_scalars &state) {
        state.objective_chosen = state.objective_after = objective;
        state.swept = swept;
    });
    return true;
}

// ---------------------------------------------------------------- refits

// v <- v - mu g with its residual, or back to what the sweep chose if no mu is short enough.
__device__ void take_refit(const fused_run &run, const support_view &view, bool accepted,
                           float step)
{
    const device_fused &self = run.self;
    if (accepted) {
        for (uint32_t k = thread_of_grid(); k < view.nnz; k += threads_of_grid())
            self.sweep.weights.value[k] =
                fmaf(-step, self.gradient[k], self.sweep.weights.value[k]);
        support_descend(view.words, self.residual, self.image, step, self.residual_sums);
    } else {
        copy_floats(self.sweep.weights.value, self.chosen, view.nnz);
        copy_floats(self.residual, self.residual_chosen, view.stride);
    }
}

__device__ void refit(const fused_run &run)
{
    const support_view view = view_of(run);
    double step = run.shared.state.step, objective = run.shared.state.objective_after;
    uint32_t taken = 0;
    for (uint32_t i = 0; i < run.self.request->refits && view.nnz; i++) {
        gradient_on_support(run, view, run.self.residual, run.self.gradient);
        double squares = entry_total(run, run.self.entry_sums);
        if (squares == 0)
            break;
        double image = image_of(run, view, run.self.gradient);
        bool accepted = iht_line_search(&step, squares, image);
        take_refit(run, view, accepted, (float)step);
        run.grid.sync();
        objective = accepted ? sample_total(run, run.self.residual_sums)
                             : run.shared.state.objective_chosen;
        taken += accepted;
    }
    update(run, [&](fused_scalars &state) {
        state.step = step;
        state.objective_after = objective;
        state.refits += taken;
    });
}

// ---------------------------------------------------------------- solve

// First entry of the linear term, or nnz without one.
__device__ __forceinline__ uint32_t linear_entries(const device_fused &self,
                                                   const support_view &view)
{
    return has_linear_row(self) ? self.sweep.weights.start[view.live - 1] : view.nnz;
}

__device__ __forceinline__ float half_sign(const support_view &view, uint32_t k)
{
    return 0.5f * neuron_sign(view.mixed, view.support.row[view.owner[k]]);
}

// values <- (w, b) of the variables (v, a): w = v, b = a - 1/2 sum_j sign_j v_j. A warp takes an
// input of the linear term, which holds every one.
__device__ void weights_of_variables(const fused_run &run, const support_view &view,
                                     const float *variables, float *values)
{
    const uint32_t linear = linear_entries(run.self, view);
    copy_floats(values, variables, linear);
    for (uint32_t k = linear + blockIdx.x * BLOCK_WARPS + warp_index(); k < view.nnz;
         k += gridDim.x * BLOCK_WARPS) {
        double sum = 0;
        for (uint32_t i = lane_index(); i < linear; i += WARP)
            if (view.support.column[i] == k - linear)
                sum += (double)(half_sign(view, i) * variables[i]);
        sum = warp_sum(sum);
        if (lane_index() == 0)
            values[k] = (float)((double)variables[k] - sum);
    }
}

// values <- the steepest descent in (v, a) less damping * delta, from the gradient in (w, b);
// returns its square. Ends with a barrier.
__device__ double descent_of_gradient(const fused_run &run, const support_view &view,
                                      double damping, float *values)
{
    const device_fused &self = run.self;
    const uint32_t linear = linear_entries(self, view);
    gradient_on_support(run, view, run.self.residual, run.self.gradient);
    for_entries(view.nnz, self.entry_sums, run.shared.support, [&](uint32_t k) {
        float g = self.gradient[k];
        if (k < linear && linear < view.nnz)
            g -= half_sign(view, k) * self.gradient[linear + view.support.column[k]];
        g = (float)(-(double)g - damping * (double)self.delta[k]);
        values[k] = g;
        return (double)g * (double)g;
    });
    run.grid.sync();
    return entry_total(run, self.entry_sums);
}

// direction <- factor * direction + descent; length_sums: its squares. Ends with a barrier.
__device__ void turn(const fused_run &run, const support_view &view, float factor,
                     const float *descent)
{
    float *direction = run.self.direction;
    for_entries(view.nnz, run.self.length_sums, run.shared.support, [&](uint32_t k) {
        float d = factor == 0 ? descent[k] : fmaf(factor, direction[k], descent[k]);
        direction[k] = d;
        return (double)d * (double)d;
    });
    run.grid.sync();
}

// Iterations of CGLS on delta and the residual; returns their number.
__device__ uint32_t conjugate_gradients(const fused_run &run, const support_view &view,
                                        double *objective)
{
    const device_fused &self = run.self;
    const fused_request &request = *self.request;
    float *values = self.chosen, *descent = self.chosen;
    double damping = 0, norm = 0, squares = descent_of_gradient(run, view, damping, descent);
    const double target = request.tolerance * request.tolerance * squares;
    turn(run, view, 0, descent);
    uint32_t i = 0;
    for (; i < request.iterations && squares > target && squares > 0; i++) {
        weights_of_variables(run, view, self.direction, values);
        run.grid.sync();
        double image = image_of(run, view, values);
        double length = entry_total(run, self.length_sums);
        if (i == 0)
            damping = request.damping * image / length;
        double curvature = image + damping * length;
        if (!curvature_in_range(curvature)) {
            if (i == 0)
                *objective = NAN;
            break;
        }
        norm = fmax(norm, image / length);
        float step = (float)(squares / curvature);
        for (uint32_t k = thread_of_grid(); k < view.nnz; k += threads_of_grid())
            self.delta[k] = fmaf(step, self.direction[k], self.delta[k]);
        support_descend(view.words, self.residual, self.image, -step, self.residual_sums);
        run.grid.sync();
        *objective = sample_total(run, self.residual_sums);
        double next = descent_of_gradient(run, view, damping, descent);
        if (least_squares_solved(next, norm, *objective))
            return i + 1;
        turn(run, view, (float)(next / squares), descent);
        squares = next;
    }
    return i;
}

__device__ bool solve(const fused_run &run)
{
    const device_fused &self = run.self;
    const support_view view = view_of(run);
    if (!view.nnz)
        return true;
    const uint32_t linear = linear_entries(self, view);
    if (linear < view.nnz && view.nnz - linear != run.data.inputs)
        return fails(run, FUSED_LINEAR_PARTIAL, view.nnz - linear);
    for (uint32_t k = thread_of_grid(); k < view.nnz; k += threads_of_grid())
        self.delta[k] = 0;
    double objective = run.shared.state.objective_after;
    uint32_t iterations = conjugate_gradients(run, view, &objective);
    weights_of_variables(run, view, self.delta, self.chosen);
    run.grid.sync();
    for (uint32_t k = thread_of_grid(); k < view.nnz; k += threads_of_grid())
        self.sweep.weights.value[k] += self.chosen[k];
    update(run, [&](fused_scalars &state) {
        state.objective_after = objective;
        state.refits += iterations;
    });
    return isfinite(objective) ? true : fails(run, FUSED_SOLUTION_INFINITE);
}

// ---------------------------------------------------------------- products

__device__ void product(const fused_run &run)
{
    const device_fused &self = run.self;
    const support_view view = view_of(run);
    double squares = image_of(run, view, self.direction, run.data.y);
    gradient_on_support(run, view, self.image, self.delta);
    update(run, [&](fused_scalars &state) { state.product = squares; });
}

// ---------------------------------------------------------------- kernels

__device__ void run_phases(const fused_run &run)
{
    const uint32_t phases = run.self.request->phases;
    if (phases & FUSED_BEGIN && !begin(run))
        return;
    if (phases & FUSED_SWEEP && !sweep(run))
        return;
    if (phases & FUSED_REFIT)
        refit(run);
    if (phases & FUSED_SOLVE && !solve(run))
        return;
    if (phases & FUSED_PRODUCT)
        product(run);
}

extern __shared__ __align__(128) unsigned char dynamic_shared[];

__global__ void __launch_bounds__(BLOCK_THREADS)
    fused_step(const __grid_constant__ device_fused self)
{
    fused_shared &shared = *reinterpret_cast<fused_shared *>(dynamic_shared);
    grid_group grid = cooperative_groups::this_grid();
    const fused_run run = {grid, self, shared.data, shared};
    if (threadIdx.x == 0) {
        shared.data = *self.sweep.batch;
        shared.state = *self.scalars;
        shared.state.failure = FUSED_FINE;
    }
    __syncthreads();
    run_phases(run);
    grid.sync(); // all have read the scalars
    if (thread_of_grid() == 0) {
        shared.state.nnz = self.sweep.weights.counts[COUNT_NNZ];
        shared.state.live = self.sweep.weights.counts[COUNT_LIVE];
        *self.scalars = shared.state;
    }
}

__global__ void __launch_bounds__(BLOCK_THREADS)
    fused_gradients(const __grid_constant__ device_fused self, uint32_t first, uint32_t rows)
{
    fused_shared &shared = *reinterpret_cast<fused_shared *>(dynamic_shared);
    grid_group grid = cooperative_groups::this_grid();
    const fused_run run = {grid, self, shared.data, shared};
    if (threadIdx.x == 0)
        shared.data = *self.sweep.batch;
    __syncthreads();
    const device_generators &generators = self.sweep.generators;
    gradient_rows(
        run,
        [&](uint32_t i) { return generators.use_weights ? generators.weights.row[i] : first + i; },
        rows);
}

} // namespace reliht

cudaError_t launch_fused_step(cudaStream_t stream, device_fused self)
{
    return reliht::launch_cooperative(stream, reliht::fused_step, sizeof(reliht::fused_shared), 0,
                                      self);
}

cudaError_t launch_fused_gradients(cudaStream_t stream, device_fused self, uint32_t first,
                                   uint32_t rows)
{
    return reliht::launch_cooperative(stream, reliht::fused_gradients, sizeof(reliht::fused_shared),
                                      0, self, first, rows);
}
