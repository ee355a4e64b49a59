/* Inputs of mean 0 and variance 1, z independent N(0,1):
 *     gaussian    x_c = z_c
 *     correlated  x_0 = z_0,  x_c = rho x_(c-1) + sqrt(1 - rho^2) z_c  over the inputs c
 *     heavy       x = z_0 / |(z_1, z_2, z_3)|: Student's t with 3 degrees of freedom over sqrt(3);
 *                 moments from the third on do not exist
 *     sparse      x = z / sqrt(density) with probability `density`, else 0
 * Number i of a stream belongs to sample i, so every entry is a function of the seed and its place;
 * only fma, division and square root are used, which all machines round alike. */
#include "data/draws.h"

#include "backend/cpu/normals.h"
#include "core/rng.h"

#include <math.h>

/* Samples drawn at a time; a multiple of four, as normal streams want. */
#define PIECE ((size_t)1024)
#define DEGREES 3u

reliht_status draws_check(reliht_context *context, const reliht_planted_options *options)
{
    if (!(options->noise >= 0) || isinf(options->noise))
        return fail(context, RELIHT_ARGUMENT,
                    "planted network: noise of standard deviation %g; a finite number >= 0 is "
                    "needed",
                    options->noise);
    if (options->draw == RELIHT_DRAW_CORRELATED &&
        !(options->correlation > -1 && options->correlation < 1))
        return fail(context, RELIHT_ARGUMENT,
                    "planted network: a correlation of %g; more than -1 and less than 1 is needed",
                    options->correlation);
    if (options->draw == RELIHT_DRAW_SPARSE && !(options->density > 0 && options->density <= 1))
        return fail(context, RELIHT_ARGUMENT,
                    "planted network: a density of %g; more than 0 and at most 1 is needed",
                    options->density);
    return RELIHT_OK;
}

/* x[i] <- z0 / |(z1, z2, z3)|; stream t of input c is row c + t * inputs. */
static void fill_heavy(const reliht_planted_options *options, const normals_kernel *normals,
                       size_t inputs, size_t column, size_t first, size_t count, float *x)
{
    float z[PIECE];
    float squares[PIECE] = {0};
    for (size_t t = 1; t <= DEGREES; t++) {
        normals->fill(options->seed, RNG_INPUTS, column + t * inputs, (uint32_t)first, count, z);
        for (size_t i = 0; i < count; i++)
            squares[i] = fmaf(z[i], z[i], squares[i]);
    }
    for (size_t i = 0; i < count; i++)
        x[i] /= sqrtf(squares[i]);
}

static void fill_sparse(const reliht_planted_options *options, size_t column, size_t first,
                        size_t count, float *x)
{
    const float scale = 1.0f / sqrtf((float)options->density);
    const double limit = options->density * 0x1p32;
    uint32_t words[4] = {0};
    for (size_t i = 0; i < count; i++) {
        size_t sample = first + i;
        if (i % 4 == 0)
            rng_block(options->seed, RNG_INPUTS_MASK, column, (uint32_t)(sample / 4), words);
        x[i] = (double)words[sample % 4] < limit ? x[i] * scale : 0.0f;
    }
}

/* All inputs of the samples first .. first + count - 1. */
static void fill_piece(const reliht_planted_options *options, const normals_kernel *normals,
                       reliht_dataset *dataset, size_t first, size_t count)
{
    const float rho = (float)options->correlation, rest = sqrtf(fmaf(-rho, rho, 1.0f));
    for (size_t column = 0; column < dataset->inputs; column++) {
        float *x = (float *)dataset->x + column * dataset->stride + first;
        normals->fill(options->seed, RNG_INPUTS, column, (uint32_t)first, count, x);
        switch (options->draw) {
        case RELIHT_DRAW_GAUSSIAN:
            break;
        case RELIHT_DRAW_CORRELATED:
            for (size_t i = 0; i < count && column; i++)
                x[i] = fmaf(rho, x[i - dataset->stride], rest * x[i]);
            break;
        case RELIHT_DRAW_HEAVY:
            fill_heavy(options, normals, dataset->inputs, column, first, count, x);
            break;
        case RELIHT_DRAW_SPARSE:
            fill_sparse(options, column, first, count, x);
            break;
        }
    }
}

void draws_fill(const reliht_planted_options *options, reliht_dataset *dataset)
{
    const normals_kernel *normals = normals_for(cpu_isa_best());
    const size_t samples = dataset->samples;
#pragma omp parallel for num_threads(dataset->context->threads) schedule(static)
    for (size_t first = 0; first < samples; first += PIECE)
        fill_piece(options, normals, dataset, first,
                   samples - first < PIECE ? samples - first : PIECE);
}

void draws_add_noise(const reliht_planted_options *options, reliht_dataset *dataset)
{
    const float noise = (float)options->noise;
    const normals_kernel *normals = normals_for(cpu_isa_best());
    if (!(noise > 0))
        return;
    for (size_t output = 0; output < dataset->outputs; output++)
        for (size_t first = 0; first < dataset->samples; first += PIECE) {
            float z[PIECE];
            size_t left = dataset->samples - first, count = left < PIECE ? left : PIECE;
            float *y = dataset->y + output * dataset->stride + first;
            normals->fill(options->seed, RNG_NOISE, output, (uint32_t)first, count, z);
            for (size_t i = 0; i < count; i++)
                y[i] = fmaf(noise, z[i], y[i]);
        }
}
