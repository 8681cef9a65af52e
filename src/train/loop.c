/* loop: steps, and what happens between them: log, validate, save, stop. Time and signals are judged once and told to all ranks. */
#include "train_internal.h"

#include "medley/kern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what the run says of itself ---------------------------------------------------------------------------------------- */

/* Collective: the slowest rank's seconds per verb, all ranks' images. */
static status gather_times(trainer *t, double slowest[N_VERBS + 1], double *images, double *memory)
{
    for (int v = 0; v < N_VERBS; v++) slowest[v] = t->verb_s[v];
    slowest[N_VERBS] = t->wait_s;
    TRY(comm_max_f64(t->world, slowest, N_VERBS + 1), "times");
    *images = (double)t->images;
    TRY(comm_sum_f64(t->world, images, 1), "images");
    *memory = (double)memory_peak_bytes();
    return comm_max_f64(t->world, memory, 1);
}

/* Under mpirun every rank has a terminal of its own, so isatty says yes always: then the launcher's output counts. */
static bool on_terminal(void)
{
    if (!isatty(STDOUT_FILENO)) return false;
    if (!getenv("OMPI_COMM_WORLD_RANK")) return true;
    char link[64], target[64];
    snprintf(link, sizeof link, "/proc/%d/fd/1", (int)getppid());
    ssize_t n = readlink(link, target, sizeof target - 1);
    target[n > 0 ? n : 0] = 0;
    return strncmp(target, "/dev/pts/", 9) == 0 || strncmp(target, "/dev/tty", 8) == 0;
}

/* last: of this trainer. */
static status log_steps(trainer *t, bool last)
{
    double slowest[N_VERBS + 1], images, memory;
    TRY(gather_times(t, slowest, &images, &memory), "log");
    TRY(times_gather(t), "log");
    double elapsed = timer_now() - t->since, rate = images / elapsed, loss = 0;
    int n = 0;
    t->total_images += (int64_t)images;
    for (int i = 0; i < t->n_tasks; i++)
        if (isfinite(t->ts[i].loss)) loss += t->ts[i].loss, n++;
    loss = n ? loss / n : NAN;
    status st = OK;
    if (t->rank == 0) {
        record *r = t->record;
        record_begin(r, "step");
        record_i64(r, "step", t->step);
        record_f64(r, "lr", t->lr);
        record_f64(r, "loss", loss);
        record_f64(r, "images", images);
        record_f64(r, "images_per_s", rate);
        record_f64(r, "grad_norm", t->grad_norm);
        for (int v = 0; v < N_VERBS; v++) {
            char key[32];
            snprintf(key, sizeof key, "%s_s", verb_name[v]);
            record_f64(r, key, slowest[v] / (double)t->steps_since);
        }
        record_f64(r, "wait_s", slowest[N_VERBS] / (double)t->steps_since);
        record_f64(r, "step_s", elapsed / (double)t->steps_since);
        record_f64(r, "memory_bytes", memory);
        record_i64(r, "dropped", t->n_dropped);
        if (isfinite(t->sum_bytes)) record_f64(r, "sum_bytes", t->sum_bytes);
        for (int i = 0; i < t->n_tasks; i++) {
            char key[96];
            snprintf(key, sizeof key, "loss/%s", t->ts[i].task.spec.name);
            record_f64(r, key, t->ts[i].loss);
        }
        st = record_end(r);
        if (!st) st = times_record(t, elapsed, last);

        char left[32], bar[32] = "";
        double per_step = elapsed / (double)t->steps_since;
        text_seconds(per_step * (double)(t->job.train.steps - t->step), left);
        bool terminal = on_terminal();
        int done = (int)(20 * t->step / t->job.train.steps);
        for (int k = 0; terminal && k < 20; k++) bar[k] = k < done ? '#' : '.';
        log_progress("%s%s%sstep %lld/%lld  loss %.3f  lr %.2e  |g| %.2f  %.1f images/s  %s left%s", terminal ? "\r[" : "", bar,
                     terminal ? "] " : "", (long long)t->step, (long long)t->job.train.steps, loss, t->lr, t->grad_norm, rate, left,
                     terminal && t->step < t->job.train.steps ? "   " : "\n");
    }
    memset(t->verb_s, 0, sizeof t->verb_s);
    times_reset(t);
    t->wait_s = 0;
    t->images = t->steps_since = 0;
    t->since = timer_now();
    return comm_agree(t->world, st);
}

static status note_event(trainer *t, const char *event, const char *text)
{
    if (t->rank != 0) return OK;
    record_begin(t->record, event);
    record_i64(t->record, "step", t->step);
    record_f64(t->record, "seconds", timer_now() - t->started);
    times_put_pauses(t, t->record);
    if (text) record_str(t->record, "text", text);
    return record_end(t->record);
}

static status note_end(trainer *t, double memory)
{
    if (t->rank != 0) return OK;
    record_begin(t->record, "end");
    record_i64(t->record, "step", t->step);
    record_f64(t->record, "seconds", timer_now() - t->started);
    record_f64(t->record, "memory_bytes", memory);
    times_put_pauses(t, t->record);
    return record_end(t->record);
}

/* ---- between steps -------------------------------------------------------------------------------------------------------- */

/* Rank 0's clock decides; the others are told. */
static status decide(trainer *t, bool *save_now, bool *stop_now)
{
    bool flags[2] = {false, false};
    if (t->rank == 0) {
        double minutes = t->job.train.checkpoint_minutes;
        flags[0] = minutes > 0 && timer_now() - t->last_checkpoint_time > 60 * minutes;
        flags[1] = stop_due(t);
    }
    TRY(comm_bcast(t->world, flags, sizeof flags, 0), "clock");
    *save_now = flags[0];
    *stop_now = flags[1] || t->report[REPORT_STOP] > 0;
    return OK;
}

static status save(trainer *t)
{
    double began = timer_now();
    status begun = watchdog_point(t->step, "save", NULL, ST_RESOURCE);
    if (begun) begun = status_note(begun, __FILE__, __LINE__, "step %lld", (long long)t->step);
    TRY(comm_agree(t->world, begun), "checkpoint");
    TRY(save_begin(t, true), "checkpoint");
    t->last_checkpoint_time = timer_now();
    t->since += t->last_checkpoint_time - began; /* saving is not training: keep it out of images/s */
    t->times.pause_s[PAUSE_CHECKPOINT] += t->last_checkpoint_time - began;
    return OK;
}

/* A stop that comes meanwhile cuts it short: then it is due still. */
static status validate(trainer *t, bool *stop_now)
{
    double began = timer_now();
    bool cut;
    TRY(validate_all(t, &cut), "validation");
    t->validation_due = cut;
    *stop_now |= cut;
    double took = timer_now() - began;
    t->since += took;
    t->times.pause_s[PAUSE_VALIDATION] += took;
    return OK;
}

static bool every(int64_t step, int64_t n) { return n > 0 && step % n == 0; }

/* Everything that this step's end asks for. A step that was given up has had its end already. */
static status end_step(trainer *t, bool cut, bool *stop_now)
{
    const job *j = &t->job;
    bool save_now = false, last = t->step == j->train.steps;
    TRY(save_look(t), "training");
    TRY(decide(t, &save_now, stop_now), "training");
    if (cut) save_now = t->save.last_step != t->step;
    else save_now |= *stop_now || every(t->step, j->train.checkpoint_every) || last;
    bool validating = !cut && (every(t->step, j->train.validate_every) || last);
    if (j->train.check_replicas_every > 0 && (validating || save_now || every(t->step, j->train.check_replicas_every)))
        TRY(replicas_check(t), "training"); /* before best.h5 or a checkpoint could take in what differs */
    if (!cut) {
        if (every(t->step, j->train.log_every) || last || *stop_now) TRY(log_steps(t, last || *stop_now), "training");
        t->validation_due = validating;
        if (validating && !*stop_now) TRY(validate(t, stop_now), "training");
        save_now |= *stop_now;
    }
    return save_now ? save(t) : OK;
}

/* The last saves are on disk. */
static status finish_saving(trainer *t)
{
    double began = timer_now();
    TRY(save_finish(t), "training");
    t->times.pause_s[PAUSE_CHECKPOINT] += timer_now() - began;
    return OK;
}

static status stopped(trainer *t)
{
    TRY(finish_saving(t), "training");
    TRY(comm_agree(t->world, note_event(t, "stop", "checkpointed on request")), "training");
    return status_raise(ST_STOPPED, __FILE__, __LINE__, "stopped at step %lld of %lld with a checkpoint; run the same command again to go on",
                        (long long)t->step, (long long)t->job.train.steps);
}

/* What a run before was stopped in: its validation, then the same checkpoint again, which knows that now. */
static status owed_validation(trainer *t, bool *stop_now)
{
    if (!t->validation_due) return OK;
    TRY(validate(t, stop_now), "training");
    return *stop_now ? OK : save(t);
}

/* The end of this trainer but not of the run: what has been measured is logged, and a checkpoint is there to go on from. */
static status leave_for_now(trainer *t)
{
    if (t->steps_since > 0) TRY(log_steps(t, true), "training");
    if (t->save.last_step != t->step) TRY(save(t), "training");
    return save_finish(t);
}

status trainer_run(trainer *t, bool *again)
{
    const job *j = &t->job;
    status st = save_open(t);
    if (!st && t->step < j->train.steps && t->n_mine > 0) /* more ranks than units: some only sum and update */
        st = loader_open(&t->loader, t->uses, t->n_uses, t->mine, t->n_mine, (uint64_t)j->seed, t->step, j->train.prefetch);
    TRY(comm_agree(t->world, st), "start");
    TRY(times_open(t), "start");
    stop_plan(t);
    t->since = timer_now();
    t->last_checkpoint_time = t->since;
    bool stop_now = false;
    *again = false;
    t->opened = t->step;
    TRY(owed_validation(t, &stop_now), "training");
    while (t->step < j->train.steps && !stop_now) {
        double began = timer_now();
        TRY(step_run(t), "training");
        t->longest_step_s = fmax(t->longest_step_s, timer_now() - began);
        TRY(end_step(t, t->report[REPORT_CUT] > 0, &stop_now), "training");
        if (!stop_now && t->step < j->train.steps) TRY(rebalance_look(t, again), "training");
        if (*again) return leave_for_now(t);
    }
    if (stop_now && (t->step < j->train.steps || t->validation_due)) return stopped(t);
    TRY(finish_saving(t), "training");
    double memory = (double)memory_peak_bytes(); /* of the largest rank, validation and checkpoints included */
    TRY(comm_max_f64(t->world, &memory, 1), "memory");
    TRY(comm_agree(t->world, note_end(t, memory)), "training");
    char time[32];
    text_seconds(timer_now() - t->started, time);
    log_line(LOG_INFO, "done: %lld steps, %lld images, %s; best validation mean %.4f at step %lld", (long long)t->step,
             (long long)t->total_images, time, t->best_score, (long long)t->best_step);
    return OK;
}
