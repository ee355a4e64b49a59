// Products of the fused model with weights on their support only, patterns fixed:
//     forward   A_S v = sum_j sign_j D_j * (X v_j)
//     adjoint   A_S^T r = sign_j X_c^T (D_j * r)  for every (j, c) on the support
// and the vector operations between them, by all blocks of a cooperative launch.
//
// Order of sums, which depends on shapes alone: forward, entries in eight equal shares, one a warp,
// eight at a time in float and in double across; adjoint, 32 samples a lane and a tree over lanes
// in float, spans of SUPPORT_SPAN samples in double; squares over samples and entries in double.
//
// All functions are called by all threads of the grid; who reads what another one wrote passes a
// barrier of the grid in between.
#ifndef RELIHT_KERNELS_SUPPORT_CUH
#define RELIHT_KERNELS_SUPPORT_CUH

#include "kernels/grid.cuh"
#include "kernels/support.h"

namespace reliht
{

struct support_scratch {
    double sum[BLOCK_WARPS][WARP];
    double block[BLOCK_WARPS];
};

__device__ __forceinline__ float neuron_sign(bool mixed, uint32_t neuron)
{
    return mixed && neuron % 2 ? -1.0f : 1.0f;
}

// A model on its support and a batch.
struct support_view {
    const float *x; // [inputs, stride]
    uint32_t stride, words;
    uint32_t nnz, live;
    device_sparse support;
    const uint32_t *owner;    // [nnz] place of the entry's row among the live ones
    const uint32_t *patterns; // [live, words]
    bool mixed;
};

// Sum of count doubles in a fixed order, the same in every block.
__device__ inline double support_total(const double *sums, uint32_t count, support_scratch &scratch)
{
    double sum = 0;
    for (uint32_t i = threadIdx.x; i < count; i += BLOCK_THREADS)
        sum += sums[i];
    return block_sum(sum, scratch.block);
}

// owner[k] <- place of the row of entry k.
__device__ inline void support_owners(const device_sparse &support, uint32_t *owner)
{
    uint32_t live = support.counts[COUNT_LIVE];
    for (uint32_t j = blockIdx.x * BLOCK_WARPS + warp_index(); j < live;
         j += gridDim.x * BLOCK_WARPS)
        for (uint32_t k = support.start[j] + lane_index(); k < support.start[j + 1]; k += WARP)
            owner[k] = j;
}

// Lane l has bit l of the words of all lanes: bit w is that of lane w. (Warren, Hacker's Delight,
// section 7-3: halves of ever smaller squares change places.)
__device__ __forceinline__ uint32_t transposed(uint32_t own)
{
    uint32_t low = 0x0000ffffu;
#pragma unroll
    for (uint32_t d = WARP / 2; d; d /= 2, low ^= low << d) {
        uint32_t other = __shfl_xor_sync(ALL_LANES, own, d);
        own = lane_index() & d ? (own & ~low) | (other & ~low) >> d
                               : (own & low) | (other & low) << d;
    }
    return own;
}

// ---------------------------------------------------------------- forward

// Entries that are added up in float.
constexpr uint32_t FORWARD_RUN = 8;

// An entry of the support as forward() needs it: sign_j value and the pattern of its neuron.
struct forward_entry {
    uint32_t column, bits;
    float value;
};

__device__ __forceinline__ forward_entry entry_at(const support_view &self, const float *value,
                                                  uint32_t k, uint32_t word)
{
    uint32_t j = self.owner[k];
    return {self.support.column[k], self.patterns[(size_t)j * self.words + word],
            neuron_sign(self.mixed, self.support.row[j]) * value[k]};
}

// Share of one warp of the entries, for the samples of one word. Every lane reads an entry and
// hands it to the others.
__device__ inline double forward_share(const support_view &self, const float *value, uint32_t word)
{
    uint32_t first = (uint32_t)((uint64_t)self.nnz * warp_index() / BLOCK_WARPS);
    uint32_t last = (uint32_t)((uint64_t)self.nnz * (warp_index() + 1) / BLOCK_WARPS);
    const float *x = self.x + (size_t)word * WARP + lane_index();
    double sum = 0;
    for (; first < last; first += WARP) {
        forward_entry own = {};
        if (lane_index() < last - first)
            own = entry_at(self, value, first + lane_index(), word);
        uint32_t active = transposed(own.bits);
        for (uint32_t i = 0; i < min(WARP, last - first);
             i += FORWARD_RUN, active >>= FORWARD_RUN) {
            float z = 0;
#pragma unroll
            for (uint32_t q = 0; q < FORWARD_RUN; q++) {
                uint32_t column = __shfl_sync(ALL_LANES, own.column, i + q);
                float factor = __shfl_sync(ALL_LANES, own.value, i + q);
                z = fmaf(active >> q & 1 ? factor : 0.0f, x[(size_t)column * self.stride], z);
            }
            sum += (double)z;
        }
    }
    return sum;
}

// out[i] <- (float)(sum over the support of value - target[i]); target may be null (zero);
// sums[word] <- the squares of its samples.
__device__ inline void support_forward(const support_view &self, const float *value,
                                       const float *target, float *out, double *sums,
                                       support_scratch &scratch)
{
    for (uint32_t word = blockIdx.x; word < self.words; word += gridDim.x) {
        scratch.sum[warp_index()][lane_index()] = forward_share(self, value, word);
        __syncthreads();
        if (warp_index() == 0) {
            double sum = 0;
            for (unsigned w = 0; w < BLOCK_WARPS; w++)
                sum += scratch.sum[w][lane_index()];
            size_t i = (size_t)word * WARP + lane_index();
            float result = (float)(sum - (target ? (double)target[i] : 0.0));
            out[i] = result;
            double squares = warp_sum((double)result * (double)result);
            if (lane_index() == 0)
                sums[word] = squares;
        }
        __syncthreads();
    }
}

// r <- r - step * q; sums[word] <- squares of the new r.
__device__ inline void support_descend(uint32_t words, float *r, const float *q, float step,
                                       double *sums)
{
    for (uint32_t word = blockIdx.x * BLOCK_WARPS + warp_index(); word < words;
         word += gridDim.x * BLOCK_WARPS) {
        size_t i = (size_t)word * WARP + lane_index();
        float result = fmaf(-step, q[i], r[i]);
        r[i] = result;
        double squares = warp_sum((double)result * (double)result);
        if (lane_index() == 0)
            sums[word] = squares;
    }
}

// ---------------------------------------------------------------- adjoint

constexpr uint32_t SPAN_WORDS = SUPPORT_SPAN / WARP;
static_assert(SPAN_WORDS == WARP, "a pattern word for every lane");

// The entries of the support, as adjoint() wants them.
struct support_entries {
    const support_view &self;

    __device__ uint32_t count() const
    {
        return self.nnz;
    }

    __device__ uint32_t place(uint32_t k) const
    {
        return self.owner[k];
    }

    __device__ uint32_t column(uint32_t k) const
    {
        return self.support.column[k];
    }
};

// Every input of `rows` neurons.
struct dense_entries {
    uint32_t rows, inputs;

    __device__ uint32_t count() const
    {
        return rows * inputs;
    }

    __device__ uint32_t place(uint32_t k) const
    {
        return k / inputs;
    }

    __device__ uint32_t column(uint32_t k) const
    {
        return k % inputs;
    }
};

// sum over the samples of a span with their bit set of r x; every lane has it.
__device__ inline float adjoint_span(const float *x, const float *r, const uint32_t *bits,
                                     uint32_t words)
{
    uint32_t own = lane_index() < words ? bits[lane_index()] : 0;
    float sum = 0;
    if (__any_sync(ALL_LANES, own != 0)) {
        uint32_t active = transposed(own);
        x += lane_index();
        r += lane_index();
#pragma unroll 8
        for (uint32_t w = 0; w < words; w++, x += WARP, r += WARP, active >>= 1) {
            uint32_t mask = 0u - (active & 1);
            sum = fmaf(__uint_as_float(__float_as_uint(*r) & mask), *x, sum);
        }
    }
    return warp_sum(sum);
}

// partial[span, k] <- the sum of entry k over a span of samples. A warp takes an entry and a span.
template <typename Entries>
__device__ void support_adjoint(const float *x, uint32_t stride, const uint32_t *patterns,
                                const Entries &entries, const float *r, float *partial)
{
    const uint32_t words = stride / WARP, spans = divide_up(words, SPAN_WORDS);
    const uint32_t count = entries.count();
    for (uint64_t task = blockIdx.x * BLOCK_WARPS + warp_index(); task < (uint64_t)spans * count;
         task += gridDim.x * BLOCK_WARPS) {
        uint32_t k = (uint32_t)(task % count), first = (uint32_t)(task / count) * SPAN_WORDS;
        const uint32_t *bits = patterns + (size_t)entries.place(k) * words + first;
        float sum = adjoint_span(x + (size_t)entries.column(k) * stride + (size_t)first * WARP,
                                 r + (size_t)first * WARP, bits, min(SPAN_WORDS, words - first));
        if (lane_index() == 0)
            partial[task] = sum;
    }
}

// The sum of entry k over all spans.
__device__ __forceinline__ double support_spans(const float *partial, uint32_t stride,
                                                uint32_t count, uint32_t k)
{
    double sum = 0;
    uint32_t spans = divide_up(stride, SUPPORT_SPAN);
    for (uint32_t span = 0; span < spans; span++)
        sum += (double)partial[(size_t)span * count + k];
    return sum;
}

// For every entry k of nnz, by thread: f(k) is written down by the caller and returns a term of a
// sum; sums[piece of BLOCK_THREADS entries] <- the terms of its entries.
template <typename Function>
__device__ void for_entries(uint32_t nnz, double *sums, support_scratch &scratch,
                            const Function &function)
{
    uint32_t pieces = divide_up(nnz, BLOCK_THREADS);
    for (uint32_t piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
        uint32_t k = piece * BLOCK_THREADS + threadIdx.x;
        double sum = block_sum(k < nnz ? function(k) : 0.0, scratch.block);
        if (threadIdx.x == 0)
            sums[piece] = sum;
    }
}

// gradient <- sign * the sums of `partial`; sums: its squares.
__device__ inline void support_gradient(const support_view &self, const float *partial,
                                        float *gradient, double *sums, support_scratch &scratch)
{
    for_entries(self.nnz, sums, scratch, [&](uint32_t k) {
        double sign = neuron_sign(self.mixed, self.support.row[self.owner[k]]);
        float g = (float)(sign * support_spans(partial, self.stride, self.nnz, k));
        gradient[k] = g;
        return (double)g * (double)g;
    });
}

} // namespace reliht

#endif
