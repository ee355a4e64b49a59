#include "data/source.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define INPUT_BYTES ((size_t)1 << 16)
/* A match of deflate's longest length, 258, takes at least two bits. */
#define DEFLATE_RATIO 1032u
/* inflateInit2: the largest window, a gzip header and trailer. */
#define GZIP_WINDOW (15 + 16)

static void *zlib_allocate(void *context, uInt items, uInt size)
{
    void *pointer;
    gate_allocate(context, MEMORY_workspace, items, size, "decompression", &pointer);
    return pointer;
}

static void zlib_release(void *context, void *pointer)
{
    gate_release(context, pointer);
}

static reliht_status start_inflate(byte_source *source)
{
    reliht_context *context = source->file.context;
    reliht_status status = gate_allocate(context, MEMORY_workspace, INPUT_BYTES, 1,
                                         "compressed bytes", &source->input);
    if (status)
        return status;
    source->stream = (z_stream){.zalloc = zlib_allocate, .zfree = zlib_release, .opaque = context};
    if (inflateInit2(&source->stream, GZIP_WINDOW) == Z_OK)
        return RELIHT_OK;
    gate_release(context, source->input);
    return fail(context, RELIHT_MEMORY, "%s: out of memory to decompress it", source->file.path);
}

reliht_status source_open(reliht_context *context, const char *path, byte_source *source)
{
    *source = (byte_source){0};
    reliht_status status = file_open_read(context, path, &source->file);
    if (status)
        return status;
    unsigned char magic[2] = {0};
    if (source->file.size >= sizeof magic) {
        status = file_read(&source->file, magic, sizeof magic);
        if (!status)
            status = file_seek(&source->file, 0);
    }
    source->zipped = magic[0] == 0x1f && magic[1] == 0x8b;
    if (!status && source->zipped)
        status = start_inflate(source);
    if (status)
        file_close_read(&source->file);
    return status;
}

void source_close(byte_source *source)
{
    if (!source->file.context)
        return;
    if (source->zipped) {
        inflateEnd(&source->stream);
        gate_release(source->file.context, source->input);
    }
    file_close_read(&source->file);
}

reliht_status source_malformed(const byte_source *source, uint64_t offset, const char *format, ...)
{
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return fail(source->file.context, RELIHT_FORMAT, "%s: byte %llu%s: %s", source->file.path,
                (unsigned long long)offset, source->zipped ? " (decompressed)" : "", what);
}

static reliht_status refill(byte_source *source)
{
    uint64_t left = file_remaining(&source->file);
    size_t count = left < INPUT_BYTES ? (size_t)left : INPUT_BYTES;
    if (!count)
        return file_malformed(&source->file, source->file.offset,
                              "the compressed data end too early");
    reliht_status status = file_read(&source->file, source->input, count);
    source->stream.next_in = source->input;
    source->stream.avail_in = (uInt)count;
    return status;
}

/* One call of inflate, after a refill where needed. */
static reliht_status inflate_some(byte_source *source)
{
    if (!source->stream.avail_in) {
        reliht_status status = refill(source);
        if (status)
            return status;
    }
    switch (inflate(&source->stream, Z_NO_FLUSH)) {
    case Z_STREAM_END:
        source->ended = true;
        return RELIHT_OK;
    case Z_OK:
    case Z_BUF_ERROR: /* needs more input */
        return RELIHT_OK;
    case Z_MEM_ERROR:
        return fail(source->file.context, RELIHT_MEMORY, "%s: out of memory to decompress it",
                    source->file.path);
    default:
        return file_malformed(&source->file, source->file.offset - source->stream.avail_in,
                              "damaged gzip data (%s)",
                              source->stream.msg ? source->stream.msg : "unknown form");
    }
}

reliht_status source_read(byte_source *source, void *bytes, size_t count)
{
    if (!source->zipped) {
        source->offset += count;
        return file_read(&source->file, bytes, count);
    }
    unsigned char *to = bytes;
    while (count) {
        if (source->ended)
            return source_malformed(source, source->offset,
                                    "the data end here, %zu bytes before they should", count);
        uInt room = count < (1u << 30) ? (uInt)count : 1u << 30;
        source->stream.next_out = to;
        source->stream.avail_out = room;
        reliht_status status = inflate_some(source);
        if (status)
            return status;
        size_t got = room - source->stream.avail_out;
        to += got;
        count -= got;
        source->offset += got;
    }
    return RELIHT_OK;
}

reliht_status source_expect(const byte_source *source, uint64_t count)
{
    uint64_t size = source->file.size, expected = source->offset + count;
    if (source->zipped ? expected / DEFLATE_RATIO <= size : expected == size)
        return RELIHT_OK;
    return source_malformed(source, source->offset,
                            "%llu bytes should follow, which a file of %llu bytes %s",
                            (unsigned long long)count, (unsigned long long)size,
                            source->zipped ? "cannot hold" : "does not hold exactly");
}

reliht_status source_finish(byte_source *source)
{
    unsigned char extra;
    while (source->zipped && !source->ended) {
        source->stream.next_out = &extra;
        source->stream.avail_out = 1;
        reliht_status status = inflate_some(source);
        if (status)
            return status;
        if (!source->stream.avail_out)
            return source_malformed(source, source->offset, "more data than there should be");
    }
    uint64_t left = file_remaining(&source->file) + (source->zipped ? source->stream.avail_in : 0);
    if (left)
        return file_malformed(&source->file, source->file.size - left,
                              "%llu bytes more than there should be", (unsigned long long)left);
    return RELIHT_OK;
}
