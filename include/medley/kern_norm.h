/* Row-wise kernels: normalisation and activations. Each has a plain twin in src/kern/ref.c that tests compare with. */
#ifndef MEDLEY_KERN_NORM_H
#define MEDLEY_KERN_NORM_H
#include "medley/core.h"

/* y (R,C) = (x - mean) * rstd * gamma + beta per row; stats (R,2) = mean, rstd, kept for backward. In place allowed. */
void layernorm_forward(float *y, float *stats, const float *x, const float *gamma, const float *beta, int64_t R, int64_t C, float eps);
/* dx (R,C) set (acc_dx: added); dgamma, dbeta += . */
void layernorm_backward(float *dx, bool acc_dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *stats,
                        const float *gamma, int64_t R, int64_t C);

/* Group normalisation, channels last: x (B,P,C), P = H*W pixels, `groups` groups of C/groups channels; stats (B,groups,2). */
void groupnorm_forward(float *y, float *stats, const float *x, const float *gamma, const float *beta, int64_t B, int64_t P, int64_t C,
                       int groups, float eps);
void groupnorm_backward(float *dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *stats, const float *gamma,
                        int64_t B, int64_t P, int64_t C, int groups);

/* Exact (erf) GELU. dx = dy * gelu'(x). In place allowed. */
void gelu_forward(float *y, const float *x, int64_t n);
void gelu_backward(float *dx, const float *dy, const float *x, int64_t n);
void relu_forward(float *y, const float *x, int64_t n);
void relu_backward(float *dx, const float *dy, const float *y, int64_t n); /* y: the output */

#endif
