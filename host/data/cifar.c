/* CIFAR-10, binary version: records of one label byte and 3072 bytes, the red, green and blue
 * planes of 32 x 32 pixels. The published files hold 10000 records; any number is read. */
#include "data/images.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PIXEL_BYTES ((size_t)3072)
#define RECORD_BYTES (1 + PIXEL_BYTES)
#define SUBFOLDER "cifar-10-batches-bin/"

static const size_t file_counts[PART_COUNT] = {5, 1};

static reliht_status find_file(reliht_context *context, const char *folder, image_part part,
                               size_t number, char path[FILE_PATH_BYTES])
{
    char name[64] = SUBFOLDER "test_batch.bin";
    if (part == PART_TRAIN)
        snprintf(name, sizeof name, SUBFOLDER "data_batch_%zu.bin", number + 1);
    reliht_status status = image_path(context, folder, name + strlen(SUBFOLDER), "", path);
    if (!status && access(path, F_OK))
        status = image_path(context, folder, name, "", path);
    return status;
}

static bool cifar_present(const char *folder, image_part part)
{
    reliht_context scratch = {0}; /* for messages nobody reads */
    char path[FILE_PATH_BYTES];
    return !find_file(&scratch, folder, part, 0, path) && !access(path, F_OK);
}

static void cifar_close(image_stream *stream)
{
    file_close_read(&stream->file);
}

/* Opens file number file_number of the part and checks its size. */
static reliht_status open_file(image_stream *stream)
{
    reliht_status status =
        find_file(stream->context, stream->folder, stream->part, stream->file_number, stream->path);
    if (!status)
        status = file_open_read(stream->context, stream->path, &stream->file);
    if (status)
        return status;
    if (stream->file.size && stream->file.size % RECORD_BYTES == 0 &&
        stream->file.size / RECORD_BYTES <= RELIHT_MAX_DIMENSION)
        return RELIHT_OK;
    status =
        file_malformed(&stream->file, stream->file.size,
                       "the file ends here; records of %zu bytes should fill it", RECORD_BYTES);
    cifar_close(stream);
    return status;
}

static size_t records_left(const image_stream *stream)
{
    return stream->file.context ? (size_t)(file_remaining(&stream->file) / RECORD_BYTES) : 0;
}

/* The number of samples is the sum over the files; the first is left open. */
static reliht_status cifar_open(reliht_context *context, const char *folder, image_part part,
                                image_stream *stream)
{
    *stream =
        (image_stream){.context = context, .folder = folder, .part = part, .inputs = PIXEL_BYTES};
    for (size_t number = file_counts[part]; number-- > 0;) {
        cifar_close(stream);
        stream->file_number = number;
        reliht_status status = open_file(stream);
        if (status)
            return status;
        stream->samples += records_left(stream);
    }
    return RELIHT_OK;
}

/* The next record; moves on to the next file where one ends. */
static reliht_status read_record(image_stream *stream, unsigned char record[RECORD_BYTES])
{
    while (!records_left(stream)) {
        cifar_close(stream);
        if (++stream->file_number >= file_counts[stream->part])
            return fail(stream->context, RELIHT_FORMAT, "%s: shorter than it was", stream->path);
        reliht_status status = open_file(stream);
        if (status)
            return status;
    }
    reliht_status status = file_read(&stream->file, record, RECORD_BYTES);
    if (!status && record[0] >= IMAGE_CLASSES)
        return file_malformed(&stream->file, stream->file.offset - RECORD_BYTES,
                              "label %u; 0 to %u is possible", record[0], IMAGE_CLASSES - 1);
    return status;
}

static reliht_status cifar_read(image_stream *stream, size_t count, unsigned char *rows)
{
    unsigned char record[RECORD_BYTES];
    for (size_t i = 0; i < count; i++) {
        reliht_status status = read_record(stream, record);
        if (status)
            return status;
        memcpy(rows + i * PIXEL_BYTES, record + 1, PIXEL_BYTES);
    }
    return RELIHT_OK;
}

static reliht_status cifar_read_labels(reliht_context *context, const char *folder, image_part part,
                                       unsigned char **labels, size_t *samples)
{
    *labels = NULL;
    image_stream stream;
    reliht_status status = cifar_open(context, folder, part, &stream);
    if (status)
        return status;
    *samples = stream.samples;
    status = gate_allocate(context, MEMORY_workspace, *samples, 1, "labels", labels);
    unsigned char record[RECORD_BYTES] = {0};
    for (size_t i = 0; !status && i < *samples; i++) {
        status = read_record(&stream, record);
        (*labels)[i] = record[0];
    }
    cifar_close(&stream);
    if (status) {
        gate_release(context, *labels);
        *labels = NULL;
    }
    return status;
}

/* The sizes of the files leave nothing over. */
static reliht_status cifar_finish(image_stream *stream)
{
    (void)stream;
    return RELIHT_OK;
}

const image_format cifar_format = {cifar_present, cifar_read_labels, cifar_open,
                                   cifar_read,    cifar_finish,      cifar_close};
