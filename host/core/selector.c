#include "core/selector.h"

#include <inttypes.h>

/* Entries are compared by a key of 12 bytes, most significant first: magnitude, then row and column
 * complemented, so that the larger key is the better entry. */
#define KEY_BYTES 12

static unsigned key_byte(const entry *e, int byte)
{
    uint32_t word = byte < 4 ? magnitude_bits(e->value) : byte < 8 ? ~e->row : ~e->column;
    return word >> (24 - 8 * (byte % 4)) & 255;
}

/* Byte number `byte` of (row, column), most significant first: the order of the result. */
static unsigned place_byte(const entry *e, int byte)
{
    uint32_t word = byte < 4 ? e->row : e->column;
    return word >> (24 - 8 * (byte % 4)) & 255;
}

static bool place_less(const entry *a, const entry *b)
{
    return a->row != b->row ? a->row < b->row : a->column < b->column;
}

static void swap_entries(entry *a, entry *b)
{
    entry kept = *a;
    *a = *b;
    *b = kept;
}

reliht_status selector_create(reliht_context *context, selector *self, size_t keep)
{
    *self = (selector){.keep = keep};
    /* Four times s: a cut, which reads everything a few times, then serves at least 3 s offers. */
    self->capacity = keep < SIZE_MAX / 8 ? 4 * keep + 4096 : SIZE_MAX;
    reliht_status status =
        gate_allocate(context, MEMORY_candidates, self->capacity, sizeof *self->entries,
                      "candidates of the top-s choice", &self->entries);
    selector_reset(self);
    return status;
}

void selector_destroy(reliht_context *context, selector *self)
{
    gate_release(context, self->entries);
    *self = (selector){0};
}

void selector_reset(selector *self)
{
    self->count = 0;
    self->threshold = 1; /* the smallest denormal: everything but zero */
    self->has_invalid = false;
}

/* Moves the entries whose byte is above `pivot` to the front of entries[0 .. count), those below to
 * the end. Returns the number above; *equal is the number at the pivot. */
static size_t partition(entry *entries, size_t count, int byte, unsigned pivot, size_t *equal)
{
    size_t above = 0, i = 0, below = count;
    while (i < below) {
        unsigned digit = key_byte(&entries[i], byte);
        if (digit > pivot)
            swap_entries(&entries[above++], &entries[i++]);
        else if (digit < pivot)
            swap_entries(&entries[--below], &entries[i]);
        else
            i++;
    }
    *equal = below - above;
    return above;
}

/* Radix select, most significant byte first: the best `keep` of entries[0 .. count) to the front,
 * in no particular order. Each pass settles the entries that differ from the boundary in its byte
 * and goes on with those that share it. */
static void select_best(entry *entries, size_t count, size_t keep)
{
    for (int byte = 0; byte < KEY_BYTES && keep < count; byte++) {
        size_t histogram[256] = {0};
        for (size_t i = 0; i < count; i++)
            histogram[key_byte(&entries[i], byte)]++;
        unsigned pivot = 255;
        size_t above = 0;
        while (above + histogram[pivot] < keep)
            above += histogram[pivot--];
        if (histogram[pivot] == count)
            continue;
        size_t equal;
        above = partition(entries, count, byte, pivot, &equal);
        entries += above;
        keep -= above;
        count = equal;
    }
}

void selector_cut(selector *self)
{
    if (self->count < self->keep)
        return;
    select_best(self->entries, self->count, self->keep);
    self->count = self->keep;
    uint32_t least = MAGNITUDE_INFINITE;
    for (size_t i = 0; i < self->count; i++) {
        uint32_t magnitude = magnitude_bits(self->entries[i].value);
        least = magnitude < least ? magnitude : least;
    }
    self->threshold = least;
}

void selector_offer(selector *self, const entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t magnitude = magnitude_bits(entries[i].value);
        if (magnitude < self->threshold)
            continue;
        if (magnitude >= MAGNITUDE_INFINITE) {
            if (!self->has_invalid || place_less(&entries[i], &self->invalid))
                self->invalid = entries[i];
            self->has_invalid = true;
            continue;
        }
        if (self->count == self->capacity) {
            selector_cut(self);
            if (magnitude < self->threshold)
                continue;
        }
        self->entries[self->count++] = entries[i];
    }
}

static void insertion_sort(entry *entries, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        entry moving = entries[i];
        size_t k = i;
        for (; k > 0 && place_less(&moving, &entries[k - 1]); k--)
            entries[k] = entries[k - 1];
        entries[k] = moving;
    }
}

/* American flag sort by (row, column): in place, a byte at a time from the most significant. */
static void sort_by_place(entry *entries, size_t count, int byte)
{
    if (count <= 32 || byte == 8) {
        insertion_sort(entries, count);
        return;
    }
    size_t next[256] = {0}, end[256];
    for (size_t i = 0; i < count; i++)
        next[place_byte(&entries[i], byte)]++;
    size_t sum = 0;
    for (int digit = 0; digit < 256; digit++) {
        size_t size = next[digit];
        next[digit] = sum;
        sum += size;
        end[digit] = sum;
    }
    for (unsigned digit = 0; digit < 256; digit++)
        while (next[digit] < end[digit]) {
            unsigned home = place_byte(&entries[next[digit]], byte);
            if (home == digit)
                next[digit]++;
            else
                swap_entries(&entries[next[digit]], &entries[next[home]++]);
        }
    for (int digit = 0; digit < 256; digit++) {
        size_t begin = digit ? end[digit - 1] : 0;
        sort_by_place(entries + begin, end[digit] - begin, byte + 1);
    }
}

reliht_status selector_invalid(reliht_context *context, uint32_t row, uint32_t column,
                               bool not_a_number, const char *row_name, const char *column_name)
{
    return fail(context, RELIHT_NUMERIC,
                "%s %" PRIu32 ", %s %" PRIu32
                ": the stepped weight is %s; inputs and targets of smaller magnitude would keep it "
                "finite",
                row_name, row, column_name, column, not_a_number ? "not a number" : "infinite");
}

reliht_status selector_finish(reliht_context *context, selector *self, const char *row_name,
                              const char *column_name)
{
    const entry *invalid = &self->invalid;
    if (self->has_invalid)
        return selector_invalid(context, invalid->row, invalid->column,
                                magnitude_bits(invalid->value) > MAGNITUDE_INFINITE, row_name,
                                column_name);
    selector_cut(self);
    sort_by_place(self->entries, self->count, 0);
    return RELIHT_OK;
}
