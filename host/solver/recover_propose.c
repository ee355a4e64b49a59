/* Growth: new neurons from the residual, and new weights for all neurons from the gradient.
 *
 * With the linear term fitted, X^T r = 0, and the gradient of a neuron with pattern D_h is
 *     X^T (D_h r) = 1/2 X^T (sign(X h) r):
 * for h = e_c the correlations of the residual with |x_c| and with sign(x_c) x_c', c' != c, that is
 * with the kinks that lie between two inputs; for Gaussian inputs all that its second moment knows.
 * A proposed neuron starts from one input, takes the largest q entries of its gradient for its
 * weights, and does so again with its new pattern: a power iteration for the sparse direction whose
 * neuron correlates best with the residual. */
#include "solver/recover.h"

#include "core/rng.h"

#include <math.h>
#include <string.h>

#define ITERATIONS 2
#define ALIKE 0.95f /* |cosine| above which two proposals are one */

static reliht_status gradients_of(recovery *run, const sparse *generators, size_t first,
                                  size_t rows)
{
    double start = clock_wall();
    reliht_status status = run->context->backend->operations->fused_gradients(
        run->model, run->data, generators, first, rows, run->gradients);
    run->report->seconds_sweep += clock_wall() - start;
    return status;
}

/* The `count` largest entries of a gradient row become the atom, which then descends. */
static void take_largest(const recovery *run, const float *gradient, uint32_t count, float sign,
                         atom *out)
{
    uint32_t place[ATOM_INPUTS];
    uint32_t found = 0;
    for (uint32_t c = 0; c < run->inputs; c++) {
        uint32_t at = found;
        while (at > 0 && fabsf(gradient[place[at - 1]]) < fabsf(gradient[c]))
            at--;
        if (at == count)
            continue;
        found += found < count;
        for (uint32_t i = found - 1; i > at; i--)
            place[i] = place[i - 1];
        place[at] = c;
    }
    double squares = 0;
    out->count = 0;
    for (uint32_t i = 0; i < found; i++) {
        if (gradient[place[i]] == 0)
            continue;
        uint32_t at = out->count++;
        for (; at > 0 && out->column[at - 1] > place[i]; at--) {
            out->column[at] = out->column[at - 1];
            out->value[at] = out->value[at - 1];
        }
        out->column[at] = place[i];
        out->value[at] = -sign * gradient[place[i]];
        squares += (double)gradient[place[i]] * (double)gradient[place[i]];
    }
    for (uint32_t i = 0; i < out->count; i++)
        out->value[i] = (float)((double)out->value[i] / sqrt(squares));
}

/* -h . g: how much the residual falls, to first order, as a neuron of direction h that adds grows.
 */
static float descent_along(const atom *h, const float *gradient)
{
    double sum = 0;
    for (uint32_t i = 0; i < h->count; i++)
        sum -= (double)h->value[i] * (double)gradient[h->column[i]];
    return (float)sum;
}

/* Makes the generators of atoms first .. first + count - 1 a tile and forms their gradients. */
static reliht_status gradients_of_atoms(recovery *run, const atom *atoms, size_t count)
{
    sparse_clear(&run->tile);
    for (size_t a = 0; a < count; a++)
        for (uint32_t i = 0; i < atoms[a].count; i++)
            sparse_append(&run->tile, (uint32_t)a, atoms[a].column[i], atoms[a].value[i]);
    return gradients_of(run, &run->tile, 0, run->tile.live);
}

/* Atom `a` after its gradient: whether it adds or subtracts, and its score (negative: neither). */
static void judge(const recovery *run, atom *a, const float *gradient)
{
    float descent = descent_along(a, gradient);
    a->subtracts = descent < 0 && run->neurons[1] > 0;
    a->score = a->subtracts ? -descent : descent;
}

/* Replaces atoms by the next ones of the power iteration, or judges them after the last. */
static reliht_status iterate_atoms(recovery *run, atom *atoms, size_t count, bool last)
{
    for (size_t first = 0; first < count; first += TILE_ROWS) {
        size_t rows = count - first < TILE_ROWS ? count - first : TILE_ROWS;
        reliht_status status = gradients_of_atoms(run, atoms + first, rows);
        if (status)
            return status;
        for (size_t i = 0, row = 0; i < rows; i++) {
            atom *a = &atoms[first + i];
            if (!a->count)
                continue;
            const float *gradient = run->gradients + row++ * run->inputs;
            judge(run, a, gradient);
            if (!last)
                take_largest(run, gradient, a->count, a->subtracts ? -1.0f : 1.0f, a);
        }
    }
    return RELIHT_OK;
}

/* Atoms of 1 to ATOM_INPUTS inputs from the gradient of each start (an input, with a sign). */
static reliht_status start_atoms(recovery *run, float sign, atom *atoms)
{
    const uint32_t *inputs = run->starts;
    for (size_t first = 0; first < run->start_count; first += TILE_ROWS) {
        size_t rest = run->start_count - first, rows = rest < TILE_ROWS ? rest : TILE_ROWS;
        sparse_clear(&run->tile);
        for (size_t i = 0; i < rows; i++)
            sparse_append(&run->tile, (uint32_t)i, inputs[first + i], sign);
        reliht_status status = gradients_of(run, &run->tile, 0, rows);
        if (status)
            return status;
        for (size_t i = 0; i < rows; i++)
            for (uint32_t q = 1; q <= ATOM_INPUTS; q++) {
                atom *a = atoms++;
                const float *gradient = run->gradients + i * run->inputs;
                const atom start = {.count = 1, .column = {inputs[first + i]}, .value = {sign}};
                float descent = descent_along(&start, gradient);
                bool subtracts = descent < 0 && run->neurons[1] > 0;
                take_largest(run, gradient, q, subtracts ? -1.0f : 1.0f, a);
            }
    }
    return RELIHT_OK;
}

static float cosine_of(const atom *a, const atom *b)
{
    float sum = 0;
    for (uint32_t i = 0, k = 0; i < a->count && k < b->count;) {
        if (a->column[i] == b->column[k])
            sum += a->value[i++] * b->value[k++];
        else if (a->column[i] < b->column[k])
            i++;
        else
            k++;
    }
    return sum;
}

/* The best `wanted` atoms that are not alike come first, best first; returns their number. */
static size_t choose_atoms(recovery *run, atom *atoms, size_t count, size_t wanted)
{
    size_t chosen = 0;
    while (chosen < wanted) {
        size_t best = count;
        for (size_t i = chosen; i < count; i++)
            if (atoms[i].score > 0 && (best == count || atoms[i].score > atoms[best].score))
                best = i;
        if (best == count)
            break;
        atom taken = atoms[best];
        atoms[best] = atoms[chosen];
        atoms[chosen] = taken;
        bool alike = false;
        for (size_t i = 0; i < chosen && !alike; i++)
            alike = fabsf(cosine_of(&taken, &atoms[i])) > ALIKE &&
                    (run->trial.has_linear || cosine_of(&taken, &atoms[i]) > 0);
        if (alike)
            atoms[chosen].score = -1;
        else
            chosen++;
    }
    return chosen;
}

/* Inputs to start from: all, or as many as there is room for, drawn anew each time. */
static void choose_starts(recovery *run)
{
    for (size_t i = 0; i < run->start_count; i++)
        run->starts[i] = run->start_count == run->inputs
                             ? (uint32_t)i
                             : (uint32_t)rng_below(run->options->seed, RNG_RECOVER, 0, run->draws++,
                                                   run->inputs);
}

/* Whether another neuron with so many weights fits. */
static bool has_room(const recovery *run, const sparse *w, size_t weights)
{
    return w->live < run->most_neurons && w->nnz + weights <= run->capacity;
}

/* Appends the best new neurons, short enough that the next fit decides on them. */
static reliht_status add_neurons(recovery *run, draft *net, size_t wanted)
{
    sparse *w = &net->weights;
    size_t count = 0;
    reliht_status status = RELIHT_OK;
    choose_starts(run);
    for (int sign = 1; !status && sign >= (net->has_linear ? 1 : -1); sign -= 2) {
        status = start_atoms(run, (float)sign, run->atoms + count);
        count += ATOM_INPUTS * run->start_count;
    }
    for (int i = 0; !status && i < ITERATIONS; i++)
        status = iterate_atoms(run, run->atoms, count, i + 1 == ITERATIONS);
    if (status)
        return status;
    size_t chosen = choose_atoms(run, run->atoms, count, wanted);
    for (size_t i = 0; i < chosen && has_room(run, w, ATOM_INPUTS); i++) {
        const atom *a = &run->atoms[i];
        float length = (float)((double)a->score / run->unit);
        uint32_t row = (uint32_t)(2 * w->live) + a->subtracts;
        for (uint32_t k = 0; k < a->count; k++)
            sparse_append(w, row, a->column[k], length * a->value[k]);
    }
    return RELIHT_OK;
}

/* Offers the gradient entries of one neuron that are not on its support. */
static void offer_row(recovery *run, const sparse *w, size_t place, float *gradient)
{
    for (size_t k = w->start[place]; k < w->start[place + 1]; k++)
        gradient[w->column[k]] = 0;
    for (size_t c = 0; c < run->inputs; c++) {
        const entry offered = {gradient[c], (uint32_t)place, (uint32_t)c};
        if (magnitude_bits(gradient[c]) >= run->best.threshold)
            selector_offer(&run->best, &offered, 1);
    }
}

/* *net <- `from` with the chosen entries of the selector, zero as yet. */
static void insert_entries(recovery *run, const sparse *from, sparse *to)
{
    const selector *best = &run->best;
    size_t i = 0;
    sparse_clear(to);
    for (size_t p = 0; p < from->live; p++) {
        size_t k = from->start[p];
        while (k < from->start[p + 1] || (i < best->count && best->entries[i].row == p)) {
            bool old = k < from->start[p + 1] && !(i < best->count && best->entries[i].row == p &&
                                                   best->entries[i].column < from->column[k]);
            if (old) {
                sparse_append(to, from->row[p], from->column[k], from->value[k]);
                k++;
            } else {
                sparse_append(to, from->row[p], best->entries[i++].column, 0);
            }
        }
    }
}

static reliht_status add_weights(recovery *run, draft *net, size_t wanted)
{
    const sparse *w = &net->weights;
    size_t room = run->capacity - w->nnz;
    run->best.keep = wanted < room ? wanted : room;
    selector_reset(&run->best);
    for (size_t first = 0; first < w->live; first += TILE_ROWS) {
        size_t rows = w->live - first < TILE_ROWS ? w->live - first : TILE_ROWS;
        reliht_status status = gradients_of(run, w, first, rows);
        if (status)
            return status;
        for (size_t i = 0; i < rows; i++)
            offer_row(run, w, first + i, run->gradients + i * run->inputs);
    }
    reliht_status status = selector_finish(run->context, &run->best, "neuron", "input");
    if (status)
        return status;
    insert_entries(run, w, &run->before.weights);
    sparse_copy(&net->weights, &run->before.weights);
    return RELIHT_OK;
}

/* ---------------------------------------------------------------- splits
 *
 * Two planted neurons that differ in a small weight only look like one: their kinks part so little
 * that no gradient from a new neuron of length zero shows them. Half of the large weights of a
 * neuron that also has small ones becomes a neuron of its own. That changes the output by
 *     d = relu(X w_1) + relu(X w_2) - relu(X w),   r . d = w_1 . g(w_1) + w_2 . g(w_2) - w . g(w)
 * with gradients g(h) = X^T (D_h r), and |d| is about |w_1| a^(3/2) for an angle a between the
 * parts: neurons are split in the order of -r . d / |d|. Only few at a time, for each split makes
 * a direction of little curvature, and conjugate gradients take an iteration or more for each. */

/* Weights up to this share of a neuron's largest are small. */
#define SMALL 0.2f

typedef struct split {
    float limit;    /* weights above are large */
    size_t large;   /* how many */
    double squares; /* |w_1|^2 */
    double angle;
} split;

/* How the neuron at a place would be split; false: it has no small weights. */
static bool plan_split(const sparse *w, size_t place, split *plan)
{
    double rest = 0;
    *plan = (split){.limit = 0};
    for (size_t k = w->start[place]; k < w->start[place + 1]; k++)
        plan->limit = fmaxf(plan->limit, SMALL * fabsf(w->value[k]));
    for (size_t k = w->start[place]; k < w->start[place + 1]; k++) {
        double square = (double)w->value[k] * (double)w->value[k];
        bool large = fabsf(w->value[k]) > plan->limit;
        plan->large += large;
        plan->squares += large ? square / 4 : 0;
        rest += large ? 0 : square;
    }
    plan->angle = atan(sqrt(rest / plan->squares));
    return rest > 0;
}

/* to <- to and the two parts of the neuron at a place of w. */
static void append_parts(const sparse *w, size_t place, const split *plan, sparse *to)
{
    for (uint32_t part = 0, row = (uint32_t)to->live; part < 2; part++, row++)
        for (size_t k = w->start[place]; k < w->start[place + 1]; k++) {
            bool large = fabsf(w->value[k]) > plan->limit;
            if (large || part)
                sparse_append(to, row, w->column[k], large ? w->value[k] / 2 : w->value[k]);
        }
}

/* w . g of a row of a matrix, g at `gradients` + inputs * `at`. */
static double product_of_row(const recovery *run, const sparse *w, size_t place, size_t at)
{
    const float *gradient = run->gradients + at * run->inputs;
    double sum = 0;
    for (size_t k = w->start[place]; k < w->start[place + 1]; k++)
        sum += (double)w->value[k] * (double)gradient[w->column[k]];
    return sum;
}

/* norms[p] <- w_p . g(w_p). */
static reliht_status products_of_neurons(recovery *run, const sparse *w)
{
    for (size_t first = 0; first < w->live; first += TILE_ROWS) {
        size_t rows = w->live - first < TILE_ROWS ? w->live - first : TILE_ROWS;
        reliht_status status = gradients_of(run, w, first, rows);
        if (status)
            return status;
        for (size_t i = 0; i < rows; i++)
            run->norms[first + i] = product_of_row(run, w, first + i, i);
    }
    return RELIHT_OK;
}

/* norms[p] <- scores of the `count` neurons at places in owner, whose parts are in `parts`. */
static reliht_status judge_splits(recovery *run, const sparse *w, const sparse *parts, size_t count)
{
    reliht_status status = count ? gradients_of(run, parts, 0, 2 * count) : RELIHT_OK;
    for (size_t i = 0; !status && i < count; i++) {
        size_t place = run->owner[i];
        split plan;
        plan_split(w, place, &plan);
        double change = product_of_row(run, parts, 2 * i, 2 * i) +
                        product_of_row(run, parts, 2 * i + 1, 2 * i + 1) - run->norms[place];
        double fall = w->row[place] % 2 ? change : -change;
        run->norms[place] = fall / sqrt(plan.squares * pow(plan.angle, 3));
    }
    return status;
}

/* norms[p] <- how well the residual falls when neuron p is split, 0 for those that can't be. */
static reliht_status score_splits(recovery *run, const sparse *w)
{
    sparse *parts = &run->before.weights;
    size_t count = 0;
    reliht_status status = products_of_neurons(run, w);
    sparse_clear(parts);
    for (size_t p = 0; !status && p < w->live; p++) {
        split plan;
        size_t entries = w->start[p + 1] - w->start[p];
        if (!plan_split(w, p, &plan) || !has_room(run, w, plan.large)) {
            run->norms[p] = 0;
            continue;
        }
        if (2 * count == TILE_ROWS || parts->nnz + entries + plan.large > run->capacity) {
            status = judge_splits(run, w, parts, count);
            sparse_clear(parts);
            count = 0;
        }
        append_parts(w, p, &plan, parts);
        run->owner[count++] = (uint32_t)p;
    }
    return status ? status : judge_splits(run, w, parts, count);
}

/* Splits the `wanted` neurons of best score. */
static reliht_status split_neurons(recovery *run, draft *net, size_t wanted)
{
    sparse *w = &net->weights;
    size_t live = w->live;
    reliht_status status = score_splits(run, w);
    for (size_t i = 0; !status && i < wanted && i < live; i++) {
        size_t best = 0;
        split plan;
        for (size_t p = 1; p < live; p++)
            if (run->norms[p] > run->norms[best])
                best = p;
        if (!(run->norms[best] > 0))
            break;
        run->norms[best] = 0;
        plan_split(w, best, &plan);
        if (!has_room(run, w, plan.large))
            continue;
        uint32_t row = (uint32_t)(2 * w->live) + w->row[best] % 2;
        for (size_t k = w->start[best]; k < w->start[best + 1]; k++)
            if (fabsf(w->value[k]) > plan.limit) {
                w->value[k] /= 2;
                sparse_append(w, row, w->column[k], w->value[k]);
            }
    }
    return status;
}

reliht_status draft_grow(recovery *run, draft *net, const growth *by)
{
    size_t live = run->neurons[0] + run->neurons[1];
    size_t neurons = (size_t)ceil(by->neurons * (double)live);
    size_t weights = (size_t)(by->weights * (double)run->nnz);
    reliht_status status = RELIHT_OK;
    if (by->split)
        status = split_neurons(run, net, neurons);
    else if (neurons)
        status = add_neurons(run, net, neurons);
    if (!status)
        status = add_weights(run, net, weights > 2 ? weights : 2);
    return status;
}
