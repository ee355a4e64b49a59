/* Restricted constants of A over k-sparse v, for k = s, 2s, 3s:
 *     convexity   m_k = min |A v|^2 / (n |v|^2),     smoothness   L_k = max |A v|^2 / (n |v|^2).
 * Finding them is as hard as the best support is; every v gives bounds from inside, and they are
 * looked for in three ways:
 *  - random directions: support uniform over the columns, values N(0,1);
 *  - random supports: extreme eigenvalues of A_S^T A_S / n;
 *  - searches, from the k columns that are most correlated with a drawn one (A^T of that column,
 * the top k: near-copies of it in other neurons) and from random supports: largest   truncated
 * power iteration (Yuan & Zhang 2013): v <- top_k(A^T A v), normalised, whose quotient never falls;
 * at its end the eigenvector on the support found; smallest  v <- eigenvector of the smallest
 * eigenvalue on S; its gradient A^T A v vanishes on S but for lambda v, so the k largest other
 * entries T are the columns that could cancel more of A v; then the smallest eigenvector on S and T
 * together, its top k for the new S, as long as the eigenvalue falls. It is power iteration with
 * thresholding on the shifted operator lambda_max - A^T A / n with exact steps on the support,
 *                where fixed ones would be far too short.
 * Memory: a few vectors over samples and 6 s entries; the sweep streams A^T u to the selector. */
#include "solver/certify.h"

#include "core/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SPECTRUM_STEPS 40u /* of Lanczos' method */
/* A search goes on while its value changes by more than this share. */
#define SEARCH_PROGRESS 1e-4

/* Streams (seed, RNG_CERTIFY, row): the kind of draw, the sparsity level and a number. */
typedef enum stream_kind {
    STREAM_POSITIONS = 1,
    STREAM_VALUES,
    STREAM_LANCZOS,
    STREAM_COLUMN
} stream_kind;

typedef struct spectrum {
    certifier *owner;
    restricted operator;
    reliht_certificate_level *level;
    size_t number;        /* of the level */
    size_t capacity;      /* entries of a support */
    sparse support, next; /* room for capacity */
    sparse top;           /* as many as the operator's nnz */
    entry *entries;       /* [2 capacity] */
    float *image;         /* [samples] */
    uint64_t *positions, *scratch;
} spectrum;

static uint64_t stream_row(const spectrum *self, stream_kind kind, size_t number)
{
    return (uint64_t)kind << 56 | (uint64_t)self->number << 48 | (uint64_t)number;
}

static uint64_t lanczos_seed(const spectrum *self, size_t number)
{
    uint32_t words[4];
    rng_block(self->owner->options->seed, RNG_CERTIFY, stream_row(self, STREAM_LANCZOS, number), 0,
              words);
    return (uint64_t)words[0] << 32 | words[1];
}

/* ---------------------------------------------------------------- supports */

static int compare_places(const void *left, const void *right)
{
    const entry *a = left, *b = right;
    if (a->row != b->row)
        return a->row < b->row ? -1 : 1;
    return (a->column > b->column) - (a->column < b->column);
}

/* Larger magnitude first, ties by place. */
static int compare_magnitudes(const void *left, const void *right)
{
    const entry *a = left, *b = right;
    float x = fabsf(a->value), y = fabsf(b->value);
    if (x != y)
        return x > y ? -1 : 1;
    return compare_places(left, right);
}

static size_t entries_of(const sparse *from, entry *entries)
{
    size_t count = 0;
    for (size_t j = 0; j < from->live; j++)
        for (size_t k = from->start[j]; k < from->start[j + 1]; k++)
            entries[count++] = (entry){from->value[k], from->row[j], from->column[k]};
    return count;
}

/* to <- the `keep` largest of `count` entries. */
static void keep_largest(entry *entries, size_t count, size_t keep, sparse *to)
{
    qsort(entries, count, sizeof *entries, compare_magnitudes);
    count = count < keep ? count : keep;
    qsort(entries, count, sizeof *entries, compare_places);
    sparse_clear(to);
    for (size_t i = 0; i < count; i++)
        sparse_append(to, entries[i].row, entries[i].column, entries[i].value);
}

/* support <- k distinct columns, values N(0,1). */
static void draw_direction(spectrum *self, size_t number)
{
    const certifier *owner = self->owner;
    size_t k = self->level->sparsity;
    uint64_t room = (uint64_t)owner->usable_count * owner->usable_input_count;
    rng_distinct(owner->options->seed, RNG_CERTIFY, stream_row(self, STREAM_POSITIONS, number),
                 room, k, self->positions, self->scratch);
    sparse_clear(&self->support);
    for (size_t i = 0; i < k; i++) {
        uint32_t word = rng_word(owner->options->seed, RNG_CERTIFY,
                                 stream_row(self, STREAM_VALUES, number), (uint32_t)i);
        sparse_append(&self->support, owner->usable[self->positions[i] / owner->usable_input_count],
                      owner->usable_inputs[self->positions[i] % owner->usable_input_count],
                      rng_normal_of(word));
    }
}

/* ---------------------------------------------------------------- values */

static void note(reliht_certificate_level *level, double value)
{
    level->convexity = fmin(level->convexity, value);
    level->smoothness = fmax(level->smoothness, value);
}

/* Quotient of the direction `v`; image <- A v. */
static reliht_status quotient_of(spectrum *self, const sparse *v, double *quotient)
{
    double squares, norm = 0;
    for (size_t k = 0; k < v->nnz; k++)
        norm += (double)v->value[k] * (double)v->value[k];
    reliht_status status = restricted_set_targets(&self->operator, NULL);
    if (!status)
        status = restricted_load(&self->operator, v, PATTERNS_DRAWN);
    if (!status)
        status = restricted_product(&self->operator, v->value, self->image, NULL, &squares);
    if (!status)
        *quotient = squares / (norm * (double)self->owner->dataset->samples);
    return status;
}

/* Extreme eigenvalues on the support of v, which becomes the eigenvector of the smallest or, with
 * `largest`, of the largest. */
static reliht_status solve_on_support(spectrum *self, sparse *v, size_t number, bool largest,
                                      restricted_spectrum *values)
{
    reliht_status status = restricted_set_targets(&self->operator, NULL);
    if (!status)
        status = restricted_load(&self->operator, v, PATTERNS_DRAWN);
    if (!status)
        status =
            restricted_extremes(&self->operator, v->nnz, SPECTRUM_STEPS, lanczos_seed(self, number),
                                values, largest ? NULL : v->value, largest ? v->value : NULL);
    return status;
}

/* ---------------------------------------------------------------- random directions and supports
 */

static reliht_status sample_directions(spectrum *self)
{
    const reliht_certify_options *options = self->owner->options;
    reliht_certificate_level *level = self->level;
    for (size_t i = 0; i < options->directions; i++) {
        double value;
        draw_direction(self, i);
        reliht_status status = quotient_of(self, &self->support, &value);
        if (!status)
            status = certify_progress(self->owner, level->sparsity, value);
        if (status)
            return status;
        level->direction_min = fmin(level->direction_min, value);
        level->direction_max = fmax(level->direction_max, value);
        note(level, value);
        if (options->direction_values)
            options->direction_values[self->number * options->directions + i] = value;
    }
    return RELIHT_OK;
}

static reliht_status sample_supports(spectrum *self)
{
    const reliht_certify_options *options = self->owner->options;
    reliht_certificate_level *level = self->level;
    for (size_t i = 0; i < options->supports; i++) {
        restricted_spectrum values;
        draw_direction(self, options->directions + i);
        reliht_status status = solve_on_support(self, &self->support, i, false, &values);
        if (!status)
            status = certify_progress(self->owner, level->sparsity, values.smallest);
        if (status)
            return status;
        level->support_min = fmin(level->support_min, values.smallest);
        level->support_max = fmax(level->support_max, values.largest);
        note(level, values.smallest);
        note(level, values.largest);
        size_t place = self->number * options->supports + i;
        if (options->smallest_values)
            options->smallest_values[place] = values.smallest;
        if (options->largest_values)
            options->largest_values[place] = values.largest;
    }
    return RELIHT_OK;
}

/* ---------------------------------------------------------------- searches */

/* support <- the k entries of A^T A v of largest magnitude for the v whose image is at hand, of
 * norm 1. */
static reliht_status threshold_adjoint(spectrum *self)
{
    double norm = 0;
    reliht_status status = restricted_top(&self->operator, self->image, &self->top);
    if (status)
        return status;
    keep_largest(self->entries, entries_of(&self->top, self->entries), self->level->sparsity,
                 &self->support);
    for (size_t k = 0; k < self->support.nnz; k++)
        norm += (double)self->support.value[k] * (double)self->support.value[k];
    for (size_t k = 0; k < self->support.nnz; k++)
        self->support.value[k] = (float)((double)self->support.value[k] / sqrt(norm));
    return RELIHT_OK;
}

/* support <- where search `number` starts: every other one near-copies of a drawn column. */
static reliht_status start_search(spectrum *self, size_t number, double *value)
{
    const certifier *owner = self->owner;
    const uint64_t row = stream_row(self, STREAM_COLUMN, number);
    if (number % 2) {
        draw_direction(self, owner->options->directions + owner->options->supports + number);
        return quotient_of(self, &self->support, value);
    }
    uint64_t pattern = rng_below(owner->options->seed, RNG_CERTIFY, row, 0, owner->usable_count);
    uint64_t input =
        rng_below(owner->options->seed, RNG_CERTIFY, row, 1, owner->usable_input_count);
    sparse_clear(&self->support);
    sparse_append(&self->support, owner->usable[pattern], owner->usable_inputs[input], 1);
    reliht_status status = quotient_of(self, &self->support, value);
    if (!status && *value > 0)
        status = threshold_adjoint(self);
    return status;
}

static reliht_status search_largest(spectrum *self, size_t number)
{
    const certifier *owner = self->owner;
    restricted_spectrum values;
    double before = 0, value;
    reliht_status status = start_search(self, number, &value);
    for (size_t i = 0; !status && i < owner->options->iterations; i++) {
        status = quotient_of(self, &self->support, &value);
        if (status || !(value > before * (1 + SEARCH_PROGRESS)))
            break;
        note(self->level, value);
        before = value;
        status = threshold_adjoint(self);
        if (!status)
            status = certify_progress(self->owner, self->level->sparsity, value);
    }
    if (!status && self->support.nnz)
        status = solve_on_support(self, &self->support, number, true, &values);
    if (status || !self->support.nnz)
        return status;
    note(self->level, values.largest);
    note(self->level, values.smallest);
    return RELIHT_OK;
}

/* next <- the support S and the k entries of A^T A v outside it that are largest. */
static reliht_status widen_support(spectrum *self)
{
    reliht_status status = restricted_top(&self->operator, self->image, &self->top);
    if (status)
        return status;
    size_t count = entries_of(&self->support, self->entries);
    size_t found = entries_of(&self->top, self->entries + count);
    entry *others = self->entries + count;
    size_t outside = 0;
    for (size_t i = 0; i < found; i++)
        if (!bsearch(&others[i], self->entries, count, sizeof *others, compare_places))
            others[outside++] = others[i];
    qsort(others, outside, sizeof *others, compare_magnitudes);
    count += outside < self->level->sparsity ? outside : self->level->sparsity;
    keep_largest(self->entries, count, count, &self->next);
    return RELIHT_OK;
}

static reliht_status search_smallest(spectrum *self, size_t number)
{
    const certifier *owner = self->owner;
    const size_t k = self->level->sparsity;
    restricted_spectrum values;
    double best = INFINITY, quotient;
    reliht_status status = start_search(self, number, &quotient);
    for (size_t i = 0; !status && self->support.nnz && i < owner->options->iterations; i++) {
        status = solve_on_support(self, &self->support, number, false, &values);
        if (status || !(values.smallest < best * (1 - SEARCH_PROGRESS)))
            break;
        note(self->level, values.smallest);
        best = values.smallest;
        status = quotient_of(self, &self->support, &quotient);
        if (!status && quotient > 0)
            status = widen_support(self);
        if (!status && quotient > 0)
            status = solve_on_support(self, &self->next, number, false, &values);
        if (!status)
            status = certify_progress(self->owner, k, best);
        if (quotient == 0)
            break;
        if (!status)
            keep_largest(self->entries, entries_of(&self->next, self->entries), k, &self->support);
    }
    return status;
}

/* ---------------------------------------------------------------- levels */

static reliht_status measure_level(spectrum *self)
{
    reliht_certificate_level *level = self->level;
    level->direction_min = level->support_min = level->convexity = INFINITY;
    level->smoothness_bound = (double)level->sparsity * self->owner->largest_column;
    /* what is sparser is sparse enough */
    if (self->number) {
        note(level, level[-1].convexity);
        note(level, level[-1].smoothness);
    }
    reliht_status status = sample_directions(self);
    if (!status)
        status = sample_supports(self);
    for (size_t i = 0; !status && i < self->owner->options->searches; i++) {
        status = search_largest(self, i);
        if (!status)
            status = search_smallest(self, i);
    }
    return status;
}

static reliht_status spectrum_open(certifier *owner, size_t columns, spectrum *self)
{
    reliht_context *context = owner->context;
    size_t widest = 2 * owner->result->levels[2].sparsity;
    *self = (spectrum){.owner = owner, .capacity = widest < columns ? widest : columns};
    reliht_status status = certify_open(owner, self->capacity, &self->operator);
    if (status)
        return status;
    sparse *const matrices[] = {&self->support, &self->next, &self->top};
    for (size_t i = 0; !status && i < 3; i++)
        status = sparse_create(context, matrices[i], owner->hidden, owner->inputs, self->capacity);
#define ALLOCATE(field, count)                                                                  \
    if (!status)                                                                                \
    status = gate_allocate(context, MEMORY_workspace, count, sizeof *self->field, "directions", \
                           &self->field)
    ALLOCATE(entries, 2 * self->capacity);
    ALLOCATE(image, owner->dataset->samples);
    ALLOCATE(positions, self->capacity);
    ALLOCATE(scratch, 4 * self->capacity + 64);
#undef ALLOCATE
    return status;
}

static void spectrum_close(spectrum *self)
{
    reliht_context *context = self->owner->context;
    gate_release(context, self->scratch);
    gate_release(context, self->positions);
    gate_release(context, self->image);
    gate_release(context, self->entries);
    sparse_destroy(context, &self->top);
    sparse_destroy(context, &self->next);
    sparse_destroy(context, &self->support);
    restricted_close(&self->operator);
}

reliht_status certify_spectrum(certifier *owner)
{
    spectrum self;
    size_t columns = owner->usable_count * owner->usable_input_count;
    size_t s = owner->result->sparsity;
    for (size_t i = 0; i < 3; i++)
        owner->result->levels[i].sparsity = (i + 1) * s < columns ? (i + 1) * s : columns;
    reliht_status status = spectrum_open(owner, columns, &self);
    for (size_t i = 0; !status && i < 3; i++) {
        self.level = &owner->result->levels[i];
        self.number = i;
        status = measure_level(&self);
    }
    spectrum_close(&self);
    return status;
}
