/* stop: when a run has to end before its last step: a signal (core/system.c), the job's time limit, the end of the Slurm job. */
#include "train_internal.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

void stop_plan(trainer *t)
{
    double limit = t->job.train.time_limit_minutes;
    const char *text = getenv("SLURM_JOB_END_TIME");
    t->limit = limit > 0 ? t->started + 60 * limit : INFINITY;
    t->job_end = INFINITY;
    if (!text) return;
    char *end;
    errno = 0;
    long long at = strtoll(text, &end, 10);
    double left = (double)at - (double)time(NULL);
    if (errno || end == text || *end || at <= 0 || left <= 0) {
        log_line(LOG_WARN, "SLURM_JOB_END_TIME=%s is no time to come: left aside", text);
        return;
    }
    t->job_end = timer_now() + left;
    log_line(LOG_INFO, "the Slurm job ends in %.0f min: checkpoint and exit 75 at least %.0f s before", left / 60, t->job.train.grace_s);
}

bool stop_due(const trainer *t)
{
    /* one more step and its save must fit in before the grace begins */
    double need = t->job.train.grace_s + t->longest_step_s + t->save.longest_s, now = timer_now();
    return stop_requested() || now > t->limit || now > t->job_end - need;
}

bool stop_at_once(void)
{
    int sig = stop_requested();
    return sig == SIGTERM || sig == SIGINT;
}
