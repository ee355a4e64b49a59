// The dense baseline between its products (cuBLAS): loss and its gradient, relu backward, Adam,
// first values, and pruning by global magnitude. The arithmetic of Adam and of the first values is
// the CPU's, operation by operation.
//
// Sums: a thread adds up its sample in double, output by output; samples are added in a fixed tree
// by blocks of DENSE_SAMPLES, these in order. Nothing depends on the number of blocks.
#include "kernels/dense.h"
#include "kernels/launch.cuh"
#include "kernels/random.cuh"

#include <cfloat>

namespace reliht
{

static_assert(DENSE_SAMPLES == BLOCK_THREADS, "a thread for every sample");

// Blocks for `count` threads of a loop over a grid.
static unsigned blocks_for(uint64_t count)
{
    uint64_t blocks = (count + BLOCK_THREADS - 1) / BLOCK_THREADS;
    return (unsigned)(blocks < 1 ? 1 : blocks < 4096 ? blocks : 4096);
}

__device__ __forceinline__ uint64_t first_place()
{
    return (uint64_t)blockIdx.x * BLOCK_THREADS + threadIdx.x;
}

__device__ __forceinline__ uint64_t stride_of_grid()
{
    return (uint64_t)gridDim.x * BLOCK_THREADS;
}

// ---------------------------------------------------------------- first values

__global__ void dense_fill(device_dense self)
{
    for (uint64_t i = first_place(); i < self.weights; i += stride_of_grid())
        self.mask[i] = 1;
}

// A thread makes the four numbers of a block of random words.
__global__ void dense_draw(device_dense self, uint64_t seed, uint32_t matrix, uint64_t offset,
                           uint64_t rows, uint64_t columns, float bound)
{
    uint64_t quads = (columns + 3) / 4;
    for (uint64_t i = first_place(); i < rows * quads; i += stride_of_grid()) {
        uint64_t row = i / quads, quad = i % quads;
        uint4 words = random_block(seed, RNG_DENSE, (uint64_t)matrix << 32 | row, (uint32_t)quad);
        const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (uint32_t k = 0; k < 4; k++) {
            uint64_t column = 4 * quad + k, at = offset + row * columns + column;
            float u = (float)(int32_t)(2 * (word[k] >> 9) + 1) * 0x1p-23f - 1.0f;
            if (column < columns)
                self.weight[at] = self.mask[at] ? bound * u : 0.0f;
        }
    }
}

// ---------------------------------------------------------------- loss

// Of sample i; its residual takes the place of the outputs.
__device__ double square_loss(float *residual, const float *target, const int32_t *labels,
                              uint32_t i, uint32_t stride, uint32_t outputs, float factor)
{
    double sum = 0;
    for (uint32_t k = 0; k < outputs; k++) {
        size_t at = (size_t)k * stride + i;
        float wanted = target ? target[at] : (float)(labels[i] == (int32_t)k);
        float error = residual[at] - wanted;
        sum += (double)error * (double)error;
        residual[at] = factor * error;
    }
    return sum / outputs;
}

__device__ double entropy_loss(float *residual, int32_t label, uint32_t i, uint32_t stride,
                               uint32_t outputs, float factor)
{
    float largest = residual[i];
    for (uint32_t k = 1; k < outputs; k++)
        largest = fmaxf(largest, residual[(size_t)k * stride + i]);
    double loss = (double)largest - (double)residual[(size_t)label * stride + i], sum = 0;
    for (uint32_t k = 0; k < outputs; k++) {
        size_t at = (size_t)k * stride + i;
        float shifted = residual[at] - largest;
        float power = (float)exp((double)shifted);
        residual[at] = power;
        sum += (double)power;
    }
    float scale = factor / (float)sum;
    for (uint32_t k = 0; k < outputs; k++)
        residual[(size_t)k * stride + i] *= scale;
    residual[(size_t)label * stride + i] -= factor;
    return loss + log(sum);
}

__global__ void dense_loss(device_dense self, float *residual, const float *target,
                           const int32_t *labels, uint32_t samples, uint32_t stride,
                           uint32_t outputs, int entropy)
{
    __shared__ double scratch[BLOCK_WARPS];
    uint32_t i = blockIdx.x * DENSE_SAMPLES + threadIdx.x;
    double loss = 0, n = samples;
    if (i < samples && entropy)
        loss = entropy_loss(residual, labels[i], i, stride, outputs, (float)(1.0 / n));
    else if (i < samples)
        loss =
            square_loss(residual, target, labels, i, stride, outputs, (float)(2.0 / (n * outputs)));
    loss = block_sum(loss, scratch);
    if (threadIdx.x == 0)
        self.losses[blockIdx.x] = loss;
}

// The loss of the batch, and whether and how Adam steps. One block.
__global__ void dense_total(device_dense self, dense_rules rules, uint32_t samples)
{
    __shared__ double scratch[BLOCK_WARPS];
    uint32_t blocks = divide_up(samples, DENSE_SAMPLES);
    double loss = 0;
    for (uint32_t b = threadIdx.x; b < blocks; b += BLOCK_THREADS)
        loss += self.losses[b];
    loss = block_sum(loss, scratch);
    if (threadIdx.x != 0)
        return;
    dense_state *state = self.state;
    if (state->skipped || !(loss / samples <= (double)FLT_MAX)) {
        state->skipped++;
        return;
    }
    state->loss_sum += loss;
    state->samples += samples;
    double t = (double)++state->step;
    state->mean_keep = (float)rules.mean_decay;
    state->mean_take = (float)(1.0 - rules.mean_decay);
    state->square_keep = (float)rules.square_decay;
    state->square_take = (float)(1.0 - rules.square_decay);
    state->size = (float)(rules.learning_rate / (1.0 - pow(rules.mean_decay, t)));
    state->root = (float)(1.0 / sqrt(1.0 - pow(rules.square_decay, t)));
    state->epsilon = (float)rules.epsilon;
}

// ---------------------------------------------------------------- steps

__global__ void dense_backward(const float *activation, float *error, size_t count)
{
    for (uint64_t i = first_place(); i < count; i += stride_of_grid())
        if (!(activation[i] > 0.0f))
            error[i] = 0.0f;
}

__global__ void dense_adam(device_dense self)
{
    const dense_state s = *self.state;
    if (s.skipped)
        return;
    for (uint64_t i = first_place(); i < self.weights; i += stride_of_grid()) {
        float g = self.mask[i] ? self.gradient[i] : 0.0f;
        float m = s.mean_keep * self.mean[i] + s.mean_take * g;
        float v = s.square_keep * self.square[i] + s.square_take * (g * g);
        self.mean[i] = m;
        self.square[i] = v;
        self.weight[i] -= s.size * (m / (sqrtf(v) * s.root + s.epsilon));
    }
}

// ---------------------------------------------------------------- pruning

constexpr uint32_t INFINITE = 0x7f800000u;
constexpr unsigned THREAD_BUCKETS = DENSE_BUCKETS / BLOCK_THREADS;

struct prune_scratch {
    uint32_t bins[DENSE_BUCKETS];
    unsigned long long sums[BLOCK_THREADS];
    uint32_t scan[BLOCK_WARPS];
    uint32_t bucket;
    uint64_t keep;
};

__device__ __forceinline__ uint32_t bits_of(float value)
{
    return __float_as_uint(value) & 0x7fffffffu;
}

__device__ void find_invalid(const device_dense &self)
{
    for (uint64_t i = first_place(); i < self.weights; i += stride_of_grid())
        if (bits_of(self.weight[i]) >= INFINITE) {
            atomicMin((unsigned long long *)&self.state->invalid, (unsigned long long)i);
            return;
        }
}

// How many masked weights have each value of a digit, their upper digits being those of `prefix`.
__device__ void count_digit(const device_dense &self, unsigned shift, unsigned width,
                            uint32_t prefix, unsigned long long *bins, prune_scratch &scratch)
{
    for (uint32_t b = threadIdx.x; b < DENSE_BUCKETS; b += BLOCK_THREADS)
        scratch.bins[b] = 0;
    __syncthreads();
    for (uint64_t i = first_place(); i < self.weights; i += stride_of_grid()) {
        uint32_t bits = bits_of(self.weight[i]) >> shift;
        if (self.mask[i] && bits >> width == prefix)
            atomicAdd(&scratch.bins[bits & ((1u << width) - 1)], 1u);
    }
    __syncthreads();
    for (uint32_t b = threadIdx.x; b < DENSE_BUCKETS; b += BLOCK_THREADS)
        if (scratch.bins[b])
            atomicAdd(&bins[b], (unsigned long long)scratch.bins[b]);
    __syncthreads();
}

// The bucket of the keep-th entry, largest first; `keep` becomes its number in there.
__device__ uint32_t find_bucket(const unsigned long long *bins, uint64_t &keep,
                                prune_scratch &scratch)
{
    unsigned long long sum = 0;
    for (unsigned k = 0; k < THREAD_BUCKETS; k++)
        sum += bins[threadIdx.x * THREAD_BUCKETS + k];
    scratch.sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        uint64_t rest = keep;
        uint32_t group = BLOCK_THREADS - 1;
        for (; group && scratch.sums[group] < rest; group--)
            rest -= scratch.sums[group];
        uint32_t bucket = (group + 1) * THREAD_BUCKETS - 1;
        for (; bucket > group * THREAD_BUCKETS && bins[bucket] < rest; bucket--)
            rest -= bins[bucket];
        scratch.bucket = bucket;
        scratch.keep = rest;
    }
    __syncthreads();
    keep = scratch.keep;
    uint32_t bucket = scratch.bucket;
    __syncthreads();
    return bucket;
}

// ties[p] <- weights of magnitude `threshold` in piece p.
__device__ void count_ties(const device_dense &self, uint64_t pieces, uint32_t threshold,
                           prune_scratch &scratch)
{
    for (uint64_t p = blockIdx.x; p < pieces; p += gridDim.x) {
        uint32_t count = 0;
        for (uint32_t k = threadIdx.x; k < DENSE_PIECE; k += BLOCK_THREADS) {
            uint64_t i = p * DENSE_PIECE + k;
            count += i < self.weights && self.mask[i] && bits_of(self.weight[i]) == threshold;
        }
        count = block_sum(count, scratch.scan);
        if (threadIdx.x == 0)
            self.ties[p] = count;
    }
}

// ties[p] <- sum of those before. One block.
__device__ void add_ties(const device_dense &self, uint64_t pieces, prune_scratch &scratch)
{
    uint64_t before = 0;
    for (uint64_t p = threadIdx.x; p - threadIdx.x < pieces; p += BLOCK_THREADS) {
        uint32_t total, count = p < pieces ? (uint32_t)self.ties[p] : 0;
        uint32_t sum = block_scan(count, scratch.scan, total);
        if (p < pieces)
            self.ties[p] = before + sum;
        before += total;
    }
}

__device__ void cut_pieces(const device_dense &self, uint64_t pieces, uint32_t threshold,
                           uint64_t ties, prune_scratch &scratch)
{
    for (uint64_t p = blockIdx.x; p < pieces; p += gridDim.x) {
        uint64_t before = self.ties[p];
        for (uint32_t k = threadIdx.x; k - threadIdx.x < DENSE_PIECE; k += BLOCK_THREADS) {
            uint64_t i = p * DENSE_PIECE + k;
            bool held = i < self.weights && self.mask[i];
            uint32_t bits = held ? bits_of(self.weight[i]) : 0, total;
            bool tie = held && bits == threshold;
            uint64_t rank = before + block_scan(tie, scratch.scan, total);
            before += total;
            if (!held || bits > threshold || (tie && rank < ties))
                continue;
            self.mask[i] = 0;
            self.weight[i] = 0.0f;
        }
    }
}

__global__ void __launch_bounds__(BLOCK_THREADS, 4) dense_prune(device_dense self, uint64_t keep)
{
    __shared__ prune_scratch scratch;
    cooperative_groups::grid_group grid = cooperative_groups::this_grid();
    constexpr unsigned shifts[DENSE_DIGITS] = {20, 9, 0}, widths[DENSE_DIGITS] = {11, 11, 9};
    find_invalid(self);
    grid.sync();
    if (self.state->invalid != DENSE_FINITE)
        return;
    uint32_t prefix = 0;
#pragma unroll
    for (unsigned d = 0; d < DENSE_DIGITS; d++) {
        unsigned long long *bins = self.bins + (size_t)d * DENSE_BUCKETS;
        count_digit(self, shifts[d], widths[d], prefix, bins, scratch);
        grid.sync();
        prefix = prefix << widths[d] | find_bucket(bins, keep, scratch);
    }
    uint64_t pieces = (self.weights + DENSE_PIECE - 1) / DENSE_PIECE;
    count_ties(self, pieces, prefix, scratch);
    grid.sync();
    if (blockIdx.x == 0)
        add_ties(self, pieces, scratch);
    grid.sync();
    cut_pieces(self, pieces, prefix, keep, scratch);
}

} // namespace reliht

using namespace reliht;

cudaError_t launch_dense_fill(cudaStream_t stream, device_dense self)
{
    dense_fill<<<blocks_for(self.weights), BLOCK_THREADS, 0, stream>>>(self);
    return cudaGetLastError();
}

cudaError_t launch_dense_draw(cudaStream_t stream, device_dense self, uint64_t seed,
                              uint32_t matrix, uint64_t offset, uint64_t rows, uint64_t columns,
                              float bound)
{
    dense_draw<<<blocks_for(rows * ((columns + 3) / 4)), BLOCK_THREADS, 0, stream>>>(
        self, seed, matrix, offset, rows, columns, bound);
    return cudaGetLastError();
}

cudaError_t launch_dense_loss(cudaStream_t stream, device_dense self, dense_rules rules,
                              float *residual, const float *target, const int32_t *labels,
                              uint32_t samples, uint32_t stride, uint32_t outputs, int entropy)
{
    unsigned blocks = (samples + DENSE_SAMPLES - 1) / DENSE_SAMPLES;
    dense_loss<<<blocks, BLOCK_THREADS, 0, stream>>>(self, residual, target, labels, samples,
                                                     stride, outputs, entropy);
    cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess)
        return error;
    dense_total<<<1, BLOCK_THREADS, 0, stream>>>(self, rules, samples);
    return cudaGetLastError();
}

cudaError_t launch_dense_backward(cudaStream_t stream, const float *activation, float *error,
                                  size_t count)
{
    dense_backward<<<blocks_for(count), BLOCK_THREADS, 0, stream>>>(activation, error, count);
    return cudaGetLastError();
}

cudaError_t launch_dense_adam(cudaStream_t stream, device_dense self)
{
    dense_adam<<<blocks_for(self.weights), BLOCK_THREADS, 0, stream>>>(self);
    return cudaGetLastError();
}

cudaError_t launch_dense_prune(cudaStream_t stream, device_dense self, uint64_t keep)
{
    return launch_cooperative(stream, dense_prune, 0, 0, self, keep);
}
