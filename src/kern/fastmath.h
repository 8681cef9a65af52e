/* fastmath: exp and erf as straight-line code, inside src/kern only: for one element, which the compiler turns into vectors, and for
 * vectors with the instructions that AVX-512 and AVX have for them. Absolute errors are below 1e-6 (tests/unit/test_kern.c); libm's
 * versions are calls, one element at a time. */
#ifndef MEDLEY_FASTMATH_H
#define MEDLEY_FASTMATH_H

#include "small.h"

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

#define LOG2_E 1.44269504f

/* What vectors cannot say with ?: in C. x > top ? top : x (a NaN stays one), x > y ? x : y, and x < 0 ? a : b. */
typedef int32_t veci __attribute__((vector_size(4 * VL), aligned(4), may_alias));
#if defined(__AVX512F__)
#define AT_MOST(x, top) ((vecf)_mm512_min_ps(_mm512_set1_ps(top), (__m512)(x)))
#define LARGER(x, y) ((vecf)_mm512_max_ps((__m512)(x), (__m512)(y)))
#define IF_NEGATIVE(x, a, b) \
    ((vecf)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)(x), _mm512_setzero_ps(), _CMP_LT_OQ), (__m512)(b), (__m512)(a)))
#elif defined(__AVX__)
#define AT_MOST(x, top) ((vecf)_mm256_min_ps(_mm256_set1_ps(top), (__m256)(x)))
#define LARGER(x, y) ((vecf)_mm256_max_ps((__m256)(x), (__m256)(y)))
#define IF_NEGATIVE(x, a, b) \
    ((vecf)_mm256_blendv_ps((__m256)(b), (__m256)(a), _mm256_cmp_ps((__m256)(x), _mm256_setzero_ps(), _CMP_LT_OQ)))
#else
#define PICK(mask, a, b) ((vecf)(((mask) & (veci)(a)) | (~(mask) & (veci)(b))))
#define AT_MOST(x, top) PICK((x) > (top), (vecf){0} + (top), x)
#define LARGER(x, y) PICK((x) > (y), x, y)
#define IF_NEGATIVE(x, a, b) PICK((x) < 0.0f, a, b)
#endif

/* x = 2^x for x <= 127: x = n + r, |r| <= 1/2, 2^r by a polynomial of degree 5 (Remez; relative error 1e-7). Below -126: about 0.
 * Vectors go by pointer: the calling convention for them differs between CPUs. */
INLINE void exp2_vec(vecf *x)
{
    vecf n, r, p, v = *x;
#if defined(__AVX512F__)
    n = (vecf)_mm512_roundscale_ps((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX__)
    v = (vecf)_mm256_max_ps(_mm256_set1_ps(-126.0f), (__m256)v); /* a NaN stays one */
    n = (vecf)_mm256_round_ps((__m256)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    v = PICK(v < -126.0f, (vecf){0} - 126.0f, v);
    n = (v + 12582912.0f) - 12582912.0f; /* 1.5 * 2^23: what is behind the point falls off */
#endif
    r = v - n;
    p = 0.00132764725f * r + 0.00967554096f;
    p = p * r + 0.0555071309f;
    p = p * r + 0.240221202f;
    p = p * r + 0.693146944f;
    p = p * r + 1.00000012f;
#if defined(__AVX512F__)
    *x = (vecf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    *x = p * (vecf)((__builtin_convertvector(n, veci) + 127) << 23);
#endif
}

/* fast_phi of a vector. */
INLINE void phi_vec(vecf *phi, vecf *e, const vecf *x)
{
    vecf z = (vecf)((veci)*x & 0x7fffffff), t, p;
    z = AT_MOST(z, 13.0f);
    vecf d = 0.231641888f * z + 1.0f; /* 0.3275911 / sqrt 2 */
#if defined(__AVX512F__)
    t = (vecf)_mm512_rcp14_ps((__m512)d);
    t = t * (2.0f - d * t); /* Newton: 14 bits become 28 */
#else
    t = 1.0f / d;
#endif
    p = 1.061405429f * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    *e = z * z * (-0.5f * LOG2_E);
    exp2_vec(e);
    vecf half = 0.5f * p * t * *e, rest = 1.0f - half;
    *phi = IF_NEGATIVE(*x, half, rest);
}

#endif
