/* One sweep beside one sgemm of the same shape: [hidden, samples] times X [samples, inputs] is what
 * a dense implementation of the gradient would multiply. The threads of a BLAS, and those of
 * OpenMP, go on looking for work for a while after their last, in the way of the other side: each
 * side is given time to fall asleep before the other is timed. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/sweep.h"
#include "core/rng.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Data, residual and buffers of both sides. */
typedef struct bench {
    batch data;
    float *residual, *masked, *product; /* [stride]; [hidden, stride]; [hidden, inputs] */
    sweep *sweep;
    selector best;
    sparse weights; /* none: the first step of a run, whose threshold starts lowest */
    generator_source generators;
    float *seconds[3]; /* sweep, its patterns, sgemm; [repeats] */
} bench;

static void bench_destroy(reliht_context *context, bench *self)
{
    gate_release(context, self->data.x);
    gate_release(context, self->residual);
    gate_release(context, self->masked);
    gate_release(context, self->product);
    for (int i = 0; i < 3; i++)
        gate_release(context, self->seconds[i]);
    sweep_destroy(self->sweep);
    selector_destroy(context, &self->best);
    sparse_destroy(context, &self->weights);
}

/* X, r and the dense operand ~ N(0,1); the time of sgemm does not depend on the values. */
static reliht_status bench_create(reliht_context *context,
                                  const reliht_bench_sweep_options *options, bench *self)
{
    cpu_backend *cpu = (cpu_backend *)context->backend;
    size_t n = options->samples, d = options->inputs, m = options->hidden;
    size_t stride = padded_samples(n);
    *self = (bench){.data = {.backend = cpu,
                             .borrowed = true,
                             .capacity = n,
                             .samples = n,
                             .inputs = d,
                             .outputs = 1,
                             .stride = stride},
                    .generators = {.source = PATTERNS_DRAWN,
                                   .hidden = m,
                                   .inputs = d,
                                   .kind = options->generator,
                                   .seed = 1}};
    reliht_status status = RELIHT_OK;
#define ALLOCATE(category, field, count)                                          \
    if ((status = gate_allocate(context, MEMORY_##category, count, sizeof(float), \
                                "benchmark: " #field, &self->field)))             \
    goto done
    ALLOCATE(data, data.x, d * stride);
    ALLOCATE(workspace, residual, stride);
    ALLOCATE(workspace, masked, m * stride);
    ALLOCATE(workspace, product, m * d);
    for (int i = 0; i < 3; i++)
        ALLOCATE(workspace, seconds[i], options->repeats);
#undef ALLOCATE
    if ((status = sweep_create(cpu, n, d, &self->sweep)) ||
        (status = selector_create(context, &self->best, options->nnz)) ||
        (status = sparse_create(context, &self->weights, m, d, 0)))
        goto done;
    for (size_t c = 0; c < d; c++)
        rng_normals(1, RNG_INPUTS, c, n, self->data.x + c * stride);
    rng_normals(1, RNG_VALUES, 0, n, self->residual);
    for (size_t i = 0; i < m * stride; i++)
        self->masked[i] = (float)(i % 2);
done:
    if (status)
        bench_destroy(context, self);
    return status;
}

static reliht_status run_sweep(reliht_context *context, bench *self)
{
    size_t swept;
    selector_reset(&self->best);
    reliht_status status =
        sweep_run(self->sweep, &self->data, &self->generators, RELIHT_SIGNS_PLUS, self->residual,
                  1e-3f, &self->weights, &self->best, NULL, &swept);
    return status ? status : selector_finish(context, &self->best, "neuron", "input");
}

static void run_sgemm(bench *self)
{
    int n = (int)self->data.samples, d = (int)self->data.inputs, stride = (int)self->data.stride;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)self->generators.hidden, d, n, 1.0f,
                self->masked, stride, self->data.x, stride, 0.0f, self->product, d);
}

static void settle(void)
{
    const struct timespec pause = {.tv_nsec = 150 * 1000 * 1000};
    nanosleep(&pause, NULL);
}

static int compare_floats(const void *left, const void *right)
{
    float a = *(const float *)left, b = *(const float *)right;
    return (a > b) - (a < b);
}

static double median(float *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_floats);
    return count % 2 ? values[count / 2]
                     : 0.5 * ((double)values[count / 2 - 1] + (double)values[count / 2]);
}

static reliht_status check_options(reliht_context *context,
                                   const reliht_bench_sweep_options *options)
{
    const size_t most = 1u << 30; /* dimensions of sgemm are int, those of a stride included */
    if (!options->samples || !options->inputs || !options->hidden || !options->nnz ||
        !options->repeats)
        return fail(context, RELIHT_ARGUMENT,
                    "benchmark: samples, inputs, hidden, nnz and repeats must be at least 1");
    if (options->samples > most || options->inputs > most || options->hidden > most ||
        options->nnz > RELIHT_MAX_DIMENSION)
        return fail(context, RELIHT_ARGUMENT,
                    "benchmark: samples, inputs and hidden may be at most %zu", most);
    return RELIHT_OK;
}

reliht_status reliht_bench_sweep(reliht_context *context, const reliht_bench_sweep_options *options,
                                 reliht_bench_sweep_report *report)
{
    *report = (reliht_bench_sweep_report){0};
    if (strcmp(context->backend->operations->name, "cpu") != 0)
        return fail(context, RELIHT_UNSUPPORTED,
                    "benchmark: the sweep is timed beside OpenBLAS, on backend cpu only");
    bench self;
    reliht_status status = check_options(context, options);
    if (status || (status = bench_create(context, options, &self)))
        return status;
    int blas_threads = openblas_get_num_threads();
    openblas_set_num_threads((int)context->threads);
    /* The first pair warms up caches, threads and pages and isn't counted. */
    for (size_t i = 0; i <= options->repeats; i++) {
        settle();
        double patterns = sweep_pattern_seconds(self.sweep), start = clock_wall();
        if ((status = run_sweep(context, &self)))
            goto done;
        double sweep_end = clock_wall();
        settle();
        double sgemm_start = clock_wall();
        run_sgemm(&self);
        double sgemm_end = clock_wall();
        if (i) {
            self.seconds[0][i - 1] = (float)(sweep_end - start);
            self.seconds[1][i - 1] = (float)(sweep_pattern_seconds(self.sweep) - patterns);
            self.seconds[2][i - 1] = (float)(sgemm_end - sgemm_start);
        }
    }
    report->seconds_sweep = median(self.seconds[0], options->repeats);
    report->seconds_patterns = median(self.seconds[1], options->repeats);
    report->seconds_sgemm = median(self.seconds[2], options->repeats);
done:
    openblas_set_num_threads(blas_threads);
    bench_destroy(context, &self);
    return status;
}
