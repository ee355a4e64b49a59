/* What host and device code share: views of arrays in device memory. Plain C. */
#ifndef RELIHT_KERNELS_TYPES_H
#define RELIHT_KERNELS_TYPES_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

/* A sparse matrix by rows as in core/sparse.h: only rows that hold entries, ascending. Its counts
 * live on the device, since the host doesn't wait for them. */
typedef struct device_sparse {
    uint32_t *counts; /* [2] nnz, live */
    uint32_t *row;    /* [live] */
    uint32_t *start;  /* [live + 1] */
    uint32_t *column; /* [nnz] */
    float *value;     /* [nnz] */
} device_sparse;

enum { COUNT_NNZ, COUNT_LIVE };

/* The samples at hand. The view itself lies in device memory, so that a captured graph sees the
 * next batch without being changed. */
typedef struct device_batch {
    const float *x;           /* [inputs, stride], the bias input last; zero past the samples */
    const float *y;           /* [outputs, stride], zero past the samples; or NULL */
    const int32_t *labels;    /* [samples] or NULL */
    uint32_t samples, stride; /* stride: samples padded to 64 */
    uint32_t inputs, outputs;
} device_batch;

#endif
