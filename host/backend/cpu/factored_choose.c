/* The choice of the support: top_s of the importance of all entries, one exact choice a step.
 *     sketch       T += -alpha g for every entry, then importance = |query(T)|
 *     magnitude    importance = |w - alpha g|
 * Entries whose gradient can't be nonzero in a step (the other half of their neuron is empty) don't
 * compete: they could never matter. Inputs that are zero in the whole batch compete only with the
 * weights they have. Ties fall to the lower (row, column), importance taken to float precision. */
#include "backend/cpu/factored.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <string.h>

/* Gathers candidates of one thread, to be offered many at a time. */
typedef struct collector {
    factored *owner;
    entry *entries;
    size_t count;
    uint32_t threshold;
} collector;

static collector collector_open(factored *self, const thread_space *space)
{
    return (collector){self, space->entries, 0, 1};
}

static void collector_flush(collector *self)
{
#pragma omp critical(factored_candidates)
    {
        selector_offer(&self->owner->best, self->entries, self->count);
        self->threshold = self->owner->best.threshold;
    }
    self->count = 0;
}

static inline void collect(collector *self, float value, uint32_t row, uint32_t column)
{
    if (magnitude_bits(value) < self->threshold)
        return;
    self->entries[self->count++] = (entry){value, row, column};
    if (self->count == CANDIDATE_ROOM)
        collector_flush(self);
}

static uint32_t output_row(const factored *self, uint32_t neuron)
{
    return (uint32_t)self->problem.hidden + neuron;
}

static reliht_status finish_choice(factored *self)
{
    bool output = self->best.has_invalid && self->best.invalid.row >= self->problem.hidden;
    if (output)
        self->best.invalid.row -= (uint32_t)self->problem.hidden;
    return selector_finish(factored_context(self), &self->best, "neuron",
                           output ? "output" : "input");
}

/* ---------------------------------------------------------------- first step */

static void collect_gradients(collector *to, const step_view *view, size_t place, unsigned which)
{
    const factored *self = to->owner;
    uint32_t neuron = neuron_number(self, view, place);
    const float *row = self->block + place * self->row_length;
    if (!(self->block_flags[place] & which))
        return;
    if (which == HAS_HIDDEN)
        for (size_t a = 0; a < self->actives; a++)
            collect(to, row[a], neuron, self->active[a]);
    else
        for (uint32_t c = 0; c < self->problem.outputs; c++)
            collect(to, row[self->actives + c], output_row(self, neuron), c);
}

reliht_status factored_measure(factored *self, const step_view *view, unsigned which,
                               double *mean_square, float *largest)
{
    size_t count = factored_block(self, view, 0);
    size_t share = (size_t)((double)self->problem.nnz * (double)count / (double)view->neurons);
    selector_reset(&self->best);
    self->best.keep = share > 1 ? share : 1;
    /* The caller may be a thread of its own, whose number is not one of ours. */
    collector to = collector_open(self, &self->space[0]);
    for (size_t place = 0; place < count; place++)
        collect_gradients(&to, view, place, which);
    collector_flush(&to);
    reliht_status status = finish_choice(self);
    self->best.keep = self->problem.nnz;
    *mean_square = 0;
    *largest = 0;
    for (size_t i = 0; !status && i < self->best.count; i++) {
        float magnitude = fabsf(self->best.entries[i].value);
        *mean_square += (double)magnitude * (double)magnitude / (double)self->best.count;
        *largest = magnitude > *largest ? magnitude : *largest;
    }
    return status;
}

/* ---------------------------------------------------------------- magnitude */

/* w - size * g of one neuron's entries in W1 or W2. `columns` of the gradient as in kernels. */
static void collect_stepped(collector *to, uint32_t row, row_view weights, const uint32_t *columns,
                            size_t count, const float *gradient, float size)
{
    size_t k = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t column = columns ? columns[i] : (uint32_t)i;
        for (; k < weights.count && weights.column[k] < column; k++)
            collect(to, weights.value[k], row, weights.column[k]);
        float weight = 0;
        if (k < weights.count && weights.column[k] == column)
            weight = weights.value[k++];
        collect(to, weight - size * gradient[i], row, column);
    }
    for (; k < weights.count; k++)
        collect(to, weights.value[k], row, weights.column[k]);
}

static void collect_magnitudes(collector *to, const step_view *view, size_t first, size_t place,
                               const step_sizes *sizes)
{
    const factored *self = to->owner;
    uint32_t neuron = neuron_number(self, view, first + place);
    const float *row = self->block + place * self->row_length;
    if (self->block_flags[place] & HAS_HIDDEN)
        collect_stepped(to, neuron, sparse_row(&self->now.hidden, neuron), self->active,
                        self->actives, row, (float)sizes->hidden);
    if (self->block_flags[place] & HAS_OUTPUT)
        collect_stepped(to, output_row(self, neuron), sparse_row(&self->now.output, neuron), NULL,
                        self->problem.outputs, row + self->actives, (float)sizes->output);
}

static reliht_status choose_by_magnitude(factored *self, const step_view *view,
                                         const step_sizes *sizes)
{
    selector_reset(&self->best);
    for (size_t first = 0, count; (count = factored_block(self, view, first)) > 0; first += count) {
#pragma omp parallel num_threads(factored_threads(self, count * self->row_length))
        {
            collector to = collector_open(self, &self->space[omp_get_thread_num()]);
#pragma omp for schedule(static)
            for (size_t place = 0; place < count; place++)
                collect_magnitudes(&to, view, first, place, sizes);
            collector_flush(&to);
        }
    }
    return finish_choice(self);
}

/* ---------------------------------------------------------------- sketch */

/* NUMERIC: names the first entry of the block that isn't finite, or else the saturation. */
static reliht_status explain_overflow(const factored *self, const step_view *view, size_t first,
                                      size_t count)
{
    reliht_context *context = factored_context(self);
    for (size_t place = 0; place < count; place++)
        for (size_t i = 0; i < self->row_length; i++) {
            bool output = i >= self->actives;
            if (isfinite(self->block[place * self->row_length + i]) ||
                !(self->block_flags[place] & (output ? HAS_OUTPUT : HAS_HIDDEN)))
                continue;
            return fail(context, RELIHT_NUMERIC,
                        "neuron %" PRIu32 ", %s %zu: the gradient is not finite; inputs and "
                        "targets of smaller magnitude would keep it so",
                        neuron_number(self, view, first + place), output ? "output" : "input",
                        output ? i - self->actives : self->active[i]);
        }
    return fail(context, RELIHT_NUMERIC,
                "the importance sketch is saturated: the updates of one step are more than 2^20 "
                "times those of the first step; the training diverges (a smaller step or scaled "
                "inputs would help)");
}

/* Enters the updates -size * g of a block into one row of the sketch; returns the sum of their
 * magnitudes in quanta. */
static double add_block(const factored *self, const step_view *view, size_t first, size_t count,
                        size_t r, const step_sizes *sizes)
{
    const sketch *to = &self->sketch;
    int64_t *counter = to->counter + r * to->width;
    double factor = sketch_factor(to), sum = 0;
    for (size_t place = 0; place < count; place++) {
        uint32_t neuron = neuron_number(self, view, first + place);
        const float *row = self->block + place * self->row_length;
        if (self->block_flags[place] & HAS_HIDDEN)
            sum += self->kernels->sketch_add(&to->key[r], counter, to->width, neuron, self->active,
                                             self->actives, row, -sizes->hidden * factor);
        if (self->block_flags[place] & HAS_OUTPUT)
            sum += self->kernels->sketch_add(&to->key[r], counter, to->width,
                                             output_row(self, neuron), NULL, self->problem.outputs,
                                             row + self->actives, -sizes->output * factor);
    }
    return sum;
}

/* All updates of the step into the sketch: each row by one thread, so no two add to a counter. */
static reliht_status add_updates(factored *self, const step_view *view, const step_sizes *sizes)
{
    double total = 0;
    for (size_t first = 0, count; (count = factored_block(self, view, first)) > 0; first += count) {
        double sums[SKETCH_ROWS];
#pragma omp parallel for num_threads(factored_threads(self, 4 * count * self->row_length)) \
    schedule(static, 1)
        for (size_t r = 0; r < SKETCH_ROWS; r++)
            sums[r] = add_block(self, view, first, count, r, sizes);
        total += sums[0];
        if (!(total < (double)SKETCH_LIMIT))
            return explain_overflow(self, view, first, count);
    }
    return sketch_check(factored_context(self), &self->sketch);
}

/* Importance below which no entry can be among the best s, from the weights there are. Offers those
 * of inputs that are zero in the whole batch, which the neurons' own pass leaves out. */
static int64_t offer_support(factored *self, const step_view *view)
{
    const sparse *matrices[2] = {&self->now.hidden, &self->now.output};
    int64_t least = INT64_MAX;
    size_t competing = 0;
    for (size_t half = 0; half < 2; half++) {
        const sparse *matrix = matrices[half];
        for (size_t j = 0; j < matrix->live; j++) {
            if (!(neuron_flags(self, view, matrix->row[j]) & (half ? HAS_OUTPUT : HAS_HIDDEN)))
                continue;
            uint32_t row = half ? output_row(self, matrix->row[j]) : matrix->row[j];
            for (size_t k = matrix->start[j]; k < matrix->start[j + 1]; k++) {
                uint32_t column = matrix->column[k];
                int64_t importance = sketch_query(&self->sketch, row, column);
                least = importance < least ? importance : least;
                competing++;
                const entry candidate = {(float)importance, row, column};
                if (!half && self->active_place[column] < 0)
                    selector_offer(&self->best, &candidate, 1);
            }
        }
    }
    /* Less than what rounds to the same float as the least. */
    return competing < self->problem.nnz ? 1 : least - (least >> 23) - 1;
}

static void collect_important(collector *to, uint32_t row, const uint32_t *columns, size_t count,
                              int64_t threshold)
{
    const factored *self = to->owner;
    int64_t *importance = self->space[omp_get_thread_num()].importance;
    self->kernels->sketch_query(&self->sketch, row, columns, count, importance);
    for (size_t i = 0; i < count; i++)
        if (importance[i] >= threshold)
            collect(to, (float)importance[i], row, columns ? columns[i] : (uint32_t)i);
}

static reliht_status choose_by_sketch(factored *self, const step_view *view)
{
    selector_reset(&self->best);
    int64_t threshold = offer_support(self, view);
#pragma omp parallel num_threads(factored_threads(self, 4 * view->neurons * self->row_length))
    {
        collector to = collector_open(self, &self->space[omp_get_thread_num()]);
#pragma omp for schedule(dynamic, 8)
        for (size_t i = 0; i < view->neurons; i++) {
            uint32_t neuron = neuron_number(self, view, i);
            unsigned flags = neuron_flags(self, view, neuron);
            if (flags & HAS_HIDDEN)
                collect_important(&to, neuron, self->active, self->actives, threshold);
            if (flags & HAS_OUTPUT)
                collect_important(&to, output_row(self, neuron), NULL, self->problem.outputs,
                                  threshold);
        }
        collector_flush(&to);
    }
    return finish_choice(self);
}

reliht_status factored_choose(factored *self, const step_view *view, const step_sizes *sizes)
{
    if (self->problem.importance == RELIHT_IMPORTANCE_MAGNITUDE)
        return choose_by_magnitude(self, view, sizes);
    reliht_status status = add_updates(self, view, sizes);
    return status ? status : choose_by_sketch(self, view);
}

/* ---------------------------------------------------------------- candidates */

static double row_norm(row_view row)
{
    double sum = 0;
    for (size_t i = 0; i < row.count; i++)
        sum += (double)row.value[i] * (double)row.value[i];
    return sqrt(sum);
}

/* gradient / norm of one neuron's entries in W1 or W2 that hold no weight. */
static void collect_free(collector *to, uint32_t row, row_view weights, const uint32_t *columns,
                         size_t count, const float *gradient, double norm)
{
    size_t k = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t column = columns ? columns[i] : (uint32_t)i;
        while (k < weights.count && weights.column[k] < column)
            k++;
        if (k == weights.count || weights.column[k] != column)
            collect(to, (float)((double)gradient[i] / norm), row, column);
    }
}

static void collect_neuron(collector *to, const step_view *view, size_t first, size_t place)
{
    const factored *self = to->owner;
    uint32_t neuron = neuron_number(self, view, first + place);
    const float *row = self->block + place * self->row_length;
    row_view hidden = sparse_row(&self->now.hidden, neuron),
             output = sparse_row(&self->now.output, neuron);
    if (self->block_flags[place] & HAS_HIDDEN)
        collect_free(to, neuron, hidden, self->active, self->actives, row, row_norm(output));
    if (self->block_flags[place] & HAS_OUTPUT)
        collect_free(to, output_row(self, neuron), output, NULL, self->problem.outputs,
                     row + self->actives, row_norm(hidden));
}

reliht_status factored_candidates(factored *self, const step_view *view, size_t count)
{
    selector_reset(&self->best);
    self->best.keep = count;
    for (size_t first = 0, some; (some = factored_block(self, view, first)) > 0; first += some) {
#pragma omp parallel num_threads(factored_threads(self, some * self->row_length))
        {
            collector to = collector_open(self, &self->space[omp_get_thread_num()]);
#pragma omp for schedule(static)
            for (size_t place = 0; place < some; place++)
                collect_neuron(&to, view, first, place);
            collector_flush(&to);
        }
    }
    reliht_status status = finish_choice(self);
    self->best.keep = self->problem.nnz;
    return status;
}
