/* A step of the dense network. With samples as columns, E_0 = X [inputs, n] (see backend.h):
 *     forward   E_(l+1) = relu(W_l E_l),  Y = V^T E_L
 *     loss      R = dloss/dY:  2 (Y - T) / (n k)  or  (softmax(Y) - onehot) / n
 *     backward  D_L = [E_L > 0] * (V R),  D_l = [E_l > 0] * (W_l^T D_(l+1))
 *     gradient  dW_l = D_(l+1) E_l^T,  dV = E_L R^T
 * and Adam. The first three concern each sample alone and run block by block of samples; the
 * gradients run tile by tile. Blocks and tiles are cut by shapes alone, and each product of a
 * piece is one sgemm of OpenBLAS on one thread: the same bits for any number of threads on
 * processors for which OpenBLAS has the same kernels. */
#include "backend/cpu/dense.h"
#include "backend/dense_rules.h"

#include <cblas.h>
#include <float.h>
#include <math.h>

#define BLOCK_SAMPLES 128u     /* of a forward and backward pass */
#define ADAM_WEIGHTS 16384u    /* stepped at a time: they fit a second-level cache */
#define PARALLEL_WORK 2000000u /* multiply-adds below which threads cost more than they save */

/* OpenBLAS has threads of its own for the whole process; here every thread calls it. */
static int take_blas(void)
{
    int threads = openblas_get_num_threads();
    if (threads != 1)
        openblas_set_num_threads(1);
    return threads;
}

static void give_blas(int threads)
{
    if (threads != 1)
        openblas_set_num_threads(threads);
}

/* What a layer reads: rows of samples. */
typedef struct layer_input {
    const float *x; /* [columns, stride] */
    size_t stride;
} layer_input;

static layer_input input_of(const dense_network *self, const batch *data, size_t l)
{
    return l ? (layer_input){self->activation[l - 1], self->stride}
             : (layer_input){data->x, data->stride};
}

static unsigned threads_for(const dense_network *self, size_t samples)
{
    bool small = (double)self->weights * (double)samples < PARALLEL_WORK;
    return small ? 1 : dense_context(self)->threads;
}

/* relu of samples first .. first + count - 1, and of what is left of the last block of lanes: the
 * rows are long enough, and nothing reads it. */
static void rectify(const dense_network *self, const float *pattern, float *values, size_t rows,
                    size_t first, size_t count)
{
    size_t whole = padded_samples(count);
    for (size_t j = 0; j < rows; j++) {
        size_t at = j * self->stride + first;
        self->elements->mask(pattern + at, values + at, whole);
    }
}

/* ---------------------------------------------------------------- forward, loss, backward */

static void forward(dense_network *self, const batch *data, size_t first, size_t count)
{
    size_t layers = self->problem.layers;
    int n = (int)count, stride = (int)self->stride;
    for (size_t l = 0; l < layers; l++) {
        const dense_matrix *matrix = &self->matrix[l];
        layer_input input = input_of(self, data, l);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)matrix->rows, n,
                    (int)matrix->columns, 1.0f, self->weight + matrix->offset, (int)matrix->columns,
                    input.x + first, (int)input.stride, 0.0f, self->activation[l] + first, stride);
        rectify(self, self->activation[l], self->activation[l], matrix->rows, first, count);
    }
    const dense_matrix *output = &self->matrix[layers];
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)output->columns, n, (int)output->rows,
                1.0f, self->weight + output->offset, (int)output->columns,
                self->activation[layers - 1] + first, stride, 0.0f, self->residual + first, stride);
}

static void backward(dense_network *self, size_t first, size_t count)
{
    size_t layers = self->problem.layers;
    int n = (int)count, stride = (int)self->stride;
    for (size_t l = layers; l > 0; l--) {
        const dense_matrix *above = &self->matrix[l];
        int rows = (int)self->matrix[l - 1].rows;
        bool output = l == layers;
        /* W^T without the column of the bias input, which comes last */
        cblas_sgemm(CblasRowMajor, output ? CblasNoTrans : CblasTrans, CblasNoTrans, rows, n,
                    (int)(output ? above->columns : above->rows), 1.0f,
                    self->weight + above->offset, (int)above->columns,
                    (output ? self->residual : self->error[l]) + first, stride, 0.0f,
                    self->error[l - 1] + first, stride);
        rectify(self, self->activation[l - 1], self->error[l - 1], (size_t)rows, first, count);
    }
}

/* residual <- 2 (Y - T) / (n k); returns the sum over the block's samples of their loss. */
static double squares(dense_network *self, const batch *data, size_t first, size_t count)
{
    size_t outputs = self->problem.outputs;
    float factor = (float)(2.0 / ((double)data->samples * (double)outputs));
    double sum = 0;
    for (size_t k = 0; k < outputs; k++) {
        float *out = self->residual + k * self->stride + first;
        for (size_t i = 0; i < count; i++) {
            float target = data->y ? data->y[k * data->stride + first + i]
                                   : (float)(data->labels[first + i] == (int32_t)k);
            float error = out[i] - target;
            sum += (double)error * (double)error;
            out[i] = factor * error;
        }
    }
    return sum / (double)outputs;
}

/* residual <- (softmax(Y) - onehot) / n; returns the sum over the block's samples of
 * log sum exp(y) - y_label. `row` is scratch. */
static double entropies(dense_network *self, const batch *data, size_t first, size_t count)
{
    size_t outputs = self->problem.outputs, stride = self->stride;
    float *y = self->residual + first, *largest = self->row + first;
    float factor = (float)(1.0 / (double)data->samples), sums[BLOCK_SAMPLES] = {0};
    double loss = 0;
    for (size_t i = 0; i < count; i++)
        largest[i] = y[i];
    for (size_t k = 1; k < outputs; k++)
        for (size_t i = 0; i < count; i++)
            largest[i] = y[k * stride + i] > largest[i] ? y[k * stride + i] : largest[i];
    for (size_t i = 0; i < count; i++)
        loss += (double)largest[i] - (double)y[(size_t)data->labels[first + i] * stride + i];
    for (size_t k = 0; k < outputs; k++) {
        float *out = y + k * stride;
        for (size_t i = 0; i < count; i++)
            out[i] -= largest[i];
        self->elements->exponential(out, count, out);
        for (size_t i = 0; i < count; i++)
            sums[i] += out[i];
    }
    for (size_t i = 0; i < count; i++) {
        loss += log((double)sums[i]);
        sums[i] = factor / sums[i];
    }
    for (size_t k = 0; k < outputs; k++)
        for (size_t i = 0; i < count; i++)
            y[k * stride + i] *= sums[i];
    for (size_t i = 0; i < count; i++)
        y[(size_t)data->labels[first + i] * stride + i] -= factor;
    return loss;
}

static size_t block_count(size_t samples)
{
    return (samples + BLOCK_SAMPLES - 1) / BLOCK_SAMPLES;
}

static size_t samples_of(size_t samples, size_t block)
{
    size_t rest = samples - block * BLOCK_SAMPLES;
    return rest < BLOCK_SAMPLES ? rest : BLOCK_SAMPLES;
}

/* Sum over the batch of the samples' losses. */
static double pass_samples(dense_network *self, const batch *data)
{
    int64_t blocks = (int64_t)block_count(data->samples);
    bool entropy = self->problem.loss == RELIHT_LOSS_CROSS_ENTROPY;
#pragma omp parallel for num_threads(threads_for(self, data->samples)) schedule(dynamic)
    for (int64_t b = 0; b < blocks; b++) {
        size_t first = (size_t)b * BLOCK_SAMPLES, count = samples_of(data->samples, (size_t)b);
        forward(self, data, first, count);
        self->losses[b] =
            entropy ? entropies(self, data, first, count) : squares(self, data, first, count);
        backward(self, first, count);
    }
    double sum = 0;
    for (int64_t b = 0; b < blocks; b++)
        sum += self->losses[b];
    return sum;
}

/* ---------------------------------------------------------------- gradients */

/* Part `number` of `parts` even parts of `length`: *first, and returns the number in it. */
static size_t part_of(size_t length, size_t parts, size_t number, size_t *first)
{
    *first = length / parts * number + (number < length % parts ? number : length % parts);
    return length / parts + (number < length % parts);
}

/* Pieces of the samples that have sums of their own in this batch. */
static size_t pieces_of(const dense_matrix *matrix, const dense_network *self, size_t samples)
{
    size_t pieces = matrix->pieces * samples / self->problem.samples;
    return pieces ? pieces : 1;
}

/* One tile of the gradient of matrix l over one piece of the samples; `task` counts pieces, rows
 * and columns of tiles. */
static void gradient_tile(dense_network *self, const batch *data, size_t l, size_t task)
{
    const dense_matrix *matrix = &self->matrix[l];
    bool output = l == self->problem.layers;
    layer_input right = input_of(self, data, l);
    const float *left = output ? self->activation[l - 1] : self->error[l];
    if (output)
        right = (layer_input){self->residual, self->stride};
    size_t tiles = matrix->row_tiles * matrix->column_tiles, piece = task / tiles;
    size_t row, column, sample;
    size_t rows =
        part_of(matrix->rows, matrix->row_tiles, task % tiles / matrix->column_tiles, &row);
    size_t columns =
        part_of(matrix->columns, matrix->column_tiles, task % matrix->column_tiles, &column);
    size_t samples = part_of(data->samples, pieces_of(matrix, self, data->samples), piece, &sample);
    float *sums = piece ? self->partial + matrix->partial_offset +
                              (piece - 1) * matrix->rows * matrix->columns
                        : self->gradient + matrix->offset;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)columns, (int)samples,
                1.0f, left + row * self->stride + sample, (int)self->stride,
                right.x + column * right.stride + sample, (int)right.stride, 0.0f,
                sums + row * matrix->columns + column, (int)matrix->columns);
}

static size_t tasks_of(const dense_network *self, size_t l, size_t samples)
{
    const dense_matrix *matrix = &self->matrix[l];
    return matrix->row_tiles * matrix->column_tiles * pieces_of(matrix, self, samples);
}

static void pass_gradients(dense_network *self, const batch *data)
{
    size_t tasks = 0;
    for (size_t l = 0; l <= self->problem.layers; l++)
        tasks += tasks_of(self, l, data->samples);
#pragma omp parallel for num_threads(threads_for(self, data->samples)) schedule(dynamic)
    for (int64_t t = 0; t < (int64_t)tasks; t++) {
        size_t task = (size_t)t, l = 0;
        while (task >= tasks_of(self, l, data->samples))
            task -= tasks_of(self, l++, data->samples);
        gradient_tile(self, data, l, task);
    }
}

/* gradient[first .. end) += the sums of the other pieces, in their order. */
static void add_pieces(dense_network *self, size_t samples, size_t first, size_t end)
{
    for (size_t l = 0; l <= self->problem.layers; l++) {
        const dense_matrix *matrix = &self->matrix[l];
        size_t size = matrix->rows * matrix->columns, stop = matrix->offset + size;
        size_t from = first > matrix->offset ? first : matrix->offset;
        size_t to = end < stop ? end : stop, pieces = pieces_of(matrix, self, samples);
        for (size_t piece = 1; piece < pieces; piece++) {
            const float *sums = self->partial + matrix->partial_offset + (piece - 1) * size;
            for (size_t i = from; i < to; i++)
                self->gradient[i] += sums[i - matrix->offset];
        }
    }
}

/* ---------------------------------------------------------------- Adam */

static adam_step next_adam(dense_network *self)
{
    const dense_problem *problem = &self->problem;
    double t = (double)++self->step;
    return (adam_step){
        .mean_keep = (float)problem->mean_decay,
        .mean_take = (float)(1.0 - problem->mean_decay),
        .square_keep = (float)problem->square_decay,
        .square_take = (float)(1.0 - problem->square_decay),
        .size = (float)(problem->learning_rate / (1.0 - pow(problem->mean_decay, t))),
        .root = (float)(1.0 / sqrt(1.0 - pow(problem->square_decay, t))),
        .epsilon = (float)problem->epsilon,
    };
}

static void pass_weights(dense_network *self, size_t samples)
{
    const adam_step step = next_adam(self);
    size_t weights = self->weights;
#pragma omp parallel for num_threads(threads_for(self, samples)) schedule(static)
    for (size_t first = 0; first < weights; first += ADAM_WEIGHTS) {
        size_t end = weights - first < ADAM_WEIGHTS ? weights : first + ADAM_WEIGHTS;
        add_pieces(self, samples, first, end);
        self->kernels->adam(&step, end - first, self->mask + first, self->gradient + first,
                            self->weight + first, self->mean + first, self->square + first);
    }
}

reliht_status cpu_dense_step(dense_network *self, batch *data)
{
    int blas = take_blas();
    double loss = pass_samples(self, data);
    bool usable =
        loss / (double)data->samples <= (double)FLT_MAX; /* or squares of gradients overflow */
    if (usable) {
        pass_gradients(self, data);
        pass_weights(self, data->samples);
        self->loss_sum += loss;
        self->loss_samples += data->samples;
    }
    give_blas(blas);
    if (!usable)
        return dense_loss_not_finite(dense_context(self));
    return RELIHT_OK;
}

reliht_status cpu_dense_predict(dense_network *self, batch *data, float *outputs)
{
    int64_t blocks = (int64_t)block_count(data->samples);
    int blas = take_blas();
#pragma omp parallel for num_threads(threads_for(self, data->samples)) schedule(dynamic)
    for (int64_t b = 0; b < blocks; b++) {
        size_t first = (size_t)b * BLOCK_SAMPLES, count = samples_of(data->samples, (size_t)b);
        forward(self, data, first, count);
        for (size_t k = 0; k < self->problem.outputs; k++)
            for (size_t i = 0; i < count; i++)
                outputs[k * data->samples + first + i] =
                    self->residual[k * self->stride + first + i];
    }
    give_blas(blas);
    return RELIHT_OK;
}
