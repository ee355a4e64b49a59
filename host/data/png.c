#include "data/png.h"

#include "core/file.h"

#include <math.h>
#include <png.h>
#include <setjmp.h>
#include <string.h>

/* What deflate can make of one byte at most (see source.c). */
#define DEFLATE_RATIO 1032u

/* One file under way. libpng reports an error by a call that must not return: it jumps back to
 * where the work began. Whatever must survive the jump is kept here and not in local variables. */
typedef struct png_job {
    reliht_context *context;
    const char *path;
    reliht_status status; /* of the first failure */
    jmp_buf jump;
    png_structp png;
    png_infop info;
    file_reader reader;
    file_writer writer;
    png_bytepp rows;
    unsigned char *row;
    pixels image;
} png_job;

static png_voidp job_allocate(png_structp png, png_alloc_size_t bytes)
{
    png_job *job = png_get_mem_ptr(png);
    void *pointer;
    reliht_status status =
        gate_allocate(job->context, MEMORY_workspace, bytes, 1, "PNG file", &pointer);
    if (status && !job->status)
        job->status = status;
    return pointer;
}

static void job_release(png_structp png, png_voidp pointer)
{
    png_job *job = png_get_mem_ptr(png);
    gate_release(job->context, pointer);
}

/* A failure of memory or of the file was reported where it happened. */
static PNG_NORETURN void job_error(png_structp png, png_const_charp message)
{
    png_job *job = png_get_error_ptr(png);
    if (!job->status && job->reader.context)
        job->status =
            file_malformed(&job->reader, job->reader.offset, "not a sound PNG file: %s", message);
    else if (!job->status)
        job->status =
            fail(job->context, RELIHT_IO, "%s: cannot write a PNG file: %s", job->path, message);
    longjmp(job->jump, 1);
}

static void job_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void job_read(png_structp png, png_bytep bytes, size_t count)
{
    png_job *job = png_get_io_ptr(png);
    job->status = file_read(&job->reader, bytes, count);
    if (job->status)
        png_error(png, "read");
}

static void job_write(png_structp png, png_bytep bytes, size_t count)
{
    png_job *job = png_get_io_ptr(png);
    job->status = file_write(&job->writer, bytes, count);
    if (job->status)
        png_error(png, "write");
}

static void job_flush(png_structp png)
{
    (void)png;
}

/* ---- reading */

/* IHDR is read: the size it claims must be one that this file could hold. */
static reliht_status check_header(png_job *job)
{
    const size_t width = png_get_image_width(job->png, job->info);
    const size_t height = png_get_image_height(job->png, job->info);
    const uint64_t raw = (uint64_t)height * (1 + png_get_rowbytes(job->png, job->info));
    if (width > RELIHT_MAX_DIMENSION / height)
        return file_malformed(&job->reader, 16,
                              "%zu x %zu pixels; 2^31 - 1 pixels in all are possible", width,
                              height);
    if (raw / DEFLATE_RATIO > job->reader.size)
        return file_malformed(&job->reader, 16,
                              "%zu x %zu pixels, which a file of %llu bytes cannot hold", width,
                              height, (unsigned long long)job->reader.size);
    return RELIHT_OK;
}

static void choose_form(png_job *job)
{
    png_structp png = job->png;
    png_byte depth = png_get_bit_depth(png, job->info), type = png_get_color_type(png, job->info);
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(png);
    else if (depth < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    png_set_strip_alpha(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, job->info);
    job->image.width = png_get_image_width(png, job->info);
    job->image.height = png_get_image_height(png, job->info);
    job->image.channels = png_get_channels(png, job->info);
    job->image.sample_bytes = png_get_bit_depth(png, job->info) / 8;
}

static reliht_status allocate_rows(png_job *job)
{
    const size_t row_bytes = png_get_rowbytes(job->png, job->info);
    const size_t height = job->image.height;
    reliht_status status = gate_allocate(job->context, MEMORY_workspace, height, row_bytes,
                                         "pixels", &job->image.bytes);
    if (!status)
        status = gate_allocate(job->context, MEMORY_workspace, height, sizeof *job->rows,
                               "rows of pixels", &job->rows);
    for (size_t row = 0; !status && row < height; row++)
        job->rows[row] = job->image.bytes + row * row_bytes;
    return status;
}

static void decode(png_job *job)
{
    if (setjmp(job->jump))
        return;
    job->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, job, job_error, job_warning, job,
                                        job_allocate, job_release);
    if (job->png)
        job->info = png_create_info_struct(job->png);
    if (!job->info) {
        if (!job->status)
            job->status = fail(job->context, RELIHT_MEMORY, "%s: out of memory", job->path);
        return;
    }
    png_set_user_limits(job->png, RELIHT_MAX_DIMENSION, RELIHT_MAX_DIMENSION);
    png_set_read_fn(job->png, job, job_read);
    png_read_info(job->png, job->info);
    job->status = check_header(job);
    if (job->status)
        return;
    choose_form(job);
    job->status = allocate_rows(job);
    if (job->status)
        return;
    png_read_image(job->png, job->rows);
    png_read_end(job->png, NULL);
}

reliht_status png_read_pixels(reliht_context *context, const char *path, pixels *image)
{
    png_job job = {.context = context, .path = path};
    *image = (pixels){0};
    reliht_status status = file_open_read(context, path, &job.reader);
    if (status)
        return status;
    decode(&job);
    png_destroy_read_struct(&job.png, &job.info, NULL);
    gate_release(context, job.rows);
    file_close_read(&job.reader);
    if (job.status)
        gate_release(context, job.image.bytes);
    else
        *image = job.image;
    return job.status;
}

/* ---- writing */

static unsigned char to_byte(float value)
{
    if (!(value > 0)) /* not a number is black */
        return 0;
    return value >= 1 ? 255 : (unsigned char)lroundf(value * 255.0f);
}

static void encode(png_job *job, const float *values)
{
    if (setjmp(job->jump))
        return;
    job->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, job, job_error, job_warning, job,
                                         job_allocate, job_release);
    if (job->png)
        job->info = png_create_info_struct(job->png);
    if (!job->info) {
        if (!job->status)
            job->status = fail(job->context, RELIHT_MEMORY, "%s: out of memory", job->path);
        return;
    }
    png_set_user_limits(job->png, RELIHT_MAX_DIMENSION, RELIHT_MAX_DIMENSION);
    png_set_write_fn(job->png, job, job_write, job_flush);
    png_set_IHDR(job->png, job->info, (png_uint_32)job->image.width, (png_uint_32)job->image.height,
                 8, job->image.channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(job->png, job->info);
    const size_t row_values = job->image.width * job->image.channels;
    for (size_t row = 0; row < job->image.height; row++) {
        for (size_t i = 0; i < row_values; i++)
            job->row[i] = to_byte(values[row * row_values + i]);
        png_write_row(job->png, job->row);
    }
    png_write_end(job->png, NULL);
}

reliht_status reliht_image_write(reliht_context *context, const char *path, size_t width,
                                 size_t height, size_t channels, const float *values)
{
    if (!path || !values || !width || !height || width > RELIHT_MAX_DIMENSION ||
        height > RELIHT_MAX_DIMENSION || (channels != 1 && channels != 3))
        return fail(context, RELIHT_ARGUMENT,
                    "image of %zu x %zu pixels and %zu channels: a path, 1 to 2^31 - 1 pixels each "
                    "way and 1 or 3 channels are needed",
                    width, height, channels);
    png_job job = {.context = context,
                   .path = path,
                   .image = {.width = width, .height = height, .channels = channels}};
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, width * channels, 1, "row of pixels", &job.row);
    if (!status)
        status = file_open_write(context, path, &job.writer);
    if (!status) {
        encode(&job, values);
        png_destroy_write_struct(&job.png, &job.info);
        status = job.status;
        if (status)
            file_abandon(&job.writer);
        else
            status = file_commit(&job.writer);
    }
    gate_release(context, job.row);
    return status;
}
