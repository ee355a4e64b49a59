/* Functions that the host and the GPU share, so that both compute the same bits: C for one
 * compiler, host and device code for the other. */
#ifndef RELIHT_CORE_INLINE_H
#define RELIHT_CORE_INLINE_H

#ifdef __CUDACC__
#define RELIHT_INLINE static __host__ __device__ __forceinline__
#else
#define RELIHT_INLINE static inline __attribute__((always_inline))
#endif

#endif
