/* The factored model on the GPU: buffers, what a step is told and what it reports. A step is one
 * graph of three nodes: the request goes up, the kernel (kernels/factored.cu) runs, the state comes
 * down. */
#include "backend/cuda/cuda.h"
#include "backend/factored_rules.h"
#include "core/sketch.h"
#include "kernels/factored.h"

#include <inttypes.h>
#include <string.h>

#define WAVE_WORDS 0x400000u /* of patterns held at a time, about */
#define WAVE_UNIT 32u        /* neurons of a tile of the kernel */

struct factored {
    cuda_backend *backend;
    factored_problem problem;
    device_factored device;
    device_block memory;
    graph_cache graphs;
    const device_batch *view;  /* that the graphs read */
    uint32_t kind;             /* of the step that is being recorded */
    bool queued;               /* steps that haven't been reported */
    sparse list;               /* both matrices as the device holds them */
    void *staging;             /* pinned, for `list` and generators that were given */
    factored_request *request; /* pinned */
    factored_state *state;     /* pinned: as the last step left it */
};

/* ---------------------------------------------------------------- life of a handle */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t wave_neurons(const factored_problem *problem)
{
    size_t words = padded_samples(problem->samples) / 32;
    size_t neurons = WAVE_WORDS / words / WAVE_UNIT * WAVE_UNIT;
    neurons = larger(neurons, WAVE_UNIT);
    size_t block = block_neurons(problem);
    return neurons < block ? neurons : block;
}

static void set_rules(factored *self)
{
    const factored_problem *problem = &self->problem;
    device_factored *device = &self->device;
    step_sizes units = weight_units(problem);
    device->hidden = (uint32_t)problem->hidden;
    device->inputs = (uint32_t)problem->inputs;
    device->outputs = (uint32_t)problem->outputs;
    device->nnz = (uint32_t)problem->nnz;
    device->block_neurons = (uint32_t)block_neurons(problem);
    device->wave_neurons = (uint32_t)wave_neurons(problem);
    device->drawn_neurons = (uint32_t)drawn_neurons(problem);
    device->classes = problem->loss == RELIHT_LOSS_CROSS_ENTROPY;
    device->importance = problem->importance == RELIHT_IMPORTANCE_SKETCH      ? FACTORED_SKETCH
                         : problem->importance == RELIHT_IMPORTANCE_MAGNITUDE ? FACTORED_MAGNITUDE
                                                                              : FACTORED_GREEDY;
    device->automatic = is_automatic(problem);
    device->gaussian = problem->generator == RELIHT_GENERATOR_GAUSSIAN;
    device->seed = problem->seed;
    device->rate = step_rate(problem);
    device->hidden_unit = units.hidden;
    device->output_unit = units.output;
    device->output_weight = OUTPUT_WEIGHT;
    device->mean_decay = MEAN_DECAY;
    device->square_decay = SQUARE_DECAY;
    device->scale_decay = SCALE_DECAY;
    device->corrections = CORRECTIONS;
    device->hidden_width = draw_width(problem, problem->inputs, units.hidden);
    device->output_width = draw_width(problem, problem->outputs, units.output);
    device->given_rows = problem->given ? (uint32_t)problem->given->rows : 0;
    double entries = (double)problem->hidden * (double)(problem->inputs + problem->outputs);
    device->width =
        problem->hashes ? problem->sketch_width : (uint32_t)sketch_width(entries, problem->nnz);
    sketch_draw_keys(problem->seed, device->key);
}

static void want_select(factored *self)
{
    device_block *memory = &self->memory;
    const factored_problem *problem = &self->problem;
    device_select *select = &self->device.select;
    size_t keep = problem->nnz, capacity = select_capacity(keep);
    select_shape(select, keep, 2 * problem->hidden, larger(problem->inputs, problem->outputs));
    device_want(memory, MEMORY_candidates, 1, sizeof *select->scalars, &select->scalars);
    device_want(memory, MEMORY_candidates, SELECT_BINS, sizeof *select->bins, &select->bins);
    device_want(memory, MEMORY_candidates, SELECT_KEY_DIGITS * SELECT_DIGITS,
                sizeof *select->digits, &select->digits);
    device_want(memory, MEMORY_candidates, SELECT_SORTERS * SELECT_DIGITS, sizeof *select->sorters,
                &select->sorters);
    device_want(memory, MEMORY_candidates, capacity, sizeof *select->value, &select->value);
    device_want(memory, MEMORY_candidates, capacity, sizeof *select->place, &select->place);
    device_want(memory, MEMORY_candidates, keep, sizeof *select->kept_value, &select->kept_value);
    device_want(memory, MEMORY_candidates, keep, sizeof *select->kept_place, &select->kept_place);
}

static void want_greedy(factored *self)
{
    device_block *memory = &self->memory;
    const factored_problem *problem = &self->problem;
    device_greedy *greedy = &self->device.greedy;
    size_t longest = larger(problem->inputs, problem->outputs), room = problem->nnz + longest;
    device_want(memory, MEMORY_importance, (size_t)SKETCH_ROWS * self->device.width,
                sizeof *greedy->counter, &greedy->counter);
    device_want(memory, MEMORY_weights, room, sizeof *greedy->index, &greedy->index);
    device_want(memory, MEMORY_weights, room, sizeof *greedy->value, &greedy->value);
    device_want(memory, MEMORY_weights, room, sizeof *greedy->merged_index, &greedy->merged_index);
    device_want(memory, MEMORY_weights, room, sizeof *greedy->merged_value, &greedy->merged_value);
    device_want(memory, MEMORY_candidates, room, sizeof *greedy->importance, &greedy->importance);
    device_want(memory, MEMORY_workspace, longest, sizeof *greedy->stepped, &greedy->stepped);
    device_want(memory, MEMORY_workspace, longest, sizeof *greedy->update, &greedy->update);
}

static void want_weights(factored *self)
{
    device_block *memory = &self->memory;
    const factored_problem *problem = &self->problem;
    device_factored *device = &self->device;
    device_factored_weights *both[2] = {&device->now, &device->next};
    size_t nnz = problem->nnz;
    for (size_t i = 0; i < 2; i++) {
        device_want_sparse(memory, &both[i]->list, nnz);
        if (!is_automatic(problem))
            continue;
        device_want(memory, MEMORY_weights, nnz, sizeof *both[i]->mean, &both[i]->mean);
        device_want(memory, MEMORY_weights, nnz, sizeof *both[i]->root, &both[i]->root);
        device_want(memory, MEMORY_weights, nnz, sizeof *both[i]->age, &both[i]->age);
    }
    device_want_sparse(memory, &device->chosen, nnz);
    device_want(memory, MEMORY_weights, nnz, sizeof *device->row_count, &device->row_count);
    device_want(memory, MEMORY_weights, nnz, sizeof *device->row_source, &device->row_source);
    device_want(memory, MEMORY_weights, nnz, sizeof *device->row_square, &device->row_square);
    device_want(memory, MEMORY_weights, FACTORED_SPLITS * nnz, sizeof *device->partial,
                &device->partial);
}

static void want_workspace(factored *self)
{
    device_block *memory = &self->memory;
    const factored_problem *problem = &self->problem;
    device_factored *device = &self->device;
    size_t stride = padded_samples(problem->samples);
    size_t wave = device->wave_neurons, block = device->block_neurons;
    device_want_by_samples(memory, MEMORY_workspace, problem->outputs * stride,
                           sizeof *device->residual, &device->residual);
    device_want_by_samples(memory, MEMORY_workspace, stride / 32, sizeof *device->losses,
                           &device->losses);
    device_want_by_samples(memory, MEMORY_patterns, wave * (stride / 32), sizeof *device->patterns,
                           &device->patterns);
    device_want(memory, MEMORY_workspace, problem->inputs, sizeof *device->active, &device->active);
    device_want(memory, MEMORY_workspace, problem->inputs, sizeof *device->active_flag,
                &device->active_flag);
    device_want(memory, MEMORY_workspace, FACTORED_SPLITS * wave * problem->outputs,
                sizeof *device->output_partial, &device->output_partial);
    device_want(memory, MEMORY_workspace, block * (problem->inputs + problem->outputs),
                sizeof *device->block, &device->block);
    device_want(memory, MEMORY_workspace, block, sizeof *device->block_flags, &device->block_flags);
    device_want(memory, MEMORY_workspace, 1, sizeof *device->state, &device->state);
    device_want(memory, MEMORY_workspace, 1, sizeof *device->request, &device->request);
    device_want(memory, MEMORY_workspace, (size_t)2 * CORRECTIONS, sizeof *device->correction,
                &device->correction);
}

static void want_recorded(factored *self)
{
    device_block *memory = &self->memory;
    const factored_problem *problem = &self->problem;
    device_factored *device = &self->device;
    size_t inputs = problem->hidden * problem->inputs, outputs = problem->hidden * problem->outputs;
    if (problem->given)
        device_want_sparse(memory, &device->given, problem->given->nnz);
    if (problem->first_hidden)
        device_want(memory, MEMORY_weights, inputs, sizeof(float), &device->first_hidden);
    if (problem->first_output)
        device_want(memory, MEMORY_weights, outputs, sizeof(float), &device->first_output);
    if (!problem->hashes)
        return;
    device_want(memory, MEMORY_importance, SKETCH_ROWS * (inputs + outputs), sizeof(uint32_t),
                &device->greedy.hashes);
    device_want(memory, MEMORY_importance, SKETCH_ROWS * (inputs + outputs), sizeof(int8_t),
                &device->greedy.signs);
}

/* Copies to the device what stays as it is. The host's arrays are free on return. */
static reliht_status upload(factored *self, const void *to, const void *from, size_t bytes)
{
    if (!from)
        return RELIHT_OK;
    return CUDA_CALL(self->backend, cudaMemcpyAsync, (void *)to, from, bytes,
                     cudaMemcpyHostToDevice, self->backend->stream);
}

static reliht_status upload_fixed(factored *self)
{
    const factored_problem *problem = &self->problem;
    const device_factored *device = &self->device;
    size_t inputs = problem->hidden * problem->inputs, outputs = problem->hidden * problem->outputs;
    double correction[2 * CORRECTIONS];
    fill_corrections(correction);
    const factored_state state = {.factor = 1.0};
    reliht_status status = cuda_wait(self->backend);
    if (!status)
        status = upload(self, device->correction, correction, sizeof correction);
    if (!status)
        status = upload(self, device->state, &state, sizeof state);
    if (!status)
        status = upload(self, device->first_hidden, problem->first_hidden, inputs * sizeof(float));
    if (!status)
        status = upload(self, device->first_output, problem->first_output, outputs * sizeof(float));
    if (!status)
        status = upload(self, device->greedy.hashes, problem->hashes,
                        SKETCH_ROWS * (inputs + outputs) * sizeof(uint32_t));
    if (!status)
        status = upload(self, device->greedy.signs, problem->hash_signs,
                        SKETCH_ROWS * (inputs + outputs));
    if (!status && problem->given)
        status = sparse_upload(self->backend, problem->given, self->staging, &device->given);
    return status;
}

static reliht_status obtain_memory(factored *self)
{
    const factored_problem *problem = &self->problem;
    size_t given = problem->given ? problem->given->nnz : 0;
    want_weights(self);
    want_workspace(self);
    want_recorded(self);
    if (problem->importance == RELIHT_IMPORTANCE_SKETCH_PUBLISHED)
        want_greedy(self);
    else
        want_select(self);
    if (problem->importance == RELIHT_IMPORTANCE_SKETCH)
        device_want(&self->memory, MEMORY_importance, (size_t)SKETCH_ROWS * self->device.width,
                    sizeof *self->device.counter, &self->device.counter);
    device_want_pinned(&self->memory, MEMORY_weights,
                       sparse_staging_bytes(larger(problem->nnz, given)), 1, &self->staging);
    device_want_pinned(&self->memory, MEMORY_workspace, 1, sizeof *self->request, &self->request);
    device_want_pinned(&self->memory, MEMORY_workspace, 1, sizeof *self->state, &self->state);
    return device_obtain(&self->memory, "a factored model", problem->samples);
}

reliht_status cuda_factored_create(backend *on, const factored_problem *problem, factored **out)
{
    reliht_context *context = on->context;
    factored *self;
    *out = NULL;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, 1, sizeof *self, "factored model", &self);
    if (status)
        return status;
    self->backend = (cuda_backend *)on;
    self->memory.owner = self->backend;
    self->problem = *problem;
    set_rules(self);
    status = sparse_create(context, &self->list, 2 * problem->hidden,
                           larger(problem->inputs, problem->outputs), problem->nnz);
    if (!status)
        status = obtain_memory(self);
    if (!status)
        status = upload_fixed(self);
    if (status) {
        cuda_factored_destroy(self);
        return status;
    }
    *out = self;
    return RELIHT_OK;
}

void cuda_factored_destroy(factored *self)
{
    if (!self)
        return;
    reliht_context *context = self->backend->base.context;
    graph_release(&self->graphs);
    device_release(&self->memory);
    sparse_destroy(context, &self->list);
    gate_release(context, self);
}

/* ---------------------------------------------------------------- failures */

static reliht_status explain_entry(factored *self, const char *what)
{
    uint64_t place = self->state->invalid;
    return fail(self->backend->base.context, RELIHT_NUMERIC,
                "neuron %" PRIu32 ", %s %" PRIu32
                ": the %s; inputs and targets of smaller magnitude would keep it finite",
                (uint32_t)(place >> 33), place >> 32 & 1 ? "output" : "input", (uint32_t)place,
                what);
}

static reliht_status explain(factored *self, uint32_t failure)
{
    reliht_context *context = self->backend->base.context;
    switch (failure) {
    case FACTORED_LOSS:
        return fail(context, RELIHT_NUMERIC,
                    "the loss of a batch is not finite: inputs and targets of smaller magnitude "
                    "would keep it so");
    case FACTORED_GRADIENT:
        return explain_entry(self, "gradient is not finite");
    case FACTORED_INFINITE:
        return explain_entry(self, "stepped weight is infinite");
    case FACTORED_NOT_A_NUMBER:
        return explain_entry(self, "stepped weight is not a number");
    default:
        return fail(context, RELIHT_NUMERIC,
                    "the importance sketch is saturated: the updates %s; the training diverges (a "
                    "smaller step or scaled inputs would help)",
                    failure == FACTORED_SATURATED
                        ? "of one step are more than 2^20 times those of the first step"
                        : "have grown 2^32 times beyond those of the first step");
    }
}

/* Waits for the steps that were queued; if one failed, says how, and the next ones run again. */
static reliht_status finish_steps(factored *self)
{
    reliht_status status = cuda_wait(self->backend);
    if (status || !self->queued)
        return status;
    self->queued = false;
    uint32_t failure = self->state->failure;
    if (!failure)
        return RELIHT_OK;
    self->state->failure = FACTORED_FINE;
    status = CUDA_CALL(self->backend, cudaMemsetAsync, &self->device.state->failure, 0,
                       sizeof failure, self->backend->stream);
    return status ? status : explain(self, failure);
}

/* ---------------------------------------------------------------- weights */

static void append_rows(sparse *list, const sparse *from, size_t first_row)
{
    for (size_t j = 0; j < from->live; j++)
        for (size_t k = from->start[j]; k < from->start[j + 1]; k++)
            sparse_append(list, (uint32_t)(first_row + from->row[j]), from->column[k],
                          from->value[k]);
}

static reliht_status forget_means(factored *self)
{
    cuda_backend *on = self->backend;
    const device_factored_weights *now = &self->device.now;
    size_t bytes = self->problem.nnz * sizeof(float);
    if (!is_automatic(&self->problem))
        return RELIHT_OK;
    reliht_status status = CUDA_CALL(on, cudaMemsetAsync, now->mean, 0, bytes, on->stream);
    if (!status)
        status = CUDA_CALL(on, cudaMemsetAsync, now->root, 0, bytes, on->stream);
    if (!status)
        status = CUDA_CALL(on, cudaMemsetAsync, now->age, 0, bytes, on->stream);
    return status;
}

reliht_status cuda_factored_set_weights(factored *self, const sparse *hidden, const sparse *output)
{
    if (hidden->nnz + output->nnz > self->problem.nnz)
        return fail(self->backend->base.context, RELIHT_ARGUMENT,
                    "%zu weights are more than the budget of %zu", hidden->nnz + output->nnz,
                    self->problem.nnz);
    sparse_clear(&self->list);
    append_rows(&self->list, hidden, 0);
    append_rows(&self->list, output, self->problem.hidden);
    reliht_status status =
        sparse_upload(self->backend, &self->list, self->staging, &self->device.now.list);
    return status ? status : forget_means(self);
}

/* The rows of W1 and of W2 of a list that was downloaded. */
static void take_lists(factored *self, sparse *hidden, sparse *output)
{
    uint32_t neurons = (uint32_t)self->problem.hidden;
    const sparse *list = &self->list;
    sparse_unpack(self->staging, self->problem.nnz, &self->list);
    sparse_clear(hidden);
    sparse_clear(output);
    for (size_t j = 0; j < list->live; j++) {
        bool is_output = list->row[j] >= neurons;
        for (size_t k = list->start[j]; k < list->start[j + 1]; k++)
            sparse_append(is_output ? output : hidden, list->row[j] - (is_output ? neurons : 0),
                          list->column[k], list->value[k]);
    }
}

static reliht_status download(factored *self, const device_sparse *from, sparse *hidden,
                              sparse *output)
{
    reliht_status status = finish_steps(self);
    if (!status)
        status = sparse_download(self->backend, from, self->problem.nnz, self->staging);
    if (!status)
        status = cuda_wait(self->backend);
    if (!status)
        take_lists(self, hidden, output);
    return status;
}

reliht_status cuda_factored_get_weights(factored *self, sparse *hidden, sparse *output)
{
    return download(self, &self->device.now.list, hidden, output);
}

/* ---------------------------------------------------------------- step */

static reliht_status record_step(void *user)
{
    factored *self = user;
    cuda_backend *on = self->backend;
    reliht_status status =
        CUDA_CALL(on, cudaMemcpyAsync, (void *)self->device.request, self->request,
                  sizeof *self->request, cudaMemcpyHostToDevice, on->stream);
    if (!status)
        status =
            CUDA_CALL(on, launch_factored_step, on->stream, &self->device, self->view, self->kind);
    if (!status)
        status = CUDA_CALL(on, cudaMemcpyAsync, self->state, self->device.state,
                           sizeof *self->state, cudaMemcpyDeviceToHost, on->stream);
    return status;
}

/* Queues a step on the batch. The request is the caller's to fill, once no step reads it any more.
 */
static reliht_status queue_step(factored *self, const batch *data, uint32_t kind)
{
    if (self->view != data->view)
        graph_release(&self->graphs);
    self->view = data->view;
    self->kind = kind;
    self->queued = true;
    return graph_run(self->backend, &self->graphs, kind, record_step, self);
}

reliht_status cuda_factored_step(factored *self, batch *data, const factored_step_options *options)
{
    uint32_t kind = (options->source == PATTERNS_DRAWN ? FACTORED_DRAWN : 0) |
                    (options->draw_empty ? FACTORED_DRAW : 0) |
                    (options->keep_support ? FACTORED_KEEP : 0);
    reliht_status status = finish_steps(self);
    if (status)
        return status;
    self->request->step_scale = options->step_scale;
    return queue_step(self, data, kind);
}

reliht_status cuda_factored_report(factored *self, factored_report *report)
{
    reliht_status status = finish_steps(self);
    if (status)
        return status;
    const factored_state *state = self->state;
    *report = (factored_report){
        .loss = state->loss,
        .step_size = state->step_size,
        .nnz = state->nnz,
        .seconds_sweep = 1e-9 * (double)state->choice_nanoseconds,
    };
    return RELIHT_OK;
}

/* ---------------------------------------------------------------- evaluation */

reliht_status cuda_factored_evaluate(factored *self, batch *data, double *loss, float *gradient)
{
    cuda_backend *on = self->backend;
    reliht_status status = finish_steps(self);
    if (status)
        return status;
    status = queue_step(self, data, FACTORED_EVALUATE);
    if (!status)
        status =
            CUDA_CALL(on, cudaMemcpyAsync, self->staging, self->device.next.list.value,
                      self->problem.nnz * sizeof *gradient, cudaMemcpyDeviceToHost, on->stream);
    if (!status)
        status = finish_steps(self);
    if (status)
        return status;
    memcpy(gradient, self->staging, self->state->nnz * sizeof *gradient);
    *loss = self->state->loss;
    return RELIHT_OK;
}

reliht_status cuda_factored_candidates(factored *self, batch *data, size_t count, sparse *hidden,
                                       sparse *output)
{
    cuda_backend *on = self->backend;
    reliht_status status = CUDA_CALL(on, launch_factored_candidates, on->stream, &self->device,
                                     data->view, (uint32_t)count);
    if (!status)
        status = CUDA_CALL(on, cudaMemcpyAsync, self->state, self->device.state,
                           sizeof *self->state, cudaMemcpyDeviceToHost, on->stream);
    self->queued = true;
    return status ? status : download(self, &self->device.chosen, hidden, output);
}
