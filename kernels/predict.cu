// The nonlinearity between the sparse products of a prediction.
#include "kernels/predict.h"

#include <cstdint>

namespace
{

__global__ void relu(float *x, size_t count, size_t ones)
{
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count + ones; i += step)
        x[i] = i < count ? (x[i] > 0.0f ? x[i] : 0.0f) : 1.0f;
}

} // namespace

extern "C" cudaError_t launch_relu(cudaStream_t stream, float *x, size_t count, size_t ones)
{
    size_t blocks = (count + ones + 255) / 256;
    relu<<<(unsigned)(blocks < 4096 ? blocks : 4096), 256, 0, stream>>>(x, count, ones);
    return cudaGetLastError();
}
