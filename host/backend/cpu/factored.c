/* One step of the factored model on the CPU, yhat = relu(X W1^T) W2 with nnz weights in all:
 *     R = d(loss)/d(yhat);  support <- top_s(importance);  w_S <- w_S - step(g_S)
 * The automatic step is that of Adam (Kingma & Ba 2015) on the support, in units of typical inputs
 * and targets; a weight that enters begins with fresh means. The importance adds up
 * -eta g / rms(g_S), W1 and W2 each by their own scale. */
#include "backend/cpu/factored.h"

#include <math.h>
#include <string.h>

static const factored_kernels *kernels_for(cpu_isa isa)
{
    static const factored_kernels *const tables[] = ISA_TABLE(factored_kernels);
    return tables[isa];
}

/* ---------------------------------------------------------------- life of a handle */

static reliht_status weights_create(reliht_context *context, factored_weights *self,
                                    const factored_problem *problem)
{
    size_t nnz = problem->nnz;
    reliht_status status =
        sparse_create(context, &self->hidden, problem->hidden, problem->inputs, nnz);
    if (!status)
        status = sparse_create(context, &self->output, problem->hidden, problem->outputs, nnz);
#define ALLOCATE(owner, category, field, count)                              \
    if (!status)                                                             \
    status = gate_allocate(context, category, count, sizeof *(owner)->field, \
                           #field " of a factored model", &(owner)->field)
    if (is_automatic(problem)) {
        ALLOCATE(self, MEMORY_weights, mean, nnz);
        ALLOCATE(self, MEMORY_weights, root, nnz);
        ALLOCATE(self, MEMORY_weights, age, nnz);
    }
    return status;
}

static void weights_destroy(reliht_context *context, factored_weights *self)
{
    sparse_destroy(context, &self->hidden);
    sparse_destroy(context, &self->output);
    gate_release(context, self->mean);
    gate_release(context, self->root);
    gate_release(context, self->age);
}

static reliht_status space_create(reliht_context *context, thread_space *self,
                                  const factored_problem *problem)
{
    size_t inputs = problem->inputs, outputs = problem->outputs;
    reliht_status status = RELIHT_OK;
    ALLOCATE(self, MEMORY_workspace, activation, TILE_NEURONS * CHUNK_SAMPLES);
    ALLOCATE(self, MEMORY_workspace, error, TILE_NEURONS * CHUNK_SAMPLES);
    ALLOCATE(self, MEMORY_workspace, pattern, TILE_NEURONS * CHUNK_SAMPLES);
    ALLOCATE(self, MEMORY_workspace, drawn_hidden, TILE_NEURONS * inputs);
    ALLOCATE(self, MEMORY_workspace, drawn_output, TILE_NEURONS * outputs);
    ALLOCATE(self, MEMORY_workspace, generator, TILE_NEURONS * inputs);
    ALLOCATE(self, MEMORY_workspace, generator_column, TILE_NEURONS * GENERATOR_NONZEROS);
    ALLOCATE(self, MEMORY_workspace, outputs, (outputs + 2) * FORWARD_SAMPLES);
    ALLOCATE(self, MEMORY_workspace, importance, inputs > outputs ? inputs : outputs);
    ALLOCATE(self, MEMORY_candidates, entries, CANDIDATE_ROOM);
    return status;
}

static void space_destroy(reliht_context *context, thread_space *self)
{
    gate_release(context, self->activation);
    gate_release(context, self->error);
    gate_release(context, self->pattern);
    gate_release(context, self->drawn_hidden);
    gate_release(context, self->drawn_output);
    gate_release(context, self->generator);
    gate_release(context, self->generator_column);
    gate_release(context, self->outputs);
    gate_release(context, self->importance);
    gate_release(context, self->entries);
}

static reliht_status importance_create(factored *self)
{
    const factored_problem *problem = &self->problem;
    reliht_context *context = factored_context(self);
    double entries = (double)problem->hidden * (double)(problem->inputs + problem->outputs);
    if (problem->importance == RELIHT_IMPORTANCE_SKETCH_PUBLISHED)
        return greedy_create(self);
    reliht_status status = selector_create(context, &self->best, problem->nnz);
    if (!status && problem->importance == RELIHT_IMPORTANCE_SKETCH)
        status = sketch_create(context, &self->sketch, sketch_width(entries, problem->nnz),
                               problem->seed);
    return status;
}

static reliht_status buffers_create(factored *self)
{
    const factored_problem *problem = &self->problem;
    reliht_context *context = factored_context(self);
    size_t stride = padded_samples(problem->samples), nnz = problem->nnz;
    size_t row = problem->inputs + problem->outputs;
    self->block_neurons = block_neurons(problem);
    reliht_status status = RELIHT_OK;
    ALLOCATE(self, MEMORY_weights, gradient, 2 * nnz);
    ALLOCATE(self, MEMORY_workspace, residual, problem->outputs * stride);
    ALLOCATE(self, MEMORY_workspace, losses, stride / FORWARD_SAMPLES + 1);
    ALLOCATE(self, MEMORY_workspace, active, problem->inputs);
    ALLOCATE(self, MEMORY_workspace, active_place, problem->inputs);
    ALLOCATE(self, MEMORY_workspace, block, self->block_neurons * row);
    ALLOCATE(self, MEMORY_workspace, block_flags, self->block_neurons);
    ALLOCATE(self, MEMORY_weights, support_neurons, 2 * nnz);
    ALLOCATE(self, MEMORY_workspace, correction, 2 * CORRECTIONS);
    ALLOCATE(self, MEMORY_workspace, space, context->threads);
    for (size_t t = 0; !status && t < context->threads; t++)
        status = space_create(context, &self->space[t], problem);
    return status;
}

reliht_status cpu_factored_create(backend *on, const factored_problem *problem, factored **out)
{
    reliht_context *context = on->context;
    factored *self;
    *out = NULL;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, 1, sizeof *self, "factored model", &self);
    if (status)
        return status;
    self->backend = (cpu_backend *)on;
    self->kernels = kernels_for(self->backend->isa);
    self->problem = *problem;
    status = weights_create(context, &self->now, problem);
    if (!status)
        status = weights_create(context, &self->next, problem);
    if (!status)
        status = buffers_create(self);
    if (!status)
        status = importance_create(self);
    if (status) {
        cpu_factored_destroy(self);
        return status;
    }
    fill_corrections(self->correction);
    *out = self;
    return RELIHT_OK;
}

void cpu_factored_destroy(factored *self)
{
    if (!self)
        return;
    reliht_context *context = factored_context(self);
    weights_destroy(context, &self->now);
    weights_destroy(context, &self->next);
    for (size_t t = 0; self->space && t < context->threads; t++)
        space_destroy(context, &self->space[t]);
    gate_release(context, self->space);
    gate_release(context, self->gradient);
    gate_release(context, self->residual);
    gate_release(context, self->losses);
    gate_release(context, self->active);
    gate_release(context, self->active_place);
    gate_release(context, self->block);
    gate_release(context, self->block_flags);
    gate_release(context, self->support_neurons);
    gate_release(context, self->correction);
    selector_destroy(context, &self->best);
    sketch_destroy(context, &self->sketch);
    greedy_destroy(self);
    gate_release(context, self);
}

static void forget_means(factored_weights *weights, size_t at)
{
    if (!weights->age)
        return;
    weights->mean[at] = weights->root[at] = 0;
    weights->age[at] = 0;
}

reliht_status cpu_factored_set_weights(factored *self, const sparse *hidden, const sparse *output)
{
    if (hidden->nnz + output->nnz > self->problem.nnz)
        return fail(factored_context(self), RELIHT_ARGUMENT,
                    "%zu weights are more than the budget of %zu", hidden->nnz + output->nnz,
                    self->problem.nnz);
    sparse_copy(&self->now.hidden, hidden);
    sparse_copy(&self->now.output, output);
    for (size_t i = 0; i < hidden->nnz + output->nnz; i++)
        forget_means(&self->now, i);
    return RELIHT_OK;
}

reliht_status cpu_factored_get_weights(factored *self, sparse *hidden, sparse *output)
{
    sparse_copy(hidden, &self->now.hidden);
    sparse_copy(output, &self->now.output);
    return RELIHT_OK;
}

reliht_status cpu_factored_report(factored *self, factored_report *report)
{
    *report = self->report;
    return RELIHT_OK;
}

/* ---------------------------------------------------------------- step size */

static double inverse_root(double square)
{
    return square > 0 ? 1.0 / sqrt(square) : 0.0;
}

/* Sizes of the updates that importance adds up. */
static step_sizes importance_sizes(const factored *self)
{
    double size = self->report.step_size;
    if (!is_automatic(&self->problem))
        return (step_sizes){size, size};
    bool sketched = self->problem.importance == RELIHT_IMPORTANCE_SKETCH;
    return (step_sizes){size * inverse_root(self->mean_square[0]),
                        (sketched ? OUTPUT_WEIGHT : 1.0) * size *
                            inverse_root(self->mean_square[1])};
}

/* The first step has no support to measure its gradient by: it takes the nnz largest entries of W1
 * and of W2. The sketch takes its scale from the same. */
static reliht_status measure_first(factored *self, const step_view *view)
{
    bool want_sketch = self->problem.importance == RELIHT_IMPORTANCE_SKETCH && !self->sketch.scaled;
    bool want_scale =
        is_automatic(&self->problem) && self->mean_square[0] + self->mean_square[1] == 0;
    if (!want_sketch && !want_scale)
        return RELIHT_OK;
    double mean_square[2];
    float largest[2];
    for (unsigned half = 0; half < 2; half++) {
        reliht_status status = factored_measure(self, view, half ? HAS_OUTPUT : HAS_HIDDEN,
                                                &mean_square[half], &largest[half]);
        if (status)
            return status;
        if (want_scale)
            self->mean_square[half] = mean_square[half];
    }
    step_sizes sizes = importance_sizes(self);
    double update = fmax(sizes.hidden * (double)largest[0], sizes.output * (double)largest[1]);
    if (want_sketch && update > 0)
        sketch_set_scale(&self->sketch, (float)update);
    return RELIHT_OK;
}

/* Smoothed mean square of the gradient on the support, W1 and W2 apart. */
static void update_scale(factored *self)
{
    const size_t count[2] = {self->next.hidden.nnz, self->next.output.nnz};
    for (size_t half = 0; half < 2; half++) {
        const float *gradient = self->gradient + half * self->problem.nnz;
        double sum = 0;
        for (size_t i = 0; i < count[half]; i++)
            sum += (double)gradient[i] * (double)gradient[i];
        if (sum == 0)
            continue;
        double mean = sum / (double)count[half];
        self->mean_square[half] =
            self->smoothed ? SCALE_DECAY * self->mean_square[half] + (1 - SCALE_DECAY) * mean
                           : mean;
    }
    self->smoothed |= count[0] + count[1] > 0;
}

/* ---------------------------------------------------------------- weights */

/* Copies entry `from` of `old` (or a fresh zero for SIZE_MAX) to the place `at`. */
static void move_means(factored_weights *to, size_t at, const factored_weights *old, size_t from)
{
    if (!to->age)
        return;
    if (from == SIZE_MAX) {
        forget_means(to, at);
        return;
    }
    to->mean[at] = old->mean[from];
    to->root[at] = old->root[from];
    to->age[at] = old->age[from];
}

/* Takes out of the choice the neurons that would have no input or no output weight: they do
 * nothing, and no gradient would ever reach them. */
static void drop_incomplete(selector *best, uint32_t hidden)
{
    entry *entries = best->entries;
    size_t outputs = 0, kept = 0;
    while (outputs < best->count && entries[outputs].row < hidden)
        outputs++;
    size_t k = outputs;
    for (size_t i = 0; i < outputs; i++) {
        while (k < best->count && entries[k].row - hidden < entries[i].row)
            k++;
        if (k < best->count && entries[k].row - hidden == entries[i].row)
            entries[kept++] = entries[i];
    }
    size_t inputs = kept, j = 0;
    for (size_t i = outputs; i < best->count; i++) {
        while (j < inputs && entries[j].row < entries[i].row - hidden)
            j++;
        if (j < inputs && entries[j].row == entries[i].row - hidden)
            entries[kept++] = entries[i];
    }
    best->count = kept;
}

/* next <- now on the support that was chosen; weights that enter are zero. */
static void take_support(factored *self)
{
    const factored_weights *now = &self->now;
    factored_weights *next = &self->next;
    sparse_clear(&next->hidden);
    sparse_clear(&next->output);
    uint32_t hidden = (uint32_t)self->problem.hidden;
    size_t row = 0, old = 0;
    const sparse *from = &now->hidden;
    for (size_t i = 0; i < self->best.count; i++) {
        const entry *chosen = &self->best.entries[i];
        bool output = chosen->row >= hidden;
        if (output && from == &now->hidden) {
            from = &now->output;
            row = old = 0;
        }
        uint32_t neuron = output ? chosen->row - hidden : chosen->row;
        while (row < from->live && from->row[row] < neuron)
            old = from->start[++row];
        bool same_row = row < from->live && from->row[row] == neuron;
        while (same_row && old < from->start[row + 1] && from->column[old] < chosen->column)
            old++;
        bool there = same_row && old < from->start[row + 1] && from->column[old] == chosen->column;
        move_means(next, i, now, there ? (output ? now->hidden.nnz : 0) + old : SIZE_MAX);
        sparse_append(output ? &next->output : &next->hidden, neuron, chosen->column,
                      there ? from->value[old] : 0.0f);
    }
}

static void keep_support(factored *self)
{
    sparse_copy(&self->next.hidden, &self->now.hidden);
    sparse_copy(&self->next.output, &self->now.output);
    size_t count = self->now.hidden.nnz + self->now.output.nnz;
    for (size_t i = 0; i < count; i++)
        move_means(&self->next, i, &self->now, i);
}

/* Change of a weight by its gradient: Adam's, or the published -size * g. */
static double weight_update(factored *self, size_t at, double gradient, double size)
{
    if (!is_automatic(&self->problem))
        return -size * gradient;
    factored_weights *next = &self->next;
    double mean = MEAN_DECAY * (double)next->mean[at] + (1 - MEAN_DECAY) * gradient;
    double root = (double)next->root[at];
    double square = SQUARE_DECAY * root * root + (1 - SQUARE_DECAY) * gradient * gradient;
    next->mean[at] = (float)mean;
    next->root[at] = (float)sqrt(square);
    uint32_t age = next->age[at] < CORRECTIONS - 1 ? next->age[at]++ : CORRECTIONS - 1;
    return -size * mean * self->correction[age] *
           inverse_root(square * self->correction[CORRECTIONS + age]);
}

/* Steps the values of one matrix of `next`; what is zero afterwards leaves it. `at` is the place of
 * its first entry's means, *kept of the next one to write. */
static void step_matrix(factored *self, sparse *matrix, const float *gradient, double size,
                        size_t at, size_t *kept)
{
    size_t live = matrix->live, entry_number = 0;
    sparse_clear(matrix);
    for (size_t j = 0; j < live; j++) {
        uint32_t row = matrix->row[j];
        size_t end = matrix->start[j + 1];
        for (; entry_number < end; entry_number++) {
            double update =
                weight_update(self, at + entry_number, (double)gradient[entry_number], size);
            float value = (float)((double)matrix->value[entry_number] + update);
            if (value == 0.0f)
                continue;
            move_means(&self->next, (*kept)++, &self->next, at + entry_number);
            sparse_append(matrix, row, matrix->column[entry_number], value);
        }
    }
}

static void step_weights(factored *self)
{
    step_sizes sizes = weight_units(&self->problem);
    sizes.hidden *= self->report.step_size;
    sizes.output *= self->report.step_size;
    size_t hidden = self->next.hidden.nnz, kept = 0;
    step_matrix(self, &self->next.hidden, self->gradient, sizes.hidden, 0, &kept);
    step_matrix(self, &self->next.output, self->gradient + self->problem.nnz, sizes.output, hidden,
                &kept);
}

/* ---------------------------------------------------------------- step */

static reliht_status step_support(factored *self, const step_view *view,
                                  const factored_step_options *options)
{
    reliht_status status = RELIHT_OK;
    if (options->keep_support) {
        keep_support(self);
    } else {
        double start = clock_wall();
        status = measure_first(self, view);
        const step_sizes sizes = importance_sizes(self);
        if (!status)
            status = factored_choose(self, view, &sizes);
        self->report.seconds_sweep = clock_wall() - start;
        if (status)
            return status;
        drop_incomplete(&self->best, (uint32_t)self->problem.hidden);
        take_support(self);
    }
    factored_support_gradient(self, view);
    update_scale(self);
    step_weights(self);
    return status;
}

reliht_status cpu_factored_step(factored *self, batch *data, const factored_step_options *options)
{
    const factored_problem *problem = &self->problem;
    step_view view = {
        .data = data,
        .source = options->source,
        .draw = options->draw_empty,
        .neurons = self->now.hidden.live,
    };
    if (options->source == PATTERNS_DRAWN)
        view.neurons = problem->hidden;
    else if (options->draw_empty)
        view.neurons = drawn_neurons(problem);
    self->report.seconds_sweep = 0;
    self->report.step_size = options->step_scale * step_rate(problem);
    factored_forward(self, &view);
    if (!isfinite(self->report.loss))
        return fail(factored_context(self), RELIHT_NUMERIC,
                    "the loss of a batch is not finite: inputs and targets of smaller magnitude "
                    "would keep it so");
    reliht_status status = problem->importance == RELIHT_IMPORTANCE_SKETCH_PUBLISHED
                               ? greedy_step(self, &view, self->report.step_size)
                               : step_support(self, &view, options);
    if (status)
        return status;
    factored_weights swap = self->now;
    self->now = self->next;
    self->next = swap;
    self->draws += options->draw_empty;
    self->report.nnz = self->now.hidden.nnz + self->now.output.nnz;
    return RELIHT_OK;
}

/* ---------------------------------------------------------------- evaluation */

static step_view view_of_weights(const factored *self, const batch *data)
{
    return (step_view){
        .data = data,
        .source = PATTERNS_WEIGHTS,
        .neurons = self->now.hidden.live,
    };
}

reliht_status cpu_factored_evaluate(factored *self, batch *data, double *loss, float *gradient)
{
    const step_view view = view_of_weights(self, data);
    factored_forward(self, &view);
    sparse_copy(&self->next.hidden, &self->now.hidden);
    sparse_copy(&self->next.output, &self->now.output);
    factored_support_gradient(self, &view);
    size_t hidden = self->now.hidden.nnz;
    memcpy(gradient, self->gradient, hidden * sizeof *gradient);
    memcpy(gradient + hidden, self->gradient + self->problem.nnz,
           self->now.output.nnz * sizeof *gradient);
    *loss = self->report.loss;
    return RELIHT_OK;
}

reliht_status cpu_factored_candidates(factored *self, batch *data, size_t count, sparse *hidden,
                                      sparse *output)
{
    const step_view view = view_of_weights(self, data);
    reliht_status status = factored_candidates(self, &view, count);
    sparse_clear(hidden);
    sparse_clear(output);
    uint32_t neurons = (uint32_t)self->problem.hidden;
    for (size_t i = 0; !status && i < self->best.count; i++) {
        const entry *found = &self->best.entries[i];
        if (found->row < neurons)
            sparse_append(hidden, found->row, found->column, found->value);
        else
            sparse_append(output, found->row - neurons, found->column, found->value);
    }
    return status;
}
