/* a_i = max(0, sum_c value_c * x_i[c]) for blocks of samples held in registers while the entries of
 * the neuron pass by. Compiled once per instruction set; every one gives the same bits, since each
 * sample is a chain of fma of its own. */
#include "backend/cpu/predict.h"

#include <math.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
typedef __m512 lanes;
static inline lanes lanes_set(float x)
{
    return _mm512_set1_ps(x);
}
static inline lanes lanes_load(const float *x)
{
    return _mm512_loadu_ps(x);
}
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline void lanes_store_positive(float *out, lanes z)
{
    _mm512_storeu_ps(out, _mm512_max_ps(z, _mm512_setzero_ps()));
}
#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES 8
typedef __m256 lanes;
static inline lanes lanes_set(float x)
{
    return _mm256_set1_ps(x);
}
static inline lanes lanes_load(const float *x)
{
    return _mm256_loadu_ps(x);
}
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline void lanes_store_positive(float *out, lanes z)
{
    _mm256_storeu_ps(out, _mm256_max_ps(z, _mm256_setzero_ps()));
}
#else
#define LANES 1
typedef float lanes;
static inline lanes lanes_set(float x)
{
    return x;
}
static inline lanes lanes_load(const float *x)
{
    return *x;
}
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return fmaf(a, b, c);
}
static inline void lanes_store_positive(float *out, lanes z)
{
    *out = z > 0 ? z : 0;
}
#endif

#define BLOCK (4 * LANES) /* samples: four chains, enough to hide the latency of fma */

static void block(const predict_inputs *inputs, size_t first, const uint32_t *column,
                  const float *value, size_t entries, float *activation)
{
    const float *x = inputs->x + first;
    lanes z0 = lanes_set(0), z1 = z0, z2 = z0, z3 = z0;
    for (size_t e = 0; e < entries; e++) {
        const float *source = x + column[e] * inputs->stride;
        lanes weight = lanes_set(value[e]);
        z0 = lanes_fma(weight, lanes_load(source), z0);
        z1 = lanes_fma(weight, lanes_load(source + LANES), z1);
        z2 = lanes_fma(weight, lanes_load(source + 2 * LANES), z2);
        z3 = lanes_fma(weight, lanes_load(source + 3 * LANES), z3);
    }
    lanes_store_positive(activation, z0);
    lanes_store_positive(activation + LANES, z1);
    lanes_store_positive(activation + 2 * LANES, z2);
    lanes_store_positive(activation + 3 * LANES, z3);
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
    for (; i + BLOCK <= count; i += BLOCK)
        block(inputs, i, column, value, entries, activation + i);
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
