/* metric_internal: what a metric collects (records, pictures) and how a kind of label is scored (scorer). */
#ifndef MEDLEY_METRIC_INTERNAL_H
#define MEDLEY_METRIC_INTERNAL_H

#include "task_internal.h"

/* One sample: its payload is data[at, at + n), laid out by kind:
 *   classification  label, K probabilities
 *   multilabel      K labels (negative: missing), K probabilities
 *   regression      label, prediction
 *   segmentation    for each class that occurs in prediction or truth: class, both, predicted, true pixels; with metric_want also HD95, NaN
 *                   where the class is in one of the two alone
 *   detection       D, G, D x (x0 y0 x1 y1 score class), G x (x0 y0 x1 y1 class), in pixels of the stored image */
typedef struct record {
    int64_t  sample;
    uint64_t case_id, subject;  /* hashes; without notes a case is its own subject */
    int64_t  at, n;
    int64_t  text;              /* where its id, case, subject and centre begin in metric.text, each with a NUL; -1 none */
    int64_t  unit;              /* enum unit_of: of HD95 */
} record;
enum { DET = 6, TRUE_BOX = 5, COUNTS = 4 /* per class of a segmentation */ };
enum note_text { NOTE_ID, NOTE_CASE, NOTE_SUBJECT, NOTE_CENTRE, N_NOTE_TEXTS };
enum unit_of { UNIT_PIXEL, UNIT_MM, UNIT_UM, N_UNITS };
extern const char *const unit_name[N_UNITS]; /* "px", "mm", "um" */

/* What a sample looked like. bytes: image (H,W,3), truth and guess (H,W) if there are masks, n_true x TRUE_BOX floats, n_found x DET floats. */
typedef struct picture {
    int64_t sample;
    int32_t H, W, masks, n_true, n_found;
    float   field[4];
    uint8_t *bytes;
} picture;
enum { PICTURE_BOXES = 200 }; /* most true, and most found boxes that a picture keeps */

struct metric {
    char   task[64];
    enum task_kind kind;
    int    K, max_boxes;
    char (*class_name)[64]; /* (K), owned */
    double lo, hi;
    bool   full;            /* metric_want */
    record *rec;
    double *data;
    char   *text;
    int64_t n, cap, n_data, cap_data, n_text, cap_text;
    int64_t *pixels;        /* full, segmentation: (K,K) true x predicted */
    uint8_t *mask;          /* segmentation: room for one predicted mask */
    size_t  mask_bytes;
    struct surface_work *surface; /* full, segmentation */
    detection *found;       /* detection: (max_boxes) */
    int64_t *wanted;        /* (n_wanted) ascending: samples whose picture is kept */
    int     n_wanted;
    picture *pictures;
    int64_t n_pictures, cap_pictures;
};

/* Room for one more record; *payload (n) is to be filled. */
status metric_new_record(metric *m, int64_t sample, uint64_t case_id, int64_t n, double **payload);
status metric_room(void *list, int64_t *cap, int64_t need, size_t size, const char *owner); /* a list that grows */
/* What the note says goes to the newest record. */
status metric_note(metric *m, const sample_note *note);
const char *metric_text(const metric *m, const record *r, enum note_text which); /* "" if unknown */
/* By sample; the second of two records of one sample goes: ranks may have padded with the same one. */
void metric_sort(metric *m);
static inline int metric_counts(const metric *m) { return m->full ? COUNTS + 1 : COUNTS; }

/* ---- pictures (metric_picture.c) ------------------------------------------------------------------------------------------------ */

status picture_add(metric *m, const task_run *r, const batch *b, int i); /* if the sample is wanted */
size_t picture_bytes(const picture *p);
status picture_append(metric *m, const picture *p, const void *bytes); /* bytes NULL: room that the caller fills */

/* ---- distances of surfaces (metric_surface.c) ------------------------------------------------------------------------------------- */

/* 95th percentile of the Hausdorff distance of class k in two masks (h,w) whose pixels are `step` (row, column) apart: the larger of the
 * two directed 95th percentiles, linear between order statistics. A surface is the pixels of the class with one of their four neighbours
 * outside it; beyond the image is outside. Pixels that truth ignores are in neither. NaN in *out unless the class is in both. */
typedef struct surface_work surface_work;
status surface_open(surface_work **out);
void   surface_close(surface_work *s);
status surface_hd95(surface_work *s, const uint8_t *guess, const uint8_t *truth, int h, int w, int k, const double step[2], double *out);

/* ---- scores ------------------------------------------------------------------------------------------------------------------------ */

/* Prepared once, scored for the data as they are and for every bootstrap draw. */
typedef struct scorer {
    const metric *m;
    int32_t *case_of;       /* (n) case number of each record, 0..n_cases-1 */
    int32_t *subject_of;    /* (n_cases) */
    int64_t *first;         /* (n_cases) first record of a case */
    int64_t  n_cases, n_subjects;
    void    *state;
} scorer;
typedef struct scorer_ops {
    const char *score_name;
    status (*prepare)(scorer *s);
    /* times (n_cases): how often each case counts. Adds the same names in the same order every time. */
    void (*score)(const scorer *s, const int32_t *times, metric_result *r);
    void (*release)(scorer *s);
} scorer_ops;
extern const scorer_ops score_class, score_labels, score_scalar, score_dice, score_boxes;
status scorer_open(scorer *s, metric *m); /* sorts, numbers cases and subjects; scorer_close in every case */
void   scorer_close(scorer *s);

void result_add(metric_result *r, double value, const char *name, const char *sub /* NULL: none */);
int  best_class(const double *p, int K); /* the first of the largest */
/* Dice of one class from pixel counts; NaN if the class is in neither. */
double dice_of(double both, double predicted, double truth);
/* (n_cases,K) Dice of a segmentation's cases, and their HD95: the mean over the images of a case that have one. NaN: none. free() both. */
status dice_cases(const scorer *s, double **dice, double **hd);
enum unit_of metric_unit(const metric *m); /* of HD95: the records' own if there is one they share or one beside pixels */
/* Greedy matching of one image's boxes of one class at an IoU: hit[d] set for each of the D detections in score order. */
void match_boxes(const double *det, const int32_t *order, int D, const double *truth, const int32_t *which, int G, double iou,
                 bool *hit, bool *taken);

#endif
