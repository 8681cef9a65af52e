/* budget: what a rank may hold (train.memory) decides which stages of the encoder a task recomputes, and how many images of a unit it runs
 * at a time where the job leaves that open (micro_batch = "auto").
 *
 * Recomputing changes no bit, running fewer images at a time changes how sums round. So the number of images is a function of job file
 * and data alone: judged for a rank that runs every task with one thread, whatever ranks and threads there are, by fixed prices, never by
 * the clock. The stages may depend on the threads. */
#include "train_internal.h"

#include "medley/kern.h"

#include <math.h>

enum { MIB = 1 << 20, N_STAGES = 4, ALL_STAGES = (1 << N_STAGES) - 1 };

/* The forecast is good to 5 %: what is planned stays that much below the budget. */
static const double slack = 1.05;

/* Seconds, only for comparing: a multiply-add of a forward, and a parameter whose gradient one more piece reads and writes. */
static const double flop_s = 4e-11, piece_s = 1e-9;

/* Activations of a task run `micro` images at a time: the larger of training and evaluation. */
static status activation_bytes(const trainer *t, const task *k, int micro, unsigned recompute, double *bytes)
{
    task with = *k;
    with.spec.micro = micro, with.spec.recompute = recompute;
    *bytes = 0;
    for (int train = 0; train < 2; train++) {
        arena measure = {0};
        task_run *run;
        TRY(task_place(&run, &with, &t->shared, train, &measure), "measuring activations");
        task_run_free(run);
        if ((double)measure.peak > *bytes) *bytes = (double)measure.peak;
    }
    return OK;
}

static double price(const trainer *t, const task *k, int micro, unsigned recompute)
{
    double summed = 0;
    for (int block = BLOCK_ENCODER; block < BLOCK_HEAD0; block++)
        if (task_uses(k, block)) summed += (double)params_count(&t->pt, block);
    return flop_s * k->spec.batch * swin_recompute_flops(&t->shared.enc, recompute, k->spec.H, k->spec.W) +
           piece_s * summed * (k->spec.batch / micro - 1);
}

/* The cheapest stages with which `micro` images fit in `room`; *least: bytes with all stages recomputed. False: none fit. */
static status choose_stages(const trainer *t, const task *k, int micro, double room, bool *fits, unsigned *stages, double *least)
{
    double bytes;
    *stages = ALL_STAGES;
    TRY(activation_bytes(t, k, micro, ALL_STAGES, least), "task %s", k->spec.name);
    *fits = *least <= room;
    for (unsigned s = 0; s < ALL_STAGES && *fits; s++) {
        if (price(t, k, micro, s) >= price(t, k, micro, *stages)) continue;
        TRY(activation_bytes(t, k, micro, s, &bytes), "task %s", k->spec.name);
        if (bytes <= room) *stages = s;
    }
    return OK;
}

/* Images at a time and stages of the least price, with the buffers of one thread. micro stays 0 if not even one image fits. */
static status choose_micro(const trainer *t, const task *k, double room, int *micro, double *least)
{
    double best = 0;
    *micro = 0;
    for (int m = k->spec.batch; m >= 1; m--) {
        bool fits;
        unsigned stages;
        if (k->spec.batch % m) continue;
        if (*micro && price(t, k, m, 0) >= best) break; /* more pieces cost more, whatever is recomputed */
        TRY(choose_stages(t, k, m, room, &fits, &stages, least), "micro-batch");
        if (!fits || (*micro && price(t, k, m, stages) >= best)) continue;
        best = price(t, k, m, stages);
        *micro = m;
    }
    return OK;
}

/* Sets micro and recompute of the task to what fits, or to the least there is. */
static status plan_task(const trainer *t, task *k, int asked, double room, bool *fits, double *least)
{
    int micro = asked, threads = kern_threads();
    if (asked == 0) {
        kern_init(1);
        status st = choose_micro(t, k, room, &micro, least);
        kern_init(threads);
        TRY(st, "budget");
    }
    k->spec.micro = micro ? micro : 1;
    return choose_stages(t, k, k->spec.micro, room, fits, &k->spec.recompute, least);
}

/* What a rank holds beside activations, the same on all ranks: rank 0 looks into the shards. */
static status other_bytes(trainer *t, double *rest)
{
    status st = t->rank == 0 || t->dry ? forecast_rest(t, rest) : OK;
    if (t->dry) return st;
    TRY(comm_agree(t->world, st), "memory budget");
    return comm_bcast(t->world, rest, sizeof *rest, 0);
}

status budget_plan(trainer *t)
{
    double budget = (double)job_memory(&t->job), rest = 0, most = 0;
    int worst = -1;
    for (int i = 0; i < t->n_tasks; i++) {
        int micro = job_micro_batch(&t->job.task[i]);
        if (micro > 0) t->ts[i].task.spec.micro = micro;
    }
    if (budget <= 0) return OK;
    TRY(other_bytes(t, &rest), "memory budget");
    for (int i = 0; i < t->n_tasks; i++) {
        double least = 0;
        bool fits;
        TRY(plan_task(t, &t->ts[i].task, job_micro_batch(&t->job.task[i]), budget / slack - rest, &fits, &least), "memory budget");
        if (fits || (worst >= 0 && least <= most)) continue;
        worst = i;
        most = least;
    }
    if (worst < 0) return OK;
    const task_spec *s = &t->ts[worst].task.spec;
    bool may_split = s->micro > 1 && job_micro_batch(&t->job.task[worst]) != 0;
    return status_raise(ST_RESOURCE, __FILE__, __LINE__,
                        "%s:%d: task %s: train.memory = \"%s\" is too little: a rank needs %.0f bytes (%.1f MiB) even with all stages of "
                        "the encoder recomputed and %d of %d images at a time on %d thread%s: %.1f MiB of activations, %.1f MiB of "
                        "weights, moments, data and the process, and 5 %% for what no forecast knows%s",
                        t->job.file, t->job.task[worst].line, s->name, t->job.train.memory, ceil(slack * (rest + most)),
                        slack * (rest + most) / MIB, s->micro, s->batch, kern_threads(), kern_threads() > 1 ? "s" : "", most / MIB,
                        rest / MIB, may_split ? "; micro_batch = \"auto\" in the task would run fewer images at a time" : "");
}

status budget_say(const trainer *t, int i, char *out, size_t n)
{
    const task_spec *s = &t->ts[i].task.spec;
    double bytes = 0, forward = swin_flops(&t->shared.enc, s->H, s->W);
    size_t at = 0;
    int micro = s->micro ? s->micro : s->batch;
    TRY(activation_bytes(t, &t->ts[i].task, micro, s->recompute, &bytes), "plan");
    at = (size_t)snprintf(out, n, "%d of %d images at a time, stages recomputed:", micro, s->batch);
    for (int k = 0; k < N_STAGES && at < n; k++)
        if (s->recompute >> k & 1) at += (size_t)snprintf(out + at, n - at, " %d", k + 1);
    if (at < n)
        snprintf(out + at, n - at, "%s (%.0f %% more encoder arithmetic); %.1f MiB of activations", s->recompute ? "" : " none",
                 100 * swin_recompute_flops(&t->shared.enc, s->recompute, s->H, s->W) / (3 * forward), bytes / MIB);
    return OK;
}
