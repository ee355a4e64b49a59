/* What the files of the CPU backend share. Parallel loops run on context->threads OpenMP threads
 * and are cut into pieces that do not depend on that number. */
#ifndef RELIHT_BACKEND_CPU_CPU_H
#define RELIHT_BACKEND_CPU_CPU_H

#include "backend/backend.h"
#include "backend/cpu/isa.h"

typedef struct cpu_backend {
    backend base;
    cpu_isa isa;
} cpu_backend;

/* Runs the same backend on a lesser instruction set (tests). */
void cpu_set_isa(backend *self, cpu_isa isa);

struct batch {
    cpu_backend *backend;
    const reliht_dataset *dataset;
    bool bias, borrowed; /* borrowed: x and y are the data set's own */
    size_t capacity;     /* samples */
    size_t samples;      /* loaded */
    size_t inputs;       /* with the bias input */
    size_t outputs;
    size_t stride;   /* of x and y: padded samples; entries past `samples` are zero */
    float *x;        /* [inputs, stride] */
    float *y;        /* [outputs, stride] or NULL */
    int32_t *labels; /* [samples] or NULL */
};

/* The tables of operations that each file contributes to (see backend.h). */
reliht_status cpu_batch_create(backend *self, const reliht_dataset *dataset, bool bias,
                               size_t capacity, batch **out);
reliht_status cpu_batch_load(batch *self, const uint32_t *rows, size_t count);
reliht_status cpu_batch_stage(batch *self, const uint32_t *rows, size_t count);
void cpu_batch_destroy(batch *self);

reliht_status cpu_fused_create(backend *self, const fused_problem *problem, fused **out);
void cpu_fused_destroy(fused *self);
reliht_status cpu_fused_set_weights(fused *self, const sparse *weights);
reliht_status cpu_fused_get_weights(fused *self, sparse *weights);
reliht_status cpu_fused_begin(fused *self, batch *data, pattern_source source);
reliht_status cpu_fused_sweep(fused *self, batch *data, pattern_source source);
reliht_status cpu_fused_refit(fused *self, batch *data, size_t refits);
reliht_status cpu_fused_solve(fused *self, batch *data, const solve_options *options);
reliht_status cpu_fused_gradients(fused *self, batch *data, const sparse *generators, size_t first,
                                  size_t rows, float *gradients);
reliht_status cpu_fused_report(fused *self, step_report *report);
reliht_status cpu_fused_product(fused *self, batch *data, const float *value, float *image,
                                float *gradient, double *squares);
reliht_status cpu_fused_read(fused *self, float *residual, float *gradient, uint64_t *patterns);

reliht_status cpu_sensing_create(backend *self, const sensing_problem *problem, sensing **out);
void cpu_sensing_destroy(sensing *self);
reliht_status cpu_sensing_set_targets(sensing *self, const sparse *vector);
reliht_status cpu_sensing_get_weights(sensing *self, sparse *weights);
reliht_status cpu_sensing_step(sensing *self, size_t refits);
reliht_status cpu_sensing_report(sensing *self, step_report *report);

reliht_status cpu_factored_create(backend *self, const factored_problem *problem, factored **out);
void cpu_factored_destroy(factored *self);
reliht_status cpu_factored_set_weights(factored *self, const sparse *hidden, const sparse *output);
reliht_status cpu_factored_get_weights(factored *self, sparse *hidden, sparse *output);
reliht_status cpu_factored_step(factored *self, batch *data, const factored_step_options *options);
reliht_status cpu_factored_report(factored *self, factored_report *report);
reliht_status cpu_factored_evaluate(factored *self, batch *data, double *loss, float *gradient);
reliht_status cpu_factored_candidates(factored *self, batch *data, size_t count, sparse *hidden,
                                      sparse *output);

reliht_status cpu_dense_create(backend *self, const dense_problem *problem, dense_network **out);
void cpu_dense_destroy(dense_network *self);
reliht_status cpu_dense_step(dense_network *self, batch *data);
reliht_status cpu_dense_prune(dense_network *self, size_t keep);
reliht_status cpu_dense_rewind(dense_network *self);
reliht_status cpu_dense_predict(dense_network *self, batch *data, float *outputs);
reliht_status cpu_dense_get_weights(dense_network *self, sparse *matrices);
reliht_status cpu_dense_report(dense_network *self, dense_report *report);

reliht_status cpu_predict(backend *self, const reliht_model *model, const reliht_dataset *dataset,
                          size_t first, size_t count, float *outputs);
reliht_status cpu_embed(backend *self, const sparse *weights, bool bias,
                        const reliht_dataset *dataset, reliht_dataset **embedding);

#endif
