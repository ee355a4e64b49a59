#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)1 << 16)
/* Names of temporary files tried; they collide only with what a killed process left behind. */
#define TEMPORARY_TRIES 1000u

_Static_assert(FILE_PATH_BYTES >= PATH_MAX, "realpath writes up to PATH_MAX bytes");

static reliht_status write_failed(file_writer *writer, const char *what)
{
    return fail(writer->context, RELIHT_IO, "%s: cannot %s: %s", writer->path, what,
                strerror(errno));
}

/* What an existing target must be; its permissions are kept. */
static reliht_status check_existing(file_writer *writer, const struct stat *state)
{
    if (!S_ISREG(state->st_mode))
        return fail(writer->context, RELIHT_IO,
                    "%s: exists and is not a regular file; give the name of a new or regular file",
                    writer->path);
    if (access(writer->target, W_OK))
        return write_failed(writer, "replace it");
    return RELIHT_OK;
}

/* Finds what the path leads to and opens its folder; `exists` and `state` tell of the target. */
static reliht_status find_target(file_writer *writer, bool *exists, struct stat *state)
{
    size_t length = strlen(writer->path);
    if (!length || length >= sizeof writer->target)
        return fail(writer->context, RELIHT_IO, "\"%s\": a file name of 1 to %zu bytes is needed",
                    writer->path, sizeof writer->target - 1);
    memcpy(writer->target, writer->path, length + 1);
    *exists = !lstat(writer->path, state);
    if (!*exists && errno != ENOENT)
        return write_failed(writer, "write it");
    if (*exists && S_ISLNK(state->st_mode)) {
        if (!realpath(writer->path, writer->target) || stat(writer->target, state))
            return write_failed(writer, "follow the symbolic link");
    }
    if (*exists) {
        reliht_status status = check_existing(writer, state);
        if (status)
            return status;
    }
    char *slash = strrchr(writer->target, '/');
    writer->name = slash ? slash + 1 : writer->target;
    if (!*writer->name)
        return fail(writer->context, RELIHT_IO, "%s: names a folder; a file name is needed",
                    writer->path);
    char folder[FILE_PATH_BYTES] = ".";
    if (slash)
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - writer->target + 1), writer->target);
    writer->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (writer->folder < 0)
        return fail(writer->context, RELIHT_IO, "%s: cannot open its folder %s: %s", writer->path,
                    folder, strerror(errno));
    if (faccessat(writer->folder, ".", W_OK | X_OK, 0)) {
        reliht_status status = fail(writer->context, RELIHT_IO, "%s: cannot write to %s: %s",
                                    writer->path, folder, strerror(errno));
        close(writer->folder);
        return status;
    }
    return RELIHT_OK;
}

reliht_status file_check_target(reliht_context *context, const char *path)
{
    file_writer writer = {.context = context, .path = path};
    struct stat state;
    bool exists = false;
    reliht_status status = find_target(&writer, &exists, &state);
    if (!status)
        close(writer.folder);
    return status;
}

static reliht_status create_temporary(file_writer *writer)
{
    for (unsigned attempt = 0; attempt < TEMPORARY_TRIES; attempt++) {
        snprintf(writer->temporary, sizeof writer->temporary, ".reliht-%ld-%u.tmp", (long)getpid(),
                 attempt);
        writer->file = openat(writer->folder, writer->temporary,
                              O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (writer->file >= 0)
            return RELIHT_OK;
        if (errno != EEXIST)
            break;
    }
    return write_failed(writer, "make a temporary file beside it");
}

reliht_status file_open_write(reliht_context *context, const char *path, file_writer *writer)
{
    *writer = (file_writer){.context = context, .path = path};
    struct stat state;
    bool exists = false;
    reliht_status status = find_target(writer, &exists, &state);
    if (status) {
        writer->context = NULL;
        return status;
    }
    status =
        gate_allocate(context, MEMORY_workspace, BUFFER_BYTES, 1, "file buffer", &writer->buffer);
    if (!status)
        status = create_temporary(writer);
    if (status) {
        close(writer->folder);
        gate_release(context, writer->buffer);
        writer->context = NULL;
        return status;
    }
    if (exists && fchmod(writer->file, state.st_mode & 0777)) {
        status = write_failed(writer, "keep its permissions");
        file_abandon(writer);
    }
    return status;
}

static reliht_status write_through(file_writer *writer, const unsigned char *bytes, size_t count)
{
    while (count) {
        ssize_t written = write(writer->file, bytes, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return write_failed(writer, "write");
        bytes += written;
        count -= (size_t)written;
    }
    return RELIHT_OK;
}

static reliht_status flush(file_writer *writer)
{
    size_t held = writer->held;
    writer->held = 0;
    return write_through(writer, writer->buffer, held);
}

reliht_status file_write(file_writer *writer, const void *bytes, size_t count)
{
    reliht_status status = RELIHT_OK;
    if (writer->held + count > BUFFER_BYTES)
        status = flush(writer);
    if (!status && count >= BUFFER_BYTES)
        return write_through(writer, bytes, count);
    if (!status && count) {
        memcpy(writer->buffer + writer->held, bytes, count);
        writer->held += count;
    }
    return status;
}

static void release_writer(file_writer *writer)
{
    close(writer->folder);
    gate_release(writer->context, writer->buffer);
    writer->context = NULL;
}

reliht_status file_commit(file_writer *writer)
{
    reliht_status status = flush(writer);
    if (!status && fsync(writer->file))
        status = write_failed(writer, "write");
    /* Network file systems report some failures of earlier writes only here. */
    int closed = close(writer->file);
    writer->file = -1;
    if (!status && closed)
        status = write_failed(writer, "write");
    if (!status && renameat(writer->folder, writer->temporary, writer->folder, writer->name))
        status = write_failed(writer, "put it in place");
    if (status) {
        file_abandon(writer);
        return status;
    }
    /* Some file systems cannot sync a folder; the name is then as safe as they make it. */
    if (fsync(writer->folder) && errno != EINVAL)
        status = write_failed(writer, "sync its folder (the file itself is complete)");
    release_writer(writer);
    return status;
}

void file_abandon(file_writer *writer)
{
    if (!writer->context)
        return;
    if (writer->file >= 0)
        close(writer->file);
    unlinkat(writer->folder, writer->temporary, 0);
    release_writer(writer);
}

reliht_status file_open_read(reliht_context *context, const char *path, file_reader *reader)
{
    *reader = (file_reader){.context = context, .path = path};
    /* Without O_NONBLOCK a pipe would hold us here until somebody writes to it. */
    reader->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat state;
    if (reader->file < 0 || fstat(reader->file, &state)) {
        reliht_status status =
            fail(context, RELIHT_IO, "%s: cannot open: %s", path, strerror(errno));
        if (reader->file >= 0)
            close(reader->file);
        reader->context = NULL;
        return status;
    }
    if (!S_ISREG(state.st_mode)) {
        close(reader->file);
        reader->context = NULL;
        return fail(context, RELIHT_IO, "%s: not a regular file", path);
    }
    reader->size = (uint64_t)state.st_size;
    return RELIHT_OK;
}

reliht_status file_read(file_reader *reader, void *bytes, size_t count)
{
    unsigned char *to = bytes;
    while (count) {
        /* Linux reads at most 2^31 - 4096 bytes in one call. */
        ssize_t got = read(reader->file, to, count < (1u << 30) ? count : 1u << 30);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(reader->context, RELIHT_IO, "%s: byte %llu: cannot read: %s", reader->path,
                        (unsigned long long)reader->offset, strerror(errno));
        if (got == 0)
            return file_malformed(reader, reader->offset,
                                  "the file ends here, %zu bytes before it should", count);
        to += got;
        count -= (size_t)got;
        reader->offset += (uint64_t)got;
    }
    return RELIHT_OK;
}

reliht_status file_seek(file_reader *reader, uint64_t offset)
{
    if (lseek(reader->file, (off_t)offset, SEEK_SET) < 0)
        return fail(reader->context, RELIHT_IO, "%s: cannot go to byte %llu: %s", reader->path,
                    (unsigned long long)offset, strerror(errno));
    reader->offset = offset;
    return RELIHT_OK;
}

uint64_t file_remaining(const file_reader *reader)
{
    return reader->size > reader->offset ? reader->size - reader->offset : 0;
}

void file_close_read(file_reader *reader)
{
    if (reader->context)
        close(reader->file);
    reader->context = NULL;
}

reliht_status file_malformed(const file_reader *reader, uint64_t offset, const char *format, ...)
{
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return fail(reader->context, RELIHT_FORMAT, "%s: byte %llu: %s", reader->path,
                (unsigned long long)offset, what);
}
