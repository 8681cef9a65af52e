/* act: GELU (exact erf form) and ReLU, forward and backward. */
#include "medley/kern.h"

#include "fastmath.h"

#include <string.h>

enum { BLOCK = 16384 }; /* elements per parallel chunk, whole vectors */
#define INV_SQRT_2PI 0.39894228f

/* VL values, or the n that are left; the others are 0. */
INLINE void read_vec(vecf *v, const float *x, int64_t n)
{
    if (n >= VL) {
        *v = *(const vecf *)x;
        return;
    }
    *v = (vecf){0};
    memcpy(v, x, (size_t)n * sizeof *x);
}

INLINE void write_vec(float *x, const vecf *v, int64_t n)
{
    if (n >= VL) *(vecf *)x = *v;
    else memcpy(x, v, (size_t)n * sizeof *x);
}

void gelu_forward(float *y, const float *x, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > BLOCK && kern_threads() > 1)
    for (int64_t i0 = 0; i0 < n; i0 += BLOCK) {
        int64_t i1 = i0 + BLOCK < n ? i0 + BLOCK : n, i = i0;
        for (; i < i1; i += VL) {
            vecf v, phi, e;
            read_vec(&v, x + i, i1 - i);
            phi_vec(&phi, &e, &v);
            v *= phi;
            write_vec(y + i, &v, i1 - i);
        }
    }
}

void gelu_backward(float *dx, const float *dy, const float *x, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > BLOCK && kern_threads() > 1)
    for (int64_t i0 = 0; i0 < n; i0 += BLOCK) {
        int64_t i1 = i0 + BLOCK < n ? i0 + BLOCK : n, i = i0;
        for (; i < i1; i += VL) {
            vecf v, d, phi, e;
            read_vec(&v, x + i, i1 - i), read_vec(&d, dy + i, i1 - i);
            phi_vec(&phi, &e, &v);
            d *= phi + v * e * INV_SQRT_2PI;
            write_vec(dx + i, &d, i1 - i);
        }
    }
}

void gelu_bias_forward(float *y, float *x, const float *b, int64_t R, int64_t C)
{
#pragma omp parallel for schedule(static) if (R * C > BLOCK && kern_threads() > 1)
    for (int64_t r = 0; r < R; r++) {
        float *xr = x + r * C, *yr = y + r * C;
        for (int64_t c = 0; c < C; c += VL) {
            vecf v, shift, phi, e;
            read_vec(&v, xr + c, C - c), read_vec(&shift, b + c, C - c);
            v += shift;
            write_vec(xr + c, &v, C - c);
            phi_vec(&phi, &e, &v);
            v *= phi;
            write_vec(yr + c, &v, C - c);
        }
    }
}

void gelu_both(float *y, float *d, const float *x, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > BLOCK && kern_threads() > 1)
    for (int64_t i0 = 0; i0 < n; i0 += BLOCK) {
        int64_t i1 = i0 + BLOCK < n ? i0 + BLOCK : n, i = i0;
        for (; i < i1; i += VL) {
            vecf v, slope, phi, e;
            read_vec(&v, x + i, i1 - i), read_vec(&slope, d + i, i1 - i);
            phi_vec(&phi, &e, &v);
            slope *= phi + v * e * INV_SQRT_2PI;
            v *= phi;
            write_vec(y + i, &v, i1 - i);
            write_vec(d + i, &slope, i1 - i);
        }
    }
}

void relu_forward(float *y, const float *x, int64_t n)
{
#pragma omp parallel for simd schedule(static) if (n > BLOCK && kern_threads() > 1)
    for (int64_t i = 0; i < n; i++) y[i] = x[i] < 0.0f ? 0.0f : x[i]; /* a NaN stays one */
}

void relu_backward(float *dx, const float *dy, const float *y, int64_t n)
{
#pragma omp parallel for simd schedule(static) if (n > BLOCK && kern_threads() > 1)
    for (int64_t i = 0; i < n; i++) dx[i] = y[i] > 0.0f ? dy[i] : 0.0f;
}
