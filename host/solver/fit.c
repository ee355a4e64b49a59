/* Limited-memory BFGS (Nocedal 1980) on the nonzero weights of relu(X W1^T) W2.
 *
 * The loss is smooth but where a pattern changes, and there it is continuous, so plain backtracking
 * (Armijo) is enough. The inverse Hessian starts from gamma / diagonal: the second derivative by a
 * weight is, with patterns fixed, the mean square of what it multiplies, about |other side|^2 times
 * that of an input; gamma comes from the last step. The vectors are as long as the support: all of
 * this is host arithmetic in double, the same on every backend. */
#include "solver/fit.h"

#include <math.h>
#include <string.h>

#define LEAST_CURVATURE                                                                     \
    0.05                /* of the mean diagonal: new neurons have a side that is still zero \
                         */
#define SUFFICIENT 1e-4 /* share of the gain that the slope promises */
#define TRIES 10
#define STEADY_STEPS 10 /* before slow progress ends a fit */

reliht_status fit_create(reliht_context *context, fit *self, size_t capacity)
{
    reliht_status status = RELIHT_OK;
    self->capacity = capacity;
#define ALLOCATE(field, count)                                                                     \
    if (!status)                                                                                   \
    status = gate_allocate(context, MEMORY_weights, count, sizeof *self->field, "a fit's " #field, \
                           &self->field)
    ALLOCATE(gradient, capacity);
    ALLOCATE(next_gradient, capacity);
    ALLOCATE(start, capacity);
    ALLOCATE(moves, FIT_PAIRS * capacity);
    ALLOCATE(changes, FIT_PAIRS * capacity);
    ALLOCATE(direction, capacity);
    ALLOCATE(diagonal, capacity);
#undef ALLOCATE
    return status;
}

void fit_destroy(reliht_context *context, fit *self)
{
    gate_release(context, self->gradient);
    gate_release(context, self->next_gradient);
    gate_release(context, self->start);
    gate_release(context, self->moves);
    gate_release(context, self->changes);
    gate_release(context, self->direction);
    gate_release(context, self->diagonal);
}

reliht_status fit_evaluate(reliht_context *context, fit *self, const network *at, float *gradient,
                           double *loss)
{
    const backend_operations *operations = context->backend->operations;
    self->evaluations++;
    reliht_status status = operations->factored_set_weights(self->model, &at->hidden, &at->output);
    if (!status)
        status = operations->factored_evaluate(self->model, self->data, loss, gradient);
    return status;
}

/* ---------------------------------------------------------------- direction */

static size_t side_diagonal(const sparse *side, const sparse *other, double unit, size_t count,
                            double *diagonal)
{
    for (size_t at = 0; at < side->live; at++) {
        size_t place = sparse_find_row(other, side->row[at]);
        double square = place < other->live ? unit * sparse_row_square(other, place) : 0;
        for (size_t k = side->start[at]; k < side->start[at + 1]; k++)
            diagonal[count++] = square;
    }
    return count;
}

static void find_diagonal(fit *self, const network *weights)
{
    double unit = 0.5 * self->inputs_square, sum = 0;
    size_t count = side_diagonal(&weights->hidden, &weights->output, unit, 0, self->diagonal);
    count = side_diagonal(&weights->output, &weights->hidden, unit, count, self->diagonal);
    for (size_t i = 0; i < count; i++)
        sum += self->diagonal[i];
    double least = sum > 0 ? LEAST_CURVATURE * sum / (double)count : 1.0;
    for (size_t i = 0; i < count; i++)
        self->diagonal[i] = fmax(self->diagonal[i], least);
}

static double dot(const float *a, const double *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static void add_scaled(double *to, const float *from, double factor, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] += factor * (double)from[i];
}

/* gamma of the last step: <move, change> / <change, change / diagonal>. */
static double newest_scale(const fit *self, size_t count)
{
    const float *change = self->changes + self->newest * self->capacity;
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)change[i] * (double)change[i] / self->diagonal[i];
    return self->products[self->newest] / sum;
}

/* direction <- -H gradient by the two-loop recursion. */
static void find_direction(fit *self, size_t count)
{
    double factor[FIT_PAIRS] = {0}, *direction = self->direction;
    for (size_t i = 0; i < count; i++)
        direction[i] = -(double)self->gradient[i];
    for (size_t p = 0; p < self->pairs; p++) {
        size_t at = (self->newest + FIT_PAIRS - p) % FIT_PAIRS;
        factor[p] = dot(self->moves + at * self->capacity, direction, count) / self->products[at];
        add_scaled(direction, self->changes + at * self->capacity, -factor[p], count);
    }
    double scale = self->pairs ? newest_scale(self, count) : 1.0;
    for (size_t i = 0; i < count; i++)
        direction[i] *= scale / self->diagonal[i];
    for (size_t p = self->pairs; p-- > 0;) {
        size_t at = (self->newest + FIT_PAIRS - p) % FIT_PAIRS;
        double back =
            dot(self->changes + at * self->capacity, direction, count) / self->products[at];
        add_scaled(direction, self->moves + at * self->capacity, factor[p] - back, count);
    }
}

/* ---------------------------------------------------------------- a step */

static void move_weights(const fit *self, network *weights, double length)
{
    size_t hidden = weights->hidden.nnz;
    for (size_t i = 0; i < hidden; i++)
        weights->hidden.value[i] = (float)((double)self->start[i] + length * self->direction[i]);
    for (size_t i = 0; i < weights->output.nnz; i++)
        weights->output.value[i] =
            (float)((double)self->start[hidden + i] + length * self->direction[hidden + i]);
}

/* Notes the step to `weights`, unless the loss does not curve upwards along it. */
static void remember_step(fit *self, const network *weights, size_t count)
{
    size_t at = (self->newest + 1) % FIT_PAIRS, hidden = weights->hidden.nnz;
    float *move = self->moves + at * self->capacity;
    float *change = self->changes + at * self->capacity;
    double product = 0, square = 0;
    for (size_t i = 0; i < count; i++) {
        float now = i < hidden ? weights->hidden.value[i] : weights->output.value[i - hidden];
        move[i] = now - self->start[i];
        change[i] = self->next_gradient[i] - self->gradient[i];
        product += (double)move[i] * (double)change[i];
        square += (double)change[i] * (double)change[i] / self->diagonal[i];
    }
    if (!(product > 1e-12 * square && square > 0))
        return;
    self->products[at] = product;
    self->newest = at;
    self->pairs += self->pairs < FIT_PAIRS;
}

/* Backtracks along the direction until the loss falls enough. *next is the last loss tried. */
static reliht_status search_line(reliht_context *context, fit *self, network *weights,
                                 double length, double slope, double loss, double *next)
{
    for (int tries = 0; tries < TRIES; tries++) {
        move_weights(self, weights, length);
        reliht_status status = fit_evaluate(context, self, weights, self->next_gradient, next);
        if (status || *next <= loss + SUFFICIENT * length * slope)
            return status;
        /* The minimum of the parabola through the loss, the slope and what was tried. */
        double best = -slope * length * length / (2 * (*next - loss - slope * length));
        double least = 0.1 * length, most = 0.5 * length;
        length = best > least ? fmin(best, most) : least;
    }
    return RELIHT_OK;
}

/* One step; *gained says whether the loss fell. */
static reliht_status take_step(reliht_context *context, fit *self, network *weights, double *loss,
                               bool *gained)
{
    size_t hidden = weights->hidden.nnz, count = network_nnz(weights);
    *gained = false;
    find_direction(self, count);
    double slope = dot(self->gradient, self->direction, count) / self->gradient_unit;
    double next = INFINITY;
    if (!(slope < 0))
        return RELIHT_OK;
    memcpy(self->start, weights->hidden.value, hidden * sizeof(float));
    memcpy(self->start + hidden, weights->output.value, weights->output.nnz * sizeof(float));
    reliht_status status = search_line(context, self, weights, 1.0, slope, *loss, &next);
    if (status || !(next < *loss)) {
        move_weights(self, weights, 0);
        return status;
    }
    remember_step(self, weights, count);
    memcpy(self->gradient, self->next_gradient, count * sizeof(float));
    *loss = next;
    *gained = true;
    return RELIHT_OK;
}

reliht_status fit_network(reliht_context *context, fit *self, network *weights, size_t iterations,
                          double least_gain, double *loss)
{
    self->pairs = 0;
    network_balance(weights);
    find_diagonal(self, weights);
    reliht_status status = fit_evaluate(context, self, weights, self->gradient, loss);
    if (!status && !isfinite(*loss))
        return fail(context, RELIHT_NUMERIC,
                    "the loss of a batch is not finite: inputs and targets of smaller magnitude "
                    "would keep it so");
    for (size_t i = 0; !status && i<iterations && * loss> 0; i++) {
        double before = *loss;
        bool gained, fresh = !self->pairs;
        status = take_step(context, self, weights, loss, &gained);
        if (gained && i > STEADY_STEPS && before - *loss < least_gain * *loss)
            break;
        if (!gained && fresh)
            break;
        if (!gained) /* along the plain gradient, then */
            self->pairs = 0;
    }
    return status;
}
