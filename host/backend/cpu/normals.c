#include "backend/cpu/normals.h"

ISA_DECLARE(normals_kernel, normals_kernel);

const normals_kernel *normals_for(cpu_isa isa)
{
    static const normals_kernel *const kernels[ISA_COUNT] = ISA_TABLE(normals_kernel);
    return kernels[isa];
}
