/* Adam and the first values of weights, for each instruction set. */
#include "backend/cpu/dense.h"
#include "core/normal_fill.h"

static void adam(const adam_step *step, size_t count, const uint8_t *restrict mask,
                 const float *restrict gradient, float *restrict weight, float *restrict mean,
                 float *restrict square)
{
    const adam_step s = *step;
    for (size_t i = 0; i < count; i++) {
        float g = mask[i] ? gradient[i] : 0.0f;
        float m = s.mean_keep * mean[i] + s.mean_take * g;
        float v = s.square_keep * square[i] + s.square_take * (g * g);
        mean[i] = m;
        square[i] = v;
        weight[i] -= s.size * (m / (sqrtf(v) * s.root + s.epsilon));
    }
}

static void draw(uint64_t seed, uint64_t row, size_t count, float bound, const uint8_t *mask,
                 float *weight)
{
    for (size_t done = 0; done < count; done += NORMAL_WORDS) {
        uint32_t words[NORMAL_WORDS];
        size_t rest = count - done < NORMAL_WORDS ? count - done : NORMAL_WORDS;
        philox_words(seed, RNG_DENSE, row, (uint32_t)(done / 4), words);
        for (size_t i = 0; i < rest; i++) {
            float u = (float)(int32_t)(2 * (words[i] >> 9) + 1) * 0x1p-23f - 1.0f;
            weight[done + i] = mask[done + i] ? bound * u : 0.0f;
        }
    }
}

const dense_kernels ISA_NAME(dense_kernels) = {adam, draw};
