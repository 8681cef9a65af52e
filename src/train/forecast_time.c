/* forecast_time: how long a step takes on so many ranks and nodes. Measured here, in this process, are some steps through the corridor
 * itself (step.c) with one unit of every task, and the memory bandwidth of one core and of all. What ranks and network do to that is
 * simulated (comm/simulate.c); tests/mpi/forecast_time.sh holds the result against runs. */
#include "train_internal.h"

#include "medley/kern.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_STEPS = 1, STEPS = 3, ENOUGH_S = 20, TRIAD_N = 8 << 20 };

/* Best GB/s of a[i] = b[i] + s c[i] with so many threads: two reads and a write, of three arrays beyond the caches. */
static double triad(float *a, const float *b, const float *c, int threads)
{
    double best = 0, end = timer_now() + 0.3;
    for (float s = 1; timer_now() < end; s += 1) {
        double from = timer_now();
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int i = 0; i < TRIAD_N; i++) a[i] = b[i] + s * c[i];
        best = fmax(best, 12.0 * TRIAD_N / (timer_now() - from));
    }
    return best;
}

static status measure_memory(step_cost *c)
{
    arena all;
    TRY(arena_init(&all, 3 * sizeof(float) * (size_t)TRIAD_N, "bandwidth measurement"), "check");
    float *x = ARENA_F32(&all, TRIAD_N), *y = ARENA_F32(&all, TRIAD_N), *z = ARENA_F32(&all, TRIAD_N);
    c->core_rate = triad(x, y, z, 1);
    c->node_rate = fmax(c->core_rate, triad(x, y, z, c->cpus));
    arena_free(&all);
    return OK;
}

/* The fastest of up to three steps, task by task: what disturbs a measurement only makes it longer. Long ones need no repetition. */
static status run_steps(trainer *t, step_cost *c)
{
    TRY(loader_open(&t->loader, t->uses, t->n_uses, t->mine, t->n_mine, (uint64_t)t->job.seed, 0, t->job.train.prefetch), "check");
    c->end_s = INFINITY;
    double loader_s = 0, first = timer_now();
    int steps = 0;
    for (int step = 0; step < WARM_STEPS + STEPS && (steps == 0 || timer_now() - first < ENOUGH_S); step++) {
        double began = timer_now(), units_s = 0, waited = t->verb_s[VERB_LOAD];
        if (step == WARM_STEPS) loader_s = loader_cpu_s(t->loader);
        TRY(step_run(t), "check");
        double took = timer_now() - began;
        for (int u = 0; u < t->n_units; u++) {
            double cost = t->report[REPORT_HEAD + u * REPORT_UNIT + REPORT_COST], *best = &c->unit_s[t->units[u].task];
            units_s += cost;
            if (step >= WARM_STEPS && cost > 0) *best = *best > 0 ? fmin(*best, cost) : cost;
        }
        steps += step >= WARM_STEPS;
        if (step >= WARM_STEPS) c->end_s = fmin(c->end_s, took - units_s - (t->verb_s[VERB_LOAD] - waited));
    }
    if (t->n_mine > 0) c->load_s = (loader_cpu_s(t->loader) - loader_s) / (steps * t->n_mine); /* the ring is full at both ends */
    c->end_s = fmax(c->end_s, 0);
    const double *v = t->verb_s;
    c->backward = v[VERB_BACKWARD] / (v[VERB_FORWARD] + v[VERB_LOSS] + v[VERB_BACKWARD] + v[VERB_SUM]);
    return OK;
}

status forecast_measure(const job *j, step_cost *c)
{
    trainer *t;
    core_share cores;
    TRY(mem_alloc(&t, sizeof *t, "trainer"), "check");
    t->size = 1, t->job = *j;
    t->job.train.check_replicas_every = 0, t->job.train.trace_samples = false;
    for (int i = 0; i < j->n_tasks; i++) t->job.task[i].units = 1;
    status st = comm_cores(NULL, 1, &cores);
    if (!st) st = plan_make(t, true);
    c->cpus = cores.cpus;
    c->threads = kern_threads();
    if (!st) {
        params_init_weights(&t->pt, (uint64_t)j->seed, t->w);
        st = run_steps(t, c);
    }
    if (t->loader) loader_close(t->loader);
    plan_free(t);
    free(t);
    return st ? st : measure_memory(c);
}

/* ---- ranks and network ---------------------------------------------------------------------------------------------------------------- */

/* A rank's seconds of a step: where its node has fewer CPUs than threads, the node's work is shared by its CPUs; where it has none to spare,
 * loading is done by the CPUs that compute. seconds (nodes * per_node). */
static void rank_seconds(const rank_load *load, const step_cost *c, const cluster *on, int per_node, double *seconds)
{
    int cpus = on->cpus > 0 ? on->cpus : c->cpus;
    bool spare = cpus >= per_node * (c->threads + 1);
    for (int node = 0; node < on->nodes; node++) {
        double work = 0;
        for (int r = node * per_node; r < (node + 1) * per_node && r < on->ranks; r++) {
            double loading = load[r].units * c->load_s;
            seconds[r] = load[r].seconds + (spare ? 0 : loading / c->threads);
            work += load[r].seconds * c->threads + loading;
        }
        for (int r = node * per_node; r < (node + 1) * per_node && r < on->ranks; r++) seconds[r] = fmax(seconds[r], work / cpus);
    }
}

/* How far the encoder's backward is when elements from `from` of the arena on are done; what lies behind the encoder is done before it. */
static double backward_share(const void *arg, int64_t from)
{
    const trainer *t = arg;
    const task_spec *s = &t->ts[0].task.spec;
    int k = 0;
    if (from >= params_count(&t->pt, BLOCK_ENCODER)) return 0;
    while (k + 1 < t->shared.enc.n_params && t->pt.p[k + 1].off <= from) k++;
    return swin_backward_share(&t->shared.enc, k, s->H, s->W);
}

/* As holders_parts. member (BLOCK_HEAD0 for each simulated rank): zeros for the ranks that the last node lacks. */
static int put_parts(const trainer *t, const bool *member, sim_part part[BLOCK_HEAD0])
{
    int n = 0;
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++) {
        const block_state *s = &t->block[b];
        if (s->hi == s->lo) continue;
        if (n > 0 && s->everywhere && !part[n - 1].member) part[n - 1].n += s->hi - s->lo;
        else part[n++] = (sim_part){s->hi - s->lo, s->everywhere ? NULL : member + b, BLOCK_HEAD0};
    }
    return n;
}

/* The largest share of the shared blocks that one rank holds: what it updates of what was measured with all. */
static double most_held(const trainer *t)
{
    double most = 0, all = 0;
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++) all += (double)params_count(&t->pt, b);
    for (int r = 0; r < t->size; r++) {
        double n = 0;
        for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++) n += rank_holds(t, b, r) ? (double)params_count(&t->pt, b) : 0;
        most = fmax(most, n);
    }
    return most / all;
}

static status predict(const trainer *t, const rank_load *load, const step_cost *c, const cluster *on, sim_times *out)
{
    enum { SIMULATED_STEPS = 50 };
    sim_part part[BLOCK_HEAD0];
    int cpus = on->cpus > 0 ? on->cpus : c->cpus, per_node = cluster_per_node(on);
    int at_once = per_node * c->threads < cpus ? per_node : cpus / c->threads > 0 ? cpus / c->threads : 1;
    double node_rate = c->node_rate * cpus / c->cpus; /* CPUs "like these" bring their memory channels */
    /* clip and update run through memory, which the cores of a node share */
    double crowd = (double)per_node / at_once * fmax(1, at_once * c->core_rate / node_rate), *seconds = NULL;
    bool *member = NULL;
    status st;
    sim_cluster sim = {.nodes = on->nodes, .per_node = per_node, .latency_s = on->latency_s, .bytes_per_s = on->bytes_per_s,
                       .memory_rate = node_rate, .jitter = on->jitter, .slow_nodes = on->slow_nodes, .slow_by = on->slow_by,
                       .seed = (uint64_t)t->job.seed};
    if (strcmp(t->job.train.overlap, "off") != 0 && strcmp(t->job.train.sum, "exact") == 0) {
        double unit_s = 0;
        int depth = 0;
        for (int u = 0; u < t->n_units; u++) unit_s += c->unit_s[t->units[u].task] / t->n_units;
        for (int s = 0; s < 4; s++) depth += t->shared.enc.depth[s];
        sim.done = backward_share, sim.done_arg = t, sim.tail_s = c->backward * unit_s;
        sim.poll_s = strcmp(t->job.train.overlap, "poll") == 0 ? sim.tail_s / depth : 0;
    }
    size_t ranks = (size_t)(on->nodes * per_node);
    TRY_TO(done, mem_alloc(&seconds, sizeof *seconds * ranks, "forecast"), "check");
    TRY_TO(done, mem_alloc(&member, sizeof *member * ranks * BLOCK_HEAD0, "forecast"), "check");
    memcpy(member, t->holds, sizeof *member * (size_t)t->size * BLOCK_HEAD0);
    rank_seconds(load, c, on, per_node, seconds);
    st = comm_simulate(&sim, seconds, c->end_s * most_held(t) * crowd, part, put_parts(t, member, part), SIMULATED_STEPS, out);
done:
    free(seconds);
    free(member);
    return st;
}

/* Forward alone of every validation sample by the ranks of its task: a third of a unit. */
static double validation_seconds(const trainer *t, const step_cost *c, const cluster *on)
{
    double *busy, most = 0;
    if (mem_alloc(&busy, sizeof *busy * (size_t)on->ranks, "forecast")) return 0;
    for (int i = 0; i < t->n_tasks; i++) {
        double all = (double)t->ts[i].n_split[SPLIT_VAL] / t->ts[i].task.spec.batch * c->unit_s[i] / 3;
        int units = t->job.task[i].units;
        for (int u = 0; u < t->n_units; u++)
            if (t->units[u].task == i) busy[t->rank_of[u]] += all / units;
    }
    for (int r = 0; r < on->ranks; r++) most = fmax(most, busy[r]);
    free(busy);
    return most;
}

static void put_share(FILE *out, const char *what, double s, const sim_times *p) { fprintf(out, "  %-42s %9.4f s  %5.1f %%\n", what, s, 100 * s / p->step); }

status forecast_time(const trainer *t, const rank_load *load, const step_cost *c, const cluster *on, FILE *out)
{
    const job *j = &t->job;
    char text[32];
    double images = 0, alone = c->end_s, validations = j->train.validate_every > 0 ? floor((double)j->train.steps / j->train.validate_every) + 1 : 1;
    sim_times p;
    TRY(predict(t, load, c, on, &p), "check");
    for (int i = 0; i < t->n_tasks; i++) {
        images += task_rests(&t->ts[i]) ? 0 : (double)j->task[i].units * j->task[i].batch;
        fprintf(out, "measured  %-24s %.4f s a unit\n", j->task[i].name, c->unit_s[i]);
    }
    for (int r = 0; r < on->ranks; r++) alone += load[r].seconds;
    fprintf(out, "measured  %d thread%s a rank; loading %.4f s of processor time a unit; clip, update and rounding %.4f s a step; memory "
                 "%.1f GB/s for one core, %.1f for %d\n",
            c->threads, c->threads == 1 ? "" : "s", c->load_s, c->end_s, 1e-9 * c->core_rate, 1e-9 * c->node_rate, c->cpus);
    fprintf(out, "assumed   %d node%s of %d CPUs like these", on->nodes, on->nodes == 1 ? "" : "s", on->cpus > 0 ? on->cpus : c->cpus);
    if (on->nodes > 1) fprintf(out, "; between them %.1f Gbit/s and %.1f us a message", 8e-9 * on->bytes_per_s, 1e6 * on->latency_s);
    if (on->jitter > 0) fprintf(out, "; jitter %.0f %%", 100 * on->jitter);
    if (on->slow_nodes > 0) fprintf(out, "; %.0f %% of the nodes slower by %.0f %%", 100 * on->slow_nodes, 100 * on->slow_by);
    if (on->nodes > 1 && strcmp(j->train.overlap, "off") != 0) fprintf(out, "; the sum begins during backward (%s)", j->train.overlap);
    fprintf(out, "\nstep      %.4f s, %.1f images/s:\n", p.step, images / p.step);
    put_share(out, "units of a rank, mean", p.compute, &p);
    put_share(out, "waiting for the busiest rank", p.balance, &p);
    put_share(out, "waiting for jitter and slow nodes", p.jitter, &p);
    put_share(out, "sum inside the nodes", p.node, &p);
    put_share(out, "sum between the nodes, bytes", p.wire, &p);
    put_share(out, "sum between the nodes, latencies", p.latency, &p);
    put_share(out, "clip and update", p.update, &p);
    text_seconds((double)j->train.steps * p.step + validations * validation_seconds(t, c, on), text);
    fprintf(out, "run       %lld steps and %.0f validations: about %s; efficiency %.0f %% (the work of one rank alone over the time of %d rank%s)\n",
            (long long)j->train.steps, validations, text, 100 * alone / (p.step * on->ranks), on->ranks, on->ranks == 1 ? "" : "s");
    fprintf(out, "forecast step_s %.6f efficiency %.4f\n", p.step, alone / (p.step * on->ranks));
    return OK;
}
