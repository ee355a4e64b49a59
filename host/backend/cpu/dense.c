/* The dense baseline: a network with all its weights, their Adam state and the mask of those that
 * are left; how it begins and what is read from it. Steps are in dense_step.c, pruning in
 * dense_prune.c. */
#include "backend/cpu/dense.h"
#include "backend/dense_rules.h"

#include <math.h>

/* Tiles of a gradient: as large as may be, so that sgemm packs little, but several for threads. */
#define TILE_ROWS 128u
#define TILE_COLUMNS 256u
#define TILES_ENOUGH 16u   /* fewer: the samples are cut too */
#define PIECE_SAMPLES 512u /* at least, of such a piece */

static size_t divide_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

/* Shapes and places of all matrices; their number of weights is checked, so no size overflows. */
static reliht_status lay_out(dense_network *self, size_t *partials)
{
    const dense_problem *problem = &self->problem;
    size_t columns = problem->inputs;
    *partials = 0;
    for (size_t l = 0; l <= problem->layers; l++) {
        dense_matrix *matrix = &self->matrix[l];
        bool last = l == problem->layers;
        matrix->rows = problem->hidden[last ? l - 1 : l];
        matrix->columns = last ? problem->outputs : columns;
        columns = matrix->rows + problem->bias;
        size_t size = matrix->rows * matrix->columns;
        if (matrix->rows >= RELIHT_MAX_DIMENSION || size > DENSE_WEIGHTS_MAXIMUM)
            return dense_too_large(dense_context(self), matrix->rows, matrix->columns);
        matrix->offset = self->weights;
        self->weights += size;
        matrix->row_tiles = divide_up(matrix->rows, TILE_ROWS);
        matrix->column_tiles = divide_up(matrix->columns, TILE_COLUMNS);
        size_t tiles = matrix->row_tiles * matrix->column_tiles;
        size_t wanted = divide_up(TILES_ENOUGH, tiles);
        size_t possible = divide_up(problem->samples, PIECE_SAMPLES);
        matrix->pieces = wanted < possible ? wanted : possible;
        matrix->partial_offset = *partials;
        *partials += (matrix->pieces - 1) * size;
    }
    self->kept = self->weights;
    return RELIHT_OK;
}

#define ALLOCATE(category, field, count)                                              \
    if (!status)                                                                      \
    status = gate_allocate(dense_context(self), category, count, sizeof *self->field, \
                           "dense network: " #field, &self->field)

static reliht_status allocate_weights(dense_network *self, size_t partials)
{
    reliht_status status = RELIHT_OK;
    ALLOCATE(MEMORY_weights, weight, self->weights);
    ALLOCATE(MEMORY_weights, gradient, self->weights);
    ALLOCATE(MEMORY_weights, mean, self->weights);
    ALLOCATE(MEMORY_weights, square, self->weights);
    ALLOCATE(MEMORY_weights, mask, self->weights);
    ALLOCATE(MEMORY_weights, partial, partials);
    return status;
}

static reliht_status allocate_activations(dense_network *self)
{
    const dense_problem *problem = &self->problem;
    reliht_status status = RELIHT_OK;
    self->stride = padded_samples(problem->samples);
    for (size_t l = 0; l < problem->layers && !status; l++) {
        size_t hidden = problem->hidden[l];
        ALLOCATE(MEMORY_workspace, activation[l], (hidden + 1) * self->stride);
        ALLOCATE(MEMORY_workspace, error[l], hidden * self->stride);
        for (size_t i = 0; i < self->stride && !status; i++)
            self->activation[l][hidden * self->stride + i] = 1.0f;
    }
    ALLOCATE(MEMORY_workspace, residual, problem->outputs * self->stride);
    ALLOCATE(MEMORY_workspace, row, self->stride);
    ALLOCATE(MEMORY_workspace, losses, self->stride / SAMPLE_BLOCK);
    return status;
}

reliht_status cpu_dense_create(backend *on, const dense_problem *problem, dense_network **out)
{
    static const dense_kernels *const kernels[] = ISA_TABLE(dense_kernels);
    static const factored_kernels *const elements[] = ISA_TABLE(factored_kernels);
    dense_network *self;
    *out = NULL;
    reliht_status status =
        gate_allocate(on->context, MEMORY_workspace, 1, sizeof *self, "dense network", &self);
    if (status)
        return status;
    self->backend = (cpu_backend *)on;
    self->kernels = kernels[self->backend->isa];
    self->elements = elements[self->backend->isa];
    self->problem = *problem;
    size_t partials;
    status = lay_out(self, &partials);
    if (!status)
        status = allocate_weights(self, partials);
    if (!status)
        status = allocate_activations(self);
    if (status) {
        cpu_dense_destroy(self);
        return status;
    }
    for (size_t i = 0; i < self->weights; i++)
        self->mask[i] = 1;
    *out = self;
    return cpu_dense_rewind(self);
}

void cpu_dense_destroy(dense_network *self)
{
    if (!self)
        return;
    reliht_context *context = dense_context(self);
    gate_release(context, self->weight);
    gate_release(context, self->gradient);
    gate_release(context, self->mean);
    gate_release(context, self->square);
    gate_release(context, self->mask);
    gate_release(context, self->partial);
    for (size_t l = 0; l < self->problem.layers; l++) {
        gate_release(context, self->activation[l]);
        gate_release(context, self->error[l]);
    }
    gate_release(context, self->residual);
    gate_release(context, self->row);
    gate_release(context, self->losses);
    gate_release(context, self);
}

/* Inputs of a neuron without the bias; for the output weights, which have none, the neurons. */
static size_t fan_in(const dense_network *self, size_t l)
{
    const dense_matrix *matrix = &self->matrix[l];
    return l == self->problem.layers ? matrix->rows : matrix->columns - self->problem.bias;
}

reliht_status cpu_dense_rewind(dense_network *self)
{
    const reliht_context *context = dense_context(self);
    for (size_t l = 0; l <= self->problem.layers; l++) {
        const dense_matrix *matrix = &self->matrix[l];
        float bound = (float)(1.0 / sqrt((double)fan_in(self, l)));
        int64_t rows = (int64_t)matrix->rows;
#pragma omp parallel for num_threads(context->threads) \
    schedule(static) if (matrix->rows * matrix->columns > 65536)
        for (int64_t j = 0; j < rows; j++) {
            size_t at = matrix->offset + (size_t)j * matrix->columns;
            self->kernels->draw(self->problem.seed, (uint64_t)l << 32 | (uint64_t)j,
                                matrix->columns, bound, self->mask + at, self->weight + at);
            for (size_t c = 0; c < matrix->columns; c++)
                self->mean[at + c] = self->square[at + c] = 0.0f;
        }
    }
    self->step = 0;
    return RELIHT_OK;
}

reliht_status dense_not_finite(const dense_network *self, size_t at)
{
    size_t l = 0;
    while (l < self->problem.layers && at >= self->matrix[l + 1].offset)
        l++;
    return dense_weight_not_finite(dense_context(self), &self->problem, l, self->matrix[l].columns,
                                   at - self->matrix[l].offset);
}

reliht_status cpu_dense_get_weights(dense_network *self, sparse *matrices)
{
    for (size_t l = 0; l <= self->problem.layers; l++) {
        const dense_matrix *matrix = &self->matrix[l];
        size_t at = matrix->offset;
        sparse_clear(&matrices[l]);
        for (size_t j = 0; j < matrix->rows; j++)
            for (size_t c = 0; c < matrix->columns; c++, at++) {
                if (!self->mask[at])
                    continue;
                if (!isfinite(self->weight[at]))
                    return dense_not_finite(self, at);
                sparse_append(&matrices[l], (uint32_t)j, (uint32_t)c, self->weight[at]);
            }
    }
    return RELIHT_OK;
}

reliht_status cpu_dense_report(dense_network *self, dense_report *report)
{
    report->loss = self->loss_samples ? self->loss_sum / (double)self->loss_samples : 0.0;
    report->samples = self->loss_samples;
    self->loss_sum = 0;
    self->loss_samples = 0;
    return RELIHT_OK;
}
