// What the cooperative kernels share. A step is one cooperative launch: all blocks are resident and
// meet at grid barriers, so phases follow one another without the host, and a sector of memory that
// several phases read stays in the second-level cache.
#ifndef RELIHT_KERNELS_GRID_CUH
#define RELIHT_KERNELS_GRID_CUH

#include <cooperative_groups.h>
#include <cstdint>

namespace reliht
{

constexpr unsigned BLOCK_THREADS = 256;
constexpr unsigned WARP = 32;
constexpr unsigned BLOCK_WARPS = BLOCK_THREADS / WARP;
constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ __forceinline__ unsigned lane_index()
{
    return threadIdx.x % WARP;
}

__device__ __forceinline__ unsigned warp_index()
{
    return threadIdx.x / WARP;
}

__device__ __forceinline__ uint32_t divide_up(uint32_t a, uint32_t b)
{
    return a / b + (a % b != 0);
}

// Sum over the warp in a fixed tree; every lane has it.
template <typename T> __device__ __forceinline__ T warp_sum(T value)
{
    for (unsigned distance = WARP / 2; distance; distance /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    return value;
}

// Sum over the block in a fixed order; every thread has it. `scratch`: BLOCK_WARPS values of shared
// memory, free again on return.
template <typename T> __device__ __forceinline__ T block_sum(T value, T *scratch)
{
    value = warp_sum(value);
    if (lane_index() == 0)
        scratch[warp_index()] = value;
    __syncthreads();
    T total = 0;
    for (unsigned w = 0; w < BLOCK_WARPS; w++)
        total += scratch[w];
    __syncthreads();
    return total;
}

// Sum of the values of the threads before this one; `total` of all. `scratch`: BLOCK_WARPS words of
// shared memory, free again on return.
__device__ inline uint32_t block_scan(uint32_t value, uint32_t *scratch, uint32_t &total)
{
    uint32_t sum = value;
    for (unsigned distance = 1; distance < WARP; distance *= 2) {
        uint32_t other = __shfl_up_sync(ALL_LANES, sum, distance);
        sum += lane_index() >= distance ? other : 0;
    }
    if (lane_index() == WARP - 1)
        scratch[warp_index()] = sum;
    __syncthreads();
    uint32_t before = 0;
    total = 0;
    for (unsigned w = 0; w < BLOCK_WARPS; w++) {
        before += w < warp_index() ? scratch[w] : 0;
        total += scratch[w];
    }
    __syncthreads();
    return before + sum - value;
}

} // namespace reliht

#endif
