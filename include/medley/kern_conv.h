/* 3x3 convolution with padding 1, stride 1 or 2, forward and backward. Channels last; weights (Cout,Cin,3,3) as torch stores them.
 * A 1x1 convolution is linear_forward / linear_backward (kern.h).
 *
 * The work is cut into strips of output rows. For each strip the input, with its border, is gathered into a buffer that fits the
 * cache and has 16 channels side by side; register tiles of pixels x channels run over it. Because the gather touches every input value
 * anyway, it also does nearest x2 up-sampling, concatenation of several sources, and normalisation + ReLU of its source: none of
 * these is ever stored. Strips and partial sums depend on the shape only, so the bits do not depend on the number of threads.
 * Letters: B batch, H W input grid, Ho Wo output grid, Cin Cout channels, P pixels. */
#ifndef MEDLEY_KERN_CONV_H
#define MEDLEY_KERN_CONV_H
#include "medley/core.h"

#define CONV_GRIDS 8

/* Shape of a convolution. Several grids (pyramid levels) can share one call: their arrays then lie one after another in one buffer,
 * grid g being (B,H_g,W_g,C) from pixel grid[g].in (input) or grid[g].out (output). */
typedef struct conv {
    int B, Cin, Cout, stride, n_grid, threads;
    struct { int H, W, Ho, Wo; int64_t in, out; } grid[CONV_GRIDS];
    int64_t in_pixels, out_pixels; /* over all grids and the batch */
} conv;
/* size: n_grid pairs H, W of the input. Output: ceil(H/stride), ceil(W/stride). */
conv    conv_plan(int B, int n_grid, const int (*size)[2], int Cin, int Cout, int stride);
/* Floats of scratch that the calls below need (train: backward too). One buffer can serve many convolutions in turn. */
int64_t conv_scratch(const conv *c, bool train);
double  conv_flops(const conv *c); /* multiply-adds of the whole batch, forward */

/* A slice of the input channels: reads x, or x * scale + shift; then ReLU of it if asked for. */
typedef struct conv_in {
    const float *x;             /* (B,H,W,C), or (B,H/2,W/2,C) if up (one grid only) */
    int  C;
    bool up;                    /* nearest x2 while reading */
    const float *scale, *shift; /* (B,C) each, or both NULL */
    bool relu;
} conv_in;

/* A slice of the input gradient: where it goes. */
typedef struct conv_out {
    float *d;                   /* (B,H,W,C), or (B,H/2,W/2,C) if up; NULL: not wanted */
    int  C;
    bool up;                    /* sum each 2x2 square: the gradient of nearest x2 */
    bool add;                   /* add instead of set */
} conv_out;

/* y (B,Ho,Wo,Cout) = conv(in) + b; b (Cout) or NULL. The C of in[0..n_in) add up to Cin. */
void conv_forward(const conv *c, float *y, const conv_in *in, int n_in, const float *w, const float *b, float *scratch);
/* Input gradient from dy (B,Ho,Wo,Cout). The C of out[0..n_out) add up to Cin, or less: later channels are not wanted. */
void conv_backward_input(const conv *c, const conv_out *out, int n_out, const float *dy, const float *w, float *scratch);
/* dw (Cout,Cin,3,3) += ; db (Cout) += (NULL: skip). `in` as given to conv_forward. */
void conv_backward_weight(const conv *c, float *dw, float *db, const float *dy, const conv_in *in, int n_in, float *scratch);

/* ---- group norm with one group, folded into the reading of the next convolution ------------------------------------------ */

/* relu(norm(z)) of z (B,P,C) is relu(z * scale + shift): computes scale, shift (B,C) and stats (B,2) = mean, rstd.
 * work: norm_relu_work(B, C) floats, here and below. */
void norm_relu_prepare(float *scale, float *shift, float *stats, const float *z, const float *gamma, const float *beta, int64_t B,
                       int64_t P, int64_t C, float eps, float *work);
/* y (B,P,C) = relu(z * scale + shift), for the last layer, whose output is stored. */
void norm_relu_forward(float *y, const float *z, const float *scale, const float *shift, int64_t B, int64_t P, int64_t C);
/* In place: d (B,P,C) is the gradient of relu(norm(z)) on entry and of z on return. dgamma, dbeta (C) += . */
void norm_relu_backward(float *d, float *dgamma, float *dbeta, const float *z, const float *scale, const float *shift,
                        const float *stats, const float *gamma, int64_t B, int64_t P, int64_t C, float *work);
int64_t norm_relu_work(int64_t B, int64_t C);

/* ---- nearest x2 by itself ------------------------------------------------------------------------------------------------ */

/* y (B,2H,2W,C) = x (B,H,W,C) enlarged (acc: added). */
void upsample2_forward(float *y, bool acc, const float *x, int64_t B, int64_t H, int64_t W, int64_t C);
/* dx (B,H,W,C) = sums of 2x2 squares of dy (B,2H,2W,C) (acc: added). */
void upsample2_backward(float *dx, bool acc, const float *dy, int64_t B, int64_t H, int64_t W, int64_t C);

#endif
