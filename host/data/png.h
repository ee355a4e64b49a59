/* Pixels of PNG files, through libpng, with its memory from the gate. */
#ifndef RELIHT_DATA_PNG_H
#define RELIHT_DATA_PNG_H

#include "core/context.h"

typedef struct pixels {
    size_t width, height, channels; /* channels: 1 (grey) or 3 (red, green, blue) */
    size_t sample_bytes;            /* 1, or 2 (high byte first) */
    unsigned char *bytes;           /* [height, width, channels], from the gate */
} pixels;

/* Palettes become colours, depths below 8 are stretched to 8, alpha is dropped, gamma ignored. What
 * follows the end of the image in the file is not looked at. Errors: IO, FORMAT, MEMORY. */
reliht_status png_read_pixels(reliht_context *context, const char *path, pixels *image);

#endif
