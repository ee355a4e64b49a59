/* Steps of the fused model on the device: what has been asked for since the host last waited runs
 * as one cooperative launch (fused.cu). */
#ifndef RELIHT_KERNELS_FUSED_H
#define RELIHT_KERNELS_FUSED_H

#include "kernels/support.h"
#include "kernels/sweep.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Phases of a launch, which run in this order (backend.h: fused_begin and so on). */
enum { FUSED_BEGIN = 1, FUSED_SWEEP = 2, FUSED_REFIT = 4, FUSED_SOLVE = 8, FUSED_PRODUCT = 16 };

/* What a launch is to do. It lies in device memory, so that one captured graph serves every step on
 * a batch with one source of patterns. */
typedef struct fused_request {
    uint32_t phases;
    uint32_t refits;
    uint32_t iterations; /* of a solve */
    double damping, tolerance;
} fused_request;

typedef enum fused_failure {
    FUSED_FINE,
    FUSED_BEGIN_INFINITE,   /* objective or step size of begin */
    FUSED_WEIGHT_INFINITE,  /* a stepped weight: `invalid` */
    FUSED_LINEAR_PARTIAL,   /* the linear term has `invalid` inputs, not all */
    FUSED_SOLUTION_INFINITE /* objective of a solve */
} fused_failure;

/* What the host reads back, and what is carried from launch to launch. */
typedef struct fused_scalars {
    double objective_before, objective_chosen, objective_after;
    double step_size;    /* of begin */
    double step;         /* in use */
    double product;      /* |image|^2 of a product */
    uint64_t sweep_time; /* nanoseconds */
    uint64_t invalid;
    uint32_t failure; /* of a phase of the last launch; those after it were left out */
    uint32_t refits;
    uint32_t nnz, live;
    uint32_t swept; /* neurons */
} fused_scalars;

/* Screening of sweeps over drawn generators (host/backend/cpu/screen.h). */
enum { SCREEN_NONE, SCREEN_MEMORYLESS, SCREEN_HISTORY };

typedef struct screen_state {
    double path, largest; /* P; the largest |r| so far */
    uint64_t column;      /* bits of C^2 */
    uint32_t swept;       /* there was a sweep */
    uint32_t listed;      /* neurons without weights that are not left out */
} screen_state;

typedef struct device_screen {
    uint32_t kind;
    screen_state *state;
    float *bound;    /* [hidden] G_j - C P, huge before a first sweep; with history, as the rest */
    float *residual; /* [n] of the last sweep */
    uint32_t *list;  /* [hidden] neurons that are not left out */
} device_screen;

/* All in device memory. Capacities: s entries, n samples of the largest batch, both the problem's.
 */
typedef struct device_fused {
    const fused_request *request;
    fused_scalars *scalars;
    /* Batch, residual, weights with their patterns, generators (in place of the weights those that
     * the step began with), step size (scalars->step), workspace. */
    device_sweep sweep;
    device_select select;
    device_screen screen;
    uint32_t *owner;    /* [s] place of an entry's row among the live ones */
    float *chosen;      /* [s] values after the sweep, for refits that fail */
    float *gradient;    /* [s] on the support */
    float *delta;       /* [s] of a solve, the change so far; of a product, the gradient */
    float *direction;   /* [s] of a solve; of a product, the values */
    double *entry_sums; /* [pieces of s] squares over entries; twice, */
    double *length_sums;
    float *partial;         /* [spans of n, entries of the support or of gradient_rows neurons] */
    float *residual;        /* [n] */
    float *residual_chosen; /* [n] at `chosen` */
    float *image;           /* [n] A g; of a product, A v - y */
    double *residual_sums;  /* [n / 32] squares */
    double *image_sums;     /* [n / 32] */
    uint32_t *patterns;     /* [live, n / 32] */
    uint32_t *row_patterns; /* [gradient_rows, n / 32] */
    float *row_gradients;   /* [gradient_rows, inputs] */
    device_sparse listed;   /* generators of gradient_rows neurons at most */
    uint32_t gradient_rows; /* whose gradients are formed at a time */
    uint32_t linear_row;    /* UINT32_MAX: none */
} device_fused;

/* One launch for all phases of *self.request. */
cudaError_t launch_fused_step(cudaStream_t stream, device_fused self);

/* self.row_gradients [rows, inputs] <- X^T (D_j r) of neurons first .. first + rows - 1, drawn or
 * given; if the generators are those of weights, of the first rows of these. */
cudaError_t launch_fused_gradients(cudaStream_t stream, device_fused self, uint32_t first,
                                   uint32_t rows);

#ifdef __cplusplus
}
#endif

#endif
