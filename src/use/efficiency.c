/* efficiency: where the time of a run went and who was slowest, in words and tables, from its record. For status, report, and the last lines of
 * train. */
#include "history.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct text { char *at; size_t n, room; } text;

static void put(text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void put(text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = t->n < t->room ? vsnprintf(t->at + t->n, t->room - t->n, fmt, args) : 0;
    va_end(args);
    t->n += n > 0 ? (size_t)n : 0;
}

/* The parts of a step in the mean rank's time; reading and augmenting run beside it. */
static bool is_part(int k) { return k != TIME_READ && k != TIME_AUGMENT; }

void efficiency_text(const history *h, char *out, size_t n)
{
    text t = {out, 0, n};
    double pauses = 0, parts = 0;
    out[0] = 0;
    for (int k = 0; k < N_PAUSES; k++) pauses += h->pause_s[k];
    double all = h->rank_all_s + pauses;
    if (!(h->rank_all_s > 0)) return;
    for (int k = 0; k < N_RANK_TIMES; k++) {
        if (!is_part(k)) continue;
        parts += h->rank_s[k];
        put(&t, "%s%s %.1f %%", t.n ? ", " : "", rank_time_name[k].shown, 100 * h->rank_s[k] / all);
        /* a placement can be no better than its units allow: what it leaves is no rank's fault */
        if (k == TIME_WAIT && h->ranks > 1 && h->imbalance > 1)
            put(&t, " (%.1f %% by the placement)", 100 * fmin((h->imbalance - 1) * h->rank_s[TIME_COMPUTE], h->rank_s[TIME_WAIT]) / all);
    }
    for (int k = 0; k < N_PAUSES; k++) put(&t, ", %s %.1f %%", pause_name[k].shown, 100 * h->pause_s[k] / all);
    put(&t, ", the rest %.1f %%", 100 * fmax(0, h->rank_all_s - parts) / all);
    if (h->start_s > 0) put(&t, "; starting up took %.1f s", h->start_s);
}

static void put_rank(text *t, int64_t rank, const char *node) { put(t, "rank %lld on %s", (long long)rank, node); }

static void put_over(text *t, double over)
{
    if (fabs(over - 1) >= 0.005) put(t, "; its units take %.0f %% %s than such units on the mean of all ranks", 100 * fabs(over - 1), over > 1 ? "longer" : "less");
}

void slowest_text(const history *h, bool last_line, char *out, size_t n)
{
    text t = {out, 0, n};
    const group_times *g = &h->last_slow;
    const slow_rank *most = NULL;
    double steps = 0;
    out[0] = 0;
    for (int i = 0; i < h->n_slow; i++) {
        steps += h->slow[i].steps;
        if (!most || h->slow[i].steps > most->steps) most = &h->slow[i];
    }
    if (!most) return;
    if (last_line) {
        if (h->ranks > 1) {
            put_rank(&t, g->slowest_rank, g->node);
            put(&t, ", %.3f s a step (mean %.3f)", g->slowest_s, h->rank_mean[TIME_COMPUTE] + h->rank_mean[TIME_DATA]);
            if (g->slowest_task[0]) put(&t, ", most of it task %s", g->slowest_task);
            put_over(&t, g->over);
            put(&t, "; ");
        }
        put(&t, "of the tasks %s: %.3f s a unit", h->longest_task, h->longest_s);
    } else if (h->ranks > 1) {
        put_rank(&t, most->rank, most->node);
        put(&t, " in %.0f %% of the steps, %.3f s a step (mean %.3f)", 100 * most->steps / steps, most->s / most->steps, most->mean_s / most->steps);
        if (most->over_steps > 0) put_over(&t, most->over / most->over_steps);
    }
}

static int slower_first(const void *a, const void *b)
{
    const group_times *const *x = a, *const *y = b;
    double s = (*x)->s[TIME_COMPUTE] + (*x)->s[TIME_DATA], r = (*y)->s[TIME_COMPUTE] + (*y)->s[TIME_DATA];
    return s < r ? 1 : s > r ? -1 : *x < *y ? -1 : 1;
}

void efficiency_tables(FILE *out, const history *h, int most)
{
    const group_times **by_time;
    if (!isfinite(h->rank_mean[TIME_COMPUTE])) return;
    fprintf(out, "\n%-24s %10s %10s %10s\n", "seconds of a step", "least", "mean", "most");
    for (int k = 0; k < N_RANK_TIMES; k++)
        fprintf(out, "%-24s %10.4f %10.4f %10.4f\n", rank_time_name[k].shown, h->rank_min[k], h->rank_mean[k], h->rank_max[k]);
    if (h->n_groups < 2) return;
    if (mem_alloc(&by_time, sizeof *by_time * (size_t)h->n_groups, "groups of ranks") != OK) {
        status_clear();
        return;
    }
    for (int i = 0; i < h->n_groups; i++) by_time[i] = &h->group[i];
    qsort(by_time, (size_t)h->n_groups, sizeof *by_time, slower_first);
    bool nodes = h->group[0].rank < 0;
    char head[64];
    snprintf(head, sizeof head, "%s at step %lld", nodes ? "nodes" : "ranks", (long long)h->group_step);
    fprintf(out, "\n%-24s %10s %10s %10s %10s  %s\n", head, "units", "data", "waiting", "reading", nodes ? "slowest of its ranks" : "most of it");
    for (int i = 0; i < h->n_groups && i < most; i++) {
        const group_times *g = by_time[i];
        char name[96];
        if (nodes) snprintf(name, sizeof name, "%s", g->node);
        else snprintf(name, sizeof name, "%lld on %s", (long long)g->rank, g->node);
        fprintf(out, "%-24s %10.4f %10.4f %10.4f %10.4f  ", name, g->s[TIME_COMPUTE], g->s[TIME_DATA], g->s[TIME_WAIT], g->s[TIME_READ]);
        if (nodes) fprintf(out, "rank %lld, %.4f", (long long)g->slowest_rank, g->slowest_s);
        else fprintf(out, "%s", g->slowest_task);
        fprintf(out, "\n");
    }
    if (h->n_groups > most) fprintf(out, "and %d more\n", h->n_groups - most);
    free(by_time);
}
