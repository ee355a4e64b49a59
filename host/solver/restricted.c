#include "solver/restricted.h"

#include "core/rng.h"

#include <math.h>
#include <string.h>

static const backend_operations *operations_of(const restricted *self)
{
    return self->context->backend->operations;
}

reliht_status restricted_open(reliht_context *context, const reliht_dataset *dataset,
                              const fused_problem *problem, restricted *self)
{
    const backend_operations *operations = context->backend->operations;
    fused_problem all = *problem;
    all.samples = dataset->samples;
    *self = (restricted){.context = context, .data = *dataset};
    self->words = padded_samples(dataset->samples) / SAMPLE_BLOCK;
    self->data.outputs = 1;
    self->data.labels = NULL;
    self->data.classes = 0;
    self->data.y = NULL;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, padded_samples(dataset->samples),
                      sizeof *self->data.y, "targets of an operator", &self->data.y);
    if (!status)
        status = operations->batch_create(context->backend, &self->data,
                                          problem->inputs > dataset->inputs, dataset->samples,
                                          &self->batch);
    if (!status)
        status = operations->batch_load(self->batch, NULL, dataset->samples);
    if (!status)
        status = operations->fused_create(context->backend, &all, &self->model);
    if (status)
        restricted_close(self);
    return status;
}

void restricted_close(restricted *self)
{
    if (!self->context)
        return;
    operations_of(self)->fused_destroy(self->model);
    operations_of(self)->batch_destroy(self->batch);
    gate_release(self->context, self->data.y);
    *self = (restricted){0};
}

reliht_status restricted_set_targets(restricted *self, const float *targets)
{
    if (!targets && !self->has_targets)
        return RELIHT_OK;
    self->has_targets = targets != NULL;
    if (targets)
        memcpy(self->data.y, targets, self->data.samples * sizeof *targets);
    else
        memset(self->data.y, 0, self->data.samples * sizeof *targets);
    return operations_of(self)->batch_load(self->batch, NULL, self->data.samples);
}

reliht_status restricted_load(restricted *self, const sparse *support, pattern_source source)
{
    reliht_status status = operations_of(self)->fused_set_weights(self->model, support);
    return status ? status : operations_of(self)->fused_begin(self->model, self->batch, source);
}

reliht_status restricted_patterns(restricted *self, uint64_t *bits)
{
    return operations_of(self)->fused_read(self->model, NULL, NULL, bits);
}

reliht_status restricted_product(restricted *self, const float *value, float *image,
                                 float *gradient, double *squares)
{
    return operations_of(self)->fused_product(self->model, self->batch, value, image, gradient,
                                              squares);
}

/* From no weights, a step of length mu ends at top_s(mu A^T y). */
reliht_status restricted_top(restricted *self, const float *u, sparse *top)
{
    const backend_operations *operations = operations_of(self);
    step_report report = {0};
    sparse_clear(top);
    reliht_status status = restricted_set_targets(self, u);
    if (!status)
        status = restricted_load(self, top, PATTERNS_DRAWN);
    if (!status)
        status = operations->fused_sweep(self->model, self->batch, PATTERNS_DRAWN);
    if (!status)
        status = operations->fused_report(self->model, &report);
    if (!status)
        status = operations->fused_get_weights(self->model, top);
    for (size_t k = 0; !status && k < top->nnz; k++)
        top->value[k] = (float)((double)top->value[k] / report.step_size);
    return status;
}

static double inner(const double *a, const double *b, size_t count)
{
    double sum = 0;
    for (size_t k = 0; k < count; k++)
        sum += a[k] * b[k];
    return sum;
}

static void to_floats(const double *from, float *to, size_t count)
{
    for (size_t k = 0; k < count; k++)
        to[k] = (float)from[k];
}

/* ---------------------------------------------------------------- eigenvalues */

typedef struct lanczos {
    size_t nnz, steps;
    double *basis;   /* [steps + 1, nnz], orthonormal */
    double *matrix;  /* [steps, steps], the tridiagonal; its eigenvalues on the diagonal later */
    double *vectors; /* [steps, steps], eigenvectors by columns */
    float *value, *image; /* [nnz] */
} lanczos;

/* Cyclic Jacobi on a small symmetric matrix: a becomes diagonal, the columns of v eigenvectors. */
static void jacobi(size_t size, size_t stride, double *a, double *v)
{
    for (size_t i = 0; i < size; i++)
        for (size_t j = 0; j < size; j++)
            v[i * stride + j] = i == j;
    for (int sweep = 0; sweep < 30; sweep++) {
        double off = 0, all = 0;
        for (size_t i = 0; i < size; i++)
            for (size_t j = 0; j < size; j++) {
                double square = a[i * stride + j] * a[i * stride + j];
                all += square;
                off += i == j ? 0 : square;
            }
        if (off <= 1e-30 * all)
            return;
        for (size_t p = 0; p < size; p++)
            for (size_t q = p + 1; q < size; q++) {
                double apq = a[p * stride + q];
                if (apq == 0)
                    continue;
                double theta = (a[q * stride + q] - a[p * stride + p]) / (2 * apq);
                double t = copysign(1, theta) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), s = t * c;
                for (size_t k = 0; k < size; k++) {
                    double x = a[k * stride + p], y = a[k * stride + q];
                    a[k * stride + p] = c * x - s * y;
                    a[k * stride + q] = s * x + c * y;
                }
                for (size_t k = 0; k < size; k++) {
                    double x = a[p * stride + k], y = a[q * stride + k];
                    a[p * stride + k] = c * x - s * y;
                    a[q * stride + k] = s * x + c * y;
                }
                for (size_t k = 0; k < size; k++) {
                    double x = v[k * stride + p], y = v[k * stride + q];
                    v[k * stride + p] = c * x - s * y;
                    v[k * stride + q] = s * x + c * y;
                }
            }
    }
}

static reliht_status lanczos_open(reliht_context *context, size_t nnz, size_t steps, lanczos *self)
{
    *self = (lanczos){.nnz = nnz, .steps = steps};
    reliht_status status = RELIHT_OK;
#define ALLOCATE(field, count)                                                    \
    if (!status)                                                                  \
    status = gate_allocate(context, MEMORY_workspace, count, sizeof *self->field, \
                           "Lanczos vectors", &self->field)
    ALLOCATE(basis, (steps + 1) * nnz);
    ALLOCATE(matrix, steps * steps);
    ALLOCATE(vectors, steps * steps);
    ALLOCATE(value, nnz);
    ALLOCATE(image, nnz);
#undef ALLOCATE
    return status;
}

static void lanczos_close(reliht_context *context, lanczos *self)
{
    void *const arrays[] = {self->basis, self->matrix, self->vectors, self->value, self->image};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        gate_release(context, arrays[i]);
}

/* The start: normals of the stream (seed, RNG_CERTIFY, 0), of norm 1. */
static void lanczos_start(lanczos *self, uint64_t seed)
{
    rng_normals(seed, RNG_CERTIFY, 0, self->nnz, self->value);
    for (size_t k = 0; k < self->nnz; k++)
        self->basis[k] = (double)self->value[k];
    double norm = sqrt(inner(self->basis, self->basis, self->nnz));
    for (size_t k = 0; k < self->nnz; k++)
        self->basis[k] /= norm;
}

/* Fills basis and matrix; *size <- steps taken before the space was exhausted. */
static reliht_status lanczos_iterate(restricted *operator, lanczos * self, size_t *size)
{
    size_t nnz = self->nnz;
    double samples = (double)operator->data.samples, scale = 0;
    for (*size = 0; *size < self->steps;) {
        size_t i = (*size)++;
        double *next = self->basis + (i + 1) * nnz;
        to_floats(self->basis + i * nnz, self->value, nnz);
        reliht_status status = restricted_product(operator, self->value, NULL, self->image, NULL);
        if (status)
            return status;
        for (size_t k = 0; k < nnz; k++)
            next[k] = (double)self->image[k] / samples;
        scale = fmax(scale, sqrt(inner(next, next, nnz)));
        self->matrix[i * self->steps + i] = inner(next, self->basis + i * nnz, nnz);
        for (int twice = 0; twice < 2; twice++)
            for (size_t j = 0; j <= i; j++) {
                double part = inner(next, self->basis + j * nnz, nnz);
                for (size_t k = 0; k < nnz; k++)
                    next[k] -= part * self->basis[j * nnz + k];
            }
        double norm = sqrt(inner(next, next, nnz));
        /* products are rounded to single precision */
        if (norm <= 1e-6 * scale || *size == self->steps)
            return RELIHT_OK;
        self->matrix[i * self->steps + i + 1] = self->matrix[(i + 1) * self->steps + i] = norm;
        for (size_t k = 0; k < nnz; k++)
            next[k] /= norm;
    }
    return RELIHT_OK;
}

/* |A v|^2 / (samples |v|^2) of eigenvector `which` of the tridiagonal, v to `vector` if given. */
static reliht_status ritz_quotient(restricted *operator, lanczos * self, size_t size, size_t which,
                                   double *quotient, float *vector)
{
    double *sum = self->basis + self->steps * self->nnz; /* the last one is free by now */
    double squares, norm = 0;
    memset(sum, 0, self->nnz * sizeof *sum);
    for (size_t i = 0; i < size; i++)
        for (size_t k = 0; k < self->nnz; k++)
            sum[k] += self->vectors[i * self->steps + which] * self->basis[i * self->nnz + k];
    to_floats(sum, self->value, self->nnz);
    for (size_t k = 0; k < self->nnz; k++)
        norm += (double)self->value[k] * (double)self->value[k];
    reliht_status status = restricted_product(operator, self->value, NULL, NULL, &squares);
    if (!status)
        *quotient = squares / (norm * (double)operator->data.samples);
    if (!status && vector)
        memcpy(vector, self->value, self->nnz * sizeof *vector);
    return status;
}

reliht_status restricted_extremes(restricted *self, size_t nnz, size_t steps, uint64_t seed,
                                  restricted_spectrum *spectrum, float *smallest_vector,
                                  float *largest_vector)
{
    lanczos work;
    size_t size = 0, low = 0, high = 0;
    steps = steps < nnz ? steps : nnz;
    reliht_status status = lanczos_open(self->context, nnz, steps, &work);
    if (status)
        goto done;
    lanczos_start(&work, seed);
    status = lanczos_iterate(self, &work, &size);
    if (status)
        goto done;
    jacobi(size, steps, work.matrix, work.vectors);
    for (size_t i = 1; i < size; i++) {
        low = work.matrix[i * (steps + 1)] < work.matrix[low * (steps + 1)] ? i : low;
        high = work.matrix[i * (steps + 1)] > work.matrix[high * (steps + 1)] ? i : high;
    }
    status = ritz_quotient(self, &work, size, low, &spectrum->smallest, smallest_vector);
    if (!status)
        status = ritz_quotient(self, &work, size, high, &spectrum->largest, largest_vector);
done:
    lanczos_close(self->context, &work);
    return status;
}

/* ---------------------------------------------------------------- least squares */

/* Restarts from the true residual, against what the iteration's own loses to rounding. */
#define LEAST_SQUARES_ROUNDS 3

reliht_status restricted_least_squares(restricted *self, sparse *weights, double *squares)
{
    const backend_operations *operations = operations_of(self);
    const solve_options options = {.iterations = 300, .tolerance = 1e-7};
    step_report report = {0};
    reliht_status status = RELIHT_OK;
    for (int round = 0; !status && round < LEAST_SQUARES_ROUNDS; round++) {
        status = restricted_load(self, weights, PATTERNS_DRAWN);
        if (!status)
            status = operations->fused_solve(self->model, self->batch, &options);
        if (!status)
            status = operations->fused_report(self->model, &report);
        if (!status)
            status = operations->fused_get_weights(self->model, weights);
    }
    if (!status)
        *squares = report.objective_after;
    return status;
}
