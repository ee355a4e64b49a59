/* Many normal deviates of one stream at once: the same bits as rng_normals, in SIMD lanes. */
#ifndef RELIHT_BACKEND_CPU_NORMALS_H
#define RELIHT_BACKEND_CPU_NORMALS_H

#include "backend/cpu/isa.h"
#include "core/rng.h"

/* out[i] <- normal number first + i of the stream (seed, purpose, row), 0 <= i < count. `first` is
 * a multiple of 4. */
typedef void normals_function(uint64_t seed, rng_purpose purpose, uint64_t row, uint32_t first,
                              size_t count, float *out);

typedef struct normals_kernel {
    normals_function *fill;
} normals_kernel;

const normals_kernel *normals_for(cpu_isa isa);

#endif
