/* history: what RUN/record.jsonl tells of a run, as series over steps. */
#include "history.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const part_name[N_PARTS] = {"load", "forward", "loss", "backward", "sum", "clip", "update", "other"};

static status series_add(series *s, double x, double y)
{
    if (!isfinite(x) || !isfinite(y)) return OK;
    if (s->n == s->cap) {
        int cap = s->cap ? 2 * s->cap : 256;
        TRY(mem_grow(&s->x, sizeof *s->x * (size_t)cap, "points of a curve"), "record");
        TRY(mem_grow(&s->y, sizeof *s->y * (size_t)cap, "points of a curve"), "record");
        s->cap = cap;
    }
    s->x[s->n] = x;
    s->y[s->n++] = y;
    return OK;
}

static void series_free(series *s)
{
    free(s->x);
    free(s->y);
}

task_history *history_task(history *h, const char *name)
{
    for (int i = 0; i < h->n_tasks; i++)
        if (strcmp(h->task[i].name, name) == 0) return &h->task[i];
    return NULL;
}

static status task_get(history *h, const char *name, task_history **out)
{
    *out = history_task(h, name);
    if (*out) return OK;
    if (h->n_tasks == h->cap_tasks) {
        int cap = h->cap_tasks ? 2 * h->cap_tasks : 16;
        TRY(mem_grow(&h->task, sizeof *h->task * (size_t)cap, "tasks"), "record");
        h->cap_tasks = cap;
    }
    *out = &h->task[h->n_tasks++];
    **out = (task_history){.best = NAN};
    snprintf((*out)->name, sizeof (*out)->name, "%.63s", name);
    return OK;
}

static double number(const record_line *l, const char *name)
{
    const record_field *f = record_get(l, name);
    return f && !f->is_text ? f->number : NAN;
}

/* A number of the record as a count; 0 for what no count can be. */
static int64_t as_count(double v) { return fabs(v) < 9e18 ? (int64_t)v : 0; }

static int64_t integer(const record_line *l, const char *name)
{
    return as_count(number(l, name));
}

static const char *text(const record_line *l, const char *name)
{
    const record_field *f = record_get(l, name);
    return f && f->is_text ? f->text : "";
}

#define COPY(to, from) snprintf((to), sizeof (to), "%.*s", (int)sizeof (to) - 1, (from))

/* ---- one function per event ------------------------------------------------------------------------------------------------ */

/* The same session goes on with another placement. */
static status on_rebalance(history *h, const record_line *l)
{
    (void)l;
    h->n_starts--;
    return OK;
}

static status on_start(history *h, const record_line *l)
{
    h->n_starts++;
    COPY(h->encoder, text(l, "encoder"));
    COPY(h->sum, text(l, "sum"));
    COPY(h->blas, text(l, "blas"));
    COPY(h->mpi, text(l, "mpi"));
    COPY(h->version, text(l, "version"));
    COPY(h->resumed_from, text(l, "resumed_from"));
    h->steps = integer(l, "steps");
    h->ranks = integer(l, "ranks");
    h->threads = integer(l, "threads");
    h->units = integer(l, "units");
    h->parameters = integer(l, "parameters");
    h->imbalance = number(l, "imbalance");
    if (isfinite(number(l, "start_s"))) h->start_s += number(l, "start_s");
    h->dropped_before = h->dropped;
    if (integer(l, "step") > h->step) h->step = integer(l, "step");
    h->ended = h->stopped = false;
    return OK;
}

static status on_step(history *h, const record_line *l)
{
    double step = number(l, "step"), steps = step - (double)h->step, covered = 0, whole = number(l, "step_s");
    CHECK(isfinite(step), ST_DATA, "a step line without a step");
    TRY(series_add(&h->loss, step, number(l, "loss")), "record");
    TRY(series_add(&h->lr, step, number(l, "lr")), "record");
    TRY(series_add(&h->rate, step, number(l, "images_per_s")), "record");
    TRY(series_add(&h->grad_norm, step, number(l, "grad_norm")), "record");
    TRY(series_add(&h->memory, step, number(l, "memory_bytes") / 1048576), "record");
    for (int p = 0; p < PART_OTHER; p++) {
        char name[32];
        snprintf(name, sizeof name, "%s_s", part_name[p]);
        double s = number(l, name);
        if (!isfinite(s)) continue;
        h->part_s[p] += s * steps;
        covered += s;
    }
    h->last_wait_s = number(l, "wait_s");
    h->last_load_s = number(l, "load_s");
    if (isfinite(h->last_wait_s)) h->wait_s += h->last_wait_s * steps;
    if (whole > 0) TRY(series_add(&h->wait, step, 100 * h->last_wait_s / whole), "record");
    if (isfinite(whole)) {
        h->step_s += whole * steps;
        if (whole > covered) h->part_s[PART_OTHER] += (whole - covered) * steps;
        h->last_step_s = whole;
        h->line_interval_s = whole * steps;
    }
    if (isfinite(number(l, "images"))) h->images += number(l, "images");
    h->dropped = h->dropped_before + integer(l, "dropped"); /* the trainer counts from its start */
    h->step = as_count(step);
    for (int i = 0; i < l->n; i++) {
        if (strncmp(l->field[i].key, "loss/", 5) != 0) continue;
        task_history *t;
        TRY(task_get(h, l->field[i].key + 5, &t), "record");
        TRY(series_add(&t->loss, step, l->field[i].number), "record");
    }
    return OK;
}

static status on_validate(history *h, const record_line *l)
{
    task_history *t;
    double step = number(l, "step"), score = number(l, "score");
    TRY(task_get(h, text(l, "task"), &t), "record");
    COPY(t->score_name, text(l, "score_name"));
    TRY(series_add(&t->score, step, score), "record");
    if (isfinite(score) && !(score <= t->best)) t->best = score, t->best_step = as_count(step);
    return OK;
}

static status on_checkpoint(history *h, const record_line *l)
{
    h->checkpoint_step = integer(l, "step");
    h->checkpoint_time = h->last_time;
    COPY(h->checkpoint, text(l, "text"));
    return OK;
}

static void add_pauses(history *h, const record_line *l)
{
    for (int k = 0; k < N_PAUSES; k++) {
        char name[40];
        snprintf(name, sizeof name, "%s_pause_s", pause_name[k].key);
        double s = number(l, name);
        if (isfinite(s)) h->pause_s[k] += s;
    }
}

static status on_stop(history *h, const record_line *l)
{
    h->stopped = true;
    add_pauses(h, l);
    COPY(h->stop_text, text(l, "text"));
    return OK;
}

static status on_end(history *h, const record_line *l)
{
    h->ended = true;
    add_pauses(h, l);
    return OK;
}

static status on_drop(history *h, const record_line *l)
{
    task_history *t;
    h->n_dropped_events++;
    TRY(task_get(h, text(l, "task"), &t), "record");
    t->n_dropped++;
    t->drop_step = integer(l, "step");
    t->drop_unit = (int)integer(l, "unit");
    t->drop_rank = (int)integer(l, "rank");
    COPY(t->drop_cause, text(l, "cause"));
    COPY(t->drop_tensor, text(l, "tensor"));
    COPY(t->drop_sample, text(l, "sample"));
    return OK;
}

static status on_suspend(history *h, const record_line *l)
{
    task_history *t;
    TRY(task_get(h, text(l, "task"), &t), "record");
    t->suspended = true;
    t->suspended_step = integer(l, "step");
    return OK;
}

/* ---- where the ranks' time goes ---- */

static void read_slowest(group_times *g, const record_line *l)
{
    g->slowest_rank = integer(l, "slowest_rank");
    g->slowest_s = number(l, "slowest_s");
    g->over = number(l, "slowest_over");
    COPY(g->slowest_task, text(l, "slowest_task"));
}

static status note_slow(history *h, const group_times *g, double steps, double mean_s)
{
    slow_rank *s = NULL;
    for (int i = 0; i < h->n_slow && !s; i++)
        if (h->slow[i].rank == g->slowest_rank && strcmp(h->slow[i].node, g->node) == 0) s = &h->slow[i];
    if (!s && h->n_slow == h->cap_slow) {
        int cap = h->cap_slow ? 2 * h->cap_slow : 16;
        TRY(mem_grow(&h->slow, sizeof *h->slow * (size_t)cap, "slow ranks"), "record");
        h->cap_slow = cap;
    }
    if (!s) {
        s = &h->slow[h->n_slow++];
        *s = (slow_rank){.rank = g->slowest_rank};
        COPY(s->node, g->node);
    }
    s->steps += steps;
    s->s += steps * g->slowest_s;
    s->mean_s += steps * mean_s;
    if (isfinite(g->over)) s->over += steps * g->over, s->over_steps += steps;
    return OK;
}

static status on_ranks(history *h, const record_line *l)
{
    double steps = number(l, "steps"), seconds = number(l, "seconds");
    if (!(steps > 0) || !isfinite(seconds)) return OK;
    for (int k = 0; k < N_RANK_TIMES; k++) {
        double *to[] = {&h->rank_min[k], &h->rank_mean[k], &h->rank_max[k]};
        static const char *const what[] = {"min", "mean", "max"};
        for (int i = 0; i < 3; i++) {
            char name[40];
            snprintf(name, sizeof name, "%s_%s_s", rank_time_name[k].key, what[i]);
            *to[i] = number(l, name);
        }
        if (isfinite(h->rank_mean[k])) h->rank_s[k] += h->rank_mean[k] * steps;
    }
    h->rank_all_s += seconds;
    h->longest_s = number(l, "longest_s");
    COPY(h->longest_task, text(l, "longest_task"));
    h->last_slow = (group_times){0};
    COPY(h->last_slow.node, text(l, "slowest_node"));
    read_slowest(&h->last_slow, l);
    add_pauses(h, l);
    double mean = h->rank_mean[TIME_COMPUTE] + h->rank_mean[TIME_DATA];
    return isfinite(h->last_slow.slowest_s) && isfinite(mean) ? note_slow(h, &h->last_slow, steps, mean) : OK;
}

static status on_group(history *h, const record_line *l)
{
    if (integer(l, "step") != h->group_step) h->n_groups = 0;
    h->group_step = integer(l, "step");
    if (h->n_groups == h->cap_groups) {
        int cap = h->cap_groups ? 2 * h->cap_groups : 64;
        TRY(mem_grow(&h->group, sizeof *h->group * (size_t)cap, "groups of ranks"), "record");
        h->cap_groups = cap;
    }
    group_times *g = &h->group[h->n_groups++];
    *g = (group_times){.rank = integer(l, "rank"), .ranks = integer(l, "ranks")};
    COPY(g->node, text(l, "node"));
    for (int k = 0; k < N_RANK_TIMES; k++) {
        char name[40];
        snprintf(name, sizeof name, "%s_s", rank_time_name[k].key);
        g->s[k] = number(l, name);
    }
    read_slowest(g, l);
    return OK;
}

static const struct { const char *event; status (*act)(history *h, const record_line *l); } events[] = {
    {"start", on_start}, {"rebalance", on_rebalance}, {"step", on_step}, {"validate", on_validate}, {"checkpoint", on_checkpoint},
    {"stop", on_stop},   {"end", on_end},   {"drop", on_drop},         {"suspend", on_suspend},     {"ranks", on_ranks},
    {"group", on_group}};

static double seconds_of(const char *utc)
{
    struct tm tm = {0};
    const char *end = strptime(utc, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return end && !*end ? (double)timegm(&tm) : 0;
}

static status on_line(void *arg, const record_line *l)
{
    history *h = arg;
    const char *event = text(l, "event");
    double now = seconds_of(text(l, "time"));
    h->n_lines++;
    if (strcmp(event, "evaluate") == 0) return OK; /* later use of the run, not part of it */
    if (now > 0) {
        if (h->first_time == 0) h->first_time = now;
        if (strcmp(event, "start") != 0 && now > h->last_time) h->seconds += now - h->last_time;
        h->last_time = now;
    }
    COPY(h->last_event, event);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (strcmp(event, events[i].event) == 0) return events[i].act(h, l);
    return OK; /* written by a newer version */
}

/* ---- the mean score of the tasks at each validated step -------------------------------------------------------------------- */

static status mean_scores(history *h)
{
    const task_history *most = NULL; /* the task validated most often gives the steps */
    for (int i = 0; i < h->n_tasks; i++)
        if (!most || h->task[i].score.n > most->score.n) most = &h->task[i];
    for (int k = 0; most && k < most->score.n; k++) {
        double step = most->score.x[k], sum = 0;
        int n = 0;
        for (int i = 0; i < h->n_tasks; i++)
            for (int m = 0; m < h->task[i].score.n; m++)
                if (h->task[i].score.x[m] == step) sum += h->task[i].score.y[m], n++;
        TRY(series_add(&h->mean_score, step, sum / n), "record");
    }
    return OK;
}

status history_load(history *h, const char *run)
{
    *h = (history){.imbalance = NAN, .last_step_s = NAN, .last_wait_s = NAN, .last_load_s = NAN};
    for (int k = 0; k < N_RANK_TIMES; k++) h->rank_min[k] = h->rank_mean[k] = h->rank_max[k] = NAN;
    CHECK(snprintf(h->path, sizeof h->path, "%s/record.jsonl", run) < (int)sizeof h->path, ST_USAGE, "path too long: %.80s...", run);
    CHECK(path_exists(h->path), ST_DATA, "%s: there is no record here; is %s the run folder of `medley train`?", h->path, run);
    status st = record_read(h->path, on_line, h);
    if (!st) st = mean_scores(h);
    if (st) history_free(h);
    return st;
}

void history_free(history *h)
{
    series *all[] = {&h->loss, &h->lr, &h->rate, &h->grad_norm, &h->memory, &h->wait, &h->mean_score};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) series_free(all[i]);
    for (int i = 0; i < h->n_tasks; i++) series_free(&h->task[i].loss), series_free(&h->task[i].score);
    free(h->task);
    free(h->group);
    free(h->slow);
    *h = (history){0};
}

void history_drop_text(const task_history *t, char out[400])
{
    bool plain = strcmp(t->drop_cause, t->drop_tensor) == 0; /* "image: image" says nothing more */
    snprintf(out, 400, "step %lld, unit %d on rank %d: %s%s%s; sample %s", (long long)t->drop_step, t->drop_unit, t->drop_rank, t->drop_cause,
             plain ? "" : ": ", plain ? "" : t->drop_tensor, t->drop_sample);
}
