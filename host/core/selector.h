/* top_s of a stream that is never stored.
 *
 * Candidates at or above a threshold collect in a buffer of a few times s entries; when it fills, a
 * radix select cuts it to the best s and the threshold rises to the smallest magnitude kept. Which
 * entries come out is a function of the set that went in, not of its order: larger magnitude
 * first, ties by lower (row, column), exact zeros never. */
#ifndef RELIHT_CORE_SELECTOR_H
#define RELIHT_CORE_SELECTOR_H

#include "core/sparse.h"

typedef struct selector {
    size_t keep;     /* s */
    size_t capacity; /* of `entries` */
    size_t count;
    entry *entries;
    uint32_t threshold; /* magnitude bits below which a candidate can't be among the best */
    entry invalid;      /* the lowest (row, column) non-finite entry seen */
    bool has_invalid;
} selector;

/* Bits of |value| as an integer: ordered like the magnitudes, NaN above infinity above all else. */
static inline uint32_t magnitude_bits(float value)
{
    union {
        float value;
        uint32_t bits;
    } pun = {value};
    return pun.bits & 0x7fffffffu;
}

#define MAGNITUDE_INFINITE 0x7f800000u

reliht_status selector_create(reliht_context *context, selector *self, size_t keep);
void selector_destroy(reliht_context *context, selector *self);

/* Forgets everything; the threshold is that of the smallest nonzero magnitude. */
void selector_reset(selector *self);

/* Offers `count` entries (not thread-safe; callers collect some and offer under a lock). Entries
 * below the threshold and zeros are dropped, non-finite ones are noted as invalid. */
void selector_offer(selector *self, const entry *entries, size_t count);

/* Cuts to the best `keep`; with as many, the threshold becomes the smallest magnitude kept. */
void selector_cut(selector *self);

/* Cuts to the best `keep` and sorts them by (row, column): entries[0 .. count). Fails with NUMERIC,
 * naming `row_name` and `column_name` ("neuron", "input"), if a non-finite entry was offered. */
reliht_status selector_finish(reliht_context *context, selector *self, const char *row_name,
                              const char *column_name);

/* NUMERIC: the sentence for a non-finite entry. */
reliht_status selector_invalid(reliht_context *context, uint32_t row, uint32_t column,
                               bool not_a_number, const char *row_name, const char *column_name);

#endif
