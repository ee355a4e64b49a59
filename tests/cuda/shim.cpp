#include "cuda/shim.h"

#include <cstdint>

namespace
{
size_t armed = SIZE_MAX, count = 0;
const char *name_of_failed = "";
} // namespace

void shim::arm(size_t number)
{
    armed = number;
    count = 0;
    name_of_failed = "";
}

size_t shim::calls()
{
    return count;
}

std::string shim::failed()
{
    return name_of_failed;
}

extern "C" int shim_fails(const char *name)
{
    if (count++ != armed)
        return 0;
    name_of_failed = name;
    return 1;
}

#ifdef __x86_64__
// Of any signature: arguments in integer registers and on the stack stay as they are. A failing
// call does nothing and returns `error`.
#define WRAP(name, error)                                                                          \
    __asm__(".section .rodata\n"                                                                   \
            ".Lname_" #name ": .asciz \"" #name "\"\n"                                             \
            ".text\n"                                                                              \
            ".globl __wrap_" #name "\n"                                                            \
            ".type __wrap_" #name ", @function\n"                                                  \
            "__wrap_" #name ":\n"                                                                  \
            "push %rdi\n push %rsi\n push %rdx\n push %rcx\n push %r8\n push %r9\n sub $8, %rsp\n" \
            "lea .Lname_" #name "(%rip), %rdi\n"                                                   \
            "call shim_fails\n"                                                                    \
            "add $8, %rsp\n pop %r9\n pop %r8\n pop %rcx\n pop %rdx\n pop %rsi\n pop %rdi\n"       \
            "test %eax, %eax\n"                                                                    \
            "jne 1f\n"                                                                             \
            "jmp __real_" #name "\n"                                                               \
            "1: mov $" #error ", %eax\n"                                                           \
            "ret\n");
#include "cuda/wrapped.inc"
#endif
