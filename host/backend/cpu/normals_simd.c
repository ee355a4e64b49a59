/* z_i = Phi^-1(word i of Philox4x32-10), the loops of rng.c turned inside out: each round runs over
 * a block of counters, so that the compiler can put one counter into each lane. */
#include "backend/cpu/normals.h"

#include "core/normal.h"

#include <string.h>

#define COUNTERS 32u
#define WORDS (4 * COUNTERS)
#define ROUNDS 10

/* Multipliers and Weyl constants of Philox4x32 (Salmon et al., SC 2011). */
#define MULTIPLIER_0 UINT64_C(0xD2511F53)
#define MULTIPLIER_1 UINT64_C(0xCD9E8D57)
#define WEYL_0 0x9E3779B9u
#define WEYL_1 0xBB67AE85u

static void philox_words(uint64_t seed, rng_purpose purpose, uint64_t row, uint32_t first_block,
                         uint32_t words[WORDS])
{
    uint32_t a[COUNTERS], b[COUNTERS], c[COUNTERS], d[COUNTERS];
    for (uint32_t i = 0; i < COUNTERS; i++) {
        a[i] = first_block + i;
        b[i] = (uint32_t)row;
        c[i] = (uint32_t)(row >> 32);
        d[i] = (uint32_t)purpose;
    }
    uint32_t key_0 = (uint32_t)seed, key_1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < COUNTERS; i++) {
            uint64_t product_0 = MULTIPLIER_0 * a[i], product_1 = MULTIPLIER_1 * c[i];
            a[i] = (uint32_t)(product_1 >> 32) ^ b[i] ^ key_0;
            b[i] = (uint32_t)product_1;
            c[i] = (uint32_t)(product_0 >> 32) ^ d[i] ^ key_1;
            d[i] = (uint32_t)product_0;
        }
        key_0 += WEYL_0;
        key_1 += WEYL_1;
    }
    for (uint32_t i = 0; i < COUNTERS; i++) {
        words[4 * i] = a[i];
        words[4 * i + 1] = b[i];
        words[4 * i + 2] = c[i];
        words[4 * i + 3] = d[i];
    }
}

static void fill(uint64_t seed, rng_purpose purpose, uint64_t row, uint32_t first, size_t count,
                 float *out)
{
    for (size_t done = 0; done < count; done += WORDS) {
        uint32_t words[WORDS];
        float normals[WORDS];
        philox_words(seed, purpose, row, first / 4 + (uint32_t)(done / 4), words);
        for (uint32_t i = 0; i < WORDS; i++)
            normals[i] = normal_from_bits(words[i]);
        memcpy(out + done, normals, (count - done < WORDS ? count - done : WORDS) * sizeof *out);
    }
}

const normals_kernel ISA_NAME(normals_kernel) = {fill};
