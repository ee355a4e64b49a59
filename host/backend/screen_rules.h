/* The arithmetic of screening (host/backend/cpu/screen.h), for the host and the GPU. Everything is
 * rounded to the safe side. */
#ifndef RELIHT_BACKEND_SCREEN_RULES_H
#define RELIHT_BACKEND_SCREEN_RULES_H

#include "core/inline.h"

#include <math.h>
#include <stdbool.h>

/* Norms and paths are rounded up by this much wherever they are computed. */
#define SCREEN_SAFE (1 + 1e-9)

/* What a sweep knows before it decides. */
typedef struct screen_facts {
    double column;  /* C, the longest column of X */
    double norm;    /* |r| now */
    double largest; /* ... and at most so far */
    double path;    /* P */
    double gamma;   /* relative rounding of a computed gradient, to C |r| */
} screen_facts;

/* Relative error of a sum in which every term passes through at most so many roundings. */
RELIHT_INLINE double screen_gamma(double roundings)
{
    return 1.1 * roundings * 0x1p-24;
}

/* eta, with the rounding of its product. */
RELIHT_INLINE double screen_step(float step_size)
{
    return (double)step_size * (1 + 0x1p-22);
}

/* What sums lose where products are smaller than the smallest float. */
RELIHT_INLINE double screen_lost(double eta, double samples)
{
    return samples * 1e-44 * (eta + 1) + 1e-44;
}

/* Whether no neuron without weights can have an entry that reaches theta. */
RELIHT_INLINE bool screen_all(const screen_facts *self, float step_size, float theta,
                              double samples)
{
    double eta = screen_step(step_size);
    double most = eta * self->column * self->norm * (1 + self->gamma) * SCREEN_SAFE;
    return most + screen_lost(eta, samples) < (double)theta;
}

/* Neurons whose bound is below this can't either. */
RELIHT_INLINE double screen_limit(const screen_facts *self, float step_size, float theta,
                                  double samples)
{
    double eta = screen_step(step_size);
    double slack = 2 * eta * self->gamma * self->column * self->largest * SCREEN_SAFE +
                   screen_lost(eta, samples);
    double reach = self->column * self->path;
    return ((double)theta - slack) / eta - reach - 1e-12 * ((double)theta / eta + reach);
}

/* G - C P of a neuron, rounded up; infinite for a gradient that is not a number. */
RELIHT_INLINE float screen_bound(const screen_facts *self, float largest)
{
    float bound = nextafterf((float)((double)largest - self->column * self->path), INFINITY);
    return bound == bound ? bound : INFINITY;
}

#endif
