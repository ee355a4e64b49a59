/* Between the sparse products of a prediction. */
#ifndef RELIHT_KERNELS_PREDICT_H
#define RELIHT_KERNELS_PREDICT_H

#include "kernels/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* x[i] <- max(0, x[i]) for i < count; then the next `ones` floats become 1 (the bias input). */
cudaError_t launch_relu(cudaStream_t stream, float *x, size_t count, size_t ones);

#ifdef __cplusplus
}
#endif

#endif
