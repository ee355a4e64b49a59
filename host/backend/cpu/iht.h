/* What the fused and the sensing solver share on the CPU. */
#ifndef RELIHT_BACKEND_CPU_IHT_H
#define RELIHT_BACKEND_CPU_IHT_H

#include "backend/iht_rules.h"
#include "core/selector.h"

/* matrix <- the chosen entries, which are in order. */
static inline void sparse_from_entries(sparse *matrix, const selector *best)
{
    sparse_clear(matrix);
    for (size_t i = 0; i < best->count; i++)
        sparse_append(matrix, best->entries[i].row, best->entries[i].column,
                      best->entries[i].value);
}

#endif
