/* Inner loops of the factored model; see factored_kernels.h for what they compute.
 *
 * The products X^T E of a tile of neurons are dot products over samples of ROWS error signals with
 * COLUMNS inputs at a time, held in registers: ROWS * COLUMNS multiply-adds for every
 * ROWS + COLUMNS loads. */
#include "backend/cpu/factored_kernels.h"

#include "backend/cpu/lanes.h"

#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* Blocks of dot products that fit the registers of each instruction set. */
#if defined(__AVX512F__)
#define ROWS 4
#define COLUMNS 4
#elif defined(__AVX2__)
#define ROWS 2
#define COLUMNS 3
#else
#define ROWS 1
#define COLUMNS 2
#endif

/* Lane l + lane l+8, +4, +2, +1: the one order of combination. */
INLINE float lanes_tree(lanes a)
{
#if defined(__AVX2__)
#if defined(__AVX512F__)
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
#else
    __m256 eight = _mm256_add_ps(a.low, a.high);
#endif
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
    for (int half = LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++)
            a.lane[l] += a.lane[l + half];
    return a.lane[0];
#endif
}

#define UNROLL _Pragma("GCC unroll 8")

/* ROWS x COLUMNS dot products, the numbers of rows and columns known to the compiler. */
INLINE void dot_block(const float *const *left, const float *const *right, size_t rows,
                      size_t columns, size_t samples, float sum[ROWS][COLUMNS])
{
    lanes total[ROWS][COLUMNS];
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t c = 0; c < columns; c++)
            total[r][c] = lanes_all(0.0f);
    }
    for (size_t i = 0; i < samples; i += LANES) {
        lanes a[ROWS];
        UNROLL
        for (size_t r = 0; r < rows; r++)
            a[r] = lanes_load(left[r] + i);
        UNROLL
        for (size_t c = 0; c < columns; c++) {
            lanes b = lanes_load(right[c] + i);
            UNROLL
            for (size_t r = 0; r < rows; r++)
                total[r][c] = lanes_fma(a[r], b, total[r][c]);
        }
    }
    UNROLL
    for (size_t r = 0; r < rows; r++) {
        UNROLL
        for (size_t c = 0; c < columns; c++)
            sum[r][c] = lanes_tree(total[r][c]);
    }
}

/* One block of the dot products at (first row l, first column r). */
INLINE void dots_at(const float *const *left, const float *const *right, size_t rows,
                    size_t columns, size_t samples, float *const *sums, size_t r)
{
    float sum[ROWS][COLUMNS];
    dot_block(left, right, rows, columns, samples, sum);
    for (size_t i = 0; i < rows; i++)
        for (size_t c = 0; c < columns; c++)
            sums[i][r + c] += sum[i][c];
}

static void dots(const float *const *left, size_t lefts, const float *right, size_t stride,
                 const uint32_t *columns, size_t rights, size_t samples, float *const *sums)
{
    for (size_t r = 0; r < rights; r += COLUMNS) {
        size_t width = rights - r < COLUMNS ? rights - r : COLUMNS;
        const float *input[COLUMNS] = {NULL};
        for (size_t c = 0; c < width; c++)
            input[c] = right + (columns ? columns[r + c] : r + c) * stride;
        size_t l = 0;
        if (width == COLUMNS)
            for (; l + ROWS <= lefts; l += ROWS)
                dots_at(left + l, input, ROWS, COLUMNS, samples, sums + l, r);
        for (; l < lefts; l++) {
            if (width == COLUMNS)
                dots_at(left + l, input, 1, COLUMNS, samples, sums + l, r);
            else
                for (size_t c = 0; c < width; c++)
                    dots_at(left + l, input + c, 1, 1, samples, sums + l, r + c);
        }
    }
}

/* Samples whose partial sums are held in registers while the inputs go by. */
#define SPAN 4

static void combine(const row_view *row, const float *x, size_t stride, size_t samples, float *out)
{
    for (size_t i = 0; i < samples; i += SPAN * LANES) {
        lanes total[SPAN];
        UNROLL
        for (size_t v = 0; v < SPAN; v++)
            total[v] = lanes_all(0.0f);
        for (size_t c = 0; c < row->count; c++) {
            const float *input = x + (row->column ? row->column[c] : c) * stride + i;
            lanes weight = lanes_all(row->value[c]);
            UNROLL
            for (size_t v = 0; v < SPAN; v++)
                total[v] = lanes_fma(weight, lanes_load(input + v * LANES), total[v]);
        }
        UNROLL
        for (size_t v = 0; v < SPAN; v++)
            lanes_store(out + i + v * LANES, total[v]);
    }
}

/* Neurons that share each load of the inputs. */
#define NEURONS 4

INLINE void combine_some(const float *const *rows, size_t count, size_t inputs, const float *x,
                         size_t stride, float *const *out, size_t i)
{
    lanes total[NEURONS];
    UNROLL
    for (size_t j = 0; j < count; j++)
        total[j] = lanes_all(0.0f);
    for (size_t c = 0; c < inputs; c++) {
        lanes input = lanes_load(x + c * stride + i);
        UNROLL
        for (size_t j = 0; j < count; j++)
            total[j] = lanes_fma(lanes_all(rows[j][c]), input, total[j]);
    }
    UNROLL
    for (size_t j = 0; j < count; j++)
        lanes_store(out[j] + i, total[j]);
}

static void combine_dense(const float *const *rows, size_t count, size_t inputs, const float *x,
                          size_t stride, size_t samples, float *const *out)
{
    for (size_t i = 0; i < samples; i += LANES) {
        size_t j = 0;
        for (; j + NEURONS <= count; j += NEURONS)
            combine_some(rows + j, NEURONS, inputs, x, stride, out + j, i);
        for (; j < count; j++)
            combine_some(rows + j, 1, inputs, x, stride, out + j, i);
    }
}

static void accumulate(const row_view *row, const float *activation, size_t samples, float *out,
                       size_t stride)
{
    for (size_t c = 0; c < row->count; c++) {
        float *to = out + (row->column ? row->column[c] : c) * stride;
        lanes weight = lanes_all(row->value[c]);
        for (size_t i = 0; i < samples; i += LANES)
            lanes_store(to + i, lanes_fma(weight, lanes_load(activation + i), lanes_load(to + i)));
    }
}

static void mask(const float *pattern, float *value, size_t samples)
{
    for (size_t i = 0; i < samples; i++)
        value[i] = pattern[i] > 0.0f ? value[i] : 0.0f;
}

/* exp(x) = 2^n exp(f), n = round(x / ln 2), |f| <= ln(2) / 2 reduced in two parts (Cody & Waite),
 * by its Taylor polynomial of degree 7. */
static void exponential(const float *x, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        float bounded = x[i] > -87.0f ? x[i] : -87.0f;
        float shifted = fmaf(bounded, 1.44269504f, 0x1.8p23f);
        float n = shifted - 0x1.8p23f;
        float f = fmaf(n, -0.693359375f, bounded);
        f = fmaf(n, 2.12194440e-4f, f);
        float p = 1.98412698e-4f;
        p = fmaf(p, f, 1.38888889e-3f);
        p = fmaf(p, f, 8.33333333e-3f);
        p = fmaf(p, f, 4.16666667e-2f);
        p = fmaf(p, f, 1.66666667e-1f);
        p = fmaf(p, f, 0.5f);
        p = fmaf(p, f, 1.0f);
        p = fmaf(p, f, 1.0f);
        union {
            float value;
            uint32_t bits;
        } shift = {shifted}, power;
        power.bits = (shift.bits - 0x4b400000u + 127u) << 23;
        out[i] = x[i] < -87.0f ? 0.0f : p * power.value;
    }
}

/* Entries hashed together, so that hashes and quanta are made in vectors. */
#define GROUP 32

INLINE void hash_group(const sketch_key *key, uint64_t base, size_t width, const uint32_t *columns,
                       size_t first, size_t count, uint32_t slot[GROUP], int64_t sign[GROUP])
{
    uint64_t column[GROUP];
    for (size_t i = 0; i < GROUP; i++)
        column[i] = first + i;
    if (columns)
        for (size_t i = 0; i < count; i++)
            column[i] = columns[first + i];
    for (size_t i = 0; i < GROUP; i++) {
        uint64_t sum = base + key->column * column[i];
        uint32_t word = (uint32_t)(sum >> 32);
        uint32_t hash = (word ^ word >> 15) * 0x2c1b3c6du;
        slot[i] = (uint32_t)(((uint64_t)hash * width) >> 32);
        sign[i] = -(int64_t)(hash & 1);
    }
}

/* Rounds `count` values (zero past them) to quanta; returns the sum of their magnitudes. */
INLINE double quantise(const float *value, size_t count, double factor, int64_t quantum[GROUP])
{
    float padded[GROUP] = {0};
    memcpy(padded, value, count * sizeof *value);
    double sum[8] = {0};
    for (size_t first = 0; first < GROUP; first += 8)
        for (size_t i = 0; i < 8; i++) {
            double scaled = (double)padded[first + i] * factor;
            double magnitude = fabs(scaled);
            bool fits = magnitude < SKETCH_QUANTUM_LIMIT;
            sum[i] += fits ? magnitude : (double)INFINITY;
            quantum[first + i] = sketch_quantum(fits ? scaled : 0.0);
        }
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

static double sketch_add(const sketch_key *key, int64_t *counter, size_t width, uint32_t row,
                         const uint32_t *columns, size_t count, const float *value, double factor)
{
    uint64_t base = key->row * row + key->offset;
    double sum = 0;
    for (size_t first = 0; first < count; first += GROUP) {
        uint32_t slot[GROUP];
        int64_t sign[GROUP], quantum[GROUP];
        size_t some = count - first < GROUP ? count - first : GROUP;
        hash_group(key, base, width, columns, first, some, slot, sign);
        sum += quantise(value + first, some, factor, quantum);
        for (size_t i = 0; i < GROUP; i++)
            quantum[i] = (quantum[i] ^ sign[i]) - sign[i];
        for (size_t i = 0; i < some; i++) /* may wrap when the caller learns that it's too much */
            counter[slot[i]] = (int64_t)((uint64_t)counter[slot[i]] + (uint64_t)quantum[i]);
    }
    return sum;
}

INLINE int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

INLINE int64_t greater(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void sketch_query_row(const sketch *from, uint32_t row, const uint32_t *columns,
                             size_t count, int64_t *out)
{
    for (size_t first = 0; first < count; first += GROUP) {
        size_t some = count - first < GROUP ? count - first : GROUP;
        int64_t value[SKETCH_ROWS][GROUP];
        for (size_t r = 0; r < SKETCH_ROWS; r++) {
            const sketch_key *key = &from->key[r];
            const int64_t *counter = from->counter + r * from->width;
            uint32_t slot[GROUP];
            int64_t sign[GROUP];
            hash_group(key, key->row * row + key->offset, from->width, columns, first, some, slot,
                       sign);
            for (size_t i = 0; i < GROUP; i++)
                value[r][i] = (counter[slot[i]] ^ sign[i]) - sign[i];
        }
        for (size_t i = 0; i < GROUP; i++) {
            int64_t low = lesser(value[0][i], value[1][i]),
                    high = greater(value[0][i], value[1][i]);
            int64_t low2 = lesser(value[2][i], value[3][i]),
                    high2 = greater(value[2][i], value[3][i]);
            int64_t sum = greater(low, low2) + lesser(high, high2);
            value[0][i] = sum < 0 ? -sum : sum;
        }
        memcpy(out + first, value[0], some * sizeof *out);
    }
}

const factored_kernels ISA_NAME(factored_kernels) = {
    .combine = combine,
    .combine_dense = combine_dense,
    .accumulate = accumulate,
    .mask = mask,
    .dots = dots,
    .exponential = exponential,
    .sketch_add = sketch_add,
    .sketch_query = sketch_query_row,
};
