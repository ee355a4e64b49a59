/* Levenberg-Marquardt on the support: the network is piecewise linear in its weights, with Jacobian
 * A for the patterns of the weights themselves, so "patterns from the weights, then least squares"
 * is the Gauss-Newton step of its true objective. Near a network that fits the data exactly the
 * patterns settle and the step is exact. */
#include "solver/recover.h"

#include <math.h>
#include <string.h>

/* Of |y|^2: the rounding of single precision, below which there is nothing to gain. */
#define ROUNDING 1e-14
#define DAMPING_LEAST 1e-9
#define DAMPING_MOST 1e3
#define ATTEMPTS 6 /* dampings tried for a step */

static void pack(recovery *run, const draft *net)
{
    sparse *to = &run->packed;
    size_t columns = to->columns, rows = to->rows;
    sparse_copy(to, &net->weights);
    to->columns = columns;
    to->rows = rows;
    if (net->has_linear)
        for (size_t c = 0; c < run->inputs; c++)
            sparse_append(to, (uint32_t)(rows - 1), (uint32_t)c, net->linear[c]);
}

/* Takes a network back; entries that have become exactly zero are gone. */
static void unpack(recovery *run, draft *net)
{
    const sparse *from = &run->packed;
    sparse_clear(&net->weights);
    memset(net->linear, 0, run->inputs * sizeof *net->linear);
    for (size_t p = 0; p < from->live; p++)
        for (size_t k = from->start[p]; k < from->start[p + 1]; k++)
            if (from->row[p] == from->rows - 1)
                net->linear[from->column[k]] = from->value[k];
            else
                sparse_append(&net->weights, from->row[p], from->column[k], from->value[k]);
}

reliht_status draft_load(recovery *run, draft *net)
{
    const backend_operations *operations = run->context->backend->operations;
    step_report report = {0};
    pack(run, net);
    reliht_status status = operations->fused_set_weights(run->model, &run->packed);
    if (!status)
        status = operations->fused_begin(run->model, run->data, PATTERNS_WEIGHTS);
    if (!status)
        status = operations->fused_report(run->model, &report);
    if (!status)
        net->objective = report.objective_before;
    return status;
}

/* One least-squares step from the network loaded; *net becomes the result, loaded. */
static reliht_status solve(recovery *run, draft *net, const effort *by, double damping)
{
    const backend_operations *operations = run->context->backend->operations;
    const solve_options options = {
        .iterations = by->iterations, .damping = damping, .tolerance = by->tolerance};
    reliht_status status = operations->fused_solve(run->model, run->data, &options);
    if (!status)
        status = operations->fused_get_weights(run->model, &run->packed);
    if (status)
        return status;
    unpack(run, net);
    return draft_load(run, net);
}

/* Tries dampings from *damping up until the objective falls; false if none does, net as before. */
static reliht_status try_step(recovery *run, draft *net, const effort *by, double *damping,
                              bool *lower)
{
    reliht_status status = RELIHT_OK;
    draft_copy(run, &run->before, net);
    *lower = false;
    for (int attempt = 0; !status && !*lower && attempt < ATTEMPTS; attempt++) {
        status = solve(run, net, by, *damping);
        *lower = !status && net->objective < run->before.objective;
        if (*lower) {
            *damping = fmax(*damping / 4, DAMPING_LEAST);
        } else if (!status) {
            *damping = fmin(*damping * 30, DAMPING_MOST);
            draft_copy(run, net, &run->before);
            status = draft_load(run, net);
        }
    }
    return status;
}

reliht_status draft_fit(recovery *run, draft *net, const effort *by)
{
    double damping = by->damping;
    bool lower = true;
    reliht_status status = draft_load(run, net);
    for (size_t i = 0; !status && lower && i < by->steps; i++) {
        double before = net->objective;
        if (before <= ROUNDING * run->target_squares)
            return RELIHT_OK;
        status = try_step(run, net, by, &damping, &lower);
        lower = lower && net->objective <= (1 - by->gain) * before;
    }
    return status;
}
