/* step: the corridor. One optimiser step, from shards to new weights:
 *
 *     load -> augment -> forward -> loss -> backward -> sum -> clip -> update         (-> save, in loop.c)
 *
 * Units are run one after another in one activation arena: the memory of a step is that of its largest unit, whatever the number of
 * tasks (Schaefer et al. 2024). Each unit's gradient goes into the exact sum at once and is forgotten. Between nodes the sum may begin while
 * the last unit is in backward (ahead.c). */
#include "train_internal.h"

#include <math.h>
#include <string.h>

const char *const verb_name[N_VERBS] = {"load", "forward", "loss", "backward", "sum", "clip", "update"};

/* Number of the step that is being made, as messages and the log count: from 1. */
static long long under_way(const trainer *t) { return t->step + 1; }

typedef struct stopwatch { trainer *t; double from; } stopwatch;

static void lap(stopwatch *s, enum verb v)
{
    double now = timer_now();
    s->t->verb_s[v] += now - s->from;
    s->from = now;
}

/* A bad unit: find the source, say it, forget its gradient. A bad weight is no bad unit: this replica is no copy any more, and the run
 * ends before anything of it is saved. */
static status drop_unit(trainer *t, const task_state *ts, const batch *b, int piece, int u, int out_of_range)
{
    int range[4][2], n = numbers_ranges(t, ts, range);
    char what[600];
    numbers_find(t, ts, b, piece, out_of_range, &t->drop[u]);
    numbers_say(&t->drop[u], what, sizeof what);
    for (int i = 0; i < n; i++) sum_reject(&t->sum, t->g, range[i][0], range[i][1]);
    CHECK(t->drop[u].cause != CAUSE_WEIGHT, ST_NUMERIC,
          "step %lld, task %s, unit %d, rank %d: %s: this rank's copy of the weights is damaged. Nothing of it is saved; the same command "
          "goes on from the last checkpoint", under_way(t), ts->task.spec.name, t->units[u].number, t->rank, what);
    log_line(LOG_WARN, "step %lld, task %s, unit %d, rank %d: %s; unit dropped", under_way(t), ts->task.spec.name,
             t->units[u].number, t->rank, what);
    return OK;
}

static bool only_unit(const trainer *t) { return t->n_mine == 1 && !t->ahead.sum; }

/* Adds the unit's gradient to the sum, if all of it is finite and in range. Otherwise the first tensor that is not is returned. */
static int sum_unit(trainer *t, const task_state *ts)
{
    int range[4][2], n = numbers_ranges(t, ts, range), bad = -1;
    ahead_leave_out(t, range, n);
    for (int i = 0; i < n; i++) {
        int k = sum_check(&t->sum, t->g, range[i][0], range[i][1]);
        if (k >= 0) bad = bad < 0 ? k : bad;
    }
    for (int i = 0; i < n && bad < 0; i++) (only_unit(t) ? sum_leave : sum_add)(&t->sum, t->g, range[i][0], range[i][1]);
    return bad;
}

/* Faults on purpose, what a broken shard, disk or memory would do to it. */
static void plant_faults(trainer *t, const task_state *ts, batch *b)
{
    int64_t n = b->n_valid;
    if (fault_hit("image")) b->image[(n - 1) * b->H * b->W * 3 + 7] = NAN;
    if (fault_hit("weight")) t->w[t->sum.tensor[t->block_last[BLOCK_ENCODER] / 2].off] = NAN;
    if (!fault_hit("label")) return;
    switch (ts->task.spec.kind) {
    case TASK_CLASSIFICATION: b->cls[n - 1] = ts->task.spec.K; break;
    case TASK_MULTILABEL: b->vec[n * ts->task.spec.K - 1] = NAN; break;
    case TASK_REGRESSION: b->scalar[n - 1] = INFINITY; break;
    case TASK_SEGMENTATION: b->mask[n * b->H * b->W - 1] = IGNORE_MASK - 1; break;
    case TASK_DETECTION:
        if (b->box_off[n] > 0) b->box[4 * (b->box_off[n] - 1)] = NAN;
        break;
    case N_TASK_KINDS: break;
    }
}

/* Forward and backward of a piece of a unit through the shared blocks the task uses and its head; *good: no bad label, a finite loss. */
static status run_piece(trainer *t, task_state *ts, const batch *b, bool labels_good, double *loss, int64_t *n_valid, bool *good,
                        stopwatch *watch)
{
    const char *name = ts->task.spec.name;
    double parts[4];
    int64_t n = 0;
    TRY(watchdog_point(under_way(t), "forward", name, ST_NUMERIC), "unit");
    task_forward(ts->run, &t->pt, t->w, b, true);
    lap(watch, VERB_FORWARD);

    watchdog_tick(under_way(t), "loss", name);
    *loss += labels_good ? task_loss(ts->run, b, &n, parts) : NAN;
    *n_valid += n;
    if (fault_hit("loss")) *loss = NAN;
    *good = isfinite(*loss);
    lap(watch, VERB_LOSS);

    if (*good) {
        TRY(watchdog_point(under_way(t), "backward", name, ST_NUMERIC), "unit");
        task_backward(ts->run, &t->pt, t->w, t->g, b);
        if (fault_hit("gradient")) t->g[t->sum.tensor[ts->head_first].off] = NAN;
        lap(watch, VERB_BACKWARD);
    }
    return OK;
}

/* One unit, in as many pieces as the plan says: one, unless memory is short. Numbers are looked at where it costs next to nothing: labels,
 * the loss, the gradient. */
static status run_unit(trainer *t, task_state *ts, batch *b, int u, stopwatch *watch)
{
    double began = timer_now(), loss = 0, *report = t->report + REPORT_HEAD + u * REPORT_UNIT;
    int64_t n_valid = 0;
    int bad = -1, n = task_pieces(ts->run, b), i = 0;
    bool good = true;

    fault_place(ts->task.spec.name, under_way(t), t->units[u].number);
    plant_faults(t, ts, b);
    bool labels_good = task_label_fault(&ts->task.spec, b) < 0;
    for (; i < n && good; i++) {
        batch piece = task_piece(ts->run, b, i);
        ahead_watch(t, ts, u, i + 1 == n);
        TRY(run_piece(t, ts, &piece, labels_good, &loss, &n_valid, &good, watch), "numbers");
    }
    if (good) {
        bad = sum_unit(t, ts);
        good = bad < 0;
    }
    if (!good) ahead_take_back(t);
    ahead_unwatch(t);
    if (!good) TRY(drop_unit(t, ts, b, i - 1, u, bad), "numbers");
    t->times.adding_s -= t->verb_s[VERB_SUM];
    lap(watch, VERB_SUM);
    t->times.adding_s += t->verb_s[VERB_SUM];

    report[REPORT_LOSS] = good ? loss : 0;
    report[REPORT_VALID] = good ? (double)n_valid : 0;
    report[REPORT_DROPPED] = !good;
    report[REPORT_COST] = timer_now() - began;
    t->images += b->n_valid;
    return OK;
}

/* All units of this rank. Local: what fails here is agreed on by the caller before the next collective. */
static status run_units(trainer *t, stopwatch *watch)
{
    for (int i = 0; i < t->n_mine; i++) {
        batch *b;
        int u = t->mine_unit[i];
        if (stop_at_once()) { /* all ranks give this step up: a resumed run makes it whole */
            t->report[REPORT_CUT] = 1;
            return OK;
        }
        task_state *ts = &t->ts[t->units[u].task];
        watchdog_tick(under_way(t), "load", ts->task.spec.name);
        TRY(loader_next(t->loader, &b), "step %lld, load, task %s", under_way(t), ts->task.spec.name);
        lap(watch, VERB_LOAD);
        t->times.read_s += b->read_s, t->times.augment_s += b->load_s - b->read_s;
        if (!ts->suspended) trace_unit(t, u, b);
        status st = ts->suspended ? OK : run_unit(t, ts, b, u, watch);
        loader_release(t->loader, b);
        TRY(st, "step %lld, task %s", under_way(t), ts->task.spec.name);
        fault_hit("unit");
    }
    fault_place("", under_way(t), -1);
    return trace_flush(t);
}

/* Sums over the ranks: the encoder over the world, a decoder over the ranks that have units with it, a head over those that run its task. */
static status sum_ranks(trainer *t)
{
    if (t->ahead.sum && t->report[REPORT_AGAIN] == 0) sum_ahead_take(t->ahead.sum, t->g);
    else TRY(holders_sum(t), "sum");
    for (int i = 0; i < t->n_tasks; i++) /* no group: this rank alone */
        if (t->ts[i].mine) TRY(sum_reduce(&t->sum, t->ts[i].group, t->ts[i].head_first, t->ts[i].head_last, t->g), "head sum");
    return sum_rescale(&t->sum, t->world, t->local);
}

/* What every rank learns of the step: losses, drops, costs. The same numbers everywhere, so the decisions are the same too. */
static status digest(trainer *t)
{
    int n_alive = 0, n_suspended = 0;
    for (int i = 0, u = 0; i < t->n_tasks; i++) {
        task_state *ts = &t->ts[i];
        double loss = 0, cost = 0, dropped = 0;
        int n_counted = 0, n = t->job.task[i].units;
        for (int k = 0; k < n; k++, u++) {
            const double *r = t->report + REPORT_HEAD + u * REPORT_UNIT;
            if (r[REPORT_VALID] > 0) loss += r[REPORT_LOSS], n_counted++;
            cost += r[REPORT_COST];
            times_unit(t, u, r[REPORT_COST]);
            dropped += r[REPORT_DROPPED];
        }
        ts->loss = n_counted ? loss / n_counted : NAN;
        ts->suspended_now = false;
        if (ts->suspended) continue;
        ts->cost_s = ts->cost_s > 0 ? 0.95 * ts->cost_s + 0.05 * cost / n : cost / n;
        ts->dropped += (int64_t)dropped;
        t->n_dropped += (int64_t)dropped;
        ts->failures = dropped > 0 ? ts->failures + 1 : 0;
        if (t->job.train.suspend_after > 0 && ts->failures >= t->job.train.suspend_after) {
            ts->suspended = ts->suspended_now = true;
            n_suspended++;
            log_line(LOG_INFO, "step %lld: task %s suspended after %lld failures in a row; the others go on", under_way(t),
                     ts->task.spec.name, (long long)ts->failures);
        }
        n_alive += !ts->suspended;
    }
    TRY(numbers_record(t, n_suspended), "record");
    CHECK(n_alive > 0, ST_NUMERIC, "step %lld: every task is suspended: their losses or gradients are not finite", under_way(t));
    return OK;
}

status step_run(trainer *t)
{
    stopwatch watch = {t, timer_now()};
    int n_report = REPORT_HEAD + t->n_units * REPORT_UNIT;
    memset(t->report, 0, sizeof *t->report * (size_t)n_report);
    ahead_begin(t);

    status mine = run_units(t, &watch);

    if (!mine) {
        mine = watchdog_point(under_way(t), "sum", NULL, ST_COMM);
        if (mine) mine = status_note(mine, __FILE__, __LINE__, "step %lld", under_way(t));
    }
    if (t->ahead.sum) TRY(sum_ahead_finish(t->ahead.sum), "step %lld", under_way(t)); /* whatever this rank has met: nobody waits in vain */
    TRY(comm_agree(t->world, mine), "training"); /* no collective follows a fallible local act without it */
    t->wait_s += timer_now() - watch.from;
    t->report[REPORT_STOP] = stop_requested() != 0;
    t->report[REPORT_AGAIN] = t->ahead.took_back;
    t->report[REPORT_SENT] = comm_bytes_sent() - t->sent;
    t->sent += t->report[REPORT_SENT];
    TRY(comm_sum_f64(t->world, t->report, n_report), "step %lld, report", under_way(t));
    t->sum_bytes = t->step > t->opened ? t->report[REPORT_SENT] : NAN;
    if (t->report[REPORT_CUT] > 0) return OK;
    TRY(sum_ranks(t), "step %lld", under_way(t));
    TRY(digest(t), "training");
    lap(&watch, VERB_SUM);

    watchdog_tick(under_way(t), "clip", NULL);
    TRY(optim_norm(t, &t->grad_norm), "step %lld", under_way(t));
    lap(&watch, VERB_CLIP);

    watchdog_tick(under_way(t), "update", NULL);
    t->lr = schedule_lr(&t->job, t->step);
    TRY(optim_update(t, t->lr), "step %lld", under_way(t));
    lap(&watch, VERB_UPDATE);

    if (fault_hit("replica_flip")) { /* a bit of one weight in the middle of the encoder; the lowest could be rounded away again */
        char *byte = (char *)(t->w + t->sum.tensor[t->block_last[BLOCK_ENCODER] / 2].off);
        byte[1] = (char)(byte[1] ^ 0x40);
    }
    t->step++;
    t->steps_since++;
    return OK;
}
