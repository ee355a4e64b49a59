// Cooperative launches: as many blocks as can be resident at once, so that grid barriers work.
#ifndef RELIHT_KERNELS_LAUNCH_CUH
#define RELIHT_KERNELS_LAUNCH_CUH

#include "kernels/grid.cuh"

#include <cuda_runtime.h>

namespace reliht
{

// Launches `kernel` with BLOCK_THREADS threads a block and `shared` bytes of dynamic shared memory
// on all resident blocks, at most `most` (0: all).
template <typename... Arguments>
cudaError_t launch_cooperative(cudaStream_t stream, void (*kernel)(Arguments...), size_t shared,
                               unsigned most, Arguments... arguments)
{
    int device = 0, processors = 0, blocks = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess && shared > 48 * 1024)
        error = cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (error == cudaSuccess)
        error =
            cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, BLOCK_THREADS, shared);
    if (error != cudaSuccess)
        return error;
    unsigned grid = (unsigned)blocks * (unsigned)processors;
    if (grid == 0)
        return cudaErrorCooperativeLaunchTooLarge;
    if (most && grid > most)
        grid = most;
    void *pointers[] = {static_cast<void *>(&arguments)...};
    return cudaLaunchCooperativeKernel(reinterpret_cast<const void *>(kernel), dim3(grid),
                                       dim3(BLOCK_THREADS), pointers, shared, stream);
}

} // namespace reliht

#endif
