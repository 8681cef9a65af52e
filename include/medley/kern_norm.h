/* Row-wise kernels: normalisation and activations. Each has a plain twin in src/kern/ref.c that tests compare with. */
#ifndef MEDLEY_KERN_NORM_H
#define MEDLEY_KERN_NORM_H
#include "medley/core.h"

/* y (R,C) = (x - mean) * rstd * gamma + beta per row; stats (R,2) = mean, rstd, kept for backward. In place allowed. */
void layernorm_forward(float *y, float *stats, const float *x, const float *gamma, const float *beta, int64_t R, int64_t C, float eps);
/* dx (R,C) set (acc_dx: added); dgamma, dbeta += . */
void layernorm_backward(float *dx, bool acc_dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *stats,
                        const float *gamma, int64_t R, int64_t C);

/* Row maps: row[r] is a row number in the other matrix, each at most once; < 0: no such row; NULL: identity. Used to fold window
 * partition, shift, padding and dropped samples into the passes that exist anyway. stats row r belongs to row r of the map. */
/* y[r] = norm(x[row[r]]); no such row: y[r] = 0. Backward: dx[row[r]] += . */
void layernorm_gather_forward(float *y, float *stats, const float *x, const int32_t *row, const float *gamma, const float *beta, int64_t R,
                              int64_t C, float eps);
void layernorm_gather_backward(float *dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *stats,
                               const int32_t *row, const float *gamma, int64_t R, int64_t C);
/* y[row[r]] = res[row[r]] + scale * norm(x[r]). Backward: dx[r] set from dy[row[r]], 0 where there is no such row. */
void layernorm_scatter_forward(float *y, float *stats, const float *x, const int32_t *row, const float *gamma, const float *beta,
                               float scale, const float *res, int64_t R, int64_t C, float eps);
void layernorm_scatter_backward(float *dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *stats,
                                const int32_t *row, const float *gamma, float scale, int64_t R, int64_t C);
/* y[r] = scale * x[row[r]] (0 where none); y[row[r]] = res[row[r]] + scale * (x[r] + b), b (C) or NULL. */
void rows_gather(float *y, const float *x, const int32_t *row, float scale, int64_t R, int64_t C);
void rows_scatter(float *y, const float *res, const float *x, const float *b, const int32_t *row, float scale, int64_t R, int64_t C);

/* Group normalisation, channels last: x (B,P,C), P = H*W pixels, `groups` groups of C/groups channels; stats (B,groups,2). */
void groupnorm_forward(float *y, float *stats, const float *x, const float *gamma, const float *beta, int64_t B, int64_t P, int64_t C,
                       int groups, float eps);
void groupnorm_backward(float *dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *stats, const float *gamma,
                        int64_t B, int64_t P, int64_t C, int groups);

/* Exact (erf) GELU. dx = dy * gelu'(x). In place allowed. */
void gelu_forward(float *y, const float *x, int64_t n);
void gelu_backward(float *dx, const float *dy, const float *x, int64_t n);
/* x (R,C) += b (C), y = gelu(x): the bias of the linear layer before and the activation in one pass. */
void gelu_bias_forward(float *y, float *x, const float *b, int64_t R, int64_t C);
/* y = gelu(x) and d *= gelu'(x) in one pass: backward without a stored activation. */
void gelu_both(float *y, float *d, const float *x, int64_t n);
void relu_forward(float *y, const float *x, int64_t n);
void relu_backward(float *dx, const float *dy, const float *y, int64_t n); /* y: the output */

#endif
