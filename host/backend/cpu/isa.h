/* Instruction sets for which the files *_simd.c are compiled; the best one that this processor has
 * is chosen when the backend is opened. Each such file defines one table of functions under the
 * name ISA_NAME(...), and a small .c file beside it picks the table. */
#ifndef RELIHT_BACKEND_CPU_ISA_H
#define RELIHT_BACKEND_CPU_ISA_H

typedef enum cpu_isa { ISA_base, ISA_avx2, ISA_avx512, ISA_COUNT } cpu_isa;

#define ISA_PASTE(name, isa) name##_##isa
#define ISA_EXPAND(name, isa) ISA_PASTE(name, isa)
#define ISA_NAME(name) ISA_EXPAND(name, RELIHT_ISA)

/* The best instruction set this processor and this build have. */
cpu_isa cpu_isa_best(void);
const char *cpu_isa_name(cpu_isa isa);

#if defined(__x86_64__)
#define ISA_TABLE(name)                                                          \
    {                                                                            \
        &ISA_PASTE(name, base), &ISA_PASTE(name, avx2), &ISA_PASTE(name, avx512) \
    }
#define ISA_DECLARE(type, name) \
    extern const type ISA_PASTE(name, base), ISA_PASTE(name, avx2), ISA_PASTE(name, avx512)
#else
#define ISA_TABLE(name)                                                        \
    {                                                                          \
        &ISA_PASTE(name, base), &ISA_PASTE(name, base), &ISA_PASTE(name, base) \
    }
#define ISA_DECLARE(type, name) extern const type ISA_PASTE(name, base)
#endif

#endif
