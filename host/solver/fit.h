/* Fits the weights of a factored network to a batch, support fixed, by L-BFGS. */
#ifndef RELIHT_SOLVER_FIT_H
#define RELIHT_SOLVER_FIT_H

#include "backend/backend.h"
#include "solver/network.h"

#define FIT_PAIRS 8

typedef struct fit {
    factored *model;      /* not owned; of room for the networks to be fitted */
    batch *data;          /* not owned */
    double inputs_square; /* typical square of an input */
    double
        gradient_unit; /* gradients are those of so many times the mean loss (factored_evaluate) */
    size_t capacity;   /* weights */
    float *gradient, *next_gradient, *start; /* [capacity]; start: weights a step begins with */
    float *moves, *changes;       /* [FIT_PAIRS, capacity] of weights and gradients in past steps */
    double *direction, *diagonal; /* [capacity]; diagonal: of the Hessian, roughly */
    double products[FIT_PAIRS];   /* <move, change> */
    size_t pairs, newest;         /* past steps there are, and the place of the last */
    size_t evaluations;           /* so far */
} fit;

reliht_status fit_create(reliht_context *context, fit *self, size_t capacity);
void fit_destroy(reliht_context *context, fit *self);

/* *loss <- mean loss of self->data at the network; gradients as factored_evaluate. */
reliht_status fit_evaluate(reliht_context *context, fit *self, const network *at, float *gradient,
                           double *loss);

/* Balances the network and lowers its loss in at most `iterations` steps; ends early when a step
 * gains less than `least_gain` of the loss. *loss is the loss reached, never above that before but
 * for the rounding of balancing; NUMERIC if it is not finite at the start. */
reliht_status fit_network(reliht_context *context, fit *self, network *weights, size_t iterations,
                          double least_gain, double *loss);

#endif
