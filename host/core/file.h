/* Files: written whole or not at all, read with every size checked.
 *
 * A writer fills a temporary file beside its target and puts it in place only when everything is on
 * the disk: fsync of the file, rename, fsync of the folder. Whatever fails before leaves what was
 * there untouched and removes the temporary file. The target may be new or an existing regular file
 * that may be written; anything else is refused. Symbolic links are followed: the file that a link
 * leads to is replaced and the link stays; a link that leads nowhere is refused. */
#ifndef RELIHT_CORE_FILE_H
#define RELIHT_CORE_FILE_H

#include "core/context.h"

#define FILE_NAME_BYTES 64u
#define FILE_PATH_BYTES 4096u

typedef struct file_writer {
    reliht_context *context;
    const char *path;             /* as the caller gave it, for messages; outlives the writer */
    int folder, file;             /* descriptors */
    char target[FILE_PATH_BYTES]; /* what `path` leads to */
    const char *name;             /* last part of target */
    char temporary[FILE_NAME_BYTES];
    unsigned char *buffer;
    size_t held; /* bytes waiting in the buffer */
} file_writer;

/* Checks that `path` could be written, as file_open_write does, and changes nothing. IO. */
reliht_status file_check_target(reliht_context *context, const char *path);

/* Begins a file. On failure there is nothing to close. Errors: IO, MEMORY. */
reliht_status file_open_write(reliht_context *context, const char *path, file_writer *writer);
/* Errors: IO (a full disk, say); the writer must then be abandoned. */
reliht_status file_write(file_writer *writer, const void *bytes, size_t count);
/* Puts the file in place and closes the writer, also on failure. Errors: IO. */
reliht_status file_commit(file_writer *writer);
/* Closes the writer and removes the temporary file. Does nothing to a closed writer or one that is
 * all zero. */
void file_abandon(file_writer *writer);

/* A regular file open for reading, in order. */
typedef struct file_reader {
    reliht_context *context;
    const char *path; /* outlives the reader */
    int file;
    uint64_t size;   /* bytes in the file when it was opened */
    uint64_t offset; /* of the next byte */
} file_reader;

/* Directories, pipes and devices are refused. On failure there is nothing to close. IO. */
reliht_status file_open_read(reliht_context *context, const char *path, file_reader *reader);
/* Exactly `count` bytes. A file that ends before is FORMAT and names the offset; IO. */
reliht_status file_read(file_reader *reader, void *bytes, size_t count);
/* The next read begins at `offset`, at most `size`. IO. */
reliht_status file_seek(file_reader *reader, uint64_t offset);
/* Bytes that are left by the size the file had when it was opened. */
uint64_t file_remaining(const file_reader *reader);
/* Does nothing to a closed reader or one that could not be opened. */
void file_close_read(file_reader *reader);

/* FORMAT: "PATH: byte OFFSET: what is wrong and what would be right". */
reliht_status file_malformed(const file_reader *reader, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
