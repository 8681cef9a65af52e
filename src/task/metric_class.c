/* metric_class: scores of class, label-vector and scalar tasks. AUROC by ranks, ties counted half; average precision as the sum of precision
 * times the rise of recall over falling scores, equal ones together (scikit-learn's average_precision_score). */
#include "metric_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct ranks {
    int32_t *order; /* (K,n) records by falling probability of each class */
    double *value;  /* (K,n) */
    int32_t *guess; /* (n) likeliest class of each record; NULL for label vectors */
    double *count;  /* (5,K) room for true, guessed, both; auroc, average precision */
} ranks;

typedef struct keyed {
    double value;
    int32_t at;
} keyed;

static int falling(const void *pa, const void *pb)
{
    const keyed *a = pa, *b = pb;
    if (a->value != b->value) return a->value > b->value ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* first: where the K probabilities start in a payload. */
static status rank_all(scorer *s, int first)
{
    const metric *m = s->m;
    ranks *k = NULL;
    keyed *list = NULL;
    status st = OK;
    TRY(mem_alloc(&k, sizeof *k, "ranks"), "task %s", m->task);
    s->state = k;
    TRY(mem_alloc(&k->order, sizeof *k->order * (size_t)(m->K * m->n), "ranks"), "task %s", m->task);
    TRY(mem_alloc(&k->value, sizeof *k->value * (size_t)(m->K * m->n), "ranks"), "task %s", m->task);
    TRY(mem_alloc(&k->count, sizeof *k->count * 5 * (size_t)m->K, "counts"), "task %s", m->task);
    TRY(mem_alloc(&list, sizeof *list * (size_t)m->n, "ranks"), "task %s", m->task);
    for (int c = 0; c < m->K; c++) {
        for (int64_t i = 0; i < m->n; i++) list[i] = (keyed){m->data[m->rec[i].at + first + c], (int32_t)i};
        qsort(list, (size_t)m->n, sizeof *list, falling);
        for (int64_t i = 0; i < m->n; i++) k->order[c * m->n + i] = list[i].at, k->value[c * m->n + i] = list[i].value;
    }
    free(list);
    return st;
}

static status prepare_class(scorer *s)
{
    const metric *m = s->m;
    TRY(rank_all(s, 1), "task %s", m->task);
    ranks *k = s->state;
    TRY(mem_alloc(&k->guess, sizeof *k->guess * (size_t)m->n, "guesses"), "task %s", m->task);
    for (int64_t i = 0; i < m->n; i++) k->guess[i] = best_class(m->data + m->rec[i].at + 1, m->K);
    return OK;
}
static status prepare_labels(scorer *s) { return rank_all(s, s->m->K); }

static void release_ranks(scorer *s)
{
    ranks *k = s->state;
    if (!k) return;
    free(k->order);
    free(k->value);
    free(k->guess);
    free(k->count);
    free(k);
}

static const double *payload(const scorer *s, int64_t i) { return s->m->data + s->m->rec[i].at; }

/* 1, 0 or -1 (no label) of class c for record i. */
static int truth_of(const scorer *s, int64_t i, int c)
{
    const double *p = payload(s, i);
    if (s->m->kind == TASK_CLASSIFICATION) return p[0] == c;
    return p[c] < 0 ? -1 : p[c] > 0.5;
}

enum { ROC = 3, PRECISION = 4 }; /* rows of ranks.count */

/* Of class c. ROC: probability that a positive ranks above a negative, a tie counting half. NaN without positives, ROC also without negatives. */
static void find_areas(const scorer *s, int c, const int32_t *times)
{
    const ranks *k = s->state;
    int64_t n = s->m->n;
    const int32_t *order = k->order + c * n;
    const double *value = k->value + c * n;
    double pos = 0, neg = 0, wins = 0, precision = 0;
    for (int64_t i = 0; i < n;) {
        double tie_pos = 0, tie_neg = 0, at = value[i];
        for (; i < n && value[i] == at; i++) {
            int truth = truth_of(s, order[i], c), weight = times[s->case_of[order[i]]];
            if (truth == 1) tie_pos += weight;
            if (truth == 0) tie_neg += weight;
        }
        wins += tie_neg * (pos + 0.5 * tie_pos);
        pos += tie_pos;
        neg += tie_neg;
        if (tie_pos > 0) precision += tie_pos * (pos / (pos + neg));
    }
    k->count[ROC * s->m->K + c] = pos > 0 && neg > 0 ? wins / (pos * neg) : (double)NAN;
    k->count[PRECISION * s->m->K + c] = pos > 0 ? precision / pos : (double)NAN;
}

/* auroc, average_precision: of class 1 if there are two classes, else the mean over classes that have one; then each. */
static double add_areas(const scorer *s, metric_result *r, const char *name, int which)
{
    const ranks *k = s->state;
    int K = s->m->K, n = 0, at = r->n;
    bool two = s->m->kind == TASK_CLASSIFICATION && K == 2;
    double sum = 0;
    result_add(r, NAN, name, NULL);
    for (int c = two ? 1 : 0; c < K; c++) {
        double a = k->count[which * K + c];
        if (!two) result_add(r, a, name, s->m->class_name[c]);
        if (!isnan(a)) sum += a, n++;
    }
    double mean = n ? sum / n : (double)NAN;
    if (at < METRIC_MAX) r->value[at].value = mean;
    return mean;
}

int best_class(const double *p, int K)
{
    int best = 0;
    for (int c = 1; c < K; c++)
        if (p[c] > p[best]) best = c;
    return best;
}

/* f1: mean over classes that occur in labels or guesses, as scikit-learn's with average="macro". */
static void score_classes(const scorer *s, const int32_t *times, metric_result *r)
{
    const metric *m = s->m;
    const ranks *k = s->state;
    double right = 0, total = 0, recalls = 0, f1 = 0, *of = k->count, *guessed = of + m->K, *both = guessed + m->K;
    int n = 0, n_f1 = 0;
    memset(of, 0, sizeof *of * 3 * (size_t)m->K);
    for (int64_t i = 0; i < m->n; i++) {
        int truth = (int)payload(s, i)[0], guess = k->guess[i];
        double weight = times[s->case_of[i]];
        of[truth] += weight, guessed[guess] += weight, total += weight;
        if (truth == guess) both[truth] += weight, right += weight;
    }
    for (int c = 0; c < m->K; c++) {
        if (of[c] > 0) recalls += both[c] / of[c], n++;
        if (of[c] + guessed[c] > 0) f1 += 2 * both[c] / (of[c] + guessed[c]), n_f1++;
    }
    r->score = n ? recalls / n : (double)NAN;
    result_add(r, r->score, "balanced_accuracy", NULL);
    result_add(r, total > 0 ? right / total : (double)NAN, "accuracy", NULL);
    for (int c = 0; c < m->K; c++) find_areas(s, c, times);
    add_areas(s, r, "auroc", ROC);
    result_add(r, n_f1 ? f1 / n_f1 : (double)NAN, "f1", NULL);
    add_areas(s, r, "average_precision", PRECISION);
    for (int c = 0; c < m->K; c++) result_add(r, of[c] > 0 ? both[c] / of[c] : (double)NAN, "recall", m->class_name[c]);
}

static void score_vector(const scorer *s, const int32_t *times, metric_result *r)
{
    const metric *m = s->m;
    double right = 0, total = 0;
    for (int64_t i = 0; i < m->n; i++) {
        const double *p = payload(s, i);
        double weight = times[s->case_of[i]];
        for (int c = 0; c < m->K; c++) {
            if (p[c] < 0) continue;
            total += weight;
            if ((p[m->K + c] > 0.5) == (p[c] > 0.5)) right += weight;
        }
    }
    for (int c = 0; c < m->K; c++) find_areas(s, c, times);
    r->score = add_areas(s, r, "auroc", ROC);
    result_add(r, total > 0 ? right / total : (double)NAN, "accuracy", NULL);
    add_areas(s, r, "average_precision", PRECISION);
}

static status prepare_nothing(scorer *s)
{
    (void)s;
    return OK;
}
static void release_nothing(scorer *s) { (void)s; }

static void score_values(const scorer *s, const int32_t *times, metric_result *r)
{
    const metric *m = s->m;
    double error = 0, square = 0, total = 0, range = m->hi > m->lo ? m->hi - m->lo : 1;
    for (int64_t i = 0; i < m->n; i++) {
        const double *p = payload(s, i);
        double weight = times[s->case_of[i]], e = p[1] - p[0];
        error += weight * fabs(e), square += weight * e * e, total += weight;
    }
    double mae = total > 0 ? error / total : (double)NAN;
    r->score = 1 - mae / range;
    if (r->score < 0) r->score = 0;
    result_add(r, mae, "mae", NULL);
    result_add(r, total > 0 ? sqrt(square / total) : (double)NAN, "rmse", NULL);
    result_add(r, r->score, "mae_score", NULL);
}

const scorer_ops score_class = {"balanced_accuracy", prepare_class, score_classes, release_ranks};
const scorer_ops score_labels = {"auroc", prepare_labels, score_vector, release_ranks};
const scorer_ops score_scalar = {"mae_score", prepare_nothing, score_values, release_nothing};
