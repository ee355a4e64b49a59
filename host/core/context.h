/* The context: error messages, the allocation gate, threads and the backend in use.
 *
 * All memory of the library passes through gate_allocate and is counted by category. Memory is
 * allocated from the thread that calls the library only, never inside a parallel region. */
#ifndef RELIHT_CORE_CONTEXT_H
#define RELIHT_CORE_CONTEXT_H

#include <reliht/reliht.h>

typedef enum memory_category {
#define MEMORY_ENUM(name) MEMORY_##name,
    RELIHT_MEMORY_LIST(MEMORY_ENUM)
#undef MEMORY_ENUM
        MEMORY_CATEGORIES
} memory_category;

typedef struct backend backend;

/* Bytes held now and at most, by category. */
typedef struct memory_counters {
    uint64_t current[MEMORY_CATEGORIES], peak[MEMORY_CATEGORIES], total, total_peak;
} memory_counters;

struct reliht_context {
    reliht_allocator allocator;
    memory_counters host, device; /* device: of a GPU */
    uint64_t
        machine_bytes; /* of physical memory: more is refused, not left to the system to kill */
    uint32_t threads;
    backend *backend;
    char message[1024];
};

/* Keeps a sentence (printf format) in the context and returns `status`. */
reliht_status fail(reliht_context *context, reliht_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* `count` elements of `size` bytes, aligned to 64, zeroed, counted under `category`. Sets *pointer
 * (to NULL on failure; count 0 gives a valid pointer). Fails with MEMORY, naming `what`; a product
 * that overflows fails the same way. */
reliht_status gate_allocate(reliht_context *context, memory_category category, size_t count,
                            size_t size, const char *what, void *pointer);

/* Releases what gate_allocate gave; NULL is allowed. */
void gate_release(reliht_context *context, void *pointer);

/* Counts memory that was obtained or released elsewhere (device memory, pinned host memory). */
void memory_count(memory_counters *counters, memory_category category, uint64_t bytes);
void memory_uncount(memory_counters *counters, memory_category category, uint64_t bytes);

/* Monotonic wall clock and process CPU time, seconds. */
double clock_wall(void);
double clock_cpu(void);

#endif
