/* metric_box: average precision as COCO defines it: greedy matching per image and class in score order at IoU 0.50, 0.55 ... 0.95,
 * precision made non-increasing and read at 101 recalls, mean over classes that have boxes, and over thresholds. */
#include "metric_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_IOU = 10, N_RECALL = 101 };

typedef struct scored {
    double score;
    int32_t cls, at_case, serial;
    uint16_t hits;
} scored; /* hits: bit t = matched at threshold t */
typedef struct truth {
    int32_t cls, at_case;
} truth;
typedef struct boxes {
    scored *det; /* by class, then falling score, then order of samples */
    truth *gt;
    int64_t n_det, n_gt;
    int64_t *first;             /* (K+1) first detection of each class */
    double *precision, *recall; /* (n_det) */
} boxes;

static double iou(const double *a, const double *b)
{
    double w = fmin(a[2], b[2]) - fmax(a[0], b[0]), h = fmin(a[3], b[3]) - fmax(a[1], b[1]);
    if (w <= 0 || h <= 0) return 0;
    double both = w * h;
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both);
}

void match_boxes(const double *det, const int32_t *order, int D, const double *gt, const int32_t *which, int G, double limit, bool *hit,
                 bool *taken)
{
    memset(taken, 0, sizeof *taken * (size_t)G);
    for (int d = 0; d < D; d++) {
        double best = limit < 1 - 1e-10 ? limit : 1 - 1e-10;
        int found = -1;
        for (int g = 0; g < G; g++) {
            if (taken[g]) continue;
            double x = iou(det + (int64_t)order[d] * DET, gt + (int64_t)which[g] * TRUE_BOX);
            if (x >= best) best = x, found = g;
        }
        hit[d] = found >= 0;
        if (found >= 0) taken[found] = true;
    }
}

/* One image: its detections, whose hits are set class by class. They are in score order already (task_detect). */
static status add_image(scorer *s, boxes *b, int64_t i)
{
    const metric *m = s->m;
    const double *p = m->data + m->rec[i].at;
    int D = (int)p[0], G = (int)p[1];
    const double *det = p + 2, *gt = det + (int64_t)D * DET;
    int32_t *order, *which;
    bool *hit;
    TRY(mem_alloc(&order, sizeof *order * (size_t)(D + G) + 2 * (size_t)(D + G), "matching"), "task %s", m->task);
    which = order + D;
    hit = (bool *)(which + G);
    for (int g = 0; g < G; g++) b->gt[b->n_gt++] = (truth){(int32_t)gt[(int64_t)g * TRUE_BOX + 4], s->case_of[i]};
    for (int k = 0; k < m->K; k++) {
        int nd = 0, ng = 0;
        for (int d = 0; d < D; d++)
            if ((int)det[(int64_t)d * DET + 5] == k) order[nd++] = d;
        for (int g = 0; g < G; g++)
            if ((int)gt[(int64_t)g * TRUE_BOX + 4] == k) which[ng++] = g;
        int64_t first = b->n_det;
        for (int d = 0; d < nd; d++, b->n_det++)
            b->det[b->n_det] = (scored){det[(int64_t)order[d] * DET + 4], k, s->case_of[i], (int32_t)b->n_det, 0};
        for (int t = 0; t < N_IOU && nd > 0; t++) {
            match_boxes(det, order, nd, gt, which, ng, 0.5 + 0.05 * t, hit, hit + D);
            for (int d = 0; d < nd; d++) b->det[first + d].hits |= (uint16_t)(hit[d] << t);
        }
    }
    free(order);
    return OK;
}

static int by_class_score(const void *pa, const void *pb)
{
    const scored *a = pa, *b = pb;
    if (a->cls != b->cls) return a->cls < b->cls ? -1 : 1;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->serial < b->serial ? -1 : a->serial > b->serial;
}

static status prepare(scorer *s)
{
    const metric *m = s->m;
    boxes *b;
    size_t n_det = 0, n_gt = 0;
    TRY(mem_alloc(&b, sizeof *b, "boxes"), "task %s", m->task);
    s->state = b;
    for (int64_t i = 0; i < m->n; i++) {
        n_det += (size_t)m->data[m->rec[i].at];
        n_gt += (size_t)m->data[m->rec[i].at + 1];
    }
    TRY(mem_alloc(&b->det, sizeof *b->det * n_det, "detections"), "task %s", m->task);
    TRY(mem_alloc(&b->gt, sizeof *b->gt * n_gt, "boxes"), "task %s", m->task);
    TRY(mem_alloc(&b->first, sizeof *b->first * (size_t)(m->K + 1), "boxes"), "task %s", m->task);
    TRY(mem_alloc(&b->precision, sizeof(double) * n_det, "precision"), "task %s", m->task);
    TRY(mem_alloc(&b->recall, sizeof(double) * n_det, "recall"), "task %s", m->task);
    for (int64_t i = 0; i < m->n; i++) TRY(add_image(s, b, i), "task %s", m->task);
    qsort(b->det, (size_t)b->n_det, sizeof *b->det, by_class_score);
    for (int64_t i = 0, k = 0; k <= m->K; k++) {
        while (i < b->n_det && b->det[i].cls < k) i++;
        b->first[k] = i;
    }
    return OK;
}

static void release(scorer *s)
{
    boxes *b = s->state;
    if (!b) return;
    free(b->det);
    free(b->gt);
    free(b->first);
    free(b->precision);
    free(b->recall);
    free(b);
}

/* Average precision of detections [from, to) at threshold t. */
static double average_precision(const boxes *b, int64_t from, int64_t to, int t, double n_gt, const int32_t *times)
{
    double hits = 0, all = 0, sum = 0;
    int64_t n = 0;
    for (int64_t i = from; i < to; i++) {
        int weight = times[b->det[i].at_case];
        if (weight == 0) continue;
        all += weight;
        if (b->det[i].hits >> t & 1) hits += weight;
        b->recall[n] = hits / n_gt;
        b->precision[n++] = hits / all;
    }
    for (int64_t i = n - 2; i >= 0; i--) b->precision[i] = fmax(b->precision[i], b->precision[i + 1]);
    int64_t i = 0;
    for (int q = 0; q < N_RECALL; q++) {
        double wanted = q / 100.0;
        while (i < n && b->recall[i] < wanted) i++;
        if (i == n) break;
        sum += b->precision[i];
    }
    return sum / N_RECALL;
}

static double mean_of(double sum, int n) { return n ? sum / n : (double)NAN; }

static void score(const scorer *s, const int32_t *times, metric_result *r)
{
    const metric *m = s->m;
    const boxes *b = s->state;
    double sum50 = 0, sum = 0, each[2][METRIC_MAX];
    int n = 0;
    for (int k = 0; k < m->K; k++) {
        double n_gt = 0, over = 0, at50 = NAN;
        for (int64_t g = 0; g < b->n_gt; g++) n_gt += b->gt[g].cls == k ? times[b->gt[g].at_case] : 0;
        for (int t = 0; t < N_IOU && n_gt > 0; t++) {
            double ap = average_precision(b, b->first[k], b->first[k + 1], t, n_gt, times);
            if (t == 0) at50 = ap;
            over += ap / N_IOU;
        }
        if (k < METRIC_MAX) each[0][k] = at50, each[1][k] = n_gt > 0 ? over : (double)NAN;
        if (n_gt > 0) sum50 += at50, sum += over, n++;
    }
    r->score = mean_of(sum50, n);
    result_add(r, r->score, "ap50", NULL);
    result_add(r, mean_of(sum, n), "ap", NULL);
    for (int k = 0; k < m->K && k < METRIC_MAX; k++) result_add(r, each[0][k], "ap50", m->class_name[k]);
    for (int k = 0; k < m->K && k < METRIC_MAX; k++) result_add(r, each[1][k], "ap", m->class_name[k]);
}

const scorer_ops score_boxes = {"ap50", prepare, score, release};
