// Fails a chosen call to CUDA, cuBLAS or cuSPARSE: the linker leads the calls of the backend
// through here (--wrap, see the list in tests/CMakeLists.txt).
#ifndef RELIHT_TESTS_CUDA_SHIM_H
#define RELIHT_TESTS_CUDA_SHIM_H

#include <cstddef>
#include <string>

namespace shim
{

// The call number `number` (from 0) from now on fails, once; SIZE_MAX: none.
void arm(size_t number);
// Calls since then, and the name of the one that failed ("" if none did).
size_t calls();
std::string failed();

} // namespace shim

#endif
