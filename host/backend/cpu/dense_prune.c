/* Global magnitude pruning: of the weights in the mask stay the K largest,
 *     |w| > t, and of those with |w| = t the first,
 * t the K-th largest magnitude, found digit by digit of its bits (three passes). The choice does
 * not depend on threads; it costs as much as a few samples do. */
#include "backend/cpu/dense.h"
#include "backend/dense_rules.h"
#include "core/selector.h"

/* The digits of 31 bits, the upper one first. */
#define DIGIT_BITS 11u
#define BUCKETS (1u << DIGIT_BITS)
static const unsigned shifts[] = {20, 9, 0};
static const unsigned widths[] = {11, 11, 9};
#define DIGITS (sizeof shifts / sizeof *shifts)

/* How many masked weights have each value of a digit, their upper digits being those of `prefix`.
 */
static void count_digit(const dense_network *self, unsigned shift, unsigned width, uint32_t prefix,
                        size_t counts[BUCKETS])
{
    for (size_t b = 0; b < BUCKETS; b++)
        counts[b] = 0;
    for (size_t i = 0; i < self->weights; i++) {
        uint32_t bits = magnitude_bits(self->weight[i]) >> shift;
        if (self->mask[i] && bits >> width == prefix)
            counts[bits & ((1u << width) - 1)]++;
    }
}

/* Bits of the keep-th largest magnitude, keep >= 1; *ties <- how many of that magnitude stay. */
static uint32_t find_threshold(const dense_network *self, size_t keep, size_t *ties)
{
    size_t counts[BUCKETS];
    uint32_t prefix = 0;
    for (size_t d = 0; d < DIGITS; d++) {
        uint32_t bucket = (1u << widths[d]) - 1;
        count_digit(self, shifts[d], widths[d], prefix, counts);
        for (; bucket && counts[bucket] < keep; bucket--)
            keep -= counts[bucket];
        prefix = prefix << widths[d] | bucket;
    }
    *ties = keep;
    return prefix;
}

static reliht_status check_finite(const dense_network *self)
{
    for (size_t i = 0; i < self->weights; i++)
        if (magnitude_bits(self->weight[i]) >= MAGNITUDE_INFINITE)
            return dense_not_finite(self, i);
    return RELIHT_OK;
}

reliht_status cpu_dense_prune(dense_network *self, size_t keep)
{
    if (keep < 1 || keep > self->kept)
        return dense_cannot_keep(dense_context(self), keep, self->kept);
    reliht_status status = check_finite(self);
    if (status)
        return status;
    size_t ties;
    uint32_t threshold = find_threshold(self, keep, &ties);
    for (size_t i = 0; i < self->weights; i++) {
        uint32_t bits = magnitude_bits(self->weight[i]);
        bool stays = self->mask[i] && (bits > threshold || (bits == threshold && ties));
        ties -= stays && bits == threshold;
        self->mask[i] = stays;
        if (!stays)
            self->weight[i] = 0.0f;
    }
    self->kept = keep;
    return RELIHT_OK;
}
