/* checkpoint: one HDF5 file with every array by name; any number of ranks reads what any other wrote. This file reads, chooses and removes;
 * checkpoint_write.c writes.
 *
 *   /                    attributes format, format_version, step, seed, full, best_score, best_step, total_images, validation_due (the
 *                        validation of this step was cut short by a stop), sealed (src/store/store_seal.c: the sum over the whole file)
 *   /weights/NAME        f32
 *   /m/NAME /v/NAME      f32 moments;  /ema/NAME f32 moving average, if the job has one
 *   /task/NAME           f64 suspended, failures, dropped, cost_s
 *   /plan /conditions    u8 texts: what decides the result, and what it was computed with
 *   /sum_exponent /born  i64, one for each line of the u8 text /tensors: scale of the sum, step at which its moments began
 *
 * Sample cursors follow from the step: position = (step * units + number) * batch + i in the endless sequence of epochs (data/order.c). */
#include "train_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_FILES = 1000 };

/* ---- read ----------------------------------------------------------------------------------------------------------------- */

static status get_state(trainer *t, store *s, const char *path, int64_t step)
{
    TRY(adopt_tensors(t, s, path, step), "checkpoint");
    for (int i = 0; i < t->n_tasks; i++) {
        task_state *ts = &t->ts[i];
        char name[128];
        double state[4];
        if (ts->added) continue;
        snprintf(name, sizeof name, "task/%s", ts->task.spec.name);
        TRY(store_read(s, name, DT_F64, 4, state), "%s", path);
        ts->suspended = state[0] != 0 || task_rests(ts), ts->failures = (int64_t)state[1], ts->dropped = (int64_t)state[2], ts->cost_s = state[3];
    }
    if (!t->tasks_changed) { /* means over other tasks cannot be compared */
        TRY(store_get_f64(s, "/", "best_score", &t->best_score), "%s", path);
        TRY(store_get_i64(s, "/", "best_step", &t->best_step), "%s", path);
    }
    TRY(store_get_i64(s, "/", "total_images", &t->total_images), "%s", path);
    int64_t due = 0; /* files of before do not have it */
    if (store_get_i64(s, "/", "validation_due", &due) != OK) status_clear();
    t->validation_due = due != 0;
    return OK;
}

status checkpoint_check_format(store *s, const char *path)
{
    char format[64];
    int64_t version;
    TRY(store_get_str(s, "/", "format", format, sizeof format), "%s", path);
    TRY(store_get_i64(s, "/", "format_version", &version), "%s", path);
    CHECK(strcmp(format, "medley-checkpoint") == 0 && version == CHECKPOINT_VERSION, ST_DATA, "%s: not a checkpoint of version %d", path,
          CHECKPOINT_VERSION);
    return OK;
}

static status load_local(trainer *t, const char *path, bool full)
{
    store *s = NULL;
    status st;
    TRY(store_open(&s, path), "checkpoint");
    int64_t step, is_full;
    TRY_TO(done, checkpoint_check_format(s, path), "checkpoint");
    TRY_TO(done, store_get_i64(s, "/", "step", &step), "%s", path);
    TRY_TO(done, store_get_i64(s, "/", "full", &is_full), "%s", path);
    CHECK_TO(done, !full || is_full, ST_DATA, "%s: holds weights only", path);
    TRY_TO(done, adopt_plan(t, s, path, full), "resume");
    if (full) TRY_TO(done, conditions_compare(t, s, path), "resume");
    for (int k = 0; k < t->n_local; k++) {
        const param *p = &t->pt.p[t->local[k]];
        char name[200];
        if (!held(p) || (full && adopt_as_new(t, s, p))) continue;
        bool average = !full && store_has(s, "ema"); /* what is used, not trained on, is the average */
        struct { const char *group; float *arena; } part[] = {{average ? "ema" : "weights", t->w}, {"ema", t->ema}, {"m", t->m}, {"v", t->v}};
        for (int a = 0; a < (full ? 4 : 1); a++) {
            if (!part[a].arena || (a > 0 && !node_state_holds(t, p))) continue;
            snprintf(name, sizeof name, "%s/%s", part[a].group, p->name);
            TRY_TO(done, store_read(s, name, DT_F32, p->n, part[a].arena + p->off), "%s", path);
        }
    }
    if (full) TRY_TO(done, get_state(t, s, path, step), "resume");
    t->step = step;
done:
    store_close(s);
    return st;
}

static status read_costs(const trainer *t, double *cost)
{
    store *s = NULL;
    TRY(store_open(&s, t->from), "costs");
    status st = OK;
    for (int i = 0; i < t->n_tasks && !st; i++) {
        char name[128];
        double state[4];
        snprintf(name, sizeof name, "task/%s", t->job.task[i].name);
        if (!store_has(s, name)) continue;
        st = store_read(s, name, DT_F64, 4, state);
        if (!st) cost[i] = state[3];
    }
    store_close(s);
    return st;
}

status checkpoint_costs(trainer *t)
{
    double *cost = NULL;
    status st = mem_alloc(&cost, sizeof *cost * (size_t)t->n_tasks, "costs");
    if (t->rank == 0 && !st) {
        st = read_costs(t, cost);
        if (st == ST_DATA) { /* planned by arithmetic; what the matter is, checkpoint_load will say */
            status_clear();
            st = OK;
        }
    }
    st = comm_agree(t->world, st);
    if (st) {
        free(cost);
        return st;
    }
    st = comm_bcast(t->world, cost, sizeof *cost * (size_t)t->n_tasks, 0);
    bool all = true;
    for (int i = 0; i < t->n_tasks; i++) all &= cost[i] > 0;
    for (int i = 0; all && i < t->n_tasks; i++) t->ts[i].cost_s = cost[i]; /* seconds and arithmetic do not mix */
    free(cost);
    return st;
}

status checkpoint_load(trainer *t, const char *path, bool full)
{
    bool verified = strcmp(path, t->verified) == 0; /* checkpoint_find has read it whole just now */
    TRY(comm_agree(t->world, t->rank == 0 && !verified ? store_verify(path) : OK), "weights");
    return comm_agree(t->world, load_local(t, path, full));
}

/* ---- choose and prune ------------------------------------------------------------------------------------------------------- */

static int by_step_down(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

static void step_path(const char *run, int64_t step, char path[600])
{
    snprintf(path, 600, "%.560s/checkpoints/step-%09lld.h5", run, (long long)step);
}

/* A checkpoint that can be trusted: whole, and lying where it seems to. A planted link could name any file. */
static status verify_step(const char *run, int64_t step, char path[600])
{
    char dir[600], same[600];
    step_path(run, step, path);
    const char *name = strrchr(path, '/') + 1;
    snprintf(dir, sizeof dir, "%.*s", (int)(name - 1 - path), path);
    TRY(path_inside(dir, name, same, sizeof same), "checkpoint");
    return store_verify(path);
}

/* Steps of RUN/checkpoints/step-N.h5, newest first. */
static int list_steps(const char *run, int64_t *steps, int most)
{
    char dir[600];
    snprintf(dir, sizeof dir, "%.560s/checkpoints", run);
    DIR *d = opendir(dir);
    int n = 0;
    if (!d) return 0;
    for (struct dirent *e; (e = readdir(d)) && n < most;) {
        long long step;
        char tail[8];
        if (sscanf(e->d_name, "step-%lld.%7s", &step, tail) == 2 && strcmp(tail, "h5") == 0) steps[n++] = step;
    }
    closedir(d);
    qsort(steps, (size_t)n, sizeof *steps, by_step_down);
    return n;
}

status checkpoint_newest(const char *run, char path[600])
{
    int64_t steps[MOST_FILES];
    int n = list_steps(run, steps, MOST_FILES);
    path[0] = 0;
    for (int i = 0; i < n; i++) {
        status st = verify_step(run, steps[i], path);
        if (st != ST_DATA) return st; /* good, or unreadable now: out of memory makes no checkpoint bad */
        log_line(LOG_WARN, "%s: damaged, trying the one before: %s", path, status_message());
    }
    path[0] = 0;
    CHECK(n == 0, ST_DATA, "%s/checkpoints: none of %d checkpoints can be read", run, n);
    return OK;
}

status checkpoint_find(trainer *t, char path[600])
{
    path[0] = 0;
    TRY(comm_agree(t->world, t->rank == 0 ? checkpoint_newest(t->job.run, path) : OK), "resume");
    snprintf(t->verified, sizeof t->verified, "%s", path);
    return comm_bcast(t->world, path, 600, 0);
}

static void remove_file(const char *path)
{
    fault_hit("save_unlink");
    if (unlink(path) != 0) log_line(LOG_WARN, "cannot remove %s: %s", path, strerror(errno));
}

/* Keeps the newest job.train.keep among those up to `step`, which has just been written and compared with memory: whatever became of the
 * others since, the last good one stays. Later ones are not of this run's past and do not count. */
void checkpoint_prune(const trainer *t, int64_t step)
{
    int64_t steps[MOST_FILES];
    int n = list_steps(t->job.run, steps, MOST_FILES), kept = 0;
    fault_hit("save_prune");
    for (int i = 0; i < n; i++) {
        char path[600];
        if (steps[i] > step || kept++ < t->job.train.keep) continue;
        step_path(t->job.run, steps[i], path);
        remove_file(path);
    }
}

/* Calls act for every file of the folder RUN/sub whose name ends with `tail`. */
static void each_file(const trainer *t, const char *sub, const char *tail, void (*act)(const char *path))
{
    char dir[600], path[900];
    snprintf(dir, sizeof dir, "%.560s%s", t->job.run, sub);
    DIR *d = opendir(dir);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        size_t n = strlen(e->d_name), m = strlen(tail);
        if (n <= m || strcmp(e->d_name + n - m, tail) != 0) continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        act(path);
    }
    closedir(d);
}

static void remove_leftover(const char *path)
{
    log_line(LOG_INFO, "%s: left by a run that was ended while it saved; removed", path);
    remove_file(path);
}

void checkpoint_tidy(const trainer *t)
{
    each_file(t, "", ".part", remove_leftover);
    each_file(t, "/checkpoints", ".part", remove_leftover);
}

/* What is newer than the checkpoint that was taken did not pass: it must not be met again, nor count as kept. */
void checkpoint_set_aside(const trainer *t)
{
    int64_t steps[MOST_FILES];
    int n = list_steps(t->job.run, steps, MOST_FILES);
    for (int i = 0; i < n && steps[i] > t->step; i++) {
        char path[600], aside[620];
        step_path(t->job.run, steps[i], path);
        snprintf(aside, sizeof aside, "%s.damaged", path);
        if (rename(path, aside) != 0) log_line(LOG_WARN, "cannot rename %s to %s: %s", path, aside, strerror(errno));
        else log_line(LOG_WARN, "%s: set aside as %s", path, aside);
    }
}

void checkpoint_remove_all(const trainer *t)
{
    int64_t steps[MOST_FILES];
    for (int n; (n = list_steps(t->job.run, steps, MOST_FILES)) > 0;) {
        char path[600];
        for (int i = 0; i < n; i++) {
            step_path(t->job.run, steps[i], path);
            remove_file(path);
        }
        if (path_exists(path)) break; /* it cannot be removed */
    }
    each_file(t, "/checkpoints", ".damaged", remove_file);
}
