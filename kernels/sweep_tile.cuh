// The heart of the sweep: sums G = D^T (r * X) of a tile of 128 neurons by 128 inputs over a range
// of samples, by one block. Steps of 32 samples: X is staged by cp.async, double-buffered; masks
// are made on chip, a word of 32 samples a neuron; then one of two products.
//
// Tensor: p = x * r, rounded once, is the sum of three bf16 numbers, its 8 highest significant
// bits, the next 8, and the rest (exact for |p| >= 2^-109); a mask is exact in bf16, so
// D^T p takes three products. The tensor cores truncate where they add, so the accumulators start
// from zero in every step and go from the smallest parts to the largest; the total is rounded
// fp32. The error is modelled in the tests.
//
// The order of samples in an mma is free as long as both operands agree. Slot 16 q + 8 h + 2 t + e
// of a step is sample 4 (2 q + h) + t + 16 e: then two mask bits are one shift and one AND away
// from being bf16 numbers (bit 14 alone is 2.0), and eight products one vector load and store.
//
// A tile whose sums aren't finite or next to nothing is done again by the plain product: a product
// that overflows would be 0 * infinity for the neurons it is masked for.
#ifndef RELIHT_KERNELS_SWEEP_TILE_CUH
#define RELIHT_KERNELS_SWEEP_TILE_CUH

#include "kernels/patterns.cuh"
#include "kernels/sweep.h"

namespace reliht
{

constexpr uint32_t STEP_SAMPLES = 32;
constexpr uint32_t PARTS = 3;
// Inputs of a warp in the tensor product; rows and columns of an mma.
constexpr uint32_t WARP_INPUTS = SWEEP_INPUTS / BLOCK_WARPS;
constexpr uint32_t MMA_NEURONS = 16, MMA_INPUTS = 8;
constexpr uint32_t NEURON_FRAGMENTS = SWEEP_NEURONS / MMA_NEURONS;
constexpr uint32_t INPUT_FRAGMENTS = WARP_INPUTS / MMA_INPUTS;
// Neurons for which a warp makes masks.
constexpr uint32_t WARP_NEURONS = SWEEP_NEURONS / BLOCK_WARPS;
// Words between the masks of neurons n and n + 1, n % 8 < 7: vector loads without bank conflicts.
constexpr uint32_t MASK_STRIDE = 20;
// Of the products of the plain path, [STEP_SAMPLES, PLAIN_STRIDE].
constexpr uint32_t PLAIN_STRIDE = SWEEP_INPUTS + 4;
// Sums below this (2^-80) could have lost parts of their products.
constexpr float SMALLEST_SUM = 8.27180613e-25f;

struct alignas(128) tile_scratch {
    float x[2][SWEEP_INPUTS * STEP_SAMPLES]; // rows of 8 chunks of 4, see x_chunk
    union {
        uint4 parts[PARTS][SWEEP_INPUTS * 4]; // rows of 4 chunks of 8 bf16, see part_chunk
        float products[STEP_SAMPLES * PLAIN_STRIDE];
    };
    uint32_t masks[8 * MASK_STRIDE];
    alignas(16) float residual[2][STEP_SAMPLES];
    tile_generator_slot generator[SWEEP_NEURONS];
    uint32_t neuron[SWEEP_NEURONS];
};

// What a block works on.
struct tile_job {
    const device_generators *source;
    const float *x; // first input of the tile
    const float *residual;
    uint32_t stride;
    uint32_t neurons, inputs; // of the tile that exist
    uint32_t first, last;     // samples, multiples of STEP_SAMPLES
    const uint32_t *stored;   // words of this thread's neuron (GENERATOR_STORED), or NULL
};

// Where chunk `chunk` (four samples) of an input's row is: odd rows are swapped by halves, so that
// the same chunks of two rows lie in different banks.
__device__ __forceinline__ uint32_t x_chunk(uint32_t row, uint32_t chunk)
{
    return row * 8 + (chunk ^ (row & 1) * 4);
}

// Where chunk `chunk` (eight slots) of an input's parts is: a column of eight rows is in different
// banks.
__device__ __forceinline__ uint32_t part_chunk(uint32_t row, uint32_t chunk)
{
    return row * 4 + (chunk ^ (row >> 1 & 3));
}

__device__ __forceinline__ uint32_t mask_place(uint32_t neuron)
{
    return neuron % 8 * MASK_STRIDE + neuron / 8;
}

__device__ __forceinline__ void copy_async(void *to, const void *from)
{
    asm volatile(
        "cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((uint32_t)__cvta_generic_to_shared(to)),
        "l"(from));
}

// Begins to copy a step of samples.
__device__ __forceinline__ void stage(const tile_job &job, tile_scratch &scratch, uint32_t buffer,
                                      uint32_t sample)
{
    uint4 *x = (uint4 *)scratch.x[buffer];
    for (uint32_t i = threadIdx.x; i < job.inputs * 8; i += BLOCK_THREADS)
        copy_async(&x[x_chunk(i / 8, i % 8)],
                   job.x + (size_t)(i / 8) * job.stride + sample + i % 8 * 4);
    if (threadIdx.x < STEP_SAMPLES / 4)
        copy_async(&scratch.residual[buffer][4 * threadIdx.x],
                   job.residual + sample + 4 * threadIdx.x);
    asm volatile("cp.async.commit_group;");
}

// Inputs past the last are zero in every step.
__device__ inline void clear_inputs(const tile_job &job, tile_scratch &scratch)
{
    for (uint32_t i = job.inputs * STEP_SAMPLES + threadIdx.x; i < SWEEP_INPUTS * STEP_SAMPLES;
         i += BLOCK_THREADS)
        scratch.x[0][i] = scratch.x[1][i] = 0.0f;
}

// masks <- words of the tile's neurons for a step. `stored`: that of neuron threadIdx.x / 32 * 16 +
// lane, if it is stored.
__device__ __forceinline__ void make_masks(const tile_job &job, tile_scratch &scratch,
                                           const float *x, uint32_t stored)
{
    uint32_t first = warp_index() * WARP_NEURONS, word = stored;
    uint32_t count = first < job.neurons ? min(WARP_NEURONS, job.neurons - first) : 0;
    const char *samples = (const char *)x;
    uint32_t lane_bytes = lane_index() * sizeof(float);
#pragma unroll 4
    for (uint32_t i = 0; i < count; i++) {
        tile_generator h = get_generator(scratch.generator[first + i]);
        if (h.kind == GENERATOR_STORED)
            continue;
        auto placed = [&](uint32_t place) {
            return *(const float *)(samples + (place ^ lane_bytes));
        };
        auto column = [&](uint32_t input) {
            return x[x_chunk(input, lane_index() / 4) * 4 + lane_index() % 4];
        };
        uint32_t bits = pattern_word(*job.source, h, placed, column);
        word = lane_index() == i ? bits : word;
    }
    if (lane_index() < WARP_NEURONS)
        scratch.masks[mask_place(first + lane_index())] = lane_index() < count ? word : 0;
}

// What a drawn generator of a tile stores for an input: the byte offset of its row in x, to which
// the lane's offset is XORed (see x_chunk).
__device__ __forceinline__ uint32_t drawn_place(uint32_t input)
{
    return input * STEP_SAMPLES * (uint32_t)sizeof(float) + (input & 1) * 64;
}

// ---------------------------------------------------------------- tensor product

// The eight highest significant bits of two numbers side by side (truncated to bf16).
__device__ __forceinline__ uint32_t upper_halves(float low, float high)
{
    return __byte_perm(__float_as_uint(low), __float_as_uint(high), 0x7632);
}

// What they leave, exactly.
__device__ __forceinline__ float lower_bits(float value)
{
    return value - __uint_as_float(__float_as_uint(value) & 0xffff0000u);
}

// parts <- the three parts of x * r, slot by slot.
__device__ __forceinline__ void split_products(const tile_job &job, tile_scratch &scratch,
                                               const float *x, const float *residual)
{
    uint32_t chunk = threadIdx.x % 4, rows = (job.inputs + 15) / 16 * 16;
    float4 r0 = *(const float4 *)&residual[4 * chunk];
    float4 r1 = *(const float4 *)&residual[16 + 4 * chunk];
    for (uint32_t row = threadIdx.x / 4; row < rows; row += BLOCK_THREADS / 4) {
        float4 x0 = ((const float4 *)x)[x_chunk(row, chunk)];
        float4 x1 = ((const float4 *)x)[x_chunk(row, chunk + 4)];
        float low[4] = {x0.x * r0.x, x0.y * r0.y, x0.z * r0.z, x0.w * r0.w};
        float high[4] = {x1.x * r1.x, x1.y * r1.y, x1.z * r1.z, x1.w * r1.w};
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++) {
            scratch.parts[part][part_chunk(row, chunk)] =
                make_uint4(upper_halves(low[0], high[0]), upper_halves(low[1], high[1]),
                           upper_halves(low[2], high[2]), upper_halves(low[3], high[3]));
#pragma unroll
            for (uint32_t t = 0; t < 4; t++) {
                low[t] = lower_bits(low[t]);
                high[t] = lower_bits(high[t]);
            }
        }
    }
}

// Four 8x8 matrices: the slots 0-7, 8-15, 16-23 and 24-31 of eight inputs.
__device__ __forceinline__ void load_part(const uint4 *part, uint32_t input, uint32_t (&b)[4])
{
    uint32_t lane = lane_index();
    const uint4 *row = &part[part_chunk(input + lane % 8, lane / 8)];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)));
}

__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Bits 4 j + t and 4 j + t + 16 of a word, shifted right by t before, as bf16 numbers 0 or 2.
__device__ __forceinline__ uint32_t mask_pair(uint32_t word, uint32_t j)
{
    return word << (14 - 4 * j) & 0x40004000u;
}

// Twice the sums of this warp: [neuron fragment][input fragment][element of an mma].
typedef float tensor_sums[NEURON_FRAGMENTS][INPUT_FRAGMENTS][4];

// One fragment of neurons in a step: parts from the smallest to the largest onto zero, then added
// to the totals.
__device__ __forceinline__ void add_fragment(uint32_t upper, uint32_t lower,
                                             const uint32_t (&parts)[INPUT_FRAGMENTS][PARTS][4],
                                             float (&sums)[INPUT_FRAGMENTS][4])
{
    uint32_t a[2][4];
#pragma unroll
    for (uint32_t q = 0; q < 2; q++) {
        a[q][0] = mask_pair(upper, 2 * q);
        a[q][1] = mask_pair(lower, 2 * q);
        a[q][2] = mask_pair(upper, 2 * q + 1);
        a[q][3] = mask_pair(lower, 2 * q + 1);
    }
    float d[INPUT_FRAGMENTS][4] = {};
#pragma unroll
    for (uint32_t part = PARTS; part-- > 0;)
#pragma unroll
        for (uint32_t q = 0; q < 2; q++)
#pragma unroll
            for (uint32_t j = 0; j < INPUT_FRAGMENTS; j++)
                multiply_add(d[j], a[q], parts[j][part][2 * q], parts[j][part][2 * q + 1]);
#pragma unroll
    for (uint32_t j = 0; j < INPUT_FRAGMENTS; j++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            sums[j][i] += d[j][i];
}

// sums += this warp's part of a step: 128 neurons by 16 inputs.
__device__ __forceinline__ void add_tensor_step(const tile_job &job, const tile_scratch &scratch,
                                                tensor_sums &sums)
{
    uint32_t first = warp_index() * WARP_INPUTS;
    if (first >= job.inputs)
        return;
    uint32_t parts[INPUT_FRAGMENTS][PARTS][4];
#pragma unroll
    for (uint32_t j = 0; j < INPUT_FRAGMENTS; j++)
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++)
            load_part(scratch.parts[part], first + j * MMA_INPUTS, parts[j][part]);
    const uint4 *masks = (const uint4 *)&scratch.masks[lane_index() / 4 * MASK_STRIDE];
    uint32_t shift = lane_index() % 4;
#pragma unroll
    for (uint32_t i = 0; i < NEURON_FRAGMENTS; i += 2) {
        if (i * MMA_NEURONS >= job.neurons)
            break;
        uint4 words = masks[i / 2];
        add_fragment(words.x >> shift, words.y >> shift, parts, sums[i]);
        if ((i + 1) * MMA_NEURONS < job.neurons)
            add_fragment(words.z >> shift, words.w >> shift, parts, sums[i + 1]);
    }
}

// ---------------------------------------------------------------- plain product

// products <- x * r, [samples, inputs].
__device__ inline void multiply_residual(tile_scratch &scratch, const float *x,
                                         const float *residual)
{
    for (uint32_t i = threadIdx.x; i < SWEEP_INPUTS * STEP_SAMPLES; i += BLOCK_THREADS) {
        uint32_t input = i % SWEEP_INPUTS, sample = i / SWEEP_INPUTS;
        scratch.products[sample * PLAIN_STRIDE + input] =
            x[x_chunk(input, sample / 4) * 4 + sample % 4] * residual[sample];
    }
}

// Sums of neurons y + 16 i and inputs x + 16 j, thread = 16 y + x.
typedef float plain_sums[8][8];

__device__ inline void add_plain_step(const tile_scratch &scratch, plain_sums &sums)
{
    uint32_t words[8];
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        words[i] = scratch.masks[mask_place(threadIdx.x / 16 + 16 * i)];
    for (uint32_t sample = 0; sample < STEP_SAMPLES; sample++) {
        const float *products = &scratch.products[sample * PLAIN_STRIDE + threadIdx.x % 16];
#pragma unroll
        for (uint32_t j = 0; j < 8; j++) {
            float product = products[16 * j];
#pragma unroll
            for (uint32_t i = 0; i < 8; i++)
                sums[i][j] += words[i] >> sample & 1 ? product : 0.0f;
        }
    }
}

// ---------------------------------------------------------------- a tile

template <bool TENSOR> struct tile_sums {
    tensor_sums sums;
};
template <> struct tile_sums<false> {
    plain_sums sums;
};

// Calls visit(neuron, input, sum) for pairs of inputs (tensor) or single ones.
template <bool TENSOR, typename Visit>
__device__ __forceinline__ void visit_sums(const tile_sums<TENSOR> &self, const Visit &visit)
{
    if constexpr (TENSOR) {
        uint32_t neuron = lane_index() / 4;
        uint32_t input = warp_index() * WARP_INPUTS + lane_index() % 4 * 2;
#pragma unroll
        for (uint32_t i = 0; i < NEURON_FRAGMENTS; i++)
#pragma unroll
            for (uint32_t j = 0; j < INPUT_FRAGMENTS; j++)
#pragma unroll
                for (uint32_t half = 0; half < 2; half++)
                    visit(i * MMA_NEURONS + half * 8 + neuron, input + j * MMA_INPUTS,
                          make_float2(0.5f * self.sums[i][j][2 * half],
                                      0.5f * self.sums[i][j][2 * half + 1]));
    } else {
#pragma unroll
        for (uint32_t i = 0; i < 8; i++)
#pragma unroll
            for (uint32_t j = 0; j < 8; j++)
                visit(threadIdx.x / 16 + 16 * i, threadIdx.x % 16 + 16 * j, self.sums[i][j]);
    }
}

template <bool TENSOR>
__device__ __forceinline__ void add_steps(const tile_job &job, tile_scratch &scratch,
                                          tile_sums<TENSOR> &self)
{
    stage(job, scratch, 0, job.first);
    uint32_t buffer = 0;
    uint32_t next = job.stored ? job.stored[job.first / WORD_SAMPLES] : 0;
    for (uint32_t sample = job.first; sample < job.last; sample += STEP_SAMPLES, buffer ^= 1) {
        uint32_t stored = next;
        if (sample + STEP_SAMPLES < job.last) {
            stage(job, scratch, buffer ^ 1, sample + STEP_SAMPLES);
            if (job.stored)
                next = job.stored[sample / WORD_SAMPLES + 1];
            asm volatile("cp.async.wait_group 1;");
        } else {
            asm volatile("cp.async.wait_group 0;");
        }
        __syncthreads();
        make_masks(job, scratch, scratch.x[buffer], stored);
        if constexpr (TENSOR)
            split_products(job, scratch, scratch.x[buffer], scratch.residual[buffer]);
        else
            multiply_residual(scratch, scratch.x[buffer], scratch.residual[buffer]);
        __syncthreads();
        if constexpr (TENSOR)
            add_tensor_step(job, scratch, self.sums);
        else
            add_plain_step(scratch, self.sums);
    }
    __syncthreads();
}

// out [SWEEP_NEURONS, SWEEP_INPUTS] <- the sums. Zeros where there are no neurons or inputs.
template <bool TENSOR>
__device__ bool sum_tile(const tile_job &job, tile_scratch &scratch, float *out)
{
    tile_sums<TENSOR> self = {};
    add_steps(job, scratch, self);
    bool infinite = false;
    float largest = 0.0f;
    visit_sums(self, [&](uint32_t neuron, uint32_t input, auto sum) {
        typedef decltype(sum) element;
        *(element *)&out[neuron * SWEEP_INPUTS + input] = sum;
        if constexpr (TENSOR) {
            infinite |= !isfinite(sum.x) || !isfinite(sum.y);
            largest = fmaxf(largest, fmaxf(fabsf(sum.x), fabsf(sum.y)));
        }
    });
    if constexpr (!TENSOR)
        return true;
    if (__syncthreads_or(infinite))
        return false;
    return __syncthreads_or(largest >= SMALLEST_SUM) || !__syncthreads_or(largest > 0.0f);
}

// The tile by the product asked for, again by the plain one where the tensor cores fail.
__device__ inline void make_tile(const tile_job &job, tile_scratch &scratch, sweep_product product,
                                 float *out)
{
    clear_inputs(job, scratch);
    if (product == SWEEP_TENSOR && sum_tile<true>(job, scratch, out))
        return;
    sum_tile<false>(job, scratch, out);
}

} // namespace reliht

#endif
