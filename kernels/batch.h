/* Rows of bytes into float columns. */
#ifndef RELIHT_KERNELS_BATCH_H
#define RELIHT_KERNELS_BATCH_H

#include "kernels/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* x[c * stride + first + i] <- rows[i * inputs + c] * scale, for `count` rows of `inputs` bytes. */
cudaError_t launch_columns_of_bytes(cudaStream_t stream, const unsigned char *rows, uint32_t count,
                                    uint32_t inputs, float scale, uint32_t first, float *x,
                                    uint32_t stride);

/* Zeroes behind the last sample of `inputs` columns; columns from `inputs` to `all` - 1 become 1
 * (the bias input), zero behind the last sample. */
cudaError_t launch_finish_columns(cudaStream_t stream, float *x, uint32_t samples, uint32_t stride,
                                  uint32_t inputs, uint32_t all);

#ifdef __cplusplus
}
#endif

#endif
