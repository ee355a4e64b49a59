/* IDX files, the format of MNIST, plain or compressed by gzip: 0, 0, type, dimensions, then each
 * dimension as 4 big-endian bytes, then the elements. Only unsigned bytes (type 8) are read. */
#include "data/images.h"

#include <string.h>
#include <unistd.h>

#define IDX_BYTE 8u

static const char *const image_names[PART_COUNT] = {"train-images-idx3-ubyte",
                                                    "t10k-images-idx3-ubyte"};
static const char *const label_names[PART_COUNT] = {"train-labels-idx1-ubyte",
                                                    "t10k-labels-idx1-ubyte"};

/* The plain file if there is one, else the compressed. */
static reliht_status find_file(reliht_context *context, const char *folder, const char *name,
                               char path[FILE_PATH_BYTES])
{
    reliht_status status = image_path(context, folder, name, "", path);
    if (!status && access(path, F_OK))
        status = image_path(context, folder, name, ".gz", path);
    return status;
}

static bool idx_present(const char *folder, image_part part)
{
    reliht_context scratch = {0}; /* for messages nobody reads */
    char path[FILE_PATH_BYTES];
    return !find_file(&scratch, folder, label_names[part], path) && !access(path, F_OK);
}

static size_t big_endian(const unsigned char *bytes)
{
    return (size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
}

/* Reads the header of `dimensions` sizes, each in [1, 2^31), of which the elements that follow must
 * fill the file. `elements` is the product of all sizes but the first. */
static reliht_status read_header(byte_source *source, size_t dimensions, size_t *samples,
                                 size_t *elements)
{
    unsigned char header[4 + 4 * 3];
    reliht_status status = source_read(source, header, 4 + 4 * dimensions);
    if (status)
        return status;
    if (header[0] || header[1] || header[2] != IDX_BYTE || header[3] != dimensions)
        return source_malformed(source, 0,
                                "magic number %02x%02x%02x%02x; an IDX file of bytes with %zu "
                                "dimension%s begins with 000008%02zx",
                                header[0], header[1], header[2], header[3], dimensions,
                                dimensions == 1 ? "" : "s", dimensions);
    *samples = 0;
    *elements = 1;
    for (size_t i = 0; i < dimensions; i++) {
        size_t size = big_endian(header + 4 + 4 * i);
        if (size < 1 || size > RELIHT_MAX_DIMENSION ||
            (i && size > RELIHT_MAX_DIMENSION / *elements))
            return source_malformed(source, 4 + 4 * i, "a size of %zu; 1 to 2^31 - 1 is possible",
                                    size);
        if (i)
            *elements *= size;
        else
            *samples = size;
    }
    return source_expect(source, (uint64_t)*samples * *elements);
}

static reliht_status check_labels(byte_source *source, const unsigned char *labels, size_t samples)
{
    for (size_t i = 0; i < samples; i++)
        if (labels[i] >= IMAGE_CLASSES)
            return source_malformed(source, 8 + i, "label %u; 0 to %u is possible", labels[i],
                                    IMAGE_CLASSES - 1);
    return RELIHT_OK;
}

static reliht_status idx_read_labels(reliht_context *context, const char *folder, image_part part,
                                     unsigned char **labels, size_t *samples)
{
    *labels = NULL;
    char path[FILE_PATH_BYTES];
    byte_source source;
    size_t one;
    reliht_status status = find_file(context, folder, label_names[part], path);
    if (!status)
        status = source_open(context, path, &source);
    if (status)
        return status;
    status = read_header(&source, 1, samples, &one);
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, *samples, 1, "labels", labels);
    if (!status)
        status = source_read(&source, *labels, *samples);
    if (!status)
        status = source_finish(&source);
    if (!status)
        status = check_labels(&source, *labels, *samples);
    source_close(&source);
    if (status) {
        gate_release(context, *labels);
        *labels = NULL;
    }
    return status;
}

static reliht_status idx_open(reliht_context *context, const char *folder, image_part part,
                              image_stream *stream)
{
    *stream = (image_stream){.context = context, .folder = folder, .part = part};
    reliht_status status = find_file(context, folder, image_names[part], stream->path);
    if (!status)
        status = source_open(context, stream->path, &stream->source);
    if (status)
        return status;
    status = read_header(&stream->source, 3, &stream->samples, &stream->inputs);
    if (status)
        source_close(&stream->source);
    return status;
}

static reliht_status idx_read(image_stream *stream, size_t count, unsigned char *rows)
{
    return source_read(&stream->source, rows, count * stream->inputs);
}

static reliht_status idx_finish(image_stream *stream)
{
    return source_finish(&stream->source);
}

static void idx_close(image_stream *stream)
{
    source_close(&stream->source);
}

const image_format idx_format = {idx_present, idx_read_labels, idx_open,
                                 idx_read,    idx_finish,      idx_close};
