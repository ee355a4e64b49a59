/* Products of the fused model with weights on their support only, patterns fixed:
 *     forward   A_S v = sum_j sign_j D_j * (X v_j)
 *     adjoint   A_S^T r = sign_j X_c^T (D_j * r)  for every (j, c) on the support
 * and the vector operations between them. Samples are cut into chunks of SUPPORT_CHUNK; sums over
 * samples are taken per lane within a chunk and in double across chunks, in order: the bits don't
 * depend on the number of threads or on the instruction set. */
#ifndef RELIHT_BACKEND_CPU_SUPPORT_H
#define RELIHT_BACKEND_CPU_SUPPORT_H

#include "backend/cpu/cpu.h"

#define SUPPORT_CHUNK 1024u
/* Samples of a span of the adjoint, and spans that are worked on side by side. */
#define ADJOINT_SPAN 2048u
#define ADJOINT_WAVE 8u
#define ADJOINT_SCRATCH (ADJOINT_WAVE + 1u)

typedef struct support_kernels {
    /* sum[i] += sum_j sign_j * bit i of j * sum_c value[j, c] * x[c][i], for 64 * words samples;
     * patterns [live, stride / 64] */
    void (*forward)(const float *x, size_t stride, const sparse *support, const float *value,
                    const uint64_t *patterns, size_t words, reliht_signs signs, double *sum);
    /* sum[k] = sum_i bit i of k's neuron * r[i] * x[column[k]][i], as many samples */
    void (*adjoint)(const float *x, size_t stride, const sparse *support, const uint64_t *patterns,
                    size_t words, const float *r, double *sum);
    /* sum_i a[i] * a[i] over a multiple of LANES floats */
    double (*squares)(const float *a, size_t count);
    /* r[i] -= step * q[i] */
    void (*descend)(float *r, const float *q, float step, size_t count);
} support_kernels;

/* The operator of one batch: data, the neurons with weights and their patterns. */
typedef struct support_operator {
    cpu_backend *backend;
    const float *x;
    size_t stride;            /* of x, a multiple of 64 */
    const sparse *support;    /* rows: neurons; its values are not used */
    const uint64_t *patterns; /* [live, stride / 64] */
    reliht_signs signs;
} support_operator;

/* out[i] <- (float)(sum over the support of value - target[i]); target may be NULL (zero).
 * `sums` [chunks of stride] is scratch; returns |out|^2. out: [stride]. */
double support_forward(const support_operator *self, const float *value, const float *target,
                       float *out, double *sums);

/* gradient[nnz] <- A_S^T r; returns |gradient|^2. `scratch`: ADJOINT_SCRATCH doubles for every
 * entry of the support. */
double support_adjoint(const support_operator *self, const float *residual, float *gradient,
                       double *scratch);

/* r <- r - step * q over `stride` floats; returns |r|^2. `sums` as above. */
double support_descend(const support_operator *self, float *r, const float *q, float step,
                       double *sums);

/* Number of doubles `sums` needs for so many padded samples. */
static inline size_t support_chunks(size_t stride)
{
    return (stride + SUPPORT_CHUNK - 1) / SUPPORT_CHUNK;
}

#endif
