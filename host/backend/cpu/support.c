#include "backend/cpu/support.h"

#include <string.h>

ISA_DECLARE(support_kernels, support_table);

static const support_kernels *kernels_for(cpu_isa isa)
{
    static const support_kernels *const tables[ISA_COUNT] = ISA_TABLE(support_table);
    return tables[isa];
}

/* Below this many multiply-adds a second thread costs more than it saves. */
#define PARALLEL_WORK 2000000.0

static int threads_for(const support_operator *self, double work)
{
    return work < PARALLEL_WORK ? 1 : (int)self->backend->base.context->threads;
}

static size_t chunk_length(const support_operator *self, size_t chunk)
{
    size_t first = chunk * SUPPORT_CHUNK, rest = self->stride - first;
    return rest < SUPPORT_CHUNK ? rest : SUPPORT_CHUNK;
}

static double sum_in_order(const double *sums, size_t count)
{
    double total = 0;
    for (size_t i = 0; i < count; i++)
        total += sums[i];
    return total;
}

/* One chunk of support_forward; returns its share of |out|^2. */
static double forward_chunk(const support_operator *self, const support_kernels *kernels,
                            const float *value, const float *target, float *out, size_t chunk)
{
    size_t first = chunk * SUPPORT_CHUNK, length = chunk_length(self, chunk);
    double sum[SUPPORT_CHUNK];
    memset(sum, 0, length * sizeof *sum);
    kernels->forward(self->x + first, self->stride, self->support, value,
                     self->patterns + first / SAMPLE_BLOCK, length / SAMPLE_BLOCK, self->signs,
                     sum);
    for (size_t i = 0; i < length; i++)
        out[first + i] = (float)(sum[i] - (target ? (double)target[first + i] : 0.0));
    return kernels->squares(out + first, length);
}

double support_forward(const support_operator *self, const float *value, const float *target,
                       float *out, double *sums)
{
    const support_kernels *kernels = kernels_for(self->backend->isa);
    int64_t chunks = (int64_t)support_chunks(self->stride);
    int threads = threads_for(self, (double)self->stride * (double)self->support->nnz);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t c = 0; c < chunks; c++)
        sums[c] = forward_chunk(self, kernels, value, target, out, (size_t)c);
    return sum_in_order(sums, (size_t)chunks);
}

/* Sums over one span of samples, for every entry of the support. A span's inputs stay in the second
 * cache while all neurons read them. */
static void adjoint_span(const support_operator *self, const support_kernels *kernels, size_t span,
                         const float *residual, double *sums)
{
    size_t first = span * ADJOINT_SPAN, rest = self->stride - first;
    size_t length = rest < ADJOINT_SPAN ? rest : ADJOINT_SPAN;
    kernels->adjoint(self->x + first, self->stride, self->support,
                     self->patterns + first / SAMPLE_BLOCK, length / SAMPLE_BLOCK, residual + first,
                     sums);
}

double support_adjoint(const support_operator *self, const float *residual, float *gradient,
                       double *scratch)
{
    const support_kernels *kernels = kernels_for(self->backend->isa);
    const sparse *support = self->support;
    size_t nnz = support->nnz, spans = (self->stride + ADJOINT_SPAN - 1) / ADJOINT_SPAN;
    int threads = threads_for(self, (double)self->stride * (double)nnz);
    double *total = scratch + ADJOINT_WAVE * nnz;
    memset(total, 0, nnz * sizeof *total);
    for (size_t first = 0; first < spans; first += ADJOINT_WAVE) {
        size_t count = spans - first < ADJOINT_WAVE ? spans - first : ADJOINT_WAVE;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (size_t i = 0; i < count; i++)
            adjoint_span(self, kernels, first + i, residual, scratch + i * nnz);
        for (size_t i = 0; i < count; i++)
            for (size_t k = 0; k < nnz; k++)
                total[k] += scratch[i * nnz + k];
    }
    double squares = 0;
    for (size_t j = 0; j < support->live; j++)
        for (size_t k = support->start[j]; k < support->start[j + 1]; k++) {
            double sign = (double)neuron_sign(self->signs, support->row[j]);
            gradient[k] = (float)(sign * total[k]);
            squares += (double)gradient[k] * (double)gradient[k];
        }
    return squares;
}

double support_descend(const support_operator *self, float *r, const float *q, float step,
                       double *sums)
{
    const support_kernels *kernels = kernels_for(self->backend->isa);
    int64_t chunks = (int64_t)support_chunks(self->stride);
    int threads = threads_for(self, (double)self->stride * 4);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t c = 0; c < chunks; c++) {
        size_t first = (size_t)c * SUPPORT_CHUNK, length = chunk_length(self, (size_t)c);
        kernels->descend(r + first, q + first, step, length);
        sums[c] = kernels->squares(r + first, length);
    }
    return sum_in_order(sums, (size_t)chunks);
}
