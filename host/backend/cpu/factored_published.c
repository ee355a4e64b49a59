/* The published choice of the support of the factored model, for comparison: neuron by neuron, W1
 * then W2 of each,
 *     sketch += -alpha g  (float32 counters, ascending entries)
 *     the block's old weights (or first draws) less alpha g join the union of the support
 *     the union is cut to the nnz most important by |query|, on ties the higher entry stays
 * Greedy and sequential by nature: every cut sees a half-updated sketch. Entries are numbered with
 * the hidden weights first: neuron * inputs + input, then hidden * inputs + neuron * outputs +
 * output. */
#include "backend/cpu/factored.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct ranked {
    double importance;
    size_t place;
} ranked;

struct greedy {
    size_t width;
    sketch_key key[SKETCH_ROWS];
    float *counter; /* [SKETCH_ROWS, width] */
    size_t count;   /* the support, ascending */
    uint64_t *index, *merged_index;
    float *value, *merged_value;
    ranked *order;
    float *update, *stepped; /* [max(inputs, outputs)] of a block */
};

reliht_status greedy_create(factored *owner)
{
    const factored_problem *problem = &owner->problem;
    reliht_context *context = factored_context(owner);
    greedy *self;
    reliht_status status = gate_allocate(context, MEMORY_workspace, 1, sizeof *self,
                                         "published importance", &owner->greedy);
    if (status)
        return status;
    self = owner->greedy;
    size_t longest = problem->inputs > problem->outputs ? problem->inputs : problem->outputs;
    double entries = (double)problem->hidden * (double)(problem->inputs + problem->outputs);
    sketch_draw_keys(problem->seed, self->key); /* of the same family as the exact choice's */
    self->width = problem->hashes ? problem->sketch_width : sketch_width(entries, problem->nnz);
#define ALLOCATE(category, field, count)                                                          \
    if (!status)                                                                                  \
    status = gate_allocate(context, category, count, sizeof *self->field, "published importance", \
                           &self->field)
    ALLOCATE(MEMORY_importance, counter, SKETCH_ROWS * self->width);
    ALLOCATE(MEMORY_weights, index, problem->nnz + longest);
    ALLOCATE(MEMORY_weights, value, problem->nnz + longest);
    ALLOCATE(MEMORY_weights, merged_index, problem->nnz + longest);
    ALLOCATE(MEMORY_weights, merged_value, problem->nnz + longest);
    ALLOCATE(MEMORY_candidates, order, problem->nnz + longest);
    ALLOCATE(MEMORY_workspace, update, longest);
    ALLOCATE(MEMORY_workspace, stepped, longest);
    return status;
}

void greedy_destroy(factored *owner)
{
    greedy *self = owner->greedy;
    if (!self)
        return;
    reliht_context *context = factored_context(owner);
    gate_release(context, self->counter);
    gate_release(context, self->index);
    gate_release(context, self->value);
    gate_release(context, self->merged_index);
    gate_release(context, self->merged_value);
    gate_release(context, self->order);
    gate_release(context, self->update);
    gate_release(context, self->stepped);
    gate_release(context, self);
    owner->greedy = NULL;
}

/* Counter and sign of an entry in row r of the sketch. */
static float *find_counter(const factored *owner, uint64_t index, size_t r, double *sign)
{
    const factored_problem *problem = &owner->problem;
    const greedy *self = owner->greedy;
    float *counter = self->counter + r * self->width;
    if (problem->hashes) {
        *sign = problem->hash_signs[index * SKETCH_ROWS + r];
        return counter + problem->hashes[index * SKETCH_ROWS + r];
    }
    uint32_t hash =
        sketch_hash(&self->key[r], (uint32_t)(index / UINT32_MAX), (uint32_t)(index % UINT32_MAX));
    *sign = (double)sketch_sign(hash);
    return counter + sketch_slot(hash, self->width);
}

static double importance_of(const factored *owner, uint64_t index)
{
    double value[SKETCH_ROWS];
    for (size_t r = 0; r < SKETCH_ROWS; r++) {
        double sign;
        const float *counter = find_counter(owner, index, r, &sign);
        value[r] = sign * (double)*counter;
    }
    double low = fmax(fmin(value[0], value[1]), fmin(value[2], value[3]));
    double high = fmin(fmax(value[0], value[1]), fmax(value[2], value[3]));
    return fabs(0.5 * (low + high));
}

/* The block's updates enter the sketch, each rounded to float once. */
static void add_updates(const factored *owner, uint64_t base, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t r = 0; r < SKETCH_ROWS; r++) {
            double sign;
            float *counter = find_counter(owner, base + i, r, &sign);
            *counter = (float)((double)*counter + sign * (double)owner->greedy->update[i]);
        }
}

/* The support with the block's stepped values in it; entries that aren't in it yet join if they
 * aren't zero. */
static void merge_block(greedy *self, uint64_t base, size_t count)
{
    size_t merged = 0, at = 0;
    for (; at < self->count && self->index[at] < base; at++, merged++) {
        self->merged_index[merged] = self->index[at];
        self->merged_value[merged] = self->value[at];
    }
    for (size_t i = 0; i < count; i++) {
        bool there = at < self->count && self->index[at] == base + i;
        at += there;
        if (!there && self->stepped[i] == 0.0f)
            continue;
        self->merged_index[merged] = base + i;
        self->merged_value[merged++] = self->stepped[i];
    }
    for (; at < self->count; at++, merged++) {
        self->merged_index[merged] = self->index[at];
        self->merged_value[merged] = self->value[at];
    }
    self->count = merged;
}

static int compare_ranked(const void *left, const void *right)
{
    const ranked *a = left, *b = right;
    if (a->importance != b->importance)
        return a->importance > b->importance ? -1 : 1;
    return a->place > b->place ? -1 : 1;
}

static int compare_places(const void *left, const void *right)
{
    const ranked *a = left, *b = right;
    return (a->place > b->place) - (a->place < b->place);
}

/* merged -> support: the nnz most important. */
static void cut(const factored *owner)
{
    greedy *self = owner->greedy;
    size_t nnz = owner->problem.nnz;
    for (size_t i = 0; i < self->count; i++)
        self->order[i] = (ranked){0, i};
    if (self->count > nnz) {
        for (size_t i = 0; i < self->count; i++)
            self->order[i].importance = importance_of(owner, self->merged_index[i]);
        qsort(self->order, self->count, sizeof *self->order, compare_ranked);
        self->count = nnz;
        qsort(self->order, self->count, sizeof *self->order, compare_places);
    }
    for (size_t i = 0; i < self->count; i++) {
        self->index[i] = self->merged_index[self->order[i].place];
        self->value[i] = self->merged_value[self->order[i].place];
    }
}

/* One block: entries base .. base + count - 1, old weights `row`, gradient at `columns`. */
static void step_block(const factored *owner, uint64_t base, size_t count, row_view row,
                       const uint32_t *columns, size_t gradients, const float *gradient,
                       float step_size)
{
    greedy *self = owner->greedy;
    memset(self->update, 0, count * sizeof *self->update);
    memset(self->stepped, 0, count * sizeof *self->stepped);
    for (size_t i = 0; i < gradients; i++)
        self->update[columns ? columns[i] : i] = -step_size * gradient[i];
    for (size_t k = 0; k < row.count; k++)
        self->stepped[row.column ? row.column[k] : k] = row.value[k];
    for (size_t i = 0; i < count; i++)
        self->stepped[i] += self->update[i];
    add_updates(owner, base, count);
    merge_block(self, base, count);
    cut(owner);
}

/* The support as it stands, into a list of numbered entries. */
static void list_weights(const factored *owner)
{
    greedy *self = owner->greedy;
    const factored_problem *problem = &owner->problem;
    self->count = 0;
    for (size_t half = 0; half < 2; half++) {
        const sparse *from = half ? &owner->now.output : &owner->now.hidden;
        uint64_t base = half ? (uint64_t)problem->hidden * problem->inputs : 0;
        for (size_t j = 0; j < from->live; j++)
            for (size_t k = from->start[j]; k < from->start[j + 1]; k++) {
                self->index[self->count] =
                    base + (uint64_t)from->row[j] * from->columns + from->column[k];
                self->value[self->count++] = from->value[k];
            }
    }
}

static void write_weights(factored *owner)
{
    const greedy *self = owner->greedy;
    const factored_problem *problem = &owner->problem;
    uint64_t outputs_from = (uint64_t)problem->hidden * problem->inputs;
    sparse_clear(&owner->next.hidden);
    sparse_clear(&owner->next.output);
    for (size_t i = 0; i < self->count; i++) {
        bool output = self->index[i] >= outputs_from;
        uint64_t place = self->index[i] - (output ? outputs_from : 0);
        size_t columns = output ? problem->outputs : problem->inputs;
        if (self->value[i] != 0.0f)
            sparse_append(output ? &owner->next.output : &owner->next.hidden,
                          (uint32_t)(place / columns), (uint32_t)(place % columns), self->value[i]);
    }
}

reliht_status greedy_step(factored *owner, const step_view *view, double step_size)
{
    const factored_problem *problem = &owner->problem;
    uint64_t outputs_from = (uint64_t)problem->hidden * problem->inputs;
    double start = clock_wall();
    list_weights(owner);
    for (size_t first = 0, count; (count = factored_block(owner, view, first)) > 0; first += count)
        for (size_t place = 0; place < count; place++) {
            neuron_view neuron;
            neuron_open(owner, view, neuron_number(owner, view, first + place), owner->space, 0,
                        &neuron);
            const float *row = owner->block + place * owner->row_length;
            step_block(owner, (uint64_t)neuron.neuron * problem->inputs, problem->inputs,
                       neuron.hidden, owner->active, neuron.flags & HAS_HIDDEN ? owner->actives : 0,
                       row, (float)step_size);
            step_block(owner, outputs_from + (uint64_t)neuron.neuron * problem->outputs,
                       problem->outputs, neuron.output, NULL,
                       neuron.flags & HAS_OUTPUT ? problem->outputs : 0, row + owner->actives,
                       (float)step_size);
        }
    write_weights(owner);
    owner->report.seconds_sweep = clock_wall() - start;
    return RELIHT_OK;
}
