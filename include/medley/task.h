/* task: heads, losses, metrics, placement. A task ties the shared blocks to one kind of label. */
#ifndef MEDLEY_TASK_H
#define MEDLEY_TASK_H

#include "medley/batch.h"
#include "medley/model.h"

/* What the job file and the data set say of a task. */
typedef struct task_spec {
    char   name[64];
    enum task_kind kind;
    int    K;               /* classes (segmentation: with background), labels, or 1 */
    char (*class_name)[64]; /* K, borrowed; NULL allowed */
    double lo, hi;          /* regression: label range */
    int    H, W;            /* network input, multiples of 32 */
    int    batch;           /* B: samples of a unit, whose mean the loss is */
    int    micro;           /* samples that are run at a time, a divisor of batch; 0: all */
    unsigned recompute;     /* stages of the encoder that backward computes again (bits, swin.recompute) */
    bool   frozen;          /* training leaves the encoder as it is: no gradient of it, no update */
    float  weight;          /* of the loss in the sum over tasks */
    float  dropout;         /* of image-level heads */
    float *class_weight;    /* (K) loss weights, mean 1 over the samples; NULL = equal. Borrowed. */
    bool   center_sampling; /* FCOS: only locations within 1.5 strides of the box centre are positive */
    int    max_boxes;       /* most ground-truth boxes per image in a batch, and most detections kept */
    float  score_min, nms_iou; /* detection inference: 0.05, 0.5 */
} task_spec;

/* The shared blocks of a job. */
typedef struct shared { swin enc; unet seg; fpn det; bool has_seg, has_det; } shared;

typedef struct task { task_spec spec; int index; int n_params; int param[24]; } task;
/* Declares head parameters "head.NAME.*" with block BLOCK_HEAD0 + index. Needs sh->has_seg/has_det for the kinds that use them. */
MUST status task_init(task *t, const task_spec *spec, int index, const shared *sh, params *pt);
/* Does training this task change block (BLOCK_ENCODER, BLOCK_SEG, ...)? */
bool task_uses(const task *t, int block);
double task_flops(const task *t, const shared *sh); /* multiply-adds of one unit forward: the a-priori cost */

typedef struct task_run task_run; /* encoder, decoder and head buffers of a task's shape */
MUST status task_place(task_run **out, const task *t, const shared *sh, bool train, arena *a);
void task_run_free(task_run *r);
/* A run holds spec.micro samples. A batch goes through it in task_pieces() pieces; piece i, of which task_piece makes a view, goes through
 * forward, loss and backward before piece i + 1 is asked for. The pieces' losses add up to the loss of the whole batch, and their gradients
 * to its gradient: the denominators are those of the whole batch. Only rounding differs from a batch run in one. */
int   task_pieces(const task_run *r, const batch *b);
batch task_piece(task_run *r, const batch *b, int i);
void task_forward(task_run *r, const params *pt, const float *w, const batch *b, bool train);  /* train: drop path, dropout */
/* Loss of the batch, or its piece's share of it (mean over the valid labels of all, near 1 at initialisation), and its gradient at the
 * outputs. Returns the loss (NaN if not finite); n_valid = labels that counted (0: loss 0, gradient 0). parts: up to 4 named addends for
 * the record. */
double task_loss(task_run *r, const batch *b, int64_t *n_valid, double parts[4]);
/* g += weight * d loss / d w for every block of task_uses. */
void task_backward(task_run *r, const params *pt, const float *w, float *g, const batch *b);
/* The outputs of the last task_forward with train, layer by layer, for looking for the first bad number. The head's own come last, as
 * "head.NAME"; those of segmentation are gradients by then. True: `visit` ended the walk. */
bool task_outputs(const task_run *r, output_visit *visit, void *arg);
/* The first sample of the batch whose label cannot be: not finite (a training batch has no missing scalars), a class beyond K, a box
 * turned inside out. -1: all good. Cheap. */
int task_label_fault(const task_spec *s, const batch *b);
/* The head's raw outputs after task_forward: image kinds (B,K); segmentation logits (B,H,W,K). NULL for detection. In a run placed for
 * training, task_loss turns segmentation logits into their gradient. */
const float *task_output(const task_run *r);
/* task_backward tells how far it is: all gradients of the shared blocks from table index `param` on are complete. done NULL: no more. */
void task_watch(task_run *r, grad_done *done, void *arg);

/* ---- results of task_forward(train = false), for metrics and prediction ------------------------------------------------ */

/* Regression: label units from the head's raw output. */
double task_scalar(const task_spec *s, double raw);
/* Image kinds: what the raw outputs z (K) of one image say. out (K): probabilities; regression: the value in label units. */
void task_readout(const task_spec *s, const float *z, double *out);
/* One box: x0 y0 x1 y1 in network pixels. */
typedef struct detection { float box[4], score; int32_t cls; } detection;
/* Detection: the boxes of one image of the batch, best first; out has room for spec.max_boxes. Returns how many. */
int task_detect(const task_run *r, int image, detection *out);
/* Where network boxes lie in the stored image: the axis-parallel box around the four corners, cut to (h,w). */
void task_box_native(const view *v, int h, int w, const float box[4], float out[4]);
float task_iou(const float a[4], const float b[4]); /* intersection over union of two boxes */
/* Segmentation: class of every pixel of the stored image (h,w): logits sampled bilinearly, edge values beyond the network's field. */
void task_mask_native(const task_run *r, int image, const view *v, int h, int w, uint8_t *out);
/* The same of any logits z (H,W,K); p (h,w,K), or NULL: the probabilities. */
void task_mask_of(const float *z, int H, int W, int K, const view *v, int h, int w, uint8_t *out, float *p);

/* ---- metrics: collected per sample, merged over ranks, independent of order -------------------------------------------- */

typedef struct metric metric; /* opaque accumulator of one task and split */
MUST status metric_init(metric **out, const task *t);
void metric_free(metric *m);
/* Adds the first b->n_valid samples of the batch after task_forward(train = false). case_id: hash of the case (volume or image) of
 * each sample (B). Segmentation is scored on the stored (native) mask: logits are sampled bilinearly at each native pixel. */
MUST status metric_add(metric *m, const task_run *r, const batch *b, const uint64_t *case_id);
/* What an evaluation wants beyond scores, before the first metric_add: ids, subjects and centres of the samples (from b->note), the confusion
 * matrix, HD95 of masks, and some pictures. A validation does without. */
typedef struct metric_ask { const int64_t *example; int n_examples; } metric_ask; /* ascending: samples whose picture is kept */
MUST status metric_want(metric *m, const metric_ask *ask);
/* The same for one sample whose outputs come from elsewhere (image-level kinds): out (K), raw as the head of the kind gives them, and what of
 * the label the kind asks for: vec (K), negative = missing. */
typedef struct image_label { int32_t cls; const float *vec; float scalar; } image_label;
MUST status metric_add_output(metric *m, int64_t sample, uint64_t case_id, const float *out, const image_label *y);
/* The same for classification by something that gives shares of classes: p (K) counts as it is, so that equal shares tie. */
MUST status metric_add_shares(metric *m, int64_t sample, uint64_t case_id, const double *p, int32_t cls);
/* Serialise for MPI; merge what another rank packed. */
MUST status metric_pack(const metric *m, void **bytes, size_t *n_bytes); /* free() */
MUST status metric_merge(metric *m, const void *bytes, size_t n_bytes);

#define METRIC_MAX 256
typedef struct metric_value { char name[64]; double value; double lo, hi; } metric_value; /* lo, hi: bootstrap interval, NaN if none */
typedef struct metric_result {
    int64_t n_samples, n_cases, n_subjects;
    double  score;                      /* the one number for model selection: higher is better, [0,1] (regression: 1 - MAE/range) */
    char    score_name[32];             /* "balanced_accuracy", "auroc", "dice", "ap50", "mae_score" */
    int     n;
    metric_value value[METRIC_MAX]; /* balanced_accuracy, accuracy, auroc, auroc/CLASS, dice, dice/CLASS, ap50, ap, mae ... */
} metric_result;
/* n_boot > 0: percentile bootstrap over subjects (seeded), 95 %: all cases of a subject are drawn or left together. Deterministic: samples
 * are sorted first. centre: only its samples; NULL all. */
MUST status metric_finish(metric *m, int n_boot, uint64_t seed, metric_result *out);
MUST status metric_finish_centre(metric *m, const char *centre, int n_boot, uint64_t seed, metric_result *out);
/* The centres that samples name, in order: char[n][SHARD_TEXT], free(). Without metric_want none. */
MUST status metric_centres(metric *m, int *n, char (**names)[SHARD_TEXT]);
/* Lines for CSV, a header first: of every sample; of every case with its Dice and HD95 (segmentation); the confusion matrix: true classes in
 * rows, predicted ones in columns, of samples or pixels; of a label vector a row per label. No line where a kind of label has no such thing. */
typedef void metric_line(void *arg, const char *csv);
MUST status metric_each(metric *m, metric_line *line, void *arg);
MUST status metric_each_case(metric *m, metric_line *line, void *arg);
MUST status metric_confusion(metric *m, metric_line *line, void *arg);

/* A picture that metric_want asked for: the image as the network saw it, what is true and what was predicted. Pointers are the metric's. */
#define EXAMPLE_SURE 0.3f /* boxes of a lower score are not shown */
typedef struct example {
    int64_t sample;
    const char *id, *subject;
    int     H, W;
    float   field[4];               /* where the stored image lies: x0 y0 x1 y1; black around it */
    const uint8_t *rgb;             /* (H,W,3) */
    const uint8_t *truth, *guess;   /* (H,W) classes; NULL unless segmentation */
    int     n_true, n_found;
    float   true_box[200][5], found_box[200][6]; /* x0 y0 x1 y1 class; x0 y0 x1 y1 score class, best first */
    char    truth_text[200], guess_text[200];
    double  quality;                /* probability of the true class, Dice; NaN: there is no such number */
    bool    right;                  /* classification, multilabel */
} example;
int metric_n_examples(const metric *m);
MUST status metric_example(metric *m, int k, example *out);

/* ---- placement --------------------------------------------------------------------------------------------------------- */

/* units -> ranks, longest processing time first, ties by (task, unit): a function of its arguments alone. Units of one task are kept
 * together unless there are more than 1024 units, or that would leave a rank idle or the balance worse than 5 %. rank_of (n_units). Returns max over mean of load; -1 without memory, the message says so. */
typedef struct unit { int task, number; double cost; } unit;
double place_units(const unit *u, int n_units, int n_ranks, int *rank_of);

#endif
