/* batch: one unit's images and labels, as the loader hands them to a task. Plain data, shared by data/, task/, train/.
 * Letters: B batch, H W grid, C channels, K classes, M boxes in the batch. */
#ifndef MEDLEY_BATCH_H
#define MEDLEY_BATCH_H

#include "medley/core.h"

enum task_kind { TASK_CLASSIFICATION, TASK_MULTILABEL, TASK_REGRESSION, TASK_SEGMENTATION, TASK_DETECTION, N_TASK_KINDS };
extern const char *const task_kind_name[N_TASK_KINDS]; /* "classification", ... (core/names.c) */
int task_kind_find(const char *name);                  /* -1 if unknown */

enum split { SPLIT_TRAIN, SPLIT_VAL, SPLIT_TEST, N_SPLITS };
extern const char *const split_name[N_SPLITS];         /* "train", "val", "test" */

#define IGNORE_CLASS (-1)   /* class label missing */
#define IGNORE_MASK 255     /* mask value that takes no part in loss or metric */

/* Where a network pixel lies in the stored image: x_src = ax*x + bx*y + cx, y_src = ay*x + by*y + cy, in pixel centres
 * (pixel (0,0) has its centre at 0.5,0.5). */
typedef struct view { float ax, bx, cx, ay, by, cy; } view;

#define SHARD_TEXT 160 /* longest id, subject, source ... with NUL */

/* Whose image a sample is. Texts as in the shard; "" unknown. */
typedef struct sample_note {
    char  id[SHARD_TEXT], case_id[SHARD_TEXT], subject[SHARD_TEXT], centre[SHARD_TEXT], units[8];
    float spacing[2];        /* row, column; NaN unknown */
} sample_note;

typedef struct batch {
    int      B, H, W;        /* n_valid <= B real samples; the rest are copies that only keep the shape */
    int      n_valid;
    int      task;           /* index in the job */
    int64_t  step;           /* -1 in evaluation */
    int      unit;           /* unit of the task in the step */
    float   *image;          /* (B,H,W,3) in [0,1]; one-channel images replicated */
    int64_t *sample;         /* (B) global index of the sample in its task's data set */
    rng_key *key;            /* (B) for drop path and dropout */
    view    *view;           /* (B) */
    int32_t *cls;            /* (B) classification, IGNORE_CLASS = missing */
    float   *vec;            /* (B,K) multilabel 0/1, negative = missing */
    float   *scalar;         /* (B) regression, NaN = missing */
    uint8_t *mask;           /* (B,H,W) segmentation, IGNORE_MASK = ignored */
    int32_t *box_off;        /* (B+1) detection */
    float   *box;            /* (M,4) x0 y0 x1 y1 in network pixels */
    int32_t *box_cls;        /* (M) */
    int      box_cap;        /* room for M */
    uint8_t *native_mask;    /* evaluation only: masks at stored size, one after another; NULL in training */
    int32_t *native_size;    /* evaluation only: (B,2) height, width of the stored image */
    sample_note *note;       /* evaluation only: (B) */
    double   load_s, read_s; /* seconds spent making this batch; of these, on reading its samples from the shards */
} batch;

#endif
