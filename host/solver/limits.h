/* Checks of options that every solver makes before it allocates anything. */
#ifndef RELIHT_SOLVER_LIMITS_H
#define RELIHT_SOLVER_LIMITS_H

#include "core/context.h"

#include <math.h>

/* minimum <= value <= RELIHT_MAX_DIMENSION. */
static inline reliht_status check_dimension(reliht_context *context, const char *name, size_t value,
                                            size_t minimum)
{
    if (value < minimum || value > RELIHT_MAX_DIMENSION)
        return fail(context, RELIHT_ARGUMENT, "%s is %zu; it must be from %zu to %u", name, value,
                    minimum, RELIHT_MAX_DIMENSION);
    return RELIHT_OK;
}

static inline reliht_status check_validation(reliht_context *context, double share)
{
    if (!(share >= 0 && share < 1))
        return fail(context, RELIHT_ARGUMENT,
                    "validation is %g; it is a share of the data, at least 0 and below 1", share);
    return RELIHT_OK;
}

static inline reliht_status check_tolerance(reliht_context *context, double tolerance)
{
    if (!(tolerance >= 0 && tolerance < 1))
        return fail(context, RELIHT_ARGUMENT, "tolerance is %g; it must be at least 0 and below 1",
                    tolerance);
    return RELIHT_OK;
}

#endif
