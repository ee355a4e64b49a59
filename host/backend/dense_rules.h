/* What the backends say alike of a dense network. */
#ifndef RELIHT_BACKEND_DENSE_RULES_H
#define RELIHT_BACKEND_DENSE_RULES_H

#include "backend/backend.h"
#include "core/context.h"

#define DENSE_WEIGHTS_MAXIMUM (UINT64_C(1) << 44) /* of a layer */

static inline reliht_status dense_too_large(reliht_context *context, size_t rows, size_t columns)
{
    return fail(context, RELIHT_MEMORY, "a dense layer of %zu x %zu weights is more than memory",
                rows, columns);
}

/* Weight number `place` of matrix `layer`, which has `columns`. */
static inline reliht_status dense_weight_not_finite(reliht_context *context,
                                                    const dense_problem *problem, size_t layer,
                                                    size_t columns, size_t place)
{
    return fail(context, RELIHT_NUMERIC,
                "the weight of neuron %zu, %s %zu, layer %zu is not finite: a smaller learning "
                "rate or inputs and targets of smaller magnitude would keep it so",
                place / columns, layer == problem->layers ? "output" : "input", place % columns,
                layer);
}

static inline reliht_status dense_loss_not_finite(reliht_context *context)
{
    return fail(context, RELIHT_NUMERIC,
                "the loss of a batch is not a finite float: a smaller learning rate or inputs and "
                "targets of smaller magnitude would keep it so");
}

static inline reliht_status dense_cannot_keep(reliht_context *context, size_t keep, size_t left)
{
    return fail(context, RELIHT_ARGUMENT, "%zu weights cannot be kept of the %zu that are left",
                keep, left);
}

#endif
