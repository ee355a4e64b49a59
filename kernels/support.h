/* Sizes of what products on the support work with (support.cuh). */
#ifndef RELIHT_KERNELS_SUPPORT_H
#define RELIHT_KERNELS_SUPPORT_H

#include "kernels/types.h"

/* Samples that are summed in float before they are added in double. */
#define SUPPORT_SPAN 1024u

/* Entries whose squares are summed together. */
#define SUPPORT_PIECE 256u

static inline size_t support_spans_of(size_t stride)
{
    return (stride + SUPPORT_SPAN - 1) / SUPPORT_SPAN;
}

static inline size_t support_pieces_of(size_t nnz)
{
    return (nnz + SUPPORT_PIECE - 1) / SUPPORT_PIECE;
}

#endif
