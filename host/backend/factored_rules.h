/* The constants and rules of the factored model's steps that both backends follow; what a step is:
 * backend/cpu/factored.c. */
#ifndef RELIHT_BACKEND_FACTORED_RULES_H
#define RELIHT_BACKEND_FACTORED_RULES_H

#include "backend/backend.h"

#include <math.h>

#define WEIGHTS_PER_DRAWN 8 /* of the budget, for every neuron that draws */
#define DRAWN_LEAST 16      /* neurons that draw however small the budget is */
/* eta = RATE / sqrt(max(10, nnz / hidden)), less for noisy batches of few samples */
#define RATE 0.1
#define QUIET_BATCH 100.0
#define OUTPUT_WEIGHT 4.0 /* how much more an output weight's update counts in the sketch */
#define MEAN_DECAY 0.9    /* running mean of the gradient */
#define SQUARE_DECAY 0.99 /* running mean of its square */
#define SCALE_DECAY 0.95  /* running mean square of the support's gradient */
#define CORRECTIONS 2048u /* steps after which the running means count as settled */

#define BLOCK_ENTRIES 0x40000 /* gradient entries held at a time, about */
#define BLOCK_LEAST 16        /* neurons whose gradients are held, however many inputs there are */

/* Sizes of the steps of W1 and W2. */
typedef struct step_sizes {
    double hidden, output;
} step_sizes;

/* Whether weights move by the automatic step; the published choice has its own constants only. */
static inline bool is_automatic(const factored_problem *problem)
{
    return problem->step == RELIHT_STEP_AUTO &&
           problem->importance != RELIHT_IMPORTANCE_SKETCH_PUBLISHED;
}

/* What a weight of 1 of a problem with inputs and targets of typical magnitude 1 is in this one. */
static inline step_sizes weight_units(const factored_problem *problem)
{
    if (!is_automatic(problem))
        return (step_sizes){1.0, 1.0};
    return (step_sizes){1.0 / (double)problem->input_scale, (double)problem->target_scale};
}

/* The published constants: "2 when s < 6 m^0.536, else 0.005; 0.001 with cross-entropy". */
static inline double published_step(const factored_problem *problem)
{
    if (problem->loss == RELIHT_LOSS_CROSS_ENTROPY)
        return 0.001;
    return (double)problem->nnz < 6.0 * pow((double)problem->hidden, 0.536) ? 2.0 : 0.005;
}

static inline double automatic_rate(const factored_problem *problem)
{
    double per_neuron = (double)problem->nnz / (double)problem->hidden;
    double quiet = (double)problem->samples / QUIET_BATCH;
    return RATE * sqrt((quiet < 1.0 ? quiet : 1.0) / (per_neuron > 10.0 ? per_neuron : 10.0));
}

/* Size of a step before the schedule's factor. */
static inline double step_rate(const factored_problem *problem)
{
    return is_automatic(problem) ? automatic_rate(problem) : published_step(problem);
}

/* Neurons that draw. A neuron is of use with weights on both its sides only; if more neurons
 * compete than the budget can give several weights each, the choice spreads over them and few are
 * complete.
 */
static inline size_t drawn_neurons(const factored_problem *problem)
{
    size_t most = problem->nnz / WEIGHTS_PER_DRAWN;
    if (most < DRAWN_LEAST)
        most = DRAWN_LEAST;
    return is_automatic(problem) && most < problem->hidden ? most : problem->hidden;
}

/* Neurons whose gradients are held at a time: a first step is measured by such a block. */
static inline size_t block_neurons(const factored_problem *problem)
{
    size_t row = problem->inputs + problem->outputs;
    size_t neurons = BLOCK_ENTRIES / row > BLOCK_LEAST ? BLOCK_ENTRIES / row : BLOCK_LEAST;
    return neurons < problem->hidden ? neurons : problem->hidden;
}

/* An empty row of `count` entries starts from uniform numbers within scale / sqrt(count * hidden),
 * as published. */
static inline float draw_width(const factored_problem *problem, size_t count, double scale)
{
    return (float)(scale / sqrt((double)count * (double)problem->hidden));
}

/* Corrections of the running means [2, CORRECTIONS] by the steps in them less one: the mean's, the
 * square's. */
static inline void fill_corrections(double *correction)
{
    for (size_t age = 0; age < CORRECTIONS; age++) {
        correction[age] = 1.0 / (1.0 - pow(MEAN_DECAY, (double)age + 1));
        correction[CORRECTIONS + age] = 1.0 / (1.0 - pow(SQUARE_DECAY, (double)age + 1));
    }
}

#endif
