/* Many normal deviates of one stream at once: the same numbers as rng_normals, made 64 at a time in
 * loops over 16 Philox blocks that compilers turn into vector code. Included where the caller's
 * instruction set is known (rng.c, the kernels of the backends). */
#ifndef RELIHT_CORE_NORMAL_FILL_H
#define RELIHT_CORE_NORMAL_FILL_H

#include "core/normal.h"
#include "core/rng.h"

#define NORMAL_BLOCKS 16 /* of four words each */

/* Philox4x32-10 (Salmon et al., SC 2011) at NORMAL_BLOCKS consecutive counters; words[w][b] is word
 * w of block first + b, as rng_block gives it. */
static inline __attribute__((always_inline)) void philox_blocks(uint64_t seed, rng_purpose purpose,
                                                                uint64_t row, uint32_t first,
                                                                uint32_t words[4][NORMAL_BLOCKS])
{
    uint32_t *const a = words[0], *const b = words[1], *const c = words[2], *const d = words[3];
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (uint32_t i = 0; i < NORMAL_BLOCKS; i++) {
        a[i] = first + i;
        b[i] = (uint32_t)row;
        c[i] = (uint32_t)(row >> 32);
        d[i] = (uint32_t)purpose;
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < NORMAL_BLOCKS; i++) {
            uint64_t left = (uint64_t)a[i] * 0xD2511F53u;
            uint64_t right = (uint64_t)c[i] * 0xCD9E8D57u;
            a[i] = (uint32_t)(right >> 32) ^ b[i] ^ key0;
            b[i] = (uint32_t)right;
            c[i] = (uint32_t)(left >> 32) ^ d[i] ^ key1;
            d[i] = (uint32_t)left;
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

/* out[0 .. count) <- normals number 0 .. count-1 of the stream (seed, purpose, row). */
static inline __attribute__((always_inline)) void
normal_fill(uint64_t seed, rng_purpose purpose, uint64_t row, size_t count, float *out)
{
    for (size_t first = 0; first < count; first += 4 * NORMAL_BLOCKS) {
        uint32_t words[4][NORMAL_BLOCKS];
        float normals[4][NORMAL_BLOCKS];
        philox_blocks(seed, purpose, row, (uint32_t)(first / 4), words);
        for (int w = 0; w < 4; w++)
            for (int i = 0; i < NORMAL_BLOCKS; i++)
                normals[w][i] = normal_from_bits(words[w][i]);
        size_t rest = count - first < 4 * NORMAL_BLOCKS ? count - first : 4 * NORMAL_BLOCKS;
        for (size_t i = 0; i < rest; i++)
            out[first + i] = normals[i % 4][i / 4];
    }
}

#endif
