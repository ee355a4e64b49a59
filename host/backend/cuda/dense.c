/* The dense baseline on the GPU. With samples as columns, E_0 = X [inputs, n] (see backend.h):
 *     forward   E_(l+1) = relu(W_l E_l),  Y = V^T E_L
 *     loss      R = dloss/dY
 *     backward  D_L = [E_L > 0] * (V R),  D_l = [E_l > 0] * (W_l^T D_(l+1))
 *     gradient  dW_l = D_(l+1) E_l^T,  dV = E_L R^T
 * and Adam on all weights at once. Products are cuBLAS's sgemm, in fp32 throughout; the rest is in
 * kernels/dense.cu. cuBLAS sees rows as columns: it is asked for the transpose of each product,
 * with samples as the leading dimension. The same GPU gives the same bits in every run. */
#include "backend/cuda/cuda.h"
#include "backend/dense_rules.h"
#include "kernels/dense.h"
#include "kernels/predict.h"

#include <math.h>

/* cuBLAS would have memory of its own, that nobody counts. */
#define WORKSPACE_BYTES (4u << 20)

typedef struct dense_matrix {
    size_t rows, columns;
    size_t offset; /* of its entries among all weights */
} dense_matrix;

struct dense_network {
    cuda_backend *backend;
    dense_problem problem;
    dense_matrix matrix[MODEL_LAYERS_MAXIMUM + 1];
    size_t first_row[MODEL_LAYERS_MAXIMUM]; /* of a layer in the arrays below */
    size_t rows;                            /* there */
    size_t kept;                            /* weights in the mask */
    device_block memory;
    device_dense device;
    float *activation;  /* [rows, stride] by layers, each [hidden + 1, stride]; the last row is 1 */
    float *error;       /* the same places, dloss / d(input of relu) */
    float *residual;    /* [outputs, stride], outputs, then dloss / doutput */
    void *workspace;    /* of cuBLAS */
    dense_state *state; /* pinned: as it was last read */
};

static reliht_context *context_of(const dense_network *self)
{
    return self->backend->base.context;
}

/* ---------------------------------------------------------------- life of a handle */

/* Shapes and places of all matrices; their number of weights is checked, so no size overflows. */
static reliht_status lay_out(dense_network *self)
{
    const dense_problem *problem = &self->problem;
    size_t columns = problem->inputs, weights = 0;
    for (size_t l = 0; l <= problem->layers; l++) {
        bool last = l == problem->layers;
        dense_matrix *matrix = &self->matrix[l];
        *matrix = (dense_matrix){.rows = problem->hidden[last ? l - 1 : l],
                                 .columns = last ? problem->outputs : columns,
                                 .offset = weights};
        size_t size = matrix->rows * matrix->columns;
        if (matrix->rows >= RELIHT_MAX_DIMENSION || size > DENSE_WEIGHTS_MAXIMUM)
            return dense_too_large(context_of(self), matrix->rows, matrix->columns);
        weights += size;
        columns = matrix->rows + problem->bias;
        if (!last) {
            self->first_row[l] = self->rows;
            self->rows += matrix->rows + 1;
        }
    }
    self->device.weights = self->kept = weights;
    return RELIHT_OK;
}

/* a * b, or more than any memory. */
static size_t product(size_t a, size_t b)
{
    size_t made;
    return __builtin_mul_overflow(a, b, &made) ? SIZE_MAX : made;
}

static reliht_status obtain_memory(dense_network *self)
{
    device_block *memory = &self->memory;
    device_dense *device = &self->device;
    size_t weights = device->weights, stride = padded_samples(self->problem.samples);
    device_want(memory, MEMORY_weights, weights, sizeof(float), &device->weight);
    device_want(memory, MEMORY_weights, weights, sizeof(float), &device->gradient);
    device_want(memory, MEMORY_weights, weights, sizeof(float), &device->mean);
    device_want(memory, MEMORY_weights, weights, sizeof(float), &device->square);
    device_want(memory, MEMORY_weights, weights, sizeof(uint8_t), &device->mask);
    device_want_by_samples(memory, MEMORY_workspace, product(self->rows, stride), sizeof(float),
                           &self->activation);
    device_want_by_samples(memory, MEMORY_workspace, product(self->rows, stride), sizeof(float),
                           &self->error);
    device_want_by_samples(memory, MEMORY_workspace, product(self->problem.outputs, stride),
                           sizeof(float), &self->residual);
    device_want_by_samples(memory, MEMORY_workspace, stride / DENSE_SAMPLES + 1, sizeof(double),
                           &device->losses);
    device_want(memory, MEMORY_workspace, (size_t)DENSE_DIGITS * DENSE_BUCKETS,
                sizeof *device->bins, &device->bins);
    device_want(memory, MEMORY_workspace, weights / DENSE_PIECE + 1, sizeof *device->ties,
                &device->ties);
    device_want(memory, MEMORY_workspace, 1, sizeof *device->state, &device->state);
    device_want(memory, MEMORY_workspace, WORKSPACE_BYTES, 1, &self->workspace);
    device_want_pinned(memory, MEMORY_workspace, 1, sizeof *self->state, &self->state);
    return device_obtain(memory, "a dense network", self->problem.samples);
}

reliht_status cuda_dense_create(backend *on, const dense_problem *problem, dense_network **out)
{
    dense_network *self;
    *out = NULL;
    reliht_status status =
        gate_allocate(on->context, MEMORY_workspace, 1, sizeof *self, "dense network", &self);
    if (status)
        return status;
    self->backend = (cuda_backend *)on;
    self->problem = *problem;
    self->memory.owner = self->backend;
    status = lay_out(self);
    if (!status)
        status = obtain_memory(self);
    if (!status)
        status = CUDA_CALL(self->backend, launch_dense_fill, self->backend->stream, self->device);
    if (!status)
        status = cuda_dense_rewind(self);
    if (status) {
        cuda_dense_destroy(self);
        return status;
    }
    *out = self;
    return RELIHT_OK;
}

void cuda_dense_destroy(dense_network *self)
{
    if (!self)
        return;
    reliht_context *context = context_of(self);
    device_release(&self->memory);
    gate_release(context, self);
}

/* Inputs of a neuron without the bias; for the output weights, which have none, the neurons. */
static size_t fan_in(const dense_network *self, size_t l)
{
    const dense_matrix *matrix = &self->matrix[l];
    return l == self->problem.layers ? matrix->rows : matrix->columns - self->problem.bias;
}

static reliht_status clear(const dense_network *self, void *from, size_t bytes)
{
    return CUDA_CALL(self->backend, cudaMemsetAsync, from, 0, bytes, self->backend->stream);
}

reliht_status cuda_dense_rewind(dense_network *self)
{
    const device_dense *device = &self->device;
    reliht_status status = clear(self, device->mean, device->weights * sizeof(float));
    if (!status)
        status = clear(self, device->square, device->weights * sizeof(float));
    if (!status)
        status = clear(self, &device->state->step, sizeof device->state->step);
    for (size_t l = 0; !status && l <= self->problem.layers; l++) {
        const dense_matrix *matrix = &self->matrix[l];
        float bound = (float)(1.0 / sqrt((double)fan_in(self, l)));
        status = CUDA_CALL(self->backend, launch_dense_draw, self->backend->stream, *device,
                           self->problem.seed, (uint32_t)l, matrix->offset, matrix->rows,
                           matrix->columns, bound);
    }
    return status;
}

/* ---------------------------------------------------------------- what the host is told */

/* Waits for everything queued and reads the state. A loss that wasn't finite is reported once; the
 * steps after it were skipped, and later ones run again. */
static reliht_status finish(dense_network *self)
{
    cuda_backend *cuda = self->backend;
    reliht_status status = CUDA_CALL(cuda, cudaMemcpyAsync, self->state, self->device.state,
                                     sizeof *self->state, cudaMemcpyDeviceToHost, cuda->stream);
    if (!status)
        status = cuda_wait(cuda);
    if (status || !self->state->skipped)
        return status;
    status = clear(self, &self->device.state->skipped, sizeof self->state->skipped);
    return status ? status : dense_loss_not_finite(context_of(self));
}

reliht_status cuda_dense_report(dense_network *self, dense_report *report)
{
    reliht_status status = finish(self);
    if (status)
        return status;
    const dense_state *state = self->state;
    report->loss = state->samples ? state->loss_sum / (double)state->samples : 0.0;
    report->samples = state->samples;
    status = clear(self, &self->device.state->loss_sum, sizeof state->loss_sum);
    if (!status)
        status = clear(self, &self->device.state->samples, sizeof state->samples);
    return status;
}

static reliht_status not_finite(const dense_network *self, size_t at)
{
    size_t l = 0;
    while (l < self->problem.layers && at >= self->matrix[l + 1].offset)
        l++;
    return dense_weight_not_finite(context_of(self), &self->problem, l, self->matrix[l].columns,
                                   at - self->matrix[l].offset);
}

/* Entries of the mask of one matrix. */
static reliht_status gather(const dense_network *self, size_t l, const float *weight,
                            const uint8_t *mask, sparse *to)
{
    const dense_matrix *matrix = &self->matrix[l];
    size_t at = 0;
    sparse_clear(to);
    for (size_t j = 0; j < matrix->rows; j++)
        for (size_t c = 0; c < matrix->columns; c++, at++) {
            if (!mask[at])
                continue;
            if (!isfinite(weight[at]))
                return not_finite(self, matrix->offset + at);
            sparse_append(to, (uint32_t)j, (uint32_t)c, weight[at]);
        }
    return RELIHT_OK;
}

static reliht_status download(const dense_network *self, void *to, const void *from, size_t bytes)
{
    return CUDA_CALL(self->backend, cudaMemcpyAsync, to, from, bytes, cudaMemcpyDeviceToHost,
                     self->backend->stream);
}

reliht_status cuda_dense_get_weights(dense_network *self, sparse *matrices)
{
    reliht_context *context = context_of(self);
    const device_dense *device = &self->device;
    size_t weights = device->weights;
    float *weight = NULL;
    uint8_t *mask = NULL;
    reliht_status status = gate_allocate(context, MEMORY_workspace, weights, sizeof *weight,
                                         "weights of a dense network", &weight);
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, weights, sizeof *mask,
                               "mask of a dense network", &mask);
    if (!status)
        status = download(self, weight, device->weight, weights * sizeof *weight);
    if (!status)
        status = download(self, mask, device->mask, weights * sizeof *mask);
    if (!status)
        status = finish(self);
    for (size_t l = 0; !status && l <= self->problem.layers; l++)
        status = gather(self, l, weight + self->matrix[l].offset, mask + self->matrix[l].offset,
                        &matrices[l]);
    gate_release(context, weight);
    gate_release(context, mask);
    return status;
}

/* ---------------------------------------------------------------- steps */

/* A step on the batch at hand: its columns and how long rows of samples are. */
typedef struct pass {
    dense_network *self;
    const float *x;
    size_t samples, stride;
} pass;

/* Sets the batch and lends cuBLAS its workspace. */
static reliht_status begin(dense_network *self, const batch *data, pass *out)
{
    *out = (pass){self, data->slot[data->current].x, data->samples, padded_samples(data->samples)};
    return CUBLAS_CALL(self->backend, cublasSetWorkspace, self->backend->blas, self->workspace,
                       WORKSPACE_BYTES);
}

/* cuBLAS must not keep what a handle owns. */
static reliht_status end(dense_network *self, reliht_status status)
{
    cublasStatus_t set = cublasSetStream(self->backend->blas, self->backend->stream);
    return status ? status : cublas_status(self->backend, set, "cublasSetStream");
}

static float *activation(const pass *on, size_t l)
{
    return on->self->activation + on->self->first_row[l] * on->stride;
}

static float *error(const pass *on, size_t l)
{
    return on->self->error + on->self->first_row[l] * on->stride;
}

static const float *input_of(const pass *on, size_t l)
{
    return l ? activation(on, l - 1) : on->x;
}

/* c [m, n] <- op(a) op(b) by columns, with k terms a sum. */
static reliht_status multiply(const pass *on, cublasOperation_t left, cublasOperation_t right,
                              size_t m, size_t n, size_t k, const float *a, size_t a_stride,
                              const float *b, size_t b_stride, float *c, size_t c_stride)
{
    const float one = 1.0f, zero = 0.0f;
    cuda_backend *cuda = on->self->backend;
    return CUBLAS_CALL(cuda, cublasSgemm, cuda->blas, left, right, (int)m, (int)n, (int)k, &one, a,
                       (int)a_stride, b, (int)b_stride, &zero, c, (int)c_stride);
}

static reliht_status forward(const pass *on)
{
    dense_network *self = on->self;
    const float *weight = self->device.weight;
    size_t layers = self->problem.layers, n = on->samples, stride = on->stride;
    reliht_status status = RELIHT_OK;
    for (size_t l = 0; !status && l < layers; l++) {
        const dense_matrix *matrix = &self->matrix[l];
        status = multiply(on, CUBLAS_OP_N, CUBLAS_OP_N, n, matrix->rows, matrix->columns,
                          input_of(on, l), stride, weight + matrix->offset, matrix->columns,
                          activation(on, l), stride);
        if (!status)
            status = CUDA_CALL(self->backend, launch_relu, self->backend->stream, activation(on, l),
                               matrix->rows * stride, stride);
    }
    const dense_matrix *output = &self->matrix[layers];
    if (!status)
        status = multiply(on, CUBLAS_OP_N, CUBLAS_OP_T, n, output->columns, output->rows,
                          activation(on, layers - 1), stride, weight + output->offset,
                          output->columns, self->residual, stride);
    return status;
}

/* D of layer l from what is above it. */
static reliht_status backward(const pass *on, size_t l)
{
    dense_network *self = on->self;
    const dense_matrix *above = &self->matrix[l + 1];
    size_t rows = self->matrix[l].rows, n = on->samples, stride = on->stride;
    bool output = l + 1 == self->problem.layers;
    /* W^T without the column of the bias input, which comes last */
    reliht_status status =
        multiply(on, CUBLAS_OP_N, output ? CUBLAS_OP_N : CUBLAS_OP_T, n, rows,
                 output ? above->columns : above->rows, output ? self->residual : error(on, l + 1),
                 stride, self->device.weight + above->offset, above->columns, error(on, l), stride);
    if (!status)
        status = CUDA_CALL(self->backend, launch_dense_backward, self->backend->stream,
                           activation(on, l), error(on, l), rows * stride);
    return status;
}

static reliht_status gradient(const pass *on, size_t l)
{
    dense_network *self = on->self;
    const dense_matrix *matrix = &self->matrix[l];
    bool output = l == self->problem.layers;
    return multiply(on, CUBLAS_OP_T, CUBLAS_OP_N, matrix->columns, matrix->rows, on->samples,
                    output ? self->residual : input_of(on, l), on->stride,
                    output ? activation(on, l - 1) : error(on, l), on->stride,
                    self->device.gradient + matrix->offset, matrix->columns);
}

static reliht_status find_loss(const pass *on, const batch *data)
{
    dense_network *self = on->self;
    const dense_problem *problem = &self->problem;
    const batch_slot *slot = &data->slot[data->current];
    const dense_rules rules = {problem->learning_rate, problem->mean_decay, problem->square_decay,
                               problem->epsilon};
    return CUDA_CALL(self->backend, launch_dense_loss, self->backend->stream, self->device, rules,
                     self->residual, slot->y, slot->labels, (uint32_t)on->samples,
                     (uint32_t)on->stride, (uint32_t)problem->outputs,
                     problem->loss == RELIHT_LOSS_CROSS_ENTROPY);
}

static reliht_status step(const pass *on, const batch *data)
{
    dense_network *self = on->self;
    size_t layers = self->problem.layers;
    reliht_status status = forward(on);
    if (!status)
        status = find_loss(on, data);
    for (size_t l = layers; !status && l-- > 0;)
        status = backward(on, l);
    for (size_t l = 0; !status && l <= layers; l++)
        status = gradient(on, l);
    if (!status)
        status = CUDA_CALL(self->backend, launch_dense_adam, self->backend->stream, self->device);
    return status;
}

reliht_status cuda_dense_step(dense_network *self, batch *data)
{
    pass on;
    reliht_status status = begin(self, data, &on);
    return end(self, status ? status : step(&on, data));
}

reliht_status cuda_dense_predict(dense_network *self, batch *data, float *outputs)
{
    cuda_backend *cuda = self->backend;
    pass on;
    reliht_status status = begin(self, data, &on);
    status = end(self, status ? status : forward(&on));
    size_t width = on.samples * sizeof(float);
    if (!status)
        status = CUDA_CALL(cuda, cudaMemcpy2DAsync, outputs, width, self->residual,
                           on.stride * sizeof(float), width, self->problem.outputs,
                           cudaMemcpyDeviceToHost, cuda->stream);
    return status ? status : finish(self);
}

/* ---------------------------------------------------------------- pruning */

reliht_status cuda_dense_prune(dense_network *self, size_t keep)
{
    cuda_backend *cuda = self->backend;
    device_dense *device = &self->device;
    if (keep < 1 || keep > self->kept)
        return dense_cannot_keep(context_of(self), keep, self->kept);
    reliht_status status = finish(self);
    if (!status)
        status =
            clear(self, device->bins, (size_t)DENSE_DIGITS * DENSE_BUCKETS * sizeof *device->bins);
    if (!status)
        status = CUDA_CALL(cuda, cudaMemsetAsync, &device->state->invalid, 0xff,
                           sizeof device->state->invalid, cuda->stream);
    if (!status)
        status = CUDA_CALL(cuda, launch_dense_prune, cuda->stream, *device, keep);
    if (!status)
        status = finish(self);
    if (status)
        return status;
    if (self->state->invalid != DENSE_FINITE)
        return not_finite(self, self->state->invalid);
    self->kept = keep;
    return RELIHT_OK;
}
