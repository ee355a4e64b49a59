#include "backend/cpu/screen.h"

#include <math.h>
#include <string.h>

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
    return sqrt(longest) * SCREEN_SAFE;
}

static double distance(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = (double)a[i] - (double)b[i];
        sum += difference * difference;
    }
    return sqrt(sum) * SCREEN_SAFE;
}

void screen_begin(screen *self, const batch *data, const float *residual, double squares)
{
    size_t samples = data->samples;
    screen_facts *facts = &self->facts;
    if (!self->bound || !self->swept)
        facts->column = longest_column(data);
    facts->norm = sqrt(squares) * (1 + 1e-6); /* `squares` is a sum of float sums */
    facts->largest = facts->norm > facts->largest ? facts->norm : facts->largest;
    facts->gamma = screen_gamma(ROUNDINGS + (double)samples / SPAN_SAMPLES);
    if (self->bound) {
        if (self->swept)
            facts->path = (facts->path + distance(residual, self->residual, samples)) * SCREEN_SAFE;
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
    self->all = screen_all(&self->facts, step_size, theta, (double)samples);
    self->limit = screen_limit(&self->facts, step_size, theta, (double)samples);
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
    float bound = screen_bound(&self->facts, largest);
    float *place = &self->bound[neuron], seen;
    __atomic_load(place, &seen, __ATOMIC_RELAXED);
    while (bound > seen && !__atomic_compare_exchange(place, &seen, &bound, true, __ATOMIC_RELAXED,
                                                      __ATOMIC_RELAXED))
        continue;
}
