#include "core/context.h"

#include "backend/backend.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* In front of every block; as long as the alignment, so the block keeps it. */
typedef union block_header {
    struct {
        uint64_t bytes;
        memory_category category;
    } block;
    unsigned char alignment[64];
} block_header;

const char *reliht_status_text(reliht_status status)
{
    switch (status) {
#define STATUS_TEXT(name, text) \
    case RELIHT_##name:         \
        return text;
        RELIHT_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}

const char *reliht_version(void)
{
    return RELIHT_VERSION_STRING;
}

static uint64_t machine_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    /* The system itself needs some of it. */
    return pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes / 16 * 15 : UINT64_MAX;
}

static void *system_allocate(void *user, size_t bytes)
{
    (void)user;
    return aligned_alloc(64, bytes);
}

static void system_release(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

void reliht_context_options_default(reliht_context_options *options)
{
    *options = (reliht_context_options){.backend = RELIHT_BACKEND_AUTO};
}

/* Messages quote files: a terminal would obey what is no text in them. */
static void replace_controls(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) { /* U+0080 to U+009F */
            *c++ = '?';
            *c = '?';
        } else if (*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
}

reliht_status fail(reliht_context *context, reliht_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context->message, sizeof context->message, format, arguments);
    va_end(arguments);
    replace_controls(context->message);
    return status;
}

static void copy_message(char *message, size_t message_bytes, const char *text)
{
    if (message && message_bytes)
        snprintf(message, message_bytes, "%s", text);
}

reliht_status reliht_context_create(const reliht_context_options *options, reliht_context **context,
                                    char *message, size_t message_bytes)
{
    reliht_context_options defaults;
    reliht_context_options_default(&defaults);
    if (!options)
        options = &defaults;
    *context = NULL;
    copy_message(message, message_bytes, "");

    reliht_allocator allocator = options->allocator;
    if (!allocator.allocate != !allocator.release) {
        copy_message(message, message_bytes, "an allocator needs both allocate and release");
        return RELIHT_ARGUMENT;
    }
    if (!allocator.allocate)
        allocator = (reliht_allocator){system_allocate, system_release, NULL};
    if (options->threads > 4096) {
        copy_message(message, message_bytes, "threads: at most 4096 are supported");
        return RELIHT_ARGUMENT;
    }
    /* A multiple of the alignment, as aligned_alloc wants it. */
    size_t bytes = (sizeof(reliht_context) + 63) / 64 * 64;
    reliht_context *made = allocator.allocate(allocator.user, bytes);
    if (!made) {
        copy_message(message, message_bytes, "out of memory for a context");
        return RELIHT_MEMORY;
    }
    memset(made, 0, sizeof *made);
    made->allocator = allocator;
    made->machine_bytes = machine_memory();
    made->threads = options->threads ? options->threads : (uint32_t)omp_get_num_procs();
    reliht_status status = backend_open(made, options->backend);
    if (status) {
        copy_message(message, message_bytes, made->message);
        allocator.release(allocator.user, made);
        return status;
    }
    *context = made;
    return RELIHT_OK;
}

void reliht_context_destroy(reliht_context *context)
{
    if (!context)
        return;
    backend_close(context->backend);
    context->allocator.release(context->allocator.user, context);
}

const char *reliht_context_message(const reliht_context *context)
{
    return context->message;
}

const char *reliht_context_backend(const reliht_context *context)
{
    return context->backend->operations->name;
}

const char *reliht_context_backend_details(const reliht_context *context)
{
    return context->backend->details;
}

void memory_count(memory_counters *counters, memory_category category, uint64_t bytes)
{
    counters->current[category] += bytes;
    counters->total += bytes;
    if (counters->current[category] > counters->peak[category])
        counters->peak[category] = counters->current[category];
    if (counters->total > counters->total_peak)
        counters->total_peak = counters->total;
}

void memory_uncount(memory_counters *counters, memory_category category, uint64_t bytes)
{
    counters->current[category] -= bytes;
    counters->total -= bytes;
}

reliht_status gate_allocate(reliht_context *context, memory_category category, size_t count,
                            size_t size, const char *what, void *pointer)
{
    void *none = NULL;
    memcpy(pointer, &none, sizeof none);
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2)
        return fail(context, RELIHT_MEMORY, "%s: %zu elements of %zu bytes are more than memory",
                    what, count, size);
    size_t whole = sizeof(block_header) + (bytes + 63) / 64 * 64;
    if (context->host.total + whole > context->machine_bytes)
        return fail(
            context, RELIHT_MEMORY,
            "out of memory: %s needs %zu bytes; %llu are held of the %llu this machine can give",
            what, bytes, (unsigned long long)context->host.total,
            (unsigned long long)context->machine_bytes);
    block_header *block = context->allocator.allocate(context->allocator.user, whole);
    if (!block)
        return fail(context, RELIHT_MEMORY, "out of memory: %s needs %zu bytes; %llu are held",
                    what, bytes, (unsigned long long)context->host.total);
    memset(block, 0, whole);
    block->block.bytes = bytes;
    block->block.category = category;
    memory_count(&context->host, category, bytes);
    void *user = block + 1;
    memcpy(pointer, &user, sizeof user);
    return RELIHT_OK;
}

void gate_release(reliht_context *context, void *pointer)
{
    if (!pointer)
        return;
    block_header *block = (block_header *)pointer - 1;
    memory_uncount(&context->host, block->block.category, block->block.bytes);
    context->allocator.release(context->allocator.user, block);
}

static void copy_counters(const memory_counters *counters, reliht_memory *current,
                          reliht_memory *peak)
{
#define MEMORY_COPY(name)                                 \
    if (current)                                          \
        current->name = counters->current[MEMORY_##name]; \
    if (peak)                                             \
        peak->name = counters->peak[MEMORY_##name];
    RELIHT_MEMORY_LIST(MEMORY_COPY)
#undef MEMORY_COPY
    if (current)
        current->total = counters->total;
    if (peak)
        peak->total = counters->total_peak;
}

void reliht_context_memory(const reliht_context *context, reliht_memory *current,
                           reliht_memory *peak)
{
    copy_counters(&context->host, current, peak);
}

void reliht_context_device_memory(const reliht_context *context, reliht_memory *current,
                                  reliht_memory *peak)
{
    copy_counters(&context->device, current, peak);
}

static void reset_peak(memory_counters *counters)
{
    memcpy(counters->peak, counters->current, sizeof counters->peak);
    counters->total_peak = counters->total;
}

void reliht_context_memory_reset_peak(reliht_context *context)
{
    reset_peak(&context->host);
    reset_peak(&context->device);
}

static double seconds_of(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

double clock_wall(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double clock_cpu(void)
{
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}
