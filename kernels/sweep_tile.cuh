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
// The order of samples in a mask is free as long as whoever makes it agrees with who reads it: bit
// 4 j + t + 16 e of a tile's mask is sample 8 j + 2 t + e of the step. Then the pair of masks that
// a thread needs in a register is one rotation and one AND away from being two bf16 numbers (bit 14
// alone is 2.0), and samples stay in order elsewhere.
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
// Neurons for which a warp makes masks: number warp + 8 i of the tile, at places i of row `warp` of
// the masks. The stride of rows makes vector loads free of bank conflicts.
constexpr uint32_t WARP_NEURONS = SWEEP_NEURONS / BLOCK_WARPS;
constexpr uint32_t MASK_STRIDE = 20;
static_assert(BLOCK_WARPS == 8, "a warp for each row of an mma fragment");
// Of the products of the plain path, [STEP_SAMPLES, PLAIN_STRIDE].
constexpr uint32_t PLAIN_STRIDE = SWEEP_INPUTS + 1;
// Sums below this (2^-80) could have lost parts of their products.
constexpr float SMALLEST_SUM = 8.27180613e-25f;

// What a step multiplies.
struct alignas(128) step_operands {
    union {
        uint4 parts[PARTS][SWEEP_INPUTS * 4]; // rows of 4 chunks of 8 bf16, see part_chunk
        float products[STEP_SAMPLES * PLAIN_STRIDE];
    };
    uint32_t masks[8 * MASK_STRIDE];
};

// Both buffers alternate from step to step.
struct tile_scratch {
    step_operands operands[2];
    alignas(128) float x[2][SWEEP_INPUTS * STEP_SAMPLES];
    alignas(16) float residual[2][STEP_SAMPLES];
    tile_generator_slot generator[SWEEP_NEURONS];
};

// What a block works on.
struct tile_job {
    const device_generators *source;
    const float *x; // first input of the tile
    const float *residual;
    uint32_t stride;
    uint32_t neurons, inputs; // of the tile that exist
    uint32_t first, last;     // samples, multiples of STEP_SAMPLES
    bool drawn;               // all generators are GENERATOR_DRAWN
    const uint32_t *stored;   // words of this lane's neuron if it is GENERATOR_STORED, or NULL
};

// Neuron of the tile whose mask this lane holds in the end (lanes below WARP_NEURONS).
__device__ __forceinline__ uint32_t lane_neuron()
{
    return warp_index() + BLOCK_WARPS * lane_index();
}

__device__ __forceinline__ uint32_t mask_place(uint32_t neuron)
{
    return neuron % 8 * MASK_STRIDE + neuron / 8;
}

// The sample of a step that bit `lane` of a mask is.
__device__ __forceinline__ uint32_t mask_sample(uint32_t lane)
{
    return lane % 16 * 2 + lane / 16;
}

// A word in order of samples as a mask: its even bits, then its odd ones.
__device__ __forceinline__ uint32_t mask_of_word(uint32_t word)
{
    uint32_t swap;
    swap = (word ^ word >> 1) & 0x22222222u;
    word ^= swap ^ swap << 1;
    swap = (word ^ word >> 2) & 0x0c0c0c0cu;
    word ^= swap ^ swap << 2;
    swap = (word ^ word >> 4) & 0x00f000f0u;
    word ^= swap ^ swap << 4;
    swap = (word ^ word >> 8) & 0x0000ff00u;
    return word ^ swap ^ swap << 8;
}

// Where chunk `chunk` (eight samples) of an input's parts is: a column of eight rows is in
// different banks.
__device__ __forceinline__ uint32_t part_chunk(uint32_t row, uint32_t chunk)
{
    return row * 4 + (chunk ^ (row >> 1 & 3));
}

// Threads share out a step's four samples: input input_of_thread() + 32 i, chunk chunk_of_thread().
constexpr uint32_t CHUNK_SAMPLES = 4, ROW_CHUNKS = STEP_SAMPLES / CHUNK_SAMPLES;
constexpr uint32_t PASS_INPUTS = BLOCK_THREADS / ROW_CHUNKS, PASSES = SWEEP_INPUTS / PASS_INPUTS;

__device__ __forceinline__ uint32_t chunk_of_thread()
{
    return threadIdx.x % ROW_CHUNKS;
}

__device__ __forceinline__ uint32_t input_of_thread()
{
    return threadIdx.x / ROW_CHUNKS;
}

__device__ __forceinline__ uint32_t shared_address(const void *pointer)
{
    return (uint32_t)__cvta_generic_to_shared(pointer);
}

__device__ __forceinline__ void copy_async(uint32_t to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
}

// What this thread copies of every step: from where next, and where to.
struct stage_cursor {
    const float *x, *residual;
    size_t pass; // from one of its inputs to the next
    uint32_t to, to_residual;
    uint32_t inputs; // that it has
};

__device__ __forceinline__ stage_cursor stage_first(const tile_job &job, tile_scratch &scratch)
{
    uint32_t input = input_of_thread(), offset = CHUNK_SAMPLES * chunk_of_thread();
    stage_cursor at;
    at.x = job.x + (size_t)input * job.stride + job.first + offset;
    at.residual = job.residual + job.first + offset;
    at.pass = (size_t)PASS_INPUTS * job.stride;
    at.to = shared_address(&scratch.x[0][input * STEP_SAMPLES + offset]);
    at.to_residual = shared_address(&scratch.residual[0][offset]);
    at.inputs = input < job.inputs ? (job.inputs - input + PASS_INPUTS - 1) / PASS_INPUTS : 0;
    return at;
}

// Begins to copy the next step.
__device__ __forceinline__ void stage(stage_cursor &at, uint32_t buffer)
{
    uint32_t to = at.to + buffer * (uint32_t)sizeof(tile_scratch::x[0]);
#pragma unroll
    for (uint32_t i = 0; i < PASSES; i++)
        if (i < at.inputs)
            copy_async(to + i * PASS_INPUTS * STEP_SAMPLES * (uint32_t)sizeof(float),
                       at.x + i * at.pass);
    if (threadIdx.x < ROW_CHUNKS)
        copy_async(at.to_residual + buffer * (uint32_t)sizeof(tile_scratch::residual[0]),
                   at.residual);
    asm volatile("cp.async.commit_group;" ::: "memory");
    at.x += STEP_SAMPLES;
    at.residual += STEP_SAMPLES;
}

// Inputs past the last are zero in every step, and so are masks past the last neuron.
__device__ inline void clear_rest(const tile_job &job, tile_scratch &scratch)
{
    if (threadIdx.x < 8 * MASK_STRIDE)
        scratch.operands[0].masks[threadIdx.x] = scratch.operands[1].masks[threadIdx.x] = 0;
    for (uint32_t i = job.inputs * STEP_SAMPLES + threadIdx.x; i < SWEEP_INPUTS * STEP_SAMPLES;
         i += BLOCK_THREADS)
        scratch.x[0][i] = scratch.x[1][i] = 0.0f;
}

// What a drawn generator of a tile stores for an input: the bytes before its row in x.
__device__ __forceinline__ uint32_t drawn_place(uint32_t input)
{
    return input * STEP_SAMPLES * (uint32_t)sizeof(float);
}

__device__ __forceinline__ float load_sample(uint32_t address)
{
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address));
    return value;
}

// The word of a drawn generator in shared memory: pattern_word with addresses spelled out, since
// all neurons go through it in every step. `sample`: address of the lane's sample of input 0.
__device__ __forceinline__ uint32_t placed_word(uint32_t generator, uint32_t sample)
{
    uint32_t place[DRAWN_NONZEROS];
    float value[DRAWN_NONZEROS];
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(place[0]), "=f"(value[0]), "=r"(place[1]), "=f"(value[1])
                 : "r"(generator));
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2 + 16];"
                 : "=r"(place[2]), "=f"(value[2])
                 : "r"(generator));
    float z = __fmul_rn(value[0], load_sample(sample + place[0]));
    z = __fmaf_rn(value[1], load_sample(sample + place[1]), z);
    z = __fmaf_rn(value[2], load_sample(sample + place[2]), z);
    return __ballot_sync(ALL_LANES, z > 0.0f);
}

// masks <- those of a step, all generators drawn.
__device__ __forceinline__ void draw_masks(const tile_job &job, tile_scratch &scratch,
                                           uint32_t buffer)
{
    uint32_t sample = shared_address(&scratch.x[buffer][mask_sample(lane_index())]);
    uint32_t generator = shared_address(&scratch.generator[warp_index()]);
    uint4 *masks = (uint4 *)&scratch.operands[buffer].masks[warp_index() * MASK_STRIDE];
#pragma unroll
    for (uint32_t i = 0; i < WARP_NEURONS; i += 4) {
        if (i * BLOCK_WARPS >= job.neurons)
            break;
        uint32_t word[4];
#pragma unroll
        for (uint32_t k = 0; k < 4; k++)
            word[k] = placed_word(
                generator + (i + k) * BLOCK_WARPS * (uint32_t)sizeof(tile_generator_slot), sample);
        if (lane_index() == 0)
            masks[i / 4] = make_uint4(word[0], word[1], word[2], word[3]);
    }
}

// The same for generators of all kinds. `stored`: the word of this lane's neuron, if it is stored.
__device__ __forceinline__ void mixed_masks(const tile_job &job, tile_scratch &scratch,
                                            uint32_t buffer, uint32_t stored)
{
    const float *sample = &scratch.x[buffer][mask_sample(lane_index())];
    auto placed = [&](uint32_t place) { return *(const float *)((const char *)sample + place); };
    auto column = [&](uint32_t input) { return sample[input * STEP_SAMPLES]; };
    uint32_t mask = mask_of_word(stored);
#pragma unroll 1
    for (uint32_t i = 0; i < WARP_NEURONS; i++) {
        if (warp_index() + i * BLOCK_WARPS >= job.neurons)
            break;
        tile_generator h = get_generator(scratch.generator[warp_index() + i * BLOCK_WARPS]);
        if (h.kind == GENERATOR_STORED)
            continue;
        uint32_t bits = pattern_word(*job.source, h, placed, column);
        mask = lane_index() == i ? bits : mask;
    }
    if (lane_index() < WARP_NEURONS)
        scratch.operands[buffer].masks[mask_place(lane_neuron())] = mask;
}

// ---------------------------------------------------------------- tensor product

// The eight highest significant bits of two numbers side by side (truncated to bf16).
__device__ __forceinline__ uint32_t upper_halves(float low, float high)
{
    uint32_t pair;
    asm("prmt.b32 %0, %1, %2, 0x7632;" : "=r"(pair) : "f"(low), "f"(high));
    return pair;
}

// What they leave, exactly.
__device__ __forceinline__ float lower_bits(float value)
{
    float upper;
    asm("and.b32 %0, %1, 0xffff0000;" : "=f"(upper) : "f"(value));
    return value - upper;
}

// parts <- the three parts of x * r.
__device__ __forceinline__ void split_products(const tile_job &job, tile_scratch &scratch,
                                               uint32_t buffer)
{
    uint32_t input = input_of_thread(), chunk = chunk_of_thread();
    uint32_t last = (job.inputs + WARP_INPUTS - 1) / WARP_INPUTS * WARP_INPUTS;
    const float4 *from = (const float4 *)scratch.x[buffer] + input * ROW_CHUNKS + chunk;
    uint2 *to =
        (uint2 *)&scratch.operands[buffer].parts[0][part_chunk(input, chunk / 2)] + chunk % 2;
    float4 r = ((const float4 *)scratch.residual[buffer])[chunk];
#pragma unroll
    for (uint32_t i = 0; i < PASSES; i++) {
        if (input + i * PASS_INPUTS >= last)
            break;
        float4 sampled = from[i * PASS_INPUTS * ROW_CHUNKS];
        float p[4] = {sampled.x * r.x, sampled.y * r.y, sampled.z * r.z, sampled.w * r.w};
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++) {
            to[2 * (part * SWEEP_INPUTS + i * PASS_INPUTS) * 4] =
                make_uint2(upper_halves(p[0], p[1]), upper_halves(p[2], p[3]));
            if (part + 1 < PARTS)
#pragma unroll
                for (uint32_t k = 0; k < 4; k++)
                    p[k] = lower_bits(p[k]);
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

// d = a * b + c
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1, const float (&c)[4])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]),
                   "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

// Bits 4 j + t and 4 j + t + 16 of a mask, rotated left by 14 - t before, as bf16 numbers 0 or 2.
__device__ __forceinline__ uint32_t mask_pair(uint32_t rotated, uint32_t j)
{
    return (j ? __funnelshift_r(rotated, rotated, 4 * j) : rotated) & 0x40004000u;
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
    float d[INPUT_FRAGMENTS][4];
    const float zero[4] = {};
#pragma unroll
    for (uint32_t part = PARTS; part-- > 0;)
#pragma unroll
        for (uint32_t q = 0; q < 2; q++)
#pragma unroll
            for (uint32_t j = 0; j < INPUT_FRAGMENTS; j++) {
                const uint32_t(&b)[4] = parts[j][part];
                if (part == PARTS - 1 && q == 0)
                    multiply_add(d[j], a[q], b[0], b[1], zero);
                else
                    multiply_add(d[j], a[q], b[2 * q], b[2 * q + 1], d[j]);
            }
#pragma unroll
    for (uint32_t j = 0; j < INPUT_FRAGMENTS; j++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            sums[j][i] += d[j][i];
}

// sums += this warp's part of a step: 128 neurons by 16 inputs.
__device__ __forceinline__ void add_tensor_step(const tile_job &job, const step_operands &operands,
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
            load_part(operands.parts[part], first + j * MMA_INPUTS, parts[j][part]);
    const uint4 *masks = (const uint4 *)&operands.masks[lane_index() / 4 * MASK_STRIDE];
    uint32_t rotation = 14 - lane_index() % 4;
    auto rotated = [&](uint32_t mask) { return __funnelshift_l(mask, mask, rotation); };
#pragma unroll
    for (uint32_t i = 0; i < NEURON_FRAGMENTS; i += 2) {
        if (i * MMA_NEURONS >= job.neurons)
            break;
        uint4 words = masks[i / 2];
        add_fragment(rotated(words.x), rotated(words.y), parts, sums[i]);
        if ((i + 1) * MMA_NEURONS < job.neurons)
            add_fragment(rotated(words.z), rotated(words.w), parts, sums[i + 1]);
    }
}

// ---------------------------------------------------------------- plain product

// products <- x * r, [samples, inputs].
__device__ inline void multiply_residual(tile_scratch &scratch, uint32_t buffer)
{
    for (uint32_t i = threadIdx.x; i < SWEEP_INPUTS * STEP_SAMPLES; i += BLOCK_THREADS) {
        uint32_t input = i / STEP_SAMPLES, sample = i % STEP_SAMPLES;
        scratch.operands[buffer].products[sample * PLAIN_STRIDE + input] =
            scratch.x[buffer][input * STEP_SAMPLES + sample] * scratch.residual[buffer][sample];
    }
}

// Sums of neurons y + 16 i and inputs x + 16 j, thread = 16 y + x.
typedef float plain_sums[8][8];

__device__ inline void add_plain_step(const step_operands &operands, plain_sums &sums)
{
    uint32_t words[8];
#pragma unroll
    for (uint32_t i = 0; i < 8; i++)
        words[i] = operands.masks[mask_place(threadIdx.x / 16 + 16 * i)];
    for (uint32_t bit = 0; bit < STEP_SAMPLES; bit++) {
        const float *products =
            &operands.products[mask_sample(bit) * PLAIN_STRIDE + threadIdx.x % 16];
#pragma unroll
        for (uint32_t j = 0; j < 8; j++) {
            float product = products[16 * j];
#pragma unroll
            for (uint32_t i = 0; i < 8; i++)
                sums[i][j] += words[i] >> bit & 1 ? product : 0.0f;
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

// operands <- those of the step whose X is in the same buffer. `stored`: the word of this lane's
// neuron, if it is stored.
template <bool TENSOR>
__device__ __forceinline__ void prepare(const tile_job &job, tile_scratch &scratch, uint32_t buffer,
                                        uint32_t stored)
{
    if (job.drawn)
        draw_masks(job, scratch, buffer);
    else
        mixed_masks(job, scratch, buffer, stored);
    if constexpr (TENSOR)
        split_products(job, scratch, buffer);
    else
        multiply_residual(scratch, buffer);
}

template <bool TENSOR>
__device__ __forceinline__ void multiply(const tile_job &job, const step_operands &operands,
                                         tile_sums<TENSOR> &self)
{
    if constexpr (TENSOR)
        add_tensor_step(job, operands, self.sums);
    else
        add_plain_step(operands, self.sums);
}

// Between two barriers the block copies step i + 1, prepares step i and multiplies step i - 1. One
// half of the warps multiplies first, so that tensor cores and the rest work at the same time.
template <bool TENSOR>
__device__ __forceinline__ void add_steps(const tile_job &job, tile_scratch &scratch,
                                          tile_sums<TENSOR> &self)
{
    uint32_t steps = (job.last - job.first) / STEP_SAMPLES;
    const uint32_t *stored = job.stored ? job.stored + job.first / WORD_SAMPLES : nullptr;
    uint32_t word = 0, next = stored ? stored[0] : 0;
    bool early = warp_index() < BLOCK_WARPS / 2;
    stage_cursor cursor = stage_first(job, scratch);
    stage(cursor, 0);
#pragma unroll 1
    for (uint32_t i = 0; i <= steps; i++) {
        uint32_t buffer = i % 2;
        asm volatile("cp.async.wait_group 0;" ::: "memory");
        __syncthreads();
        word = next;
        if (i + 1 < steps) {
            stage(cursor, buffer ^ 1);
            if (stored)
                next = stored[i + 1];
        }
        if (i < steps && early)
            prepare<TENSOR>(job, scratch, buffer, word);
        if (i > 0)
            multiply(job, scratch.operands[buffer ^ 1], self);
        if (i < steps && !early)
            prepare<TENSOR>(job, scratch, buffer, word);
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
    clear_rest(job, scratch);
    if (product == SWEEP_TENSOR && sum_tile<true>(job, scratch, out))
        return;
    sum_tile<false>(job, scratch, out);
}

} // namespace reliht

#endif
