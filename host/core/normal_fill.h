/* Many normal deviates of one stream at once: Philox4x32-10 turned inside out. Each round runs over
 * a block of counters, so that compilers can put one counter into each lane. Included where the
 * caller's instruction set is known (rng.c, the kernels of the backends). */
#ifndef RELIHT_CORE_NORMAL_FILL_H
#define RELIHT_CORE_NORMAL_FILL_H

#include "core/normal.h"
#include "core/rng.h"

#define NORMAL_COUNTERS 32u
#define NORMAL_WORDS (4 * NORMAL_COUNTERS)

/* Constants: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). The words of
 * NORMAL_COUNTERS consecutive blocks, as rng_block gives them. */
static inline __attribute__((always_inline)) void philox_words(uint64_t seed, rng_purpose purpose,
                                                               uint64_t row, uint32_t first_block,
                                                               uint32_t words[NORMAL_WORDS])
{
    uint32_t a[NORMAL_COUNTERS], b[NORMAL_COUNTERS], c[NORMAL_COUNTERS], d[NORMAL_COUNTERS];
    for (uint32_t i = 0; i < NORMAL_COUNTERS; i++) {
        a[i] = first_block + i;
        b[i] = (uint32_t)row;
        c[i] = (uint32_t)(row >> 32);
        d[i] = (uint32_t)purpose;
    }
    uint32_t key_0 = (uint32_t)seed, key_1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        for (uint32_t i = 0; i < NORMAL_COUNTERS; i++) {
            uint64_t product_0 = UINT64_C(0xD2511F53) * a[i];
            uint64_t product_1 = UINT64_C(0xCD9E8D57) * c[i];
            a[i] = (uint32_t)(product_1 >> 32) ^ b[i] ^ key_0;
            b[i] = (uint32_t)product_1;
            c[i] = (uint32_t)(product_0 >> 32) ^ d[i] ^ key_1;
            d[i] = (uint32_t)product_0;
        }
        key_0 += 0x9E3779B9u;
        key_1 += 0xBB67AE85u;
    }
    for (uint32_t i = 0; i < NORMAL_COUNTERS; i++) {
        words[4 * i] = a[i];
        words[4 * i + 1] = b[i];
        words[4 * i + 2] = c[i];
        words[4 * i + 3] = d[i];
    }
}

/* out[i] <- normal number first + i of the stream (seed, purpose, row), 0 <= i < count. `first` is
 * a multiple of 4. */
static inline __attribute__((always_inline)) void normal_fill(uint64_t seed, rng_purpose purpose,
                                                              uint64_t row, uint32_t first,
                                                              size_t count, float *out)
{
    for (size_t done = 0; done < count; done += NORMAL_WORDS) {
        uint32_t words[NORMAL_WORDS];
        float normals[NORMAL_WORDS];
        philox_words(seed, purpose, row, first / 4 + (uint32_t)(done / 4), words);
        for (uint32_t i = 0; i < NORMAL_WORDS; i++)
            normals[i] = normal_from_bits(words[i]);
        size_t rest = count - done < NORMAL_WORDS ? count - done : NORMAL_WORDS;
        memcpy(out + done, normals, rest * sizeof *out);
    }
}

#endif
