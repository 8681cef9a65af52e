/* checkpoint: one HDF5 file with every array by name; written aside, synced, renamed; any number of ranks reads what any other wrote.
 *
 *   /                    attributes format, format_version, step, seed, best_score, best_step, plan (text), program
 *   /weights/NAME        f32, with attribute sum_exponent (the exact sum's scale)
 *   /m/NAME /v/NAME      f32 moments;  /ema/NAME f32 moving average, if the job has one
 *   /task/NAME           attributes suspended, failures, dropped, cost_s
 *
 * Sample cursors follow from the step: position = (step * units + number) * batch + i in the endless sequence of epochs (data/order.c). */
#include "train_internal.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VERSION = 1, TAG_TENSOR = 900 };

/* ---- write ---------------------------------------------------------------------------------------------------------------- */

/* Writes one array of tensor i; rank 0 takes heads it does not own from their lead rank. Collective in its sends and receives only. */
static status put_tensor(trainer *t, store *s, int i, const char *group, const float *arena, float *buf, status *local)
{
    const param *p = &t->pt.p[i];
    int lead = p->block < BLOCK_HEAD0 ? 0 : t->ts[p->block - BLOCK_HEAD0].lead;
    const float *data = p->off >= 0 ? arena + p->off : NULL;
    if (lead != 0) {
        if (t->rank == lead) TRY(comm_send(t->world, 0, TAG_TENSOR, data, sizeof(float) * (size_t)p->n), "%s", p->name);
        if (t->rank == 0) {
            TRY(comm_recv(t->world, lead, TAG_TENSOR, buf, sizeof(float) * (size_t)p->n), "%s", p->name);
            data = buf;
        }
    }
    if (t->rank != 0 || *local) return OK;
    char name[200];
    snprintf(name, sizeof name, "%s/%s", group, p->name);
    *local = store_write(s, name, DT_F32, p->ndim, p->shape, data, 0); /* what fails here is agreed on after the last tensor */
    return OK;
}

static status put_head(trainer *t, store *s, const int64_t *exponent, bool full)
{
    char *plan;
    TRY(store_put_str(s, "/", "format", "medley-checkpoint"), "header");
    TRY(store_put_i64(s, "/", "format_version", VERSION), "header");
    TRY(store_put_i64(s, "/", "step", t->step), "header");
    TRY(store_put_i64(s, "/", "seed", t->job.seed), "header");
    TRY(store_put_i64(s, "/", "full", full), "header");
    TRY(store_put_f64(s, "/", "best_score", t->best_score), "header");
    TRY(store_put_i64(s, "/", "best_step", t->best_step), "header");
    TRY(store_put_i64(s, "/", "total_images", t->total_images), "header");
    TRY(plan_text(t, &plan), "header");
    int64_t n = (int64_t)strlen(plan) + 1;
    status st = store_write(s, "plan", DT_U8, 1, &n, plan, 0);
    free(plan);
    TRY(st, "header");
    int64_t count = t->pt.n;
    TRY(store_write(s, "sum_exponent", DT_I64, 1, &count, exponent, 0), "header");
    for (int i = 0; i < t->n_tasks; i++) {
        const task_state *ts = &t->ts[i];
        char name[128];
        snprintf(name, sizeof name, "task/%s", ts->task.spec.name);
        double state[] = {ts->suspended, (double)ts->failures, (double)ts->dropped, ts->cost_s};
        int64_t four = 4;
        TRY(store_write(s, name, DT_F64, 1, &four, state, 0), "task state");
    }
    return OK;
}

/* All ranks' exponents, indexed by tensor: heads are known to their ranks only. */
static status gather_exponents(trainer *t, int64_t *out)
{
    double *d;
    TRY(mem_alloc(&d, sizeof *d * (size_t)t->pt.n, "exponents"), "checkpoint");
    for (int i = 0; i < t->pt.n; i++) d[i] = -1e18;
    for (int k = 0; t->sum.tensor && k < t->n_local; k++) d[t->local[k]] = t->sum.tensor[k].exponent;
    status st = comm_max_f64(t->world, d, t->pt.n);
    for (int i = 0; i < t->pt.n; i++) out[i] = d[i] < -1e17 ? SUM_EXPONENT_UNKNOWN : (int64_t)d[i];
    free(d);
    return st;
}

status checkpoint_save(trainer *t, const char *path, bool full)
{
    store *s = NULL;
    float *buf = NULL;
    int64_t *exponent = NULL, largest = 0;
    for (int i = 0; i < t->pt.n; i++)
        if (t->pt.p[i].n > largest) largest = t->pt.p[i].n;
    status local = mem_alloc(&exponent, sizeof *exponent * (size_t)t->pt.n, "exponents"), st;
    TRY_TO(done, comm_agree(t->world, local), "checkpoint");
    TRY_TO(done, gather_exponents(t, exponent), "checkpoint");
    if (t->rank == 0) {
        local = mem_alloc(&buf, sizeof *buf * (size_t)largest, "checkpoint buffer");
        if (!local && fault_hit("save_create")) local = status_raise(ST_RESOURCE, __FILE__, __LINE__, "%s: fault planted", path);
        if (!local) local = store_create(&s, path);
        if (!local) local = put_head(t, s, exponent, full);
    }
    TRY_TO(done, comm_agree(t->world, local), "checkpoint %s", path);
    struct { const char *group; const float *arena; } part[] = {{"weights", t->w}, {"ema", t->ema}, {"m", t->m}, {"v", t->v}};
    for (int a = 0; a < (full ? 4 : 2); a++)
        for (int i = 0; part[a].arena && i < t->pt.n; i++) {
            watchdog_tick(t->step, "save", NULL);
            TRY_TO(done, put_tensor(t, s, i, part[a].group, part[a].arena, buf, &local), "checkpoint");
        }
    fault_hit("save_written");
    if (t->rank == 0 && !local) {
        local = store_commit(s);
        s = NULL;
    }
    fault_hit("save_committed");
    st = comm_agree(t->world, local);
done:
    store_discard(s);
    free(buf);
    free(exponent);
    return st;
}

/* ---- read ----------------------------------------------------------------------------------------------------------------- */

/* The first line in which two plans differ. */
static status compare_plans(const char *path, const char *was, const char *is)
{
    while (*was && *is) {
        size_t n = strcspn(was, "\n"), m = strcspn(is, "\n");
        CHECK(n == m && memcmp(was, is, n) == 0, ST_USAGE,
              "%s was made by another job: it has \"%.*s\", the job file has \"%.*s\". Use another run folder, or --fresh to start over", path,
              (int)n, was, (int)m, is);
        was += n + (was[n] == '\n');
        is += m + (is[m] == '\n');
    }
    CHECK(!*was && !*is, ST_USAGE, "%s was made by another job (other tasks). Use another run folder, or --fresh to start over", path);
    return OK;
}

static status check_plan(trainer *t, store *s, const char *path)
{
    enum dtype type;
    int ndim;
    int64_t dims[8];
    char *was = NULL, *is = NULL;
    status st;
    TRY(store_shape(s, "plan", &type, &ndim, dims), "%s", path);
    CHECK(type == DT_U8 && ndim == 1 && dims[0] > 0 && dims[0] < 1 << 24, ST_DATA, "%s: object plan has an unexpected shape", path);
    TRY(mem_alloc(&was, (size_t)dims[0] + 1, "plan"), "checkpoint");
    TRY_TO(done, store_read(s, "plan", DT_U8, dims[0], was), "%s", path);
    TRY_TO(done, plan_text(t, &is), "checkpoint");
    st = compare_plans(path, was, is);
done:
    free(was);
    free(is);
    return st;
}

static status get_state(trainer *t, store *s, const char *path)
{
    int64_t n = t->pt.n, *exponent;
    TRY(mem_alloc(&exponent, sizeof *exponent * (size_t)n, "exponents"), "checkpoint");
    status st = store_read(s, "sum_exponent", DT_I64, n, exponent);
    for (int k = 0; !st && t->sum.tensor && k < t->n_local; k++) t->sum.tensor[k].exponent = (int)exponent[t->local[k]];
    free(exponent);
    TRY(st, "%s", path);
    for (int i = 0; i < t->n_tasks; i++) {
        task_state *ts = &t->ts[i];
        char name[128];
        double state[4];
        snprintf(name, sizeof name, "task/%s", ts->task.spec.name);
        TRY(store_read(s, name, DT_F64, 4, state), "%s", path);
        ts->suspended = state[0] != 0, ts->failures = (int64_t)state[1], ts->dropped = (int64_t)state[2], ts->cost_s = state[3];
    }
    TRY(store_get_f64(s, "/", "best_score", &t->best_score), "%s", path);
    TRY(store_get_i64(s, "/", "best_step", &t->best_step), "%s", path);
    TRY(store_get_i64(s, "/", "total_images", &t->total_images), "%s", path);
    return OK;
}

static status load_local(trainer *t, const char *path, bool full)
{
    store *s = NULL;
    status st;
    TRY(store_open(&s, path), "checkpoint");
    char format[64];
    int64_t version, step, is_full;
    TRY_TO(done, store_get_str(s, "/", "format", format, sizeof format), "%s", path);
    TRY_TO(done, store_get_i64(s, "/", "format_version", &version), "%s", path);
    CHECK_TO(done, strcmp(format, "medley-checkpoint") == 0 && version == VERSION, ST_DATA, "%s: not a checkpoint of version %d", path, VERSION);
    TRY_TO(done, store_get_i64(s, "/", "step", &step), "%s", path);
    TRY_TO(done, store_get_i64(s, "/", "full", &is_full), "%s", path);
    CHECK_TO(done, !full || is_full, ST_DATA, "%s: holds weights only", path);
    TRY_TO(done, check_plan(t, s, path), "resume");
    for (int k = 0; k < t->n_local; k++) {
        const param *p = &t->pt.p[t->local[k]];
        char name[200];
        bool average = !full && store_has(s, "ema"); /* what is used, not trained on, is the average */
        struct { const char *group; float *arena; } part[] = {{average ? "ema" : "weights", t->w}, {"ema", t->ema}, {"m", t->m}, {"v", t->v}};
        for (int a = 0; a < (full ? 4 : 1); a++) {
            if (!part[a].arena) continue;
            snprintf(name, sizeof name, "%s/%s", part[a].group, p->name);
            TRY_TO(done, store_read(s, name, DT_F32, p->n, part[a].arena + p->off), "%s", path);
        }
    }
    if (full) TRY_TO(done, get_state(t, s, path), "resume");
    t->step = step;
done:
    store_close(s);
    return st;
}

status checkpoint_costs(trainer *t)
{
    double *cost;
    TRY(mem_alloc(&cost, sizeof *cost * (size_t)t->n_tasks, "costs"), "checkpoint");
    store *s = NULL;
    if (t->rank == 0 && store_open(&s, t->from) == OK) {
        for (int i = 0; i < t->n_tasks; i++) {
            char name[128];
            double state[4];
            snprintf(name, sizeof name, "task/%s", t->job.task[i].name);
            if (store_has(s, name) && store_read(s, name, DT_F64, 4, state) == OK) cost[i] = state[3]; /* else: planned by arithmetic */
        }
        store_close(s);
    }
    status st = comm_bcast(t->world, cost, sizeof *cost * (size_t)t->n_tasks, 0);
    bool all = true;
    for (int i = 0; i < t->n_tasks; i++) all &= cost[i] > 0;
    for (int i = 0; all && i < t->n_tasks; i++) t->ts[i].cost_s = cost[i]; /* seconds and arithmetic do not mix */
    free(cost);
    return st;
}

status checkpoint_load(trainer *t, const char *path, bool full) { return comm_agree(t->world, load_local(t, path, full)); }

/* ---- choose and prune ------------------------------------------------------------------------------------------------------- */

static int by_step_down(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* Steps of RUN/checkpoints/step-N.h5, newest first. */
static int list_steps(const trainer *t, int64_t *steps, int most)
{
    char dir[600];
    snprintf(dir, sizeof dir, "%s/checkpoints", t->job.run);
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

static void step_path(const trainer *t, int64_t step, char path[600])
{
    snprintf(path, 600, "%.560s/checkpoints/step-%09lld.h5", t->job.run, (long long)step);
}

/* Reads every array of the file: a flipped bit anywhere shows. */
static status verify_all(store *s, const char *group, void **buf, int64_t *room)
{
    int n;
    char(*name)[128];
    TRY(store_list(s, group, &n, &name), "%s", group);
    status st = OK;
    for (int i = 0; i < n && !st; i++) {
        char path[300];
        enum dtype type;
        int ndim;
        int64_t dims[8], count = 1;
        snprintf(path, sizeof path, "%s%s%s", group, strcmp(group, "/") ? "/" : "", name[i]);
        st = store_shape(s, path, &type, &ndim, dims);
        if (st) { /* a group */
            st = verify_all(s, path, buf, room);
            continue;
        }
        for (int k = 0; k < ndim; k++) count *= dims[k];
        int64_t bytes = count * (int64_t)dtype_bytes(type);
        if (bytes > *room) {
            free(*buf);
            *buf = NULL, *room = 0;
            st = mem_alloc(buf, (size_t)bytes, "verification");
            if (!st) *room = bytes;
        }
        if (!st) st = store_read(s, path, type, count, *buf);
    }
    free(name);
    return st;
}

static status verify(const char *path)
{
    store *s;
    void *buf = NULL;
    int64_t room = 0;
    TRY(store_open(&s, path), "checkpoint");
    status st = verify_all(s, "/", &buf, &room);
    free(buf);
    store_close(s);
    return st;
}

status checkpoint_find(trainer *t, char path[600])
{
    path[0] = 0;
    status st = OK;
    if (t->rank == 0) {
        int64_t steps[1000];
        int n = list_steps(t, steps, 1000), i = 0;
        for (; i < n; i++) {
            step_path(t, steps[i], path);
            st = verify(path);
            if (st != ST_DATA) break; /* good, or unreadable now: out of memory makes no checkpoint bad */
            log_line(LOG_WARN, "%s: damaged, trying the one before: %s", path, status_message());
        }
        if (i == n) {
            path[0] = 0;
            st = n > 0 ? status_raise(ST_DATA, __FILE__, __LINE__, "%s/checkpoints: none of %d checkpoints can be read", t->job.run, n) : OK;
        }
    }
    TRY(comm_agree(t->world, st), "resume");
    return comm_bcast(t->world, path, 600, 0);
}

static void remove_beyond(const trainer *t, int keep)
{
    int64_t steps[1000];
    int n = list_steps(t, steps, 1000);
    for (int i = keep; i < n; i++) {
        char path[600];
        step_path(t, steps[i], path);
        if (unlink(path) != 0) log_line(LOG_WARN, "cannot remove %s", path);
    }
}

/* Keeps the newest ones; the very newest was verified when it was committed. */
void checkpoint_prune(trainer *t)
{
    if (t->rank == 0) remove_beyond(t, t->job.train.keep);
}

void checkpoint_remove_all(trainer *t) { remove_beyond(t, 0); }
