/* fastmath: exp and erf as straight-line code that the compiler turns into vectors, inside src/kern only. Absolute errors are
 * below 1e-6 (tests/unit/test_kern.c); libm's versions are calls, one element at a time. */
#ifndef MEDLEY_FASTMATH_H
#define MEDLEY_FASTMATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* 2^n for an integral n in [-126,127], by building the exponent field. */
static inline float exp2_whole(float n)
{
    uint32_t bits = ((uint32_t)(int32_t)n + 127u) << 23; /* unsigned: n may have come from a NaN */
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* exp(x): x = n ln2 + r, |r| <= ln2/2, Taylor polynomial of degree 6 in r (relative error 2e-7). Below -87: about 1e-38, not 0. */
static inline float fast_exp(float x)
{
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float n = rintf(x * 1.44269504f);
    float r = x - n * 0.693145752f; /* ln2 in two parts, the first with trailing zero bits */
    r = r - n * 1.42860677e-6f;
    float p = 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * exp2_whole(n);
}

/* Phi(x) = (1 + erf(x / sqrt 2)) / 2 and the density's exponential e = exp(-x^2/2) at once, for GELU and its derivative.
 * Abramowitz & Stegun, Handbook of Mathematical Functions, 7.1.26: erfc(z) = t(a1 + t(a2 + ...)) exp(-z^2), |error| <= 1.5e-7. */
static inline float fast_phi(float x, float *e)
{
    float z = fabsf(x) * 0.707106781f;
    float t = 1.0f / (1.0f + 0.3275911f * z);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    float ex = fast_exp(-0.5f * x * x);
    float half = 0.5f * p * t * ex; /* erfc(z)/2 */
    *e = ex;
    return x < 0.0f ? half : 1.0f - half;
}

#endif
