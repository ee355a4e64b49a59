// What the tests share: a context per test, an allocator that fails on demand, a temporary folder.
#ifndef RELIHT_TESTS_SUPPORT_H
#define RELIHT_TESTS_SUPPORT_H

#include <reliht/reliht.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

namespace support
{

// Counts live blocks and fails the allocation number `fail_at` (from 0) and all after it.
struct FailingAllocator {
    size_t calls = 0, live = 0, fail_at = SIZE_MAX;

    static void *allocate(void *user, size_t bytes)
    {
        auto *self = static_cast<FailingAllocator *>(user);
        if (self->calls++ >= self->fail_at)
            return nullptr;
        self->live++;
        return aligned_alloc(64, (bytes + 63) / 64 * 64);
    }
    static void release(void *user, void *pointer)
    {
        static_cast<FailingAllocator *>(user)->live--;
        free(pointer);
    }
    reliht_allocator hooks()
    {
        return {allocate, release, this};
    }
};

// A context that is destroyed with the object.
struct Context {
    reliht_context *handle = nullptr;

    explicit Context(unsigned threads = 2, FailingAllocator *allocator = nullptr,
                     reliht_backend_kind backend = RELIHT_BACKEND_CPU)
    {
        reliht_context_options options;
        reliht_context_options_default(&options);
        options.backend = backend;
        options.threads = threads;
        if (allocator)
            options.allocator = allocator->hooks();
        reliht_context_create(&options, &handle, nullptr, 0);
    }
    ~Context()
    {
        reliht_context_destroy(handle);
    }
    Context(const Context &) = delete;
    Context &operator=(const Context &) = delete;
    operator reliht_context *() const
    {
        return handle;
    }
    std::string message() const
    {
        return reliht_context_message(handle);
    }
};

// Runs `body` (which gets a context, does its work, releases all it made and returns the status)
// with 0, 1, 2, ... allocations allowed until it succeeds; every failure must be a clean MEMORY
// error that leaks nothing. Returns the number of allocations of the run that succeeded.
template <typename Body> size_t fail_each_allocation(Body body)
{
    for (size_t allowed = 0;; allowed++) {
        FailingAllocator allocator;
        allocator.fail_at = allowed;
        reliht_status status = RELIHT_MEMORY;
        {
            Context context(2, &allocator);
            if (context.handle)
                status = body(context.handle);
        }
        EXPECT_EQ(allocator.live, 0u) << "leak when allocation " << allowed << " fails";
        if (status == RELIHT_OK)
            return allocator.calls;
        EXPECT_EQ(status, RELIHT_MEMORY) << "when allocation " << allowed << " fails";
        if (status != RELIHT_MEMORY || allowed > 100000)
            return 0;
    }
}

// A new folder, removed with the object.
struct TemporaryDirectory {
    std::filesystem::path path;

    TemporaryDirectory()
    {
        std::string name = (std::filesystem::temp_directory_path() / "reliht-test-XXXXXX").string();
        if (!mkdtemp(name.data()))
            abort();
        path = name;
    }
    ~TemporaryDirectory()
    {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    std::string file(const std::string &name) const
    {
        return (path / name).string();
    }
};

} // namespace support

#endif
