/* metric_score: the values of a metric, of all samples or of a centre, and their bootstrap intervals over subjects. */
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

/* number[i]: place of id[i] among the n ids' distinct values, in rising order; *n_distinct: how many those are. */
static status number_ids(const uint64_t *id, int64_t n, int32_t *number, int64_t *n_distinct)
{
    uint64_t *sorted = NULL;
    int64_t distinct = 0;
    TRY(mem_alloc(&sorted, sizeof *sorted * (size_t)n, "ids"), "metric");
    if (n) memcpy(sorted, id, sizeof *sorted * (size_t)n);
    if (n) qsort(sorted, (size_t)n, sizeof *sorted, by_id);
    for (int64_t i = 0; i < n; i++)
        if (distinct == 0 || sorted[i] != sorted[distinct - 1]) sorted[distinct++] = sorted[i];
    for (int64_t i = 0; i < n; i++) {
        const uint64_t *at = bsearch(&id[i], sorted, (size_t)distinct, sizeof *sorted, by_id);
        number[i] = (int32_t)(at - sorted);
    }
    free(sorted);
    *n_distinct = distinct;
    return OK;
}

/* Numbers cases and subjects 0.. in the order of their ids. A case has the subject of its first record. */
status scorer_open(scorer *s, metric *m)
{
    uint64_t *id = NULL;
    status st;
    *s = (scorer){.m = m};
    metric_sort(m);
    size_t n = (size_t)m->n;
    TRY_TO(done, mem_alloc(&id, sizeof *id * n, "ids"), "task %s", m->task);
    TRY_TO(done, mem_alloc(&s->case_of, sizeof *s->case_of * n, "case numbers"), "task %s", m->task);
    for (size_t i = 0; i < n; i++) id[i] = m->rec[i].case_id;
    TRY_TO(done, number_ids(id, m->n, s->case_of, &s->n_cases), "metric");
    TRY_TO(done, mem_alloc(&s->first, sizeof *s->first * (size_t)s->n_cases, "cases"), "task %s", m->task);
    TRY_TO(done, mem_alloc(&s->subject_of, sizeof *s->subject_of * (size_t)s->n_cases, "subjects"), "task %s", m->task);
    for (int64_t i = m->n - 1; i >= 0; i--) s->first[s->case_of[i]] = i;
    for (int64_t c = 0; c < s->n_cases; c++) id[c] = m->rec[s->first[c]].subject;
    TRY_TO(done, number_ids(id, s->n_cases, s->subject_of, &s->n_subjects), "metric");
done:
    free(id);
    return st;
}

void scorer_close(scorer *s)
{
    free(s->case_of), free(s->subject_of), free(s->first);
    *s = (scorer){0};
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

/* Subjects are drawn with replacement, with all their cases. keep (n_cases): which take part; their subjects are numbered by `drawn`. */
static status bootstrap(const scorer *s, const scorer_ops *ops, const int32_t *keep, int n_boot, uint64_t seed, metric_result *out)
{
    metric_result *r = NULL;
    int32_t *times = NULL, *drawn = NULL, *pool = NULL;
    double *draw = NULL;
    uint32_t n = 0;
    status st;
    TRY_TO(done, mem_alloc(&r, sizeof *r, "bootstrap"), "task %s", s->m->task);
    TRY_TO(done, mem_alloc(&times, sizeof *times * (size_t)s->n_cases, "bootstrap"), "task %s", s->m->task);
    TRY_TO(done, mem_alloc(&drawn, sizeof *drawn * (size_t)s->n_subjects, "bootstrap"), "task %s", s->m->task);
    TRY_TO(done, mem_alloc(&pool, sizeof *pool * (size_t)s->n_subjects, "bootstrap"), "task %s", s->m->task);
    TRY_TO(done, mem_alloc(&draw, sizeof *draw * (size_t)out->n * (size_t)n_boot, "bootstrap"), "task %s", s->m->task);
    for (int64_t c = 0; c < s->n_cases; c++) drawn[s->subject_of[c]] |= keep[c];
    for (int32_t i = 0; i < s->n_subjects; i++)
        if (drawn[i]) pool[n++] = i;
    for (int i = 0; i < n_boot; i++) {
        progress_beat(); /* the other ranks wait for this one */
        rng random = rng_open((rng_key){.seed = seed, .a = (uint32_t)i}, RNG_BOOTSTRAP, 0);
        memset(drawn, 0, sizeof *drawn * (size_t)s->n_subjects);
        for (uint32_t k = 0; k < n; k++) drawn[pool[rng_below(&random, n)]]++;
        for (int64_t c = 0; c < s->n_cases; c++) times[c] = keep[c] * drawn[s->subject_of[c]];
        r->n = 0;
        ops->score(s, times, r);
        for (int k = 0; k < out->n; k++) draw[(int64_t)k * n_boot + i] = r->value[k].value;
    }
    intervals(out, draw, n_boot);
done:
    free(r);
    free(times);
    free(drawn);
    free(pool);
    free(draw);
    return st;
}

/* Which cases are of a centre (NULL: all), and how many samples, cases and subjects those are. */
static status choose(const scorer *s, const char *centre, int32_t *keep, metric_result *out)
{
    const metric *m = s->m;
    uint8_t *seen;
    TRY(mem_alloc(&seen, (size_t)s->n_subjects, "subjects"), "task %s", m->task);
    for (int64_t c = 0; c < s->n_cases; c++) {
        keep[c] = !centre || strcmp(metric_text(m, &m->rec[s->first[c]], NOTE_CENTRE), centre) == 0;
        out->n_cases += keep[c];
        seen[s->subject_of[c]] |= (uint8_t)keep[c];
    }
    for (int64_t i = 0; i < m->n; i++) out->n_samples += keep[s->case_of[i]];
    for (int64_t i = 0; i < s->n_subjects; i++) out->n_subjects += seen[i];
    free(seen);
    return OK;
}

status metric_finish_centre(metric *m, const char *centre, int n_boot, uint64_t seed, metric_result *out)
{
    const scorer_ops *ops = scorers[m->kind];
    scorer s;
    int32_t *keep = NULL;
    *out = (metric_result){.score = NAN};
    snprintf(out->score_name, sizeof out->score_name, "%s", ops->score_name);
    status st = scorer_open(&s, m);
    TRY_TO(done, st, "metric");
    TRY_TO(done, ops->prepare(&s), "metric");
    TRY_TO(done, mem_alloc(&keep, sizeof *keep * (size_t)s.n_cases, "cases"), "task %s", m->task);
    TRY_TO(done, choose(&s, centre, keep, out), "metric");
    ops->score(&s, keep, out);
    if (n_boot > 0 && out->n_cases > 0) TRY_TO(done, bootstrap(&s, ops, keep, n_boot, seed, out), "metric");
done:
    ops->release(&s);
    free(keep);
    scorer_close(&s);
    return st;
}

status metric_finish(metric *m, int n_boot, uint64_t seed, metric_result *out) { return metric_finish_centre(m, NULL, n_boot, seed, out); }

/* ---- centres ---------------------------------------------------------------------------------------------------------------------- */

static int by_name(const void *pa, const void *pb) { return strcmp(pa, pb); }

status metric_centres(metric *m, int *n, char (**names)[SHARD_TEXT])
{
    int room = 0, found = 0;
    char (*list)[SHARD_TEXT] = NULL;
    *n = 0, *names = NULL;
    for (int64_t i = 0; i < m->n; i++) {
        const char *centre = metric_text(m, &m->rec[i], NOTE_CENTRE);
        int k = found - 1; /* the last one found is the likeliest */
        while (k >= 0 && strcmp(list[k], centre) != 0) k--;
        if (k >= 0 || !centre[0]) continue;
        if (found == room) {
            status st = mem_grow(&list, sizeof *list * (size_t)(room += 64), "centres");
            if (st) {
                free(list);
                return st;
            }
        }
        snprintf(list[found++], sizeof *list, "%s", centre);
    }
    if (found) qsort(list, (size_t)found, sizeof *list, by_name);
    *n = found, *names = list;
    return OK;
}
