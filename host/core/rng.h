/* Counter-based random numbers: Philox4x32-10 (Random123), keyed by (seed, purpose, row, index).
 *
 * Every number is a function of its key alone, so any generator, position or value can be made
 * again anywhere, in any order, by any thread or device. Normal deviates use only integer
 * operations and correctly rounded float operations (fma, division, square root), so that they
 * agree bit for bit on every machine. */
#ifndef RELIHT_CORE_RNG_H
#define RELIHT_CORE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef enum rng_purpose {
    RNG_INPUTS = 1,        /* planted X: row = input, index = sample */
    RNG_POSITIONS,         /* planted weights: positions */
    RNG_VALUES,            /* planted weights: values */
    RNG_GENERATOR,         /* generators: row = neuron, dense or values of a sparse one */
    RNG_GENERATOR_SUPPORT, /* inputs of a sparse generator: row = neuron */
    RNG_BATCHES,           /* order of samples: row = epoch */
    RNG_VALIDATION,        /* which samples are kept for validation */
    RNG_FOURIER,           /* frequencies of Fourier features */
    RNG_SENSE_MATRIX,      /* sensing matrix: row = column of A */
    RNG_SENSE_VECTOR,      /* sensed vector */
    RNG_EMPTY_HIDDEN,      /* factored: start of empty neurons, W1 */
    RNG_EMPTY_OUTPUT,      /* factored: start of empty neurons, W2 */
    RNG_SKETCH,            /* hashes of the count sketch */
    RNG_DENSE,             /* start of a dense network: row = matrix * 2^32 + row, index = column */
    RNG_INPUTS_MASK,       /* planted X: which entries of sparse inputs are not zero */
    RNG_NOISE,             /* noise on planted targets */
    RNG_CERTIFY,           /* directions and supports of estimates */
    RNG_TRIALS,            /* recover, factored: trial neurons: row = draw << 32 | trial */
    RNG_DROPS,             /* recover, factored: neurons that are dropped: row = cycle */
    RNG_RECOVER,           /* what the search for exact recovery tries next */
} rng_purpose;

/* Four 32-bit words: block `block` of the stream (seed, purpose, row). */
void rng_block(uint64_t seed, rng_purpose purpose, uint64_t row, uint32_t block, uint32_t out[4]);

/* The 32-bit word number `index` of the stream. */
uint32_t rng_word(uint64_t seed, rng_purpose purpose, uint64_t row, uint32_t index);

/* Uniform integer in [0, bound), bound >= 1, from 64 random bits (words 2*index and 2*index+1);
 * its bias is below 2^-33 for bound < 2^31. */
uint64_t rng_below(uint64_t seed, rng_purpose purpose, uint64_t row, uint32_t index,
                   uint64_t bound);

/* Standard normal from 32 random bits: the inverse normal distribution at
 * p = (bits + 1/2) / 2^32, to a relative error of 1e-5. */
float rng_normal_of(uint32_t bits);

/* Normals number 0 .. count-1 of the stream. */
void rng_normals(uint64_t seed, rng_purpose purpose, uint64_t row, size_t count, float *out);

/* `count` distinct integers below `bound`, uniform without replacement, sorted ascending (Floyd).
 * `scratch` has room for 4*count+64 words. Needs count <= bound. */
void rng_distinct(uint64_t seed, rng_purpose purpose, uint64_t row, uint64_t bound, size_t count,
                  uint64_t *out, uint64_t *scratch);

/* A permutation of 0 .. count-1 (Fisher-Yates). */
void rng_permutation(uint64_t seed, rng_purpose purpose, uint64_t row, uint32_t count,
                     uint32_t *out);

#endif
