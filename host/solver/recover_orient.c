/* Which way the neurons point. The search fits
 *     yhat = sum_j s_j relu(w_j . x) + b . x,
 * in which every neuron may be turned around, relu(w.x) = relu(-w.x) + w.x, at the expense of b,
 * and may be split, w = (1 - t) w + t w, of which one part is turned. Of these networks, equal as
 * functions, the wanted one has b = 0. For exact weights that is a sum of signed terms to be made
 * zero for every input, where only neurons of (nearly) a single input are split: found by descent
 * over turns of one neuron and of two that share an input, with restarts. */
#include "solver/recover.h"

#include "core/rng.h"

#include <math.h>
#include <string.h>

#define EXACT 1e-4 /* of the largest weight: a remainder that counts as none */
/* Of the square of the largest weight, a split: less than any remainder, more than none. */
#define SPLIT_COST 1e-8
#define MINOR                                                                          \
    0.1f /* of its largest: weights beside which a neuron still counts as of one input \
          */
#define RESTARTS 100
#define NONE UINT32_MAX

typedef struct orientation {
    recovery *run;
    const sparse *w;
    double *linear;     /* b [inputs] */
    uint32_t *splitter; /* [inputs] the entry of w that may be split, or NONE */
    uint32_t *owner;    /* [nnz] neuron of an entry */
    uint32_t *start;    /* [inputs + 1] into `touching` */
    uint32_t *touching; /* [nnz] neurons by input */
    uint8_t *turned;    /* [live] */
    double largest;
} orientation;

static double sign_at(const orientation *self, size_t place)
{
    return (self->w->row[place] % 2 != 0) != (self->turned[place] != 0) ? -1.0 : 1.0;
}

/* Share of the entry `v` (with its sign) to be turned so that b goes to zero. */
static double share_turned(const orientation *self, double b, double v)
{
    double t = -b / v, exact = EXACT * self->largest;
    if (fabs(b) <= exact || (t < 0 && !self->run->neurons[1]))
        return 0;
    if (fabs(b + v) <= exact || (t > 1 && !self->run->neurons[1]))
        return 1;
    return t;
}

/* What is left of b for one input whose splitter has the value v (0: none). */
static double energy(const orientation *self, double b, double v)
{
    if (v == 0)
        return b * b;
    double t = share_turned(self, b, v), left = b + t * v;
    bool split = t != 0 && t != 1;
    return left * left + (split ? SPLIT_COST * self->largest * self->largest : 0);
}

static double splitter_value(const orientation *self, size_t c)
{
    uint32_t k = self->splitter[c];
    return k == NONE ? 0 : sign_at(self, self->owner[k]) * (double)self->w->value[k];
}

static double total_energy(const orientation *self)
{
    double sum = 0;
    for (size_t c = 0; c < self->run->inputs; c++)
        sum += energy(self, self->linear[c], splitter_value(self, c));
    return sum;
}

static void turn(orientation *self, size_t place)
{
    double sign = sign_at(self, place);
    for (size_t k = self->w->start[place]; k < self->w->start[place + 1]; k++)
        self->linear[self->w->column[k]] += sign * (double)self->w->value[k];
    self->turned[place] ^= 1;
}

/* Change of the energy if neuron `place` is turned. */
static double gain_of(const orientation *self, size_t place)
{
    const sparse *w = self->w;
    double sign = sign_at(self, place), sum = 0;
    for (size_t k = w->start[place]; k < w->start[place + 1]; k++) {
        size_t c = w->column[k];
        double b = self->linear[c], v = splitter_value(self, c);
        double after = self->splitter[c] == k ? -v : v;
        sum += energy(self, b + sign * (double)w->value[k], after) - energy(self, b, v);
    }
    return sum;
}

/* Turns a neuron and one that shares an input if that lowers the energy. */
static bool turn_pair(orientation *self, size_t place, double least)
{
    const sparse *w = self->w;
    double own = gain_of(self, place);
    turn(self, place);
    for (size_t k = w->start[place]; k < w->start[place + 1]; k++)
        for (size_t i = self->start[w->column[k]]; i < self->start[w->column[k] + 1]; i++) {
            size_t other = self->touching[i];
            if (other != place && own + gain_of(self, other) < -least) {
                turn(self, other);
                return true;
            }
        }
    turn(self, place);
    return false;
}

static void descend(orientation *self)
{
    double least = 1e-11 * self->largest * self->largest;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t p = 0; p < self->w->live; p++)
            if (gain_of(self, p) < -least) {
                turn(self, p);
                moved = true;
            }
        for (size_t p = 0; !moved && p < self->w->live; p++)
            moved = turn_pair(self, p, least);
    }
}

/* Back to the state that was best. */
static void restore(orientation *self, const uint8_t *best)
{
    for (size_t p = 0; p < self->w->live; p++)
        if (self->turned[p] != best[p])
            turn(self, p);
}

/* Iterated local search from the best state; ends in it. */
static void search(orientation *self, uint8_t *best)
{
    double exact = EXACT * self->largest;
    size_t live = self->w->live;
    descend(self);
    double lowest = total_energy(self);
    memcpy(best, self->turned, live);
    for (int i = 0; i < RESTARTS && live && lowest > exact * exact; i++) {
        for (size_t k = 0; k < 1 + live / 16; k++)
            turn(self,
                 rng_below(self->run->options->seed, RNG_RECOVER, 0, self->run->draws++, live));
        descend(self);
        double reached = total_energy(self);
        if (reached < lowest) {
            lowest = reached;
            memcpy(best, self->turned, live);
        } else {
            restore(self, best);
        }
    }
}

/* The longest neuron of every input among those whose other weights are small beside it. */
static void find_splitters(orientation *self)
{
    const sparse *w = self->w;
    for (size_t c = 0; c < self->run->inputs; c++)
        self->splitter[c] = NONE;
    for (size_t p = 0; p < w->live; p++) {
        size_t first = w->start[p], end = w->start[p + 1], top = first, large = 0;
        for (size_t k = first; k < end; k++) {
            self->owner[k] = (uint32_t)p;
            if (fabsf(w->value[k]) > fabsf(w->value[top]))
                top = k;
        }
        for (size_t k = first; k < end; k++)
            large += fabsf(w->value[k]) > MINOR * fabsf(w->value[top]);
        self->largest = fmax(self->largest, fabs((double)w->value[top]));
        uint32_t *splitter = &self->splitter[w->column[top]];
        if (large == 1 && (*splitter == NONE || fabsf(w->value[top]) > fabsf(w->value[*splitter])))
            *splitter = (uint32_t)top;
    }
}

static void index_inputs(orientation *self)
{
    const sparse *w = self->w;
    for (size_t k = 0; k < w->nnz; k++)
        self->start[w->column[k] + 1]++;
    for (size_t c = 0; c < self->run->inputs; c++)
        self->start[c + 1] += self->start[c];
    for (size_t k = w->nnz; k-- > 0;)
        self->touching[--self->start[w->column[k] + 1]] = self->owner[k];
    /* start[c + 1] is now where input c begins. */
    memmove(self->start, self->start + 1, self->run->inputs * sizeof *self->start);
    self->start[self->run->inputs] = (uint32_t)w->nnz;
}

/* The share of the neuron's largest weight that turns, or 0 if it is no splitter. */
static double share_of(const orientation *self, size_t place, size_t *at)
{
    const sparse *w = self->w;
    for (size_t k = w->start[place]; k < w->start[place + 1]; k++)
        if (self->splitter[w->column[k]] == k) {
            *at = k;
            return share_turned(self, self->linear[w->column[k]],
                                splitter_value(self, w->column[k]));
        }
    *at = w->start[place];
    return 0;
}

/* The network with its neurons turned and, where that takes b to zero, split. A part with a
 * negative share changes sides. */
static void rebuild(const orientation *self, sparse *to)
{
    const sparse *w = self->w;
    size_t at;
    sparse_clear(to);
    for (size_t p = 0; p < w->live; p++) {
        double kept = 1 - share_of(self, p, &at);
        bool single = w->start[p + 1] - w->start[p] == 1;
        uint32_t row = w->row[p] ^ (uint32_t)(single && kept < 0);
        for (size_t k = w->start[p]; k < w->start[p + 1]; k++) {
            float value = self->turned[p] ? -w->value[k] : w->value[k];
            if (k == at)
                value *= (float)(single ? fabs(kept) : kept);
            if (value != 0)
                sparse_append(to, row, w->column[k], value);
        }
    }
    for (size_t p = 0; p < w->live; p++) {
        double share = share_of(self, p, &at);
        if (share == 0 || to->nnz == self->run->capacity || to->live == self->run->most_neurons)
            continue;
        float value = (float)fabs(share) * (self->turned[p] ? w->value[at] : -w->value[at]);
        uint32_t row = (uint32_t)(2 * (w->live + p)) + (w->row[p] % 2 ^ (share < 0));
        sparse_append(to, row, w->column[at], value);
    }
}

static reliht_status allocate(orientation *self, uint8_t **best)
{
    recovery *run = self->run;
    reliht_status status = RELIHT_OK;
#define ALLOCATE(field, count)                                                                    \
    if (!status)                                                                                  \
    status = gate_allocate(run->context, MEMORY_workspace, count, sizeof *(field), "orientation", \
                           &(field))
    ALLOCATE(self->linear, run->inputs);
    ALLOCATE(self->splitter, run->inputs);
    ALLOCATE(self->owner, self->w->nnz);
    ALLOCATE(self->start, run->inputs + 1);
    ALLOCATE(self->touching, self->w->nnz);
    ALLOCATE(self->turned, self->w->live);
    ALLOCATE(*best, self->w->live);
#undef ALLOCATE
    return status;
}

reliht_status draft_orient(recovery *run, draft *net)
{
    if (!net->has_linear)
        return RELIHT_OK;
    orientation self = {.run = run, .w = &net->weights};
    uint8_t *best = NULL;
    reliht_status status = allocate(&self, &best);
    if (!status) {
        for (size_t c = 0; c < run->inputs; c++)
            self.linear[c] = (double)net->linear[c];
        find_splitters(&self);
        index_inputs(&self);
        search(&self, best);
        rebuild(&self, &run->before.weights);
        sparse_copy(&net->weights, &run->before.weights);
        draft_renumber(net);
        memset(net->linear, 0, run->inputs * sizeof *net->linear);
        net->has_linear = false;
    }
    void *const arrays[] = {self.linear,   self.splitter, self.owner, self.start,
                            self.touching, self.turned,   best};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        gate_release(run->context, arrays[i]);
    return status;
}
