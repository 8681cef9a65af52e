/* fit: a short training on one rank, in memory: a task's head, its decoder and, unless it is frozen, the encoder learn from some of the
 * training samples, and a split is scored. The steps are the corridor's (step.c); nothing is written. */
#include "train_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Are the encoder's weights those of `from`, bit for bit? */
static bool keeps_encoder(const trainer *t, const weights *from)
{
    for (int i = 0; i < from->enc.n_params; i++) {
        const param *p = &t->pt.p[t->shared.enc.index[i]];
        if (memcmp(t->w + p->off, PW(&from->pt, from->w, from->enc.index[i]), sizeof(float) * (size_t)p->n) != 0) return false;
    }
    return true;
}

static status run(trainer *t, const fit_ask *ask)
{
    const job *j = &t->job;
    TRY(plan_make(t, true), "fit");
    params_init_weights(&t->pt, (uint64_t)j->seed, t->w);
    trainer_take_encoder(t, ask->from);
    TRY(loader_open(&t->loader, t->uses, t->n_uses, t->mine, t->n_mine, (uint64_t)j->seed, 0, j->train.prefetch), "fit");
    while (t->step < j->train.steps) TRY(step_run(t), "fit");
    loader_close(t->loader);
    t->loader = NULL;
    CHECK(!ask->frozen || keeps_encoder(t, ask->from), ST_BUG, "fit: after %lld steps the frozen encoder is another", (long long)t->step);
    return OK;
}

status trainer_fit(const fit_ask *ask, metric_result *out)
{
    trainer *t;
    metric *m = NULL;
    CHECK(ask->job->n_tasks == 1 && strcmp(ask->job->model.encoder, ask->from->enc.variant) == 0, ST_BUG, "fit: %d tasks, %s from %s",
          ask->job->n_tasks, ask->job->model.encoder, ask->from->enc.variant);
    TRY(mem_alloc(&t, sizeof *t, "trainer"), "fit");
    t->size = 1, t->job = *ask->job, t->quiet = true;
    t->frozen = ask->frozen, t->only = ask->samples, t->n_only = ask->n;
    t->limit = t->job_end = INFINITY;
    t->job.train.check_replicas_every = 0, t->job.train.trace_samples = false, t->job.train.ema = 0, t->job.train.memory[0] = 0;
    snprintf(t->job.train.precision, sizeof t->job.train.precision, "fp32");
    snprintf(t->job.train.sum, sizeof t->job.train.sum, "float"); /* one rank: an order of its own */
    if (ask->frozen) t->job.model.drop_path = 0;
    status st = run(t, ask);
    if (!st) st = trainer_evaluate(t, 0, ask->split, &m);
    if (!st) st = metric_finish(m, 0, 0, out);
    if (st) st = status_note(st, __FILE__, __LINE__, "task %s, %lld samples, %s", ask->job->task[0].name, (long long)ask->n,
                             ask->frozen ? "frozen" : "fine-tuned");
    metric_free(m);
    if (t->loader) loader_close(t->loader);
    plan_free(t);
    free(t);
    return st;
}
