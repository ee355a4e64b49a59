/* Scalars of a normalised IHT step and the line search of its refits (REFERENCE.md, "Scalar
 * output"; Fridovich-Keil & Pilanci, algorithm 1), for the host and the GPU. */
#ifndef RELIHT_BACKEND_IHT_RULES_H
#define RELIHT_BACKEND_IHT_RULES_H

#include "core/inline.h"

#include <stdbool.h>

/* Step size without any weights: the first step only picks a support. */
#define IHT_FIRST_STEP 1e-14

/* Failures of the line search after which an internal step is undone. */
#define IHT_HALVINGS 11

/* mu = |g_S|^2 / (|A_S g_S|^2 + 1e-8). */
RELIHT_INLINE double iht_step_size(double gradient_squares, double image_squares)
{
    return gradient_squares / (image_squares + 1e-8);
}

/* Halves *step until |A(v - mu g) - y|^2 <= f - 0.9 mu |g|^2. Since A is linear and
 * <r, A g> = |g|^2, that is mu |A g|^2 <= 1.1 |g|^2, which needs no evaluation and does not suffer
 * from cancellation. False after IHT_HALVINGS failures. */
RELIHT_INLINE bool iht_line_search(double *step, double gradient_squares, double image_squares)
{
    for (int failures = 0; failures < IHT_HALVINGS; failures++) {
        if (*step * image_squares <= 1.1 * gradient_squares)
            return true;
        *step /= 2;
    }
    return false;
}

/* |A p|^2, with damping, of a direction p in the range of A^T is out of range where single
 * precision has ended: for the first one the data are to blame, later there is nothing left to
 * solve. */
RELIHT_INLINE bool curvature_in_range(double curvature)
{
    return curvature > 0 && curvature <= 1e300;
}

/* Whether CGLS has solved its least-squares problem as far as single precision goes, |A^T r| <= eps
 * |A| |r| (Paige & Saunders 1982, stopping rule 2): a gradient below is rounding, and directions
 * made of it grow without bound. norm_squares: the largest |A p|^2 / |p|^2 met. */
RELIHT_INLINE bool least_squares_solved(double gradient_squares, double norm_squares,
                                        double residual_squares)
{
    return gradient_squares <= 1e-14 * norm_squares * residual_squares;
}

#endif
