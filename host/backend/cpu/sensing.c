/* Gaussian compressed sensing on the CPU: normalised IHT for y = A x, A [measurements, length],
 * whose column c is rng_normals(seed, RNG_SENSE_MATRIX, c, measurements). Columns are drawn
 * whenever they are needed, one per thread at a time; only those of the support are kept, for the
 * refits: measurements * nnz floats. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/iht.h"
#include "core/rng.h"

#include <omp.h>
#include <string.h>

struct sensing {
    cpu_backend *backend;
    sensing_problem problem;
    sparse weights; /* one row */
    float *columns; /* [nnz, measurements] of the support, in its order */
    float *drawn;   /* [threads, measurements] */
    double *target; /* [measurements] y */
    double *residual, *residual_chosen, *image; /* [measurements] */
    double *gradient;                           /* [nnz] */
    float *chosen;                              /* [nnz] values after the sweep */
    entry *stepped;                             /* [COLUMN_BLOCK] candidates of some columns */
    selector best;
    double step_size;
    step_report report;
};

/* Columns whose candidates are collected before they go to the selector. */
#define COLUMN_BLOCK 1024u

static reliht_context *context_of(const sensing *self)
{
    return self->backend->base.context;
}

reliht_status cpu_sensing_create(backend *on, const sensing_problem *problem, sensing **out)
{
    reliht_context *context = on->context;
    sensing *self;
    *out = NULL;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, 1, sizeof *self, "sensing problem", &self);
    if (status)
        return status;
    self->backend = (cpu_backend *)on;
    self->problem = *problem;
    size_t nnz = problem->nnz, rows = problem->measurements;
#define ALLOCATE(category, field, count)                                  \
    if (!status)                                                          \
    status = gate_allocate(context, category, count, sizeof *self->field, \
                           #field " of a sensing problem", &self->field)
    if (!status)
        status = sparse_create(context, &self->weights, 1, problem->length, nnz);
    ALLOCATE(MEMORY_workspace, columns, nnz * rows);
    ALLOCATE(MEMORY_workspace, drawn, context->threads * rows);
    ALLOCATE(MEMORY_data, target, rows);
    ALLOCATE(MEMORY_workspace, residual, rows);
    ALLOCATE(MEMORY_workspace, residual_chosen, rows);
    ALLOCATE(MEMORY_workspace, image, rows);
    ALLOCATE(MEMORY_weights, gradient, nnz);
    ALLOCATE(MEMORY_weights, chosen, nnz);
    ALLOCATE(MEMORY_candidates, stepped, COLUMN_BLOCK);
#undef ALLOCATE
    if (!status)
        status = selector_create(context, &self->best, nnz);
    if (status) {
        cpu_sensing_destroy(self);
        return status;
    }
    *out = self;
    return RELIHT_OK;
}

void cpu_sensing_destroy(sensing *self)
{
    if (!self)
        return;
    reliht_context *context = context_of(self);
    sparse_destroy(context, &self->weights);
    selector_destroy(context, &self->best);
    void *const arrays[] = {self->columns,         self->drawn, self->target,   self->residual,
                            self->residual_chosen, self->image, self->gradient, self->chosen,
                            self->stepped,         self};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        gate_release(context, arrays[i]);
}

static void draw_column(const sensing *self, uint32_t column, float *out)
{
    rng_normals(self->problem.seed, RNG_SENSE_MATRIX, column, self->problem.measurements, out);
}

/* Four sums side by side, so that additions need not wait for one another. */
static double dot(const float *column, const double *vector, size_t count)
{
    double sum[4] = {0};
    size_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (size_t k = 0; k < 4; k++)
            sum[k] += (double)column[i + k] * vector[i + k];
    for (; i < count; i++)
        sum[0] += (double)column[i] * vector[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static double squares(const double *vector, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += vector[i] * vector[i];
    return sum;
}

static void draw_support(sensing *self)
{
    for (size_t k = 0; k < self->weights.nnz; k++)
        draw_column(self, self->weights.column[k], self->columns + k * self->problem.measurements);
}

/* out <- out + value * column k of A_S. */
static void add_column(const sensing *self, size_t k, double value, double *out)
{
    const float *column = self->columns + k * self->problem.measurements;
    for (size_t i = 0; i < self->problem.measurements; i++)
        out[i] += value * (double)column[i];
}

/* residual <- A_S w - y; returns its square. */
static double find_residual(sensing *self)
{
    size_t rows = self->problem.measurements;
    for (size_t i = 0; i < rows; i++)
        self->residual[i] = -self->target[i];
    for (size_t k = 0; k < self->weights.nnz; k++)
        add_column(self, k, (double)self->weights.value[k], self->residual);
    return squares(self->residual, rows);
}

/* gradient <- A_S^T residual, image <- A_S gradient; returns |gradient|^2, sets |image|^2. */
static double find_gradient(sensing *self, double *image_squares)
{
    size_t rows = self->problem.measurements;
    double total = 0;
    memset(self->image, 0, rows * sizeof *self->image);
    for (size_t k = 0; k < self->weights.nnz; k++) {
        self->gradient[k] = dot(self->columns + k * rows, self->residual, rows);
        total += self->gradient[k] * self->gradient[k];
        add_column(self, k, self->gradient[k], self->image);
    }
    *image_squares = squares(self->image, rows);
    return total;
}

reliht_status cpu_sensing_set_targets(sensing *self, const sparse *vector)
{
    size_t rows = self->problem.measurements;
    memset(self->target, 0, rows * sizeof *self->target);
    for (size_t k = 0; k < vector->nnz; k++) {
        draw_column(self, vector->column[k], self->drawn);
        for (size_t i = 0; i < rows; i++)
            self->target[i] += (double)vector->value[k] * (double)self->drawn[i];
    }
    sparse_clear(&self->weights);
    return RELIHT_OK;
}

reliht_status cpu_sensing_get_weights(sensing *self, sparse *weights)
{
    sparse_copy(weights, &self->weights);
    return RELIHT_OK;
}

/* stepped[i] <- -mu A^T r at column first + i. */
static void step_columns(sensing *self, size_t first, size_t count)
{
    size_t rows = self->problem.measurements;
#pragma omp parallel for num_threads(context_of(self)->threads) schedule(static)
    for (int64_t i = 0; i < (int64_t)count; i++) {
        float *column = self->drawn + (size_t)omp_get_thread_num() * rows;
        uint32_t number = (uint32_t)(first + (size_t)i);
        draw_column(self, number, column);
        self->stepped[i] =
            (entry){(float)(-self->step_size * dot(column, self->residual, rows)), 0, number};
    }
}

/* Offers w - mu A^T r, some columns at a time. */
static void sweep_columns(sensing *self)
{
    const sparse *weights = &self->weights;
    size_t k = 0;
    for (size_t first = 0; first < self->problem.length; first += COLUMN_BLOCK) {
        size_t rest = self->problem.length - first;
        size_t count = rest < COLUMN_BLOCK ? rest : COLUMN_BLOCK;
        step_columns(self, first, count);
        for (; k < weights->nnz && weights->column[k] < first + count; k++)
            self->stepped[weights->column[k] - first].value += weights->value[k];
        selector_offer(&self->best, self->stepped, count);
    }
}

static void refit_once(sensing *self)
{
    double image_squares, gradient_squares = find_gradient(self, &image_squares);
    sparse *weights = &self->weights;
    if (gradient_squares == 0)
        return;
    if (iht_line_search(&self->step_size, gradient_squares, image_squares)) {
        for (size_t k = 0; k < weights->nnz; k++)
            weights->value[k] =
                (float)((double)weights->value[k] - self->step_size * self->gradient[k]);
        self->report.objective_after = find_residual(self);
        self->report.refits++;
    } else {
        memcpy(weights->value, self->chosen, weights->nnz * sizeof *self->chosen);
        memcpy(self->residual, self->residual_chosen,
               self->problem.measurements * sizeof *self->residual);
        self->report.objective_after = self->report.objective_chosen;
    }
}

reliht_status cpu_sensing_step(sensing *self, size_t refits)
{
    self->report = (step_report){.objective_before = find_residual(self)};
    self->step_size = IHT_FIRST_STEP;
    if (self->weights.nnz) {
        double image_squares, gradient_squares = find_gradient(self, &image_squares);
        self->step_size = iht_step_size(gradient_squares, image_squares);
    }
    self->report.step_size = self->step_size;
    double start = clock_wall();
    selector_reset(&self->best);
    sweep_columns(self);
    reliht_status status = selector_finish(context_of(self), &self->best, "row", "entry");
    if (status)
        return status;
    self->report.seconds_sweep = clock_wall() - start;
    sparse_from_entries(&self->weights, &self->best);
    memcpy(self->chosen, self->weights.value, self->weights.nnz * sizeof *self->chosen);
    draw_support(self);
    self->report.objective_chosen = self->report.objective_after = find_residual(self);
    memcpy(self->residual_chosen, self->residual,
           self->problem.measurements * sizeof *self->residual);
    for (size_t i = 0; i < refits && self->weights.nnz; i++)
        refit_once(self);
    self->report.nnz = self->weights.nnz;
    return RELIHT_OK;
}

reliht_status cpu_sensing_report(sensing *self, step_report *report)
{
    *report = self->report;
    return RELIHT_OK;
}
