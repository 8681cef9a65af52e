/* ahead: the last unit's gradients go into the sum over the nodes (comm/sum_ahead.c) as backward finishes them, if train.overlap asks for it. A
 * unit counts as a whole or not at all: what went ahead is taken back if its rest is bad, and the sum is made again. */
#include "train_internal.h"

#include <string.h>

static int n_shared(const trainer *t) { return t->block_last[BLOCK_HEAD0 - 1]; }

status ahead_open(trainer *t)
{
    const char *how = t->job.train.overlap;
    sum_part part[BLOCK_HEAD0];
    int n = holders_parts(t, part);
    for (int k = 0; k < n_shared(t); k++) /* backward names tensors by their place in the table */
        CHECK(t->local[k] == k, ST_BUG, "shared tensors do not come first in the table");
    return sum_ahead_open(&t->ahead.sum, &t->sum, part, n,
                          strcmp(how, "thread") == 0 ? SUM_THREAD : strcmp(how, "poll") == 0 ? SUM_POLL : SUM_AFTER);
}

void ahead_begin(trainer *t)
{
    ahead_state *a = &t->ahead;
    *a = (ahead_state){.sum = a->sum, .last = -1, .added = n_shared(t)};
    if (!a->sum) return;
    for (int i = 0; i < t->n_mine; i++)
        if (!t->ts[t->units[t->mine_unit[i]].task].suspended) a->last = t->mine_unit[i];
    sum_ahead_begin(a->sum);
    if (a->last < 0) sum_ahead_done(a->sum, 0);
}

/* The unit's tensors from..to-1 among its ranges: all good? or, with add, into the sum. */
static bool each(trainer *t, int from, int to, bool add)
{
    int range[4][2], n = numbers_ranges(t, t->ahead.ts, range);
    bool good = true;
    for (int i = 0; i < n; i++) {
        int lo = range[i][0] > from ? range[i][0] : from, hi = range[i][1] < to ? range[i][1] : to;
        if (lo >= hi) continue;
        if (add) sum_add_early(&t->sum, t->g, lo, hi);
        else good &= sum_check(&t->sum, t->g, lo, hi) < 0;
    }
    return good;
}

/* From backward: this unit's gradients of all shared tensors from `first` on are complete. The head came before them. */
static void on_done(void *arg, int first)
{
    trainer *t = arg;
    ahead_state *a = &t->ahead;
    if (!a->stuck && a->added == n_shared(t)) a->stuck = !each(t, n_shared(t), t->n_local, false);
    if (!a->stuck) a->stuck = !each(t, first, a->added, false);
    if (a->stuck) return;
    each(t, first, a->added, true);
    a->added = first;
    sum_ahead_done(a->sum, first);
}

void ahead_watch(trainer *t, const task_state *ts, int unit, bool last_piece)
{
    ahead_state *a = &t->ahead;
    int range[4][2], n = numbers_ranges(t, ts, range), top = 0;
    if (!a->sum || unit != a->last) return;
    for (int i = 0; i < n; i++) /* blocks behind those that the unit uses have all they get */
        if (range[i][0] < n_shared(t) && range[i][1] > top) top = range[i][1];
    if (!a->ts) sum_ahead_done(a->sum, top);
    a->ts = ts;
    if (last_piece) task_watch(ts->run, on_done, t);
}

void ahead_leave_out(const trainer *t, int range[4][2], int n)
{
    for (int i = 0; i < n; i++)
        if (range[i][0] < n_shared(t) && range[i][1] > t->ahead.added)
            range[i][1] = range[i][0] > t->ahead.added ? range[i][0] : t->ahead.added;
}

void ahead_take_back(trainer *t)
{
    ahead_state *a = &t->ahead;
    if (!a->ts || a->added == n_shared(t)) return;
    int range[4][2], n = numbers_ranges(t, a->ts, range);
    for (int i = 0; i < n; i++) {
        int lo = range[i][0] > a->added ? range[i][0] : a->added, hi = range[i][1] < n_shared(t) ? range[i][1] : n_shared(t);
        if (lo < hi) sum_take_back(&t->sum, t->g, lo, hi);
    }
    a->added = n_shared(t);
    a->took_back = true;
}

void ahead_unwatch(trainer *t)
{
    ahead_state *a = &t->ahead;
    if (a->ts) task_watch(a->ts->run, NULL, NULL);
    a->ts = NULL;
    a->added = n_shared(t);
}
