/* An image as a data set: one sample a pixel, row by row; inputs are the Fourier features of its
 * coordinates, targets its channels as shares of the largest value. */
#include "data/fourier.h"
#include "data/png.h"
#include "model/model.h"

void reliht_image_options_default(reliht_image_options *options)
{
    *options = (reliht_image_options){.features = 1500, .sigma = 2.0};
}

static void fill_targets(reliht_dataset *dataset, const pixels *image)
{
    const size_t channels = image->channels;
    for (size_t channel = 0; channel < channels; channel++) {
        float *y = dataset->y + channel * dataset->stride;
        for (size_t pixel = 0; pixel < dataset->samples; pixel++) {
            const unsigned char *at =
                image->bytes + (pixel * channels + channel) * image->sample_bytes;
            y[pixel] = image->sample_bytes == 2 ? (float)(at[0] << 8 | at[1]) / 65535.0f
                                                : (float)at[0] / 255.0f;
        }
    }
}

reliht_status reliht_image_read(reliht_context *context, const char *path,
                                const reliht_image_options *options, size_t *width, size_t *height,
                                reliht_dataset **dataset)
{
    *dataset = NULL;
    if (!path)
        return fail(context, RELIHT_ARGUMENT, "image: a path is needed");
    preprocessing preparation = {
        .kind = PREPROCESSING_FOURIER, .scale = 1.0f, .width = 1, .height = 1, .image = *options};
    reliht_status status = fourier_check(context, &preparation);
    if (status)
        return status;
    pixels image;
    status = png_read_pixels(context, path, &image);
    if (status)
        return status;
    preparation.width = image.width;
    preparation.height = image.height;
    reliht_dataset *made = NULL;
    status = fourier_dataset(context, &preparation, image.channels, &made);
    if (!status) {
        fill_targets(made, &image);
        status = dataset_finish(made);
    }
    gate_release(context, image.bytes);
    if (status) {
        reliht_dataset_destroy(made);
        return status;
    }
    if (width)
        *width = preparation.width;
    if (height)
        *height = preparation.height;
    *dataset = made;
    return RELIHT_OK;
}

reliht_status reliht_image_of_model(reliht_context *context, const reliht_model *model,
                                    size_t *width, size_t *height, reliht_dataset **dataset)
{
    *dataset = NULL;
    if (model->preparation.kind != PREPROCESSING_FOURIER)
        return fail(context, RELIHT_ARGUMENT, "this model was not fitted to an image");
    reliht_status status = fourier_dataset(context, &model->preparation, model->outputs, dataset);
    if (!status && width)
        *width = model->preparation.width;
    if (!status && height)
        *height = model->preparation.height;
    return status;
}
