/* The fused model in training on the CPU: what the files that work on it share. */
#ifndef RELIHT_BACKEND_CPU_FUSED_H
#define RELIHT_BACKEND_CPU_FUSED_H

#include "backend/cpu/support.h"
#include "backend/cpu/sweep.h"

struct fused {
    cpu_backend *backend;
    fused_problem problem;
    sparse weights;         /* w, on the support in use */
    sparse generators;      /* weights when the step began: the generators of PATTERNS_WEIGHTS */
    float *chosen;          /* [nnz] values after the sweep, for refits that fail */
    float *delta;           /* [nnz] of a solve, the change so far */
    float *direction;       /* [nnz] of a solve */
    double *spans;          /* [ADJOINT_SCRATCH, nnz] */
    float *gradient;        /* [nnz] on the support */
    float *residual;        /* [stride] */
    float *residual_chosen; /* [stride] at `chosen` */
    float *image;           /* [stride] A g */
    double *sums;           /* [chunks] */
    uint64_t *patterns;     /* [live, words] */
    size_t stride;          /* of the largest batch */
    size_t samples;         /* of the batch of the step */
    size_t words;
    selector best;
    sweep *sweep;
    screen screen;    /* of sweeps over drawn generators */
    double step_size; /* in use; halved by the refits */
    step_report report;
};

static inline reliht_context *fused_context(const fused *self)
{
    return self->backend->base.context;
}

/* Whether the weights have a linear term; it is their last row. */
static inline bool has_linear_row(const fused *self)
{
    const sparse *weights = &self->weights;
    return self->problem.linear && weights->live &&
           weights->row[weights->live - 1] == linear_row(self->problem.hidden);
}

static inline generator_source fused_generators(const fused *self, pattern_source source)
{
    return (generator_source){
        .source = source,
        .hidden = self->problem.hidden,
        .inputs = self->problem.inputs,
        .kind = self->problem.generator,
        .seed = self->problem.seed,
        .given = self->problem.given,
        .weights = &self->generators,
    };
}

static inline support_operator fused_operator(const fused *self, const batch *data)
{
    return (support_operator){
        .backend = self->backend,
        .x = data->x,
        .stride = data->stride,
        .support = &self->weights,
        .patterns = self->patterns,
        .signs = self->problem.signs,
    };
}

#endif
