/* One neuron on a chunk of samples, in every instruction set (see isa.h):
 *     a_i = max(0, sum over its entries, in ascending column, by fma of value * x_i[column]). */
#ifndef RELIHT_BACKEND_CPU_PREDICT_H
#define RELIHT_BACKEND_CPU_PREDICT_H

#include "backend/cpu/isa.h"

#include <stddef.h>
#include <stdint.h>

/* Inputs of a layer by columns: those of a data set, or the activations of the layer before. */
typedef struct predict_inputs {
    const float *x; /* [columns, stride], from the first sample of a chunk on */
    size_t stride;
} predict_inputs;

typedef struct predict_kernels {
    /* activation[0 .. count) of the first `count` samples */
    void (*activate)(const predict_inputs *inputs, size_t count, const uint32_t *column,
                     const float *value, size_t entries, float *activation);
    /* sum += weight * activation; the product is exact in double. */
    void (*accumulate)(size_t count, float weight, const float *activation, double *sum);
} predict_kernels;

ISA_DECLARE(predict_kernels, predict_table);

#endif
