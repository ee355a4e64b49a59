/* Generators h_j that are drawn: functions of (seed, neuron) alone, so that any part of the program
 * makes the same ones again whenever it needs them.
 *
 * Gaussian: h_j[c] ~ N(0,1), number c of the stream (RNG_GENERATOR, neuron).
 * Sparse: 1, 2 or 3 nonzeros (each equally likely, at most `inputs`), inputs uniform without
 * replacement (Floyd) from the stream (RNG_GENERATOR_SUPPORT, neuron), values N(0,1), numbers 0, 1,
 * 2 of the stream (RNG_GENERATOR, neuron) in ascending order of the inputs. */
#ifndef RELIHT_CORE_GENERATOR_H
#define RELIHT_CORE_GENERATOR_H

#include <stddef.h>
#include <stdint.h>

#define GENERATOR_NONZEROS 3

/* h [inputs] <- the Gaussian generator of a neuron. */
void generator_draw_gaussian(uint64_t seed, uint32_t neuron, size_t inputs, float *h);

/* The sparse generator of a neuron: its nonzeros by ascending input. Returns their number. */
size_t generator_draw_sparse(uint64_t seed, uint32_t neuron, size_t inputs,
                             uint32_t columns[GENERATOR_NONZEROS],
                             float values[GENERATOR_NONZEROS]);

#endif
