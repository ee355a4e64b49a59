/* The bytes of a file that may be compressed by gzip (one member; told by its first two bytes), in
 * order and piece by piece: never a second copy of the whole. */
#ifndef RELIHT_DATA_SOURCE_H
#define RELIHT_DATA_SOURCE_H

#include "core/file.h"

#include <zlib.h>

typedef struct byte_source {
    file_reader file;
    bool zipped, ended;
    z_stream stream;
    unsigned char *input; /* compressed bytes that wait */
    uint64_t offset;      /* of the next byte, after decompression */
} byte_source;

/* On failure there is nothing to close. Errors: IO, FORMAT, MEMORY. */
reliht_status source_open(reliht_context *context, const char *path, byte_source *source);
void source_close(byte_source *source);

/* Exactly `count` bytes. Errors: IO, FORMAT (ends before, damaged), MEMORY. */
reliht_status source_read(byte_source *source, void *bytes, size_t count);

/* FORMAT unless `count` bytes more could be in the file: the exact number if it is plain, at most
 * what gzip can pack into its size otherwise. Comes before any allocation by a size that the file
 * itself tells. */
reliht_status source_expect(const byte_source *source, uint64_t count);

/* FORMAT unless everything was read; checks the checksum of gzip. */
reliht_status source_finish(byte_source *source);

/* FORMAT: "PATH: byte OFFSET (decompressed): what". */
reliht_status source_malformed(const byte_source *source, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
