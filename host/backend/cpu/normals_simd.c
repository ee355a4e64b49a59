/* z_i = Phi^-1(word i of Philox4x32-10), for each instruction set. */
#include "backend/cpu/normals.h"

#include "core/normal_fill.h"

static void fill(uint64_t seed, rng_purpose purpose, uint64_t row, uint32_t first, size_t count,
                 float *out)
{
    normal_fill(seed, purpose, row, first, count, out);
}

const normals_kernel ISA_NAME(normals_kernel) = {fill};
