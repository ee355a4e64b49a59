/* Inner loops of the sweep.
 *
 * Patterns: z = X h for 64 samples at a time, bit = z > 0.
 * Gradient: g = X^T (D * r) by the method of four Russians (Arlazarov, Dinic, Kronrod, Faradzev,
 * 1970). For 5 samples and 16 columns the 32 possible sums of r_i x_i are tabulated; the pattern
 * bits of a neuron then pick one of them, so that a 64-byte addition does the work of 80
 * multiply-adds. Tables are made once per block of samples and used for all neurons of a tile. */
#include "backend/cpu/sweep_kernels.h"

#include "backend/cpu/isa.h"

#include <math.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* ---- a vector of LANES floats */
#if defined(__AVX512F__)
#define LANES 16
typedef __m512 vector;
#define vector_load(p) _mm512_loadu_ps(p)
#define vector_store(p, v) _mm512_storeu_ps(p, v)
#define vector_set(s) _mm512_set1_ps(s)
#define vector_add(a, b) _mm512_add_ps(a, b)
#define vector_multiply(a, b) _mm512_mul_ps(a, b)
#define vector_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define vector_positive(v) ((uint64_t)_mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_GT_OQ))
#define vector_reach(v, t)                                                       \
    ((uint32_t)_mm512_cmpge_epu32_mask(                                          \
        _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)), \
        _mm512_set1_epi32((int)(t))))
#elif defined(__AVX2__) && defined(__FMA__)
#define LANES 8
typedef __m256 vector;
#define vector_load(p) _mm256_loadu_ps(p)
#define vector_store(p, v) _mm256_storeu_ps(p, v)
#define vector_set(s) _mm256_set1_ps(s)
#define vector_add(a, b) _mm256_add_ps(a, b)
#define vector_multiply(a, b) _mm256_mul_ps(a, b)
#define vector_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define vector_positive(v) \
    ((uint64_t)_mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_GT_OQ)))
/* Magnitude bits are below 2^31, so the signed comparison serves. t >= 1. */
#define vector_reach(v, t)                                                       \
    ((uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(        \
        _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff)), \
        _mm256_set1_epi32((int)(t)-1)))))
#else
#define LANES 4
typedef struct vector {
    float lane[LANES];
} vector;
static inline vector vector_load(const float *p)
{
    vector v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void vector_store(float *p, vector v)
{
    memcpy(p, &v, sizeof v);
}
static inline vector vector_set(float s)
{
    return (vector){{s, s, s, s}};
}
static inline vector vector_add(vector a, vector b)
{
    for (int i = 0; i < LANES; i++)
        a.lane[i] += b.lane[i];
    return a;
}
static inline vector vector_multiply(vector a, vector b)
{
    for (int i = 0; i < LANES; i++)
        a.lane[i] *= b.lane[i];
    return a;
}
static inline vector vector_fma(vector a, vector b, vector c)
{
    for (int i = 0; i < LANES; i++)
        c.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}
static inline uint64_t vector_positive(vector v)
{
    uint64_t mask = 0;
    for (int i = 0; i < LANES; i++)
        mask |= (uint64_t)(v.lane[i] > 0.0f) << i;
    return mask;
}
static inline uint32_t vector_reach(vector v, uint32_t threshold)
{
    uint32_t mask = 0;
    for (int i = 0; i < LANES; i++)
        mask |= (uint32_t)(magnitude_bits(v.lane[i]) >= threshold) << i;
    return mask;
}
#endif

#define WORD_VECTORS (WORD_SAMPLES / LANES)

/* ---- patterns */

static inline __attribute__((always_inline)) void
sparse_words(const float *x, size_t stride, const uint32_t *columns, const float *values,
             size_t count, size_t first, size_t words, uint64_t *bits, size_t word_stride)
{
    for (size_t word = 0; word < words; word++) {
        const float *samples = x + (first + word) * WORD_SAMPLES;
        vector z[WORD_VECTORS];
        for (size_t v = 0; v < WORD_VECTORS; v++)
            z[v] = vector_set(0.0f);
        for (size_t k = 0; k < count; k++)
            for (size_t v = 0; v < WORD_VECTORS; v++)
                z[v] = vector_fma(vector_set(values[k]),
                                  vector_load(samples + columns[k] * stride + v * LANES), z[v]);
        uint64_t mask = 0;
        for (size_t v = 0; v < WORD_VECTORS; v++)
            mask |= vector_positive(z[v]) << (v * LANES);
        bits[word * word_stride] = mask;
    }
}

/* Drawn generators have one to three nonzeros: loops of known length. */
static void sparse_pattern(const float *x, size_t stride, const uint32_t *columns,
                           const float *values, size_t count, size_t first, size_t words,
                           uint64_t *bits, size_t word_stride)
{
    switch (count) {
    case 1:
        sparse_words(x, stride, columns, values, 1, first, words, bits, word_stride);
        break;
    case 2:
        sparse_words(x, stride, columns, values, 2, first, words, bits, word_stride);
        break;
    case 3:
        sparse_words(x, stride, columns, values, 3, first, words, bits, word_stride);
        break;
    default:
        sparse_words(x, stride, columns, values, count, first, words, bits, word_stride);
    }
}

static void pack_samples(const float *x, size_t stride, size_t inputs, size_t word, float *packed)
{
    for (size_t input = 0; input < inputs; input++)
        memcpy(packed + input * WORD_SAMPLES, x + input * stride + word * WORD_SAMPLES,
               WORD_SAMPLES * sizeof *packed);
}

/* 64 samples x 6 neurons fill 24 of the 32 registers of AVX-512; with 16 registers, 16 x 6. */
#define PANEL_VECTORS (LANES == 16 ? 4 : 2)

static void dense_pattern(const float *packed, const float *panel, size_t inputs,
                          uint64_t masks[PANEL_NEURONS])
{
    memset(masks, 0, PANEL_NEURONS * sizeof *masks);
    for (size_t part = 0; part < WORD_SAMPLES; part += PANEL_VECTORS * LANES) {
        vector z[PANEL_NEURONS][PANEL_VECTORS];
        for (size_t i = 0; i < PANEL_NEURONS; i++)
            for (size_t v = 0; v < PANEL_VECTORS; v++)
                z[i][v] = vector_set(0.0f);
        for (size_t input = 0; input < inputs; input++) {
            vector samples[PANEL_VECTORS];
            for (size_t v = 0; v < PANEL_VECTORS; v++)
                samples[v] = vector_load(packed + input * WORD_SAMPLES + part + v * LANES);
            for (size_t i = 0; i < PANEL_NEURONS; i++) {
                vector h = vector_set(panel[input * PANEL_NEURONS + i]);
                for (size_t v = 0; v < PANEL_VECTORS; v++)
                    z[i][v] = vector_fma(h, samples[v], z[i][v]);
            }
        }
        for (size_t i = 0; i < PANEL_NEURONS; i++)
            for (size_t v = 0; v < PANEL_VECTORS; v++)
                masks[i] |= vector_positive(z[i][v]) << (part + v * LANES);
    }
}

/* ---- gradient */

/* rows[i][c] <- r_i x_ic of one word, for a group of four columns. */
static inline void multiply_group(const gradient_job *job, size_t word, size_t column,
                                  float rows[][BLOCK_COLUMNS])
{
    const float *samples = job->x + column * job->stride + word * WORD_SAMPLES;
    const float *residual = job->residual + word * WORD_SAMPLES;
    size_t columns = job->columns - column < 4 ? job->columns - column : 4;
#if defined(__SSE2__)
    for (size_t i = 0; i < WORD_SAMPLES; i += 4) {
        __m128 part[4], r = _mm_loadu_ps(residual + i);
        for (size_t c = 0; c < 4; c++)
            part[c] = c < columns ? _mm_mul_ps(_mm_loadu_ps(samples + c * job->stride + i), r)
                                  : _mm_setzero_ps();
        _MM_TRANSPOSE4_PS(part[0], part[1], part[2], part[3]);
        for (size_t k = 0; k < 4; k++)
            _mm_storeu_ps(&rows[i + k][column], part[k]);
    }
#else
    for (size_t i = 0; i < WORD_SAMPLES; i++)
        for (size_t c = 0; c < columns; c++)
            rows[i][column + c] = samples[c * job->stride + i] * residual[i];
#endif
}

/* Asks for the samples of a word ahead: 16 columns are more streams than processors follow. To the
 * second level, for the first is full of tables. */
static inline void prefetch_samples(const gradient_job *job, size_t word)
{
    for (size_t c = 0; c < job->columns; c++)
        for (size_t i = 0; i < WORD_SAMPLES; i += 16)
            __builtin_prefetch(job->x + c * job->stride + word * WORD_SAMPLES + i, 0, 2);
}

#define GRADIENT_COLUMNS 16
#include "backend/cpu/sweep_gradient.h"
#undef GRADIENT_COLUMNS
#define GRADIENT_COLUMNS 8
#include "backend/cpu/sweep_gradient.h"
#undef GRADIENT_COLUMNS

static void add_gradient(const gradient_job *job, gradient_scratch *scratch, float *sums)
{
    if (job->columns <= 8)
        add_gradient_8(job, scratch, sums);
    else
        add_gradient_16(job, scratch, sums);
}

static void fold_sums(float *totals, float *sums, size_t count)
{
    for (size_t i = 0; i < count; i += LANES) {
        vector_store(totals + i, vector_add(vector_load(totals + i), vector_load(sums + i)));
        vector_store(sums + i, vector_set(0.0f));
    }
}

static uint32_t reach(const float sums[BLOCK_COLUMNS], float scale, uint32_t threshold)
{
    uint32_t mask = 0;
    for (size_t v = 0; v < BLOCK_COLUMNS; v += LANES)
        mask |= vector_reach(vector_multiply(vector_set(scale), vector_load(sums + v)), threshold)
                << v;
    return mask;
}

extern const sweep_kernels ISA_NAME(sweep_kernels);
const sweep_kernels ISA_NAME(sweep_kernels) = {
    .sparse_pattern = sparse_pattern,
    .pack_samples = pack_samples,
    .dense_pattern = dense_pattern,
    .add_gradient = add_gradient,
    .fold_sums = fold_sums,
    .reach = reach,
};
