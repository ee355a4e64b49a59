/* Sixteen float lanes on any instruction set: one AVX-512 register, two of AVX2, or plain C. The
 * same lanes everywhere, so that sums kept per lane have the same bits on every machine (where
 * there is no fma, fmaf is slow but gives the same). For files *_simd.c only. */
#ifndef RELIHT_BACKEND_CPU_LANES_H
#define RELIHT_BACKEND_CPU_LANES_H

#include <stdint.h>

#define LANES 16

#if defined(__AVX512F__)
#include <immintrin.h>
typedef __m512 lanes;
static inline lanes lanes_zero(void)
{
    return _mm512_setzero_ps();
}
static inline lanes lanes_all(float value)
{
    return _mm512_set1_ps(value);
}
static inline lanes lanes_load(const float *from)
{
    return _mm512_loadu_ps(from);
}
static inline void lanes_store(float *to, lanes a)
{
    _mm512_storeu_ps(to, a);
}
/* a * b + c, rounded once. */
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}
/* The same where bit i of `mask` is set, else c. */
static inline lanes lanes_fma_masked(lanes a, lanes b, lanes c, uint16_t mask)
{
    return _mm512_mask3_fmadd_ps(a, b, c, mask);
}
/* Lane i of a where bit i of `mask` is set, else zero. */
static inline lanes lanes_masked(lanes a, uint16_t mask)
{
    return _mm512_maskz_mov_ps(mask, a);
}
/* max(a, 0); zero for what is not a number. */
static inline lanes lanes_positive(lanes a)
{
    return _mm512_max_ps(a, _mm512_setzero_ps());
}
/* Sixteen sums in double. */
typedef struct double_lanes {
    __m512d low, high;
} double_lanes;
static inline double_lanes double_lanes_load(const double *from)
{
    return (double_lanes){_mm512_loadu_pd(from), _mm512_loadu_pd(from + 8)};
}
static inline void double_lanes_store(double *to, double_lanes a)
{
    _mm512_storeu_pd(to, a.low);
    _mm512_storeu_pd(to + 8, a.high);
}
/* sum[i] + a[i] */
static inline double_lanes double_lanes_add(double_lanes sum, lanes a)
{
    __m256 low = _mm512_castps512_ps256(a);
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
    return (double_lanes){_mm512_add_pd(sum.low, _mm512_cvtps_pd(low)),
                          _mm512_add_pd(sum.high, _mm512_cvtps_pd(high))};
}
#elif defined(__AVX2__)
#include <immintrin.h>
typedef struct lanes {
    __m256 low, high;
} lanes;
static inline lanes lanes_zero(void)
{
    return (lanes){_mm256_setzero_ps(), _mm256_setzero_ps()};
}
static inline lanes lanes_all(float value)
{
    return (lanes){_mm256_set1_ps(value), _mm256_set1_ps(value)};
}
static inline lanes lanes_load(const float *from)
{
    return (lanes){_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}
static inline void lanes_store(float *to, lanes a)
{
    _mm256_storeu_ps(to, a.low);
    _mm256_storeu_ps(to + 8, a.high);
}
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return (lanes){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
static inline __m256 lanes_mask_half(uint32_t mask)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i set = _mm256_and_si256(_mm256_set1_epi32((int)mask), bit);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bit));
}
static inline lanes lanes_masked(lanes a, uint16_t mask)
{
    return (lanes){_mm256_and_ps(a.low, lanes_mask_half(mask)),
                   _mm256_and_ps(a.high, lanes_mask_half(mask >> 8u))};
}
static inline lanes lanes_fma_masked(lanes a, lanes b, lanes c, uint16_t mask)
{
    return lanes_fma(lanes_masked(a, mask), b, c);
}
static inline lanes lanes_positive(lanes a)
{
    return (lanes){_mm256_max_ps(a.low, _mm256_setzero_ps()),
                   _mm256_max_ps(a.high, _mm256_setzero_ps())};
}
typedef struct double_lanes {
    __m256d part[4];
} double_lanes;
static inline double_lanes double_lanes_load(const double *from)
{
    return (double_lanes){{_mm256_loadu_pd(from), _mm256_loadu_pd(from + 4),
                           _mm256_loadu_pd(from + 8), _mm256_loadu_pd(from + 12)}};
}
static inline void double_lanes_store(double *to, double_lanes a)
{
    for (int i = 0; i < 4; i++)
        _mm256_storeu_pd(to + 4 * i, a.part[i]);
}
static inline double_lanes double_lanes_add(double_lanes sum, lanes a)
{
    const __m128 part[4] = {_mm256_castps256_ps128(a.low), _mm256_extractf128_ps(a.low, 1),
                            _mm256_castps256_ps128(a.high), _mm256_extractf128_ps(a.high, 1)};
    for (int i = 0; i < 4; i++)
        sum.part[i] = _mm256_add_pd(sum.part[i], _mm256_cvtps_pd(part[i]));
    return sum;
}
#else
#include <math.h>
typedef struct lanes {
    float lane[LANES];
} lanes;
static inline lanes lanes_all(float value)
{
    lanes a;
    for (int i = 0; i < LANES; i++)
        a.lane[i] = value;
    return a;
}
static inline lanes lanes_zero(void)
{
    return lanes_all(0.0f);
}
static inline lanes lanes_load(const float *from)
{
    lanes a;
    for (int i = 0; i < LANES; i++)
        a.lane[i] = from[i];
    return a;
}
static inline void lanes_store(float *to, lanes a)
{
    for (int i = 0; i < LANES; i++)
        to[i] = a.lane[i];
}
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    for (int i = 0; i < LANES; i++)
        c.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}
static inline lanes lanes_masked(lanes a, uint16_t mask)
{
    for (int i = 0; i < LANES; i++)
        a.lane[i] = mask >> i & 1 ? a.lane[i] : 0.0f;
    return a;
}
static inline lanes lanes_fma_masked(lanes a, lanes b, lanes c, uint16_t mask)
{
    return lanes_fma(lanes_masked(a, mask), b, c);
}
static inline lanes lanes_positive(lanes a)
{
    for (int i = 0; i < LANES; i++)
        a.lane[i] = a.lane[i] > 0.0f ? a.lane[i] : 0.0f;
    return a;
}
typedef struct double_lanes {
    double lane[LANES];
} double_lanes;
static inline double_lanes double_lanes_load(const double *from)
{
    double_lanes a;
    for (int i = 0; i < LANES; i++)
        a.lane[i] = from[i];
    return a;
}
static inline void double_lanes_store(double *to, double_lanes a)
{
    for (int i = 0; i < LANES; i++)
        to[i] = a.lane[i];
}
static inline double_lanes double_lanes_add(double_lanes sum, lanes a)
{
    for (int i = 0; i < LANES; i++)
        sum.lane[i] += (double)a.lane[i];
    return sum;
}
#endif

/* Sum over the lanes in double, by halves. */
static inline double lanes_total(lanes a)
{
    float part[LANES];
    lanes_store(part, a);
    double sum[LANES / 2];
    for (int i = 0; i < LANES / 2; i++)
        sum[i] = (double)part[i] + (double)part[i + LANES / 2];
    for (int half = LANES / 4; half; half /= 2)
        for (int i = 0; i < half; i++)
            sum[i] += sum[i + half];
    return sum[0];
}

#endif
