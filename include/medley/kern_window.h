/* Window attention of Swin V1 and V2. A grid of H x W pixels is padded to whole windows at the right and bottom, then rolled by the
 * shift (torchvision's order), then cut into windows of N = ws*ws tokens. All of that is one index map; nothing is permuted in memory. */
#ifndef MEDLEY_KERN_WINDOW_H
#define MEDLEY_KERN_WINDOW_H
#include "medley/core.h"

#define WINDOW_MAX_TOKENS 64 /* N: windows up to 8 x 8 */
#define WINDOW_MAX_DIM 64    /* channels of one head; multiples of 16 */
#define WINDOW_CHUNKS 8      /* fixed split of the windows for sums over them */

typedef struct window_grid {
    int      H, W, ws;
    int      pad_H, pad_W;   /* multiples of ws */
    int      shift_H, shift_W; /* 0 on an axis with one window only */
    int      n_windows;      /* of one image */
    int      N, Np;          /* tokens of a window; the same rounded up to 16 */
    int32_t *src;            /* (n_windows,N) pixel y*W+x of each token, -1: padding */
    uint8_t *kind;           /* (n_windows) bit 0: last window row of a shifted axis, bit 1: last window column */
    float   *mask;           /* (4,N,Np) by kind: 0, or -100 between regions that the roll brought together; [key][query] */
} window_grid;
/* Lays the grid out in the arena (measuring: sizes only). ws*ws <= WINDOW_MAX_TOKENS. */
void window_grid_place(window_grid *g, int H, int W, int ws, int shift, arena *a);
/* Writes src, kind and mask again: the arena's bytes may have belonged to another plan since they were placed. */
void window_grid_fill(const window_grid *g);

/* Position bias of all heads, bias (heads,N,Np) as [head][key][query], from a table (T,heads) by relative position, T = (2ws-1)^2.
 * squash: 16 * sigmoid(table) (V2). Backward: dtable += . */
void window_bias_forward(float *bias, const float *table, int ws, int heads, bool squash);
void window_bias_backward(float *dtable, const float *dbias, const float *table, int ws, int heads, bool squash);

/* o (n*N,C) = softmax(s q k^T + bias + mask) v per window and head, C = heads*d; qkv (n*N,3C) holds q, k, v head-major. n windows, the
 * n_windows of one image after another. tau NULL (V1): s = 1/sqrt(d). tau (heads) (V2): q and k are normalised and s = tau. */
void window_attention_forward(float *o, const float *qkv, const float *bias, const float *tau, const window_grid *g, int64_t n, int heads,
                              int d);
/* dqkv, dbias (heads,N,Np), dtau (heads; V2) are set. Probabilities are recomputed. scratch: window_scratch() elements. */
void window_attention_backward(float *dqkv, float *dbias, float *dtau, const float *d_o, const float *qkv, const float *bias,
                               const float *tau, const window_grid *g, int64_t n, int heads, int d, float *scratch);
int64_t window_scratch(const window_grid *g, int heads);

#endif
