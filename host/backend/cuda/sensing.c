/* Gaussian compressed sensing on the GPU: a step is one launch (kernels/sensing.h). */
#include "backend/cuda/cuda.h"
#include "core/rng.h"
#include "kernels/sensing.h"

struct sensing {
    cuda_backend *backend;
    sensing_problem problem;
    device_block memory;
    graph_cache graphs;
    device_sensing device;
    double *target;
    uint32_t refits;        /* of the step that is queued */
    unsigned char *staging; /* pinned: weights */
    struct readback {
        sensing_scalars step;
        select_scalars choice;
        uint32_t counts[2];
    } * readback; /* pinned */
};

static void want_memory(sensing *self)
{
    device_block *memory = &self->memory;
    device_sensing *device = &self->device;
    size_t nnz = self->problem.nnz, rows = self->problem.measurements;
    device_want_sparse(memory, &device->weights, nnz);
    device_want(memory, MEMORY_workspace, nnz * rows, sizeof *device->columns, &device->columns);
    device_want(memory, MEMORY_data, rows, sizeof *self->target, &self->target);
    device_want(memory, MEMORY_workspace, rows, sizeof *device->residual, &device->residual);
    device_want(memory, MEMORY_workspace, rows, sizeof *device->residual_chosen,
                &device->residual_chosen);
    device_want(memory, MEMORY_workspace, rows, sizeof *device->image, &device->image);
    device_want(memory, MEMORY_weights, nnz, sizeof *device->gradient, &device->gradient);
    device_want(memory, MEMORY_workspace, rows / SENSING_ROWS + 1, sizeof *device->sums,
                &device->sums);
    device_want(memory, MEMORY_weights, nnz, sizeof *device->chosen, &device->chosen);
    device_want(memory, MEMORY_candidates, SENSING_WAVE, sizeof *device->stepped, &device->stepped);
    device_want_select(memory, &device->select, nnz, 1, self->problem.length);
    device_want(memory, MEMORY_workspace, 1, sizeof *device->scalars, &device->scalars);
    device_want_pinned(memory, MEMORY_workspace, sparse_staging_bytes(nnz), 1, &self->staging);
    device_want_pinned(memory, MEMORY_workspace, 1, sizeof *self->readback, &self->readback);
}

reliht_status cuda_sensing_create(backend *on, const sensing_problem *problem, sensing **out)
{
    sensing *self;
    *out = NULL;
    reliht_status status =
        gate_allocate(on->context, MEMORY_workspace, 1, sizeof *self, "sensing problem", &self);
    if (status)
        return status;
    self->backend = (cuda_backend *)on;
    self->problem = *problem;
    self->memory.owner = self->backend;
    want_memory(self);
    status = device_obtain(&self->memory, "a sensing problem", 1);
    if (status) {
        cuda_sensing_destroy(self);
        return status;
    }
    self->device.target = self->target;
    self->device.seed = problem->seed;
    self->device.length = (uint32_t)problem->length;
    self->device.measurements = (uint32_t)problem->measurements;
    *out = self;
    return RELIHT_OK;
}

void cuda_sensing_destroy(sensing *self)
{
    if (!self)
        return;
    device_release(&self->memory);
    graph_release(&self->graphs);
    gate_release(self->backend->base.context, self);
}

/* y = A x is formed here, once: a few columns. */
reliht_status cuda_sensing_set_targets(sensing *self, const sparse *vector)
{
    cuda_backend *cuda = self->backend;
    reliht_context *context = cuda->base.context;
    size_t rows = self->problem.measurements;
    double *target = NULL;
    float *column = NULL;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, rows, sizeof *target, "measurements", &target);
    if (!status)
        status = gate_allocate(context, MEMORY_workspace, rows, sizeof *column,
                               "a column of the sensing matrix", &column);
    for (size_t k = 0; !status && k < vector->nnz; k++) {
        rng_normals(self->problem.seed, RNG_SENSE_MATRIX, vector->column[k], rows, column);
        for (size_t i = 0; i < rows; i++)
            target[i] += (double)vector->value[k] * (double)column[i];
    }
    if (!status)
        status = CUDA_CALL(cuda, cudaMemcpyAsync, self->target, target, rows * sizeof *target,
                           cudaMemcpyHostToDevice, cuda->stream);
    if (!status)
        status = CUDA_CALL(cuda, cudaMemsetAsync, self->device.weights.counts, 0,
                           2 * sizeof(uint32_t), cuda->stream);
    if (!status)
        status = cuda_wait(cuda);
    gate_release(context, target);
    gate_release(context, column);
    return status;
}

reliht_status cuda_sensing_get_weights(sensing *self, sparse *weights)
{
    reliht_status status =
        sparse_download(self->backend, &self->device.weights, self->problem.nnz, self->staging);
    if (!status)
        status = cuda_wait(self->backend);
    if (!status)
        sparse_unpack(self->staging, self->problem.nnz, weights);
    return status;
}

static reliht_status record_step(void *user)
{
    sensing *self = user;
    cuda_backend *cuda = self->backend;
    struct readback *to = self->readback;
    reliht_status status =
        CUDA_CALL(cuda, launch_sensing_step, cuda->stream, self->device, self->refits);
    if (!status)
        status = CUDA_CALL(cuda, cudaMemcpyAsync, &to->step, self->device.scalars, sizeof to->step,
                           cudaMemcpyDeviceToHost, cuda->stream);
    if (!status)
        status = CUDA_CALL(cuda, cudaMemcpyAsync, &to->choice, self->device.select.scalars,
                           sizeof to->choice, cudaMemcpyDeviceToHost, cuda->stream);
    if (!status)
        status = CUDA_CALL(cuda, cudaMemcpyAsync, to->counts, self->device.weights.counts,
                           sizeof to->counts, cudaMemcpyDeviceToHost, cuda->stream);
    return status;
}

reliht_status cuda_sensing_step(sensing *self, size_t refits)
{
    self->refits = refits < UINT32_MAX ? (uint32_t)refits : UINT32_MAX;
    return graph_run(self->backend, &self->graphs, self->refits, record_step, self);
}

reliht_status cuda_sensing_report(sensing *self, step_report *report)
{
    reliht_status status = cuda_wait(self->backend);
    if (status)
        return status;
    const struct readback *read = self->readback;
    *report = (step_report){
        .objective_before = read->step.objective_before,
        .objective_chosen = read->step.objective_chosen,
        .objective_after = read->step.objective_after,
        .step_size = read->step.first_step,
        .refits = read->step.refits,
        .nnz = read->counts[COUNT_NNZ],
        .seconds_sweep = 1e-9 * (double)read->step.nanoseconds,
    };
    if (read->choice.invalid != SELECT_VALID)
        return invalid_entry(self->backend, &self->device.select, read->choice.invalid, "row",
                             "entry");
    return RELIHT_OK;
}
