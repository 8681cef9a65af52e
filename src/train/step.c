/* step: the corridor. One optimiser step, from shards to new weights:
 *
 *     load -> augment -> forward -> loss -> backward -> sum -> clip -> update         (-> save, in loop.c)
 *
 * Units are run one after another in one activation arena: the memory of a step is that of its largest unit, whatever the number of
 * tasks (Schaefer et al. 2024). Each unit's gradient goes into the exact sum at once and is forgotten. */
#include "train_internal.h"

#include <math.h>
#include <string.h>

const char *const verb_name[N_VERBS] = {"load", "forward", "loss", "backward", "sum", "clip", "update"};

typedef struct stopwatch { trainer *t; double from; } stopwatch;

static void lap(stopwatch *s, enum verb v)
{
    double now = timer_now();
    s->t->verb_s[v] += now - s->from;
    s->from = now;
}

/* The ranges of local tensors whose gradient a task writes: shared blocks it uses, then its head. */
static int ranges_of(const trainer *t, const task_state *ts, int range[4][2])
{
    int n = 0;
    for (int block = BLOCK_ENCODER; block < BLOCK_HEAD0; block++)
        if (task_uses(&ts->task, block)) range[n][0] = t->block_first[block], range[n][1] = t->block_last[block], n++;
    range[n][0] = ts->head_first, range[n][1] = ts->head_last;
    return n + 1;
}

/* Adds the unit's gradient to the sum, or refuses all of it if one value is not finite or out of range. */
static bool sum_unit(trainer *t, const task_state *ts, bool loss_ok)
{
    int range[4][2], n = ranges_of(t, ts, range), bad = -1;
    for (int i = 0; i < n; i++) {
        int k = sum_check(&t->sum, t->g, range[i][0], range[i][1]);
        if (k >= 0 && bad < 0) bad = k;
    }
    bool good = loss_ok && bad < 0;
    for (int i = 0; i < n; i++) (good ? sum_add : sum_reject)(&t->sum, t->g, range[i][0], range[i][1]);
    if (bad >= 0)
        log_line(LOG_WARN, "step %lld, task %s: gradient of %s is not finite or out of range; unit dropped", (long long)t->step,
                 ts->task.spec.name, t->pt.p[t->local[bad]].name);
    else if (!good)
        log_line(LOG_WARN, "step %lld, task %s: loss is not finite; unit dropped", (long long)t->step, ts->task.spec.name);
    return good;
}

/* One unit: forward and backward through the shared blocks the task uses and its head. */
static void run_unit(trainer *t, task_state *ts, const batch *b, double *report, stopwatch *watch)
{
    double began = timer_now(), parts[4];
    int64_t n_valid = 0;
    const char *name = ts->task.spec.name;

    watchdog_tick(t->step, "forward", name);
    task_forward(ts->run, &t->pt, t->w, b, true);
    lap(watch, VERB_FORWARD);

    double loss = task_loss(ts->run, b, &n_valid, parts);
    if (fault_hit("loss")) loss = NAN;
    lap(watch, VERB_LOSS);

    watchdog_tick(t->step, "backward", name);
    task_backward(ts->run, &t->pt, t->w, t->g, b);
    if (fault_hit("gradient")) t->g[t->sum.tensor[ts->head_first].off] = NAN;
    lap(watch, VERB_BACKWARD);

    bool good = sum_unit(t, ts, isfinite(loss));
    lap(watch, VERB_SUM);

    report[REPORT_LOSS] = good ? loss : 0;
    report[REPORT_VALID] = good ? (double)n_valid : 0;
    report[REPORT_DROPPED] = !good;
    report[REPORT_COST] = timer_now() - began;
    t->images += b->n_valid;
}

/* All units of this rank. Local: what fails here is agreed on by the caller before the next collective. */
static status run_units(trainer *t, stopwatch *watch)
{
    for (int i = 0; i < t->n_mine; i++) {
        batch *b;
        int u = t->mine_unit[i];
        task_state *ts = &t->ts[t->units[u].task];
        watchdog_tick(t->step, "load", ts->task.spec.name);
        TRY(loader_next(t->loader, &b), "step %lld, task %s", (long long)t->step, ts->task.spec.name);
        lap(watch, VERB_LOAD);
        if (!ts->suspended) run_unit(t, ts, b, t->report + REPORT_HEAD + u * REPORT_UNIT, watch);
        loader_release(t->loader, b);
        fault_hit("unit");
    }
    return OK;
}

/* Sums over the ranks: shared blocks over the world, a head over the ranks that run its task. */
static status sum_ranks(trainer *t)
{
    int n_shared = t->block_last[BLOCK_HEAD0 - 1];
    TRY(sum_reduce(&t->sum, t->world, 0, n_shared), "gradient sum");
    for (int i = 0; i < t->n_tasks; i++)
        if (t->ts[i].group) TRY(sum_reduce(&t->sum, t->ts[i].group, t->ts[i].head_first, t->ts[i].head_last), "head sum");
    sum_take(&t->sum, t->g);
    return sum_rescale(&t->sum, t->world, t->local, t->pt.n);
}

/* What every rank learns of the step: losses, drops, costs. The same numbers everywhere, so the decisions are the same too. */
static status digest(trainer *t)
{
    int n_alive = 0;
    for (int i = 0, u = 0; i < t->n_tasks; i++) {
        task_state *ts = &t->ts[i];
        double loss = 0, cost = 0, dropped = 0;
        int n_counted = 0, n = t->job.task[i].units;
        for (int k = 0; k < n; k++, u++) {
            const double *r = t->report + REPORT_HEAD + u * REPORT_UNIT;
            if (r[REPORT_VALID] > 0) loss += r[REPORT_LOSS], n_counted++;
            cost += r[REPORT_COST];
            dropped += r[REPORT_DROPPED];
        }
        ts->loss = n_counted ? loss / n_counted : NAN;
        if (ts->suspended) continue;
        ts->cost_s = ts->cost_s > 0 ? 0.95 * ts->cost_s + 0.05 * cost / n : cost / n;
        ts->dropped += (int64_t)dropped;
        t->n_dropped += (int64_t)dropped;
        ts->failures = dropped > 0 ? ts->failures + 1 : 0;
        if (ts->failures >= t->job.train.suspend_after) {
            ts->suspended = true;
            log_line(LOG_INFO, "step %lld: task %s suspended after %lld failures in a row; the others go on", (long long)t->step,
                     ts->task.spec.name, (long long)ts->failures);
        }
        n_alive += !ts->suspended;
    }
    CHECK(n_alive > 0, ST_NUMERIC, "step %lld: every task is suspended: their losses or gradients are not finite", (long long)t->step);
    return OK;
}

status step_run(trainer *t)
{
    stopwatch watch = {t, timer_now()};
    int n_report = REPORT_HEAD + t->n_units * REPORT_UNIT;
    memset(t->report, 0, sizeof *t->report * (size_t)n_report);

    status mine = run_units(t, &watch);

    watchdog_tick(t->step, "sum", NULL);
    TRY(comm_agree(t->world, mine), "training"); /* no collective follows a fallible local act without it */
    t->wait_s += timer_now() - watch.from;
    t->report[REPORT_STOP] = stop_requested() != 0;
    TRY(comm_sum_f64(t->world, t->report, n_report), "step report");
    TRY(sum_ranks(t), "step %lld", (long long)t->step);
    TRY(digest(t), "training");
    lap(&watch, VERB_SUM);

    TRY(optim_norm(t, &t->grad_norm), "step %lld", (long long)t->step);
    lap(&watch, VERB_CLIP);

    t->lr = schedule_lr(&t->job, t->step);
    optim_update(t, t->lr);
    lap(&watch, VERB_UPDATE);

    t->step++;
    t->steps_since++;
    return OK;
}
