/* ref: plain twins of the row-wise and window kernels, in double precision, straight from the definitions. For tests only. */
#ifndef MEDLEY_KERN_REF_H
#define MEDLEY_KERN_REF_H
#include <stdbool.h>
#include <stdint.h>

void ref_layernorm(double *y, const double *x, const double *gamma, const double *beta, int64_t R, int64_t C, double eps);
void ref_groupnorm(double *y, const double *x, const double *gamma, const double *beta, int64_t B, int64_t P, int64_t C, int groups, double eps);
double ref_gelu(double x);
/* y (R,N) = x (R,K) W^T + b. */
void ref_linear(double *y, const double *x, const double *W, const double *b, int64_t R, int64_t N, int64_t K);
/* torchvision's steps one by one: pad, roll, partition. src (n_windows,N): pixel or -1; region (n_windows,N): the numbers whose
 * differences make the mask (all 0 without shift). Returns the number of windows. */
int ref_windows(int *src, int *region, int H, int W, int ws, int shift);
/* One window: o (N,C) from qkv (N,3C), bias (heads,N,N) as [head][query][key], region (N), tau (heads) or NULL. */
void ref_attention(double *o, const double *qkv, const double *bias, const int *region, const double *tau, int N, int heads, int d);
/* bias (heads,N,N) [head][query][key] from table (T,heads). */
void ref_bias(double *bias, const double *table, int ws, int heads, bool squash);

#endif
