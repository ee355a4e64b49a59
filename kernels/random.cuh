// Random numbers on the device: the streams of core/rng.h and the sparse generators of
// core/generator.h, bit for bit. Philox4x32-10 (Random123), keyed by (seed, purpose, row, index);
// normals by fixed fma, division and square root, each correctly rounded.
#ifndef RELIHT_KERNELS_RANDOM_CUH
#define RELIHT_KERNELS_RANDOM_CUH

#include "core/normal.h"
#include "core/rng.h"

#include <Random123/philox.h>

namespace reliht
{

// Words 4 * block .. 4 * block + 3 of the stream.
__device__ __forceinline__ uint4 random_block(uint64_t seed, uint32_t purpose, uint64_t row,
                                              uint32_t block)
{
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    philox4x32_ctr_t counter = {{block, (uint32_t)row, (uint32_t)(row >> 32), purpose}};
    philox4x32_ctr_t words = philox4x32(counter, key);
    return make_uint4(words.v[0], words.v[1], words.v[2], words.v[3]);
}

__device__ __forceinline__ uint32_t random_word(uint64_t seed, uint32_t purpose, uint64_t row,
                                                uint32_t index)
{
    uint4 words = random_block(seed, purpose, row, index / 4);
    uint32_t low = index % 2 ? words.y : words.x, high = index % 2 ? words.w : words.z;
    return index / 2 % 2 ? high : low;
}

// Uniform integer in [0, bound) from words 2 * index and 2 * index + 1.
__device__ __forceinline__ uint64_t random_below(uint64_t seed, uint32_t purpose, uint64_t row,
                                                 uint32_t index, uint64_t bound)
{
    uint4 words = random_block(seed, purpose, row, index / 2);
    uint32_t high = index % 2 ? words.z : words.x, low = index % 2 ? words.w : words.y;
    return __umul64hi((uint64_t)high << 32 | low, bound);
}

// Normals number 4 * block .. 4 * block + 3 of the stream.
__device__ __forceinline__ float4 random_normals(uint64_t seed, uint32_t purpose, uint64_t row,
                                                 uint32_t block)
{
    uint4 words = random_block(seed, purpose, row, block);
    return make_float4(normal_from_bits(words.x), normal_from_bits(words.y),
                       normal_from_bits(words.z), normal_from_bits(words.w));
}

// Nonzeros of a drawn sparse generator, by ascending input.
constexpr uint32_t DRAWN_NONZEROS = 3;

struct drawn_generator {
    uint32_t count;
    uint32_t column[DRAWN_NONZEROS];
    float value[DRAWN_NONZEROS];
};

// The sparse generator of a neuron as generator_draw_sparse makes it. Array places are constants
// once the loops are unrolled, so that nothing leaves the registers.
__device__ __forceinline__ drawn_generator draw_generator(uint64_t seed, uint32_t neuron,
                                                          uint32_t inputs)
{
    drawn_generator h = {};
    uint32_t most = inputs < DRAWN_NONZEROS ? inputs : DRAWN_NONZEROS;
    if (!most)
        return h;
    h.count = 1 + (uint32_t)random_below(seed, RNG_GENERATOR_SUPPORT, neuron, 0, most);
#pragma unroll
    for (uint32_t i = 0; i < DRAWN_NONZEROS; i++) {
        if (i >= h.count)
            break;
        uint32_t top = inputs - h.count + i;
        uint32_t drawn =
            (uint32_t)random_below(seed, RNG_GENERATOR_SUPPORT, neuron, i + 1, (uint64_t)top + 1);
#pragma unroll
        for (uint32_t k = 0; k < i; k++)
            if (h.column[k] == drawn)
                drawn = top; // new: none before could be as large
#pragma unroll
        for (uint32_t k = 0; k < i; k++) // into its place among the sorted ones
            if (h.column[k] > drawn) {
                uint32_t moved = h.column[k];
                h.column[k] = drawn;
                drawn = moved;
            }
        h.column[i] = drawn;
    }
    float4 normals = random_normals(seed, RNG_GENERATOR, neuron, 0);
    h.value[0] = normals.x;
    h.value[1] = h.count > 1 ? normals.y : 0.0f;
    h.value[2] = h.count > 2 ? normals.z : 0.0f;
    return h;
}

} // namespace reliht

#endif
