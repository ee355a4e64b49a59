/* Assignment by shortest augmenting paths with potentials (Kuhn's Hungarian method in the form of
 * Edmonds & Karp; Jonker & Volgenant 1987), on the gains
 *     g_ij = |a_i|^2 + |b_j|^2 - |a_i - b_j|^2 = 2 a_i . b_j,
 * which are not zero only where two rows share a column. Pairs of no positive gain are as good
 * unpaired, so the graph is sparse, and it is never stored: the gains of a row are formed from the
 * columns of `right` whenever the row is reached; columns that do not pair rows only add to them.
 * Memory is O(entries + columns); one of the left->live searches costs O(k^2 + entries of the rows
 * it reaches) for k rows reached, and ends at once where the best partner is still free. */
#include "model/matching.h"

#include <math.h>
#include <string.h>

typedef struct matching {
    const sparse *left, *right;
    size_t pairing;  /* columns below this pair rows */
    size_t *partner; /* [left->live], right->live: none */
    size_t *owner;   /* [right->live], left->live: free */
    /* right by columns */
    size_t *start;  /* [columns + 1] */
    uint32_t *rows; /* [nnz], places in right->row */
    float *values;
    double *u, *v; /* potentials: -g_ij - u_i - v_j >= 0, and -u_i >= 0 for staying alone */
    double *gain;  /* [right->live] of the row at hand, 0 elsewhere */
    size_t *gained;
    size_t gained_count;
    /* the search under way */
    double *distance; /* [right->live] */
    size_t *from;     /* row of `left` a place was reached from */
    bool *done;
    size_t *reached;
    size_t reached_count;
    double alone; /* shortest way to a row that gives up its partner, and that row */
    size_t alone_row;
} matching;

static reliht_status matching_open(reliht_context *context, matching *self)
{
    const sparse *right = self->right;
    size_t count = right->live;
    reliht_status status = RELIHT_OK;
#define ALLOCATE(field, elements)                                                    \
    if (!status)                                                                     \
    status = gate_allocate(context, MEMORY_workspace, elements, sizeof *self->field, \
                           "matching of neurons", &self->field)
    ALLOCATE(owner, count);
    ALLOCATE(start, right->columns + 1);
    ALLOCATE(rows, right->nnz);
    ALLOCATE(values, right->nnz);
    ALLOCATE(u, self->left->live);
    ALLOCATE(v, count);
    ALLOCATE(gain, count);
    ALLOCATE(gained, count);
    ALLOCATE(distance, count);
    ALLOCATE(from, count);
    ALLOCATE(done, count);
    ALLOCATE(reached, count);
#undef ALLOCATE
    return status;
}

static void matching_close(reliht_context *context, matching *self)
{
    void *const arrays[] = {self->owner, self->start,    self->rows, self->values,
                            self->u,     self->v,        self->gain, self->gained,
                            self->from,  self->distance, self->done, self->reached};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        gate_release(context, arrays[i]);
}

/* `right` by columns; within a column by ascending row. */
static void index_columns(matching *self)
{
    const sparse *right = self->right;
    for (size_t k = 0; k < right->nnz; k++)
        self->start[right->column[k] + 1]++;
    for (size_t c = 0; c < right->columns; c++)
        self->start[c + 1] += self->start[c];
    for (size_t j = right->live; j-- > 0;)
        for (size_t k = right->start[j]; k < right->start[j + 1]; k++) {
            /* the end of a column moves down to its start, and is put back below */
            size_t place = --self->start[right->column[k] + 1];
            self->rows[place] = (uint32_t)j;
            self->values[place] = right->value[k];
        }
    memmove(self->start, self->start + 1, right->columns * sizeof *self->start);
    self->start[right->columns] = right->nnz;
}

/* Twice the product of two rows over the columns that do not pair them. */
static double other_columns(const matching *self, size_t i, size_t j)
{
    const sparse *left = self->left, *right = self->right;
    size_t p = left->start[i + 1], q = right->start[j + 1];
    double sum = 0;
    while (p > left->start[i] && q > right->start[j]) {
        uint32_t a = left->column[p - 1], b = right->column[q - 1];
        if (a < self->pairing || b < self->pairing)
            break;
        if (a == b)
            sum += 2 * (double)left->value[p - 1] * (double)right->value[q - 1];
        p -= a >= b;
        q -= b >= a;
    }
    return sum;
}

/* Gains of row i with all rows it shares a pairing column with. */
static void collect_gains(matching *self, size_t i)
{
    const sparse *left = self->left, *right = self->right;
    for (size_t g = 0; g < self->gained_count; g++)
        self->gain[self->gained[g]] = 0;
    self->gained_count = 0;
    for (size_t k = left->start[i]; k < left->start[i + 1] && left->column[k] < self->pairing;
         k++) {
        size_t column = left->column[k];
        for (size_t e = self->start[column]; e < self->start[column + 1]; e++) {
            size_t j = self->rows[e];
            if ((left->row[i] ^ right->row[j]) & 1u)
                continue;
            if (self->gain[j] == 0)
                self->gained[self->gained_count++] = j;
            double product = 2 * (double)left->value[k] * (double)self->values[e];
            /* a sum that is zero by cancellation must not look unseen */
            self->gain[j] = self->gain[j] + product == 0 ? -1e-300 : self->gain[j] + product;
        }
    }
    for (size_t g = 0; g < self->gained_count; g++)
        self->gain[self->gained[g]] += other_columns(self, i, self->gained[g]);
}

/* Ways that go on from row i, which is reached at `base`. */
static void relax(matching *self, size_t i, double base)
{
    for (size_t g = 0; g < self->gained_count; g++) {
        size_t j = self->gained[g];
        double way = base - self->gain[j] - self->u[i] - self->v[j];
        if (self->gain[j] <= 0 || self->done[j] || way >= self->distance[j])
            continue;
        if (self->distance[j] == INFINITY)
            self->reached[self->reached_count++] = j;
        self->distance[j] = way;
        self->from[j] = i;
    }
    if (base - self->u[i] < self->alone) {
        self->alone = base - self->u[i];
        self->alone_row = i;
    }
}

/* The nearest place that is reached and not done; right->live if there is none. */
static size_t nearest(const matching *self)
{
    size_t best = self->right->live;
    for (size_t k = 0; k < self->reached_count; k++) {
        size_t j = self->reached[k];
        if (!self->done[j] &&
            (best == self->right->live || self->distance[j] < self->distance[best]))
            best = j;
    }
    return best;
}

/* Shifts partners along the path that ends at place `j`, or at a row that stays alone. */
static void augment(matching *self, size_t first, size_t j)
{
    size_t i;
    if (j == self->right->live) {
        i = self->alone_row;
        j = self->partner[i];
        self->partner[i] = self->right->live;
        if (i == first)
            return;
    }
    do {
        i = self->from[j];
        size_t next = self->partner[i];
        self->partner[i] = j;
        self->owner[j] = i;
        j = next;
    } while (i != first);
}

/* Brings row `first` into the pairing by the shortest augmenting path. */
static void add_row(matching *self, size_t first)
{
    const size_t none = self->right->live;
    self->alone = INFINITY;
    collect_gains(self, first);
    double least = 0;
    for (size_t g = 0; g < self->gained_count; g++) {
        size_t j = self->gained[g];
        if (self->gain[j] > 0)
            least = fmin(least, -self->gain[j] - self->v[j]);
    }
    self->u[first] = least;
    relax(self, first, 0);
    size_t end = nearest(self);
    while (end != none && self->distance[end] < self->alone &&
           self->owner[end] != self->left->live) {
        self->done[end] = true;
        collect_gains(self, self->owner[end]);
        relax(self, self->owner[end], self->distance[end]);
        end = nearest(self);
    }
    if (end != none && self->distance[end] >= self->alone)
        end = none;
    double length = end == none ? self->alone : self->distance[end];
    self->u[first] += length;
    for (size_t k = 0; k < self->reached_count; k++) {
        size_t j = self->reached[k];
        if (self->done[j]) {
            self->v[j] -= length - self->distance[j];
            self->u[self->owner[j]] += length - self->distance[j];
        }
    }
    augment(self, first, end);
    for (size_t k = 0; k < self->reached_count; k++) {
        self->distance[self->reached[k]] = INFINITY;
        self->done[self->reached[k]] = false;
    }
    self->reached_count = 0;
}

reliht_status match_rows(reliht_context *context, const sparse *left, const sparse *right,
                         size_t pairing, size_t *partner)
{
    matching self = {.left = left, .right = right, .pairing = pairing, .partner = partner};
    reliht_status status = matching_open(context, &self);
    if (status)
        goto done;
    index_columns(&self);
    for (size_t j = 0; j < right->live; j++) {
        self.owner[j] = left->live;
        self.distance[j] = INFINITY;
    }
    for (size_t i = 0; i < left->live; i++)
        partner[i] = right->live;
    for (size_t i = 0; i < left->live; i++)
        add_row(&self, i);
done:
    matching_close(context, &self);
    return status;
}
