#include "core/generator.h"

#include "core/rng.h"

void generator_draw_gaussian(uint64_t seed, uint32_t neuron, size_t inputs, float *h)
{
    rng_normals(seed, RNG_GENERATOR, neuron, inputs, h);
}

/* Inserts `column` into the sorted columns[0 .. count); false if it is there already. */
static int insert_column(uint32_t *columns, size_t count, uint32_t column)
{
    size_t place = 0;
    while (place < count && columns[place] < column)
        place++;
    if (place < count && columns[place] == column)
        return 0;
    for (size_t i = count; i > place; i--)
        columns[i] = columns[i - 1];
    columns[place] = column;
    return 1;
}

size_t generator_draw_sparse(uint64_t seed, uint32_t neuron, size_t inputs,
                             uint32_t columns[GENERATOR_NONZEROS], float values[GENERATOR_NONZEROS])
{
    size_t most = inputs < GENERATOR_NONZEROS ? inputs : GENERATOR_NONZEROS;
    if (!most)
        return 0;
    size_t count = 1 + (size_t)rng_below(seed, RNG_GENERATOR_SUPPORT, neuron, 0, most);
    for (size_t i = 0; i < count; i++) {
        uint32_t top = (uint32_t)(inputs - count + i);
        uint32_t drawn = (uint32_t)rng_below(seed, RNG_GENERATOR_SUPPORT, neuron, (uint32_t)i + 1,
                                             (uint64_t)top + 1);
        if (!insert_column(columns, i, drawn))
            insert_column(columns, i, top);
    }
    rng_normals(seed, RNG_GENERATOR, neuron, count, values);
    return count;
}
