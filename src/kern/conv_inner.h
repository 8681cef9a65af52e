/* conv_inner: what the files of the convolution share. A block is 16 channels side by side, the unit of every buffer here. */
#ifndef MEDLEY_CONV_INNER_H
#define MEDLEY_CONV_INNER_H

#include "medley/kern_conv.h"

#include "small.h"

#define WIDTH VL
/* Vectors are never passed by value: the calling convention for them differs between CPUs. vec: in registers and aligned buffers. */
typedef float   vec __attribute__((vector_size(4 * WIDTH), may_alias));
typedef int32_t vec_i __attribute__((vector_size(4 * WIDTH), may_alias));
#define LOAD(p) ((vec)*(const vecf *)(p))
#define STORE(p, v) (*(vecf *)(p) = (vecf)(v))
/* v where x > 0, else 0. A NaN in x keeps v, so that a broken value reaches the loss and is noticed. */
#define WHERE_POSITIVE(x, v) ((vec)(~((x) <= 0.0f) & (vec_i)(v)))
#define RELU1(v) ((v) <= 0.0f ? 0.0f : (v))

enum { LANES = 16,       /* channels of a block */
       PARTS = LANES / WIDTH, /* vectors of a block */
       KC = 128 };      /* input channels per pass: weights of a pass and the strip stay in the second-level cache */

static inline int blocks(int channels) { return (channels + LANES - 1) / LANES; }
static inline int min_int(int a, int b) { return a < b ? a : b; }

/* Output blocks per register tile; the last tile of an odd number has one. */
static inline int tile_blocks(int n_blocks) { return n_blocks > 1 ? 2 : 1; }

/* What all tiles of one pass have in common. Packed weights of a tile column: (block, kh, kw, channel, output lane). */
typedef struct tile_job {
    const float *w;             /* first weight of this column */
    const float *bias;          /* padded to blocks, or NULL */
    int64_t block_step, row_step; /* floats between blocks and between rows of the strip */
    int n_block, last;          /* blocks of this pass, channels in the last one */
    int n_valid;                /* output channels that exist; the others are not written */
    bool add;                   /* add to what is there (second pass and later) */
    int64_t out_step;           /* floats between output pixels */
} tile_job;

/* One row of `n` output pixels: x = strip at the tile's top-left tap, out = first pixel. nv output blocks, stride 1 or 2. */
void tile_row(const tile_job *t, int nv, int stride, const float *x, float *out, int n);

/* Accumulates the weight gradient of one row of taps: acc (3 kw, 8 in, 16 out) += over `rows` rows of n pixels.
 * x: 8 channels of a padded strip row (n + 2 pixels); dy: one block with two zero pixels before and after each row. */
void weight_rows(float *acc, const float *x, int64_t x_row, const float *dy, int64_t dy_row, int rows, int n);

/* Packed weights for the forward pass, and with flipped taps and exchanged channels for the input gradient (first n_in channels). */
void pack_forward(float *out, const float *w, int Cin, int Cout);
void pack_backward(float *out, const float *w, int Cin, int n_in, int Cout);
/* First weight of the tile column starting at output block v0, in the pass of k channels starting at k0. */
static inline int64_t packed_at(int k0, int k, int v0, int n_blocks)
{
    return (int64_t)9 * LANES * ((int64_t)k0 * n_blocks + (int64_t)k * v0);
}
/* dw (Cout,Cin,3,3) += sum over n_part partial sums of acc tiles, (out block, in block, kh, half, acc), in fixed order. */
void unpack_weight(float *dw, const float *part, int n_part, int64_t part_step, int Cin, int k0, int k, int Cout, int v0, int nv);

/* Where a strip of an image lies and how much border it gets. */
typedef struct strip_view {
    int     image;              /* in the batch */
    int64_t pixel;              /* first pixel of the image in a source of full size */
    int     H, W;               /* the image */
    int     row, rows;          /* first row (may be -1), number of rows (may reach beyond H): zeros outside */
    int     pad;                /* zero columns on either side */
    bool    dilate;             /* the source is (ceil(H/2),ceil(W/2)); its pixels go to even rows and columns, zeros between */
} strip_view;
/* xs (block, rows, W + 2 pad, 16) = channels k0..k0+k-1 of the concatenated sources. */
void strip_gather(float *xs, const strip_view *v, const conv_in *in, int n_in, int k0, int k);
/* Channels c0..c0+n-1 of ys (rows, W, ys_step) go to the sinks. v->row >= 0, no padding, rows within H. */
void strip_scatter(const conv_out *out, int n_out, const strip_view *v, const float *ys, int64_t ys_step, int c0, int n);

/* ---- minimal filtering (conv_winograd.c), for convolutions with stride 1 and enough channels and pixels ------------------------- */

bool winograd_suits(const conv *c, int g); /* grid g, either direction */
bool winograd_any(const conv *c);
bool winograd_all(const conv *c);
enum { WINOGRAD_COLUMNS = 144 }; /* output channels at a time: three panels of a register tile */
/* Output rows per strip, even; k channels in, n out. */
int winograd_rows(int H, int W, int k, int n);
/* Floats of work for a strip of so many rows. */
int64_t winograd_floats(int rows, int W, int k, int n);
/* Transformed weights, 16 * n_sum * n_lane floats; lanes and steps as in conv_tile.c's packing. */
void winograd_weights(float *out, const float *w, int n_sum, int n_lane, int64_t sum_step, int64_t lane_step, bool flip);

/* One strip: n_sum channels of the sources become n channels of the output, or of a buffer whose channels then go to the sinks. */
typedef struct winograd_job {
    const conv_in *in;
    int n_in, n_sum, n;
    strip_view view;             /* of the input: the output's rows, made even, and one more above and below */
    int rows;                    /* output rows; odd only at the lower edge */
    const float *weights;        /* from winograd_weights with these n_sum and n */
    const float *bias;           /* (n) or NULL */
    float *y;                    /* first output pixel; with scatter the buffer (rows,W,step) */
    int64_t step;
    bool scatter;
    const conv_out *out;
    int n_out;
    strip_view sink;
} winograd_job;
void winograd_strip(const winograd_job *j, float *xs, float *work);

/* Weight gradient of k input channels from k0 and n output channels from n0: sums of a part are 16 products (k,n), then (n) of dy. */
typedef struct winograd_weight_job {
    const conv_in *in;
    int n_in;
    conv_in dy;
    int k0, k, n0, n;
    strip_view x_view, dy_view;  /* of one strip: even rows, x with a border of 1, dy without */
    float *part;
} winograd_weight_job;
int64_t winograd_part(int k, int n); /* floats */
/* Adds a strip. xs: room for both gathered views and winograd_floats. */
void winograd_weight_strip(const winograd_weight_job *j, float *xs);
/* dw (Cout,Cin,3,3) and db (NULL: not) += the sum of n_part parts, in fixed order. */
void winograd_unpack(float *dw, float *db, float *part, int n_part, int64_t part_step, int Cin, int k0, int k, int n0, int n);

#endif
