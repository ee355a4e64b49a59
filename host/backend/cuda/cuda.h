/* What the files of the CUDA backend share. The host orchestrates: it owns buffers, the stream and
 * the graphs; device code is in kernels/, behind plain C functions.
 *
 * Work is queued on one stream. Nothing is allocated and the host doesn't wait inside a step; the
 * SYNC calls of backend.h read scalars back and wait. */
#ifndef RELIHT_BACKEND_CUDA_CUDA_H
#define RELIHT_BACKEND_CUDA_CUDA_H

#include "backend/backend.h"
#include "kernels/select.h"
#include "kernels/types.h"

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <cusparse.h>

typedef struct cuda_backend {
    backend base;
    int device;
    uint32_t processors; /* streaming multiprocessors */
    size_t memory;       /* bytes of the device */
    cudaStream_t stream;
    cublasHandle_t blas;     /* on the stream */
    cusparseHandle_t sparse; /* on the stream */
} cuda_backend;

/* ---------------------------------------------------------------- errors */

/* Turn a failed call into a status (BACKEND, or MEMORY) and a sentence with its name. */
reliht_status cuda_status(cuda_backend *self, cudaError_t error, const char *call);
reliht_status cublas_status(cuda_backend *self, cublasStatus_t error, const char *call);
reliht_status cusparse_status(cuda_backend *self, cusparseStatus_t error, const char *call);
#define CUDA_CALL(self, call, ...) cuda_status(self, call(__VA_ARGS__), #call)
#define CUBLAS_CALL(self, call, ...) cublas_status(self, call(__VA_ARGS__), #call)
#define CUSPARSE_CALL(self, call, ...) cusparse_status(self, call(__VA_ARGS__), #call)

/* Waits for everything queued. */
reliht_status cuda_wait(cuda_backend *self);

/* The sentence for a non-finite entry that a selection met (`invalid` of its scalars). */
reliht_status invalid_entry(cuda_backend *self, const device_select *select, uint64_t invalid,
                            const char *row_name, const char *column_name);

/* ---------------------------------------------------------------- memory */

/* The device memory of one handle: asked for piece by piece, then obtained at once or not at all.
 * Every piece passes through one gate and is counted by category (context->device). */
typedef struct device_piece {
    void **pointer;
    size_t bytes;
    memory_category category;
    bool by_samples; /* proportional to the samples of the handle */
    bool pinned;     /* of the host, for transfers */
} device_piece;

#define DEVICE_PIECES 64u

typedef struct device_block {
    cuda_backend *owner;
    size_t count;
    bool overflow; /* some size isn't a size_t */
    bool obtained;
    device_piece piece[DEVICE_PIECES];
} device_block;

/* Asks for `count` elements of `size` bytes at *pointer (set by device_obtain, zeroed on the
 * stream). */
void device_want(device_block *self, memory_category category, size_t count, size_t size,
                 void *pointer);
/* The same for arrays whose size is proportional to the samples, and for pinned host memory. */
void device_want_by_samples(device_block *self, memory_category category, size_t count, size_t size,
                            void *pointer);
void device_want_pinned(device_block *self, memory_category category, size_t count, size_t size,
                        void *pointer);
/* Pieces of a sparse matrix with room for `capacity` entries, counted as weights. */
void device_want_sparse(device_block *self, device_sparse *matrix, size_t capacity);
/* Buffers of a selection of the best `keep` of a matrix [rows, columns], counted as candidates;
 * sets its sizes. */
void device_want_select(device_block *self, device_select *select, size_t keep, size_t rows,
                        size_t columns);
/* Allocates all pieces. On failure none is held, and the sentence says how much `what` needed, what
 * was free and, if fewer samples would fit, how many. */
reliht_status device_obtain(device_block *self, const char *what, size_t samples);
/* Releases all pieces (after waiting for the stream); a block that was never obtained is allowed.
 */
void device_release(device_block *self);

/* Queue copies between a host matrix and its device twin. `staging` is pinned and has room for
 * sparse_staging_bytes(capacity). Downloads are complete after cuda_wait; sparse_unpack then reads
 * the staging into the matrix. */
size_t sparse_staging_bytes(size_t capacity);
reliht_status sparse_upload(cuda_backend *self, const sparse *from, void *staging,
                            const device_sparse *to);
reliht_status sparse_download(cuda_backend *self, const device_sparse *from, size_t capacity,
                              void *staging);
void sparse_unpack(const void *staging, size_t capacity, sparse *to);

/* ---------------------------------------------------------------- graphs */

/* One captured graph per kind of step of a handle. */
#define GRAPHS 16u

typedef struct graph_cache {
    size_t count;
    uint64_t key[GRAPHS];
    cudaGraphExec_t graph[GRAPHS];
} graph_cache;

/* Runs what `record` queues on the stream (no allocation, no waiting in it): captured the first
 * time a `key` is seen, launched from then on. */
reliht_status graph_run(cuda_backend *self, graph_cache *cache, uint64_t key,
                        reliht_status (*record)(void *user), void *user);
void graph_release(graph_cache *cache);

/* ---------------------------------------------------------------- batches */

/* One batch on the device and the pinned memory it arrives through. */
typedef struct batch_slot {
    size_t samples;
    const uint32_t *announced; /* rows it was staged for, if it hasn't been loaded yet */
    unsigned char *staging;    /* pinned: inputs, targets, labels */
    device_batch *pinned;      /* the view, to be copied to the batch's own */
    unsigned char *rows;       /* bytes as they arrive, [rows at once, inputs] */
    float *x, *y;
    int32_t *labels;
    cudaEvent_t ready; /* it has arrived */
    cudaEvent_t idle;  /* steps that read it have ended */
} batch_slot;

/* Batches move on a stream of their own: while a step runs on one slot, the next batch arrives in
 * the other. */
struct batch {
    cuda_backend *backend;
    const reliht_dataset *dataset;
    bool bias;
    bool whole;  /* holds the data set, loaded once */
    bool loaded; /* ... and it has been */
    size_t capacity, samples;
    size_t inputs, outputs; /* with the bias input */
    device_block memory;
    device_batch *view; /* in device memory: the batch at hand */
    cudaStream_t copies;
    batch_slot slot[2];
    size_t current; /* slot at hand */
};

reliht_status cuda_batch_create(backend *self, const reliht_dataset *dataset, bool bias,
                                size_t capacity, batch **out);
reliht_status cuda_batch_load(batch *self, const uint32_t *rows, size_t count);
reliht_status cuda_batch_stage(batch *self, const uint32_t *rows, size_t count);
void cuda_batch_destroy(batch *self);

/* ---------------------------------------------------------------- operations (see backend.h) */

reliht_status cuda_fused_create(backend *self, const fused_problem *problem, fused **out);
void cuda_fused_destroy(fused *self);
reliht_status cuda_fused_set_weights(fused *self, const sparse *weights);
reliht_status cuda_fused_get_weights(fused *self, sparse *weights);
reliht_status cuda_fused_begin(fused *self, batch *data, pattern_source source);
reliht_status cuda_fused_sweep(fused *self, batch *data, pattern_source source);
reliht_status cuda_fused_refit(fused *self, batch *data, size_t refits);
reliht_status cuda_fused_solve(fused *self, batch *data, const solve_options *options);
reliht_status cuda_fused_gradients(fused *self, batch *data, const sparse *generators, size_t first,
                                   size_t rows, float *gradients);
reliht_status cuda_fused_product(fused *self, batch *data, const float *value, float *image,
                                 float *gradient, double *squares);
reliht_status cuda_fused_report(fused *self, step_report *report);
reliht_status cuda_fused_read(fused *self, float *residual, float *gradient, uint64_t *patterns);

reliht_status cuda_sensing_create(backend *self, const sensing_problem *problem, sensing **out);
void cuda_sensing_destroy(sensing *self);
reliht_status cuda_sensing_set_targets(sensing *self, const sparse *vector);
reliht_status cuda_sensing_get_weights(sensing *self, sparse *weights);
reliht_status cuda_sensing_step(sensing *self, size_t refits);
reliht_status cuda_sensing_report(sensing *self, step_report *report);

reliht_status cuda_factored_create(backend *self, const factored_problem *problem, factored **out);
void cuda_factored_destroy(factored *self);
reliht_status cuda_factored_set_weights(factored *self, const sparse *hidden, const sparse *output);
reliht_status cuda_factored_get_weights(factored *self, sparse *hidden, sparse *output);
reliht_status cuda_factored_step(factored *self, batch *data, const factored_step_options *options);
reliht_status cuda_factored_report(factored *self, factored_report *report);
reliht_status cuda_factored_evaluate(factored *self, batch *data, double *loss, float *gradient);
reliht_status cuda_factored_candidates(factored *self, batch *data, size_t count, sparse *hidden,
                                       sparse *output);

reliht_status cuda_dense_create(backend *self, const dense_problem *problem, dense_network **out);
void cuda_dense_destroy(dense_network *self);
reliht_status cuda_dense_step(dense_network *self, batch *data);
reliht_status cuda_dense_prune(dense_network *self, size_t keep);
reliht_status cuda_dense_rewind(dense_network *self);
reliht_status cuda_dense_predict(dense_network *self, batch *data, float *outputs);
reliht_status cuda_dense_get_weights(dense_network *self, sparse *matrices);
reliht_status cuda_dense_report(dense_network *self, dense_report *report);

reliht_status cuda_predict(backend *self, const reliht_model *model, const reliht_dataset *dataset,
                           size_t first, size_t count, float *outputs);
reliht_status cuda_embed(backend *self, const sparse *weights, bool bias,
                         const reliht_dataset *dataset, reliht_dataset **embedding);

#endif
