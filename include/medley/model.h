/* model: the parameter table, the Swin encoder (V1, V2) and the two shared decoders.
 * Plan, place, run: X_init declares parameters, X_place lays out every buffer of one (B,H,W) shape in an arena (also with a
 * measuring arena), X_forward and X_backward compute and allocate nothing. */
#ifndef MEDLEY_MODEL_H
#define MEDLEY_MODEL_H

#include "medley/core.h"

/* ---- the parameter table -------------------------------------------------------------------------------------- */

enum param_init { INIT_ZERO, INIT_ONE, INIT_CONST, INIT_TRUNC_NORMAL, INIT_UNIFORM }; /* value: const | sd | half width */

#define BLOCK_ENCODER 0
#define BLOCK_SEG 1        /* U-Net decoder */
#define BLOCK_DET 2        /* feature pyramid and towers */
#define BLOCK_HEAD0 3      /* head of task t is block BLOCK_HEAD0 + t */

typedef struct param {
    char    name[128];     /* "encoder.features.0.0.weight" (torchvision's names after the prefix), "head.TASK.weight" */
    int     ndim;
    int64_t shape[4];
    int64_t n;             /* elements */
    int64_t off;           /* element offset in every arena (weights, gradients, moments, EMA); -1: not on this rank */
    bool    away;          /* has its place here, but other ranks alone hold it: nobody touches it */
    int     block;
    enum param_init init;
    float   init_value;
    bool    decay;         /* weight decay applies (not on norms, biases, position tables) */
} param;

typedef struct params { param *p; int n, cap; int64_t n_local; } params; /* n_local: elements with off >= 0 */
MUST status params_add(params *t, int *out_index, const char *name, int ndim, const int64_t *shape, enum param_init init,
                       float init_value, bool decay, int block);
/* Give offsets to all tensors whose block is in `owned` (owned[block] true; n_blocks entries). Each starts 16-element aligned. */
void   params_layout(params *t, const bool *owned, int n_blocks);
/* Initial weights: each tensor from its own stream keyed by (seed, hash of name): independent of the layout. */
void   params_init_weights(const params *t, uint64_t seed, float *w);
int    params_find(const params *t, const char *name); /* -1 */
int64_t params_count(const params *t, int block);      /* elements of a block; -1: of all */
void   params_free(params *t);
#define PW(t, w, i) ((w) + (t)->p[i].off)

/* ---- features ----------------------------------------------------------------------------------------------------- */

typedef struct feature { int H, W, C; float *x, *d; } feature; /* x, d: (B,H,W,C); d = gradient, backward adds into it */
typedef struct pyramid {
    int     B;
    feature level[4]; /* outputs of the four stages, strides 4/8/16/32, before any final norm */
    feature top;      /* norm(level[3]): what heads pool and decoders take as their deepest level */
} pyramid;

/* Shows one output of a layer: x (B,n) of B samples. True ends the walk. */
typedef bool output_visit(void *arg, const char *name, const float *x, int64_t B, int64_t n);

/* ---- Swin Transformer, V1 (arXiv 2103.14030) and V2 (arXiv 2111.09883), as in torchvision -------------------------- */

typedef struct swin {
    char  variant[32];   /* "swin_t|s|b|micro", "swin_v2_t|s|b|micro" */
    int   version;       /* 1, 2 */
    int   embed, depth[4], heads[4], window;
    float drop_path;     /* largest rate of the linear ramp */
    unsigned recompute;  /* bit s: blocks of stage s keep only their output in training, and backward makes the rest again, bit for bit */
    float mean[3], std[3];
    int   n_params;      /* tensors in the table; the indices lie in `index` */
    int   index[640];
} swin;
extern const char *const swin_variants[]; /* NULL-terminated */
static inline int swin_trained_side(const swin *net) { return net->version == 1 ? 224 : 256; } /* images of torchvision's weights */
MUST status swin_init(swin *net, const char *variant, float drop_path /* <0: preset's */, params *t);

typedef struct swin_run swin_run; /* buffers of one (B,H,W); opaque, allocated by place */
/* H, W: multiples of 32. train: keep what backward needs. The struct itself is malloc'ed; buffers come from the arena. Call with
 * the same arguments on a measuring arena first. */
MUST status swin_place(swin_run **out, const swin *net, int B, int H, int W, bool train, arena *a);
void  swin_run_free(swin_run *r);
pyramid *swin_pyramid(swin_run *r);
/* image (B,H,W,3) in [0,1]. key (B): drop path per sample, NULL = off. Afterwards swin_pyramid()'s x are valid and d are zero. */
void swin_forward(swin_run *r, const params *t, const float *w, const float *image, const rng_key *key);
/* Called from backward: the gradients of all tensors of this network from `param` (index in the table) on are complete. */
typedef void grad_done(void *arg, int param);
void swin_watch(swin_run *r, grad_done *done, void *arg); /* done NULL: no more */
/* Uses pyramid d (top.d and level[].d both count); g += gradients. d_image (B,H,W,3) or NULL. Destroys d. */
void swin_backward(swin_run *r, const params *t, const float *w, float *g, float *d_image);
/* The outputs of the last forward in the network's order, named as the parameters of their layers; for runs placed with train. They
 * outlive backward. True: `visit` ended the walk. */
bool swin_outputs(const swin_run *r, output_visit *visit, void *arg);
/* vector (C) = mean of sample i of f (B,H,W,C) over its positions: what image-level heads see of pyramid.top. */
void swin_pool(float *vector, const feature *f, int64_t i);
double swin_flops(const swin *net, int H, int W); /* multiply-adds of one image's forward */
/* The share of backward's multiply-adds that is through when the gradients from table index `param` on are complete (swin_watch). */
double swin_backward_share(const swin *net, int param, int H, int W);
double swin_recompute_flops(const swin *net, unsigned stages, int H, int W); /* what recomputing these stages (bits) adds to one image */

/* ---- the encoder's weights under other programs' names (weight_names.c) ------------------------------------------------ */

/* Medley's are torchvision's behind "encoder.". microsoft: the authors' files, and timm's before 0.9. */
enum weight_naming { NAMING_MEDLEY, NAMING_TORCHVISION, NAMING_TIMM, NAMING_MICROSOFT, NAMING_HUGGINGFACE, N_NAMINGS };
extern const char *const naming_name[N_NAMINGS]; /* "medley", "torchvision", ... */
const char *naming_prefix(enum weight_naming naming, int version); /* before every name: "encoder.", "", "swin." */
const char *naming_head(enum weight_naming naming); /* layer of a linear classifier over the pooled vector; NULL: medley has several */
bool naming_is_buffer(const char *name);            /* a tensor that follows from the sizes, in any naming: not needed */

/* Is this, behind the prefix, a tensor of the encoder's stages? Of which there may be more than a smaller encoder has. */
bool naming_is_stage(enum weight_naming naming, const char *name);

enum named_what { NAMED_WEIGHT, NAMED_INDEX, NAMED_COORDS };
typedef struct named_tensor {
    char    name[192];
    int     ndim;
    int64_t shape[4];
    enum named_what what; /* a weight, or a buffer: swin_position_index (i64), swin_position_coords (f32) */
    int     param;        /* in the parameter table; -1: a buffer */
    int64_t from, n;      /* the elements of the parameter: all, or some rows */
} named_tensor;
/* All tensors of the encoder as `naming` has them, in the order of the table; *out: (n), free(). What of a parameter no tensor covers is 0. */
MUST status swin_named(const swin *net, const params *t, enum weight_naming naming, const char *prefix, named_tensor **out, int *n);
void swin_position_index(int window, int64_t *index);  /* (W^2,W^2) which of the (2W-1)^2 relative positions a pair of tokens has */
void swin_position_coords(int window, float *coords);  /* (2W-1,2W-1,2) V2: what its position network is asked */

/* ---- shared pixel decoder: U-Net with full-resolution output (method.md 1.6, 6.4) ------------------------------------ */

#define UNET_OUT 16
typedef struct unet { int in[5]; int n_params; int index[96]; } unet;
MUST status unet_init(unet *net, const swin *enc, params *t);
typedef struct unet_run unet_run;
MUST status unet_place(unet_run **out, const unet *net, int B, int H, int W, bool train, arena *a);
void  unet_run_free(unet_run *r);
feature *unet_out(unet_run *r);  /* (B,H,W,UNET_OUT): pixel embedding at full resolution; d zeroed by forward */
/* image: the network input, used as the light stem skip. */
void unet_forward(unet_run *r, const params *t, const float *w, const pyramid *p, const float *image);
void unet_backward(unet_run *r, const params *t, const float *w, float *g, pyramid *p, const float *image); /* adds into p's d */
bool unet_outputs(const unet_run *r, output_visit *visit, void *arg); /* as swin_outputs */
double unet_flops(const unet *net, int H, int W);

/* ---- shared box decoder: feature pyramid + towers (method.md 1.7) ------------------------------------------------------ */

#define FPN_LEVELS 5             /* strides 8, 16, 32, 64, 128 */
#define FPN_CHANNELS 128
extern const int fpn_stride[FPN_LEVELS];
typedef struct fpn { int in[3]; int n_params; int index[64]; } fpn;
MUST status fpn_init(fpn *net, const swin *enc, params *t); /* 2,093,056 parameters on swin_v2_t */
typedef struct fpn_run fpn_run;
MUST status fpn_place(fpn_run **out, const fpn *net, int B, int H, int W, bool train, arena *a);
void  fpn_run_free(fpn_run *r);
feature *fpn_cls(fpn_run *r, int level);  /* class tower output (B,h,w,FPN_CHANNELS); d zeroed by forward */
feature *fpn_reg(fpn_run *r, int level);
void fpn_forward(fpn_run *r, const params *t, const float *w, const pyramid *p);
void fpn_backward(fpn_run *r, const params *t, const float *w, float *g, pyramid *p);
bool fpn_outputs(const fpn_run *r, output_visit *visit, void *arg); /* as swin_outputs */
double fpn_flops(const fpn *net, int H, int W);

#endif
