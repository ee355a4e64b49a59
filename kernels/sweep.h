/* The sweep of the fused model on the device,
 *     candidates = w - eta * sign_j * X^T (D_j * r)   for every neuron j in question,
 * in waves of tiles of 128 neurons by 128 inputs. sweep.cuh is the sweep as part of a step; the
 * stand-alone launches here are for tests and counts. */
#ifndef RELIHT_KERNELS_SWEEP_H
#define RELIHT_KERNELS_SWEEP_H

#include "core/inline.h"
#include "kernels/patterns.h"
#include "kernels/select.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SWEEP_NEURONS 128u /* of a tile */
#define SWEEP_INPUTS 128u
#define SWEEP_TILE ((size_t)SWEEP_NEURONS * SWEEP_INPUTS)
/* Tiles the workspace holds at most, and to which few tiles are split by samples. */
#define SWEEP_PIECES 128u
/* Least samples of a split: shorter ones would move more than they compute. */
#define SWEEP_SPLIT_SAMPLES 3072u
/* Tiles of neurons whose patterns are kept in memory where they aren't made on chip. */
#define SWEEP_WORD_TILES 8u

typedef enum sweep_product {
    SWEEP_TENSOR, /* three bf16 parts on tensor cores; tiles out of their range as below */
    SWEEP_PLAIN,  /* fp32: the first rung of the ladder, and the fallback */
} sweep_product;

/* All pointers in device memory. */
typedef struct device_sweep {
    device_generators generators;
    const device_batch *batch;
    device_sparse weights;      /* w; with generators.use_weights only its rows are swept */
    const uint32_t *live_words; /* [live, stride / 32] patterns of its rows, or NULL: made here */
    const float *residual;      /* [stride], zero past the samples; 16-byte aligned */
    const double *step_size;    /* eta */
    float *tiles;               /* [tile_capacity, SWEEP_TILE] workspace */
    uint32_t *words;            /* [word_tiles * SWEEP_NEURONS, stride / 32], or NULL */
    uint32_t tile_capacity, word_tiles;
    uint32_t mixed; /* sign_j = -1 for odd neurons */
    sweep_product product;
    uint32_t split_samples; /* SWEEP_SPLIT_SAMPLES; less in tests */
} device_sweep;

/* Tiles of workspace (at least SWEEP_PIECES are never needed, fewer tiles would be more waves). */
static inline uint32_t sweep_tile_capacity(size_t neurons, size_t inputs, size_t samples)
{
    size_t neuron_tiles = (neurons + SWEEP_NEURONS - 1) / SWEEP_NEURONS;
    size_t input_tiles = (inputs + SWEEP_INPUTS - 1) / SWEEP_INPUTS;
    if (neuron_tiles >= SWEEP_PIECES || input_tiles >= SWEEP_PIECES)
        return SWEEP_PIECES;
    size_t splits = samples / SWEEP_SPLIT_SAMPLES + 1;
    if (splits >= SWEEP_PIECES)
        return SWEEP_PIECES;
    size_t pieces = neuron_tiles * input_tiles * splits;
    return (uint32_t)(pieces < SWEEP_PIECES ? pieces + !pieces : SWEEP_PIECES);
}

/* Whether patterns go through `words`: for neurons without live_words, if their generators are
 * dense or the inputs don't fit one tile, so that every tile would make the same patterns. */
RELIHT_INLINE uint32_t sweep_needs_words(const device_generators *generators)
{
    return generators->inputs > SWEEP_INPUTS || (generators->gaussian && !generators->use_weights);
}

/* Tiles of `words`. */
static inline uint32_t sweep_word_tiles(const device_generators *generators)
{
    size_t tiles = ((size_t)generators->hidden + SWEEP_NEURONS - 1) / SWEEP_NEURONS + 1;
    if (!sweep_needs_words(generators))
        return 0;
    return (uint32_t)(tiles < SWEEP_WORD_TILES ? tiles : SWEEP_WORD_TILES);
}

/* Gradient alone: out [hidden, inputs] <- w - eta * sign_j * g_j of the neurons swept, the rest
 * stays as it is. One cooperative launch on `blocks` blocks at most (0: all). */
cudaError_t launch_sweep_candidates(cudaStream_t stream, device_sweep self, unsigned blocks,
                                    float *out);

/* out <- the best self.keep of all candidates. One cooperative launch as above. */
cudaError_t launch_sweep(cudaStream_t stream, device_sweep self, unsigned blocks,
                         device_select select, device_sparse out);

#ifdef __cplusplus
}
#endif

#endif
