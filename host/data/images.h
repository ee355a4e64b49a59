/* Labelled images of a data set in parts, as its format stores them: one table of functions per
 * format. Labels are read first, to know which images are wanted; then the images, in order. */
#ifndef RELIHT_DATA_IMAGES_H
#define RELIHT_DATA_IMAGES_H

#include "data/source.h"

#define IMAGE_CLASSES 10u

typedef enum image_part { PART_TRAIN, PART_TEST, PART_COUNT } image_part;

/* The images of one part, open for reading. */
typedef struct image_stream {
    reliht_context *context;
    const char *folder; /* outlives the stream */
    image_part part;
    size_t samples, inputs;
    char path[FILE_PATH_BYTES]; /* of the file under way */
    byte_source source;         /* IDX */
    file_reader file;           /* CIFAR */
    size_t file_number;         /* CIFAR: of the file under way */
} image_stream;

typedef struct image_format {
    /* Whether a folder has the first file of a part. */
    bool (*present)(const char *folder, image_part part);
    /* labels [samples] from the gate, each below IMAGE_CLASSES. */
    reliht_status (*read_labels)(reliht_context *context, const char *folder, image_part part,
                                 unsigned char **labels, size_t *samples);
    /* Sets samples and inputs; no image is read yet. On failure there is nothing to close. */
    reliht_status (*open)(reliht_context *context, const char *folder, image_part part,
                          image_stream *stream);
    /* The next `count` images, one byte an input: rows [count, inputs]. */
    reliht_status (*read)(image_stream *stream, size_t count, unsigned char *rows);
    /* FORMAT unless all was read. */
    reliht_status (*finish)(image_stream *stream);
    void (*close)(image_stream *stream);
} image_format;

extern const image_format idx_format;
extern const image_format cifar_format;

/* "FOLDER/NAME" into `path`; IO if it is too long. */
reliht_status image_path(reliht_context *context, const char *folder, const char *name,
                         const char *ending, char path[FILE_PATH_BYTES]);

#endif
