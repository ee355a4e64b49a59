/* One normalised IHT step of the fused model on the CPU:
 *     begin   r = A w - y,  g = A_S^T r,  mu = |g|^2 / |A g|^2
 *     sweep   w <- top_s(w - mu A^T r)
 *     refit   w_S <- w_S - mu A_S^T (A w - y), a few times
 * Samples-sized arrays: r, r after the sweep, A g; patterns of the neurons with weights only. */
#include "backend/cpu/fused.h"

#include "backend/cpu/iht.h"

#include <math.h>
#include <string.h>

reliht_status cpu_fused_create(backend *on, const fused_problem *problem, fused **out)
{
    reliht_context *context = on->context;
    fused *self;
    *out = NULL;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, 1, sizeof *self, "fused model", &self);
    if (status)
        return status;
    self->backend = (cpu_backend *)on;
    self->problem = *problem;
    self->stride = padded_samples(problem->samples);
    size_t rows = problem->linear ? linear_row(problem->hidden) + 1 : problem->hidden;
    size_t nnz = problem->nnz, live = nnz < rows ? nnz : rows;
#define ALLOCATE(category, field, count)                                  \
    if (!status)                                                          \
    status = gate_allocate(context, category, count, sizeof *self->field, \
                           #field " of a fused model", &self->field)
    if (!status)
        status = sparse_create(context, &self->weights, rows, problem->inputs, nnz);
    if (!status)
        status = sparse_create(context, &self->generators, rows, problem->inputs, nnz);
    ALLOCATE(MEMORY_weights, chosen, nnz);
    ALLOCATE(MEMORY_weights, gradient, nnz);
    ALLOCATE(MEMORY_weights, delta, nnz);
    ALLOCATE(MEMORY_weights, direction, nnz);
    ALLOCATE(MEMORY_weights, spans, ADJOINT_SCRATCH * nnz);
    ALLOCATE(MEMORY_workspace, residual, self->stride);
    ALLOCATE(MEMORY_workspace, residual_chosen, self->stride);
    ALLOCATE(MEMORY_workspace, image, self->stride);
    ALLOCATE(MEMORY_workspace, sums, support_chunks(self->stride));
    ALLOCATE(MEMORY_patterns, patterns, live * (self->stride / SAMPLE_BLOCK));
#undef ALLOCATE
    if (!status)
        status = selector_create(context, &self->best, nnz);
    if (!status)
        status = sweep_create(self->backend, problem->samples, problem->inputs, &self->sweep);
    if (!status && problem->screening != SCREENING_NONE)
        status = screen_create(context, &self->screen, problem->hidden, self->stride,
                               problem->screening == SCREENING_HISTORY);
    if (status) {
        cpu_fused_destroy(self);
        return status;
    }
    *out = self;
    return RELIHT_OK;
}

void cpu_fused_destroy(fused *self)
{
    if (!self)
        return;
    reliht_context *context = fused_context(self);
    sparse_destroy(context, &self->weights);
    sparse_destroy(context, &self->generators);
    selector_destroy(context, &self->best);
    sweep_destroy(self->sweep);
    screen_destroy(context, &self->screen);
    void *const arrays[] = {
        self->chosen, self->gradient, self->residual, self->residual_chosen, self->image,
        self->sums,   self->spans,    self->patterns, self->delta,           self->direction,
        self};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        gate_release(context, arrays[i]);
}

reliht_status cpu_fused_set_weights(fused *self, const sparse *weights)
{
    if (weights->nnz > self->problem.nnz)
        return fail(fused_context(self), RELIHT_ARGUMENT, "%zu weights exceed the budget of %zu",
                    weights->nnz, self->problem.nnz);
    sparse_copy(&self->weights, weights);
    return RELIHT_OK;
}

/* An entry that a refit took to exactly zero is in the support no longer. */
reliht_status cpu_fused_get_weights(fused *self, sparse *weights)
{
    const sparse *from = &self->weights;
    sparse_clear(weights);
    for (size_t j = 0; j < from->live; j++)
        for (size_t k = from->start[j]; k < from->start[j + 1]; k++)
            if (from->value[k] != 0)
                sparse_append(weights, from->row[j], from->column[k], from->value[k]);
    return RELIHT_OK;
}

reliht_status cpu_fused_begin(fused *self, batch *data, pattern_source source)
{
    sparse_copy(&self->generators, &self->weights);
    self->samples = data->samples;
    self->words = data->stride / SAMPLE_BLOCK;
    generator_source generators = fused_generators(self, source);
    bool linear = has_linear_row(self);
    size_t neurons = self->weights.live - linear;
    reliht_status status =
        sweep_patterns(self->sweep, data, &generators, self->weights.row, neurons, self->patterns);
    if (status)
        return status;
    if (linear)
        memset(self->patterns + neurons * self->words, 0xff, self->words * sizeof *self->patterns);
    support_operator a = fused_operator(self, data);
    double before = support_forward(&a, self->weights.value, data->y, self->residual, self->sums);
    self->report = (step_report){.objective_before = before, .objective_after = before};
    self->step_size = IHT_FIRST_STEP;
    if (self->weights.nnz) {
        double squares = support_adjoint(&a, self->residual, self->gradient, self->spans);
        double image = support_forward(&a, self->gradient, NULL, self->image, self->sums);
        self->step_size = iht_step_size(squares, image);
    }
    self->report.step_size = self->step_size;
    if (!isfinite(before) || !isfinite(self->step_size))
        return fail(fused_context(self), RELIHT_NUMERIC,
                    "the step size is not finite (|residual|^2 = %g): inputs or targets are too "
                    "large for single precision; scale them",
                    before);
    return RELIHT_OK;
}

/* Patterns of the neurons of the new support. Those of PATTERNS_WEIGHTS are among the old ones. */
static reliht_status update_patterns(fused *self, const batch *data,
                                     const generator_source *generators)
{
    if (generators->source == PATTERNS_DRAWN)
        return sweep_patterns(self->sweep, data, generators, self->weights.row, self->weights.live,
                              self->patterns);
    for (size_t to = 0, from = 0; to < self->weights.live; to++, from++) {
        while (self->generators.row[from] != self->weights.row[to])
            from++;
        memmove(self->patterns + to * self->words, self->patterns + from * self->words,
                self->words * sizeof *self->patterns);
    }
    return RELIHT_OK;
}

reliht_status cpu_fused_sweep(fused *self, batch *data, pattern_source source)
{
    double start = clock_wall();
    generator_source generators = fused_generators(self, source);
    bool screened = source == PATTERNS_DRAWN && self->problem.screening != SCREENING_NONE;
    selector_reset(&self->best);
    if (screened)
        screen_begin(&self->screen, data, self->residual, self->report.objective_before);
    reliht_status status = sweep_run(
        self->sweep, data, &generators, self->problem.signs, self->residual, (float)self->step_size,
        &self->weights, &self->best, screened ? &self->screen : NULL, &self->report.swept);
    if (!status)
        status = selector_finish(fused_context(self), &self->best, "neuron", "input");
    if (status)
        return status;
    self->report.seconds_sweep = clock_wall() - start;
    sparse_from_entries(&self->weights, &self->best);
    memcpy(self->chosen, self->weights.value, self->weights.nnz * sizeof *self->chosen);
    status = update_patterns(self, data, &generators);
    if (status)
        return status;
    support_operator a = fused_operator(self, data);
    double objective =
        support_forward(&a, self->weights.value, data->y, self->residual_chosen, self->sums);
    memcpy(self->residual, self->residual_chosen, data->stride * sizeof *self->residual);
    self->report.objective_chosen = self->report.objective_after = objective;
    self->report.nnz = self->weights.nnz;
    return RELIHT_OK;
}

/* One refit: v <- v - mu g, or back to what the sweep chose if no mu is short enough. */
static void refit_once(fused *self, const batch *data, const support_operator *a)
{
    double squares = support_adjoint(a, self->residual, self->gradient, self->spans);
    if (squares == 0)
        return;
    double image = support_forward(a, self->gradient, NULL, self->image, self->sums);
    sparse *weights = &self->weights;
    if (iht_line_search(&self->step_size, squares, image)) {
        float step = (float)self->step_size;
        for (size_t k = 0; k < weights->nnz; k++)
            weights->value[k] = fmaf(-step, self->gradient[k], weights->value[k]);
        self->report.objective_after =
            support_descend(a, self->residual, self->image, step, self->sums);
        self->report.refits++;
    } else {
        memcpy(weights->value, self->chosen, weights->nnz * sizeof *weights->value);
        memcpy(self->residual, self->residual_chosen, data->stride * sizeof *self->residual);
        self->report.objective_after = self->report.objective_chosen;
    }
}

reliht_status cpu_fused_refit(fused *self, batch *data, size_t refits)
{
    support_operator a = fused_operator(self, data);
    for (size_t i = 0; i < refits && self->weights.nnz; i++)
        refit_once(self, data, &a);
    return RELIHT_OK;
}

reliht_status cpu_fused_report(fused *self, step_report *report)
{
    *report = self->report;
    return RELIHT_OK;
}

reliht_status cpu_fused_product(fused *self, batch *data, const float *value, float *image,
                                float *gradient, double *squares)
{
    support_operator a = fused_operator(self, data);
    double sum = support_forward(&a, value, data->y, self->image, self->sums);
    if (gradient)
        support_adjoint(&a, self->image, gradient, self->spans);
    if (image)
        memcpy(image, self->image, self->samples * sizeof *image);
    if (squares)
        *squares = sum;
    return RELIHT_OK;
}

reliht_status cpu_fused_read(fused *self, float *residual, float *gradient, uint64_t *patterns)
{
    if (residual)
        memcpy(residual, self->residual, self->samples * sizeof *residual);
    if (gradient)
        memcpy(gradient, self->gradient, self->weights.nnz * sizeof *gradient);
    if (patterns)
        memcpy(patterns, self->patterns, self->weights.live * self->words * sizeof *patterns);
    return RELIHT_OK;
}
