/* simulate: the collectives of a step, as sum.c and train/step.c make them, on thousands of ranks that are only clocks. What differs between
 * ranks (their work, jitter, slow nodes) is drawn rank by rank; a collective lets all clocks go on together from the last. */
#include "medley/comm.h"

#include "sum_shape.h"

#include <math.h>
#include <stdlib.h>

/* Barriers and sums of a few hundred bytes over all ranks in one step: agreement, report, largest gradients, norm. */
enum { SMALL_SUMS = 4 };

static double latest(const double *clock, int n)
{
    double most = 0;
    for (int r = 0; r < n; r++) most = fmax(most, clock[r]);
    return most;
}

/* Rank r's time for its units in one step. */
static double compute_time(const sim_cluster *c, double seconds, int r, int step)
{
    rng draw = rng_open((rng_key){c->seed, (uint32_t)r, (uint32_t)step}, RNG_TEST, 1);
    double slow = 1, noise = c->jitter * fabs((double)rng_normal(&draw)); /* what disturbs a rank only makes it later */
    rng node = rng_open((rng_key){c->seed, (uint32_t)(r / c->per_node), 0}, RNG_TEST, 2);
    if (rng_uniform(&node) < c->slow_nodes) slow = 1 + c->slow_by;
    return seconds * slow * (1 + noise);
}

/* The parts of sum_reduce that are the same in every step: comm/sum.c, reduce_on_nodes. */
static void sum_times(const sim_cluster *c, int64_t n, sim_times *t)
{
    int64_t share = slice_of(n, c->per_node), piece = piece_of(c->nodes);
    double each = (double)n / c->per_node, others = c->per_node - 1;
    /* all ranks of a node at once: others' integers, own sums, others' floats */
    t->node = c->per_node > 1 ? (8 * each * others + 8 * (double)n * others / c->per_node) * c->per_node / c->memory_rate : 0;
    if (c->nodes == 1) return;
    double pieces = ceil((double)share / (double)piece), peers = c->nodes - 1;
    /* pairwise: to every other node a message of integers, then one of floats; the lanes of a node share its network */
    t->latency = pieces * 2 * peers * c->latency_s;
    t->wire = 12 * (double)n * peers / c->nodes / c->bytes_per_s;
}

/* Seconds of the exchange between nodes that are left when the last rank has its units done. It goes bucket by bucket, each when all ranks are
 * done with it; between two looks nothing moves on: half an interval for each of its two waits. clock: when each rank is through, and
 * seconds what it would take undisturbed. */
static double left_over(const sim_cluster *c, int64_t n, double wire, const double *clock, const double *seconds, int ranks)
{
    int64_t size = bucket_of(n);
    double end = latest(clock, ranks), through = 0, peers = c->nodes - 1;
    for (int64_t hi = n; hi > 0; hi -= size) {
        int64_t lo = hi > size ? hi - size : 0;
        double share = c->done(c->done_arg, lo), ready = 0;
        for (int r = 0; r < ranks; r++) { /* a rank that is late is late in backward, too */
            double tail = seconds[r] > 0 ? fmin(c->tail_s * clock[r] / seconds[r], clock[r]) : 0;
            ready = fmax(ready, clock[r] - (1 - share) * tail);
        }
        double from = fmax(ready, through);
        through = from + wire * (double)(hi - lo) / (double)n + 2 * peers * c->latency_s + (from < end ? c->poll_s : 0);
    }
    return fmax(0, through - end);
}

status comm_simulate(const sim_cluster *c, const double *seconds, double update_s, int64_t n, int steps, sim_times *out)
{
    int ranks = c->nodes * c->per_node;
    double *clock, mean = 0, last = 0, left = 0;
    sim_times t = {.update = update_s};
    bool early = c->done && c->nodes > 1;
    TRY(mem_alloc(&clock, sizeof *clock * (size_t)ranks, "clocks of ranks"), "simulation");
    for (int r = 0; r < ranks; r++) mean += seconds[r] / ranks, last = fmax(last, seconds[r]);
    sum_times(c, n, &t);
    for (int step = 0; step < steps; step++) {
        for (int r = 0; r < ranks; r++) clock[r] = compute_time(c, seconds[r], r, step);
        t.jitter += (latest(clock, ranks) - last) / steps;
        if (early) left += left_over(c, n, t.wire, clock, seconds, ranks) / steps;
    }
    free(clock);
    t.compute = mean;
    t.balance = last - mean;
    if (early) { /* in proportion */
        double all = t.wire + t.latency;
        t.wire *= left / all, t.latency *= left / all;
    }
    if (c->nodes > 1) t.latency += SMALL_SUMS * 2 * ceil(log2(c->nodes)) * c->latency_s;
    t.step = t.compute + t.balance + t.jitter + t.node + t.wire + t.latency + t.update;
    *out = t;
    return OK;
}
