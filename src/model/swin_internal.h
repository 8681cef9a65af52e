/* swin_internal: what the files of the Swin encoder share. Sizes: B batch, H W C grid and channels of the stage, R = B*H*W pixels,
 * Rw = B*n_windows*N tokens with padding, N tokens per window, Np = N rounded up to 16, T = (2ws-1)^2 relative positions. */
#ifndef MEDLEY_SWIN_INTERNAL_H
#define MEDLEY_SWIN_INTERNAL_H

#include "medley/kern.h"
#include "medley/model.h"

#define SWIN_EPS 1e-5f
#define CPB_HIDDEN 512

/* Table indices of one block's tensors; -1: not in this version. */
typedef struct block_index {
    int norm1_w, norm1_b;
    int table;                          /* V1 */
    int logit_scale, cpb0_w, cpb0_b, cpb2_w; /* V2 */
    int qkv_w, qkv_b, proj_w, proj_b, norm2_w, norm2_b, fc1_w, fc1_b, fc2_w, fc2_b;
} block_index;

typedef struct merge_index { int reduction_w, norm_w, norm_b; } merge_index;

/* One drop-path branch: the samples that take part. The others skip the branch's arithmetic altogether. */
typedef struct branch {
    int      n;       /* samples taking part */
    int32_t *sample;  /* (B) their numbers, ascending; the first n count */
    float    scale;   /* 1/keep, or 1 without drop path */
} branch;

/* Buffers that the blocks use one after another. Sizes are the largest of any block. */
typedef struct scratch {
    float   *a, *b;   /* (Rw,C) */
    float   *c;       /* (Rw,3C) gradient of qkv in train; (run of rows,4C) after GELU */
    float   *d;       /* (run of rows,4C) gradient before GELU; train */
    int32_t *rows;    /* (Rw) row map */
    float   *qkv_b;   /* (3C) bias with the key third zeroed; its gradient in backward */
    float   *dbias;   /* (heads,N,Np); train */
    float   *hidden;  /* (T,512) */
    float   *dtable;  /* (T,heads) */
    float   *dhidden; /* (T,512); train */
    float   *part;    /* window_scratch; train */
    float   *coords;  /* (T,2) log-spaced relative positions (V2) */
} scratch;

typedef struct block_run {
    int         version, B, H, W, C, heads, id; /* id: number of the block in the network */
    float       drop;
    bool        train, remake; /* remake: backward makes again what forward does not keep, in buffers that such blocks share */
    block_index p;
    const window_grid *grid;
    scratch    *s;
    branch      attn, mlp;
    float *x, *x2, *y;    /* (B,H,W,C) input, after attention, output. Without train all three are the same buffer */
    float *qkv, *o;       /* (Rw,3C), (Rw,C) */
    float *a, *m;         /* V2: (Rw,C), (R,C) branch outputs before their norms */
    float *h;             /* (R,4C) before GELU; remake: h, m and stats2 of one run of rows */
    float *stats1, *stats2; /* (Rw,2), (R,2) */
    float *bias;          /* (heads,N,Np) */
    float *table;         /* V2: (T,heads) output of the position network */
    float *tau;           /* V2: (heads) */
} block_run;

/* Offers the sizes that block_place and merge_place need of the shared buffers. */
typedef struct scratch_need { int64_t a, qkv, mid, rows, qkv_b, bias, part, C; int heads, T; } scratch_need;

void block_need(scratch_need *n, const window_grid *g, int B, int C, int heads);
/* Fills the buffers of a block whose version .. s are set. x, y: given; shared: buffers of a block to use as well (no train, or remake), or
 * NULL. */
void block_place(block_run *k, float *x, float *y, const block_run *shared, arena *a);
void block_forward(block_run *k, const params *t, const float *w, const rng_key *key);
/* d (B,H,W,C): gradient at y on entry, at x on return. */
void block_backward(block_run *k, const params *t, const float *w, float *g, float *d);

/* Position network of V2: bias of all heads, and tau (heads) = exp(min(logit_scale, ln 100)). */
void position_coords(float *coords, int ws);
void position_forward(block_run *k, const params *t, const float *w);
void position_backward(block_run *k, const params *t, const float *w, float *g, const float *dbias, const float *dtau);

typedef struct merge_run {
    int         version, B, H, W, C; /* of the input; the output is (B, ceil H/2, ceil W/2, 2C) */
    merge_index p;
    scratch    *s;
    int32_t    *rows;  /* (B*h*w*4) pixel of each quarter row, -1: padding */
    float      *m;     /* V2: (B*h*w,2C) before the norm */
    float      *stats; /* (B*h*w,2) */
    const float *x;    /* (B,H,W,C) */
    float      *y;
} merge_run;
void merge_need(scratch_need *n, int B, int H, int W, int C);
void merge_place(merge_run *k, const float *x, float *y, bool train, arena *a);
void merge_forward(merge_run *k, const params *t, const float *w);
/* dy: gradient at y; dx (B,H,W,C) += . */
void merge_backward(merge_run *k, const params *t, const float *w, float *g, float *dy, float *dx);

typedef struct patch_index { int conv_w, conv_b, norm_w, norm_b; } patch_index;
typedef struct patch_run {
    int         B, H, W, C; /* of the image; C: embedding */
    patch_index p;
    float      *patch; /* (B*H/4*W/4,48) normalised, columns colour, row, column as the convolution's weights */
    float      *e;     /* (B*H/4*W/4,C) before the norm */
    float      *stats; /* (B*H/4*W/4,2) */
    float      *y;     /* (B,H/4,W/4,C) */
} patch_run;
void patch_place(patch_run *k, float *y, arena *a);
void patch_forward(patch_run *k, const params *t, const float *w, const float *image, const float mean[3], const float std[3]);
void patch_backward(patch_run *k, const params *t, const float *w, float *g, float *dy, float *d_image, const float std[3]);

#endif
