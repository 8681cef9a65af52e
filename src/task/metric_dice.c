/* metric_dice: Dice and HD95 per case and foreground class. For Dice, pixels of a case's samples (the slices of a volume) are added up first; a
 * class in neither prediction nor truth of a case says nothing and is left out; in one of the two it counts 0. HD95 is that of each sample by
 * itself (shards do not know how far apart slices are), a case's the mean over its samples with the class in both masks; hd95_missing is the
 * share of (case, class) with a Dice that have no such sample. Samples whose spacing is unknown, among others where it is known, are left out. */
#include "metric_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double dice_of(double both, double predicted, double truth)
{
    return predicted + truth > 0 ? 2 * both / (predicted + truth) : (double)NAN;
}

enum unit_of metric_unit(const metric *m)
{
    for (int64_t i = 0; i < m->n; i++)
        if (m->rec[i].unit != UNIT_PIXEL) return (enum unit_of)m->rec[i].unit;
    return UNIT_PIXEL;
}

status dice_cases(const scorer *s, double **dice, double **hd)
{
    const metric *m = s->m;
    size_t cells = (size_t)s->n_cases * (size_t)m->K;
    int stride = metric_counts(m);
    int64_t measure = metric_unit(m);
    double *count = NULL; /* (n_cases,K,5) both, predicted, true pixels; sum and number of the images' HD95 */
    *dice = *hd = NULL;
    TRY(mem_alloc(dice, sizeof **dice * cells, "Dice per case"), "task %s", m->task);
    TRY(mem_alloc(hd, sizeof **hd * cells, "HD95 per case"), "task %s", m->task);
    TRY(mem_alloc(&count, sizeof *count * cells * 5, "pixel counts"), "task %s", m->task);
    for (int64_t i = 0; i < m->n; i++) {
        const record *r = &m->rec[i];
        const double *p = m->data + r->at;
        for (int64_t j = 0; j + stride <= r->n; j += stride) {
            double *c = count + 5 * ((int64_t)s->case_of[i] * m->K + (int64_t)p[j]);
            for (int k = 0; k < 3; k++) c[k] += p[j + 1 + k];
            if (m->full && r->unit == measure && !isnan(p[j + COUNTS])) c[3] += p[j + COUNTS], c[4]++;
        }
    }
    for (size_t i = 0; i < cells; i++) {
        const double *c = count + 5 * i;
        (*dice)[i] = dice_of(c[0], c[1], c[2]);
        (*hd)[i] = c[4] > 0 ? c[3] / c[4] : (double)NAN;
    }
    free(count);
    return OK;
}

typedef struct cases { double *dice, *hd; char hd_name[16]; } cases; /* (n_cases,K) each */

static status prepare(scorer *s)
{
    cases *c;
    TRY(mem_alloc(&c, sizeof *c, "cases"), "task %s", s->m->task);
    s->state = c;
    snprintf(c->hd_name, sizeof c->hd_name, "hd95_%s", unit_name[metric_unit(s->m)]);
    return dice_cases(s, &c->dice, &c->hd);
}

/* Mean over the cases that have a value of class k; *weight: of those. */
static double mean_of_class(const scorer *s, const double *value, int k, const int32_t *times, double *weight)
{
    double total = 0;
    *weight = 0;
    for (int64_t c = 0; c < s->n_cases; c++) {
        double v = value[c * s->m->K + k];
        if (!isnan(v)) total += times[c] * v, *weight += times[c];
    }
    return *weight > 0 ? total / *weight : (double)NAN;
}

/* Mean over foreground classes of the mean over cases; then each class. Returns the mean; *weight: cases and classes with a value. */
static double add_means(const scorer *s, const double *value, const char *name, const int32_t *times, metric_result *r, double *weight)
{
    const metric *m = s->m;
    double sum = 0, of_class;
    int n = 0, at = r->n;
    *weight = 0;
    result_add(r, NAN, name, NULL);
    for (int k = 1; k < m->K; k++) {
        double mean = mean_of_class(s, value, k, times, &of_class);
        result_add(r, mean, name, m->class_name[k]);
        if (!isnan(mean)) sum += mean, n++;
        *weight += of_class;
    }
    double all = n ? sum / n : (double)NAN;
    if (at < METRIC_MAX) r->value[at].value = all;
    return all;
}

static void score(const scorer *s, const int32_t *times, metric_result *r)
{
    const cases *c = s->state;
    double with_dice, with_hd;
    r->score = add_means(s, c->dice, "dice", times, r, &with_dice);
    if (!s->m->full) return;
    add_means(s, c->hd, c->hd_name, times, r, &with_hd);
    result_add(r, with_dice > 0 ? 1 - with_hd / with_dice : (double)NAN, "hd95_missing", NULL);
}

static void release(scorer *s)
{
    cases *c = s->state;
    if (!c) return;
    free(c->dice);
    free(c->hd);
    free(c);
}

const scorer_ops score_dice = {"dice", prepare, score, release};
