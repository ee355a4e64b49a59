#include "backend/cpu/screen.h"

#include <math.h>
#include <string.h>

/* Bounds are rounded up by this much wherever they are computed in double. */
#define SAFE (1 + 1e-9)

/* A chain of at most 150 additions and one product for a span of samples, then one addition a span:
 * generous for the order of sweep.c. */
#define ROUNDINGS 150.0
#define SPAN_SAMPLES 4096.0

reliht_status screen_create(reliht_context *context, screen *self, size_t hidden, size_t stride,
                            bool history)
{
    *self = (screen){0};
    if (!history)
        return RELIHT_OK;
    reliht_status status = gate_allocate(context, MEMORY_screening, hidden, sizeof *self->bound,
                                         "bounds of neurons", &self->bound);
    if (!status)
        status = gate_allocate(context, MEMORY_screening, stride, sizeof *self->residual,
                               "residual of the last sweep", &self->residual);
    for (size_t j = 0; !status && j < hidden; j++)
        self->bound[j] = INFINITY;
    return status;
}

void screen_destroy(reliht_context *context, screen *self)
{
    gate_release(context, self->bound);
    gate_release(context, self->residual);
}

static double squares_of(const float *a, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)a[i];
    return sum;
}

/* C of a batch. */
static double longest_column(const batch *data)
{
    double longest = 0;
    int64_t columns = (int64_t)data->inputs;
#pragma omp parallel for num_threads(data->backend->base.context->threads) schedule(static) \
    reduction(max                                                                           \
              : longest)
    for (int64_t c = 0; c < columns; c++) {
        double squares = squares_of(data->x + (size_t)c * data->stride, data->samples);
        longest = squares > longest || isnan(squares) ? squares : longest;
    }
    return sqrt(longest) * SAFE;
}

static double distance(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)a[i] - (double)b[i];
        sum += difference * difference;
    }
    return sqrt(sum) * SAFE;
}

void screen_begin(screen *self, const batch *data, const float *residual, double squares)
{
    size_t samples = data->samples;
    if (!self->bound || !self->swept)
        self->column = longest_column(data);
    self->norm = sqrt(squares) * (1 + 1e-6); /* `squares` is a sum of float sums */
    self->largest = self->norm > self->largest ? self->norm : self->largest;
    double roundings = ROUNDINGS + (double)samples / SPAN_SAMPLES;
    self->gamma = 1.1 * roundings * 0x1p-24;
    if (self->bound) {
        if (self->swept)
            self->path = (self->path + distance(residual, self->residual, samples)) * SAFE;
        memcpy(self->residual, residual, samples * sizeof *residual);
    }
    self->swept = true;
    self->all = false;
    self->limit = -INFINITY;
}

void screen_decide(screen *self, float step_size, uint32_t threshold, size_t samples)
{
    float theta;
    memcpy(&theta, &threshold, sizeof theta);
    double eta = (double)step_size * (1 + 0x1p-22); /* the product is rounded, too */
    /* what sums lose where products are smaller than the smallest float */
    double lost = (double)samples * 1e-44 * (eta + 1) + 1e-44;
    double now = eta * self->column * self->norm * (1 + self->gamma) * SAFE + lost;
    self->all = now < (double)theta;
    double slack = 2 * eta * self->gamma * self->column * self->largest * SAFE + lost;
    double reach = self->column * self->path;
    self->limit = ((double)theta - slack) / eta - reach;
    self->limit -= 1e-12 * ((double)theta / eta + reach);
}

void screen_forget(screen *self, const uint32_t *neurons, size_t count)
{
    for (size_t i = 0; self->bound && i < count; i++)
        self->bound[neurons[i]] = -INFINITY;
}

void screen_raise(screen *self, uint32_t neuron, const float *gradient, size_t columns)
{
    if (!self->bound)
        return;
    float largest = 0;
    for (size_t c = 0; c < columns; c++) {
        float magnitude = fabsf(gradient[c]);
        largest = magnitude <= largest ? largest : magnitude; /* NaN gets through */
    }
    float bound = nextafterf((float)((double)largest - self->column * self->path), INFINITY);
    if (isnan(bound))
        bound = INFINITY;
    float *place = &self->bound[neuron], seen;
    __atomic_load(place, &seen, __ATOMIC_RELAXED);
    while (bound > seen && !__atomic_compare_exchange(place, &seen, &bound, true, __ATOMIC_RELAXED,
                                                      __ATOMIC_RELAXED))
        continue;
}
