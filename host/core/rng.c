#include "core/rng.h"

#include "core/normal_fill.h"

#include <Random123/philox.h>
#include <stdbool.h>
#include <stdlib.h>

void rng_block(uint64_t seed, rng_purpose purpose, uint64_t row, uint32_t block, uint32_t out[4])
{
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    philox4x32_ctr_t counter = {{block, (uint32_t)row, (uint32_t)(row >> 32), (uint32_t)purpose}};
    philox4x32_ctr_t words = philox4x32(counter, key);
    for (int i = 0; i < 4; i++)
        out[i] = words.v[i];
}

uint32_t rng_word(uint64_t seed, rng_purpose purpose, uint64_t row, uint32_t index)
{
    uint32_t words[4];
    rng_block(seed, purpose, row, index / 4, words);
    return words[index % 4];
}

uint64_t rng_below(uint64_t seed, rng_purpose purpose, uint64_t row, uint32_t index, uint64_t bound)
{
    uint32_t words[4];
    rng_block(seed, purpose, row, index / 2, words);
    const uint32_t *pair = words + 2 * (index % 2);
    unsigned __int128 product = (unsigned __int128)((uint64_t)pair[0] << 32 | pair[1]) * bound;
    return (uint64_t)(product >> 64);
}

float rng_normal_of(uint32_t bits)
{
    return normal_from_bits(bits);
}

/* A handful of normals block by block, many by the dozen. */
static inline __attribute__((always_inline)) void normals(uint64_t seed, rng_purpose purpose,
                                                          uint64_t row, size_t count, float *out)
{
    if (count >= NORMAL_WORDS / 4) {
        normal_fill(seed, purpose, row, 0, count, out);
        return;
    }
    for (size_t first = 0; first < count; first += 4) {
        uint32_t words[4];
        rng_block(seed, purpose, row, (uint32_t)(first / 4), words);
        for (size_t i = 0; i < 4 && first + i < count; i++)
            out[first + i] = normal_from_bits(words[i]);
    }
}

#if defined(__x86_64__)
/* Without a machine's fma every fmaf is a call: tens of times slower, the same bits. */
__attribute__((target("avx2,fma"))) static void
normals_with_fma(uint64_t seed, rng_purpose purpose, uint64_t row, size_t count, float *out)
{
    normals(seed, purpose, row, count, out);
}
#endif

void rng_normals(uint64_t seed, rng_purpose purpose, uint64_t row, size_t count, float *out)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        normals_with_fma(seed, purpose, row, count, out);
        return;
    }
#endif
    normals(seed, purpose, row, count, out);
}

static int compare_words(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Adds value + 1 to an open-addressing set of `size` (a power of two) words; false if present. */
static bool set_insert(uint64_t *set, size_t size, uint64_t value)
{
    size_t slot = (size_t)((value * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (size - 1);
    while (set[slot]) {
        if (set[slot] == value + 1)
            return false;
        slot = (slot + 1) & (size - 1);
    }
    set[slot] = value + 1;
    return true;
}

void rng_distinct(uint64_t seed, rng_purpose purpose, uint64_t row, uint64_t bound, size_t count,
                  uint64_t *out, uint64_t *scratch)
{
    size_t size = 1;
    while (size < 2 * count + 1)
        size *= 2;
    for (size_t i = 0; i < size; i++)
        scratch[i] = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t top = bound - count + i;
        uint64_t drawn = rng_below(seed, purpose, row, (uint32_t)i, top + 1);
        if (!set_insert(scratch, size, drawn)) {
            drawn = top;
            set_insert(scratch, size, drawn);
        }
        out[i] = drawn;
    }
    qsort(out, count, sizeof *out, compare_words);
}

void rng_permutation(uint64_t seed, rng_purpose purpose, uint64_t row, uint32_t count,
                     uint32_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = (uint32_t)rng_below(seed, purpose, row, i, (uint64_t)i + 1);
        out[i] = out[j];
        out[j] = i;
    }
}
