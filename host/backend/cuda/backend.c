/* Opening the CUDA backend: device, stream, library handles. backend_cuda_open and
 * backend_cuda_devices are what libreliht_cuda exports. */
#include "backend/cuda/cuda.h"
#include "core/selector.h"

#include <stdio.h>

static void cuda_close(backend *self)
{
    cuda_backend *cuda = (cuda_backend *)self;
    if (cuda->sparse)
        cusparseDestroy(cuda->sparse);
    if (cuda->blas)
        cublasDestroy(cuda->blas);
    if (cuda->stream)
        cudaStreamDestroy(cuda->stream);
    gate_release(self->context, self);
}

static const backend_operations cuda_operations = {
    .name = "cuda",
    .close = cuda_close,
    .batch_create = cuda_batch_create,
    .batch_load = cuda_batch_load,
    .batch_stage = cuda_batch_stage,
    .batch_destroy = cuda_batch_destroy,
    .fused_create = cuda_fused_create,
    .fused_destroy = cuda_fused_destroy,
    .fused_set_weights = cuda_fused_set_weights,
    .fused_get_weights = cuda_fused_get_weights,
    .fused_begin = cuda_fused_begin,
    .fused_sweep = cuda_fused_sweep,
    .fused_refit = cuda_fused_refit,
    .fused_solve = cuda_fused_solve,
    .fused_gradients = cuda_fused_gradients,
    .fused_product = cuda_fused_product,
    .fused_report = cuda_fused_report,
    .fused_read = cuda_fused_read,
    .sensing_create = cuda_sensing_create,
    .sensing_destroy = cuda_sensing_destroy,
    .sensing_set_targets = cuda_sensing_set_targets,
    .sensing_get_weights = cuda_sensing_get_weights,
    .sensing_step = cuda_sensing_step,
    .sensing_report = cuda_sensing_report,
    .factored_create = cuda_factored_create,
    .factored_destroy = cuda_factored_destroy,
    .factored_set_weights = cuda_factored_set_weights,
    .factored_get_weights = cuda_factored_get_weights,
    .factored_step = cuda_factored_step,
    .factored_report = cuda_factored_report,
    .factored_evaluate = cuda_factored_evaluate,
    .factored_candidates = cuda_factored_candidates,
    .dense_create = cuda_dense_create,
    .dense_destroy = cuda_dense_destroy,
    .dense_step = cuda_dense_step,
    .dense_prune = cuda_dense_prune,
    .dense_rewind = cuda_dense_rewind,
    .dense_predict = cuda_dense_predict,
    .dense_get_weights = cuda_dense_get_weights,
    .dense_report = cuda_dense_report,
    .predict = cuda_predict,
    .embed = cuda_embed,
};

reliht_status cuda_status(cuda_backend *self, cudaError_t error, const char *call)
{
    if (error == cudaSuccess)
        return RELIHT_OK;
    cudaGetLastError(); /* or the next launch would report it again */
    return fail(self->base.context,
                error == cudaErrorMemoryAllocation ? RELIHT_MEMORY : RELIHT_BACKEND,
                "GPU %d: %s failed: %s (%s)", self->device, call, cudaGetErrorString(error),
                cudaGetErrorName(error));
}

reliht_status cublas_status(cuda_backend *self, cublasStatus_t error, const char *call)
{
    if (error == CUBLAS_STATUS_SUCCESS)
        return RELIHT_OK;
    return fail(self->base.context,
                error == CUBLAS_STATUS_ALLOC_FAILED ? RELIHT_MEMORY : RELIHT_BACKEND,
                "GPU %d: %s failed: %s", self->device, call, cublasGetStatusString(error));
}

reliht_status cusparse_status(cuda_backend *self, cusparseStatus_t error, const char *call)
{
    if (error == CUSPARSE_STATUS_SUCCESS)
        return RELIHT_OK;
    return fail(self->base.context,
                error == CUSPARSE_STATUS_ALLOC_FAILED ||
                        error == CUSPARSE_STATUS_INSUFFICIENT_RESOURCES
                    ? RELIHT_MEMORY
                    : RELIHT_BACKEND,
                "GPU %d: %s failed: %s", self->device, call, cusparseGetErrorString(error));
}

reliht_status cuda_wait(cuda_backend *self)
{
    return CUDA_CALL(self, cudaStreamSynchronize, self->stream);
}

reliht_status invalid_entry(cuda_backend *self, const device_select *select, uint64_t invalid,
                            const char *row_name, const char *column_name)
{
    uint64_t place = invalid >> 1, columns = UINT64_C(1) << select->column_bits;
    return selector_invalid(self->base.context, (uint32_t)(place >> select->column_bits),
                            (uint32_t)(place & (columns - 1)), invalid & 1, row_name, column_name);
}

/* The first device: CUDA_VISIBLE_DEVICES chooses another. */
static reliht_status find_device(cuda_backend *self)
{
    reliht_context *context = self->base.context;
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    cudaGetLastError();
    if (error != cudaSuccess || count == 0)
        return fail(context, RELIHT_BACKEND,
                    "backend cuda: no usable GPU (%s); use backend cpu or auto",
                    error == cudaSuccess ? "the driver lists none" : cudaGetErrorString(error));
    struct cudaDeviceProp device;
    reliht_status status = CUDA_CALL(self, cudaGetDeviceProperties, &device, self->device);
    if (status)
        return status;
    if (device.major < 8 || !device.cooperativeLaunch)
        return fail(context, RELIHT_BACKEND,
                    "backend cuda: %s has compute capability %d.%d, 8.0 or more is needed; use "
                    "backend cpu or auto",
                    device.name, device.major, device.minor);
    self->processors = (uint32_t)device.multiProcessorCount;
    self->memory = device.totalGlobalMem;
    snprintf(self->base.details, sizeof self->base.details,
             "cuda (GPU %d of %d: %.48s, %.1f GB, compute capability %d.%d)", self->device, count,
             device.name, (double)device.totalGlobalMem / 1e9, device.major, device.minor);
    return RELIHT_OK;
}

#define EXPORTED __attribute__((visibility("default")))

EXPORTED void backend_cuda_devices(reliht_device *devices, size_t capacity, size_t *count)
{
    int number = 0;
    if (cudaGetDeviceCount(&number) != cudaSuccess)
        number = 0;
    *count = (size_t)number;
    for (int i = 0; i < number && (size_t)i < capacity; i++) {
        struct cudaDeviceProp device;
        devices[i] = (reliht_device){.name = "unknown"};
        if (cudaGetDeviceProperties(&device, i) != cudaSuccess)
            continue;
        snprintf(devices[i].name, sizeof devices[i].name, "%.63s", device.name);
        devices[i].memory_bytes = device.totalGlobalMem;
        devices[i].processors = (uint32_t)device.multiProcessorCount;
        devices[i].major = (uint32_t)device.major;
        devices[i].minor = (uint32_t)device.minor;
    }
    cudaGetLastError();
}

EXPORTED reliht_status backend_cuda_open(reliht_context *context, backend **out)
{
    cuda_backend *made;
    *out = NULL;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, 1, sizeof *made, "CUDA backend", &made);
    if (status)
        return status;
    made->base.operations = &cuda_operations;
    made->base.context = context;
    status = find_device(made);
    if (!status)
        status = CUDA_CALL(made, cudaSetDevice, made->device);
    if (!status)
        status = CUDA_CALL(made, cudaStreamCreateWithFlags, &made->stream, cudaStreamNonBlocking);
    if (!status)
        status = CUBLAS_CALL(made, cublasCreate, &made->blas);
    if (!status)
        status = CUBLAS_CALL(made, cublasSetStream, made->blas, made->stream);
    if (!status)
        status = CUSPARSE_CALL(made, cusparseCreate, &made->sparse);
    if (!status)
        status = CUSPARSE_CALL(made, cusparseSetStream, made->sparse, made->stream);
    if (status) {
        cuda_close(&made->base);
        return status;
    }
    *out = &made->base;
    return RELIHT_OK;
}
