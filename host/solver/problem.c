#include "solver/problem.h"

#include "core/rng.h"

#include <math.h>

reliht_loss resolve_loss(const reliht_dataset *dataset, reliht_loss wanted)
{
    if (wanted != RELIHT_LOSS_AUTO)
        return wanted;
    return dataset->outputs > 1 && dataset->classes ? RELIHT_LOSS_CROSS_ENTROPY : RELIHT_LOSS_MSE;
}

reliht_status check_loss(reliht_context *context, const reliht_dataset *dataset, reliht_loss wanted)
{
    if (wanted != RELIHT_LOSS_CROSS_ENTROPY)
        return RELIHT_OK;
    if (dataset->outputs == 1)
        return fail(context, RELIHT_ARGUMENT,
                    "loss cross-entropy needs three or more classes; this problem has one output, "
                    "use mse");
    if (!dataset->classes)
        return fail(context, RELIHT_ARGUMENT,
                    "loss cross-entropy needs class labels; the targets are real values, use mse");
    return RELIHT_OK;
}

reliht_status split_validation(reliht_context *context, const reliht_dataset *dataset, double share,
                               uint64_t seed, reliht_dataset **train, reliht_dataset **validation)
{
    size_t samples = dataset->samples;
    size_t kept = (size_t)llround(share * (double)samples);
    if (kept == 0 || kept == samples)
        return fail(context, RELIHT_ARGUMENT,
                    "validation %g of %zu samples leaves %zu to train on and %zu to validate with",
                    share, samples, samples - kept, kept);
    uint32_t *order = NULL;
    reliht_status status = gate_allocate(context, MEMORY_workspace, samples, sizeof *order,
                                         "order of the samples", &order);
    if (status)
        return status;
    rng_permutation(seed, RNG_VALIDATION, 0, (uint32_t)samples, order);
    status = dataset_subset(dataset, order, kept, validation);
    if (!status)
        status = dataset_subset(dataset, order + kept, samples - kept, train);
    gate_release(context, order);
    return status;
}
