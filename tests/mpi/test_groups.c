/* groups: tensors that only some ranks have units for are summed among these alone, whole and begun early, with the bits of a sum over all
 * ranks to which the others add nothing; the others' memory stays as it is, and bytes move only among members. Usage: as test_sum */
#include "medley/comm.h"
#include "test.h"

#include <math.h>

enum { TENSORS = 23, PARTS = 3, STEPS = 3, SENTINEL = 77 };
static const int bound[PARTS + 1] = {0, 12, 18, TENSORS};
static comm *world;
static int rank, size, n_nodes, *node_of; /* (size) */

/* All; of each three ranks the last two, and rank 0 in a world of one; the last rank alone. */
static bool member(int part, int r) { return part == 0 || (part == 1 ? r % 3 != 0 || size == 1 : r == size - 1); }

static int64_t lay_out(gradient_sum *s)
{
    int64_t at = 0;
    for (int k = 0; k < TENSORS; k++) { /* 1 to 12 000 elements, each beginning on 16 */
        int64_t n = 1 + (int64_t)(k * k * 7919) % 12000;
        if (s) s->tensor[k].off = at, s->tensor[k].n = n;
        at += (n + 15) / 16 * 16;
    }
    return at;
}

static float value(int r, int64_t i, int step)
{
    uint32_t h = (uint32_t)i * 2654435761u ^ (uint32_t)(r + 1) * 0x9E3779B9u ^ (uint32_t)step * 0x85EBCA6Bu;
    h ^= h >> 15, h *= 2246822519u, h ^= h >> 13;
    return ldexpf((float)(int32_t)h, -32 - (int)(h & 31));
}

static int part_of(int k)
{
    int p = 0;
    while (k >= bound[p + 1]) p++;
    return p;
}

/* This rank's unit; of a step of two it has none, if its number is odd. */
static bool fill(const gradient_sum *s, float *g, int step)
{
    if (rank % 2 == 1 && step == 1) return false;
    for (int k = 0; k < TENSORS; k++)
        for (int64_t i = 0; i < s->tensor[k].n && member(part_of(k), rank); i++) g[s->tensor[k].off + i] = value(rank, s->tensor[k].off + i, step);
    return true;
}

/* Nodes on which a part has members. */
static double nodes_of(int part)
{
    double n = 0;
    for (int r = 0; r < size; r++) {
        bool first = member(part, r);
        for (int q = 0; q < r; q++) first &= !member(part, q) || node_of[q] != node_of[r];
        n += first;
    }
    return n;
}

static void find_nodes(void)
{
    char mine[COMM_NODE_BYTES], all[64 * COMM_NODE_BYTES];
    static int node[64];
    comm_node_name(mine);
    EXPECT_OK(comm_collect(world, mine, sizeof mine, 0, all));
    EXPECT_OK(comm_bcast(world, all, sizeof mine * (size_t)size, 0));
    for (int r = 0; r < size; r++) {
        node[r] = n_nodes;
        for (int q = 0; q < r && node[r] == n_nodes; q++)
            if (strcmp(all + q * COMM_NODE_BYTES, all + r * COMM_NODE_BYTES) == 0) node[r] = node[q];
        n_nodes += node[r] == n_nodes;
    }
    node_of = node;
}

typedef struct two {
    gradient_sum among, plain; /* by groups, and over all ranks */
    float *g, *want;
    sum_group group[PARTS];
    sum_part part[PARTS];
} two;

static void open_two(two *t, bool exact)
{
    int64_t n = lay_out(NULL);
    *t = (two){0};
    EXPECT_OK(sum_init(&t->among, world, exact, TENSORS, TENSORS, n, 16, &t->g));
    EXPECT_OK(sum_init(&t->plain, world, exact, TENSORS, TENSORS, n, 16, &t->want));
    lay_out(&t->among), lay_out(&t->plain);
    for (int k = 0; k < TENSORS; k++) t->among.tensor[k].away = !member(part_of(k), rank);
    for (int p = 0; p < PARTS; p++) {
        if (p > 0 && size > 1) EXPECT_OK(sum_group_open(&t->group[p], &t->among, member(p, rank)));
        bool all = p == 0 || size == 1;
        t->part[p] = (sum_part){bound[p], bound[p + 1], all ? &t->among.all : member(p, rank) ? &t->group[p] : NULL};
    }
}

static void close_two(two *t)
{
    for (int p = 0; p < PARTS; p++) sum_group_close(&t->group[p]);
    sum_free(&t->among);
    sum_free(&t->plain);
}

/* Sets what this rank is not to touch; the reference has it in `plain`. */
static void plant(two *t)
{
    for (int k = 0; k < TENSORS; k++)
        for (int64_t i = 0; i < t->among.tensor[k].n; i++) {
            t->g[t->among.tensor[k].off + i] = t->among.tensor[k].away ? SENTINEL : 0;
            t->want[t->among.tensor[k].off + i] = 0;
        }
}

static void compare(two *t, int step, double near)
{
    int n_bad = 0, n_touched = 0, id[TENSORS];
    for (int k = 0; k < TENSORS; k++) {
        const sum_tensor *x = &t->among.tensor[k];
        for (int64_t i = x->off; i < x->off + x->n; i++) {
            if (x->away) n_touched += t->g[i] != SENTINEL;
            else n_bad += near > 0 ? !(fabsf(t->g[i] - t->want[i]) <= near) : memcmp(&t->g[i], &t->want[i], sizeof *t->g) != 0;
        }
        id[k] = k;
    }
    EXPECT(n_bad == 0, "step %d: %d values differ from those of a sum over all", step, n_bad);
    EXPECT(n_touched == 0, "step %d: %d values of other ranks were touched", step, n_touched);
    EXPECT_OK(sum_rescale(&t->among, world, id));
    EXPECT_OK(sum_rescale(&t->plain, world, id));
    for (int k = 0; k < TENSORS; k++) EXPECT(t->among.tensor[k].exponent == t->plain.tensor[k].exponent, "step %d: exponent of tensor %d", step, k);
}

static void add_plain(two *t, int step)
{
    if (fill(&t->plain, t->want, step)) {
        EXPECT(sum_check(&t->plain, t->want, 0, TENSORS) == -1, "refused");
        sum_add(&t->plain, t->want, 0, TENSORS);
    }
}

static double n_of(const two *t, int part)
{
    const sum_tensor *a = &t->among.tensor[bound[part]], *b = &t->among.tensor[bound[part + 1] - 1];
    return (double)(b->off + b->n - a->off);
}

/* 12 bytes a value for every other node with members, of all ranks together. */
static void bytes_are(const two *t, double sent, const char *what)
{
    double want = 0, all = 0, everywhere = 0;
    for (int p = 0; p < PARTS; p++) want += 12 * n_of(t, p) * (nodes_of(p) - 1), all += n_of(t, p);
    everywhere = 12 * all * (n_nodes - 1);
    EXPECT_OK(comm_sum_f64(world, &sent, 1));
    EXPECT(fabs(sent - want) <= 1e-3 * want, "%s: %.0f bytes moved, %.0f expected", what, sent, want);
    EXPECT(n_nodes == 1 || sent < 0.9 * everywhere, "%s: %.0f bytes moved, %.0f for all ranks", what, sent, everywhere);
    if (rank == 0) printf("# %s: %.0f bytes moved, %.0f if all ranks took part\n", what, sent, everywhere);
}

static void whole(bool exact)
{
    two t;
    open_two(&t, exact);
    for (int step = 0; step < STEPS; step++) {
        plant(&t);
        bool has = fill(&t.among, t.g, step);
        for (int p = 0; p < PARTS && has; p++) {
            if (!member(p, rank)) continue;
            EXPECT(sum_check(&t.among, t.g, bound[p], bound[p + 1]) == -1, "refused");
            sum_add(&t.among, t.g, bound[p], bound[p + 1]);
        }
        double before = comm_bytes_sent();
        for (int p = 0; p < PARTS; p++)
            if (t.part[p].group) EXPECT_OK(sum_reduce_among(&t.among, t.part[p].group, bound[p], bound[p + 1], t.g));
        double sent = comm_bytes_sent() - before;
        if (exact && step == 0) bytes_are(&t, sent, "whole");
        add_plain(&t, step);
        EXPECT_OK(sum_reduce(&t.plain, world, 0, TENSORS, t.want));
        compare(&t, step, exact ? 0 : 1e-5);
    }
    close_two(&t);
}

static void exact_sums(void) { whole(true); }
static void float_sums(void) { whole(false); }

/* What a rank holds, tensor by tensor from the end, as backward finishes it; in the last step rank 0 takes all back. */
static void early(enum sum_mode mode)
{
    two t;
    sum_ahead *a;
    open_two(&t, true);
    EXPECT_OK(sum_ahead_open(&a, &t.among, t.part, PARTS, mode));
    EXPECT((a != NULL) == (n_nodes > 1), "%d nodes, begun early: %d", n_nodes, a != NULL);
    for (int step = 0; step < STEPS && a; step++) {
        bool bad = rank == 0 && step == STEPS - 1;
        double again = bad, before = comm_bytes_sent();
        plant(&t);
        sum_ahead_begin(a);
        bool has = fill(&t.among, t.g, step);
        for (int k = TENSORS - 1; k >= 0 && has; k--) {
            if (member(part_of(k), rank)) {
                EXPECT(sum_check(&t.among, t.g, k, k + 1) == -1, "refused");
                sum_add_early(&t.among, t.g, k, k + 1);
            }
            if (k % 3 == 0) sum_ahead_done(a, k);
        }
        for (int k = 0; k < TENSORS && has; k++) {
            if (!member(part_of(k), rank)) continue;
            if (bad) sum_take_back(&t.among, t.g, k, k + 1);
            sum_reject(&t.among, t.g, k, k + 1);
        }
        EXPECT_OK(sum_ahead_finish(a));
        double sent = comm_bytes_sent() - before;
        EXPECT_OK(comm_sum_f64(world, &again, 1));
        if (again == 0) sum_ahead_take(a, t.g);
        for (int p = 0; p < PARTS && again > 0; p++)
            if (t.part[p].group) EXPECT_OK(sum_reduce_among(&t.among, t.part[p].group, bound[p], bound[p + 1], t.g));
        if (step == 0) bytes_are(&t, sent, mode == SUM_POLL ? "between layers" : "by a thread");
        add_plain(&t, step);
        if (bad && has) { /* it counts for the maxima, but not for the sum: -x is rounded as x is */
            fill(&t.plain, t.want, step);
            sum_take_back(&t.plain, t.want, 0, TENSORS);
            sum_reject(&t.plain, t.want, 0, TENSORS);
        }
        EXPECT_OK(sum_reduce(&t.plain, world, 0, TENSORS, t.want));
        compare(&t, step, 0);
    }
    sum_ahead_close(a);
    close_two(&t);
}

static void begun_early_between_layers(void) { early(SUM_POLL); }
static void begun_early_by_a_thread(void) { early(SUM_THREAD); }

/* Four nodes of two ranks: all sum the first part, one rank each of nodes 0 and 1 the second, both of node 3 the third, at the same time. */
static void simulated(void)
{
    enum { A = 1 << 20, B = 1 << 19, C = 1 << 18, RANKS = 8 };
    static const bool member[RANKS][2] = {[0] = {true}, [2] = {true}, [6] = {false, true}, [7] = {false, true}};
    double seconds[RANKS] = {0}, wire = (12.0 * A * 3 / 4 + 12.0 * B / 2) / 1e9, node = 16.0 * A / 1e11;
    const sim_part part[] = {{.n = A}, {B, &member[0][0], 2}, {C, &member[0][1], 2}};
    sim_cluster c = {.nodes = 4, .per_node = 2, .bytes_per_s = 1e9, .memory_rate = 1e11};
    sim_times t;
    EXPECT_OK(comm_simulate(&c, seconds, 0, part, 3, 1, &t));
    EXPECT_NEAR(t.wire, wire, 1e-12);
    EXPECT_NEAR(t.node, node, 1e-12);
    c.memory_rate = 1e6; /* so slow that the third part takes longer than the second */
    EXPECT_OK(comm_simulate(&c, seconds, 0, part, 3, 1, &t));
    EXPECT_NEAR(t.wire, 12.0 * A * 3 / 4 / 1e9, 1e-12);
    EXPECT_NEAR(t.node, 16.0 * (A + C) / 1e6, 1e-9);
    EXPECT_OK(comm_simulate(&c, seconds, 0, part, 1, 1, &t));
    EXPECT_NEAR(t.wire, 12.0 * A * 3 / 4 / 1e9, 1e-12);
}

int main(int argc, char **argv)
{
    if (comm_open(&argc, &argv, &world) != OK) return 1;
    log_open(comm_rank(world), LOG_WARN);
    rank = comm_rank(world), size = comm_size(world);
    if (rank != 0 && !freopen("/dev/null", "w", stdout)) return 1; /* TAP comes from rank 0; all ranks' failures count */
    find_nodes();
    RUN(exact_sums);
    RUN(float_sums);
    RUN(begun_early_between_layers);
    RUN(begun_early_by_a_thread);
    RUN(simulated);
    double bad = test_bad;
    if (comm_sum_f64(world, &bad, 1) != OK) bad = 1;
    comm_close(world);
    if (bad > 0 && test_bad == 0) printf("not ok %d - on another rank\n", ++test_n), test_bad++;
    DONE();
}
