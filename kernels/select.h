/* The s best of a stream of entries on the device; stand-alone kernels for tests. What the entries
 * are, how ties fall and how it works: select.cuh. */
#ifndef RELIHT_KERNELS_SELECT_H
#define RELIHT_KERNELS_SELECT_H

#include "kernels/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bins of the histogram of magnitudes: the highest SELECT_BIN_BITS of 31 bits. */
#define SELECT_BIN_BITS 12
#define SELECT_BINS (1u << SELECT_BIN_BITS)
#define SELECT_DIGITS 256u
/* Digits of a key: 4 of the magnitude, at most 8 of the place. */
#define SELECT_KEY_DIGITS 12u
/* Blocks that take part in sorting. */
#define SELECT_SORTERS 64u

/* No non-finite entry has been offered. */
#define SELECT_VALID UINT64_MAX

typedef struct select_scalars {
    uint64_t invalid;   /* lowest place of a non-finite entry: place << 1 | not a number */
    uint32_t count;     /* of candidates */
    uint32_t kept;      /* entries a cut has moved */
    uint32_t threshold; /* magnitude bits below which an entry can't be among the best */
    uint32_t full;      /* some block found no room for its candidates */
} select_scalars;

/* Buffers of one selection, all in device memory. An entry's place is
 * row << column_bits | column, so places ascend as (row, column) do. */
typedef struct device_select {
    select_scalars *scalars;
    uint32_t *bins;    /* [SELECT_BINS] magnitudes offered so far, by their highest bits */
    uint32_t *digits;  /* [SELECT_KEY_DIGITS, SELECT_DIGITS], zero between cuts */
    uint32_t *sorters; /* [SELECT_SORTERS, SELECT_DIGITS] */
    float *value;      /* [capacity] candidates */
    uint64_t *place;   /* [capacity] */
    float *kept_value; /* [keep] */
    uint64_t *kept_place;
    uint32_t keep, capacity;
    uint32_t column_bits, place_bits;
} device_select;

/* Candidates there is room for: a cut then serves at least 3 s offers. */
static inline size_t select_capacity(size_t keep)
{
    size_t most = UINT32_MAX;
    return keep < most / 8 ? 4 * keep + 4096 : most;
}

/* Bits that hold 0 .. count - 1. */
static inline uint32_t select_bits(size_t count)
{
    uint32_t bits = 0;
    while (count > (size_t)1 << bits)
        bits++;
    return bits;
}

/* Sets the sizes of `self` for a matrix [rows, columns]; the buffers are the caller's care. */
static inline void select_shape(device_select *self, size_t keep, size_t rows, size_t columns)
{
    self->keep = (uint32_t)keep;
    self->capacity = (uint32_t)select_capacity(keep);
    self->column_bits = select_bits(columns);
    self->place_bits = self->column_bits + select_bits(rows);
}

/* A stream of entries in device memory, for the kernels below. */
typedef struct device_entries {
    const float *value;
    const uint32_t *row, *column;
    uint32_t count;
} device_entries;

/* out <- the best self->keep of `entries`, offered in waves of `wave`. One cooperative launch. */
cudaError_t launch_select(cudaStream_t stream, device_select self, device_entries entries,
                          uint32_t wave, device_sparse out);

/* The same without threshold or candidates: histograms of all entries find the smallest key that
 * is kept, digit by digit, and a second pass keeps what isn't smaller. */
cudaError_t launch_select_two_pass(cudaStream_t stream, device_select self, device_entries entries,
                                   device_sparse out);

#ifdef __cplusplus
}
#endif

#endif
