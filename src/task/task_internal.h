/* task_internal: what the files of src/task share: the buffers of a task, losses, FCOS, detections. */
#ifndef MEDLEY_TASK_INTERNAL_H
#define MEDLEY_TASK_INTERNAL_H

#include "medley/kern.h"
#include "medley/task.h"

/* ---- FCOS ------------------------------------------------------------------------------------------------------------------ */

/* The pyramid's grids. Location (i,j) of level l sits at network point ((j + 0.5) s, (i + 0.5) s), s its stride. */
typedef struct fcos_level {
    int   h, w, stride;
    int64_t first;     /* of the level among the locations of an image */
    float *cls, *d_cls; /* (B,h,w,K) class logits and their gradient (NULL: loss only) */
    float *reg, *d_reg; /* (B,h,w,5): raw left, top, right, bottom, then the centerness logit */
} fcos_level;

typedef struct fcos {
    fcos_level level[FPN_LEVELS];
    int64_t n;         /* locations of an image */
    int     K;
} fcos;
void fcos_grids(fcos *f, int H, int W, int K);

/* match[n]: index of the box a location answers for, -1 = background. Inside the box; the largest of the four distances within the
 * level's range (up to 8 strides, from 4 strides except on the first level, unbounded on the last); the smallest box wins, then the
 * first. center: only within 1.5 strides of the centre. The rule of torchvision.models.detection.fcos. */
void fcos_assign(const fcos *f, const float *box /* (M,4) */, int M, bool center, int32_t *match);

/* Sums over the first n_images of: sigmoid focal loss (alpha 0.25, gamma 2), GIoU loss and centerness BCE at positive locations.
 * Distances are exp(scale[level] * raw) strides. Gradients of factor * (sum of the three) / max(1, positives) are set in d_cls, d_reg
 * and d_scale (FPN_LEVELS). Returns the number of positives. match: (n_images, n). */
int64_t fcos_loss(const fcos *f, int n_images, const int32_t *match, const int32_t *box_off, const float *box, const int32_t *box_cls,
                  const float *scale, float *d_scale, double factor, double sums[3]);
/* 1 - GIoU of boxes x0 y0 x1 y1 (eps 1e-7); da (4), NULL allowed: gradient with respect to a. */
double fcos_giou(const double a[4], const double b[4], double *da);
/* Distances in strides from raw outputs: exp with its argument kept within +-FCOS_MAX_LOG. */
#define FCOS_MAX_LOG 8.0f
#define FCOS_PRIOR 0.01 /* probability of each class at the start */

/* Candidates of one image: top n_top per level by score = sqrt(class * centerness), then NMS per class. */
#define DETECT_TOP 1000
int  detect_candidates(const fcos *f, int image, const float *scale, float score_min, int H, int W,
                       detection *heap /* FPN_LEVELS * DETECT_TOP */);
/* d has room for 2 n. Sorts by score (ties: as they came), drops those that overlap a better one of their class by more than iou;
 * returns how many stay. */
int  detect_nms(detection *d, int n, float iou, int keep);

/* ---- which labels count: those that are there and name a class -------------------------------------------------------------------- */

static inline bool class_counts(int32_t y, int64_t K) { return y >= 0 && y < K; }
static inline bool pixel_counts(uint8_t y, int64_t K) { return y < K && y != IGNORE_MASK; }

/* ---- losses: value, and gradient at the outputs (d NULL: not wanted) ------------------------------------------------------------- */

/* Mean over labels that are there of weight[cls] * cross entropy / ln K. z, d (B,K). */
double loss_classes(float *d, const float *z, const int32_t *cls, const float *weight, int64_t B, int64_t K, int64_t *n_valid);
/* Mean over labels that are there of weight[k] * binary cross entropy / ln 2. z, d, vec (B,K). */
double loss_labels(float *d, const float *z, const float *vec, const float *weight, int64_t B, int64_t K, int64_t *n_valid);
/* Mean over labels that are there of 12 (z - t)^2, t = (y - middle) / range. z, d, y (B). */
double loss_scalar(float *d, const float *z, const float *y, double lo, double hi, int64_t B, int64_t *n_valid);
/* Softmax focal + Dice of P pixels per sample, see loss_dense.c. gradient != 0: z (B,P,K) becomes gradient * d loss / d z.
 * parts: focal, Dice. */
double  loss_dense(float *z, float gradient, const uint8_t *mask, int64_t B, int64_t P, int64_t K, double *work, int64_t *n_valid,
                   double parts[4]);
int64_t loss_dense_work(int64_t B, int64_t P, int64_t K); /* doubles */

/* ---- a placed task ----------------------------------------------------------------------------------------------------------- */

struct task_run {
    task_spec spec;         /* batch: samples of this run, one piece */
    int    param[24];
    bool   train, dropped;  /* dropped: this forward used dropout */
    double n_labels;        /* of the batch that is run in pieces */
    double share;           /* of the piece in them; 1 if the batch is run in one */
    float  scale[FPN_LEVELS]; /* detection: the levels' scales of the last forward */
    grad_done *done;        /* told how far task_backward is; NULL: nobody */
    void  *done_arg;
    swin_run *enc;
    unet_run *seg;
    fpn_run  *det;
    /* image kinds */
    float *vector;          /* (B,C) pooled, after dropout */
    float *keep;            /* (B,C) dropout factors, 0 or 1/(1-p) */
    float *d_vector;        /* (B,C) */
    /* image kinds (B,K), segmentation (B,H,W,K) */
    float *out, *d_out;     /* segmentation: d_out == out, task_loss turns the logits into their gradient */
    /* convolutions of the heads */
    conv   conv_seg, conv_cls[FPN_LEVELS], conv_reg[FPN_LEVELS];
    float *scratch;
    double *work;           /* segmentation loss */
    /* detection */
    fcos    fcos;
    int32_t *match;         /* (B, locations) */
    float   d_scale[FPN_LEVELS];
    detection *found;       /* 2 * FPN_LEVELS * DETECT_TOP: candidates, room to sort */
};

/* One row per kind of head (task.c). */
typedef struct head_ops {
    status (*init)(task *t, const shared *sh, params *pt);
    void (*place)(task_run *r, const shared *sh, arena *a);
    void (*forward)(task_run *r, const params *pt, const float *w, const batch *b, bool train);
    double (*loss)(task_run *r, const batch *b, int64_t *n_valid, double parts[4]);
    void (*backward)(task_run *r, const params *pt, const float *w, float *g); /* into the pyramid's or the decoder's d */
    double (*flops)(const task_spec *s, const shared *sh);                      /* of the head, one unit */
    double (*labels)(task_run *r, const batch *b); /* what the loss of a batch is divided by; known before forward. b: any size */
} head_ops;
extern const head_ops head_image, head_dense, head_detect;
status head_param(task *t, params *pt, const char *name, int ndim, const int64_t *shape, enum param_init init, float value, bool decay);

#endif
