// Rows of bytes into float columns: 32 x 32 squares are turned in shared memory, so that both sides
// move whole sectors.
#include "kernels/batch.h"

namespace
{

constexpr uint32_t SIDE = 32, LINES = 8;

__global__ void columns_of_bytes(const unsigned char *rows, uint32_t count, uint32_t inputs,
                                 float scale, uint32_t first, float *x, uint32_t stride)
{
    __shared__ float square[SIDE][SIDE + 1]; // one more: columns then lie in different banks
    uint32_t row = blockIdx.x * SIDE;
    for (uint32_t column = blockIdx.y * SIDE; column < inputs; column += gridDim.y * SIDE) {
        for (uint32_t line = threadIdx.y; line < SIDE; line += LINES) {
            uint32_t r = row + line, c = column + threadIdx.x;
            if (r < count && c < inputs)
                square[line][threadIdx.x] = (float)rows[(size_t)r * inputs + c] * scale;
        }
        __syncthreads();
        for (uint32_t line = threadIdx.y; line < SIDE; line += LINES) {
            uint32_t r = row + threadIdx.x, c = column + line;
            if (r < count && c < inputs)
                x[(size_t)c * stride + first + r] = square[threadIdx.x][line];
        }
        __syncthreads();
    }
}

__global__ void finish_columns(float *x, uint32_t samples, uint32_t stride, uint32_t inputs)
{
    uint32_t column = blockIdx.x;
    uint32_t start = column < inputs ? samples : 0;
    for (uint32_t i = start + threadIdx.x; i < stride; i += blockDim.x)
        x[(size_t)column * stride + i] = i < samples ? 1.0f : 0.0f;
}

} // namespace

extern "C" cudaError_t launch_columns_of_bytes(cudaStream_t stream, const unsigned char *rows,
                                               uint32_t count, uint32_t inputs, float scale,
                                               uint32_t first, float *x, uint32_t stride)
{
    uint32_t columns = (inputs + SIDE - 1) / SIDE;
    dim3 grid((count + SIDE - 1) / SIDE, columns < 1024 ? columns : 1024);
    columns_of_bytes<<<grid, dim3(SIDE, LINES), 0, stream>>>(rows, count, inputs, scale, first, x,
                                                             stride);
    return cudaGetLastError();
}

extern "C" cudaError_t launch_finish_columns(cudaStream_t stream, float *x, uint32_t samples,
                                             uint32_t stride, uint32_t inputs, uint32_t all)
{
    finish_columns<<<all, 64, 0, stream>>>(x, samples, stride, inputs);
    return cudaGetLastError();
}
