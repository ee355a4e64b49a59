/* Screening without loss: neurons whose entries can't be among the s largest are left out of a
 * sweep, and the iterates stay the same bit for bit.
 *
 * An entry off the support steps to -eta g with g = x_c^T (D_j r), so |g| <= C |r|, C = max_c
 * |x_c|. With the samples and patterns of an earlier sweep tau, g has changed by at most C |r_t -
 * r_tau|, and that by at most the path P_t - P_tau, P_t = sum |r_k - r_(k-1)|. Neuron j is left out
 * iff eta (G_j + C (P_t - P_tau)) + slack < theta, G_j the largest gradient at its last sweep,
 * theta the s-th largest of the candidates of neurons with weights, which are swept first. One
 * float a neuron, b_j = G_j - C P_tau, is enough. `slack` covers the rounding of computed sums,
 * gamma C |r| each for then and now. Without history (other samples, other generators) there is
 * still eta C |r_t| (1 + gamma) < theta, which leaves out all neurons at once. theta is fixed
 * before the first of them, so what is left out does not depend on threads. */
#ifndef RELIHT_BACKEND_CPU_SCREEN_H
#define RELIHT_BACKEND_CPU_SCREEN_H

#include "backend/cpu/cpu.h"
#include "backend/screen_rules.h"

typedef struct screen {
    float *bound;    /* [hidden] b_j, rounded up; infinite before a first sweep; NULL: no history */
    float *residual; /* [stride] of the last sweep; with history */
    bool swept;      /* there was one */
    screen_facts facts;
    double limit; /* of the sweep at hand: neurons with b_j below it are left out */
    bool all;     /* all of them are */
} screen;

/* `history`: every sweep sees the same batch and generators. */
reliht_status screen_create(reliht_context *context, screen *self, size_t hidden, size_t stride,
                            bool history);
void screen_destroy(reliht_context *context, screen *self);

/* Before a sweep with this residual; squares: |residual|^2. */
void screen_begin(screen *self, const batch *data, const float *residual, double squares);

/* After the neurons with weights: what may be left out, given the magnitude bits of theta. */
void screen_decide(screen *self, float step_size, uint32_t threshold, size_t samples);

/* After screen_decide. */
static inline bool screen_skips(const screen *self, uint32_t neuron)
{
    return self->all || (self->bound && (double)self->bound[neuron] < self->limit);
}

/* A sweep over a neuron: first its bound is forgotten, then raised by the gradient of every block
 * of columns, by any thread. */
void screen_forget(screen *self, const uint32_t *neurons, size_t count);
void screen_raise(screen *self, uint32_t neuron, const float *gradient, size_t columns);

#endif
