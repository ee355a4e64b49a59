/* The sweep of the fused model on the CPU:
 *     candidates = w - eta * sign_j * X^T (D_j * r)   for every neuron j of a list,
 * streamed to a selector; nothing larger than a tile of neurons is stored. */
#ifndef RELIHT_BACKEND_CPU_SWEEP_H
#define RELIHT_BACKEND_CPU_SWEEP_H

#include "backend/cpu/cpu.h"
#include "backend/cpu/screen.h"
#include "core/selector.h"

/* Where the generators of the neurons come from. */
typedef struct generator_source {
    pattern_source source;
    size_t hidden, inputs; /* inputs with the bias input */
    reliht_generator kind; /* of drawn ones */
    uint64_t seed;
    const sparse *given;   /* generators of neurons below given->rows; may be NULL */
    const sparse *weights; /* PATTERNS_WEIGHTS: h_j = w_j, neurons without weights absent */
} generator_source;

/* Buffers of a sweep, sized once for the largest batch. */
typedef struct sweep sweep;
reliht_status sweep_create(cpu_backend *owner, size_t samples, size_t inputs, sweep **out);
void sweep_destroy(sweep *self);

/* Offers every nonzero entry of w - eta * A^T r to `best`: over all `hidden` neurons for
 * PATTERNS_DRAWN (those with weights first), over the neurons with weights for PATTERNS_WEIGHTS.
 * residual: [data->stride] floats, zero past the samples. `weights`: the current w. `leave_out`,
 * after screen_begin, says which neurons without weights can't be among the best; NULL: none.
 * *swept <- neurons that were not left out. */
reliht_status sweep_run(sweep *self, const batch *data, const generator_source *generators,
                        reliht_signs signs, const float *residual, float step_size,
                        const sparse *weights, selector *best, screen *leave_out, size_t *swept);

/* gradients [count, inputs] <- X^T (D_j r) of the neurons `neurons[count]`, ascending, with the
 * same sums as in sweep_run. */
reliht_status sweep_gradients(sweep *self, const batch *data, const generator_source *generators,
                              const float *residual, const uint32_t *neurons, size_t count,
                              float *gradients);

/* Patterns of the neurons `neurons[count]` as bits: word w of neuron i is bits[i * words + w],
 * words = data->stride / 64. Bit i of word w belongs to sample 64 w + i. z = X h is summed over the
 * nonzeros of h in ascending input by fma; the bit is z > 0. */
reliht_status sweep_patterns(sweep *self, const batch *data, const generator_source *generators,
                             const uint32_t *neurons, size_t count, uint64_t *bits);

/* Seconds spent in sweep_patterns' part of sweep_run since the sweep was made (benchmarks). */
double sweep_pattern_seconds(const sweep *self);

#endif
