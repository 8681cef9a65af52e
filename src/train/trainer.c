/* trainer: opens a run folder for training or for use, and closes it. */
#include "train_internal.h"

#include "medley/kern.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static status make(trainer **out, comm *world, const job *j)
{
    trainer *t;
    TRY(mem_alloc(&t, sizeof *t, "trainer"), "start");
    t->world = world;
    t->rank = comm_rank(world);
    t->size = comm_size(world);
    t->job = *j;
    t->best_score = -1;
    t->started = timer_now();
    watchdog_limit(j->train.watchdog_s, j->run);
    *out = t;
    return OK;
}

/* RUN/job.cfg: the resolved job file, rank 0. */
static status write_job(const trainer *t)
{
    char path[700], *text = NULL;
    size_t n = 0;
    snprintf(path, sizeof path, "%s/checkpoints", t->job.run);
    TRY(path_make_dirs(path), "run folder");
    FILE *f;
    TRY(mem_text_open(&f, &text, &n, "resolved job file"), "run folder");
    status st = job_print(&t->job, f), closed = mem_text_close(f, &text, "resolved job file");
    if (!st) st = closed;
    snprintf(path, sizeof path, "%s/job.cfg", t->job.run);
    if (!st) st = file_write_atomic(path, text, n);
    free(text);
    return st;
}

static status remove_old(const trainer *t)
{
    char path[700];
    static const char *const files[] = {"best.h5", "record.jsonl"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", t->job.run, files[i]);
        CHECK(unlink(path) == 0 || !path_exists(path), ST_RESOURCE, "cannot remove %s", path);
    }
    return OK;
}

void trainer_take_encoder(trainer *t, const weights *from)
{
    for (int i = 0; i < from->enc.n_params; i++) {
        const param *p = &t->pt.p[t->shared.enc.index[i]];
        memcpy(t->w + p->off, PW(&from->pt, from->w, from->enc.index[i]), sizeof(float) * (size_t)p->n);
    }
}

/* The encoder of model.init instead of random weights. Collective. */
static status start_from_file(trainer *t)
{
    weights from = {0};
    TRY(weights_open_all(&from, t->world, t->job.model.init, &(weights_ask){.encoder = t->job.model.encoder}), "%s: model.init", t->job.file);
    log_line(LOG_INFO, "%s: the encoder starts from it (names of %s%s)", from.path, naming_name[from.naming], from.average ? ", moving average" : "");
    trainer_take_encoder(t, &from);
    weights_close(&from);
    return OK;
}

static status note_start(trainer *t)
{
    record *r = t->record;
    record_begin(r, "start");
    record_i64(r, "step", t->step);
    record_i64(r, "steps", t->job.train.steps);
    record_i64(r, "ranks", t->size);
    record_i64(r, "threads", kern_threads());
    record_i64(r, "tasks", t->n_tasks);
    record_i64(r, "units", t->n_units);
    record_f64(r, "imbalance", t->imbalance);
    record_str(r, "encoder", t->job.model.encoder);
    record_str(r, "init", t->job.model.init);
    record_str(r, "sum", t->job.train.sum);
    record_str(r, "precision", t->job.train.precision);
    record_i64(r, "parameters", params_count(&t->pt, -1));
    record_f64(r, "start_s", timer_now() - t->started);
    record_str(r, "blas", kern_blas_name());
    record_str(r, "mpi", comm_library());
    if (t->from[0]) record_str(r, "resumed_from", t->from);
    return record_end(r);
}

static status say_plan(const trainer *t)
{
    log_line(LOG_INFO, "%s: %d tasks, %d units a step on %d ranks x %d threads, planned imbalance %.2f", t->job.file, t->n_tasks, t->n_units,
             t->size, kern_threads(), t->imbalance);
    log_line(LOG_INFO, "%s: %.2f M parameters shared, %.3f M in heads; %.1f MiB state and %.1f MiB activations on rank 0", t->shared.enc.variant,
             1e-6 * (double)(params_count(&t->pt, 0) + params_count(&t->pt, 1) + params_count(&t->pt, 2)),
             1e-6 * (double)(params_count(&t->pt, -1) - params_count(&t->pt, 0) - params_count(&t->pt, 1) - params_count(&t->pt, 2)),
             (double)(held_elements(t) * (t->sum.exact ? 24 : 20)) / 1048576, (double)t->act_arena.size / 1048576);
    for (int b = BLOCK_SEG; b < BLOCK_HEAD0; b++)
        if (!t->block[b].everywhere)
            log_line(LOG_INFO, "the %s is held by %d of %d ranks: %.2f M parameters of the shared ones", block_name[b], t->block[b].n_ranks, t->size,
                     1e-6 * (double)params_count(&t->pt, b));
    for (int i = 0, u = 0; i < t->n_tasks; i++) {
        const task_state *ts = &t->ts[i];
        char ranks[128] = "";
        for (int k = 0; k < t->job.task[i].units; k++, u++) {
            size_t at = strlen(ranks);
            snprintf(ranks + at, sizeof ranks - at, "%s%d", k ? "," : "", t->rank_of[u]);
        }
        log_line(LOG_INFO, "  %-24s %-14s %2d classes  %5lld train %4lld val %4lld test  %dx%d x%d  rank %s%s", ts->task.spec.name,
                 task_kind_name[ts->task.spec.kind], ts->task.spec.K, (long long)ts->n_split[0], (long long)ts->n_split[1],
                 (long long)ts->n_split[2], ts->task.spec.H, ts->task.spec.W, ts->task.spec.batch, ranks,
                 task_rests(ts) ? "  rests" : ts->suspended ? "  suspended" : "");
    }
    for (int i = 0; i < t->n_tasks; i++) {
        char said[256];
        if (job_memory(&t->job) == 0 && t->ts[i].task.spec.micro == t->ts[i].task.spec.batch) continue;
        TRY(budget_say(t, i, said, sizeof said), "plan");
        log_line(LOG_INFO, "memory %s a rank: task %s: %s", t->job.train.memory[0] ? t->job.train.memory : "unlimited",
                 t->ts[i].task.spec.name, said);
    }
    if (t->from[0]) log_line(LOG_INFO, "resumed from %s at step %lld", t->from, (long long)t->step);
    return OK;
}

static status open_training(trainer *t, bool fresh)
{
    char path[700];
    status st = t->rank == 0 ? path_make_dirs(t->job.run) : OK;
    if (t->rank == 0 && !st) st = run_lock(t);
    TRY(comm_agree(t->world, st), "run folder %s", t->job.run);
    if (!fresh) TRY(checkpoint_find(t, t->from), "resume");
    status planned = plan_make(t, true);
    if (planned) return planned;
    params_init_weights(&t->pt, (uint64_t)t->job.seed, t->w);
    if (job_starts_from_file(&t->job) && !t->from[0]) TRY(start_from_file(t), "start");
    for (int k = 0; t->ema && k < t->n_local; k++) {
        const param *p = &t->pt.p[t->local[k]];
        if (held(p) && node_state_holds(t, p)) memcpy(t->ema + p->off, t->w + p->off, sizeof *t->w * (size_t)p->n);
    }
    if (t->from[0]) TRY(checkpoint_load(t, t->from, true), "resume");
    if (t->rank == 0) {
        checkpoint_tidy(t);
        if (fresh) st = remove_old(t);
        if (fresh && !st) checkpoint_remove_all(t);
        if (t->from[0] && !st) {
            checkpoint_set_aside(t);
            checkpoint_prune(t, t->step);
        }
        if (!st) st = write_job(t);
        if (!st) st = trace_tidy(t);
        snprintf(path, sizeof path, "%s/record.jsonl", t->job.run);
        if (!st) st = record_open(&t->record, path, t->step);
        if (!st) st = note_start(t);
    }
    TRY(comm_agree(t->world, st), "run folder %s", t->job.run);
    TRY(comm_agree(t->world, trace_open(t)), "run folder %s", t->job.run);
    return comm_agree(t->world, say_plan(t));
}

status trainer_open(trainer **out, comm *world, const job *j, bool fresh)
{
    trainer *t = NULL;
    stop_install();
    TRY(make(&t, world, j), "start");
    status st = open_training(t, fresh);
    if (st) {
        trainer_close(t);
        return st;
    }
    *out = t;
    return OK;
}

static status open_use(trainer *t, const char *weights)
{
    char path[1300];
    status planned = plan_make(t, false);
    if (planned) return planned;
    if (strcmp(weights, "last") == 0) {
        char found[600];
        TRY(checkpoint_find(t, found), "weights");
        CHECK(found[0], ST_DATA, "%s: no checkpoint", t->job.run);
        snprintf(path, sizeof path, "%s", found);
    } else if (strcmp(weights, "best") == 0) snprintf(path, sizeof path, "%s/best.h5", t->job.run);
    else snprintf(path, sizeof path, "%s", weights);
    return checkpoint_load(t, path, false);
}

status trainer_open_run(trainer **out, comm *world, const char *run, const char *weights)
{
    char path[600];
    job *j;
    trainer *t = NULL;
    snprintf(path, sizeof path, "%s/job.cfg", run);
    TRY(mem_alloc(&j, sizeof *j, "job"), "start");
    status st = job_load(j, path, NULL, 0);
    if (!st) snprintf(j->run, sizeof j->run, "%s", run); /* the folder may have moved */
    st = comm_agree(world, st);
    if (!st) st = make(&t, world, j);
    free(j);
    TRY(st, "%s", run);
    st = open_use(t, weights);
    if (st) {
        trainer_close(t);
        return st;
    }
    *out = t;
    return OK;
}

void trainer_close(trainer *t)
{
    if (!t) return;
    watchdog_tick(t->step, "close", NULL); /* the loader's thread may hang */
    if (t->loader) loader_close(t->loader);
    save_close(t);
    times_close(t);
    record_close(t->record);
    if (t->trace) fclose(t->trace);
    run_unlock(t);
    plan_free(t);
    free(t);
}

const job *trainer_job(const trainer *t) { return &t->job; }
int trainer_n_tasks(const trainer *t) { return t->n_tasks; }
const task *trainer_task(const trainer *t, int i) { return &t->ts[i].task; }
int64_t trainer_step(const trainer *t) { return t->step; }
