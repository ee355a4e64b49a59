#include "data/fourier.h"

#include "core/rng.h"

#include <math.h>
#include <omp.h>

#define TWO_PI 6.283185307179586

reliht_status fourier_check(reliht_context *context, const preprocessing *preparation)
{
    const reliht_image_options *image = &preparation->image;
    if (image->features < 2 || image->features % 2 || image->features >= RELIHT_MAX_DIMENSION)
        return fail(
            context, RELIHT_ARGUMENT,
            "image: %zu features; an even number from 2 is needed, half sines, half cosines",
            image->features);
    if (!(image->sigma > 0) || !(image->sigma <= 1e6))
        return fail(context, RELIHT_ARGUMENT,
                    "image: sigma %g; a number above 0 and up to 1e6 is needed", image->sigma);
    const uint64_t limit = RELIHT_MAX_DIMENSION - SAMPLE_BLOCK;
    if (!preparation->width || !preparation->height ||
        preparation->width > limit / preparation->height)
        return fail(context, RELIHT_ARGUMENT, "image: %zu x %zu pixels; 1 to %llu are possible",
                    preparation->width, preparation->height, (unsigned long long)limit);
    return RELIHT_OK;
}

/* Sine and cosine of 2 pi t, t = i * step, by the fraction of t alone. */
static void fill_table(double step, size_t count, double *sines, double *cosines)
{
    for (size_t i = 0; i < count; i++) {
        double turns = (double)i * step;
        double angle = TWO_PI * (turns - floor(turns));
        sines[i] = sin(angle);
        cosines[i] = cos(angle);
    }
}

/* Two columns of one frequency: the angle of a pixel is that of its row plus that of its column, so
 * height + width sines serve height * width pixels. `table` has room for 2 (height + width). */
static void fill_frequency(const preprocessing *preparation, const float normals[2], double *table,
                           float *sine_column, float *cosine_column)
{
    const size_t height = preparation->height, width = preparation->width;
    const reliht_image_options *image = &preparation->image;
    const double row_unit = image->unit_coordinates ? 1.0 / (double)height : 1.0;
    const double column_unit = image->unit_coordinates ? 1.0 / (double)width : 1.0;
    double *row_sine = table, *row_cosine = row_sine + height;
    double *sine = row_cosine + height, *cosine = sine + width;
    fill_table(image->sigma * (double)normals[0] * row_unit, height, row_sine, row_cosine);
    fill_table(image->sigma * (double)normals[1] * column_unit, width, sine, cosine);
    for (size_t row = 0; row < height; row++)
        for (size_t column = 0; column < width; column++) {
            sine_column[row * width + column] =
                (float)(row_sine[row] * cosine[column] + row_cosine[row] * sine[column]);
            cosine_column[row * width + column] =
                (float)(row_cosine[row] * cosine[column] - row_sine[row] * sine[column]);
        }
}

/* Fills the inputs of a float data set of height * width samples, row by row, and `features`
 * inputs, and keeps `preparation` in it. MEMORY. */
static reliht_status fourier_fill(reliht_dataset *dataset, const preprocessing *preparation)
{
    reliht_context *context = dataset->context;
    const size_t frequencies = preparation->image.features / 2;
    const size_t table_size = 2 * (preparation->height + preparation->width);
    double *tables = NULL;
    float *normals = NULL, *x = dataset->x;
    reliht_status status = gate_allocate(context, MEMORY_workspace, context->threads * table_size,
                                         sizeof *tables, "sines of an image", &tables);
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, 2 * frequencies, sizeof *normals,
                               "frequencies", &normals);
    if (status)
        goto done;
    rng_normals(preparation->image.seed, RNG_FOURIER, 0, 2 * frequencies, normals);
#pragma omp parallel for num_threads(context->threads)
    for (size_t frequency = 0; frequency < frequencies; frequency++)
        fill_frequency(preparation, normals + 2 * frequency,
                       tables + (size_t)omp_get_thread_num() * table_size,
                       x + frequency * dataset->stride,
                       x + (frequencies + frequency) * dataset->stride);
    dataset->preparation = *preparation;
    dataset->preparation.kind = PREPROCESSING_FOURIER;
    dataset->preparation.scale = 1.0f;
done:
    gate_release(context, normals);
    gate_release(context, tables);
    return status;
}

reliht_status fourier_dataset(reliht_context *context, const preprocessing *preparation,
                              size_t outputs, reliht_dataset **dataset)
{
    *dataset = NULL;
    reliht_status status = fourier_check(context, preparation);
    if (status)
        return status;
    reliht_dataset *made;
    status = dataset_allocate(context, preparation->width * preparation->height,
                              preparation->image.features, ELEMENT_FLOAT, outputs, true, 0, &made);
    if (!status)
        status = fourier_fill(made, preparation);
    if (!status)
        status = dataset_finish(made);
    if (status)
        reliht_dataset_destroy(made);
    else
        *dataset = made;
    return status;
}
