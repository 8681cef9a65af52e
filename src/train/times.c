/* times: where the ranks' time goes. Every rank adds up its own seconds; rank 0 collects them at the log lines, one message a rank and no
 * other cost, and writes
 *
 *   ranks   at every log line: least, mean and most over the ranks of each rank_time (train.h), and who was slowest
 *   group   one line a rank, or a node where there are more than GROUP_RANKS ranks: at log lines too, but no more than one a second on average,
 *           so that a thousand nodes do not fill the record; and at the last log line in any case
 *
 * The slowest rank is the one that is last to have its units done, by computing or by waiting for data: the one all others wait for. "over" is
 * what its units take over what units of the same tasks take on the mean of all ranks: above 1, it is the rank (its core, its node) and not
 * the work that it has been given. With train.overlap, what is left of the sum between nodes when a rank's units are done counts as waiting. */
#include "train_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP_RANKS = 64 };

static status allocate(trainer *t)
{
    rank_times *o = &t->times;
    size_t ranks = (size_t)t->size;
    TRY(mem_alloc(&o->all, sizeof *o->all * N_RANK_TIMES * ranks, "times of the ranks"), "times");
    TRY(mem_alloc(&o->unit_s, sizeof *o->unit_s * (size_t)t->n_units, "times of the units"), "times");
    TRY(mem_alloc(&o->task_s, sizeof *o->task_s * (size_t)t->n_tasks, "times of the tasks"), "times");
    TRY(mem_alloc(&o->usual_s, sizeof *o->usual_s * ranks, "times of the ranks"), "times");
    TRY(mem_alloc(&o->busy_s, sizeof *o->busy_s * ranks, "times of the ranks"), "times");
    TRY(mem_alloc(&o->node, sizeof *o->node * ranks, "names of the nodes"), "times");
    TRY(mem_alloc(&o->node_of, sizeof *o->node_of * ranks, "nodes of the ranks"), "times");
    return OK;
}

/* node[0..size-1] holds every rank's: each is kept once, in the order of the lowest ranks. */
static void count_nodes(trainer *t)
{
    rank_times *o = &t->times;
    for (int r = 0; r < t->size; r++) {
        int k = r > 0 ? o->node_of[r - 1] : 0; /* as a rule the neighbour's */
        if (k >= o->n_nodes || memcmp(o->node[k], o->node[r], sizeof *o->node) != 0)
            for (k = 0; k < o->n_nodes && memcmp(o->node[k], o->node[r], sizeof *o->node) != 0;) k++;
        if (k == o->n_nodes) memmove(o->node[o->n_nodes++], o->node[r], sizeof *o->node); /* n_nodes <= r */
        o->node_of[r] = k;
    }
}

status times_open(trainer *t)
{
    rank_times *o = &t->times;
    char mine[COMM_NODE_BYTES];
    comm_node_name(mine);
    TRY(comm_agree(t->world, t->rank == 0 ? allocate(t) : OK), "times");
    TRY(comm_collect(t->world, mine, sizeof mine, 0, o->node), "names of the nodes");
    if (t->rank == 0) count_nodes(t);
    o->groups_at = timer_now();
    return OK;
}

void times_close(trainer *t)
{
    rank_times *o = &t->times;
    void *owned[] = {o->all, o->unit_s, o->task_s, o->usual_s, o->busy_s, o->node, o->node_of};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    *o = (rank_times){0};
}

void times_unit(trainer *t, int unit, double seconds)
{
    if (t->times.unit_s) t->times.unit_s[unit] += seconds;
}

status times_gather(trainer *t)
{
    const rank_times *o = &t->times;
    const double *v = t->verb_s;
    double steps = (double)t->steps_since, mine[N_RANK_TIMES] = {
        [TIME_COMPUTE] = v[VERB_FORWARD] + v[VERB_LOSS] + v[VERB_BACKWARD] + o->adding_s,
        [TIME_DATA] = v[VERB_LOAD],
        [TIME_WAIT] = t->wait_s,
        [TIME_SUM] = fmax(0, v[VERB_SUM] - o->adding_s - t->wait_s),
        [TIME_UPDATE] = v[VERB_CLIP] + v[VERB_UPDATE],
        [TIME_READ] = o->read_s,
        [TIME_AUGMENT] = o->augment_s};
    for (int k = 0; k < N_RANK_TIMES; k++) mine[k] /= fmax(1, steps);
    return comm_collect(t->world, mine, sizeof mine, 0, o->all);
}

/* ---- rank 0 ----------------------------------------------------------------------------------------------------------------- */

static double own_s(const trainer *t, int r)
{
    const double *x = t->times.all + (int64_t)r * N_RANK_TIMES;
    return x[TIME_COMPUTE] + x[TIME_DATA];
}

/* Means of the tasks' units, and of each rank's units what they took and what such units take as a rule. */
static void compare_units(trainer *t)
{
    rank_times *o = &t->times;
    memset(o->usual_s, 0, sizeof *o->usual_s * (size_t)t->size);
    memset(o->busy_s, 0, sizeof *o->busy_s * (size_t)t->size);
    for (int i = 0, u = 0; i < t->n_tasks; i++) {
        double sum = 0;
        int n = t->job.task[i].units;
        for (int k = 0; k < n; k++) sum += o->unit_s[u + k];
        o->task_s[i] = sum / n;
        for (int k = 0; k < n; k++, u++) {
            o->usual_s[t->rank_of[u]] += o->task_s[i];
            o->busy_s[t->rank_of[u]] += o->unit_s[u];
        }
    }
}

static double over(const rank_times *o, int r) { return o->usual_s[r] > 0 ? o->busy_s[r] / o->usual_s[r] : NAN; }

/* The task that takes most of rank r's time; -1: it has none. */
static int heaviest_task(const trainer *t, int r)
{
    int most = -1;
    double most_s = 0;
    for (int i = 0, u = 0; i < t->n_tasks; i++) {
        double s = 0;
        for (int k = 0; k < t->job.task[i].units; k++, u++)
            if (t->rank_of[u] == r) s += t->times.unit_s[u];
        if (s > most_s) most = i, most_s = s;
    }
    return most;
}

static void put_slowest(const trainer *t, int r)
{
    record *out = t->record;
    int task = heaviest_task(t, r);
    record_i64(out, "slowest_rank", r);
    record_str(out, "slowest_node", t->times.node[t->times.node_of[r]]);
    record_f64(out, "slowest_s", own_s(t, r));
    record_f64(out, "slowest_over", over(&t->times, r));
    if (task >= 0) record_str(out, "slowest_task", t->ts[task].task.spec.name);
}

static status put_ranks(trainer *t, double seconds)
{
    const rank_times *o = &t->times;
    record *r = t->record;
    int slowest = 0, longest = 0;
    record_begin(r, "ranks");
    record_i64(r, "step", t->step);
    record_i64(r, "steps", t->steps_since);
    record_f64(r, "seconds", seconds);
    record_i64(r, "ranks", t->size);
    record_i64(r, "nodes", o->n_nodes);
    for (int k = 0; k < N_RANK_TIMES; k++) {
        double least = INFINITY, most = 0, sum = 0;
        char key[40];
        for (int i = 0; i < t->size; i++) {
            double s = o->all[(int64_t)i * N_RANK_TIMES + k];
            least = fmin(least, s), most = fmax(most, s), sum += s;
        }
        const double value[] = {least, sum / t->size, most};
        static const char *const what[] = {"min", "mean", "max"};
        for (int i = 0; i < 3; i++) {
            snprintf(key, sizeof key, "%s_%s_s", rank_time_name[k].key, what[i]);
            record_f64(r, key, value[i]);
        }
    }
    for (int i = 1; i < t->size; i++)
        if (own_s(t, i) > own_s(t, slowest)) slowest = i;
    for (int i = 1; i < t->n_tasks; i++)
        if (o->task_s[i] > o->task_s[longest]) longest = i;
    put_slowest(t, slowest);
    record_str(r, "longest_task", t->ts[longest].task.spec.name);
    record_f64(r, "longest_s", o->task_s[longest] / fmax(1, (double)t->steps_since));
    times_put_pauses(t, r);
    return record_end(r);
}

/* The ranks first, first + 1, .. that are of node `node`; or rank `first` alone if node is -1. */
static status put_group(trainer *t, int node, int first)
{
    const rank_times *o = &t->times;
    double sum[N_RANK_TIMES] = {0};
    int n = 0, slowest = first;
    for (int r = first; r < t->size && (node >= 0 || r == first); r++) {
        if (node >= 0 && o->node_of[r] != node) continue;
        for (int k = 0; k < N_RANK_TIMES; k++) sum[k] += o->all[(int64_t)r * N_RANK_TIMES + k];
        if (own_s(t, r) > own_s(t, slowest)) slowest = r;
        n++;
    }
    record *out = t->record;
    record_begin(out, "group");
    record_i64(out, "step", t->step);
    record_str(out, "node", o->node[o->node_of[first]]);
    record_i64(out, "rank", node >= 0 ? -1 : first);
    record_i64(out, "ranks", n);
    for (int k = 0; k < N_RANK_TIMES; k++) {
        char key[40];
        snprintf(key, sizeof key, "%s_s", rank_time_name[k].key);
        record_f64(out, key, sum[k] / n);
    }
    put_slowest(t, slowest);
    return record_end(out);
}

static status put_groups(trainer *t)
{
    const rank_times *o = &t->times;
    bool by_rank = t->size <= GROUP_RANKS;
    for (int r = 0, seen = 0; r < t->size; r++) {
        if (!by_rank && o->node_of[r] != seen) continue; /* nodes are numbered by their lowest ranks */
        TRY(put_group(t, by_rank ? -1 : seen, r), "times");
        seen++;
    }
    return OK;
}

status times_record(trainer *t, double seconds, bool last)
{
    rank_times *o = &t->times;
    int n_groups = t->size <= GROUP_RANKS ? t->size : o->n_nodes;
    compare_units(t);
    TRY(put_ranks(t, seconds), "times");
    if (!last && timer_now() - o->groups_at < n_groups) return OK;
    o->groups_at = timer_now();
    return put_groups(t);
}

void times_put_pauses(trainer *t, record *r)
{
    for (int k = 0; k < N_PAUSES; k++) {
        char key[40];
        snprintf(key, sizeof key, "%s_pause_s", pause_name[k].key);
        record_f64(r, key, t->times.pause_s[k]);
        t->times.pause_s[k] = 0;
    }
}

void times_reset(trainer *t)
{
    rank_times *o = &t->times;
    o->adding_s = o->read_s = o->augment_s = 0;
    if (o->unit_s) memset(o->unit_s, 0, sizeof *o->unit_s * (size_t)t->n_units);
}
