/* The fused model on the GPU. The calls of a step note what is to be done; the last of them, or the
 * first that wants numbers, launches all of it as one captured graph: request to the device, one
 * kernel, scalars back (kernels/fused.h). */
#include "backend/cuda/cuda.h"
#include "kernels/fused.h"

#include <string.h>

/* Neurons whose gradients are formed at a time, if that many of all their inputs fit. */
#define GRADIENT_ROWS 32u
#define GRADIENT_ENTRIES (1u << 20)

struct fused {
    cuda_backend *backend;
    fused_problem problem;
    device_block memory;
    graph_cache graphs;
    device_fused device;
    batch *data;           /* of the phases noted, and of the last ones */
    fused_request request; /* phases noted */
    bool use_weights;      /* of them: h_j := w_j */
    bool running;          /* phases have been started and not been waited for */
    size_t samples;        /* of the batch when the step began */
    fused_request *request_device, *request_pinned;
    fused_scalars *scalars; /* pinned: as last read back */
    void *staging;          /* pinned: a sparse matrix */
    sparse listed;          /* generators whose gradients are formed */
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static reliht_context *context_of(const fused *self)
{
    return self->backend->base.context;
}

/* ---------------------------------------------------------------- life of a handle */

/* Entries of `listed`, of which one neuron has at most every input. */
static size_t listed_capacity(const fused_problem *problem)
{
    return larger(problem->inputs, 4096);
}

static size_t rows_of(const fused_problem *problem)
{
    return problem->linear ? linear_row(problem->hidden) + 1 : problem->hidden;
}

static void want_entries(fused *self)
{
    device_block *memory = &self->memory;
    device_fused *device = &self->device;
    const fused_problem *problem = &self->problem;
    size_t nnz = problem->nnz, listed = listed_capacity(problem);
    device_want_sparse(memory, &device->sweep.weights, nnz);
    device_want_sparse(memory, &device->sweep.generators.weights, nnz);
    device_want_sparse(memory, &device->listed, listed);
    if (problem->given)
        device_want_sparse(memory, &device->sweep.generators.given, problem->given->nnz);
    device_want_select(memory, &device->select, nnz, rows_of(problem), problem->inputs);
    device_want(memory, MEMORY_weights, nnz, sizeof *device->owner, &device->owner);
    device_want(memory, MEMORY_weights, nnz, sizeof *device->chosen, &device->chosen);
    device_want(memory, MEMORY_weights, nnz, sizeof *device->gradient, &device->gradient);
    device_want(memory, MEMORY_weights, nnz, sizeof *device->delta, &device->delta);
    device_want(memory, MEMORY_weights, nnz, sizeof *device->direction, &device->direction);
    size_t pieces = support_pieces_of(nnz);
    device_want(memory, MEMORY_workspace, pieces, sizeof *device->entry_sums, &device->entry_sums);
    device_want(memory, MEMORY_workspace, pieces, sizeof *device->length_sums,
                &device->length_sums);
    device_want_pinned(memory, MEMORY_workspace, sparse_staging_bytes(larger(nnz, listed)), 1,
                       &self->staging);
}

static void want_samples(fused *self)
{
    device_block *memory = &self->memory;
    device_fused *device = &self->device;
    const fused_problem *problem = &self->problem;
    size_t stride = padded_samples(problem->samples), words = stride / 32;
    size_t nnz = problem->nnz, rows = device->gradient_rows;
    size_t entries = larger(nnz, rows * problem->inputs);
    device_want_by_samples(memory, MEMORY_workspace, support_spans_of(stride) * entries,
                           sizeof *device->partial, &device->partial);
    device_want_by_samples(memory, MEMORY_workspace, stride, sizeof *device->residual,
                           &device->residual);
    device_want_by_samples(memory, MEMORY_workspace, stride, sizeof *device->residual_chosen,
                           &device->residual_chosen);
    device_want_by_samples(memory, MEMORY_workspace, stride, sizeof *device->image, &device->image);
    device_want_by_samples(memory, MEMORY_workspace, words, sizeof *device->residual_sums,
                           &device->residual_sums);
    device_want_by_samples(memory, MEMORY_workspace, words, sizeof *device->image_sums,
                           &device->image_sums);
    device_want_by_samples(memory, MEMORY_patterns, smaller(nnz, rows_of(problem)) * words,
                           sizeof *device->patterns, &device->patterns);
    device_want_by_samples(memory, MEMORY_patterns, rows * words, sizeof *device->row_patterns,
                           &device->row_patterns);
    device_want(memory, MEMORY_workspace, rows * problem->inputs, sizeof *device->row_gradients,
                &device->row_gradients);
}

/* describe() has been called. */
static void want_sweep(fused *self)
{
    device_block *memory = &self->memory;
    device_sweep *sweep = &self->device.sweep;
    const fused_problem *problem = &self->problem;
    size_t words = padded_samples(problem->samples) / 32;
    /* From half of its limit on the workspace is as large as it ever gets, so that more neurons
     * need no more memory. */
    uint32_t tiles = sweep_tile_capacity(problem->hidden, problem->inputs, problem->samples);
    sweep->tile_capacity = tiles < SWEEP_PIECES / 2 ? tiles : SWEEP_PIECES;
    sweep->word_tiles = sweep_word_tiles(&sweep->generators);
    sweep->product = SWEEP_TENSOR;
    sweep->split_samples = SWEEP_SPLIT_SAMPLES;
    device_want(memory, MEMORY_workspace, sweep->tile_capacity * SWEEP_TILE, sizeof *sweep->tiles,
                &sweep->tiles);
    if (sweep->word_tiles)
        device_want_by_samples(memory, MEMORY_patterns,
                               (size_t)sweep->word_tiles * SWEEP_NEURONS * words,
                               sizeof *sweep->words, &sweep->words);
}

/* Bounds of neurons that were never swept are huge: bytes 0x7f make 3.4e38. */
#define BOUND_BYTES 0x7f

static void want_screen(fused *self)
{
    device_block *memory = &self->memory;
    device_screen *screen = &self->device.screen;
    const fused_problem *problem = &self->problem;
    if (problem->screening == SCREENING_NONE)
        return;
    screen->kind = SCREEN_MEMORYLESS;
    device_want(memory, MEMORY_screening, 1, sizeof *screen->state, &screen->state);
    if (problem->screening != SCREENING_HISTORY)
        return;
    screen->kind = SCREEN_HISTORY;
    device_want(memory, MEMORY_screening, problem->hidden, sizeof *screen->bound, &screen->bound);
    device_want(memory, MEMORY_screening, problem->hidden, sizeof *screen->list, &screen->list);
    device_want_by_samples(memory, MEMORY_screening, padded_samples(problem->samples),
                           sizeof *screen->residual, &screen->residual);
}

static void want_scalars(fused *self)
{
    device_block *memory = &self->memory;
    device_want(memory, MEMORY_workspace, 1, sizeof *self->request_device, &self->request_device);
    device_want(memory, MEMORY_workspace, 1, sizeof *self->device.scalars, &self->device.scalars);
    device_want_pinned(memory, MEMORY_workspace, 1, sizeof *self->request_pinned,
                       &self->request_pinned);
    device_want_pinned(memory, MEMORY_workspace, 1, sizeof *self->scalars, &self->scalars);
}

static reliht_status copy(fused *self, void *to, const void *from, size_t count, size_t size,
                          enum cudaMemcpyKind kind)
{
    if (!count)
        return RELIHT_OK;
    return CUDA_CALL(self->backend, cudaMemcpyAsync, to, from, count * size, kind,
                     self->backend->stream);
}

static reliht_status upload_given(fused *self)
{
    const sparse *from = self->problem.given;
    if (!from || !from->live)
        return RELIHT_OK;
    const device_sparse *to = &self->device.sweep.generators.given;
    const uint32_t counts[] = {(uint32_t)from->nnz, (uint32_t)from->live};
    const enum cudaMemcpyKind kind = cudaMemcpyHostToDevice;
    reliht_status status = copy(self, to->counts, counts, 2, sizeof *counts, kind);
    if (!status)
        status = copy(self, to->row, from->row, from->live, sizeof *from->row, kind);
    if (!status)
        status = copy(self, to->start, from->start, from->live + 1, sizeof *from->start, kind);
    if (!status)
        status = copy(self, to->column, from->column, from->nnz, sizeof *from->column, kind);
    if (!status)
        status = copy(self, to->value, from->value, from->nnz, sizeof *from->value, kind);
    return status ? status : cuda_wait(self->backend);
}

/* Numbers of the problem that the kernels see. */
static void describe(fused *self)
{
    const fused_problem *problem = &self->problem;
    device_fused *device = &self->device;
    device->sweep.mixed = problem->signs == RELIHT_SIGNS_MIXED;
    device->linear_row = problem->linear ? (uint32_t)linear_row(problem->hidden) : UINT32_MAX;
    device->sweep.generators.hidden = (uint32_t)problem->hidden;
    device->sweep.generators.inputs = (uint32_t)problem->inputs;
    device->sweep.generators.gaussian = problem->generator == RELIHT_GENERATOR_GAUSSIAN;
    device->sweep.generators.seed = problem->seed;
    device->sweep.generators.given_rows = problem->given ? (uint32_t)problem->given->rows : 0;
}

reliht_status cuda_fused_create(backend *on, const fused_problem *problem, fused **out)
{
    fused *self;
    *out = NULL;
    reliht_status status =
        gate_allocate(on->context, MEMORY_workspace, 1, sizeof *self, "fused model", &self);
    if (status)
        return status;
    self->backend = (cuda_backend *)on;
    self->problem = *problem;
    self->memory.owner = self->backend;
    size_t rows = GRADIENT_ENTRIES / larger(problem->inputs, 1);
    self->device.gradient_rows = (uint32_t)larger(smaller(rows, GRADIENT_ROWS), 1);
    describe(self);
    want_entries(self);
    want_samples(self);
    want_sweep(self);
    want_screen(self);
    want_scalars(self);
    status = device_obtain(&self->memory, "a fused model", problem->samples);
    if (!status) {
        self->device.request = self->request_device;
        self->device.sweep.live_words = self->device.patterns;
        self->device.sweep.residual = self->device.residual;
        self->device.sweep.step_size = &self->device.scalars->step;
        status = sparse_create(on->context, &self->listed, rows_of(problem), problem->inputs,
                               listed_capacity(problem));
    }
    if (!status)
        status = upload_given(self);
    if (!status && self->device.screen.bound)
        status =
            CUDA_CALL(self->backend, cudaMemsetAsync, self->device.screen.bound, BOUND_BYTES,
                      problem->hidden * sizeof *self->device.screen.bound, self->backend->stream);
    if (status) {
        cuda_fused_destroy(self);
        return status;
    }
    *out = self;
    return RELIHT_OK;
}

void cuda_fused_destroy(fused *self)
{
    if (!self)
        return;
    reliht_context *context = context_of(self);
    device_release(&self->memory);
    graph_release(&self->graphs);
    sparse_destroy(context, &self->listed);
    gate_release(context, self);
}

/* ---------------------------------------------------------------- launches */

static reliht_status record(void *user)
{
    fused *self = user;
    cuda_backend *cuda = self->backend;
    reliht_status status = copy(self, self->request_device, self->request_pinned, 1,
                                sizeof *self->request_pinned, cudaMemcpyHostToDevice);
    if (!status)
        status = CUDA_CALL(cuda, launch_fused_step, cuda->stream, self->device);
    if (!status)
        status = copy(self, self->scalars, self->device.scalars, 1, sizeof *self->scalars,
                      cudaMemcpyDeviceToHost);
    return status;
}

/* The sentence for what went wrong on the device. */
static reliht_status explain(const fused *self)
{
    reliht_context *context = context_of(self);
    const fused_scalars *scalars = self->scalars;
    switch ((fused_failure)scalars->failure) {
    case FUSED_BEGIN_INFINITE:
        return fail(context, RELIHT_NUMERIC,
                    "the step size is not finite (|residual|^2 = %g): inputs or targets are too "
                    "large for single precision; scale them",
                    scalars->objective_before);
    case FUSED_WEIGHT_INFINITE:
        return invalid_entry(self->backend, &self->device.select, scalars->invalid, "neuron",
                             "input");
    case FUSED_LINEAR_PARTIAL:
        return fail(context, RELIHT_ARGUMENT,
                    "the linear term has %zu of %zu inputs; it must hold all of them",
                    (size_t)scalars->invalid, self->problem.inputs);
    case FUSED_SOLUTION_INFINITE:
        return fail(context, RELIHT_NUMERIC,
                    "the least-squares problem on the support is not finite: inputs or targets are "
                    "too large or too small for single precision; scale them");
    case FUSED_FINE:
        break;
    }
    return RELIHT_OK;
}

/* Waits for what runs. */
static reliht_status settle(fused *self)
{
    if (!self->running)
        return RELIHT_OK;
    self->running = false;
    reliht_status status = cuda_wait(self->backend);
    return status ? status : explain(self);
}

/* Starts the phases noted. A graph is of one batch and one source of patterns. */
static reliht_status launch(fused *self)
{
    if (!self->request.phases)
        return RELIHT_OK;
    reliht_status status = settle(self);
    *self->request_pinned = self->request;
    self->request.phases = 0;
    if (status)
        return status;
    const device_batch *view = self->data->view;
    self->device.sweep.batch = view;
    self->device.sweep.generators.use_weights = self->use_weights;
    status = graph_run(self->backend, &self->graphs, (uint64_t)(uintptr_t)view | self->use_weights,
                       record, self);
    self->running = !status;
    return status;
}

/* Runs the phases noted and waits for them. */
static reliht_status flush(fused *self)
{
    reliht_status status = launch(self);
    return status ? status : settle(self);
}

/* Notes a phase; those noted before are started first if it doesn't follow them. */
static reliht_status note(fused *self, batch *data, uint32_t phase, bool use_weights)
{
    bool follows =
        phase > self->request.phases && self->data == data && use_weights == self->use_weights;
    reliht_status status = follows ? RELIHT_OK : launch(self);
    if (!status && data->samples > self->problem.samples)
        status = fail(context_of(self), RELIHT_ARGUMENT,
                      "a batch of %zu samples was given to a model made for %zu", data->samples,
                      self->problem.samples);
    if (status)
        return status;
    self->data = data;
    self->request.phases |= phase;
    self->use_weights = use_weights;
    return RELIHT_OK;
}

static uint32_t clamped(size_t count)
{
    return (uint32_t)smaller(count, UINT32_MAX);
}

reliht_status cuda_fused_begin(fused *self, batch *data, pattern_source source)
{
    self->samples = data->samples;
    return note(self, data, FUSED_BEGIN, source == PATTERNS_WEIGHTS);
}

reliht_status cuda_fused_sweep(fused *self, batch *data, pattern_source source)
{
    return note(self, data, FUSED_SWEEP, source == PATTERNS_WEIGHTS);
}

/* With refits or a solve a step is complete: it starts while the host goes on. */
reliht_status cuda_fused_refit(fused *self, batch *data, size_t refits)
{
    reliht_status status = note(self, data, FUSED_REFIT, self->use_weights);
    self->request.refits = clamped(refits);
    return status ? status : launch(self);
}

reliht_status cuda_fused_solve(fused *self, batch *data, const solve_options *options)
{
    reliht_status status = note(self, data, FUSED_SOLVE, self->use_weights);
    self->request.iterations = clamped(options->iterations);
    self->request.damping = options->damping;
    self->request.tolerance = options->tolerance;
    return status ? status : launch(self);
}

/* ---------------------------------------------------------------- numbers for the host */

reliht_status cuda_fused_report(fused *self, step_report *report)
{
    reliht_status status = flush(self);
    if (status)
        return status;
    const fused_scalars *scalars = self->scalars;
    *report = (step_report){
        .objective_before = scalars->objective_before,
        .objective_chosen = scalars->objective_chosen,
        .objective_after = scalars->objective_after,
        .step_size = scalars->step_size,
        .refits = scalars->refits,
        .nnz = scalars->nnz,
        .swept = scalars->swept,
        .seconds_sweep = 1e-9 * (double)scalars->sweep_time,
    };
    return RELIHT_OK;
}

reliht_status cuda_fused_set_weights(fused *self, const sparse *weights)
{
    if (weights->nnz > self->problem.nnz)
        return fail(context_of(self), RELIHT_ARGUMENT, "%zu weights exceed the budget of %zu",
                    weights->nnz, self->problem.nnz);
    reliht_status status = flush(self);
    return status
               ? status
               : sparse_upload(self->backend, weights, self->staging, &self->device.sweep.weights);
}

/* Entries that a refit took to exactly zero are in the support no longer. */
static void drop_zeros(sparse *matrix)
{
    size_t live = matrix->live, first = 0;
    sparse_clear(matrix);
    for (size_t j = 0; j < live; j++) {
        size_t end = matrix->start[j + 1];
        for (size_t k = first; k < end; k++)
            if (matrix->value[k] != 0)
                sparse_append(matrix, matrix->row[j], matrix->column[k], matrix->value[k]);
        first = end;
    }
}

reliht_status cuda_fused_get_weights(fused *self, sparse *weights)
{
    size_t nnz = self->problem.nnz;
    reliht_status status = flush(self);
    if (!status)
        status = sparse_download(self->backend, &self->device.sweep.weights, nnz, self->staging);
    if (!status)
        status = cuda_wait(self->backend);
    if (status)
        return status;
    sparse_unpack(self->staging, nnz, weights);
    drop_zeros(weights);
    return RELIHT_OK;
}

reliht_status cuda_fused_read(fused *self, float *residual, float *gradient, uint64_t *patterns)
{
    const device_fused *device = &self->device;
    const enum cudaMemcpyKind kind = cudaMemcpyDeviceToHost;
    size_t words = padded_samples(self->samples) / SAMPLE_BLOCK;
    reliht_status status = flush(self);
    if (!status && residual)
        status = copy(self, residual, device->residual, self->samples, sizeof *residual, kind);
    if (!status && gradient)
        status = copy(self, gradient, device->gradient, self->scalars->nnz, sizeof *gradient, kind);
    if (!status && patterns)
        status = copy(self, patterns, device->patterns, self->scalars->live * words,
                      sizeof *patterns, kind);
    return status ? status : cuda_wait(self->backend);
}

reliht_status cuda_fused_product(fused *self, batch *data, const float *value, float *image,
                                 float *gradient, double *squares)
{
    const device_fused *device = &self->device;
    const enum cudaMemcpyKind back = cudaMemcpyDeviceToHost;
    reliht_status status = flush(self);
    size_t nnz = self->scalars->nnz;
    if (!status)
        status = copy(self, device->direction, value, nnz, sizeof *value, cudaMemcpyHostToDevice);
    if (!status)
        status = note(self, data, FUSED_PRODUCT, self->use_weights);
    if (!status)
        status = flush(self);
    if (!status && image)
        status = copy(self, image, device->image, self->samples, sizeof *image, back);
    if (!status && gradient)
        status = copy(self, gradient, device->delta, nnz, sizeof *gradient, back);
    if (!status && squares)
        *squares = self->scalars->product;
    return status ? status : cuda_wait(self->backend);
}

/* ---------------------------------------------------------------- gradients of listed neurons */

/* Rows from `first` on of `generators` that are worked on together, copied to the device. */
static reliht_status upload_listed(fused *self, const sparse *generators, size_t first, size_t most,
                                   size_t *rows)
{
    sparse *listed = &self->listed;
    size_t j = first;
    sparse_clear(listed);
    for (; j < first + most; j++) {
        size_t begin = generators->start[j], end = generators->start[j + 1];
        if (listed->nnz + (end - begin) > listed->capacity)
            break;
        for (size_t k = begin; k < end; k++)
            sparse_append(listed, generators->row[j], generators->column[k], generators->value[k]);
    }
    *rows = j - first;
    return sparse_upload(self->backend, listed, self->staging, &self->device.listed);
}

reliht_status cuda_fused_gradients(fused *self, batch *data, const sparse *generators, size_t first,
                                   size_t rows, float *gradients)
{
    cuda_backend *cuda = self->backend;
    size_t inputs = self->problem.inputs, count;
    reliht_status status = flush(self);
    device_fused device = self->device;
    device.sweep.batch = data->view;
    device.sweep.generators.use_weights = generators != NULL;
    if (generators)
        device.sweep.generators.weights = device.listed;
    for (size_t done = 0; !status && done < rows; done += count) {
        count = smaller(rows - done, self->device.gradient_rows);
        if (generators)
            status = upload_listed(self, generators, first + done, count, &count);
        if (!status)
            status = CUDA_CALL(cuda, launch_fused_gradients, cuda->stream, device,
                               (uint32_t)(first + done), (uint32_t)count);
        if (!status)
            status = copy(self, gradients + done * inputs, self->device.row_gradients,
                          count * inputs, sizeof *gradients, cudaMemcpyDeviceToHost);
        if (!status)
            status = cuda_wait(cuda);
    }
    return status;
}
