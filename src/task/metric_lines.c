/* metric_lines: what a metric collected as lines of CSV: one per sample, one per case, and the confusion matrix. */
#include "metric_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef struct text {
    char *s;
    size_t n, cap;
    bool failed;
} text;

static void put(text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void put(text *t, const char *fmt, ...)
{
    for (int pass = 0; pass < 2 && !t->failed; pass++) {
        va_list args;
        va_start(args, fmt);
        size_t room = t->cap - t->n;
        int n = vsnprintf(t->s ? t->s + t->n : NULL, t->s ? room : 0, fmt, args);
        va_end(args);
        if (n < 0)
            t->failed = true;
        else if (t->s && (size_t)n < room) {
            t->n += (size_t)n;
            return;
        } else {
            size_t cap = 2 * t->cap + (size_t)n + 256;
            if (mem_grow(&t->s, cap, "table of samples"))
                t->failed = true;
            else
                t->cap = cap;
        }
    }
}

/* ,PREFIX NAME as one CSV field: quoted if it holds a comma, quote or line end. */
static void put_name(text *t, const char *prefix, const char *name)
{
    bool quote = strpbrk(name, ",\"\r\n") != NULL;
    put(t, quote ? ",\"%s" : ",%s", prefix);
    for (const char *c = name; *c; c++) put(t, quote && *c == '"' ? "\"%c" : "%c", *c);
    if (quote) put(t, "\"");
}

static void put_number(text *t, double x)
{
    if (isnan(x))
        put(t, ",");
    else
        put(t, ",%.6g", x);
}

/* The columns all tables of samples begin with. */
static void put_note(text *t, const metric *m, const record *r)
{
    char number[24];
    snprintf(number, sizeof number, "%016llx", (unsigned long long)r->case_id);
    put_name(t, "", metric_text(m, r, NOTE_ID));
    put_name(t, "", r->text < 0 ? number : metric_text(m, r, NOTE_CASE));
    put_name(t, "", metric_text(m, r, NOTE_SUBJECT));
    put_name(t, "", metric_text(m, r, NOTE_CENTRE));
}

static void put_classes(text *t, const metric *m, int first, const char *prefix)
{
    for (int k = first; k < m->K; k++) put_name(t, prefix, m->class_name[k]);
}

static void put_masks_header(text *t, const metric *m)
{
    char prefix[16];
    snprintf(prefix, sizeof prefix, "hd95_%s_", unit_name[metric_unit(m)]);
    put_classes(t, m, 1, "dice_");
    if (m->full) put_classes(t, m, 1, prefix);
}

static void put_header(text *t, const metric *m)
{
    put(t, "sample,id,case,subject,centre");
    if (m->kind == TASK_CLASSIFICATION || m->kind == TASK_REGRESSION) put(t, ",label,prediction");
    if (m->kind == TASK_DETECTION) put(t, ",boxes,found,matched_50");
    if (m->kind == TASK_MULTILABEL) put_classes(t, m, 0, "label_");
    if (m->kind == TASK_MULTILABEL || m->kind == TASK_CLASSIFICATION) put_classes(t, m, 0, "p_");
    if (m->kind == TASK_SEGMENTATION) put_masks_header(t, m);
}

static void put_class(text *t, const metric *m, const double *p)
{
    put_name(t, "", m->class_name[(int)p[0]]);
    put_name(t, "", m->class_name[best_class(p + 1, m->K)]);
    for (int k = 0; k < m->K; k++) put_number(t, p[1 + k]);
}

static void put_masks(text *t, const metric *m, const record *r, const double *p, enum unit_of measure)
{
    int stride = metric_counts(m);
    for (int what = 0; what < (m->full ? 2 : 1); what++)
        for (int k = 1; k < m->K; k++) {
            double v = NAN;
            for (int64_t j = 0; j + stride <= r->n; j += stride) {
                if ((int)p[j] != k) continue;
                if (what == 0) v = dice_of(p[j + 1], p[j + 2], p[j + 3]);
                else if (r->unit == (int64_t)measure) v = p[j + COUNTS];
            }
            put_number(t, v);
        }
}

static status put_boxes(text *t, const metric *m, const double *p)
{
    int D = (int)p[0], G = (int)p[1], matched = 0;
    const double *det = p + 2, *gt = det + (int64_t)D * DET;
    int32_t *order;
    TRY(mem_alloc(&order, sizeof *order * (size_t)(D + G) + 2 * (size_t)(D + G), "matching"), "task %s", m->task);
    bool *hit = (bool *)(order + D + G);
    for (int k = 0; k < m->K; k++) {
        int nd = 0, ng = 0;
        for (int d = 0; d < D; d++)
            if ((int)det[(int64_t)d * DET + 5] == k) order[nd++] = d;
        for (int g = 0; g < G; g++)
            if ((int)gt[(int64_t)g * TRUE_BOX + 4] == k) order[D + ng++] = g;
        match_boxes(det, order, nd, gt, order + D, ng, 0.5, hit, hit + D);
        for (int d = 0; d < nd; d++) matched += hit[d];
    }
    free(order);
    put(t, ",%d,%d,%d", G, D, matched);
    return OK;
}

static status end_lines(text *t, const metric *m, status st)
{
    bool failed = t->failed;
    free(t->s);
    CHECK(st || !failed, ST_RESOURCE, "out of memory for the tables of task %s", m->task);
    return st;
}

status metric_each(metric *m, metric_line *line, void *arg)
{
    text t = {0};
    status st = OK;
    enum unit_of measure = metric_unit(m);
    metric_sort(m);
    put_header(&t, m);
    if (!t.failed) line(arg, t.s);
    for (int64_t i = 0; i < m->n && !t.failed && !st; i++) {
        const record *r = &m->rec[i];
        const double *p = m->data + r->at;
        t.n = 0;
        put(&t, "%lld", (long long)r->sample);
        put_note(&t, m, r);
        if (m->kind == TASK_CLASSIFICATION) put_class(&t, m, p);
        if (m->kind == TASK_REGRESSION || m->kind == TASK_MULTILABEL)
            for (int64_t k = 0; k < r->n; k++) put_number(&t, m->kind == TASK_MULTILABEL && p[k] < 0 ? (double)NAN : p[k]);
        if (m->kind == TASK_SEGMENTATION) put_masks(&t, m, r, p, measure);
        if (m->kind == TASK_DETECTION) st = put_boxes(&t, m, p);
        if (!t.failed && !st) line(arg, t.s);
    }
    return end_lines(&t, m, st);
}

/* ---- one line per case -------------------------------------------------------------------------------------------------------------- */

typedef struct turn { int64_t first; int32_t number; } turn;

static int by_first(const void *pa, const void *pb)
{
    const turn *a = pa, *b = pb;
    return a->first < b->first ? -1 : a->first > b->first;
}

static status case_lines(const scorer *s, text *t, metric_line *line, void *arg)
{
    const metric *m = s->m;
    double *value[2] = {NULL, NULL};
    int64_t *images = NULL;
    turn *order = NULL;
    status st;
    TRY_TO(done, dice_cases(s, &value[0], &value[1]), "task %s", m->task);
    TRY_TO(done, mem_alloc(&images, sizeof *images * (size_t)s->n_cases, "cases"), "task %s", m->task);
    TRY_TO(done, mem_alloc(&order, sizeof *order * (size_t)s->n_cases, "cases"), "task %s", m->task);
    for (int64_t i = 0; i < m->n; i++) images[s->case_of[i]]++;
    for (int32_t c = 0; c < s->n_cases; c++) order[c] = (turn){s->first[c], c};
    if (s->n_cases) qsort(order, (size_t)s->n_cases, sizeof *order, by_first);
    for (int64_t i = 0; i < s->n_cases && !t->failed; i++) {
        const record *r = &m->rec[order[i].first];
        t->n = 0;
        put(t, "%lld", (long long)images[order[i].number]);
        put_note(t, m, r);
        for (int what = 0; what < (m->full ? 2 : 1); what++)
            for (int k = 1; k < m->K; k++) put_number(t, value[what][(int64_t)order[i].number * m->K + k]);
        if (!t->failed) line(arg, t->s);
    }
done:
    free(value[0]), free(value[1]), free(images), free(order);
    return st;
}

status metric_each_case(metric *m, metric_line *line, void *arg)
{
    text t = {0};
    scorer s;
    if (m->kind != TASK_SEGMENTATION) return OK;
    status st = scorer_open(&s, m);
    put(&t, "images,first_id,case,subject,centre");
    put_masks_header(&t, m);
    if (!t.failed && !st) line(arg, t.s);
    if (!t.failed && !st) st = case_lines(&s, &t, line, arg);
    scorer_close(&s);
    return end_lines(&t, m, st);
}

/* ---- the confusion matrix ------------------------------------------------------------------------------------------------------------- */

/* (K,K) true x predicted; of a label vector (K,4): true and false positives, false and true negatives at 0.5. */
static status count_all(const metric *m, int64_t **out)
{
    int K = m->K;
    int64_t *n;
    TRY(mem_alloc(out, sizeof **out * (size_t)K * (size_t)(K > 4 ? K : 4), "confusion matrix"), "task %s", m->task);
    n = *out;
    if (m->pixels) memcpy(n, m->pixels, sizeof *n * (size_t)K * (size_t)K);
    for (int64_t i = 0; i < m->n; i++) {
        const double *p = m->data + m->rec[i].at;
        if (m->kind == TASK_CLASSIFICATION) n[(int64_t)p[0] * K + best_class(p + 1, K)]++;
        for (int k = 0; m->kind == TASK_MULTILABEL && k < K; k++) {
            bool yes = p[K + k] > 0.5;
            if (p[k] >= 0) n[4 * k + (p[k] > 0.5 ? (yes ? 0 : 2) : (yes ? 1 : 3))]++;
        }
    }
    return OK;
}

status metric_confusion(metric *m, metric_line *line, void *arg)
{
    text t = {0};
    int64_t *n;
    bool square = m->kind == TASK_CLASSIFICATION || (m->kind == TASK_SEGMENTATION && m->pixels);
    if (!square && m->kind != TASK_MULTILABEL) return OK;
    metric_sort(m);
    TRY(count_all(m, &n), "confusion matrix");
    int cols = square ? m->K : 4;
    put(&t, m->pixels ? "true_pixels" : square ? "true" : "label,true_positive,false_positive,false_negative,true_negative");
    if (square) put_classes(&t, m, 0, "");
    if (!t.failed) line(arg, t.s);
    for (int k = 0; k < m->K && !t.failed; k++) {
        t.n = 0;
        put_name(&t, "", m->class_name[k]);
        for (int c = 0; c < cols; c++) put(&t, ",%lld", (long long)n[(int64_t)k * cols + c]);
        if (!t.failed) line(arg, t.s + 1); /* put_name begins with a comma */
    }
    free(n);
    return end_lines(&t, m, OK);
}
