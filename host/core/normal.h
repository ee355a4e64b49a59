/* Standard normal deviate from 32 random bits: z = Phi^-1(p), p = (bits + 1/2) / 2^32.
 *
 * Giles, "Approximating the erfinv function" (GPU Computing Gems, 2011), single precision:
 * z = sqrt(2) (2p - 1) P(w), w = -log(4 p (1-p)). His tail polynomial ends at w = 16, the least p
 * here is 2^-33 with w = 21.5, so the tail is our own minimax fit over 5 <= w <= 22 (relative error
 * 4e-7). The logarithm is ours too: exponent and
 * log(1+f) = 2 atanh(f / (2+f)) as a fixed polynomial. Only fma, division, square root and integer
 * operations are used, all correctly rounded, so every compiler, instruction set and device gives
 * the same bits. */
#ifndef RELIHT_CORE_NORMAL_H
#define RELIHT_CORE_NORMAL_H

#include "core/inline.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

RELIHT_INLINE float normal_log(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    /* x = 2^exponent * mantissa, mantissa in [sqrt(1/2), sqrt(2)) */
    int32_t exponent = (int32_t)(bits - 0x3f3504f3u) >> 23;
    bits -= (uint32_t)exponent << 23;
    float mantissa;
    memcpy(&mantissa, &bits, sizeof mantissa);
    float f = mantissa - 1.0f;
    float s = f / (2.0f + f);
    float q = s * s;
    float series =
        fmaf(q, fmaf(q, fmaf(q, fmaf(q, 0.22222222f, 0.28571429f), 0.4f), 0.66666667f), 2.0f);
    return fmaf((float)exponent, 0.69314718f, s * series);
}

RELIHT_INLINE float normal_from_bits(uint32_t bits)
{
    /* Work with the smaller tail: magnitude in [0, 2^31), p = (magnitude + 1/2) / 2^32 < 1/2. */
    uint32_t negative = ~bits >> 31;
    uint32_t magnitude = negative ? bits : ~bits;
    /* 2^25 and more lose their last bits in the conversion, which rounds to nearest: harmless. */
    float p = fmaf((float)(int32_t)magnitude, 0x1p-32f, 0x1p-33f);
    float w = -normal_log(4.0f * p * (1.0f - p));
    float central = w - 2.5f;
    float a = 2.81022636e-08f;
    a = fmaf(a, central, 3.43273939e-07f);
    a = fmaf(a, central, -3.5233877e-06f);
    a = fmaf(a, central, -4.39150654e-06f);
    a = fmaf(a, central, 0.00021858087f);
    a = fmaf(a, central, -0.00125372503f);
    a = fmaf(a, central, -0.00417768164f);
    a = fmaf(a, central, 0.246640727f);
    a = fmaf(a, central, 1.50140941f);
    float tail = sqrtf(w > 0.0f ? w : 0.0f) - 3.0f;
    float b = -1.58164385e-05f;
    b = fmaf(b, tail, -0.000123071193f);
    b = fmaf(b, tail, 0.00114336144f);
    b = fmaf(b, tail, -0.0034099468f);
    b = fmaf(b, tail, 0.00581855606f);
    b = fmaf(b, tail, -0.00771323266f);
    b = fmaf(b, tail, 0.00942596328f);
    b = fmaf(b, tail, 1.0016818f);
    b = fmaf(b, tail, 2.8329773f);
    float z = 1.41421356f * (1.0f - 2.0f * p) * (w < 5.0f ? a : b);
    return negative ? -z : z;
}

#endif
