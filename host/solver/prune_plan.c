#include "solver/prune_plan.h"

#include <math.h>

static void serve(prune_plan *plan)
{
    if (plan->served < plan->count && plan->targets[plan->served] == plan->left)
        plan->served++;
}

prune_plan prune_plan_begin(size_t weights, const size_t *targets, size_t count, double rate)
{
    prune_plan plan = {
        .weights = weights, .targets = targets, .count = count, .rate = rate, .left = weights};
    serve(&plan);
    return plan;
}

bool prune_plan_at_target(const prune_plan *plan)
{
    return plan->served && plan->targets[plan->served - 1] == plan->left;
}

/* The first of `rounds` levels of equal ratio below the present one. */
static double level_of_equal_ratio(const prune_plan *plan)
{
    double all = (double)plan->weights, smallest = (double)plan->targets[plan->count - 1];
    size_t rounds = (size_t)plan->rate;
    for (size_t r = 1; r < rounds; r++) {
        double level = round(all * pow(smallest / all, (double)r / (double)rounds));
        if (level < (double)plan->left)
            return level;
    }
    return smallest;
}

static double next_level(const prune_plan *plan)
{
    if (plan->rate == 0)
        return 0;
    if (plan->rate >= 1)
        return level_of_equal_ratio(plan);
    return (double)plan->left - fmax(1.0, round(plan->rate * (double)plan->left));
}

bool prune_plan_next(prune_plan *plan)
{
    if (plan->served == plan->count)
        return false;
    double level = next_level(plan), target = (double)plan->targets[plan->served];
    plan->left = (size_t)fmax(level, target);
    serve(plan);
    return true;
}

size_t prune_plan_rest(prune_plan plan)
{
    size_t cuts = 0;
    while (prune_plan_next(&plan))
        cuts++;
    return cuts;
}
