#include "backend/cpu/isa.h"

cpu_isa cpu_isa_best(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        return ISA_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2"))
        return ISA_avx2;
#endif
    return ISA_base;
}

const char *cpu_isa_name(cpu_isa isa)
{
    static const char *const names[ISA_COUNT] = {"baseline", "avx2", "avx512"};
    return names[isa];
}
