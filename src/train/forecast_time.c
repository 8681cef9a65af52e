/* forecast_time: how long a step takes on so many ranks and nodes. Measured here, in this process, are some steps through the corridor
 * itself (step.c) with one unit of every task, and the memory bandwidth of one core and of all. What ranks and network do to that is
 * arithmetic, below; tests/mpi/forecast_time.sh holds the result against runs. */
#include "train_internal.h"

#include "medley/kern.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_STEPS = 1, STEPS = 3, TRIAD_N = 8 << 20 };

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

/* The fastest of some steps, task by task: what disturbs a measurement only makes it longer. */
static status run_steps(trainer *t, step_cost *c)
{
    TRY(loader_open(&t->loader, t->uses, t->n_uses, t->mine, t->n_mine, (uint64_t)t->job.seed, 0, t->job.train.prefetch), "check");
    c->end_s = INFINITY;
    double loader_s = 0;
    for (int step = 0; step < WARM_STEPS + STEPS; step++) {
        double began = timer_now(), units_s = 0, waited = t->verb_s[VERB_LOAD];
        if (step == WARM_STEPS) loader_s = loader_cpu_s(t->loader);
        TRY(step_run(t), "check");
        double took = timer_now() - began;
        for (int u = 0; u < t->n_units; u++) {
            double cost = t->report[REPORT_HEAD + u * REPORT_UNIT + REPORT_COST], *best = &c->unit_s[t->units[u].task];
            units_s += cost;
            if (step >= WARM_STEPS && cost > 0) *best = *best > 0 ? fmin(*best, cost) : cost;
        }
        if (step >= WARM_STEPS) c->end_s = fmin(c->end_s, took - units_s - (t->verb_s[VERB_LOAD] - waited));
    }
    if (t->n_mine > 0) c->load_s = (loader_cpu_s(t->loader) - loader_s) / (STEPS * t->n_mine); /* the ring is full at both ends */
    c->end_s = fmax(c->end_s, 0);
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

typedef struct step_parts { double slowest, mean, end, node, net, step, alone; } step_parts;

/* The slowest rank's units; where a node has fewer CPUs than threads, all its work shared by its CPUs. A rank whose node has no CPU to
 * spare does its loading on the CPUs that compute. */
static void add_units(step_parts *p, const rank_load *load, const step_cost *c, const cluster *on, int per_node)
{
    int cpus = on->cpus > 0 ? on->cpus : c->cpus;
    bool spare = cpus >= per_node * (c->threads + 1);
    for (int node = 0; node < on->nodes; node++) {
        double work = 0;
        for (int r = node * per_node; r < (node + 1) * per_node && r < on->ranks; r++) {
            double loading = load[r].units * c->load_s, mine = load[r].seconds + (spare ? 0 : loading / c->threads);
            work += load[r].seconds * c->threads + loading;
            p->mean += mine / on->ranks;
            p->alone += load[r].seconds;
            p->slowest = fmax(p->slowest, mine);
        }
        p->slowest = fmax(p->slowest, work / cpus);
    }
}

static step_parts predict(const trainer *t, const rank_load *load, const step_cost *c, const cluster *on)
{
    step_parts p = {0};
    double n = (double)(params_count(&t->pt, BLOCK_ENCODER) + params_count(&t->pt, BLOCK_SEG) + params_count(&t->pt, BLOCK_DET));
    int cpus = on->cpus > 0 ? on->cpus : c->cpus, per_node = (on->ranks + on->nodes - 1) / on->nodes;
    int at_once = per_node * c->threads < cpus ? per_node : cpus / c->threads > 0 ? cpus / c->threads : 1;
    /* clip and update run through memory, which the cores of a node share */
    double crowd = (double)per_node / at_once * fmax(1, at_once * c->core_rate / c->node_rate);
    add_units(&p, load, c, on, per_node);
    p.end = c->end_s * crowd;
    /* comm/sum.c: others' integers are read, others' floats fetched */
    p.node = per_node > 1 ? 8 * n * (1 - 1.0 / per_node) * per_node / c->node_rate : 0;
    if (on->nodes > 1) {
        double share = (double)(on->nodes - 1) / on->nodes, messages = ceil(n / per_node / fmax(1 << 17, 4096.0 * on->nodes)) * 2 * (on->nodes - 1);
        p.net = 12 * n * share / on->bytes_per_s + (messages + 6 * log2(on->ranks)) * on->latency_s;
    }
    p.step = p.slowest + p.end + p.node + p.net;
    p.alone += c->end_s;
    return p;
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

void forecast_time(const trainer *t, const rank_load *load, const step_cost *c, const cluster *on, FILE *out)
{
    const job *j = &t->job;
    char text[32];
    double images = 0, validations = j->train.validate_every > 0 ? floor((double)j->train.steps / j->train.validate_every) + 1 : 1;
    step_parts p = predict(t, load, c, on);
    for (int i = 0; i < t->n_tasks; i++) {
        images += task_rests(&t->ts[i]) ? 0 : (double)j->task[i].units * j->task[i].batch;
        fprintf(out, "measured  %-24s %.4f s a unit\n", j->task[i].name, c->unit_s[i]);
    }
    fprintf(out, "measured  %d thread%s a rank; loading %.4f s of processor time a unit; clip, update and rounding %.4f s a step; memory "
                 "%.1f GB/s for one core, %.1f for %d\n",
            c->threads, c->threads == 1 ? "" : "s", c->load_s, c->end_s, 1e-9 * c->core_rate, 1e-9 * c->node_rate, c->cpus);
    fprintf(out, "assumed   %d node%s of %d CPUs like these", on->nodes, on->nodes == 1 ? "" : "s", on->cpus > 0 ? on->cpus : c->cpus);
    if (on->nodes > 1) fprintf(out, "; between them %.1f Gbit/s and %.1f us a message", 8e-9 * on->bytes_per_s, 1e6 * on->latency_s);
    fprintf(out, "\nstep      units %.4f s on the slowest rank (mean %.4f), update %.4f, sum in the node %.4f, between nodes %.4f: %.4f s, "
                 "%.1f images/s\n",
            p.slowest, p.mean, p.end, p.node, p.net, p.step, images / p.step);
    text_seconds((double)j->train.steps * p.step + validations * validation_seconds(t, c, on), text);
    fprintf(out, "run       %lld steps and %.0f validations: about %s; efficiency %.0f %% (the work of one rank alone over the time of %d rank%s)\n",
            (long long)j->train.steps, validations, text, 100 * p.alone / (p.step * on->ranks), on->ranks, on->ranks == 1 ? "" : "s");
    fprintf(out, "forecast step_s %.6f efficiency %.4f\n", p.step, p.alone / (p.step * on->ranks));
}
