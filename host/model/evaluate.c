/* Prediction and its scores, a chunk of samples at a time:
 *     mse = mean (yhat - y)^2,  PSNR = 20 log10(max|y|) - 10 log10(mse),
 *     cross-entropy = mean_i log sum_k exp(yhat_ik) - yhat_i,label. */
#include "model/evaluate.h"

#include "backend/backend.h"

#include <float.h>
#include <math.h>

#define ROWS 4096u /* samples predicted at once */

static reliht_status check_inputs(reliht_context *context, const reliht_model *model,
                                  const reliht_dataset *dataset)
{
    if (model->inputs == dataset->inputs)
        return RELIHT_OK;
    return fail(context, RELIHT_ARGUMENT, "the model reads %zu inputs, but the data have %zu",
                model->inputs, dataset->inputs);
}

/* Room for the outputs [outputs, rows] of a chunk. */
static reliht_status allocate_chunk(reliht_context *context, size_t outputs, size_t rows,
                                    float **chunk)
{
    return gate_allocate(context, MEMORY_workspace, rows, outputs * sizeof **chunk,
                         "predicted outputs", chunk);
}

static size_t rows_from(const reliht_dataset *dataset, size_t first)
{
    size_t left = dataset->samples - first;
    return left < ROWS ? left : ROWS;
}

reliht_status reliht_model_predict(reliht_context *context, const reliht_model *model,
                                   const reliht_dataset *dataset, float *y)
{
    backend *device = context->backend;
    size_t outputs = model->outputs;
    reliht_status status = check_inputs(context, model, dataset);
    if (status)
        return status;
    float *chunk;
    status = allocate_chunk(context, outputs, rows_from(dataset, 0), &chunk);
    for (size_t first = 0; first < dataset->samples && !status; first += ROWS) {
        size_t rows = rows_from(dataset, first);
        status = device->operations->predict(device, model, dataset, first, rows, chunk);
        for (size_t i = 0; i < rows && !status; i++)
            for (size_t k = 0; k < outputs; k++)
                y[(first + i) * outputs + k] = chunk[k * rows + i];
    }
    gate_release(context, chunk);
    return status;
}

/* Sums over samples, in their order. */
typedef struct scores {
    double squares, entropy;
    size_t right;
} scores;

static double target_of(const reliht_dataset *dataset, size_t outputs, size_t sample, size_t k)
{
    if (dataset->y && dataset->outputs == outputs)
        return (double)dataset->y[k * dataset->stride + sample];
    return dataset->labels[sample] == (int32_t)k ? 1.0 : 0.0;
}

/* The class of a row of outputs (apart by `stride`): the largest, the first of equal ones. */
static int32_t class_of(const float *output, size_t outputs, size_t stride)
{
    if (outputs == 1)
        return output[0] > 0.5f;
    size_t best = 0;
    for (size_t k = 1; k < outputs; k++)
        if (output[k * stride] > output[best * stride])
            best = k;
    return (int32_t)best;
}

/* log sum exp(output) - output[label], from the largest output so that nothing overflows. */
static double cross_entropy(const float *output, size_t outputs, size_t stride, int32_t label)
{
    double largest = (double)output[0], sum = 0;
    for (size_t k = 1; k < outputs; k++)
        largest = fmax(largest, (double)output[k * stride]);
    for (size_t k = 0; k < outputs; k++)
        sum += exp((double)output[k * stride] - largest);
    return largest + log(sum) - (double)output[(size_t)label * stride];
}

static bool has_entropy(const predictor *self, const reliht_dataset *dataset)
{
    return self->loss == RELIHT_LOSS_CROSS_ENTROPY && self->outputs > 1 && dataset->labels;
}

static void score_chunk(const predictor *self, const reliht_dataset *dataset, size_t first,
                        size_t rows, const float *outputs, scores *sums)
{
    bool entropy = has_entropy(self, dataset);
    for (size_t i = 0; i < rows; i++) {
        for (size_t k = 0; k < self->outputs; k++) {
            double error =
                (double)outputs[k * rows + i] - target_of(dataset, self->outputs, first + i, k);
            sums->squares += error * error;
        }
        if (!dataset->labels)
            continue;
        int32_t label = dataset->labels[first + i];
        sums->right += class_of(outputs + i, self->outputs, rows) == label;
        if (entropy)
            sums->entropy += cross_entropy(outputs + i, self->outputs, rows, label);
    }
}

static void evaluation_fill(const predictor *self, const reliht_dataset *dataset,
                            const scores *sums, reliht_evaluation *evaluation)
{
    double samples = (double)dataset->samples;
    evaluation->mse = sums->squares / (samples * (double)self->outputs);
    double peak = (double)dataset->target_maximum, least = 0x1p-53 * peak;
    evaluation->psnr_db =
        20 * log10(peak) - 10 * log10(fmax(evaluation->mse, fmax(least * least, DBL_MIN)));
    evaluation->loss = has_entropy(self, dataset) ? sums->entropy / samples : evaluation->mse;
    evaluation->accuracy = dataset->labels ? (double)sums->right / samples : NAN;
}

reliht_status evaluate_predictor(reliht_context *context, const predictor *self,
                                 const reliht_dataset *dataset, reliht_evaluation *evaluation)
{
    size_t most = dataset->samples < self->rows ? dataset->samples : self->rows;
    float *chunk;
    scores sums = {0};
    reliht_status status = allocate_chunk(context, self->outputs, most, &chunk);
    for (size_t first = 0; first < dataset->samples && !status; first += most) {
        size_t left = dataset->samples - first, rows = left < most ? left : most;
        status = self->predict(self->user, first, rows, chunk);
        if (!status)
            score_chunk(self, dataset, first, rows, chunk, &sums);
    }
    gate_release(context, chunk);
    if (!status)
        evaluation_fill(self, dataset, &sums, evaluation);
    return status;
}

/* ---------------------------------------------------------------- models */

typedef struct model_on_data {
    const reliht_model *model;
    const reliht_dataset *dataset;
    backend *device;
} model_on_data;

static reliht_status predict_model(void *user, size_t first, size_t count, float *outputs)
{
    const model_on_data *self = user;
    return self->device->operations->predict(self->device, self->model, self->dataset, first, count,
                                             outputs);
}

reliht_status reliht_model_evaluate(reliht_context *context, const reliht_model *model,
                                    const reliht_dataset *dataset, reliht_evaluation *evaluation)
{
    reliht_status status = check_inputs(context, model, dataset);
    if (status)
        return status;
    /* the highest classes may be missing from labels */
    bool fewer = model->outputs > 1 && dataset->classes && dataset->classes <= model->outputs;
    if (model->outputs != dataset->outputs && !fewer)
        return fail(context, RELIHT_ARGUMENT,
                    "the model has %zu outputs, but the data have targets for %zu", model->outputs,
                    dataset->outputs);
    model_on_data pair = {model, dataset, context->backend};
    const predictor self = {predict_model, &pair, ROWS, model->outputs, model->loss};
    return evaluate_predictor(context, &self, dataset, evaluation);
}
