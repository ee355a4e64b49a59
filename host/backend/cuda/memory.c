/* The gate of device memory: pieces of a handle are asked for, then obtained together, so that what
 * a handle needs is known before the first byte is taken. */
#include "backend/cuda/cuda.h"

#include <string.h>

static void want(device_block *self, memory_category category, size_t count, size_t size,
                 bool by_samples, bool pinned, void *pointer)
{
    size_t bytes;
    void *none = NULL;
    memcpy(pointer, &none, sizeof none);
    if (self->count == DEVICE_PIECES || __builtin_mul_overflow(count, size, &bytes)) {
        self->overflow = true;
        return;
    }
    self->piece[self->count++] =
        (device_piece){(void **)pointer, bytes ? bytes : 1, category, by_samples, pinned};
}

void device_want(device_block *self, memory_category category, size_t count, size_t size,
                 void *pointer)
{
    want(self, category, count, size, false, false, pointer);
}

void device_want_by_samples(device_block *self, memory_category category, size_t count, size_t size,
                            void *pointer)
{
    want(self, category, count, size, true, false, pointer);
}

void device_want_pinned(device_block *self, memory_category category, size_t count, size_t size,
                        void *pointer)
{
    want(self, category, count, size, false, true, pointer);
}

void device_want_sparse(device_block *self, device_sparse *matrix, size_t capacity)
{
    device_want(self, MEMORY_weights, 2, sizeof(uint32_t), &matrix->counts);
    device_want(self, MEMORY_weights, capacity, sizeof(uint32_t), &matrix->row);
    device_want(self, MEMORY_weights, capacity + 1, sizeof(uint32_t), &matrix->start);
    device_want(self, MEMORY_weights, capacity, sizeof(uint32_t), &matrix->column);
    device_want(self, MEMORY_weights, capacity, sizeof(float), &matrix->value);
}

void device_want_select(device_block *self, device_select *select, size_t keep, size_t rows,
                        size_t columns)
{
    select_shape(select, keep, rows, columns);
    size_t capacity = select->capacity;
    device_want(self, MEMORY_candidates, 1, sizeof *select->scalars, &select->scalars);
    device_want(self, MEMORY_candidates, SELECT_BINS, sizeof *select->bins, &select->bins);
    device_want(self, MEMORY_candidates, SELECT_KEY_DIGITS * SELECT_DIGITS, sizeof *select->digits,
                &select->digits);
    device_want(self, MEMORY_candidates, SELECT_SORTERS * SELECT_DIGITS, sizeof *select->sorters,
                &select->sorters);
    device_want(self, MEMORY_candidates, capacity, sizeof *select->value, &select->value);
    device_want(self, MEMORY_candidates, capacity, sizeof *select->place, &select->place);
    device_want(self, MEMORY_candidates, keep, sizeof *select->kept_value, &select->kept_value);
    device_want(self, MEMORY_candidates, keep, sizeof *select->kept_place, &select->kept_place);
}

/* Bytes of device memory that are asked for: fixed, and proportional to the samples. */
static bool add_up(const device_block *self, size_t *fixed, size_t *by_samples)
{
    *fixed = *by_samples = 0;
    bool overflow = self->overflow;
    for (size_t i = 0; i < self->count; i++) {
        const device_piece *piece = &self->piece[i];
        size_t *sum = piece->by_samples ? by_samples : fixed;
        if (!piece->pinned)
            overflow |= __builtin_add_overflow(*sum, piece->bytes, sum);
    }
    size_t all;
    return !overflow && !__builtin_add_overflow(*fixed, *by_samples, &all);
}

static reliht_status refuse(const device_block *self, const char *what, size_t samples)
{
    reliht_context *context = self->owner->base.context;
    size_t fixed, by_samples, available = 0, whole = 0;
    if (!add_up(self, &fixed, &by_samples))
        return fail(context, RELIHT_MEMORY, "%s is larger than any memory", what);
    cudaMemGetInfo(&available, &whole);
    cudaGetLastError();
    double fits = by_samples && available > fixed
                      ? (double)(available - fixed) / (double)by_samples * (double)samples
                      : 0;
    if (fits >= 1 && fits < (double)samples)
        return fail(context, RELIHT_MEMORY,
                    "out of GPU memory: %s needs %zu bytes, %zu of %zu are free; batches of at "
                    "most %.0f samples would fit",
                    what, fixed + by_samples, available, whole, fits);
    return fail(context, RELIHT_MEMORY,
                "out of GPU memory: %s needs %zu bytes, %zu of %zu are free; fewer nonzeros, "
                "smaller batches or the backend cpu would do",
                what, fixed + by_samples, available, whole);
}

/* Frees the first `count` pieces and stops counting them. */
static void free_pieces(device_block *self, size_t count)
{
    reliht_context *context = self->owner->base.context;
    for (size_t i = 0; i < count; i++) {
        device_piece *piece = &self->piece[i];
        memory_uncount(piece->pinned ? &context->host : &context->device, piece->category,
                       piece->bytes);
        if (piece->pinned)
            cudaFreeHost(*piece->pointer);
        else
            cudaFree(*piece->pointer);
        *piece->pointer = NULL;
    }
    cudaGetLastError();
    self->count = 0;
    self->obtained = false;
}

static reliht_status obtain_piece(cuda_backend *owner, device_piece *piece)
{
    reliht_context *context = owner->base.context;
    reliht_status status = piece->pinned
                               ? CUDA_CALL(owner, cudaMallocHost, piece->pointer, piece->bytes)
                               : CUDA_CALL(owner, cudaMalloc, piece->pointer, piece->bytes);
    if (!status)
        memory_count(piece->pinned ? &context->host : &context->device, piece->category,
                     piece->bytes);
    return status;
}

static reliht_status clear_piece(cuda_backend *owner, device_piece *piece)
{
    if (!piece->pinned)
        return CUDA_CALL(owner, cudaMemsetAsync, *piece->pointer, 0, piece->bytes, owner->stream);
    memset(*piece->pointer, 0, piece->bytes);
    return RELIHT_OK;
}

reliht_status device_obtain(device_block *self, const char *what, size_t samples)
{
    cuda_backend *owner = self->owner;
    size_t fixed, by_samples, available, whole;
    if (!add_up(self, &fixed, &by_samples)) {
        reliht_status status = refuse(self, what, samples);
        self->count = 0;
        return status;
    }
    reliht_status status = CUDA_CALL(owner, cudaMemGetInfo, &available, &whole);
    if (!status && fixed + by_samples > available)
        status = refuse(self, what, samples);
    size_t held = 0;
    for (size_t i = 0; !status && i < self->count; i++) {
        status = obtain_piece(owner, &self->piece[i]);
        if (!status) {
            held++;
            status = clear_piece(owner, &self->piece[i]);
        } else if (status == RELIHT_MEMORY) {
            status = refuse(self, what, samples);
        }
    }
    if (status) {
        cudaStreamSynchronize(owner->stream);
        free_pieces(self, held);
    }
    self->obtained = !status;
    return status;
}

void device_release(device_block *self)
{
    if (!self->obtained)
        return;
    cudaStreamSynchronize(self->owner->stream);
    free_pieces(self, self->count);
}

/* ---------------------------------------------------------------- sparse matrices */

/* In the staging: counts, then row, start, column and value of `capacity` entries each. */
typedef struct staged_sparse {
    uint32_t *counts, *row, *start, *column;
    float *value;
} staged_sparse;

static staged_sparse staged(void *staging, size_t capacity)
{
    uint32_t *words = staging;
    return (staged_sparse){words, words + 2, words + 2 + capacity, words + 3 + 2 * capacity,
                           (float *)(words + 3 + 3 * capacity)};
}

size_t sparse_staging_bytes(size_t capacity)
{
    return (3 + 4 * capacity) * sizeof(uint32_t);
}

static reliht_status copy(cuda_backend *self, void *to, const void *from, size_t count,
                          enum cudaMemcpyKind kind)
{
    if (!count)
        return RELIHT_OK;
    return CUDA_CALL(self, cudaMemcpyAsync, to, from, count * sizeof(uint32_t), kind, self->stream);
}

reliht_status sparse_upload(cuda_backend *self, const sparse *from, void *staging,
                            const device_sparse *to)
{
    /* The staging may still be read by the last upload. */
    reliht_status status = cuda_wait(self);
    if (status)
        return status;
    staged_sparse host = staged(staging, from->nnz);
    host.counts[COUNT_NNZ] = (uint32_t)from->nnz;
    host.counts[COUNT_LIVE] = (uint32_t)from->live;
    host.start[0] = 0;
    memcpy(host.row, from->row, from->live * sizeof *host.row);
    if (from->live)
        memcpy(host.start, from->start, (from->live + 1) * sizeof *host.start);
    memcpy(host.column, from->column, from->nnz * sizeof *host.column);
    memcpy(host.value, from->value, from->nnz * sizeof *host.value);
    status = copy(self, to->counts, host.counts, 2, cudaMemcpyHostToDevice);
    if (!status)
        status = copy(self, to->row, host.row, from->live, cudaMemcpyHostToDevice);
    if (!status)
        status = copy(self, to->start, host.start, from->live + 1, cudaMemcpyHostToDevice);
    if (!status)
        status = copy(self, to->column, host.column, from->nnz, cudaMemcpyHostToDevice);
    if (!status)
        status = copy(self, to->value, host.value, from->nnz, cudaMemcpyHostToDevice);
    return status;
}

reliht_status sparse_download(cuda_backend *self, const device_sparse *from, size_t capacity,
                              void *staging)
{
    staged_sparse host = staged(staging, capacity);
    reliht_status status = copy(self, host.counts, from->counts, 2, cudaMemcpyDeviceToHost);
    if (!status)
        status = copy(self, host.row, from->row, capacity, cudaMemcpyDeviceToHost);
    if (!status)
        status = copy(self, host.start, from->start, capacity + 1, cudaMemcpyDeviceToHost);
    if (!status)
        status = copy(self, host.column, from->column, capacity, cudaMemcpyDeviceToHost);
    if (!status)
        status = copy(self, host.value, from->value, capacity, cudaMemcpyDeviceToHost);
    return status;
}

void sparse_unpack(const void *staging, size_t capacity, sparse *to)
{
    staged_sparse host = staged((void *)staging, capacity);
    to->nnz = host.counts[COUNT_NNZ];
    to->live = host.counts[COUNT_LIVE];
    memcpy(to->row, host.row, to->live * sizeof *to->row);
    memcpy(to->start, host.start, (to->live + 1) * sizeof *to->start);
    memcpy(to->column, host.column, to->nnz * sizeof *to->column);
    memcpy(to->value, host.value, to->nnz * sizeof *to->value);
}
