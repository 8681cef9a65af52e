/* metric_dice: Dice per case and foreground class. Pixels of a case's samples (the slices of a volume) are added up first. A class in
 * neither prediction nor truth of a case says nothing and is left out; in one of the two it counts 0. */
#include "metric_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double dice_of(double both, double predicted, double truth)
{
    return predicted + truth > 0 ? 2 * both / (predicted + truth) : (double)NAN;
}

/* State: (n_cases,K) Dice, NaN where left out. */
static status prepare(scorer *s)
{
    const metric *m = s->m;
    double *count, *dice;
    size_t cells = (size_t)s->n_cases * (size_t)m->K;
    TRY(mem_alloc(&dice, sizeof *dice * cells, "Dice per case"), "task %s", m->task);
    s->state = dice;
    TRY(mem_alloc(&count, sizeof *count * cells * 3, "pixel counts"), "task %s", m->task);
    for (int64_t i = 0; i < m->n; i++) {
        const double *p = m->data + m->rec[i].at;
        for (int64_t j = 0; j + 4 <= m->rec[i].n; j += 4) {
            double *c = count + 3 * ((int64_t)s->case_of[i] * m->K + (int64_t)p[j]);
            for (int k = 0; k < 3; k++) c[k] += p[j + 1 + k];
        }
    }
    for (size_t i = 0; i < cells; i++) dice[i] = dice_of(count[3 * i], count[3 * i + 1], count[3 * i + 2]);
    free(count);
    return OK;
}

/* dice: mean over foreground classes of the mean over cases. */
static void score(const scorer *s, const int32_t *times, metric_result *r)
{
    const metric *m = s->m;
    const double *dice = s->state;
    double sum = 0;
    int n = 0, at = r->n;
    result_add(r, NAN, "dice", NULL);
    for (int k = 1; k < m->K; k++) {
        double total = 0, weight = 0;
        for (int64_t c = 0; c < s->n_cases; c++) {
            double d = dice[c * m->K + k];
            if (!isnan(d)) total += times[c] * d, weight += times[c];
        }
        double mean = weight > 0 ? total / weight : (double)NAN;
        result_add(r, mean, "dice", m->class_name[k]);
        if (!isnan(mean)) sum += mean, n++;
    }
    r->score = n ? sum / n : (double)NAN;
    if (at < METRIC_MAX) r->value[at].value = r->score;
}

static void release(scorer *s) { free(s->state); }

const scorer_ops score_dice = {"dice", prepare, score, release};
