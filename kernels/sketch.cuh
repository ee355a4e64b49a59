// The count sketch of host/core/sketch.h in device memory. Counters are integers, so the order in
// which blocks add to them doesn't matter.
#ifndef RELIHT_KERNELS_SKETCH_CUH
#define RELIHT_KERNELS_SKETCH_CUH

#include "core/sketch_hash.h"

namespace reliht
{

struct sketch_view {
    const sketch_key *key; // [SKETCH_ROWS]
    int64_t *counter;      // [SKETCH_ROWS, width]
    uint32_t width;
};

// Adds `quantum` at (row, column). A sum may wrap when the step fails anyway.
__device__ inline void sketch_enter(const sketch_view &to, uint32_t row, uint32_t column,
                                    int64_t quantum)
{
    for (unsigned r = 0; r < SKETCH_ROWS; r++) {
        uint32_t hash = sketch_hash(&to.key[r], row, column);
        unsigned long long *counter = (unsigned long long *)to.counter;
        atomicAdd(&counter[(size_t)r * to.width + sketch_slot(hash, to.width)],
                  (unsigned long long)(sketch_sign(hash) * quantum));
    }
}

// Twice the importance of (row, column) in quanta.
__device__ inline int64_t sketch_importance(const sketch_view &from, uint32_t row, uint32_t column)
{
    int64_t value[SKETCH_ROWS];
    for (unsigned r = 0; r < SKETCH_ROWS; r++) {
        uint32_t hash = sketch_hash(&from.key[r], row, column);
        value[r] = sketch_sign(hash) *
                   from.counter[(size_t)r * from.width + sketch_slot(hash, from.width)];
    }
    return sketch_middle(value);
}

} // namespace reliht

#endif
