/* Patterns D_j = 1[X h_j > 0] of a certificate, as bits:
 *     active     min_j |D_j|_1 / n                       (assumption 2)
 *     distance   min_{j != k} |D_j - D_k|_1 / n          (assumption 1)
 *     coverage   min_{k drawn} |D_j - D_k|_1 / n         for every j of the network
 * Patterns come from the backend some at a time; kept are those of the network and the first of the
 * drawn ones, so memory does not grow with their number. */
#include "solver/certify.h"

#include <math.h>
#include <string.h>

#define PATTERNS_AT_ONCE ((size_t)256)
/* All pairs among so many patterns are compared: n * 4096 / 8 bytes, 2^23 n / 64 operations. */
#define COMPARED_MAXIMUM ((size_t)4096)

typedef struct pattern_store {
    size_t words, kept;
    uint64_t *bits;    /* [kept, words]; the network's come first */
    uint64_t *piece;   /* [PATTERNS_AT_ONCE, words] */
    uint32_t *nearest; /* [network] distance to the nearest drawn pattern so far */
} pattern_store;

static uint32_t difference(const uint64_t *a, const uint64_t *b, size_t words)
{
    uint64_t count = 0;
    for (size_t i = 0; i < words; i++)
        count += (uint64_t)__builtin_popcountll(a[i] ^ b[i]);
    return (uint32_t)count;
}

static uint32_t active(const uint64_t *bits, size_t words)
{
    uint64_t count = 0;
    for (size_t i = 0; i < words; i++)
        count += (uint64_t)__builtin_popcountll(bits[i]);
    return (uint32_t)count;
}

static void count_pattern(certifier *self, const pattern_store *store, size_t pattern,
                          const uint64_t *bits)
{
    reliht_certificate *result = self->result;
    double share = (double)active(bits, store->words) / (double)result->samples;
    if (pattern < self->network.live)
        result->active_min_network = fmin(result->active_min_network, share);
    result->active_min = fmin(result->active_min, share);
    if (share > 0)
        self->usable[self->usable_count++] = (uint32_t)pattern;
}

/* Compares the drawn ones of a piece, patterns first .. first + count - 1, with the network's. */
static void compare_piece(const certifier *self, const pattern_store *store, size_t first,
                          size_t count)
{
    const size_t network = self->network.live, words = store->words;
    const size_t drawn = first < network ? network - first : 0;
#pragma omp parallel for num_threads(self->context->threads) \
    schedule(static) if (network * count * words > 1000000)
    for (size_t j = 0; j < network; j++)
        for (size_t i = drawn; i < count; i++) {
            uint32_t distance =
                difference(store->bits + j * words, store->piece + i * words, words);
            if (distance < store->nearest[j])
                store->nearest[j] = distance;
        }
}

/* Patterns first .. first + count - 1 from the backend. */
static reliht_status read_piece(const certifier *self, restricted *operator, size_t first,
                                size_t count, uint64_t *bits)
{
    sparse support;
    reliht_status status =
        sparse_create(self->context, &support, self->hidden, self->inputs, count);
    if (status)
        return status;
    for (size_t i = 0; i < count; i++)
        sparse_append(&support, (uint32_t)(first + i), 0, 0);
    status = restricted_load(operator, & support, PATTERNS_DRAWN);
    if (!status)
        status = restricted_patterns(operator, bits);
    sparse_destroy(self->context, &support);
    return status;
}

static reliht_status read_patterns(certifier *self, restricted *operator, pattern_store * store)
{
    for (size_t first = 0; first < self->hidden; first += PATTERNS_AT_ONCE) {
        size_t left = self->hidden - first;
        size_t count = left < PATTERNS_AT_ONCE ? left : PATTERNS_AT_ONCE;
        reliht_status status = read_piece(self, operator, first, count, store->piece);
        if (!status)
            status = certify_progress(self, 0, self->result->active_min);
        if (status)
            return status;
        for (size_t i = 0; i < count; i++) {
            const uint64_t *bits = store->piece + i * store->words;
            if (first + i < store->kept)
                memcpy(store->bits + (first + i) * store->words, bits, store->words * sizeof *bits);
            count_pattern(self, store, first + i, bits);
        }
        compare_piece(self, store, first, count);
    }
    return RELIHT_OK;
}

/* Least distance between two of the first `count` patterns, as a share; NaN for fewer than two. */
static double closest_pair(const certifier *self, const pattern_store *store, size_t count)
{
    uint32_t least = UINT32_MAX;
#pragma omp parallel for num_threads(self->context->threads) schedule(dynamic, 16) \
    reduction(min                                                                  \
              : least)
    for (int64_t i = 1; i < (int64_t)count; i++)
        for (int64_t j = 0; j < i; j++) {
            uint32_t distance = difference(store->bits + (size_t)i * store->words,
                                           store->bits + (size_t)j * store->words, store->words);
            least = distance < least ? distance : least;
        }
    return count < 2 ? NAN : (double)least / (double)self->result->samples;
}

static void summarise(certifier *self, const pattern_store *store)
{
    reliht_certificate *result = self->result;
    size_t network = self->network.live;
    result->distance_min_network = closest_pair(self, store, network);
    result->compared = store->kept;
    result->distance_min = closest_pair(self, store, store->kept);
    if (self->hidden == network)
        return;
    double sum = 0, worst = 0;
    for (size_t j = 0; j < network; j++) {
        double share = (double)store->nearest[j] / (double)result->samples;
        sum += share;
        worst = fmax(worst, share);
    }
    result->coverage_mean = sum / (double)network;
    result->coverage_worst = worst;
    /* also from the drawn patterns that are not kept */
    for (size_t j = 0; j < network; j++)
        result->distance_min =
            fmin(result->distance_min, (double)store->nearest[j] / (double)result->samples);
}

reliht_status certify_patterns(certifier *self)
{
    restricted operator;
    pattern_store store = {0};
    size_t most = self->network.live > COMPARED_MAXIMUM ? self->network.live : COMPARED_MAXIMUM;
    store.kept = self->hidden < most ? self->hidden : most;
    reliht_status status = certify_open(self, PATTERNS_AT_ONCE, &operator);
    if (status)
        return status;
    store.words = operator.words;
#define ALLOCATE(category, field, count)                                                    \
    if (!status)                                                                            \
    status = gate_allocate(self->context, category, count, sizeof *store.field, "patterns", \
                           &store.field)
    ALLOCATE(MEMORY_patterns, bits, store.kept * store.words);
    ALLOCATE(MEMORY_patterns, piece, PATTERNS_AT_ONCE * store.words);
    ALLOCATE(MEMORY_workspace, nearest, self->network.live);
#undef ALLOCATE
    for (size_t j = 0; !status && j < self->network.live; j++)
        store.nearest[j] = UINT32_MAX;
    if (!status)
        status = read_patterns(self, &operator, & store);
    if (!status)
        summarise(self, &store);
    gate_release(self->context, store.nearest);
    gate_release(self->context, store.piece);
    gate_release(self->context, store.bits);
    restricted_close(&operator);
    return status;
}
