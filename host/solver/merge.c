/* Merging neurons that the data cannot tell apart. With D the pattern of w_a and of w_b,
 *     relu(X w_a) + relu(X w_b) = D * (X (w_a + w_b)) = relu(X (w_a + w_b)):
 * where D is 1 both products are positive, where it is 0 neither is, so the sum has the pattern D
 * too. Equal patterns (not only parallel weights) are thus what makes neurons one. Of opposite
 * signs, relu(X w_a) - relu(X w_b) has weights w_a - w_b, whose pattern may be another; where
 * w_b = c w_a it is (1 - c) relu(X w_a), one neuron of the sign of 1 - c.
 * With several outputs equal patterns are not enough: D * (X w_a) v_a' + D * (X w_b) v_b' is of
 * rank 2 unless one side is parallel. Where w_b = c w_a it is D * (X w_a) (v_a + c v_b)'; neurons
 * of which only v_a and v_b are parallel stay two. */
#include "solver/merge.h"

#include "solver/restricted.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Weights of parallel neurons agree to this relative difference. */
#define PARALLEL_TOLERANCE 1e-6
/* Of unit length, with one pattern: directions that differ by less are one. */
#define DIRECTION_TOLERANCE 1e-4

typedef struct neuron_pattern {
    uint64_t hash;
    const uint64_t *bits;
    size_t words;
    size_t place; /* among the live rows */
} neuron_pattern;

/* Neurons of one pattern: patterns[first .. first + count). */
typedef struct pattern_group {
    size_t place; /* of the first of its neurons: the order of groups */
    size_t first, count;
} pattern_group;

/* One weight of a group, `negative` if its neuron subtracts. */
typedef struct group_weight {
    uint32_t column;
    bool negative;
    double value;
    size_t place;
} group_weight;

typedef struct merger {
    reliht_context *context;
    const reliht_model *model;
    size_t samples, words;
    uint64_t *bits; /* [live, words] */
    neuron_pattern *patterns;
    pattern_group *groups;
    size_t group_count;
    group_weight *scratch; /* fused: [nnz] */
    double *sum;           /* factored: [outputs] */
    uint8_t *done;         /* factored: [live], neurons that are merged already */
    merged_network *merged;
} merger;

static uint64_t hash_words(const uint64_t *words, size_t count)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ words[i]) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
    }
    return hash;
}

static size_t active_samples(const uint64_t *words, size_t count)
{
    size_t active = 0;
    for (size_t i = 0; i < count; i++)
        active += (size_t)__builtin_popcountll(words[i]);
    return active;
}

static int compare_patterns(const void *left, const void *right)
{
    const neuron_pattern *a = left, *b = right;
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    int order = memcmp(a->bits, b->bits, a->words * sizeof *a->bits);
    return order ? order : (a->place > b->place) - (a->place < b->place);
}

static int compare_groups(const void *left, const void *right)
{
    size_t a = ((const pattern_group *)left)->place, b = ((const pattern_group *)right)->place;
    return (a > b) - (a < b);
}

static int compare_weights(const void *left, const void *right)
{
    const group_weight *a = left, *b = right;
    if (a->negative != b->negative)
        return a->negative ? 1 : -1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return (a->place > b->place) - (a->place < b->place);
}

/* The bits of all neurons with weights. */
static reliht_status form_patterns(merger *self, const reliht_dataset *dataset)
{
    const sparse *weights = &self->model->hidden[0];
    const fused_problem problem = {.hidden = weights->rows,
                                   .inputs = weights->columns,
                                   .nnz = weights->nnz,
                                   .signs = RELIHT_SIGNS_PLUS};
    restricted operator;
    reliht_status status = restricted_open(self->context, dataset, &problem, &operator);
    if (status)
        return status;
    self->words = operator.words;
    status = gate_allocate(self->context, MEMORY_patterns, weights->live * self->words,
                           sizeof *self->bits, "patterns to compare", &self->bits);
    if (!status)
        status = restricted_load(&operator, weights, PATTERNS_WEIGHTS);
    if (!status)
        status = restricted_patterns(&operator, self->bits);
    restricted_close(&operator);
    return status;
}

/* Groups of equal patterns that are not empty, in the order of their first neurons. */
static void form_groups(merger *self)
{
    size_t live = self->model->hidden[0].live;
    for (size_t i = 0; i < live; i++) {
        const uint64_t *bits = self->bits + i * self->words;
        self->patterns[i] = (neuron_pattern){hash_words(bits, self->words), bits, self->words, i};
    }
    qsort(self->patterns, live, sizeof *self->patterns, compare_patterns);
    for (size_t first = 0, end; first < live; first = end) {
        const neuron_pattern *pattern = &self->patterns[first];
        for (end = first + 1; end < live; end++)
            if (self->patterns[end].hash != pattern->hash ||
                memcmp(self->patterns[end].bits, pattern->bits,
                       self->words * sizeof *pattern->bits) != 0)
                break;
        if (active_samples(pattern->bits, self->words))
            self->groups[self->group_count++] = (pattern_group){pattern->place, first, end - first};
        else
            self->merged->inactive += end - first;
    }
    qsort(self->groups, self->group_count, sizeof *self->groups, compare_groups);
}

/* The weights of a group, equal columns of equal sign added up and zeros dropped: those that add
 * first. Returns their number, *positive of which add. */
static size_t sum_group(merger *self, const pattern_group *group, size_t *positive)
{
    const sparse *weights = &self->model->hidden[0];
    group_weight *scratch = self->scratch;
    size_t count = 0, kept = 0;
    for (size_t i = 0; i < group->count; i++) {
        size_t place = self->patterns[group->first + i].place;
        bool negative = neuron_sign(self->model->signs, weights->row[place]) < 0;
        for (size_t k = weights->start[place]; k < weights->start[place + 1]; k++)
            scratch[count++] =
                (group_weight){weights->column[k], negative, (double)weights->value[k], place};
    }
    qsort(scratch, count, sizeof *scratch, compare_weights);
    *positive = 0;
    for (size_t k = 0; k < count;) {
        group_weight sum = scratch[k++];
        while (k < count && scratch[k].column == sum.column && scratch[k].negative == sum.negative)
            sum.value += scratch[k++].value;
        if ((float)sum.value == 0)
            continue;
        scratch[kept++] = sum;
        *positive += !sum.negative;
    }
    return kept;
}

/* Whether b [count] is c a, c > 0; *factor <- c. */
static bool parallel(const group_weight *a, const group_weight *b, size_t count, double *factor)
{
    *factor = b->value / a->value;
    for (size_t k = 0; k < count; k++)
        if (a[k].column != b[k].column ||
            fabs(b[k].value - *factor * a[k].value) > PARALLEL_TOLERANCE * fabs(b[k].value))
            return false;
    return *factor > 0;
}

static void append_neuron(merger *self, uint32_t row, const group_weight *weights, size_t count,
                          double factor)
{
    for (size_t k = 0; k < count; k++)
        sparse_append(&self->merged->weights, row, weights[k].column,
                      (float)(factor * weights[k].value));
}

/* Appends the one or two neurons that a group comes to, or none. */
static void append_group(merger *self, size_t number)
{
    const pattern_group *group = &self->groups[number];
    size_t positive, before = self->merged->weights.live;
    size_t count = sum_group(self, group, &positive), negative = count - positive;
    const group_weight *adds = self->scratch, *subtracts = self->scratch + positive;
    uint32_t row = (uint32_t)(2 * number);
    double factor;
    if (positive && positive == negative && parallel(adds, subtracts, positive, &factor)) {
        if (fabs(1 - factor) <= PARALLEL_TOLERANCE)
            return;
        append_neuron(self, row + (factor > 1), adds, positive, fabs(1 - factor));
    } else {
        append_neuron(self, row, adds, positive, 1);
        append_neuron(self, row + 1, subtracts, negative, 1);
    }
    const uint64_t *bits = self->patterns[group->first].bits;
    if (active_samples(bits, self->words) == self->samples)
        self->merged->always_active += self->merged->weights.live - before;
}

/* ---------------------------------------------------------------- several outputs */

static bool same_direction(const sparse *matrix, size_t a, size_t b)
{
    double length_a = sqrt(sparse_row_squares(matrix, a)),
           length_b = sqrt(sparse_row_squares(matrix, b));
    size_t p = matrix->start[a], q = matrix->start[b];
    while (p < matrix->start[a + 1] || q < matrix->start[b + 1]) {
        bool left = p < matrix->start[a + 1], right = q < matrix->start[b + 1];
        bool take_left = left && (!right || matrix->column[p] <= matrix->column[q]);
        bool take_right = right && (!left || matrix->column[q] <= matrix->column[p]);
        double difference = 0;
        if (take_left)
            difference += (double)matrix->value[p++] / length_a;
        if (take_right)
            difference -= (double)matrix->value[q++] / length_b;
        if (fabs(difference) > DIRECTION_TOLERANCE)
            return false;
    }
    return true;
}

/* sum += |w1| w2 of a neuron. */
static void add_outputs(merger *self, size_t place)
{
    const sparse *hidden = &self->model->hidden[0], *output = &self->model->output;
    size_t from = sparse_find_row(output, hidden->row[place]);
    if (from == output->live)
        return;
    double length = sqrt(sparse_row_squares(hidden, place));
    for (size_t k = output->start[from]; k < output->start[from + 1]; k++)
        self->sum[output->column[k]] += length * (double)output->value[k];
}

/* Appends w1 of a neuron and the sum, both at the square root of the length of their product. */
static void append_balanced(merger *self, size_t place)
{
    const sparse *hidden = &self->model->hidden[0];
    sparse *to = &self->merged->weights;
    uint32_t row = (uint32_t)(2 * to->live);
    double squares = 0, length = sqrt(sparse_row_squares(hidden, place));
    for (size_t k = 0; k < self->model->outputs; k++)
        squares += self->sum[k] * self->sum[k];
    double side = sqrt(sqrt(squares));
    for (size_t k = hidden->start[place]; side > 0 && k < hidden->start[place + 1]; k++)
        sparse_append(to, row, hidden->column[k],
                      (float)(side * (double)hidden->value[k] / length));
    for (size_t k = 0; k < self->model->outputs; k++)
        if (self->sum[k] != 0)
            sparse_append(to, row, (uint32_t)(self->model->inputs + 1 + k),
                          (float)(self->sum[k] / side));
}

/* Appends the neurons that a group comes to: one for each direction with outputs. */
static void append_factored_group(merger *self, size_t number)
{
    const pattern_group *group = &self->groups[number];
    const neuron_pattern *patterns = self->patterns + group->first;
    for (size_t i = 0; i < group->count; i++) {
        if (self->done[patterns[i].place])
            continue;
        memset(self->sum, 0, self->model->outputs * sizeof *self->sum);
        for (size_t k = i; k < group->count; k++) {
            size_t place = patterns[k].place;
            if (!self->done[place] &&
                same_direction(&self->model->hidden[0], patterns[i].place, place)) {
                add_outputs(self, place);
                self->done[place] = 1;
            }
        }
        append_balanced(self, patterns[i].place);
    }
}

/* ---------------------------------------------------------------- the whole */

static reliht_status check_model(reliht_context *context, const reliht_model *model,
                                 const reliht_dataset *dataset)
{
    if (model->layers != 1)
        return fail(context, RELIHT_ARGUMENT,
                    "the network has %zu hidden layers; one hidden layer is needed", model->layers);
    if (model->inputs != dataset->inputs)
        return fail(context, RELIHT_ARGUMENT, "the network reads %zu inputs, but the data have %zu",
                    model->inputs, dataset->inputs);
    return RELIHT_OK;
}

reliht_status merge_network(reliht_context *context, const reliht_model *model,
                            const reliht_dataset *dataset, merged_network *merged)
{
    merger self = {
        .context = context, .model = model, .samples = dataset->samples, .merged = merged};
    *merged = (merged_network){0};
    reliht_status status = check_model(context, model, dataset);
    if (status)
        return status;
    const sparse *weights = &model->hidden[0];
    bool one_output = model->kind == RELIHT_FUSED;
    merged->neurons = weights->live;
    status = sparse_create(context, &merged->weights, 2 * weights->live,
                           one_output ? weights->columns : model->inputs + 1 + model->outputs,
                           weights->nnz + model->output.nnz);
    if (!status && weights->nnz)
        status = form_patterns(&self, dataset);
#define ALLOCATE(field, count)                                                   \
    if (!status)                                                                 \
    status = gate_allocate(context, MEMORY_workspace, count, sizeof *self.field, \
                           "neurons to merge", &self.field)
    ALLOCATE(patterns, weights->live);
    ALLOCATE(groups, weights->live);
    if (one_output) {
        ALLOCATE(scratch, weights->nnz);
    } else {
        ALLOCATE(sum, model->outputs);
        ALLOCATE(done, weights->live);
    }
#undef ALLOCATE
    if (!status) {
        form_groups(&self);
        for (size_t group = 0; group < self.group_count; group++)
            if (one_output)
                append_group(&self, group);
            else
                append_factored_group(&self, group);
    }
    gate_release(context, self.done);
    gate_release(context, self.sum);
    gate_release(context, self.scratch);
    gate_release(context, self.groups);
    gate_release(context, self.patterns);
    gate_release(context, self.bits);
    if (status)
        merged_destroy(context, merged);
    return status;
}

void merged_destroy(reliht_context *context, merged_network *merged)
{
    sparse_destroy(context, &merged->weights);
}
