/* The sparsity levels of iterative magnitude pruning: N weights, then after each cut
 *     rate in (0,1):  s - max(1, round(rate * s)),
 *     rate 0:         the next target,
 *     rate R >= 1:    round(N (T/N)^(r/R)), r = 1 .. R, T the smallest target,
 * but never below the next target that has not been served. */
#ifndef RELIHT_SOLVER_PRUNE_PLAN_H
#define RELIHT_SOLVER_PRUNE_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#define PRUNE_RATE_LEAST 0.001
#define PRUNE_ROUNDS_MOST 1000.0

typedef struct prune_plan {
    size_t weights;        /* N */
    const size_t *targets; /* [count] descending, each from 1 to N; not owned */
    size_t count;
    double rate;
    size_t left;   /* the present level */
    size_t served; /* targets at or above it */
} prune_plan;

/* A plan at its first level: all weights. */
prune_plan prune_plan_begin(size_t weights, const size_t *targets, size_t count, double rate);
/* Whether the present level is a target: targets[served - 1]. */
bool prune_plan_at_target(const prune_plan *plan);
/* Goes to the next level; false, and stays, after the last target. */
bool prune_plan_next(prune_plan *plan);
/* Cuts that are still to come. */
size_t prune_plan_rest(prune_plan plan);

#endif
