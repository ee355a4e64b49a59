/* One step of Gaussian compressed sensing on the GPU. */
#ifndef RELIHT_KERNELS_SENSING_H
#define RELIHT_KERNELS_SENSING_H

#include "kernels/select.h"
#include "kernels/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Candidates that are formed before they are offered. */
#define SENSING_WAVE 16384u
/* Rows whose squares are summed together; fixes the order of sums. */
#define SENSING_ROWS 256u

typedef struct sensing_scalars {
    double objective_before, objective_chosen, objective_after;
    double first_step, step; /* at the start, and as the refits have halved it */
    uint32_t refits;
    uint64_t nanoseconds; /* of the sweep and the choice */
} sensing_scalars;

/* A [measurements, length], column c ~ normals of the stream (RNG_SENSE_MATRIX, c); everything in
 * device memory. */
typedef struct device_sensing {
    device_sparse weights; /* one row */
    float *columns;        /* [nnz, measurements] of the support, in its order */
    const double *target;  /* [measurements] */
    double *residual, *residual_chosen, *image; /* [measurements] */
    double *gradient;                           /* [nnz] */
    double *sums;                               /* [measurements / SENSING_ROWS, rounded up] */
    float *chosen;                              /* [nnz] values after the sweep */
    float *stepped;                             /* [SENSING_WAVE] */
    device_select select;
    sensing_scalars *scalars;
    uint64_t seed;
    uint32_t length, measurements;
} device_sensing;

/* r = A x - y, mu, x <- top_s(x - mu A^T r), then up to `refits` descent steps on the support with
 * their line search. One cooperative launch. */
cudaError_t launch_sensing_step(cudaStream_t stream, device_sensing self, uint32_t refits);

#ifdef __cplusplus
}
#endif

#endif
