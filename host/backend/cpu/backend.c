#include "backend/cpu/cpu.h"

#include <stdio.h>

static void cpu_close(backend *self)
{
    gate_release(self->context, self);
}

static const backend_operations cpu_operations = {
    .name = "cpu",
    .close = cpu_close,
    .batch_create = cpu_batch_create,
    .batch_load = cpu_batch_load,
    .batch_stage = cpu_batch_stage,
    .batch_destroy = cpu_batch_destroy,
    .fused_create = cpu_fused_create,
    .fused_destroy = cpu_fused_destroy,
    .fused_set_weights = cpu_fused_set_weights,
    .fused_get_weights = cpu_fused_get_weights,
    .fused_begin = cpu_fused_begin,
    .fused_sweep = cpu_fused_sweep,
    .fused_refit = cpu_fused_refit,
    .fused_solve = cpu_fused_solve,
    .fused_gradients = cpu_fused_gradients,
    .fused_report = cpu_fused_report,
    .fused_product = cpu_fused_product,
    .fused_read = cpu_fused_read,
    .sensing_create = cpu_sensing_create,
    .sensing_destroy = cpu_sensing_destroy,
    .sensing_set_targets = cpu_sensing_set_targets,
    .sensing_get_weights = cpu_sensing_get_weights,
    .sensing_step = cpu_sensing_step,
    .sensing_report = cpu_sensing_report,
    .factored_create = cpu_factored_create,
    .factored_destroy = cpu_factored_destroy,
    .factored_set_weights = cpu_factored_set_weights,
    .factored_get_weights = cpu_factored_get_weights,
    .factored_step = cpu_factored_step,
    .factored_report = cpu_factored_report,
    .factored_evaluate = cpu_factored_evaluate,
    .factored_candidates = cpu_factored_candidates,
    .dense_create = cpu_dense_create,
    .dense_destroy = cpu_dense_destroy,
    .dense_step = cpu_dense_step,
    .dense_prune = cpu_dense_prune,
    .dense_rewind = cpu_dense_rewind,
    .dense_predict = cpu_dense_predict,
    .dense_get_weights = cpu_dense_get_weights,
    .dense_report = cpu_dense_report,
    .predict = cpu_predict,
    .embed = cpu_embed,
};

void cpu_set_isa(backend *self, cpu_isa isa)
{
    cpu_backend *cpu = (cpu_backend *)self;
    cpu->isa = isa;
    snprintf(self->details, sizeof self->details, "cpu (%s, %u thread%s)", cpu_isa_name(isa),
             (unsigned)self->context->threads, self->context->threads == 1 ? "" : "s");
}

reliht_status backend_cpu_open(reliht_context *context, backend **out)
{
    cpu_backend *made;
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, 1, sizeof *made, "CPU backend", &made);
    if (status)
        return status;
    made->base.operations = &cpu_operations;
    made->base.context = context;
    cpu_set_isa(&made->base, cpu_isa_best());
    *out = &made->base;
    return RELIHT_OK;
}
