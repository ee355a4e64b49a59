/* The conditions of the recovery guarantee (Fridovich-Keil & Pilanci, arXiv 2509.20323), measured.
 * The paper's chain: patterns with enough active samples and far enough from one another
 * (assumptions), so the columns of A are well conditioned on every small support (lemma 1:
 * alpha I <= A_S^T A_S <= beta I), so iterative hard thresholding contracts the error
 * (theorem 1, by Jain, Tewari & Kar 2014). */
#include "solver/certify.h"

#include "solver/limits.h"
#include "solver/merge.h"

#include <math.h>
#include <stdio.h>

/* A direction whose image is this small a share of the largest one's is lost in rounding. */
#define SINGULAR 1e-7

void reliht_certify_options_default(reliht_certify_options *options)
{
    *options = (reliht_certify_options){
        .hidden = 100,
        .generator = RELIHT_GENERATOR_GAUSSIAN,
        .directions = 200,
        .supports = 20,
        .searches = 4,
        .iterations = 20,
    };
}

reliht_status certify_open(certifier *self, size_t nnz, restricted *operator)
{
    const fused_problem problem = {.hidden = self->hidden,
                                   .inputs = self->inputs,
                                   .nnz = nnz,
                                   .signs = RELIHT_SIGNS_PLUS, /* they leave eigenvalues alone */
                                   .generator = self->options->generator,
                                   .seed = self->options->seed,
                                   .given = &self->network};
    return restricted_open(self->context, self->dataset, &problem, operator);
}

reliht_status certify_progress(certifier *self, size_t sparsity, double value)
{
    const reliht_progress progress = {
        .epoch = ++self->done,
        .epochs = self->done > self->work ? self->done : self->work,
        .batch = 1,
        .batches = 1,
        .layers = 1,
        .nnz = sparsity,
        .loss = value,
        .evaluation_loss = NAN,
        .seconds = clock_wall() - self->start,
    };
    const reliht_certify_options *options = self->options;
    if (!options->progress || options->progress(options->progress_user, &progress))
        return RELIHT_OK;
    return fail(self->context, RELIHT_CANCELLED, "cancelled before the certificate was complete");
}

/* ---------------------------------------------------------------- network, inputs */

/* network <- the distinct neurons, numbered from 0; a factored network by its first layer. */
static reliht_status take_network(certifier *self, const reliht_model *network)
{
    reliht_model first = *network; /* borrows the weights */
    merged_network merged;
    if (network->layers == 0 || network->hidden[0].nnz == 0)
        return fail(self->context, RELIHT_ARGUMENT, "the network has no weights to certify");
    first.kind = RELIHT_FUSED;
    first.signs = network->kind == RELIHT_FUSED ? network->signs : RELIHT_SIGNS_PLUS;
    first.layers = 1;
    reliht_status status = reliht_model_identifiability(self->context, &first, self->dataset,
                                                        &self->result->identifiability);
    if (!status)
        status = merge_network(self->context, &first, self->dataset, &merged);
    if (status)
        return status;
    const sparse *weights = &merged.weights;
    if (!weights->nnz)
        status =
            fail(self->context, RELIHT_ARGUMENT,
                 "no neuron of the network is active on the data: there is nothing to certify");
    if (!status)
        status = sparse_create(self->context, &self->network, weights->live, weights->columns,
                               weights->nnz);
    for (size_t j = 0; !status && j < weights->live; j++)
        for (size_t k = weights->start[j]; k < weights->start[j + 1]; k++)
            sparse_append(&self->network, (uint32_t)j, weights->column[k], weights->value[k]);
    merged_destroy(self->context, &merged);
    return status;
}

/* squares [inputs] <- |x_c|^2. */
static void input_squares(const reliht_dataset *dataset, double *squares)
{
    if (dataset->element == ELEMENT_FLOAT) {
        for (size_t c = 0; c < dataset->inputs; c++) {
            const float *x = (const float *)dataset->x + c * dataset->stride;
            for (size_t i = 0; i < dataset->samples; i++)
                squares[c] += (double)x[i] * (double)x[i];
        }
        return;
    }
    for (size_t i = 0; i < dataset->samples; i++)
        for (size_t c = 0; c < dataset->inputs; c++) {
            double x = ((const unsigned char *)dataset->x)[i * dataset->inputs + c];
            squares[c] += x * x;
        }
    for (size_t c = 0; c < dataset->inputs; c++)
        squares[c] *= (double)dataset->scale * (double)dataset->scale;
}

static reliht_status take_inputs(certifier *self)
{
    const reliht_dataset *dataset = self->dataset;
    double samples = (double)dataset->samples, *squares;
    reliht_status status = gate_allocate(self->context, MEMORY_workspace, self->inputs,
                                         sizeof *squares, "norms of the inputs", &squares);
    if (!status)
        status = gate_allocate(self->context, MEMORY_workspace, self->inputs,
                               sizeof *self->usable_inputs, "inputs", &self->usable_inputs);
    if (!status)
        status = gate_allocate(self->context, MEMORY_workspace, self->hidden, sizeof *self->usable,
                               "patterns in use", &self->usable);
    if (status)
        goto done;
    input_squares(dataset, squares);
    if (self->inputs > dataset->inputs)
        squares[dataset->inputs] = samples; /* the bias input */
    for (size_t c = 0; c < self->inputs; c++) {
        self->largest_column = fmax(self->largest_column, squares[c] / samples);
        if (squares[c] > 0)
            self->usable_inputs[self->usable_input_count++] = (uint32_t)c;
    }
done:
    gate_release(self->context, squares);
    return status;
}

/* ---------------------------------------------------------------- verdict */

/* Keeping the k largest entries of u, at a distance of d from an s-sparse x on the union of both
 * supports, ends at most sqrt(nu) d from x, where with rho = s / k <= 1
 *     nu = 1 + (rho + sqrt(rho^2 + 4 rho)) / 2
 * (docs/certify.md has the proof); for k = s that is the golden ratio. */
#define THRESHOLDING 1.6180339887498949

/* What the constants imply, kappa = L / m on 3s-sparse directions, on which a step of 2 / (m + L)
 * has a restricted isometry constant of delta = (kappa - 1) / (kappa + 1). */
static void imply(reliht_certificate *result, double kappa)
{
    double delta = isfinite(kappa) ? (kappa - 1) / (kappa + 1) : 1;
    result->contraction = THRESHOLDING * delta;
    /* nu(s / k) delta^2 < 1, solved for k */
    double ratio = (kappa - 1 / kappa) / 4;
    result->relaxed_sparsity = fmax(1, ratio * ratio) * (double)result->sparsity;
}

static void judge(reliht_certificate *result)
{
    const reliht_certificate_level *twice = &result->levels[1], *thrice = &result->levels[2];
    const reliht_identifiability *network = &result->identifiability;
    double kappa = thrice->smoothness / thrice->convexity;
    char *text = result->sentence;
    size_t bytes = sizeof result->sentence;
    bool singular = !(twice->convexity > SINGULAR * twice->smoothness);
    imply(result, kappa);
    if (!network->identifiable || singular) {
        result->verdict = RELIHT_VERDICT_NOT_IDENTIFIABLE;
        if (network->inactive)
            snprintf(text, bytes,
                     "Not identifiable: %zu of %zu neurons of the network are active on no sample, "
                     "so nothing can be known of their weights.",
                     network->inactive, network->neurons);
        else if (!network->identifiable)
            snprintf(text, bytes,
                     "Not identifiable: even with support and patterns known the weights are not "
                     "determined (eigenvalues on the support %.3g to %.3g, %zu weights, %zu "
                     "samples).",
                     network->smallest_eigenvalue, network->largest_eigenvalue, network->weights,
                     result->samples);
        else
            snprintf(text, bytes,
                     "Not identifiable among all weights of %zu nonzeros: a direction of %zu was "
                     "found that the data cannot see (%.3g, against %.3g for the largest), so "
                     "there are different weights with the same outputs.",
                     result->sparsity, twice->sparsity, twice->convexity, twice->smoothness);
    } else if (result->contraction >= 1) {
        result->verdict = RELIHT_VERDICT_NO_GUARANTEE;
        snprintf(text, bytes,
                 "No guarantee: over %zu-sparse directions the constants already differ by a "
                 "factor of %.3g (%.3g to %.3g), a guaranteed contraction with sparsity %zu needs "
                 "less than 4.24; thresholding would have to keep %.3g or more of %.3g weights. "
                 "The network may still be found.",
                 thrice->sparsity, kappa, thrice->convexity, thrice->smoothness, result->sparsity,
                 result->relaxed_sparsity, (double)result->patterns * (double)result->inputs);
    } else {
        result->verdict = RELIHT_VERDICT_NO_OBSTACLE;
        snprintf(text, bytes,
                 "No obstacle found: over %zu-sparse directions the constants found are %.3g to "
                 "%.3g, with which iterative hard thresholding contracts the error by %.3f a step. "
                 "They are estimates from inside, so this is evidence, not a proof.",
                 thrice->sparsity, thrice->convexity, thrice->smoothness, result->contraction);
    }
}

/* ---------------------------------------------------------------- all of it */

static reliht_status check_options(reliht_context *context, const reliht_certify_options *options)
{
    const struct {
        const char *name;
        size_t value, minimum;
    } counts[] = {
        {"hidden", options->hidden, 1},         {"sparsity", options->sparsity, 0},
        {"directions", options->directions, 1}, {"supports", options->supports, 0},
        {"searches", options->searches, 0},     {"iterations", options->iterations, 1},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        reliht_status status =
            check_dimension(context, counts[i].name, counts[i].value, counts[i].minimum);
        if (status)
            return status;
    }
    return RELIHT_OK;
}

static reliht_status measure(certifier *self)
{
    reliht_certificate *result = self->result;
    const reliht_certify_options *options = self->options;
    self->hidden = options->hidden > self->network.live ? options->hidden : self->network.live;
    self->inputs = self->network.columns;
    self->work = 3 * (options->directions + options->supports + 6 * options->searches);
    *result = (reliht_certificate){
        .samples = self->dataset->samples,
        .inputs = self->inputs,
        .patterns = self->hidden,
        .sparsity = options->sparsity ? options->sparsity : self->network.nnz,
        .active_min = 1,
        .active_min_network = 1,
        .distance_min = NAN,
        .coverage_mean = NAN,
        .coverage_worst = NAN,
        .identifiability = result->identifiability,
    };
    reliht_status status = take_inputs(self);
    if (!status)
        status = certify_patterns(self);
    if (!status && result->sparsity > self->usable_count * self->usable_input_count)
        status = fail(self->context, RELIHT_ARGUMENT,
                      "sparsity %zu is more than the %zu columns of %zu patterns on %zu inputs",
                      result->sparsity, self->usable_count * self->usable_input_count,
                      self->usable_count, self->usable_input_count);
    if (!status)
        status = certify_spectrum(self);
    if (!status)
        judge(result);
    return status;
}

reliht_status reliht_certify(reliht_context *context, const reliht_dataset *dataset,
                             const reliht_model *network, const reliht_certify_options *options,
                             reliht_certificate *certificate)
{
    certifier self = {.context = context,
                      .dataset = dataset,
                      .options = options,
                      .result = certificate,
                      .start = clock_wall()};
    *certificate = (reliht_certificate){0};
    reliht_status status = check_options(context, options);
    if (!status)
        status = take_network(&self, network);
    if (!status)
        status = measure(&self);
    gate_release(context, self.usable);
    gate_release(context, self.usable_inputs);
    sparse_destroy(context, &self.network);
    if (status)
        *certificate = (reliht_certificate){0};
    return status;
}
