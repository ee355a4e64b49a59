#include "core/sketch.h"

#include "core/rng.h"

#include <math.h>

size_t sketch_width(double entries, size_t keep)
{
    double factor = fmax(1.0, log(entries / (double)keep));
    double width = fmin((double)keep * factor, (double)SKETCH_WIDTH_MAXIMUM);
    return width < 1.0 ? 1 : (size_t)width;
}

static uint64_t key_word(uint64_t seed, uint32_t index)
{
    return (uint64_t)rng_word(seed, RNG_SKETCH, 0, 2 * index) << 32 |
           rng_word(seed, RNG_SKETCH, 0, 2 * index + 1);
}

void sketch_draw_keys(uint64_t seed, sketch_key key[SKETCH_ROWS])
{
    for (uint32_t r = 0; r < SKETCH_ROWS; r++)
        key[r] = (sketch_key){key_word(seed, 3 * r), key_word(seed, 3 * r + 1),
                              key_word(seed, 3 * r + 2)};
}

reliht_status sketch_create(reliht_context *context, sketch *self, size_t width, uint64_t seed)
{
    *self = (sketch){.width = width};
    sketch_draw_keys(seed, self->key);
    return gate_allocate(context, MEMORY_importance, width * SKETCH_ROWS, sizeof *self->counter,
                         "count sketch", &self->counter);
}

void sketch_destroy(reliht_context *context, sketch *self)
{
    gate_release(context, self->counter);
    *self = (sketch){0};
}

void sketch_set_scale(sketch *self, float largest)
{
    self->scaled = true;
    self->exponent = largest > 0 ? 30 - ilogbf(largest) : 30;
}

int64_t sketch_query(const sketch *self, uint32_t row, uint32_t column)
{
    int64_t value[SKETCH_ROWS];
    for (size_t r = 0; r < SKETCH_ROWS; r++) {
        uint32_t hash = sketch_hash(&self->key[r], row, column);
        value[r] =
            sketch_sign(hash) * self->counter[r * self->width + sketch_slot(hash, self->width)];
    }
    return sketch_middle(value);
}

reliht_status sketch_check(reliht_context *context, const sketch *self)
{
    int64_t largest = 0;
    for (size_t i = 0; i < self->width * SKETCH_ROWS; i++) {
        int64_t magnitude = self->counter[i] < 0 ? -self->counter[i] : self->counter[i];
        largest = magnitude > largest ? magnitude : largest;
    }
    if (largest >= SKETCH_LIMIT)
        return fail(context, RELIHT_NUMERIC,
                    "the importance sketch is saturated: the updates have grown 2^32 times beyond "
                    "those of the first step; the training diverges (a smaller step or scaled "
                    "inputs would help)");
    return RELIHT_OK;
}
