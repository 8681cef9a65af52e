/* probe_head: heads on fixed vectors: fitted to some of the training samples, the strength of the penalty chosen on the validation split,
 * scored on the test split by the metric that validation and evaluation use. */
#include "probe.h"
#include "solve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const double head_strengths[HEAD_STRENGTHS] = {1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100}; /* rising: each fit starts from the one before */

static const solve_limits until = {1e-6, 1000};

typedef struct head {
    const head_ask *ask;
    rows     learn;                /* the samples learnt from */
    double  *mean, *inv;           /* (D) */
    double  *X;                    /* (n,D) standardised */
    int32_t *y;                    /* (n) */
    double  *target;               /* (n) regression */
    int      n_classes, *class_of; /* classification: classes that occur, (n_classes) */
    int      n_heads;              /* multilabel: K, else 1 */
    int64_t  width;                /* numbers of a head */
    double  *W, *best;             /* (n_heads, width); regression: W (strengths, width) */
    double  *row, *z;              /* (D), (K) */
    float   *out;                  /* (K) */
    int      n_strengths;
    double   strength[HEAD_STRENGTHS];
} head;

/* ---- scores ------------------------------------------------------------------------------------------------------------------------ */

static task task_of(const roll *r)
{
    task t = {.spec = {.kind = r->kind, .K = r->K, .class_name = r->class_name, .lo = r->lo, .hi = r->hi, .max_boxes = 1}};
    snprintf(t.spec.name, sizeof t.spec.name, "%.63s", r->label_name);
    return t;
}

/* One sample's label and outputs into the metric. vec: scratch (K). */
static status add(metric *m, const roll *r, int64_t i, const float *out, float *vec)
{
    image_label y = {.cls = r->cls ? r->cls[i] : IGNORE_CLASS, .vec = vec, .scalar = r->scalar ? r->scalar[i] : NAN};
    for (int k = 0; r->kind == TASK_MULTILABEL && k < r->K; k++) vec[k] = r->vec[i * r->K + k] == 255 ? -1.0f : (float)r->vec[i * r->K + k];
    return metric_add_output(m, r->index[i], r->case_id[i], out, &y);
}

/* out (K): what the head of a network would have given. Classes that were not among the samples have no chance. */
static void outputs(const head *h, const double *W, int64_t i)
{
    const roll *r = h->ask->r;
    scale_row(h->ask->x + i * h->ask->D, h->ask->D, h->mean, h->inv, h->row);
    if (r->kind == TASK_REGRESSION) {
        double range = r->hi > r->lo ? r->hi - r->lo : 1;
        h->out[0] = (float)((linear_value(W, h->ask->D, h->row) - 0.5 * (r->lo + r->hi)) / range); /* task_scalar's inverse */
    } else if (r->kind == TASK_MULTILABEL) {
        for (int k = 0; k < r->K; k++) h->out[k] = (float)linear_value(W + k * h->width, h->ask->D, h->row);
    } else {
        for (int k = 0; k < r->K; k++) h->out[k] = -INFINITY;
        if (h->n_classes == 1) h->z[0] = 0;
        else logistic_scores(W, h->ask->D, h->n_classes, h->row, h->z);
        for (int k = 0; k < h->n_classes; k++) h->out[h->class_of[k]] = (float)h->z[k];
    }
}

static status score(const head *h, const double *W, enum split s, metric_result *out)
{
    const roll *r = h->ask->r;
    task t = task_of(r);
    metric *m = NULL;
    float *vec = NULL;
    status st;
    TRY(mem_alloc(&vec, sizeof *vec * (size_t)r->K, "labels"), "head");
    TRY_TO(done, metric_init(&m, &t), "head");
    for (int64_t i = 0; i < r->n; i++) {
        if (r->split[i] != s) continue;
        outputs(h, W, i);
        TRY_TO(done, add(m, r, i, h->out, vec), "head");
    }
    st = metric_finish(m, 0, 0, out);
done:
    metric_free(m);
    free(vec);
    return st;
}

/* ---- fits ---------------------------------------------------------------------------------------------------------------------------- */

static status list_classes(head *h)
{
    const roll *r = h->ask->r;
    int *number;
    TRY(mem_alloc(&number, sizeof *number * (size_t)r->K, "classes"), "head");
    for (int64_t i = 0; i < h->learn.n; i++)
        if (r->cls[h->learn.at[i]] >= 0) number[r->cls[h->learn.at[i]]] = 1;
    for (int k = 0; k < r->K; k++)
        if (number[k]) h->class_of[h->n_classes] = k, number[k] = h->n_classes++;
    for (int64_t i = 0; i < h->learn.n; i++) {
        int32_t cls = r->cls[h->learn.at[i]];
        h->y[i] = cls >= 0 ? number[cls] : -1;
    }
    free(number);
    return OK;
}

static status open_head(head *h)
{
    const head_ask *a = h->ask;
    const roll *r = a->r;
    size_t n = (size_t)a->n, D = (size_t)a->D;
    h->learn = (rows){a->x, a->D, a->rows, a->n};
    TRY(mem_alloc(&h->mean, sizeof *h->mean * D, "means"), "head");
    TRY(mem_alloc(&h->inv, sizeof *h->inv * D, "scales"), "head");
    TRY(mem_alloc(&h->X, sizeof *h->X * n * D, "standardised vectors"), "head");
    TRY(mem_alloc(&h->y, sizeof *h->y * n, "labels"), "head");
    TRY(mem_alloc(&h->target, sizeof *h->target * n, "labels"), "head");
    TRY(mem_alloc(&h->class_of, sizeof *h->class_of * (size_t)r->K, "classes"), "head");
    TRY(mem_alloc(&h->row, sizeof *h->row * D, "vector"), "head");
    TRY(mem_alloc(&h->z, sizeof *h->z * (size_t)(r->K + 1), "outputs"), "head");
    TRY(mem_alloc(&h->out, sizeof *h->out * (size_t)r->K, "outputs"), "head");
    scale_fit(&h->learn, h->mean, h->inv);
    for (int64_t i = 0; i < a->n; i++) scale_row(a->x + a->rows[i] * a->D, a->D, h->mean, h->inv, h->X + i * a->D);
    h->n_heads = r->kind == TASK_MULTILABEL ? r->K : 1;
    h->width = a->D + 1;
    if (r->kind == TASK_CLASSIFICATION) {
        TRY(list_classes(h), "head");
        h->width *= logistic_outputs(h->n_classes);
    }
    bool chosen = a->strength <= 0 && r->n_split[SPLIT_VAL] > 0; /* without a validation split: C = 1 */
    h->n_strengths = chosen ? HEAD_STRENGTHS : 1;
    for (int k = 0; k < h->n_strengths; k++) h->strength[k] = chosen ? head_strengths[k] : a->strength > 0 ? a->strength : 1;
    int n_rows = r->kind == TASK_REGRESSION ? h->n_strengths : h->n_heads;
    TRY(mem_alloc(&h->W, sizeof *h->W * (size_t)(n_rows * h->width), "linear head"), "head");
    return mem_alloc(&h->best, sizeof *h->best * (size_t)(h->n_heads * h->width), "linear head");
}

static void close_head(head *h)
{
    free(h->mean), free(h->inv), free(h->X), free(h->y), free(h->target), free(h->class_of), free(h->W), free(h->best), free(h->row), free(h->z);
    free(h->out);
}

/* Label k: its log odds, from those samples that have it; one that never varies gives its share of them to all. */
static status fit_label(head *h, int k, double C)
{
    const roll *r = h->ask->r;
    double count[2] = {0, 0}, *W = h->W + k * h->width;
    for (int64_t i = 0; i < h->learn.n; i++) {
        uint8_t v = r->vec[h->learn.at[i] * r->K + k];
        h->y[i] = v == 255 ? -1 : v;
        if (v != 255) count[v != 0]++;
    }
    if (count[0] > 0 && count[1] > 0) return logistic_fit(h->X, h->learn.n, h->ask->D, h->y, 2, C, &until, W, NULL);
    W[h->ask->D] = log((count[1] + 0.5) / (count[0] + 0.5));
    return OK;
}

/* With strength number s: *W (n_heads, width) is the head. */
static status fit(head *h, int s, const double **W)
{
    const roll *r = h->ask->r;
    *W = h->W;
    if (r->kind == TASK_CLASSIFICATION)
        return h->n_classes < 2 ? OK : logistic_fit(h->X, h->learn.n, h->ask->D, h->y, h->n_classes, h->strength[s], &until, h->W, NULL);
    if (r->kind == TASK_MULTILABEL) {
        for (int k = 0; k < r->K; k++) TRY(fit_label(h, k, h->strength[s]), "label %s", r->class_name[k]);
        return OK;
    }
    *W = h->W + s * h->width;
    if (s > 0) return OK; /* all at once */
    double alpha[HEAD_STRENGTHS];
    for (int k = 0; k < h->n_strengths; k++) alpha[k] = 1 / h->strength[k];
    for (int64_t i = 0; i < h->learn.n; i++) {
        h->target[i] = r->scalar[h->learn.at[i]];
        CHECK(isfinite(h->target[i]), ST_DATA, "sample %lld: its label is not finite", (long long)r->index[h->learn.at[i]]);
    }
    return ridge_fit(h->X, h->learn.n, h->ask->D, h->target, alpha, h->n_strengths, h->W);
}

/* The best on the validation split; of equal ones the strongest penalty. */
static status choose(head *h, double *strength)
{
    double best = -INFINITY;
    metric_result r;
    for (int s = 0; s < h->n_strengths; s++) {
        const double *W;
        TRY(fit(h, s, &W), "C = %g", h->strength[s]);
        if (h->n_strengths > 1) {
            TRY(score(h, W, SPLIT_VAL, &r), "head");
            if (s > 0 && !(r.score > best)) continue;
            best = isfinite(r.score) ? r.score : -INFINITY;
        }
        memcpy(h->best, W, sizeof *W * (size_t)(h->n_heads * h->width));
        *strength = h->strength[s];
    }
    return OK;
}

status head_linear(const head_ask *ask, metric_result *out, double *strength)
{
    head h = {.ask = ask};
    status st = open_head(&h);
    if (!st) st = choose(&h, strength);
    if (!st) st = score(&h, h.best, SPLIT_TEST, out);
    close_head(&h);
    return st;
}

/* ---- neighbours ------------------------------------------------------------------------------------------------------------------------- */

int head_k(int most, int64_t n)
{
    int root = (int)sqrt((double)n);
    return root < 1 ? 1 : root < most ? root : most;
}

status head_neighbours(const head_ask *ask, metric_result *out)
{
    const roll *r = ask->r;
    task t = task_of(r);
    metric *m = NULL;
    int32_t *y = NULL;
    int64_t *test = NULL, n = 0;
    double *p = NULL;
    status st;
    int k = head_k(ask->neighbours, ask->n);
    TRY_TO(done, mem_alloc(&y, sizeof *y * (size_t)ask->n, "labels"), "neighbours");
    TRY_TO(done, mem_alloc(&test, sizeof *test * (size_t)r->n, "samples"), "neighbours");
    for (int64_t i = 0; i < ask->n; i++) y[i] = r->cls[ask->rows[i]];
    for (int64_t i = 0; i < r->n; i++)
        if (r->split[i] == SPLIT_TEST) test[n++] = i;
    TRY_TO(done, mem_alloc(&p, sizeof *p * (size_t)(n * r->K), "shares"), "neighbours");
    TRY_TO(done, neighbours(&(rows){ask->x, ask->D, ask->rows, ask->n}, y, &(rows){ask->x, ask->D, test, n}, r->K, k, p), "neighbours");
    TRY_TO(done, metric_init(&m, &t), "neighbours");
    for (int64_t i = 0; i < n; i++)
        TRY_TO(done, metric_add_shares(m, r->index[test[i]], r->case_id[test[i]], p + i * r->K, r->cls[test[i]]), "neighbours");
    st = metric_finish(m, 0, 0, out);
done:
    metric_free(m);
    free(y), free(test), free(p);
    return st;
}
