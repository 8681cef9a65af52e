/* metric_internal: what a metric collects (records) and how a kind of label is scored (scorer). */
#ifndef MEDLEY_METRIC_INTERNAL_H
#define MEDLEY_METRIC_INTERNAL_H

#include "task_internal.h"

/* One sample: its payload is data[at, at + n), laid out by kind:
 *   classification  label, K probabilities
 *   multilabel      K labels (negative: missing), K probabilities
 *   regression      label, prediction
 *   segmentation    class, both, predicted, true pixels; for each class that occurs in prediction or truth
 *   detection       D, G, D x (x0 y0 x1 y1 score class), G x (x0 y0 x1 y1 class), in pixels of the stored image */
typedef struct record { int64_t sample; uint64_t case_id; int64_t at, n; } record;
enum { DET = 6, TRUE_BOX = 5 };

struct metric {
    char   task[64];
    enum task_kind kind;
    int    K, max_boxes;
    char (*class_name)[64]; /* (K), owned */
    double lo, hi;
    record *rec;
    double *data;
    int64_t n, cap, n_data, cap_data;
    uint8_t *mask;          /* segmentation: room for one predicted mask */
    size_t  mask_bytes;
    detection *found;       /* detection: (max_boxes) */
};

/* Room for one more record; *payload (n) is to be filled. */
status metric_new_record(metric *m, int64_t sample, uint64_t case_id, int64_t n, double **payload);
/* By sample; the second of two records of one sample goes: ranks may have padded with the same one. */
void metric_sort(metric *m);

/* Prepared once, scored for the data as they are and for every bootstrap draw. */
typedef struct scorer {
    const metric *m;
    int32_t *case_of;       /* (n) case number of each record, 0..n_cases-1 */
    int64_t  n_cases;
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

void result_add(metric_result *r, double value, const char *name, const char *sub /* NULL: none */);
/* Dice of one class from pixel counts; NaN if the class is in neither. */
double dice_of(double both, double predicted, double truth);
/* Greedy matching of one image's boxes of one class at an IoU: hit[d] set for each of the D detections in score order. */
void match_boxes(const double *det, const int32_t *order, int D, const double *truth, const int32_t *which, int G, double iou,
                 bool *hit, bool *taken);

#endif
