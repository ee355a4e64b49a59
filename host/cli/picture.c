/* What a network on images has learned, as one PNG.
 *
 * First a row of class templates (one hidden layer, several outputs): T_c = sum_j V_jc w_j, what
 * adds to class c if every neuron were active. Below, the weights w_j of the strongest neurons, by
 * |w_j| (times |V_j| where there are output weights). Every tile is scaled to its own largest
 * weight: orange is positive, blue negative, white zero. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TILE_SIDE 84u /* pixels, at least, where an image is smaller */
#define PICTURE_WIDTH 1000u
#define NEURONS_MAXIMUM 100u
#define TEMPLATES_MAXIMUM 20u
#define GAP 8u
#define MARGIN 16u

/* A sparse matrix as rows of triplets. */
struct rows {
    size_t count, nnz;
    size_t *begin; /* [count + 1] */
    uint32_t *neuron, *column;
    float *value;
};

typedef struct ranked {
    double strength;
    uint32_t neuron;
} ranked;

struct layout {
    size_t side_x, side_y, channels; /* of the images the network reads */
    size_t scale, columns;
    size_t templates, neurons; /* tiles of each kind */
    size_t width, height;      /* of the picture */
};

bool picture_shape(size_t inputs, size_t *width, size_t *height, size_t *channels)
{
    for (*channels = 1; *channels <= 3; *channels += 2) {
        size_t pixels = inputs / *channels;
        size_t side = (size_t)(sqrt((double)pixels) + 0.5);
        if (side >= 2 && side * side * *channels == inputs) {
            *width = *height = side;
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- weights */

static void rows_release(struct rows *rows)
{
    free(rows->begin);
    free(rows->neuron);
    free(rows->column);
    free(rows->value);
    memset(rows, 0, sizeof *rows);
}

static bool rows_read(const reliht_model *model, size_t layer, struct rows *rows)
{
    memset(rows, 0, sizeof *rows);
    size_t last = reliht_model_layers(model) - 1;
    rows->count = reliht_model_hidden(model, layer > last ? last : layer);
    if (reliht_model_weights(model, layer, 0, NULL, NULL, NULL, &rows->nnz) != RELIHT_OK)
        return false;
    rows->begin = calloc(rows->count + 1, sizeof *rows->begin);
    rows->neuron = calloc(rows->nnz + 1, sizeof *rows->neuron);
    rows->column = calloc(rows->nnz + 1, sizeof *rows->column);
    rows->value = calloc(rows->nnz + 1, sizeof *rows->value);
    if (!rows->begin || !rows->neuron || !rows->column || !rows->value)
        return false;
    if (reliht_model_weights(model, layer, rows->nnz, rows->neuron, rows->column, rows->value,
                             &rows->nnz) != RELIHT_OK)
        return false;
    for (size_t i = 0; i < rows->nnz; i++)
        rows->begin[rows->neuron[i] + 1]++;
    for (size_t row = 0; row < rows->count; row++)
        rows->begin[row + 1] += rows->begin[row];
    return true;
}

static double row_norm(const struct rows *rows, size_t row)
{
    double sum = 0;
    for (size_t i = rows->begin[row]; i < rows->begin[row + 1]; i++)
        sum += (double)rows->value[i] * rows->value[i];
    return sqrt(sum);
}

static int stronger(const void *left, const void *right)
{
    const ranked *a = left, *b = right;
    if (a->strength != b->strength)
        return a->strength < b->strength ? 1 : -1;
    return a->neuron > b->neuron ? 1 : -1;
}

/* Neurons with weights, the strongest first; `output` is NULL without output weights. */
static ranked *rank_neurons(const struct rows *hidden, const struct rows *output, size_t *count)
{
    ranked *order = calloc(hidden->count + 1, sizeof *order);
    *count = 0;
    if (!order)
        return NULL;
    for (size_t row = 0; row < hidden->count; row++) {
        double strength = row_norm(hidden, row) * (output ? row_norm(output, row) : 1);
        if (strength > 0)
            order[(*count)++] = (ranked){strength, (uint32_t)row};
    }
    qsort(order, *count, sizeof *order, stronger);
    return order;
}

/* ---------------------------------------------------------------- tiles */

/* tile[pixel] += factor * weights of one neuron; colour planes of a pixel are added up. */
static void add_neuron(const struct rows *hidden, size_t row, float factor, size_t inputs,
                       size_t pixels, float *tile)
{
    for (size_t i = hidden->begin[row]; i < hidden->begin[row + 1]; i++) {
        if (hidden->column[i] < inputs) /* not the bias */
            tile[hidden->column[i] % pixels] += factor * hidden->value[i];
    }
}

/* Diverging colours that every kind of colour vision tells apart; value in [-1, 1]. */
static void colour(float value, float rgb[3])
{
    static const float positive[3][3] = {
        {1.00f, 1.00f, 1.00f}, {0.99f, 0.72f, 0.39f}, {0.65f, 0.29f, 0.00f}};
    static const float negative[3][3] = {
        {1.00f, 1.00f, 1.00f}, {0.50f, 0.73f, 0.87f}, {0.05f, 0.30f, 0.58f}};
    const float(*stops)[3] = value < 0 ? negative : positive;
    float place = 2 * sqrtf(fabsf(value) > 1 ? 1 : fabsf(value));
    int stop = place >= 1 ? 1 : 0;
    float share = place - (float)stop;
    for (int c = 0; c < 3; c++)
        rgb[c] = stops[stop][c] * (1 - share) + stops[stop + 1][c] * share;
}

static void draw_tile(const struct layout *layout, const float *tile, size_t left, size_t top,
                      float *picture)
{
    float largest = 0;
    for (size_t i = 0; i < layout->side_x * layout->side_y; i++)
        largest = fmaxf(largest, fabsf(tile[i]));
    for (size_t y = 0; y < layout->side_y * layout->scale; y++) {
        for (size_t x = 0; x < layout->side_x * layout->scale; x++) {
            float value = tile[y / layout->scale * layout->side_x + x / layout->scale];
            colour(largest > 0 ? value / largest : 0,
                   picture + 3 * ((top + y) * layout->width + left + x));
        }
    }
}

/* ---------------------------------------------------------------- the picture */

static size_t tile_rows(const struct layout *layout, size_t tiles)
{
    return (tiles + layout->columns - 1) / layout->columns;
}

static void lay_out(struct layout *layout, size_t templates, size_t neurons)
{
    size_t side = layout->side_x;
    layout->scale = side >= TILE_SIDE ? 1 : (TILE_SIDE + side - 1) / side;
    size_t pitch = side * layout->scale + GAP;
    layout->columns = PICTURE_WIDTH > pitch ? PICTURE_WIDTH / pitch : 1;
    layout->templates = templates > TEMPLATES_MAXIMUM ? 0 : templates;
    layout->neurons = neurons > NEURONS_MAXIMUM ? NEURONS_MAXIMUM : neurons;
    if (layout->columns < 10) /* large images: a few of them say enough */
        layout->neurons = neurons > 4 * layout->columns ? 4 * layout->columns : neurons;
    layout->width = 2 * MARGIN + layout->columns * pitch - GAP;
    layout->height =
        2 * MARGIN +
        (tile_rows(layout, layout->templates) + tile_rows(layout, layout->neurons)) * pitch +
        (layout->templates ? MARGIN : 0);
}

/* Pixel of the tile number `index` among those that begin at `top`. */
static void tile_place(const struct layout *layout, size_t index, size_t top, size_t *x, size_t *y)
{
    size_t pitch = layout->side_x * layout->scale + GAP;
    *x = MARGIN + index % layout->columns * pitch;
    *y = top + index / layout->columns * pitch;
}

static void draw(const struct layout *layout, size_t inputs, const struct rows *hidden,
                 const struct rows *output, const ranked *order, float *tile, float *picture)
{
    size_t pixels = layout->side_x * layout->side_y, x, y, top = MARGIN;
    for (size_t c = 0; c < layout->templates; c++) {
        memset(tile, 0, pixels * sizeof *tile);
        for (size_t i = 0; i < output->nnz; i++) {
            if (output->column[i] == c)
                add_neuron(hidden, output->neuron[i], output->value[i], inputs, pixels, tile);
        }
        tile_place(layout, c, top, &x, &y);
        draw_tile(layout, tile, x, y, picture);
    }
    if (layout->templates)
        top +=
            MARGIN + tile_rows(layout, layout->templates) * (layout->side_y * layout->scale + GAP);
    for (size_t j = 0; j < layout->neurons; j++) {
        memset(tile, 0, pixels * sizeof *tile);
        add_neuron(hidden, order[j].neuron, 1, inputs, pixels, tile);
        tile_place(layout, j, top, &x, &y);
        draw_tile(layout, tile, x, y, picture);
    }
}

int picture_write(struct run *run, const reliht_model *model, const char *path)
{
    int result = EXIT_DONE;
    struct layout layout;
    struct rows hidden = {0}, output = {0};
    ranked *order = NULL;
    float *tile = NULL, *picture = NULL;
    size_t inputs = reliht_model_inputs(model), neurons = 0;
    bool templates =
        reliht_model_get_kind(model) == RELIHT_FACTORED && reliht_model_layers(model) == 1;
    if (!picture_shape(inputs, &layout.side_x, &layout.side_y, &layout.channels))
        return failure("%zu inputs are no square image to draw", inputs);
    if (!rows_read(model, 0, &hidden) || (templates && !rows_read(model, 1, &output)) ||
        !(order = rank_neurons(&hidden, templates ? &output : NULL, &neurons))) {
        result = failure("out of memory for the picture");
        goto done;
    }
    lay_out(&layout, templates ? reliht_model_outputs(model) : 0, neurons);
    size_t count = layout.width * layout.height * 3;
    tile = calloc(layout.side_x * layout.side_y, sizeof *tile);
    picture = calloc(count, sizeof *picture);
    if (!tile || !picture) {
        result = failure("out of memory for the picture of %zu x %zu pixels", layout.width,
                         layout.height);
        goto done;
    }
    for (size_t i = 0; i < count; i++)
        picture[i] = 0.88f;
    draw(&layout, inputs, &hidden, &output, order, tile, picture);
    reliht_status status =
        reliht_image_write(run->context, path, layout.width, layout.height, 3, picture);
    if (status != RELIHT_OK)
        result = run_failure(run, status);
done:
    free(tile);
    free(picture);
    free(order);
    rows_release(&hidden);
    rows_release(&output);
    return result;
}
