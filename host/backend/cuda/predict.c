/* Prediction of a sparse network on the GPU,
 *     E_0 = X^T,  E_l = relu(W_l E_(l-1)),  Y^T = V^T E_L,
 * every product by cuSPARSE (CSR by neuron times dense [neurons, samples]), a chunk of samples at a
 * time. V is the output matrix, or for a fused model the row of output signs. Products of CSR
 * matrices that aren't transposed repeat bit for bit. */
#include "backend/cuda/cuda.h"
#include "backend/embedding.h"
#include "kernels/batch.h"
#include "kernels/predict.h"

#include <string.h>

#define CHUNK 4096u              /* samples at once */
#define CHUNK_BYTES (256u << 20) /* ... of activations, about */
#define CHUNK_LEAST 64u

/* One sparse factor, on the host and on the device; `columns` of it are rows of the dense factor.
 */
typedef struct product {
    size_t rows, columns, nnz;
    int32_t *start, *column; /* host: [rows + 1], [nnz] */
    float *value;
    int32_t *device_start, *device_column;
    float *device_value;
    cusparseSpMatDescr_t matrix;
    cusparseDnMatDescr_t from, to;
    void *buffer; /* of cuSPARSE */
    device_block memory, scratch;
} product;

typedef struct network {
    cuda_backend *cuda;
    const reliht_dataset *dataset;
    bool bias;
    size_t products, chunk;
    product product[MODEL_LAYERS_MAXIMUM + 1];
    device_block memory;
    unsigned char *rows; /* bytes of a chunk */
    float *inputs;       /* [inputs + bias, chunk] */
    float *dense[2];     /* results of the products, in turns */
} network;

/* ---------------------------------------------------------------- factors */

static reliht_status product_create(reliht_context *context, product *self, size_t rows,
                                    size_t columns, size_t capacity)
{
    *self = (product){.rows = rows, .columns = columns};
    reliht_status status = gate_allocate(context, MEMORY_workspace, rows + 1, sizeof *self->start,
                                         "rows of a layer", &self->start);
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, capacity, sizeof *self->column,
                               "columns of a layer", &self->column);
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, capacity, sizeof *self->value,
                               "weights of a layer", &self->value);
    return status;
}

static void product_append(product *self, size_t column, float value)
{
    self->column[self->nnz] = (int32_t)column;
    self->value[self->nnz++] = value;
}

/* The live rows of a layer. Columns are positions among the live rows of the layer before (NULL:
 * the inputs as they are), the bias input right after them; what reads a neuron without weights is
 * left out. */
static reliht_status layer_product(reliht_context *context, product *self, const sparse *layer,
                                   const sparse *before, bool bias)
{
    reliht_status status = product_create(
        context, self, layer->live, before ? before->live + bias : layer->columns, layer->nnz);
    if (status)
        return status;
    for (size_t j = 0; j < layer->live; j++) {
        for (size_t e = layer->start[j]; e < layer->start[j + 1]; e++) {
            size_t column = layer->column[e];
            if (before && column == before->rows) {
                column = before->live;
            } else if (before) {
                column = sparse_find_row(before, layer->column[e]);
                if (column == before->live)
                    continue;
            }
            product_append(self, column, layer->value[e]);
        }
        self->start[j + 1] = (int32_t)self->nnz;
    }
    return RELIHT_OK;
}

/* V^T of a factored model: entries of live neurons, sorted by output. */
static void fill_output(product *self, const sparse *output, const sparse *last)
{
    for (size_t j = 0; j < output->live; j++)
        if (sparse_find_row(last, output->row[j]) < last->live)
            for (size_t e = output->start[j]; e < output->start[j + 1]; e++)
                self->start[output->column[e] + 1]++;
    for (size_t k = 0; k < self->rows; k++)
        self->start[k + 1] += self->start[k];
    for (size_t j = 0; j < output->live; j++) {
        size_t position = sparse_find_row(last, output->row[j]);
        for (size_t e = output->start[j]; position < last->live && e < output->start[j + 1]; e++) {
            int32_t at = self->start[output->column[e]]++;
            self->column[at] = (int32_t)position;
            self->value[at] = output->value[e];
        }
    }
    for (size_t k = self->rows; k > 0; k--) /* each start has moved to the next one's place */
        self->start[k] = self->start[k - 1];
    self->start[0] = 0;
    self->nnz = (size_t)self->start[self->rows];
}

static reliht_status output_product(reliht_context *context, product *self,
                                    const reliht_model *model)
{
    const sparse *last = &model->hidden[model->layers - 1];
    bool has_output = model->kind == RELIHT_FACTORED;
    reliht_status status = product_create(context, self, model->outputs, last->live,
                                          has_output ? model->output.nnz : last->live);
    if (status)
        return status;
    if (has_output) {
        fill_output(self, &model->output, last);
        return RELIHT_OK;
    }
    for (size_t j = 0; j < last->live; j++)
        product_append(self, j, neuron_sign(model->signs, last->row[j]));
    self->start[1] = (int32_t)self->nnz;
    return RELIHT_OK;
}

/* ---------------------------------------------------------------- device */

static size_t widest_result(const network *self)
{
    size_t widest = 0;
    for (size_t p = 0; p < self->products; p++)
        widest = self->product[p].rows > widest ? self->product[p].rows : widest;
    return widest + 1; /* and the bias input */
}

static void choose_chunk(network *self, size_t count)
{
    size_t rows = self->dataset->inputs + 1 + 2 * widest_result(self);
    size_t chunk = CHUNK_BYTES / sizeof(float) / rows / CHUNK_LEAST * CHUNK_LEAST;
    chunk = chunk < CHUNK_LEAST ? CHUNK_LEAST : chunk;
    chunk = chunk > CHUNK ? CHUNK : chunk;
    self->chunk = chunk < count ? chunk : padded_samples(count);
}

static reliht_status obtain_memory(network *self)
{
    device_block *memory = &self->memory;
    size_t chunk = self->chunk, widest = widest_result(self);
    size_t inputs = self->dataset->inputs;
    memory->owner = self->cuda;
    device_want_by_samples(memory, MEMORY_data, (inputs + self->bias) * chunk, sizeof(float),
                           &self->inputs);
    if (self->dataset->element == ELEMENT_BYTE)
        device_want_by_samples(memory, MEMORY_data, inputs, chunk, &self->rows);
    for (size_t i = 0; i < 2; i++)
        device_want_by_samples(memory, MEMORY_workspace, widest * chunk, sizeof(float),
                               &self->dense[i]);
    return device_obtain(memory, "a prediction", chunk);
}

static reliht_status upload(cuda_backend *cuda, void *to, const void *from, size_t bytes)
{
    if (!bytes)
        return RELIHT_OK;
    return CUDA_CALL(cuda, cudaMemcpyAsync, to, from, bytes, cudaMemcpyHostToDevice, cuda->stream);
}

static reliht_status upload_product(cuda_backend *cuda, product *p)
{
    p->memory.owner = cuda;
    device_want(&p->memory, MEMORY_weights, p->rows + 1, sizeof *p->start, &p->device_start);
    device_want(&p->memory, MEMORY_weights, p->nnz, sizeof *p->column, &p->device_column);
    device_want(&p->memory, MEMORY_weights, p->nnz, sizeof *p->value, &p->device_value);
    reliht_status status = device_obtain(&p->memory, "a layer of a prediction", 1);
    if (!status)
        status = upload(cuda, p->device_start, p->start, (p->rows + 1) * sizeof *p->start);
    if (!status)
        status = upload(cuda, p->device_column, p->column, p->nnz * sizeof *p->column);
    if (!status)
        status = upload(cuda, p->device_value, p->value, p->nnz * sizeof *p->value);
    return status;
}

static const float one = 1.0f, zero = 0.0f;

/* Descriptors of dense [p->rows, chunk] <- p dense [p->columns, chunk], and the buffer it needs. */
static reliht_status describe_product(cuda_backend *cuda, product *p, size_t chunk, float *from,
                                      float *to)
{
    size_t bytes = 0;
    int64_t wide = (int64_t)chunk;
    reliht_status status =
        CUSPARSE_CALL(cuda, cusparseCreateCsr, &p->matrix, (int64_t)p->rows, (int64_t)p->columns,
                      (int64_t)p->nnz, p->device_start, p->device_column, p->device_value,
                      CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO, CUDA_R_32F);
    if (!status)
        status = CUSPARSE_CALL(cuda, cusparseCreateDnMat, &p->from, (int64_t)p->columns, wide, wide,
                               from, CUDA_R_32F, CUSPARSE_ORDER_ROW);
    if (!status)
        status = CUSPARSE_CALL(cuda, cusparseCreateDnMat, &p->to, (int64_t)p->rows, wide, wide, to,
                               CUDA_R_32F, CUSPARSE_ORDER_ROW);
    if (!status)
        status = CUSPARSE_CALL(cuda, cusparseSpMM_bufferSize, cuda->sparse,
                               CUSPARSE_OPERATION_NON_TRANSPOSE, CUSPARSE_OPERATION_NON_TRANSPOSE,
                               &one, p->matrix, p->from, &zero, p->to, CUDA_R_32F,
                               CUSPARSE_SPMM_CSR_ALG2, &bytes);
    p->scratch.owner = cuda;
    device_want(&p->scratch, MEMORY_workspace, bytes, 1, &p->buffer);
    return status ? status : device_obtain(&p->scratch, "a buffer of cuSPARSE", 1);
}

static reliht_status multiply(cuda_backend *cuda, const product *p, size_t chunk, float *to)
{
    if (!p->nnz)
        return CUDA_CALL(cuda, cudaMemsetAsync, to, 0, p->rows * chunk * sizeof *to, cuda->stream);
    return CUSPARSE_CALL(cuda, cusparseSpMM, cuda->sparse, CUSPARSE_OPERATION_NON_TRANSPOSE,
                         CUSPARSE_OPERATION_NON_TRANSPOSE, &one, p->matrix, p->from, &zero, p->to,
                         CUDA_R_32F, CUSPARSE_SPMM_CSR_ALG2, p->buffer);
}

/* ---------------------------------------------------------------- network */

static void network_close(network *self)
{
    if (!self)
        return;
    reliht_context *context = self->cuda->base.context;
    cudaStreamSynchronize(self->cuda->stream);
    for (size_t i = 0; i < self->products; i++) {
        product *p = &self->product[i];
        if (p->matrix)
            cusparseDestroySpMat(p->matrix);
        if (p->from)
            cusparseDestroyDnMat(p->from);
        if (p->to)
            cusparseDestroyDnMat(p->to);
        device_release(&p->scratch);
        device_release(&p->memory);
        gate_release(context, p->start);
        gate_release(context, p->column);
        gate_release(context, p->value);
    }
    device_release(&self->memory);
    gate_release(context, self);
}

static reliht_status network_create(cuda_backend *cuda, const reliht_dataset *dataset, bool bias,
                                    network **out)
{
    reliht_status status =
        gate_allocate(cuda->base.context, MEMORY_workspace, 1, sizeof **out, "prediction", out);
    if (!status) {
        (*out)->cuda = cuda;
        (*out)->dataset = dataset;
        (*out)->bias = bias;
    }
    return status;
}

/* Brings the factors of a network that has them to the device. */
static reliht_status network_upload(network *self, size_t count)
{
    choose_chunk(self, count);
    reliht_status status = obtain_memory(self);
    for (size_t i = 0; !status && i < self->products; i++) {
        product *p = &self->product[i];
        status = upload_product(self->cuda, p);
        if (!status && p->nnz)
            status =
                describe_product(self->cuda, p, self->chunk,
                                 i ? self->dense[(i - 1) % 2] : self->inputs, self->dense[i % 2]);
    }
    return status;
}

/* Samples first .. first + count - 1 to the device, as columns with the bias input at the end. */
static reliht_status load_inputs(network *self, size_t first, size_t count)
{
    cuda_backend *cuda = self->cuda;
    const reliht_dataset *dataset = self->dataset;
    size_t inputs = dataset->inputs, chunk = self->chunk;
    if (dataset->element == ELEMENT_FLOAT)
        return CUDA_CALL(cuda, cudaMemcpy2DAsync, self->inputs, chunk * sizeof(float),
                         (const float *)dataset->x + first, dataset->stride * sizeof(float),
                         count * sizeof(float), inputs + self->bias, cudaMemcpyHostToDevice,
                         cuda->stream);
    reliht_status status = upload(
        cuda, self->rows, (const unsigned char *)dataset->x + first * inputs, count * inputs);
    if (!status)
        status = CUDA_CALL(cuda, launch_columns_of_bytes, cuda->stream, self->rows, (uint32_t)count,
                           (uint32_t)inputs, dataset->scale, 0, self->inputs, (uint32_t)chunk);
    if (!status)
        status = CUDA_CALL(cuda, launch_finish_columns, cuda->stream, self->inputs, (uint32_t)count,
                           (uint32_t)chunk, (uint32_t)inputs, (uint32_t)(inputs + self->bias));
    return status;
}

/* All products on a chunk, relu between them and, for an embedding, after the last; *result <- what
 * the last one made. */
static reliht_status run_chunk(network *self, size_t first, size_t count, bool embed,
                               float **result)
{
    cuda_backend *cuda = self->cuda;
    reliht_status status = load_inputs(self, first, count);
    for (size_t i = 0; !status && i < self->products; i++) {
        const product *p = &self->product[i];
        float *to = self->dense[i % 2];
        bool last = i + 1 == self->products;
        status = multiply(cuda, p, self->chunk, to);
        if (!status && (!last || embed))
            status = CUDA_CALL(cuda, launch_relu, cuda->stream, to, p->rows * self->chunk,
                               last ? 0 : self->chunk);
        *result = to;
    }
    return status;
}

static reliht_status download(network *self, const float *from, size_t rows, size_t count,
                              float *to, size_t stride)
{
    cuda_backend *cuda = self->cuda;
    reliht_status status = CUDA_CALL(cuda, cudaMemcpy2DAsync, to, stride * sizeof(float), from,
                                     self->chunk * sizeof(float), count * sizeof(float), rows,
                                     cudaMemcpyDeviceToHost, cuda->stream);
    return status ? status : cuda_wait(cuda);
}

static reliht_status run(network *self, size_t first, size_t count, bool embed, size_t rows,
                         float *to, size_t stride)
{
    reliht_status status = network_upload(self, count);
    for (size_t done = 0; !status && done < count; done += self->chunk) {
        size_t left = count - done, size = left < self->chunk ? left : self->chunk;
        float *result = NULL;
        status = run_chunk(self, first + done, size, embed, &result);
        if (!status)
            status = download(self, result, rows, size, to + done, stride);
    }
    return status;
}

/* ---------------------------------------------------------------- operations */

reliht_status cuda_predict(backend *on, const reliht_model *model, const reliht_dataset *dataset,
                           size_t first, size_t count, float *outputs)
{
    reliht_context *context = on->context;
    network *self;
    reliht_status status = network_create((cuda_backend *)on, dataset, model->bias, &self);
    if (status)
        return status;
    for (size_t l = 0; !status && l < model->layers; l++)
        status = layer_product(context, &self->product[self->products++], &model->hidden[l],
                               l ? &model->hidden[l - 1] : NULL, model->bias);
    if (!status)
        status = output_product(context, &self->product[self->products++], model);
    if (!status)
        status = run(self, first, count, false, model->outputs, outputs, count);
    network_close(self);
    return status;
}

reliht_status cuda_embed(backend *on, const sparse *weights, bool bias,
                         const reliht_dataset *dataset, reliht_dataset **embedding)
{
    reliht_dataset *made;
    reliht_status status = embedding_create(on->context, weights, bias, dataset, &made);
    *embedding = NULL;
    if (status)
        return status;
    network *self;
    status = network_create((cuda_backend *)on, dataset, bias, &self);
    if (!status) {
        status = layer_product(on->context, &self->product[self->products++], weights, NULL, bias);
        if (!status)
            status = run(self, 0, dataset->samples, true, weights->live, made->x, made->stride);
        network_close(self);
    }
    if (!status)
        status = dataset_finish(made);
    if (status)
        reliht_dataset_destroy(made);
    else
        *embedding = made;
    return status;
}
