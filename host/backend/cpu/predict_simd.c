/* a_i = max(0, sum_c value_c * x_i[c]) for blocks of samples held in registers while the entries of
 * the neuron pass by. Compiled once per instruction set; every one gives the same bits, since each
 * sample is a chain of fma of its own. */
#include "backend/cpu/predict.h"

#include "backend/cpu/lanes.h"

#include <math.h>

#define CHAINS 4 /* vectors of samples at a time: enough to hide the latency of fma */

static inline __attribute__((always_inline)) void block(const predict_inputs *inputs, size_t first,
                                                        size_t chains, const uint32_t *column,
                                                        const float *value, size_t entries,
                                                        float *activation)
{
    const float *x = inputs->x + first;
    lanes z[CHAINS];
    for (size_t v = 0; v < chains; v++)
        z[v] = lanes_zero();
    for (size_t e = 0; e < entries; e++) {
        const float *source = x + column[e] * inputs->stride;
        lanes weight = lanes_all(value[e]);
        for (size_t v = 0; v < chains; v++)
            z[v] = lanes_fma(weight, lanes_load(source + v * LANES), z[v]);
    }
    for (size_t v = 0; v < chains; v++)
        lanes_store(activation + v * LANES, lanes_positive(z[v]));
}

/* The same for one sample: what is left over after whole blocks. */
static float single(const predict_inputs *inputs, size_t sample, const uint32_t *column,
                    const float *value, size_t entries)
{
    float z = 0;
    for (size_t e = 0; e < entries; e++)
        z = fmaf(value[e], inputs->x[column[e] * inputs->stride + sample], z);
    return z > 0 ? z : 0;
}

static void activate(const predict_inputs *inputs, size_t count, const uint32_t *column,
                     const float *value, size_t entries, float *activation)
{
    size_t i = 0;
    for (; i + CHAINS * LANES <= count; i += CHAINS * LANES)
        block(inputs, i, CHAINS, column, value, entries, activation + i);
    for (; i + LANES <= count; i += LANES)
        block(inputs, i, 1, column, value, entries, activation + i);
    for (; i < count; i++)
        activation[i] = single(inputs, i, column, value, entries);
}

static void accumulate(size_t count, float weight, const float *activation, double *sum)
{
    double factor = weight;
    for (size_t i = 0; i < count; i++)
        sum[i] += factor * (double)activation[i];
}

const predict_kernels ISA_NAME(predict_table) = {activate, accumulate};
