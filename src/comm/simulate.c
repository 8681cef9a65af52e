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

typedef struct spent { double node, wire, latency; } spent;

static double all_of(const spent *s) { return s->node + s->wire + s->latency; }

/* Members of a part on a node; *most, *least: of nodes that have any. Returns how many nodes have. */
static int nodes_of(const sim_cluster *c, const sim_part *part, int *on, int *most, int *least)
{
    int n = 0;
    *most = 0, *least = c->per_node;
    for (int q = 0; q < c->nodes; q++) {
        on[q] = part->member ? 0 : c->per_node;
        for (int r = q * c->per_node; r < (q + 1) * c->per_node && part->member; r++) on[q] += part->member[(int64_t)r * part->stride];
        if (on[q] == 0) continue;
        n++;
        *most = on[q] > *most ? on[q] : *most, *least = on[q] < *least ? on[q] : *least;
    }
    return n;
}

/* A part's sum (comm/sum.c, reduce_on_nodes), the same in every step. on (nodes): its members on each node. */
static spent part_times(const sim_cluster *c, const sim_part *part, int *on)
{
    int most, lanes, nodes = nodes_of(c, part, on, &most, &lanes);
    spent t = {0};
    if (nodes == 0) return t;
    double n = (double)part->n, others = most - 1, peers = nodes - 1;
    /* all ranks of a node at once: others' integers, own sums, others' floats */
    t.node = 16 * n * others / c->memory_rate;
    if (nodes == 1) return t;
    double pieces = ceil((double)slice_of(part->n, lanes) / (double)piece_of(nodes));
    /* pairwise: to every other node a message of integers, then one of floats; the lanes of a node share its network */
    t.latency = pieces * 2 * peers * c->latency_s;
    t.wire = 12 * n * peers / nodes / c->bytes_per_s;
    return t;
}

/* One part after the other, each when its last node is there: what the node that is through last has spent. at (nodes): clocks; on (nodes). */
static spent sum_times(const sim_cluster *c, const sim_part *part, int n_parts, spent *at, int *on)
{
    spent last = {0};
    for (int q = 0; q < c->nodes; q++) at[q] = last;
    for (int p = 0; p < n_parts; p++) {
        spent own = part_times(c, &part[p], on), from = {0};
        for (int q = 0; q < c->nodes; q++)
            if (on[q] && all_of(&at[q]) > all_of(&from)) from = at[q];
        for (int q = 0; q < c->nodes; q++)
            if (on[q]) at[q] = (spent){from.node + own.node, from.wire + own.wire, from.latency + own.latency};
    }
    for (int q = 0; q < c->nodes; q++)
        if (all_of(&at[q]) > all_of(&last)) last = at[q];
    return last;
}

/* Seconds of the exchange between nodes that are left when the last rank has its units done. It goes bucket by bucket, each when all ranks that
 * sum it are done with it; between two looks nothing moves on: half an interval for each of its two waits. clock: when each rank is through,
 * and seconds what it would take undisturbed. through (nodes), on (nodes). */
static double left_over(const sim_cluster *c, const sim_part *part, int n_parts, const double *clock, const double *seconds, double *through, int *on)
{
    int64_t n = 0, hi, size;
    int ranks = c->nodes * c->per_node;
    double end = latest(clock, ranks);
    for (int p = 0; p < n_parts; p++) n += part[p].n;
    for (int q = 0; q < c->nodes; q++) through[q] = 0;
    hi = n, size = bucket_of(n);
    for (int p = n_parts - 1; p >= 0; p--) {
        int64_t floor = hi - part[p].n, each = bucket_each(part[p].n > 0 ? part[p].n : 1, size);
        int most, least, nodes = nodes_of(c, &part[p], on, &most, &least);
        double peers = nodes - 1, wire = nodes > 1 ? 12 * peers / nodes / c->bytes_per_s : 0;
        for (int64_t lo; hi > floor; hi = lo) {
            lo = hi > floor + each ? hi - each : floor;
            double share = c->done(c->done_arg, lo), from = 0;
            for (int r = 0; r < ranks && nodes > 1; r++) { /* a rank that is late is late in backward, too */
                if (part[p].member && !part[p].member[(int64_t)r * part[p].stride]) continue;
                double tail = seconds[r] > 0 ? fmin(c->tail_s * clock[r] / seconds[r], clock[r]) : 0;
                from = fmax(from, fmax(clock[r] - (1 - share) * tail, through[r / c->per_node]));
            }
            double done = from + wire * (double)(hi - lo) + 2 * peers * c->latency_s + (from < end ? c->poll_s : 0);
            for (int q = 0; q < c->nodes && nodes > 1; q++)
                if (on[q]) through[q] = done;
        }
    }
    return fmax(0, latest(through, c->nodes) - end);
}

status comm_simulate(const sim_cluster *c, const double *seconds, double update_s, const sim_part *part, int n_parts, int steps, sim_times *out)
{
    int ranks = c->nodes * c->per_node, *on = NULL;
    double *clock = NULL, *through = NULL, mean = 0, last = 0, left = 0;
    spent *at = NULL, sum;
    sim_times t = {.update = update_s};
    bool early = c->done && c->nodes > 1;
    status st;
    TRY_TO(done, mem_alloc(&clock, sizeof *clock * (size_t)ranks, "clocks of ranks"), "simulation");
    TRY_TO(done, mem_alloc(&through, sizeof *through * (size_t)c->nodes, "clocks of nodes"), "simulation");
    TRY_TO(done, mem_alloc(&at, sizeof *at * (size_t)c->nodes, "clocks of nodes"), "simulation");
    TRY_TO(done, mem_alloc(&on, sizeof *on * (size_t)c->nodes, "ranks of nodes"), "simulation");
    for (int r = 0; r < ranks; r++) mean += seconds[r] / ranks, last = fmax(last, seconds[r]);
    sum = sum_times(c, part, n_parts, at, on);
    t.node = sum.node, t.wire = sum.wire, t.latency = sum.latency;
    for (int step = 0; step < steps; step++) {
        for (int r = 0; r < ranks; r++) clock[r] = compute_time(c, seconds[r], r, step);
        t.jitter += (latest(clock, ranks) - last) / steps;
        if (early) left += left_over(c, part, n_parts, clock, seconds, through, on) / steps;
    }
    t.compute = mean;
    t.balance = last - mean;
    if (early) { /* in proportion */
        double all = t.wire + t.latency;
        t.wire *= left / all, t.latency *= left / all;
    }
    if (c->nodes > 1) t.latency += SMALL_SUMS * 2 * ceil(log2(c->nodes)) * c->latency_s;
    t.step = t.compute + t.balance + t.jitter + t.node + t.wire + t.latency + t.update;
    *out = t;
    st = OK;
done:
    free(clock);
    free(through);
    free(at);
    free(on);
    return st;
}
