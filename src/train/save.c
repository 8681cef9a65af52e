/* save: a checkpoint from the decision to the line in the record. Training stands still while the state is copied in memory; the saver's
 * thread does the rest, and at the next step's end rank 0 learns what became of it. A save that failed is known to all ranks then. */
#include "train_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- open, close ------------------------------------------------------------------------------------------------------------- */

status save_open(trainer *t)
{
    save_state *v = &t->save;
    int64_t largest = 0;
    for (int i = 0; i < t->pt.n; i++)
        if (lead_of(t, t->pt.p[i].block) != 0 && t->pt.p[i].n > largest) largest = t->pt.p[i].n;
    v->last_step = -1;
    v->best_kept = t->best_score, v->best_kept_step = t->best_step;
    TRY(mem_alloc(&v->exponent, sizeof *v->exponent * (size_t)t->pt.n, "exponents"), "checkpoint");
    TRY(mem_alloc(&v->exponent_f, sizeof *v->exponent_f * (size_t)t->pt.n, "exponents"), "checkpoint");
    TRY(plan_text(t, &v->plan), "checkpoint");
    if (t->rank != 0) return OK;
    TRY(mem_alloc(&v->buf, sizeof *v->buf * (size_t)largest, "checkpoint buffer"), "checkpoint");
    const size_t room[N_SLOTS] = {[SLOT_STEP] = checkpoint_room(t, true), [SLOT_BEST] = checkpoint_room(t, false)};
    return saver_open(&v->saver, room, strcmp(t->job.train.save, "background") == 0);
}

void save_close(trainer *t)
{
    save_state *v = &t->save;
    int64_t progress = 0, before = -1;
    /* after a failure elsewhere: what is under way is good and worth having, as long as it moves */
    while (v->saver && !saver_wait(v->saver, -1, 1.0, &progress)) {
        if (progress != before) watchdog_tick(t->step, "save", NULL);
        before = progress;
    }
    for (const saved *f; v->saver && (f = saver_take(v->saver));)
        if (f->st) log_line(LOG_WARN, "%s", f->why);
    saver_close(v->saver);
    free(v->buf);
    free(v->exponent);
    free(v->exponent_f);
    free(v->plan);
    *v = (save_state){0};
}

/* ---- what became of a save --------------------------------------------------------------------------------------------------- */

static status note_saved(trainer *t, const saved *f)
{
    record *r = t->record;
    record_begin(r, "checkpoint");
    record_i64(r, "step", f->step);
    record_f64(r, "seconds", timer_now() - t->started);
    record_str(r, "text", f->path);
    record_f64(r, "stall_s", f->stall_s + (saver_background(t->save.saver) ? 0 : f->save_s));
    record_f64(r, "save_s", f->save_s);
    record_i64(r, "bytes", (int64_t)f->image.n);
    return record_end(r);
}

static status note_failed(trainer *t, const saved *f)
{
    record_begin(t->record, "save_failed");
    record_i64(t->record, "step", f->step);
    record_str(t->record, "text", f->why);
    return record_end(t->record);
}

/* Rank 0: takes note of finished saves. strict: one that failed is an error whatever the job says. */
static status harvest(trainer *t, bool strict, bool *best_lost)
{
    for (const saved *f; (f = saver_take(t->save.saver));) {
        bool best = f == saver_slot(t->save.saver, SLOT_BEST);
        if (f->st) {
            CHECK(!strict && strcmp(t->job.train.on_save_error, "continue") == 0, f->st, "step %lld was not saved: %s", (long long)f->step,
                  f->why);
            log_line(LOG_WARN, "step %lld was not saved, training goes on: %s", (long long)f->step, f->why);
            TRY(note_failed(t, f), "record");
            *best_lost |= best;
            continue;
        }
        if (best) {
            t->save.best_kept = f->score, t->save.best_kept_step = f->step;
            continue;
        }
        t->save.longest_s = fmax(t->save.longest_s, f->save_s + f->stall_s);
        TRY(note_saved(t, f), "record");
        checkpoint_prune(t, f->step);
    }
    return OK;
}

status save_look(trainer *t)
{
    struct { int32_t failed, best_lost; int64_t best_step; double best_score; } told = {0};
    status local = OK;
    if (t->rank == 0) {
        bool best_lost = false;
        local = harvest(t, false, &best_lost);
        told.failed = local != OK, told.best_lost = best_lost;
        told.best_score = t->save.best_kept, told.best_step = t->save.best_kept_step;
    }
    TRY(comm_bcast(t->world, &told, sizeof told, 0), "saving");
    if (told.best_lost) t->best_score = told.best_score, t->best_step = told.best_step; /* so that the next better one is kept */
    return told.failed ? comm_agree(t->world, local) : OK;
}

/* Collective: until slot `which` of rank 0 (-1: all) is not under way. Bytes that move are progress on every rank. */
static status wait_for(trainer *t, int which)
{
    int64_t before = -1;
    for (;;) {
        int64_t told[2] = {1, 0};
        if (t->rank == 0) told[0] = saver_wait(t->save.saver, which, 1.0, &told[1]);
        TRY(comm_bcast(t->world, told, sizeof told, 0), "saving");
        if (told[1] != before) watchdog_tick(t->step, "save", NULL);
        if (told[0]) return OK;
        before = told[1];
    }
}

status save_finish(trainer *t)
{
    bool best_lost = false;
    TRY(wait_for(t, -1), "checkpoint");
    return comm_agree(t->world, t->rank == 0 ? harvest(t, true, &best_lost) : OK);
}

/* ---- save -------------------------------------------------------------------------------------------------------------------- */

status save_begin(trainer *t, bool full)
{
    double began = timer_now();
    int which = full ? SLOT_STEP : SLOT_BEST;
    char path[700];
    saved *f = NULL;
    if (full) snprintf(path, sizeof path, "%.560s/checkpoints/step-%09lld.h5", t->job.run, (long long)t->step);
    else snprintf(path, sizeof path, "%.560s/best.h5", t->job.run);
    TRY(wait_for(t, which), "checkpoint");
    TRY(save_look(t), "checkpoint");
    if (t->rank == 0) f = saver_slot(t->save.saver, which);
    TRY(checkpoint_snapshot(t, f ? &f->image : NULL, path, full), "checkpoint");
    if (full) t->save.last_step = t->step;
    if (t->rank != 0) return OK;
    snprintf(f->path, sizeof f->path, "%s", path);
    f->step = t->step;
    f->score = t->best_score;
    f->stall_s = timer_now() - began;
    saver_submit(t->save.saver, which);
    return OK;
}
