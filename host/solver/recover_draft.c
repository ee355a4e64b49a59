/* Networks of the search for exact recovery: copied, merged, cut, thinned out. */
#include "solver/recover.h"

#include "core/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MERGE_COSINE 0.999 /* neurons at a larger angle stay apart whatever the residual */

reliht_status draft_create(recovery *run, draft *net)
{
    *net = (draft){0};
    reliht_status status =
        sparse_create(run->context, &net->weights, 2 * run->capacity, run->inputs, run->capacity);
    if (!status)
        status = gate_allocate(run->context, MEMORY_weights, run->inputs, sizeof *net->linear,
                               "linear term", &net->linear);
    return status;
}

void draft_destroy(recovery *run, draft *net)
{
    sparse_destroy(run->context, &net->weights);
    gate_release(run->context, net->linear);
    *net = (draft){0};
}

void draft_copy(const recovery *run, draft *to, const draft *from)
{
    sparse_copy(&to->weights, &from->weights);
    memcpy(to->linear, from->linear, run->inputs * sizeof *to->linear);
    to->has_linear = from->has_linear;
    to->objective = from->objective;
}

void draft_renumber(draft *net)
{
    for (size_t p = 0; p < net->weights.live; p++)
        net->weights.row[p] = (uint32_t)(2 * p) + net->weights.row[p] % 2;
}

/* Keeps the entries whose place in `value` isn't NAN, then numbers the neurons anew. */
static void remove_marked(draft *net)
{
    sparse *w = &net->weights;
    size_t kept = 0, live = 0, k = 0;
    for (size_t p = 0; p < w->live; p++) {
        size_t end = w->start[p + 1], first = kept;
        uint32_t row = w->row[p];
        for (; k < end; k++) {
            if (isnan(w->value[k]))
                continue;
            w->column[kept] = w->column[k];
            w->value[kept++] = w->value[k];
        }
        if (kept > first) {
            w->start[live] = (uint32_t)first;
            w->row[live++] = row;
        }
    }
    w->start[live] = (uint32_t)kept;
    w->live = live;
    w->nnz = kept;
    draft_renumber(net);
}

static void mark_neuron(sparse *w, size_t place)
{
    for (size_t k = w->start[place]; k < w->start[place + 1]; k++)
        w->value[k] = NAN;
}

/* ---------------------------------------------------------------- merging */

/* Least cosine at which a neuron of squared length `squares` goes into another: two at a small
 * angle a differ from their sum by about a^(3/2) of the shorter one, where the half-spaces part.
 * Nothing is lost as long as that is below the residual. */
static double merging_cosine(const recovery *run, double objective, double squares)
{
    double angle = cbrt(objective / (run->unit * squares));
    return fmax(1 - angle * angle / 2, MERGE_COSINE);
}

/* owner[b] <- a for the neurons b that are like neuron a and no longer than it. */
static void find_alike(recovery *run, const draft *net, size_t a, double objective)
{
    const sparse *w = &net->weights;
    for (size_t k = w->start[a]; k < w->start[a + 1]; k++)
        run->dense[w->column[k]] = w->value[k];
    for (size_t b = 0; b < w->live; b++) {
        if (run->owner[b] != b || run->norms[b] > run->norms[a] || run->norms[b] == 0 || b == a)
            continue;
        double product = 0;
        for (size_t k = w->start[b]; k < w->start[b + 1]; k++)
            product += (double)run->dense[w->column[k]] * (double)w->value[k];
        if (product < 0 && !net->has_linear)
            continue;
        double cosine = fabs(product) / sqrt(run->norms[a] * run->norms[b]);
        if (cosine > merging_cosine(run, objective, run->norms[b])) {
            run->owner[b] = (uint32_t)a;
            run->turned[b] = product < 0;
        }
    }
    for (size_t k = w->start[a]; k < w->start[a + 1]; k++)
        run->dense[w->column[k]] = 0;
}

/* dense <- dense + factor * w_b, noting the columns. */
static void scatter(recovery *run, const sparse *w, size_t b, float factor)
{
    for (size_t k = w->start[b]; k < w->start[b + 1]; k++) {
        run->dense[w->column[k]] += factor * w->value[k];
        run->marked[w->column[k]] = 1;
    }
}

/* Neuron a with those it owns, added to `to`. */
static void append_merged(recovery *run, draft *net, size_t a, sparse *to)
{
    const sparse *w = &net->weights;
    for (size_t b = 0; b < w->live; b++) {
        if (run->owner[b] != a)
            continue;
        bool same_sign = w->row[a] % 2 == w->row[b] % 2, turned = run->turned[b];
        scatter(run, w, b, same_sign == turned ? -1.0f : 1.0f);
        for (size_t k = w->start[b]; turned && k < w->start[b + 1]; k++)
            net->linear[w->column[k]] += w->row[b] % 2 ? -w->value[k] : w->value[k];
    }
    for (size_t c = 0; c < run->inputs; c++) {
        if (run->marked[c])
            sparse_append(to, w->row[a], (uint32_t)c, run->dense[c]);
        run->dense[c] = 0;
        run->marked[c] = 0;
    }
}

size_t draft_merge(recovery *run, draft *net)
{
    sparse *w = &net->weights, *to = &run->before.weights;
    double objective = fmax(net->objective, run->goal * run->target_squares);
    size_t merged = 0;
    for (size_t p = 0; p < w->live; p++) {
        run->norms[p] = sparse_row_squares(w, p);
        run->owner[p] = (uint32_t)p;
        run->turned[p] = 0;
    }
    /* The longest first: what goes into another owns nothing. */
    for (double last = INFINITY; last > 0;) {
        double next = 0;
        for (size_t p = 0; p < w->live; p++)
            if (run->norms[p] < last)
                next = fmax(next, run->norms[p]);
        for (size_t p = 0; next > 0 && p < w->live; p++)
            if (run->norms[p] == next && run->owner[p] == p)
                find_alike(run, net, p, objective);
        last = next;
    }
    sparse_clear(to);
    for (size_t p = 0; p < w->live; p++)
        if (run->owner[p] == p)
            append_merged(run, net, p, to);
        else
            merged++;
    sparse_copy(w, to);
    draft_renumber(net);
    return merged;
}

/* ---------------------------------------------------------------- cutting */

/* Marks all entries but the `keep` largest; zeros go too. */
static reliht_status mark_small(recovery *run, draft *net, size_t keep)
{
    sparse *w = &net->weights;
    run->best.keep = keep;
    selector_reset(&run->best);
    for (size_t k = 0; k < w->nnz; k++) {
        const entry offered = {w->value[k], 0, (uint32_t)k};
        selector_offer(&run->best, &offered, 1);
    }
    reliht_status status = selector_finish(run->context, &run->best, "neuron", "entry");
    for (size_t k = 0, i = 0; !status && k < w->nnz; k++) {
        if (i < run->best.count && run->best.entries[i].column == k)
            i++;
        else
            w->value[k] = NAN;
    }
    return status;
}

/* Marks the shortest neurons of one sign beyond those allowed. */
static reliht_status mark_surplus(recovery *run, draft *net, uint32_t subtracts)
{
    sparse *w = &net->weights;
    run->best.keep = run->neurons[subtracts];
    selector_reset(&run->best);
    for (size_t p = 0; p < w->live; p++) {
        const entry offered = {(float)sqrt(sparse_row_squares(w, p)), 0, (uint32_t)p};
        if (w->row[p] % 2 == subtracts)
            selector_offer(&run->best, &offered, 1);
    }
    reliht_status status = selector_finish(run->context, &run->best, "sign", "neuron");
    for (size_t p = 0, i = 0; !status && p < w->live; p++) {
        if (w->row[p] % 2 != subtracts)
            continue;
        if (i < run->best.count && run->best.entries[i].column == p)
            i++;
        else
            mark_neuron(w, p);
    }
    return status;
}

reliht_status draft_cut(recovery *run, draft *net, size_t keep)
{
    reliht_status status = mark_small(run, net, keep);
    remove_marked(net);
    for (uint32_t subtracts = 0; !status && subtracts < 2; subtracts++) {
        status = mark_surplus(run, net, subtracts);
        remove_marked(net);
    }
    return status;
}

void draft_drop(recovery *run, draft *net, double share)
{
    sparse *w = &net->weights;
    size_t count = (size_t)llround(share * (double)w->live);
    for (size_t i = 0; i < count + !count && w->live; i++) {
        size_t place = rng_below(run->options->seed, RNG_RECOVER, 0, run->draws++, w->live);
        mark_neuron(w, place);
    }
    remove_marked(net);
}
