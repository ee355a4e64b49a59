// The CUDA backend's own interfaces, for tests that reach inside.
#ifndef RELIHT_TESTS_CUDA_DEVICE_H
#define RELIHT_TESTS_CUDA_DEVICE_H

// headers with C++ in them, which must not be within extern "C"
#include <cublas_v2.h>
#include <cusparse.h>

extern "C" {
#include "backend/cuda/cuda.h"
}

#endif
