/* status_cmd: `medley status`: where a run is, from its record; the run may be going on meanwhile. */
#include "medley/command.h"
#include "medley/use.h"

#include "history.h"

#include <math.h>
#include <string.h>
#include <time.h>

static void put_state(const history *h, double now)
{
    char age[32];
    double quiet = now - h->last_time, patience = fmax(120, 5 * h->line_interval_s);
    text_seconds(quiet, age);
    if (h->ended) printf("state       finished %s ago\n", age);
    else if (h->stopped) printf("state       stopped %s ago (%s); the same command goes on from there\n", age, h->stop_text);
    else if (h->last_time == 0) printf("state       unknown\n");
    else if (quiet > patience)
        printf("state       silent for %s: ended without a word, or hangs; the same train command goes on from the last checkpoint\n",
               age);
    else printf("state       running, last word %s ago\n", age);
}

static void put_progress(const history *h)
{
    char left[32];
    double percent = h->steps > 0 ? 100.0 * (double)h->step / (double)h->steps : 0;
    printf("step        %lld of %lld (%.1f %%)\n", (long long)h->step, (long long)h->steps, percent);
    if (h->loss.n)
        printf("training    loss %.4f, learning rate %.2e, gradient norm %.3f\n", h->loss.y[h->loss.n - 1],
               h->lr.n ? h->lr.y[h->lr.n - 1] : NAN, h->grad_norm.n ? h->grad_norm.y[h->grad_norm.n - 1] : NAN);
    if (h->rate.n && isfinite(h->last_step_s)) {
        text_seconds(h->last_step_s * (double)(h->steps - h->step), left);
        printf("speed       %.1f images/s, %.3f s per step", h->rate.y[h->rate.n - 1], h->last_step_s);
        if (!h->ended && h->steps > h->step) printf(", about %s of steps left", left);
        printf("\n");
        if (h->last_step_s > 0 && !isfinite(h->rank_mean[TIME_COMPUTE])) /* a record of before those times */
            printf("waiting     for data %.1f %%, for other ranks %.1f %% of a step\n", 100 * h->last_load_s / h->last_step_s,
                   100 * h->last_wait_s / h->last_step_s);
    }
    text_seconds(h->seconds, left);
    printf("so far      %.0f images, %s in %d session%s", h->images, left, h->n_starts, h->n_starts == 1 ? "" : "s");
    if (h->memory.n) printf(", %.0f MiB peak on the largest rank", h->memory.y[h->memory.n - 1]);
    printf("\n");
    if (h->dropped) printf("dropped     %lld units with numbers that were not finite or out of range\n", (long long)h->dropped);
}

static void put_checkpoint(const history *h, double now)
{
    char age[32];
    text_seconds(now - h->checkpoint_time, age);
    if (h->checkpoint_time > 0)
        printf("checkpoint  step %lld, %s ago%s%s\n", (long long)h->checkpoint_step, age, h->checkpoint[0] ? ": " : "", h->checkpoint);
    else printf("checkpoint  none yet\n");
}

static void put_times(const history *h)
{
    char said[600];
    efficiency_text(h, said, sizeof said);
    if (!said[0]) return;
    printf("efficiency  %s\n", said);
    slowest_text(h, true, said, sizeof said);
    printf("slowest     now: %s\n", said);
    slowest_text(h, false, said, sizeof said);
    if (said[0]) printf("            so far: %s\n", said);
}

static void put_tasks(const history *h)
{
    if (h->mean_score.n) {
        double best = -INFINITY, at = 0;
        for (int i = 0; i < h->mean_score.n; i++)
            if (h->mean_score.y[i] > best) best = h->mean_score.y[i], at = h->mean_score.x[i];
        printf("validation  mean %.4f at step %.0f; best %.4f at step %.0f\n", h->mean_score.y[h->mean_score.n - 1],
               h->mean_score.x[h->mean_score.n - 1], best, at);
    }
    if (h->n_tasks) printf("\n%-24s %10s  %-20s %8s %8s %8s\n", "task", "loss", "validation", "now", "best", "at step");
    for (int i = 0; i < h->n_tasks; i++) {
        const task_history *t = &h->task[i];
        printf("%-24s ", t->name);
        if (t->loss.n) printf("%10.4f", t->loss.y[t->loss.n - 1]);
        else printf("%10s", "-");
        if (t->score.n)
            printf("  %-20s %8.4f %8.4f %8lld", t->score_name, t->score.y[t->score.n - 1], t->best, (long long)t->best_step);
        if (t->suspended) printf("  suspended at step %lld", (long long)t->suspended_step);
        printf("\n");
    }
    for (int i = 0; i < h->n_tasks; i++) {
        char last[400];
        const task_history *t = &h->task[i];
        history_drop_text(t, last);
        if (t->n_dropped) printf("%s: %lld unit%s dropped, the last at %s\n", t->name, (long long)t->n_dropped,
                                 t->n_dropped == 1 ? "" : "s", last);
    }
}

status cmd_status(int argc, char **argv)
{
    const char *args[1];
    int n_args = 0;
    const command_option options[] = {{0}};
    const command_line c = {"medley status RUN",
                           "Where a run is: state, step, speed, time left, last validation scores, last checkpoint; where the time of the ranks "
                           "goes, and which rank, node and task are slowest. Reads RUN/record.jsonl only, so it works beside a running job, and "
                           "from any node that sees the folder.",
                           options, 1, 1};
    if (command_help(&c, argc, argv)) return OK;
    TRY(command_parse(&c, argc, argv, args, &n_args), "status");
    history h;
    TRY(history_load(&h, args[0]), "status");
    double now = (double)time(NULL);
    printf("%s: %s encoder, %.2f M parameters, %d tasks, %lld units a step, %lld rank%s x %lld thread%s, %s sum\n", args[0],
           h.encoder[0] ? h.encoder : "unknown", 1e-6 * (double)h.parameters, h.n_tasks, (long long)h.units, (long long)h.ranks,
           h.ranks == 1 ? "" : "s", (long long)h.threads, h.threads == 1 ? "" : "s", h.sum);
    put_state(&h, now);
    put_progress(&h);
    put_checkpoint(&h, now);
    put_times(&h);
    put_tasks(&h);
    efficiency_tables(stdout, &h, 8);
    history_free(&h);
    return OK;
}
