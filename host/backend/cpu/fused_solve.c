/* Gauss-Newton steps of the fused model on the CPU: with the patterns fixed yhat = A w is linear,
 *     min over delta  |A_S (w + delta) - y|^2 + lambda |delta|^2
 * by CGLS (Hestenes & Stiefel 1952; Paige & Saunders 1982), which applies A and A^T only and keeps
 * the residual in the space of samples, where it loses no accuracy to the squared condition.
 *
 * With a linear term the iteration runs in w = v, b = a - 1/2 sum_j sign_j v_j: the columns
 * sign_j (D_j - 1/2) X of unrelated neurons are nearly orthogonal, and all are to X. */
#include "backend/cpu/fused.h"

#include "backend/iht_rules.h"

#include <math.h>
#include <string.h>

/* values <- (w, b) of the variables (v, a); the linear row holds every input. */
static void weights_of_variables(const fused *self, const float *variables, float *values)
{
    const sparse *support = &self->weights;
    memcpy(values, variables, support->nnz * sizeof *values);
    if (!has_linear_row(self))
        return;
    float *linear = values + support->start[support->live - 1];
    for (size_t j = 0; j + 1 < support->live; j++) {
        float half = 0.5f * neuron_sign(self->problem.signs, support->row[j]);
        for (size_t k = support->start[j]; k < support->start[j + 1]; k++)
            linear[support->column[k]] -= half * variables[k];
    }
}

/* gradient <- that in (v, a) from that in (w, b), less damping * delta, sign turned: the steepest
 * descent; returns its square. */
static double descent_of_gradient(const fused *self, double damping, float *gradient)
{
    const sparse *support = &self->weights;
    const float *linear = gradient + support->start[support->live - 1];
    if (has_linear_row(self))
        for (size_t j = 0; j + 1 < support->live; j++) {
            float half = 0.5f * neuron_sign(self->problem.signs, support->row[j]);
            for (size_t k = support->start[j]; k < support->start[j + 1]; k++)
                gradient[k] -= half * linear[support->column[k]];
        }
    double squares = 0;
    for (size_t k = 0; k < support->nnz; k++) {
        gradient[k] = (float)(-(double)gradient[k] - damping * (double)self->delta[k]);
        squares += (double)gradient[k] * (double)gradient[k];
    }
    return squares;
}

static double sum_squares(const float *values, size_t count)
{
    double squares = 0;
    for (size_t k = 0; k < count; k++)
        squares += (double)values[k] * (double)values[k];
    return squares;
}

/* Iterations of CGLS on self->delta and the residual; gradient, chosen: scratch. */
static void conjugate_gradients(fused *self, const support_operator *a,
                                const solve_options *options)
{
    size_t nnz = self->weights.nnz;
    double damping = 0, norm = 0;
    support_adjoint(a, self->residual, self->gradient, self->spans);
    double squares = descent_of_gradient(self, damping, self->gradient);
    double target = options->tolerance * options->tolerance * squares;
    memcpy(self->direction, self->gradient, nnz * sizeof *self->direction);
    for (size_t i = 0; i < options->iterations && squares > target && squares > 0; i++) {
        weights_of_variables(self, self->direction, self->chosen);
        double image = support_forward(a, self->chosen, NULL, self->image, self->sums);
        double length = sum_squares(self->direction, nnz);
        if (i == 0)
            damping = options->damping * image / length;
        double curvature = image + damping * length;
        if (!curvature_in_range(curvature)) {
            if (i == 0)
                self->report.objective_after = NAN;
            return;
        }
        norm = fmax(norm, image / length);
        float step = (float)(squares / curvature);
        for (size_t k = 0; k < nnz; k++)
            self->delta[k] = fmaf(step, self->direction[k], self->delta[k]);
        self->report.objective_after =
            support_descend(a, self->residual, self->image, -step, self->sums);
        self->report.refits++;
        support_adjoint(a, self->residual, self->gradient, self->spans);
        double next = descent_of_gradient(self, damping, self->gradient);
        if (least_squares_solved(next, norm, self->report.objective_after))
            return;
        float factor = (float)(next / squares);
        for (size_t k = 0; k < nnz; k++)
            self->direction[k] = fmaf(factor, self->direction[k], self->gradient[k]);
        squares = next;
    }
}

reliht_status cpu_fused_solve(fused *self, batch *data, const solve_options *options)
{
    sparse *weights = &self->weights;
    if (!weights->nnz)
        return RELIHT_OK;
    size_t linear = weights->start[weights->live] - weights->start[weights->live - 1];
    if (has_linear_row(self) && linear != self->problem.inputs)
        return fail(fused_context(self), RELIHT_ARGUMENT,
                    "the linear term has %zu of %zu inputs; it must hold all of them", linear,
                    self->problem.inputs);
    support_operator a = fused_operator(self, data);
    memset(self->delta, 0, weights->nnz * sizeof *self->delta);
    conjugate_gradients(self, &a, options);
    weights_of_variables(self, self->delta, self->chosen);
    for (size_t k = 0; k < weights->nnz; k++)
        weights->value[k] += self->chosen[k];
    if (!isfinite(self->report.objective_after))
        return fail(fused_context(self), RELIHT_NUMERIC,
                    "the least-squares problem on the support is not finite: inputs or targets are "
                    "too large or too small for single precision; scale them");
    return RELIHT_OK;
}

/* Neurons whose numbers are listed at a time. */
#define NUMBERED 256

reliht_status cpu_fused_gradients(fused *self, batch *data, const sparse *generators, size_t first,
                                  size_t rows, float *gradients)
{
    generator_source source = fused_generators(self, PATTERNS_DRAWN);
    if (generators) {
        source.source = PATTERNS_WEIGHTS;
        source.weights = generators;
        return sweep_gradients(self->sweep, data, &source, self->residual, generators->row + first,
                               rows, gradients);
    }
    reliht_status status = RELIHT_OK;
    for (size_t done = 0; !status && done < rows; done += NUMBERED) {
        uint32_t neurons[NUMBERED];
        size_t count = rows - done < NUMBERED ? rows - done : NUMBERED;
        for (size_t i = 0; i < count; i++)
            neurons[i] = (uint32_t)(first + done + i);
        status = sweep_gradients(self->sweep, data, &source, self->residual, neurons, count,
                                 gradients + done * self->problem.inputs);
    }
    return status;
}
