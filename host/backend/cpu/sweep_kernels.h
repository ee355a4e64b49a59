/* The inner loops of the sweep, compiled once per instruction set (sweep_simd.c). Every one gives
 * the same bits on all of them: fma is explicit, and sums run over samples in an order that doesn't
 * know the width of a vector, element by element over columns. */
#ifndef RELIHT_BACKEND_CPU_SWEEP_KERNELS_H
#define RELIHT_BACKEND_CPU_SWEEP_KERNELS_H

#include "core/selector.h"

#define WORD_SAMPLES 64u  /* samples of a pattern word, and of a packed block */
#define BLOCK_COLUMNS 16u /* columns whose sums are formed together */
#define PANEL_NEURONS 6u  /* dense generators multiplied together */
/* Samples that share a table of partial sums. Tables of 5 samples and 16 columns, 13 a word, fill
 * 25 KB: as much of a first-level cache as may be had. */
#define TABLE_SAMPLES 5u
#define TABLES ((WORD_SAMPLES + TABLE_SAMPLES - 1) / TABLE_SAMPLES)
#define TABLE_ENTRIES (1u << TABLE_SAMPLES)

/* Scratch of one thread for the gradient. */
typedef struct gradient_scratch {
    _Alignas(64) float rows[WORD_SAMPLES][BLOCK_COLUMNS]; /* entries never cross a cache line */
    float tables[TABLES][TABLE_ENTRIES][BLOCK_COLUMNS];
} gradient_scratch;

/* A block of up to BLOCK_COLUMNS columns and a range of samples, for some neurons. */
typedef struct gradient_job {
    const float *x; /* first column; the next one is `stride` further */
    size_t stride;
    size_t columns;
    const float *residual;
    const uint64_t *bits; /* word w of neuron i: bits[w * bits_stride + i] */
    size_t bits_stride;
    size_t neurons;
    size_t first_word, words;
} gradient_job;

typedef struct sweep_kernels {
    /* bits[w * word_stride], w < words <- pattern word first + w of a sparse generator:
     * 1[sum_k values[k] x_columns[k] > 0], by fma in the order of the list. */
    void (*sparse_pattern)(const float *x, size_t stride, const uint32_t *columns,
                           const float *values, size_t count, size_t first, size_t words,
                           uint64_t *bits, size_t word_stride);
    /* packed [inputs][64] <- the samples of one word. */
    void (*pack_samples)(const float *x, size_t stride, size_t inputs, size_t word, float *packed);
    /* masks[i] <- pattern word of neuron i of a panel, generators [inputs][PANEL_NEURONS]. */
    void (*dense_pattern)(const float *packed, const float *panel, size_t inputs,
                          uint64_t masks[PANEL_NEURONS]);
    /* sums [neurons][BLOCK_COLUMNS] += sum over the samples of job with their bit set of r x. */
    void (*add_gradient)(const gradient_job *job, gradient_scratch *scratch, float *sums);
    /* totals += sums, sums <- 0; `count` elements, a multiple of 16. */
    void (*fold_sums)(float *totals, float *sums, size_t count);
    /* Bit c set: |scale * sums[c]| reaches the magnitude bits `threshold`, or is not a number. */
    uint32_t (*reach)(const float sums[BLOCK_COLUMNS], float scale, uint32_t threshold);
} sweep_kernels;

#endif
