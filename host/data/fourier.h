/* Random Fourier features of pixel coordinates (Tancik et al., NeurIPS 2020):
 * sin(2 pi x.B), then cos(2 pi x.B), for features/2 frequencies B = sigma N(0,1) in R^2;
 * x = (row, column), in whole pixels or as shares of height and width. */
#ifndef RELIHT_DATA_FOURIER_H
#define RELIHT_DATA_FOURIER_H

#include "data/dataset.h"

/* Whether features, sigma and the size of the image can be used. ARGUMENT. */
reliht_status fourier_check(reliht_context *context, const preprocessing *preparation);

/* The data set of an image that is not there: these features, targets zero for `outputs` channels.
 * Errors: ARGUMENT, MEMORY. */
reliht_status fourier_dataset(reliht_context *context, const preprocessing *preparation,
                              size_t outputs, reliht_dataset **dataset);

#endif
