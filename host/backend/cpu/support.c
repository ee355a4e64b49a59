#include "backend/cpu/support.h"

#include <string.h>

ISA_DECLARE(support_kernels, support_table);

const support_kernels *support_kernels_for(cpu_isa isa)
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
    const sparse *support = self->support;
    size_t first = chunk * SUPPORT_CHUNK, length = chunk_length(self, chunk);
    size_t words = self->stride / SAMPLE_BLOCK;
    double sum[SUPPORT_CHUNK];
    memset(sum, 0, length * sizeof *sum);
    for (size_t j = 0; j < support->live; j++) {
        size_t start = support->start[j];
        kernels->forward(self->x + first, self->stride, support->column + start, value + start,
                         support->start[j + 1] - start,
                         self->patterns + j * words + first / SAMPLE_BLOCK, length / SAMPLE_BLOCK,
                         neuron_sign(self->signs, support->row[j]), sum);
    }
    for (size_t i = 0; i < length; i++)
        out[first + i] = (float)(sum[i] - (target ? (double)target[first + i] : 0.0));
    return kernels->squares(out + first, length);
}

double support_forward(const support_operator *self, const float *value, const float *target,
                       float *out, double *sums)
{
    const support_kernels *kernels = support_kernels_for(self->backend->isa);
    int64_t chunks = (int64_t)support_chunks(self->stride);
    int threads = threads_for(self, (double)self->stride * (double)self->support->nnz);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t c = 0; c < chunks; c++)
        sums[c] = forward_chunk(self, kernels, value, target, out, (size_t)c);
    return sum_in_order(sums, (size_t)chunks);
}

/* Entries of one neuron that share masked residuals; the unit of work of a thread. */
#define ADJOINT_ENTRIES 8u

/* gradient for entries first .. first + count - 1 of live neuron j. */
static void adjoint_entries(const support_operator *self, const support_kernels *kernels, size_t j,
                            size_t first, size_t count, const float *residual, float *gradient)
{
    size_t words = self->stride / SAMPLE_BLOCK;
    double sum[ADJOINT_ENTRIES] = {0};
    for (size_t chunk = 0; chunk < support_chunks(self->stride); chunk++) {
        size_t at = chunk * SUPPORT_CHUNK;
        kernels->adjoint(self->x + at, self->stride, self->support->column + first, count,
                         self->patterns + j * words + at / SAMPLE_BLOCK,
                         chunk_length(self, chunk) / SAMPLE_BLOCK, residual + at, sum);
    }
    double sign = (double)neuron_sign(self->signs, self->support->row[j]);
    for (size_t k = 0; k < count; k++)
        gradient[first + k] = (float)(sign * sum[k]);
}

double support_adjoint(const support_operator *self, const float *residual, float *gradient)
{
    const support_kernels *kernels = support_kernels_for(self->backend->isa);
    const sparse *support = self->support;
    int threads = threads_for(self, (double)self->stride * (double)support->nnz);
    int64_t live = (int64_t)support->live;
#pragma omp parallel num_threads(threads)
#pragma omp single
    for (int64_t j = 0; j < live; j++)
        for (size_t k = support->start[j]; k < support->start[j + 1]; k += ADJOINT_ENTRIES) {
            size_t rest = support->start[j + 1] - k;
            size_t count = rest < ADJOINT_ENTRIES ? rest : ADJOINT_ENTRIES;
#pragma omp task firstprivate(j, k, count)
            adjoint_entries(self, kernels, (size_t)j, k, count, residual, gradient);
        }
    double total = 0;
    for (size_t k = 0; k < support->nnz; k++)
        total += (double)gradient[k] * (double)gradient[k];
    return total;
}

double support_descend(const support_operator *self, float *r, const float *q, float step,
                       double *sums)
{
    const support_kernels *kernels = support_kernels_for(self->backend->isa);
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
