/* forecast: what `medley check` prints. The real planning code runs once per rank, in one process, without MPI and without training; what a
 * run asks for beyond the plan is added up here, line by line, and tests/mpi/memory.sh holds the sum against measured peaks. */
#include "train_internal.h"

#include "medley/kern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIB = 1 << 20, RANKS_SHOWN = 64 };

/* Measured on Debian 12 (Open MPI 4.1.4, OpenBLAS 0.3.21, HDF5 1.10.8) as what a process has at its peak beyond the parts that can be
 * counted: swin_v2_micro on one 32x32 image holds 176 MiB after a step, of which 150 are counted, and 182 after its checkpoint. */
static const double base_bytes = 26.0 * MIB;      /* program, pages of the libraries, MPI, OpenBLAS' buffers, job, tables */
static const double peer_bytes = 0.3 * MIB;       /* each other rank of the node: shared-memory transport */
static const double file_bytes = 0.09 * MIB;      /* HDF5's state of one open shard */
static const double checkpoint_bytes = 4.0 * MIB; /* HDF5 while it writes: chunk and metadata caches */
static const double exact_bytes = 2.0 * MIB;      /* a piece of the exact sum on its way (comm/sum.c) */

/* Exchange and evaluation come one after another, and neither outlives its turn: only the larger counts. */
typedef struct needs { double base, state, activations, batches, data, exchange, evaluation, save, peak; int files; } needs;

/* Ranks of this rank's node, of n_ranks, that hold a block; *first: none of them has a lower number. Before placement: all do. */
static int holders_here(const trainer *t, int block, int n_ranks, bool *first)
{
    int from = t->rank - t->rank % n_ranks, n = 0;
    *first = t->rank == from;
    if (!t->holds) return n_ranks;
    *first = true;
    for (int r = from; r < from + n_ranks && r < t->size; r++) {
        n += rank_holds(t, block, r);
        *first &= r >= t->rank || !rank_holds(t, block, r);
    }
    return n;
}

/* Weights, gradients, moments, the sum, the average. n_ranks: of the node, which may hold moments and average once: then the first rank that
 * holds a block, who compares and saves them, sees them all, and the others their shares. */
static double state_bytes(const trainer *t, int n_ranks)
{
    bool exact = strcmp(t->job.train.sum, "exact") == 0, once = strcmp(t->job.train.moments, "node") == 0 && n_ranks > 1, first;
    bool left = exact && t->n_mine == 1 && n_ranks >= t->size; /* on one node a rank's only unit is never made integers (sum_leave) */
    double all = (double)held_elements(t) * (4 * 4 + (left ? 0 : exact ? 8 : 4) + (t->job.train.ema > 0 ? 4 : 0));
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0 && once; b++) {
        int n = holders_here(t, b, n_ranks, &first);
        if (!t->block[b].away && !first) all -= (double)params_count(&t->pt, b) * 8 * (n - 1) / n; /* all ranks read the average when they validate */
    }
    return all;
}

/* Parameters of the shared blocks that this rank holds. */
static double shared_here(const trainer *t)
{
    double n = 0;
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++) n += t->block[b].away ? 0 : (double)params_count(&t->pt, b);
    return n;
}

/* The training loader and, beside it while a split is scored, the evaluation loader of the largest task with its metric. */
static status batch_bytes(trainer *t, double *training, double *evaluation)
{
    size_t train = 0, most = 0;
    bool *takes;
    TRY(mem_alloc(&takes, sizeof *takes * (size_t)t->n_tasks, "forecast"), "forecast");
    for (int i = 0; i < t->n_tasks; i++) takes[i] = t->ts[i].mine;
    status st = loader_measure(t->uses, takes, t->n_tasks, t->job.train.prefetch, false, &train);
    memset(takes, 0, sizeof *takes * (size_t)t->n_tasks);
    for (int i = 0; i < t->n_tasks && !st; i++) {
        size_t eval;
        if (!t->ts[i].mine || t->ts[i].n_split[SPLIT_VAL] == 0) continue;
        takes[i] = true;
        st = loader_measure(t->uses, takes, t->n_tasks, 2, true, &eval);
        takes[i] = false;
        eval += (size_t)t->ts[i].n_split[SPLIT_VAL] * (size_t)(2 * t->ts[i].task.spec.K + 8) * sizeof(double);
        if (eval > most) most = eval;
    }
    free(takes);
    *training = (double)train;
    *evaluation = (double)most;
    return st;
}

/* Every rank holds every index; a task's own ranks open its shards, and once more for evaluation. */
static status data_bytes(trainer *t, double *out, int *files)
{
    *out = 0, *files = 0;
    for (int i = 0; i < t->n_tasks; i++) {
        dataset_cost c;
        bool looks = t->rank == 0 && job_memory(&t->job) > 0; /* to plan for the budget, into one shard of each task */
        TRY(dataset_measure(t->ts[i].data, t->ts[i].mine || looks, &c), "forecast");
        int views = !t->ts[i].mine ? 0 : t->ts[i].n_split[SPLIT_VAL] > 0 ? 2 : 1;
        if (looks && !t->ts[i].mine) *out += (double)c.shards / (c.n_open ? c.n_open : 1) + file_bytes;
        *out += (double)c.index + views * ((double)c.shards + c.n_open * file_bytes);
        *files += views * c.n_open;
    }
    return OK;
}

/* Rank 0 takes such tensors from their holders one by one (save.c). */
static double largest_elsewhere(const trainer *t)
{
    int64_t n = 0;
    for (int i = 0; i < t->pt.n; i++)
        if (t->pt.p[i].block < BLOCK_HEAD0 && t->block[t->pt.p[i].block].lead != 0 && t->pt.p[i].n > n) n = t->pt.p[i].n;
    return 4 * (double)n;
}

/* n_ranks: of the node. */
static status add_up(trainer *t, int n_ranks, bool alone, needs *n)
{
    bool exact = strcmp(t->job.train.sum, "exact") == 0, bf16 = strcmp(t->job.train.precision, "bf16") == 0;
    *n = (needs){.base = base_bytes + peer_bytes * (n_ranks - 1) + (bf16 ? (double)kern_bf16_bytes() : 0), .state = state_bytes(t, n_ranks),
                 .activations = (double)t->act_arena.size};
    TRY(batch_bytes(t, &n->batches, &n->evaluation), "forecast");
    TRY(data_bytes(t, &n->data, &n->files), "forecast");
    /* exact: pieces in the cache; float: MPI reduces in halves (Rabenseifner's algorithm in Open MPI), a copy of half of what is summed */
    if (!alone) n->exchange = exact ? exact_bytes : 0.5 * shared_here(t) * 4;
    /* rank 0 keeps a copy of the last checkpoint and of the best weights, for the saver */
    if (t->rank == 0) n->save = (double)(checkpoint_room(t, true) + checkpoint_room(t, false)) + checkpoint_bytes + largest_elsewhere(t);
    double brief = n->exchange > n->evaluation ? n->exchange : n->evaluation;
    n->peak = n->base + n->state + n->activations + n->batches + n->data + n->save + brief;
    return OK;
}

/* The sum over several nodes that begins early (comm/sum_ahead.c): its result, and a bucket's integers twice, of a rank's slice. */
static double early_bytes(const trainer *t, int per_node)
{
    bool early = strcmp(t->job.train.sum, "exact") == 0 && strcmp(t->job.train.overlap, "off") != 0, first;
    double n = 0;
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0 && early; b++)
        if (!t->block[b].away) n += (double)params_count(&t->pt, b) * (4 + 2 * 8.0 / 8) / fmax(1, holders_here(t, b, per_node, &first));
    return n;
}

/* As a rank that has everything: the plan lays the parameters out anew when it knows what is whose. */
status forecast_rest(trainer *t, double *bytes)
{
    enum { MOST_PEERS = 32 }; /* ranks of a node that the budget allows for */
    bool *owned;
    needs n = {0};
    int rank = t->rank;
    TRY(mem_alloc(&owned, sizeof *owned * (size_t)(BLOCK_HEAD0 + t->n_tasks), "owned blocks"), "forecast");
    for (int b = 0; b < BLOCK_HEAD0 + t->n_tasks; b++) owned[b] = true;
    params_layout(&t->pt, owned, BLOCK_HEAD0 + t->n_tasks);
    free(owned);
    t->rank = 0;
    for (int i = 0; i < t->n_tasks; i++) t->ts[i].mine = true;
    status st = add_up(t, MOST_PEERS, false, &n);
    for (int i = 0; i < t->n_tasks; i++) t->ts[i].mine = false;
    t->rank = rank;
    *bytes = n.peak;
    return st;
}

static status put_head(const trainer *t, double shared, FILE *out)
{
    fprintf(out, "encoder %s: %.2f M parameters in shared blocks, %.2f M in all; %d tasks, %d units a step\n", t->shared.enc.variant,
            1e-6 * shared, 1e-6 * (double)params_count(&t->pt, -1), t->n_tasks, t->n_units);
    for (int i = 0; i < t->n_tasks; i++)
        fprintf(out, "  %-24s %-14s %3d classes  train %lld, val %lld, test %lld  %dx%d, batch %d x %d units, %.2f GFLOP forward a unit\n",
                t->ts[i].task.spec.name, task_kind_name[t->ts[i].task.spec.kind], t->ts[i].task.spec.K, (long long)t->ts[i].n_split[0],
                (long long)t->ts[i].n_split[1], (long long)t->ts[i].n_split[2], t->ts[i].task.spec.H, t->ts[i].task.spec.W,
                t->ts[i].task.spec.batch, t->job.task[i].units, 2e-9 * task_flops(&t->ts[i].task, &t->shared));
    fprintf(out, "memory budget of a rank: %s\n", t->job.train.memory[0] ? t->job.train.memory : "none");
    for (int i = 0; i < t->n_tasks; i++) {
        char said[256];
        TRY(budget_say(t, i, said, sizeof said), "check");
        fprintf(out, "  %-24s %s\n", t->ts[i].task.spec.name, said);
    }
    fprintf(out, "rank  units  planned cost  weights+gradients+moments  activations  batches   data  process +max(exchange, evaluation)   save  peak in MiB  files\n");
    return OK;
}

/* What the forecast is about, and what the ranks' plans have told so far. */
typedef struct outlook {
    const job *j;
    const cluster *on;
    const step_cost *cost; /* measured, or NULL */
    FILE *out;
    rank_load *load;       /* (on->ranks) filled by rank 0's plan */
    char   summed[160];    /* what each step sums, over which ranks */
    sum_traffic sent;      /* in a step */
    double most;           /* bytes of the largest rank */
} outlook;

static status put_sums(const trainer *t, int per_node, outlook *k)
{
    double each = strcmp(t->job.train.sum, "exact") == 0 ? 8 : 4, all = 0;
    size_t n;
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++) all += t->block[b].everywhere ? each * (double)params_count(&t->pt, b) : 0;
    n = (size_t)snprintf(k->summed, sizeof k->summed, "%.1f MiB over %d ranks", all / MIB, t->size);
    for (int b = BLOCK_ENCODER; b < BLOCK_HEAD0; b++) {
        if (t->block[b].everywhere) continue;
        n += (size_t)snprintf(k->summed + n, sizeof k->summed - n, ", %.1f MiB (%s) over %d", each * (double)params_count(&t->pt, b) / MIB, block_name[b],
                              t->block[b].n_ranks);
    }
    return forecast_traffic(t, per_node, &k->sent);
}

/* last: the rank after which the time is printed. */
static status one_rank(outlook *k, int rank, bool last)
{
    const job *j = k->j;
    const cluster *on = k->on;
    const step_cost *cost = k->cost;
    FILE *out = k->out;
    rank_load *load = k->load;
    trainer *t;
    needs n = {0};
    int n_ranks = on->ranks;
    TRY(mem_alloc(&t, sizeof *t, "trainer"), "forecast");
    t->rank = rank, t->size = n_ranks, t->job = *j, t->dry = true, t->unit_s = cost ? cost->unit_s : NULL;
    status st = plan_make(t, true);
    if (!st) st = add_up(t, cluster_per_node(on), n_ranks == 1, &n);
    if (!st && on->nodes > 1) {
        double early = early_bytes(t, cluster_per_node(on));
        n.state += early, n.peak += early;
    }
    if (!st) {
        double shared = (double)(params_count(&t->pt, BLOCK_ENCODER) + params_count(&t->pt, BLOCK_SEG) + params_count(&t->pt, BLOCK_DET));
        for (int u = 0; u < t->n_units && rank == 0; u++)
            if (!task_rests(&t->ts[t->units[u].task])) load[t->rank_of[u]].seconds += t->units[u].cost, load[t->rank_of[u]].units++;
        if (rank == 0) st = put_head(t, shared, out);
        if (rank == 0 && !st) st = put_sums(t, cluster_per_node(on), k);
        fprintf(out, "%4d  %5d  %12.3f  %25.1f  %11.1f  %7.1f  %5.1f  %7.1f      %8.1f  %10.1f  %5.1f   %7.1f  %7d  ", rank, t->n_mine, load[rank].seconds,
                n.state / MIB, n.activations / MIB, n.batches / MIB, n.data / MIB, n.base / MIB, n.exchange / MIB, n.evaluation / MIB,
                n.save / MIB, n.peak / MIB, n.files);
        if (n.peak > k->most) k->most = n.peak;
        const char *comma = "";
        for (int i = 0; i < t->n_tasks; i++)
            if (t->ts[i].mine) fprintf(out, "%s%s", comma, t->ts[i].task.spec.name), comma = ", ";
        fprintf(out, "%s\n", t->n_mine ? "" : "idle: more ranks than units");
        fprintf(out, "forecast rank %d peak_bytes %.0f\n", rank, n.peak);
        if (job_memory(j) > 0 && n.peak > (double)job_memory(j))
            log_line(LOG_WARN, "rank %d: the forecast is above train.memory = \"%s\": so many ranks on a node need room of their own", rank,
                     j->train.memory);
        if (!st && cost && last) st = forecast_time(t, load, cost, on, out);
    }
    plan_free(t);
    free(t);
    return st;
}

static void put_balance(const outlook *k)
{
    const cluster *on = k->on;
    FILE *out = k->out;
    double most = 0, total = 0;
    for (int r = 0; r < on->ranks; r++) {
        total += k->load[r].seconds;
        if (k->load[r].seconds > most) most = k->load[r].seconds;
    }
    fprintf(out, "imbalance (largest over mean cost) %.3f; each step sums %s", total > 0 ? most * on->ranks / total : 1.0,
            k->summed);
    if (on->nodes > 1) fprintf(out, "; at most %.1f MiB leave a node, and as many come", k->sent.leave / MIB);
    fprintf(out, "; a node needs at most %.1f GiB\n", k->most * cluster_per_node(on) / (1 << 30));
    fprintf(out, "forecast sum_bytes %.0f\n", k->sent.bytes);
}

/* Is model.init a file that the encoder can start from? */
static status check_start(const job *j)
{
    weights w;
    TRY(weights_open(&w, j->model.init, &(weights_ask){.encoder = j->model.encoder}), "check");
    weights_close(&w);
    return OK;
}

status trainer_forecast(const job *j, const cluster *on, FILE *out)
{
    step_cost cost = {0};
    outlook k = {.j = j, .on = on, .cost = on->timed ? &cost : NULL, .out = out};
    status st;
    CHECK(on->nodes <= on->ranks, ST_USAGE, "%d nodes for %d ranks: some would have none", on->nodes, on->ranks);
    int threads = cores_asked(j->train.threads);
    kern_init(threads > 0 ? threads : 1); /* as use_threads, but for the node's share */
    if (job_starts_from_file(j)) TRY(check_start(j), "%s: model.init", j->file);
    TRY_TO(done, mem_alloc(&k.load, sizeof *k.load * (size_t)on->ranks, "forecast"), "check");
    if (on->timed) {
        TRY_TO(done, mem_alloc(&cost.unit_s, sizeof *cost.unit_s * (size_t)j->n_tasks, "forecast"), "check");
        bool known = on->costs && path_exists(on->costs);
        TRY_TO(done, known ? costs_read(j, &cost, on->costs) : forecast_measure(j, &cost), "measuring a step");
        if (on->costs && !known) TRY_TO(done, costs_write(j, &cost, on->costs), "costs");
    }
    TRY_TO(done, one_rank(&k, 0, on->ranks == 1), "check");
    int busiest = 0, shown = on->ranks <= RANKS_SHOWN ? on->ranks : 2;
    for (int r = 0; r < on->ranks; r++)
        if (k.load[r].seconds > k.load[busiest].seconds) busiest = r;
    if (busiest == 0) busiest = on->ranks - 1;
    if (shown < on->ranks) fprintf(out, "of %d ranks, rank 0 and the busiest of the others:\n", on->ranks);
    for (int i = 1; i < shown; i++) TRY_TO(done, one_rank(&k, shown < on->ranks ? busiest : i, i == shown - 1), "check");
    put_balance(&k);
    st = OK;
done:
    free(cost.unit_s);
    free(k.load);
    return st;
}
