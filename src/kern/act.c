/* act: GELU (exact erf form) and ReLU, forward and backward. */
#include "medley/kern.h"

#include "fastmath.h"

enum { BLOCK = 16384 }; /* elements per parallel chunk */
#define INV_SQRT_2PI 0.39894228f

void gelu_forward(float *y, const float *x, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > BLOCK && kern_threads() > 1)
    for (int64_t i0 = 0; i0 < n; i0 += BLOCK) {
        int64_t i1 = i0 + BLOCK < n ? i0 + BLOCK : n;
#pragma omp simd
        for (int64_t i = i0; i < i1; i++) {
            float e;
            y[i] = x[i] * fast_phi(x[i], &e);
        }
    }
}

void gelu_backward(float *dx, const float *dy, const float *x, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > BLOCK && kern_threads() > 1)
    for (int64_t i0 = 0; i0 < n; i0 += BLOCK) {
        int64_t i1 = i0 + BLOCK < n ? i0 + BLOCK : n;
#pragma omp simd
        for (int64_t i = i0; i < i1; i++) {
            float e, phi = fast_phi(x[i], &e);
            dx[i] = dy[i] * (phi + x[i] * e * INV_SQRT_2PI);
        }
    }
}

void gelu_bias_forward(float *y, float *x, const float *b, int64_t R, int64_t C)
{
#pragma omp parallel for schedule(static) if (R * C > BLOCK && kern_threads() > 1)
    for (int64_t r = 0; r < R; r++) {
        float *xr = x + r * C, *yr = y + r * C;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) {
            float e, v = xr[c] + b[c];
            xr[c] = v;
            yr[c] = v * fast_phi(v, &e);
        }
    }
}

void gelu_both(float *y, float *d, const float *x, int64_t n)
{
#pragma omp parallel for schedule(static) if (n > BLOCK && kern_threads() > 1)
    for (int64_t i0 = 0; i0 < n; i0 += BLOCK) {
        int64_t i1 = i0 + BLOCK < n ? i0 + BLOCK : n;
#pragma omp simd
        for (int64_t i = i0; i < i1; i++) {
            float e, v = x[i], phi = fast_phi(v, &e);
            y[i] = v * phi;
            d[i] *= phi + v * e * INV_SQRT_2PI;
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
