// From the support that was chosen to the next weights: neurons without inputs or outputs leave,
// weights that enter are zero, all take their step, and what is zero afterwards leaves.
//
// Rows are counted and placed by one block, entries moved and stepped by all warps, a row each.
#ifndef RELIHT_KERNELS_FACTORED_WEIGHTS_CUH
#define RELIHT_KERNELS_FACTORED_WEIGHTS_CUH

#include "kernels/factored_gradient.cuh"
#include "kernels/select.cuh"

namespace reliht
{

// ---------------------------------------------------------------- rows

// Rows of `from` with any entries left become the rows of `to`; count(i): entries left of row
// number i. By one block. `scratch`: BLOCK_WARPS words.
template <typename Count>
__device__ void place_rows(const device_factored &self, const device_sparse &from,
                           const device_sparse &to, Count count, uint32_t *scratch)
{
    uint32_t live = from.counts[COUNT_LIVE], rows = 0, entries = 0;
    for (uint32_t first = 0; first < live; first += BLOCK_THREADS) {
        uint32_t i = first + threadIdx.x, row_total, entry_total;
        uint32_t left = i < live ? count(i) : 0;
        uint32_t row = rows + block_scan(left != 0, scratch, row_total);
        uint32_t start = entries + block_scan(left, scratch, entry_total);
        if (left) {
            to.row[row] = from.row[i];
            to.start[row] = start;
            self.row_source[row] = i;
        }
        rows += row_total;
        entries += entry_total;
    }
    if (threadIdx.x)
        return;
    to.start[rows] = entries;
    to.counts[COUNT_LIVE] = rows;
    to.counts[COUNT_NNZ] = entries;
}

__device__ __forceinline__ uint32_t first_warp()
{
    return blockIdx.x * BLOCK_WARPS + warp_index();
}

__device__ __forceinline__ uint32_t all_warps()
{
    return gridDim.x * BLOCK_WARPS;
}

// ---------------------------------------------------------------- support

// Rows of the choice whose neuron has entries on its other side as well: the others do nothing, and
// no gradient would ever reach them. By one block.
__device__ inline void place_complete_rows(const device_factored &self, uint32_t *scratch)
{
    const device_sparse &chosen = self.chosen;
    uint32_t live = chosen.counts[COUNT_LIVE];
    auto count = [&](uint32_t i) {
        uint32_t row = chosen.row[i];
        uint32_t other = is_output_row(self, row) ? row - self.hidden : output_row(self, row);
        uint32_t at = lower_bound(chosen.row, live, other);
        bool complete = at < live && chosen.row[at] == other;
        return complete ? chosen.start[i + 1] - chosen.start[i] : 0u;
    };
    place_rows(self, chosen, self.next.list, count, scratch);
}

__device__ inline void move_means(const device_factored &self, const device_factored_weights &from,
                                  uint32_t at, const device_factored_weights &to, uint32_t place)
{
    if (!self.automatic)
        return;
    to.mean[place] = from.mean[at];
    to.root[place] = from.root[at];
    to.age[place] = from.age[at];
}

__device__ inline void forget_means(const device_factored &self, const device_factored_weights &to,
                                    uint32_t place)
{
    if (!self.automatic)
        return;
    to.mean[place] = to.root[place] = 0.0f;
    to.age[place] = 0;
}

// next <- now on the rows that were placed; weights that enter are zero.
__device__ inline void take_support(const device_factored &self, const factored_view &view)
{
    const device_sparse &next = self.next.list, &now = self.now.list;
    for (uint32_t r = first_warp(); r < next.counts[COUNT_LIVE]; r += all_warps()) {
        uint32_t from = self.chosen.start[self.row_source[r]], to = next.start[r];
        factored_row old = listed_row(now, view.live, next.row[r]);
        for (uint32_t k = lane_index(); k < next.start[r + 1] - to; k += WARP) {
            uint32_t column = self.chosen.column[from + k];
            uint32_t at = find_column(old, column);
            bool there = at < old.count;
            next.column[to + k] = column;
            next.value[to + k] = there ? old.value[at] : 0.0f;
            if (there)
                move_means(self, self.now, (uint32_t)(old.value - now.value) + at, self.next,
                           to + k);
            else
                forget_means(self, self.next, to + k);
        }
    }
}

// next <- now.
__device__ inline void keep_support(const device_factored &self)
{
    const device_sparse &next = self.next.list, &now = self.now.list;
    uint32_t live = now.counts[COUNT_LIVE], nnz = now.counts[COUNT_NNZ];
    for (uint32_t i = thread_of_grid(); i <= live; i += threads_of_grid()) {
        next.start[i] = now.start[i];
        if (i < live)
            next.row[i] = now.row[i];
    }
    for (uint32_t i = thread_of_grid(); i < nnz; i += threads_of_grid()) {
        next.column[i] = now.column[i];
        next.value[i] = now.value[i];
        move_means(self, self.now, i, self.next, i);
    }
    if (thread_of_grid() < 2)
        next.counts[thread_of_grid()] = now.counts[thread_of_grid()];
}

// ---------------------------------------------------------------- step

// Gradient of entry i of next from its parts.
__device__ inline float part_sum(const device_factored &self, const device_batch &batch, uint32_t i)
{
    double sum = 0;
    for (uint32_t split = 0; split < sample_splits(batch); split++)
        sum += (double)self.partial[(size_t)split * self.nnz + i];
    return (float)sum;
}

// next's values <- the gradient on them.
__device__ inline void take_gradient(const device_factored &self, const device_batch &batch)
{
    for (uint32_t i = thread_of_grid(); i < self.next.list.counts[COUNT_NNZ];
         i += threads_of_grid())
        self.next.list.value[i] = part_sum(self, batch, i);
}

__device__ __forceinline__ double inverse_root(double square)
{
    return square > 0 ? 1.0 / sqrt(square) : 0.0;
}

// Change of a weight by its gradient: Adam's, or the published -size * g.
__device__ inline double weight_update(const device_factored &self, uint32_t i, double gradient,
                                       double size)
{
    if (!self.automatic)
        return -size * gradient;
    const device_factored_weights &next = self.next;
    double mean = self.mean_decay * (double)next.mean[i] + (1 - self.mean_decay) * gradient;
    double root = (double)next.root[i];
    double square = self.square_decay * root * root + (1 - self.square_decay) * gradient * gradient;
    uint32_t age = min(next.age[i], self.corrections - 1);
    next.mean[i] = (float)mean;
    next.root[i] = (float)sqrt(square);
    next.age[i] = min(age + 1, self.corrections - 1);
    return -size * mean * self.correction[age] *
           inverse_root(square * self.correction[self.corrections + age]);
}

// Steps the values of next, row by row; row_count: what isn't zero afterwards.
__device__ inline void step_values(const device_factored &self, const device_batch &batch,
                                   double step_size)
{
    const device_sparse &next = self.next.list;
    for (uint32_t r = first_warp(); r < next.counts[COUNT_LIVE]; r += all_warps()) {
        bool output = is_output_row(self, next.row[r]);
        double size = (output ? self.output_unit : self.hidden_unit) * step_size, square = 0;
        uint32_t left = 0;
        for (uint32_t i = next.start[r] + lane_index(); i < next.start[r + 1]; i += WARP) {
            double gradient = (double)part_sum(self, batch, i);
            square += gradient * gradient;
            float value = (float)((double)next.value[i] + weight_update(self, i, gradient, size));
            next.value[i] = value;
            left += value != 0.0f;
        }
        square = warp_sum(square);
        left = warp_sum(left);
        if (lane_index() == 0) {
            self.row_count[r] = left;
            self.row_square[r] = square;
        }
    }
}

// Smoothed mean square of the gradient on the support, W1 and W2 apart. By one block.
__device__ inline void update_scale(const device_factored &self, double *scratch)
{
    const device_sparse &next = self.next.list;
    uint32_t live = next.counts[COUNT_LIVE];
    uint32_t split = lower_bound(next.row, live, self.hidden);
    factored_state &state = *self.state;
    bool smoothed = state.smoothed;
    for (unsigned half = 0; half < 2; half++) {
        uint32_t first = half ? split : 0, last = half ? live : split;
        double sum = 0;
        for (uint32_t r = first + threadIdx.x; r < last; r += BLOCK_THREADS)
            sum += self.row_square[r];
        sum = block_sum(sum, scratch);
        if (threadIdx.x || sum == 0)
            continue;
        double mean = sum / (double)(next.start[last] - next.start[first]);
        state.mean_square[half] =
            smoothed ? self.scale_decay * state.mean_square[half] + (1 - self.scale_decay) * mean
                     : mean;
    }
    if (threadIdx.x == 0 && next.start[live])
        state.smoothed = 1;
}

__device__ inline void place_left_rows(const device_factored &self, uint32_t *scratch)
{
    auto count = [&](uint32_t i) { return self.row_count[i]; };
    place_rows(self, self.next.list, self.now.list, count, scratch);
}

// now <- what isn't zero of next, on the rows that were placed.
__device__ inline void take_weights(const device_factored &self)
{
    const device_sparse &next = self.next.list, &now = self.now.list;
    for (uint32_t r = first_warp(); r < now.counts[COUNT_LIVE]; r += all_warps()) {
        uint32_t source = self.row_source[r], to = now.start[r];
        uint32_t first = next.start[source], last = next.start[source + 1];
        for (uint32_t k = first; k < last; k += WARP) {
            uint32_t i = k + lane_index();
            bool stays = i < last && next.value[i] != 0.0f;
            unsigned staying = __ballot_sync(ALL_LANES, stays);
            uint32_t at = to + __popc(staying & ((1u << lane_index()) - 1));
            if (stays) {
                now.column[at] = next.column[i];
                now.value[at] = next.value[i];
                move_means(self, self.next, i, self.now, at);
            }
            to += __popc(staying);
        }
    }
}

} // namespace reliht

#endif
