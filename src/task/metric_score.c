/* metric_score: the values of a metric, their bootstrap intervals over cases, and one CSV line per sample. */
#include "metric_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const scorer_ops *const scorers[N_TASK_KINDS] = {
    [TASK_CLASSIFICATION] = &score_class, [TASK_MULTILABEL] = &score_labels, [TASK_REGRESSION] = &score_scalar,
    [TASK_SEGMENTATION] = &score_dice,    [TASK_DETECTION] = &score_boxes,
};

void result_add(metric_result *r, double value, const char *name, const char *sub)
{
    if (r->n == METRIC_MAX) return; /* more classes than places: the means come first and still cover all */
    metric_value *v = &r->value[r->n++];
    *v = (metric_value){.value = value, .lo = NAN, .hi = NAN};
    if (sub)
        snprintf(v->name, sizeof v->name, "%s/%.50s", name, sub);
    else
        snprintf(v->name, sizeof v->name, "%s", name);
}

static int by_id(const void *pa, const void *pb)
{
    uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;
    return a < b ? -1 : a > b;
}

/* Numbers the cases 0.. in the order of their ids. */
static status number_cases(scorer *s)
{
    const metric *m = s->m;
    uint64_t *id = NULL;
    TRY(mem_alloc(&s->case_of, sizeof *s->case_of * (size_t)m->n, "case numbers"), "task %s", m->task);
    TRY(mem_alloc(&id, sizeof *id * (size_t)m->n, "case ids"), "task %s", m->task);
    for (int64_t i = 0; i < m->n; i++) id[i] = m->rec[i].case_id;
    if (m->n) qsort(id, (size_t)m->n, sizeof *id, by_id);
    for (int64_t i = 0; i < m->n; i++)
        if (s->n_cases == 0 || id[i] != id[s->n_cases - 1]) id[s->n_cases++] = id[i];
    for (int64_t i = 0; i < m->n; i++) {
        const uint64_t *at = bsearch(&m->rec[i].case_id, id, (size_t)s->n_cases, sizeof *id, by_id);
        s->case_of[i] = (int32_t)(at - id);
    }
    free(id);
    return OK;
}

static int rising(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;
    return a < b ? -1 : a > b;
}

/* Percentile of sorted values, linear between neighbours. */
static double percentile(const double *v, int n, double q)
{
    double at = q * (n - 1);
    int i = (int)at;
    return i + 1 < n ? v[i] + (at - i) * (v[i + 1] - v[i]) : v[n - 1];
}

static void intervals(metric_result *out, double *draw, int n_boot)
{
    for (int k = 0; k < out->n; k++) {
        double *v = draw + (int64_t)k * n_boot;
        int n = 0;
        for (int i = 0; i < n_boot; i++)
            if (!isnan(v[i])) v[n++] = v[i]; /* a draw without a class has no value */
        if (n == 0) continue;
        qsort(v, (size_t)n, sizeof *v, rising);
        out->value[k].lo = percentile(v, n, 0.025);
        out->value[k].hi = percentile(v, n, 0.975);
    }
}

static status bootstrap(const scorer *s, const scorer_ops *ops, int n_boot, uint64_t seed, metric_result *out)
{
    metric_result *r = NULL;
    int32_t *times = NULL;
    double *draw = NULL;
    status st = OK;
    TRY_TO(done, mem_alloc(&r, sizeof *r, "bootstrap"), "task %s", s->m->task);
    TRY_TO(done, mem_alloc(&times, sizeof *times * (size_t)s->n_cases, "bootstrap"), "task %s", s->m->task);
    TRY_TO(done, mem_alloc(&draw, sizeof *draw * (size_t)out->n * (size_t)n_boot, "bootstrap"), "task %s", s->m->task);
    for (int i = 0; i < n_boot; i++) {
        progress_beat(); /* the other ranks wait for this one */
        rng random = rng_open((rng_key){.seed = seed, .a = (uint32_t)i}, RNG_BOOTSTRAP, 0);
        memset(times, 0, sizeof *times * (size_t)s->n_cases);
        for (int64_t c = 0; c < s->n_cases; c++) times[rng_below(&random, (uint32_t)s->n_cases)]++;
        r->n = 0;
        ops->score(s, times, r);
        for (int k = 0; k < out->n; k++) draw[(int64_t)k * n_boot + i] = r->value[k].value;
    }
    intervals(out, draw, n_boot);
done:
    free(r);
    free(times);
    free(draw);
    return st;
}

status metric_finish(metric *m, int n_boot, uint64_t seed, metric_result *out)
{
    const scorer_ops *ops = scorers[m->kind];
    scorer s = {.m = m};
    int32_t *once = NULL;
    status st = OK;
    metric_sort(m);
    *out = (metric_result){.n_samples = m->n, .score = NAN};
    snprintf(out->score_name, sizeof out->score_name, "%s", ops->score_name);
    TRY_TO(done, number_cases(&s), "metric");
    out->n_cases = s.n_cases;
    TRY_TO(done, ops->prepare(&s), "metric");
    TRY_TO(done, mem_alloc(&once, sizeof *once * (size_t)s.n_cases, "metric"), "task %s", m->task);
    for (int64_t c = 0; c < s.n_cases; c++) once[c] = 1;
    ops->score(&s, once, out);
    if (n_boot > 0 && s.n_cases > 0) TRY_TO(done, bootstrap(&s, ops, n_boot, seed, out), "metric");
done:
    ops->release(&s);
    free(s.case_of);
    free(once);
    return st;
}

/* ---- one line per sample ------------------------------------------------------------------------------------------------------- */

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

static void put_header(text *t, const metric *m)
{
    put(t, "sample,case");
    if (m->kind == TASK_CLASSIFICATION || m->kind == TASK_REGRESSION) put(t, ",label,prediction");
    if (m->kind == TASK_DETECTION) put(t, ",boxes,found,matched_50");
    for (int k = 0; m->kind == TASK_MULTILABEL && k < m->K; k++) put_name(t, "label_", m->class_name[k]);
    for (int k = 0; (m->kind == TASK_MULTILABEL || m->kind == TASK_CLASSIFICATION) && k < m->K; k++)
        put_name(t, "p_", m->class_name[k]);
    for (int k = 1; m->kind == TASK_SEGMENTATION && k < m->K; k++) put_name(t, "dice_", m->class_name[k]);
}

static void put_class(text *t, const metric *m, const double *p)
{
    int best = 0;
    for (int k = 1; k < m->K; k++)
        if (p[1 + k] > p[1 + best]) best = k;
    put_name(t, "", m->class_name[(int)p[0]]);
    put_name(t, "", m->class_name[best]);
    for (int k = 0; k < m->K; k++) put_number(t, p[1 + k]);
}

static void put_dice(text *t, const metric *m, const record *r, const double *p)
{
    for (int k = 1; k < m->K; k++) {
        double d = NAN;
        for (int64_t j = 0; j + 4 <= r->n; j += 4)
            if ((int)p[j] == k) d = dice_of(p[j + 1], p[j + 2], p[j + 3]);
        put_number(t, d);
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

status metric_each(metric *m, void (*line)(void *arg, const char *csv), void *arg)
{
    text t = {0};
    status st = OK;
    metric_sort(m);
    put_header(&t, m);
    if (!t.failed) line(arg, t.s);
    for (int64_t i = 0; i < m->n && !t.failed; i++) {
        const record *r = &m->rec[i];
        const double *p = m->data + r->at;
        t.n = 0;
        put(&t, "%lld,%016llx", (long long)r->sample, (unsigned long long)r->case_id);
        if (m->kind == TASK_CLASSIFICATION) put_class(&t, m, p);
        if (m->kind == TASK_REGRESSION || m->kind == TASK_MULTILABEL)
            for (int64_t k = 0; k < r->n; k++) put_number(&t, m->kind == TASK_MULTILABEL && p[k] < 0 ? (double)NAN : p[k]);
        if (m->kind == TASK_SEGMENTATION) put_dice(&t, m, r, p);
        if (m->kind == TASK_DETECTION) TRY_TO(done, put_boxes(&t, m, p), "per-sample lines");
        if (!t.failed) line(arg, t.s);
    }
    CHECK_TO(done, !t.failed, ST_RESOURCE, "out of memory for the per-sample lines of task %s", m->task);
done:
    free(t.s);
    return st;
}
