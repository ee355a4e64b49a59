/* Forward pass and gradients of the factored model, over samples in chunks and neurons in tiles:
 *     forward        yhat = sum_j a_j w2_j^T over neurons with weights; loss; R
 *     block          g1_j = X^T e_j and g2_j = R^T a_j for every input and output
 *     support        the same on the entries of a support only
 * Sums over samples are taken chunk by chunk in float, in one order for all. */
#include "backend/cpu/factored.h"

#include "core/rng.h"

#include <math.h>
#include <omp.h>
#include <string.h>

row_view sparse_row(const sparse *matrix, uint32_t row)
{
    size_t at = sparse_find_row(matrix, row);
    if (at == matrix->live)
        return (row_view){0};
    size_t start = matrix->start[at];
    return (row_view){matrix->start[at + 1] - start, matrix->column + start, matrix->value + start};
}

/* What an empty row starts from: uniform within scale / sqrt(count * hidden), as published; a fresh
 * draw for every step that draws. */
static void draw_row(const factored *self, rng_purpose purpose, uint32_t neuron, size_t count,
                     double scale, float *out)
{
    const factored_problem *problem = &self->problem;
    const float *given =
        purpose == RNG_EMPTY_HIDDEN ? problem->first_hidden : problem->first_output;
    if (given) {
        memcpy(out, given + (size_t)neuron * count, count * sizeof *out);
        return;
    }
    uint64_t row = (uint64_t)self->draws << 32 | neuron;
    float width = draw_width(problem, count, scale);
    for (size_t i = 0; i < count; i += 4) {
        uint32_t words[4];
        rng_block(problem->seed, purpose, row, (uint32_t)(i / 4), words);
        for (size_t k = 0; k < 4 && i + k < count; k++)
            out[i + k] = width * (0x1p-31f * (float)words[k] - 1.0f);
    }
}

/* The generator of PATTERNS_DRAWN. */
static row_view open_generator(const factored *self, uint32_t neuron, const thread_space *space,
                               size_t slot)
{
    const factored_problem *problem = &self->problem;
    if (problem->given && neuron < problem->given->rows)
        return sparse_row(problem->given, neuron);
    float *value = space->generator + slot * problem->inputs;
    if (problem->generator == RELIHT_GENERATOR_GAUSSIAN) {
        generator_draw_gaussian(problem->seed, neuron, problem->inputs, value);
        return (row_view){problem->inputs, NULL, value};
    }
    uint32_t *column = space->generator_column + slot * GENERATOR_NONZEROS;
    float sparse_value[GENERATOR_NONZEROS];
    size_t count =
        generator_draw_sparse(problem->seed, neuron, problem->inputs, column, sparse_value);
    memcpy(value, sparse_value, count * sizeof *value);
    return (row_view){count, column, value};
}

/* An empty neuron's pattern comes from the draw, but as published it has none. */
static bool draws_patterns(const factored *self)
{
    return self->problem.importance != RELIHT_IMPORTANCE_SKETCH_PUBLISHED;
}

unsigned neuron_flags(const factored *self, const step_view *view, uint32_t neuron)
{
    bool hidden = sparse_find_row(&self->now.hidden, neuron) < self->now.hidden.live;
    bool output = sparse_find_row(&self->now.output, neuron) < self->now.output.live;
    bool pattern = view->source == PATTERNS_DRAWN || hidden || (view->draw && draws_patterns(self));
    hidden |= view->draw;
    output |= view->draw;
    return pattern ? (output ? HAS_HIDDEN : 0u) | (hidden ? HAS_OUTPUT : 0u) : 0u;
}

void neuron_open(const factored *self, const step_view *view, uint32_t neuron,
                 const thread_space *space, size_t slot, neuron_view *out)
{
    const factored_problem *problem = &self->problem;
    *out = (neuron_view){
        .neuron = neuron,
        .hidden = sparse_row(&self->now.hidden, neuron),
        .output = sparse_row(&self->now.output, neuron),
        .own_pattern = view->source == PATTERNS_WEIGHTS,
        .flags = neuron_flags(self, view, neuron),
    };
    if (view->source == PATTERNS_DRAWN)
        out->generator = open_generator(self, neuron, space, slot);
    if (view->draw && !out->hidden.count) {
        float *drawn = space->drawn_hidden + slot * problem->inputs;
        draw_row(self, RNG_EMPTY_HIDDEN, neuron, problem->inputs, weight_units(problem).hidden,
                 drawn);
        out->hidden = (row_view){problem->inputs, NULL, drawn};
    }
    if (view->draw && !out->output.count) {
        float *drawn = space->drawn_output + slot * problem->outputs;
        draw_row(self, RNG_EMPTY_OUTPUT, neuron, problem->outputs, weight_units(problem).output,
                 drawn);
        out->output = (row_view){problem->outputs, NULL, drawn};
    }
}

/* ---------------------------------------------------------------- signals of a tile */

/* X v for the dense rows among `count` neurons together, the others one by one. */
static void combine_rows(const factored *self, const batch *data, const row_view *const *rows,
                         size_t count, size_t first, size_t samples, float *const *out)
{
    const float *dense[TILE_NEURONS];
    float *dense_out[TILE_NEURONS];
    size_t found = 0;
    const float *x = data->x + first;
    for (size_t i = 0; i < count; i++)
        if (rows[i]->column || !rows[i]->count) {
            self->kernels->combine(rows[i], x, data->stride, samples, out[i]);
        } else {
            dense[found] = rows[i]->value;
            dense_out[found++] = out[i];
        }
    if (found)
        self->kernels->combine_dense(dense, found, self->problem.inputs, x, data->stride, samples,
                                     dense_out);
}

/* a_j and, where `errors`, e_j of `count` neurons on samples first .. first + samples - 1. */
static void tile_signals(const factored *self, const step_view *view, const neuron_view *neurons,
                         size_t count, size_t first, size_t samples, const thread_space *space,
                         bool errors)
{
    const row_view *rows[TILE_NEURONS];
    float *out[TILE_NEURONS];
    const float *pattern[TILE_NEURONS];
    for (size_t i = 0; i < count; i++) {
        rows[i] = &neurons[i].hidden;
        pattern[i] = out[i] = space->activation + i * CHUNK_SAMPLES;
    }
    combine_rows(self, view->data, rows, count, first, samples, out);
    if (view->source == PATTERNS_DRAWN) {
        for (size_t i = 0; i < count; i++) {
            rows[i] = &neurons[i].generator;
            pattern[i] = out[i] = space->pattern + i * CHUNK_SAMPLES;
        }
        combine_rows(self, view->data, rows, count, first, samples, out);
    }
    for (size_t i = 0; i < count; i++) {
        if (errors) {
            float *error = space->error + i * CHUNK_SAMPLES;
            self->kernels->combine(&neurons[i].output, self->residual + first, view->data->stride,
                                   samples, error);
            self->kernels->mask(pattern[i], error, samples);
        }
        self->kernels->mask(pattern[i], space->activation + i * CHUNK_SAMPLES, samples);
    }
}

/* ---------------------------------------------------------------- forward */

static float target_of(const batch *data, size_t output, size_t sample)
{
    if (data->y)
        return data->y[output * data->stride + sample];
    return data->labels[sample] == (int32_t)output ? 1.0f : 0.0f;
}

/* Residual of the squared error (1/2n) |yhat - y|^2; returns the sum of |yhat - y|^2. */
static double residual_squares(factored *self, const batch *data, const float *outputs,
                               size_t first, size_t count)
{
    double sum = 0;
    double scale = 1.0 / (double)data->samples;
    for (size_t k = 0; k < self->problem.outputs; k++) {
        const float *output = outputs + k * FORWARD_SAMPLES;
        float *residual = self->residual + k * data->stride + first;
        for (size_t i = 0; i < count; i++) {
            double difference = (double)output[i] - (double)target_of(data, k, first + i);
            sum += difference * difference;
            residual[i] = (float)(difference * scale);
        }
    }
    return sum;
}

/* Residual (softmax(yhat) - y) / n; returns the sum of log(sum exp(yhat)) - yhat_y. `outputs` is
 * overwritten; two rows of scratch follow it. */
static double residual_cross_entropy(factored *self, const batch *data, float *outputs,
                                     size_t first, size_t count)
{
    size_t classes = self->problem.outputs;
    float *largest = outputs + classes * FORWARD_SAMPLES, *total = largest + FORWARD_SAMPLES;
    memcpy(largest, outputs, count * sizeof *largest);
    for (size_t k = 1; k < classes; k++)
        for (size_t i = 0; i < count; i++) {
            float output = outputs[k * FORWARD_SAMPLES + i];
            largest[i] = output > largest[i] ? output : largest[i];
        }
    double sum = 0;
    memset(total, 0, count * sizeof *total);
    for (size_t k = 0; k < classes; k++) {
        float *output = outputs + k * FORWARD_SAMPLES;
        for (size_t i = 0; i < count; i++) {
            output[i] -= largest[i];
            sum -= (double)target_of(data, k, first + i) * (double)output[i];
        }
        self->kernels->exponential(output, FORWARD_SAMPLES, output);
        for (size_t i = 0; i < count; i++)
            total[i] += output[i];
    }
    float scale = 1.0f / (float)data->samples;
    for (size_t i = 0; i < count; i++) {
        sum += log((double)total[i]);
        total[i] = scale / total[i];
    }
    for (size_t k = 0; k < classes; k++)
        for (size_t i = 0; i < count; i++)
            self->residual[k * data->stride + first + i] =
                outputs[k * FORWARD_SAMPLES + i] * total[i] - scale * target_of(data, k, first + i);
    return sum;
}

/* Outputs of `length` samples, added up neuron by neuron. */
static void forward_outputs(const factored *self, const step_view *view, size_t first,
                            size_t length, const thread_space *space)
{
    const sparse *hidden = &self->now.hidden, *output = &self->now.output;
    memset(space->outputs, 0, self->problem.outputs * FORWARD_SAMPLES * sizeof(float));
    for (size_t j = 0, k = 0; j < hidden->live; j++) {
        while (k < output->live && output->row[k] < hidden->row[j])
            k++;
        if (k == output->live || output->row[k] != hidden->row[j])
            continue;
        neuron_view neuron;
        neuron_open(self, view, hidden->row[j], space, 0, &neuron);
        tile_signals(self, view, &neuron, 1, first, length, space, false);
        self->kernels->accumulate(&neuron.output, space->activation, length, space->outputs,
                                  FORWARD_SAMPLES);
    }
}

/* One piece of the forward pass; samples past the batch get a zero residual. */
static void forward_piece(factored *self, const step_view *view, size_t piece)
{
    const batch *data = view->data;
    const thread_space *space = &self->space[omp_get_thread_num()];
    size_t first = piece * FORWARD_SAMPLES, padded = padded_samples(data->samples) - first;
    size_t length = padded < FORWARD_SAMPLES ? padded : FORWARD_SAMPLES;
    size_t count = data->samples - first < length ? data->samples - first : length;
    forward_outputs(self, view, first, length, space);
    if (self->problem.loss == RELIHT_LOSS_CROSS_ENTROPY)
        self->losses[piece] = residual_cross_entropy(self, data, space->outputs, first, count);
    else
        self->losses[piece] = residual_squares(self, data, space->outputs, first, count);
    for (size_t k = 0; k < self->problem.outputs; k++)
        memset(self->residual + k * data->stride + first + count, 0,
               (length - count) * sizeof(float));
}

/* Inputs that are zero in the whole batch can't matter to it. */
static void find_active_inputs(factored *self, const batch *data)
{
    int64_t inputs = (int64_t)self->problem.inputs;
#pragma omp parallel for num_threads( \
    factored_threads(self, data->samples * self->problem.inputs / 4)) schedule(static)
    for (int64_t c = 0; c < inputs; c++) {
        const float *x = data->x + (size_t)c * data->stride;
        size_t i = 0;
        while (i < data->samples && x[i] == 0.0f)
            i++;
        self->active_place[c] = i < data->samples ? 0 : -1;
    }
    self->actives = 0;
    for (uint32_t c = 0; c < self->problem.inputs; c++)
        if (self->active_place[c] == 0) {
            self->active_place[c] = (int32_t)self->actives;
            self->active[self->actives++] = c;
        }
}

void factored_forward(factored *self, const step_view *view)
{
    const batch *data = view->data;
    int64_t pieces = (int64_t)((data->samples + FORWARD_SAMPLES - 1) / FORWARD_SAMPLES);
#pragma omp parallel for num_threads(factored_threads(self, data->samples * self->now.hidden.nnz)) \
    schedule(dynamic)
    for (int64_t piece = 0; piece < pieces; piece++)
        forward_piece(self, view, (size_t)piece);
    double sum = 0;
    for (int64_t piece = 0; piece < pieces; piece++)
        sum += self->losses[piece];
    double terms = (double)data->samples;
    if (self->problem.loss != RELIHT_LOSS_CROSS_ENTROPY)
        terms *= (double)self->problem.outputs;
    self->report.loss = sum / terms;
    find_active_inputs(self, data);
}

/* ---------------------------------------------------------------- gradients of all entries */

/* Neurons whose rows are computed together and the part of the inputs they are computed for. */
typedef struct tile {
    size_t first, count;
    size_t input_first, input_count; /* among the active ones */
    bool outputs;
} tile;

static void tile_chunk(const factored *self, const step_view *view, const tile *work,
                       const neuron_view *neurons, size_t first, size_t samples,
                       const thread_space *space)
{
    const batch *data = view->data;
    const float *errors[TILE_NEURONS], *activations[TILE_NEURONS];
    float *hidden[TILE_NEURONS], *output[TILE_NEURONS];
    size_t with_hidden = 0, with_output = 0;
    tile_signals(self, view, neurons, work->count, first, samples, space, true);
    for (size_t i = 0; i < work->count; i++) {
        float *row = self->block + (work->first + i) * self->row_length;
        if (neurons[i].flags & HAS_HIDDEN) {
            errors[with_hidden] = space->error + i * CHUNK_SAMPLES;
            hidden[with_hidden++] = row + work->input_first;
        }
        if (neurons[i].flags & HAS_OUTPUT) {
            activations[with_output] = space->activation + i * CHUNK_SAMPLES;
            output[with_output++] = row + self->actives;
        }
    }
    self->kernels->dots(errors, with_hidden, data->x + first, data->stride,
                        self->active + work->input_first, work->input_count, samples, hidden);
    if (work->outputs)
        self->kernels->dots(activations, with_output, self->residual + first, data->stride, NULL,
                            self->problem.outputs, samples, output);
}

static void compute_tile(factored *self, const step_view *view, size_t block_first,
                         const tile *work)
{
    const thread_space *space = &self->space[omp_get_thread_num()];
    neuron_view neurons[TILE_NEURONS];
    for (size_t i = 0; i < work->count; i++) {
        size_t place = work->first + i;
        neuron_open(self, view, neuron_number(self, view, block_first + place), space, i,
                    &neurons[i]);
        float *row = self->block + place * self->row_length;
        memset(row + work->input_first, 0, work->input_count * sizeof *row);
        if (work->outputs) {
            memset(row + self->actives, 0, self->problem.outputs * sizeof *row);
            self->block_flags[place] = (uint8_t)neurons[i].flags;
        }
    }
    size_t padded = padded_samples(view->data->samples);
    for (size_t first = 0; first < padded; first += CHUNK_SAMPLES) {
        size_t rest = padded - first;
        tile_chunk(self, view, work, neurons, first, rest < CHUNK_SAMPLES ? rest : CHUNK_SAMPLES,
                   space);
    }
}

#define TILE_UNIT 4     /* tiles begin at multiples of this: whole blocks of the kernel */
#define PIECES_WANTED 8 /* of a block, so that threads have something to share */

size_t factored_block(factored *self, const step_view *view, size_t first)
{
    size_t rest = view->neurons - first;
    size_t count = rest < self->block_neurons ? rest : self->block_neurons;
    if (count == 0)
        return 0;
    size_t units = (count + TILE_UNIT - 1) / TILE_UNIT;
    size_t tiles = (units * TILE_UNIT + TILE_NEURONS - 1) / TILE_NEURONS;
    size_t most = units < PIECES_WANTED / 2 ? units : PIECES_WANTED / 2;
    tiles = tiles > most ? tiles : most;
    size_t parts = (PIECES_WANTED / 2 + tiles - 1) / tiles;
    self->row_length = self->actives + self->problem.outputs;
    int64_t pieces = (int64_t)(tiles * parts);
#pragma omp parallel for num_threads( \
    factored_threads(self, view->data->samples *count * self->actives)) schedule(dynamic)
    for (int64_t piece = 0; piece < pieces; piece++) {
        size_t number = (size_t)piece / parts, part = (size_t)piece % parts;
        size_t begin = number * units / tiles * TILE_UNIT;
        size_t end = (number + 1) * units / tiles * TILE_UNIT;
        size_t input_begin = part * self->actives / parts;
        size_t input_end = (part + 1) * self->actives / parts;
        const tile work = {
            .first = begin,
            .count = (end < count ? end : count) - begin,
            .input_first = input_begin,
            .input_count = input_end - input_begin,
            .outputs = part == 0,
        };
        compute_tile(self, view, first, &work);
    }
    return count;
}

/* ---------------------------------------------------------------- gradients on a support */

/* Neurons of the support: pairs of rows (of W1, of W2; UINT32_MAX for none). */
static size_t list_support_neurons(const factored_weights *support, uint32_t *rows)
{
    const sparse *hidden = &support->hidden, *output = &support->output;
    size_t count = 0;
    for (size_t j = 0, k = 0; j < hidden->live || k < output->live; count++) {
        uint32_t left = j < hidden->live ? hidden->row[j] : UINT32_MAX;
        uint32_t right = k < output->live ? output->row[k] : UINT32_MAX;
        rows[2 * count] = left <= right ? (uint32_t)j++ : UINT32_MAX;
        rows[2 * count + 1] = right <= left ? (uint32_t)k++ : UINT32_MAX;
    }
    return count;
}

/* Gradients of one sparse row: dot products of `signal` with its columns of `x`. */
static void row_gradient(const factored *self, const sparse *matrix, uint32_t at,
                         const float *signal, const float *x, size_t stride, size_t samples,
                         float *gradient)
{
    size_t start = matrix->start[at];
    float *sums = gradient + start;
    self->kernels->dots(&signal, 1, x, stride, matrix->column + start,
                        matrix->start[at + 1] - start, samples, &sums);
}

static void support_neuron(factored *self, const step_view *view, const uint32_t rows[2])
{
    const batch *data = view->data;
    const thread_space *space = &self->space[omp_get_thread_num()];
    const sparse *hidden = &self->next.hidden, *output = &self->next.output;
    uint32_t number = rows[0] != UINT32_MAX ? hidden->row[rows[0]] : output->row[rows[1]];
    neuron_view neuron;
    neuron_open(self, view, number, space, 0, &neuron);
    bool with_hidden = rows[0] != UINT32_MAX && neuron.flags & HAS_HIDDEN;
    bool with_output = rows[1] != UINT32_MAX && neuron.flags & HAS_OUTPUT;
    size_t padded = padded_samples(data->samples);
    for (size_t first = 0; first < padded && (with_hidden || with_output); first += CHUNK_SAMPLES) {
        size_t samples = padded - first < CHUNK_SAMPLES ? padded - first : CHUNK_SAMPLES;
        tile_signals(self, view, &neuron, 1, first, samples, space, with_hidden);
        if (with_hidden)
            row_gradient(self, hidden, rows[0], space->error, data->x + first, data->stride,
                         samples, self->gradient);
        if (with_output)
            row_gradient(self, output, rows[1], space->activation, self->residual + first,
                         data->stride, samples, self->gradient + self->problem.nnz);
    }
}

void factored_support_gradient(factored *self, const step_view *view)
{
    memset(self->gradient, 0, 2 * self->problem.nnz * sizeof *self->gradient);
    int64_t count = (int64_t)list_support_neurons(&self->next, self->support_neurons);
#pragma omp parallel for num_threads( \
    factored_threads(self, view->data->samples * self->next.hidden.nnz)) schedule(dynamic)
    for (int64_t i = 0; i < count; i++)
        support_neuron(self, view, self->support_neurons + 2 * i);
}
