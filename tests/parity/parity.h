// One table of cases drives every backend: a test in this folder takes its context from here and
// compares with an oracle in double precision, or with the properties of what is computed. It is
// built once per backend (RELIHT_PARITY_BACKEND).
#ifndef RELIHT_TESTS_PARITY_PARITY_H
#define RELIHT_TESTS_PARITY_PARITY_H

#include "support.h"

extern "C" {
#include "backend/backend.h"
}

namespace parity
{

inline constexpr reliht_backend_kind backend_kind = RELIHT_PARITY_BACKEND;

// A context on the backend of this program. Where there is no GPU to run on the test is skipped
// before anything is launched: call PARITY_CONTEXT first in a test.
struct Context : support::Context {
    explicit Context(unsigned threads = 2, support::FailingAllocator *allocator = nullptr)
        : support::Context(threads, allocator, backend_kind)
    {
    }
    const backend_operations &operations() const
    {
        return *handle->backend->operations;
    }
    backend *on() const
    {
        return handle->backend;
    }
};

// Why there is no GPU to test on, or "".
std::string missing_backend();

} // namespace parity

#define PARITY_NEEDS_BACKEND()                                             \
    if (const std::string why = parity::missing_backend(); !why.empty()) { \
        GTEST_SKIP() << why;                                               \
    }

#endif
