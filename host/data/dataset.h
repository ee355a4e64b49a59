/* A data set in memory. Float inputs are held by columns, as the sweep and the products read them,
 * so that a full batch needs no copy. Byte inputs (images) are held by rows: they become float
 * columns batch by batch, and a minibatch then touches its own rows only. */
#ifndef RELIHT_DATA_DATASET_H
#define RELIHT_DATA_DATASET_H

#include "core/context.h"

/* Columns are padded with zeros to a multiple of this many samples, the bits of a pattern word. */
#define SAMPLE_BLOCK 64u

/* How inputs were made from what a user has; kept in the model, so that eval and predict need
 * nothing else. */
typedef enum preprocessing_kind {
    PREPROCESSING_NONE,
    PREPROCESSING_PIXELS,  /* bytes times `scale` */
    PREPROCESSING_FOURIER, /* Fourier features of pixel coordinates */
} preprocessing_kind;

#define NAMED_CLASSES_MAXIMUM 256u

typedef struct preprocessing {
    preprocessing_kind kind;
    float scale;          /* pixels: 1/255, or 1 for raw */
    char source[64];      /* named data set ("mnist"), or "" */
    uint32_t class_count; /* labels kept, in the order of the outputs; 0: no classes */
    uint32_t classes[NAMED_CLASSES_MAXIMUM];
    bool paper_split;
    size_t width, height; /* Fourier: of the image */
    reliht_image_options image;
} preprocessing;

typedef enum element_type { ELEMENT_FLOAT, ELEMENT_BYTE } element_type;

struct reliht_dataset {
    reliht_context *context;
    size_t samples, inputs;
    size_t stride; /* samples rounded up to SAMPLE_BLOCK */
    element_type element;
    void *x;     /* [samples, inputs] bytes, or [inputs + 1, stride] floats by columns, the last
                    of which is 1 (the bias input); padding is zero */
    float scale; /* factor of ELEMENT_BYTE values; 1 for floats */
    size_t outputs;
    float *y;        /* [outputs, stride] real targets, also for two classes (0 and 1);
                        NULL: one-hot rows of `labels` */
    int32_t *labels; /* [samples] or NULL */
    size_t classes;  /* 0 without labels */
    float target_minimum, target_maximum; /* min y, max |y| */
    preprocessing preparation;
};

static inline size_t padded_samples(size_t samples)
{
    return (samples + SAMPLE_BLOCK - 1) / SAMPLE_BLOCK * SAMPLE_BLOCK;
}

/* Allocates a data set with x, y (if `real_targets`) and labels (if `classes`), all zero but the
 * column of ones. Checks the limits on every dimension first. */
reliht_status dataset_allocate(reliht_context *context, size_t samples, size_t inputs,
                               element_type element, size_t outputs, bool real_targets,
                               size_t classes, reliht_dataset **dataset);

/* Checks x and y for non-finite values (DATA; names row and column) and labels for their range,
 * fills target_minimum and target_maximum, and y from labels for two classes. Called last by
 * everything that makes a data set. */
reliht_status dataset_finish(reliht_dataset *dataset);

/* A data set of the given rows of another (validation split); `rows` [count]. */
reliht_status dataset_subset(const reliht_dataset *dataset, const uint32_t *rows, size_t count,
                             reliht_dataset **subset);

#endif
