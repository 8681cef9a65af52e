/* sum: the exact sum has the same bits for any number of ranks, on any number of nodes, and any distribution of units; float mode is close;
 * bad units are refused. Usage: test_sum [apart]: every rank is on a node of its own */
#include "medley/comm.h"
#include "test.h"

#include <mpi.h>

enum { UNITS = 8, N1 = 1000, N2 = 3333, N = 1008 + N2 };
static comm *world;
static bool nodes_share = true; /* some node has several ranks */
static double n_nodes = 1;

static float value(int unit, int i, int step)
{
    rng r = rng_open((rng_key){(uint64_t)step, (uint32_t)unit, (uint32_t)i}, RNG_TEST, 0);
    float x = rng_normal(&r);
    return x * expf(4 * rng_normal(&r)) * 1e-4f;
}

/* arena: gets a gradient arena of the sum's own, of another length on every rank; NULL: the caller has one */
static void make(gradient_sum *s, comm *c, bool exact, float **arena)
{
    EXPECT_OK(sum_init(s, c, exact, 2, 2, N + 100 * comm_rank(c), UNITS, arena));
    s->tensor[0].off = 0, s->tensor[0].n = N1;
    s->tensor[1].off = 1008, s->tensor[1].n = N2;
}

/* steps of UNITS units, dealt to the ranks of c (NULL: this rank alone) by (unit + shift) mod size; returns the checksum of the sums.
 * in_place: gradients and sums in an arena that the ranks share; else in two arrays of this rank. leave: a rank's last unit is left in it. */
static uint32_t run(comm *c, bool exact, int shift, bool in_place, bool leave, double *worst)
{
    static float mine[N], sums[N];
    float *g = mine, *total = sums;
    gradient_sum s;
    make(&s, c, exact, in_place ? &g : NULL);
    EXPECT((s.g_of.n > 0) == (in_place && exact && comm_size(c) > 1 && nodes_share), "ranks of a node share their sums: %d", s.g_of.n > 0);
    if (in_place) total = g;
    int id[2] = {0, 1}, rank = comm_rank(c), size = comm_size(c);
    uint32_t crc = 0;
    for (int step = 0; step < 3; step++) {
        for (int u = 0; u < UNITS; u++) {
            if ((u + shift) % size != rank) continue;
            for (int i = 0; i < N; i++) g[i] = i >= N1 && i < 1008 ? 0 : value(u, i, step);
            EXPECT(sum_check(&s, g, 0, 2) == -1, "refused");
            if (leave && u + size >= UNITS) {
                sum_leave(&s, g, 0, 2);
                continue;
            }
            sum_add(&s, g, 0, 2);
            for (int i = 0; i < N; i++) EXPECT(g[i] == 0, "gradient not cleared");
        }
        EXPECT_OK(sum_reduce(&s, c, 0, 2, total));
        EXPECT_OK(sum_rescale(&s, c, id));
        crc = crc32c(crc, total, N1 * sizeof *total);
        crc = crc32c(crc, total + 1008, N2 * sizeof *total);
        *worst = 0;
        double most = 0;
        for (int u = 0; u < UNITS; u++)
            for (int i = 0; i < N1; i++) most = fmax(most, fabs(value(u, i, step)));
        for (int i = 0; i < N1; i++) {
            double want = 0, size_of = 0;
            for (int u = 0; u < UNITS; u++) want += value(u, i, step), size_of += fabs(value(u, i, step));
            double off = fabs(total[i] - want) / (size_of + 0x1p-20 * most); /* resolution: 2^-46 of the largest value */
            if (off > *worst) *worst = off;
        }
    }
    sum_free(&s);
    return crc;
}

static void nodes_are_counted(void)
{
    comm_levels levels;
    EXPECT_OK(comm_levels_open(world, &levels));
    if (comm_size(world) > 1) n_nodes = comm_rank(levels.node) == 0;
    comm_levels_close(&levels);
    EXPECT_OK(comm_sum_f64(world, &n_nodes, 1));
}

static void same_bits_for_any_deal(void)
{
    double worst = 1;
    uint32_t alone = run(NULL, true, 0, false, false, &worst);
    EXPECT(worst < 1.2e-7, "relative error %g: more than one float rounding", worst);
    for (int k = 0; k < 8; k++) {
        double w;
        EXPECT(run(world, true, k / 2, k % 2, false, &w) == alone, "bits differ for shift %d on %d ranks, in place: %d", k / 2, comm_size(world), k % 2);
        if (k % 2) EXPECT(run(world, true, k / 2, true, true, &w) == alone, "bits differ for shift %d on %d ranks, last units left", k / 2, comm_size(world));
    }
}

/* Several pieces, tensors that straddle them, ranks without a unit: every value is the rounded sum of the units' values on the grid. */
static float cheap(int rank, int i)
{
    uint32_t h = (uint32_t)i * 2654435761u ^ (uint32_t)(rank + 1) * 0x9E3779B9u;
    h ^= h >> 15, h *= 2246822519u, h ^= h >> 13;
    return ldexpf((float)(int32_t)h, -32 - (int)(h & 31)); /* half down to 2^-32 in size */
}

/* Of rounded_sum: ranks 1 and 4 have none. */
static int units_of(int rank) { return rank % 3 == 1 ? 0 : rank == 2 ? 1 : 2; }

static void rounded_sum(bool in_place, bool leave)
{
    enum { A = 123457, B = 276001, OFF = A + 15, ALL = OFF + B };
    static float mine[ALL], sums[ALL];
    float *g = mine, *total = sums;
    int rank = comm_rank(world), size = comm_size(world), id[2] = {0, 1};
    gradient_sum s;
    EXPECT_OK(sum_init(&s, world, true, 2, 2, ALL, 8, in_place ? &g : NULL));
    if (in_place) total = g;
    s.tensor[0].off = 0, s.tensor[0].n = A, s.tensor[1].off = OFF, s.tensor[1].n = B;
    for (int step = 0; step < 2; step++) {
        double scale[2];
        for (int k = 0; k < 2; k++) scale[k] = ldexp(1, s.tensor[k].exponent == SUM_EXPONENT_UNKNOWN ? 62 - 3 - 20 : s.tensor[k].exponent);
        for (int unit = 0; unit < units_of(rank); unit++) {
            for (int i = 0; i < ALL; i++) g[i] = i >= A && i < OFF ? 0 : cheap(2 * rank + unit, i + step);
            EXPECT(sum_check(&s, g, 0, 2) == -1, "refused");
            int left = !leave || unit + 1 < units_of(rank) ? 0 : 2 - (step + rank) % 2; /* one tensor or both */
            sum_leave(&s, g, 0, left);
            sum_add(&s, g, left, 2);
        }
        EXPECT_OK(sum_reduce(&s, world, 0, 2, total));
        int n_bad = 0;
        for (int i = 0; i < ALL; i++) {
            int64_t sum = 0;
            double sc = scale[i >= OFF];
            for (int r = 0; r < size; r++)
                for (int unit = 0; unit < units_of(r); unit++) sum += llrint((double)cheap(2 * r + unit, i + step) * sc);
            float want = i >= A && i < OFF ? 0 : (float)((double)sum / sc);
            n_bad += memcmp(&want, &total[i], sizeof want) != 0;
        }
        EXPECT(n_bad == 0, "step %d: %d of %d values", step, n_bad, ALL);
        EXPECT_OK(sum_rescale(&s, world, id));
    }
    /* no unit at all: zeros, not what is left of the step before */
    EXPECT_OK(sum_reduce(&s, world, 0, 2, total));
    for (int i = 0; i < ALL; i++)
        if (total[i] != 0) {
            EXPECT(false, "value %d of an empty step: %g", i, (double)total[i]);
            break;
        }
    sum_free(&s);
}

static void every_value_is_the_rounded_sum(void)
{
    rounded_sum(false, false);
    rounded_sum(true, false);
    rounded_sum(true, true);
}

/* The sum begun early, tensor by tensor from the end, against sum_reduce on the same units: ranks with no unit, one and two, and one rank that
 * takes back in one step what it has added. */
enum { TENSORS = 23, EARLY_STEPS = 4, BAD_STEP = 2 };

static int64_t lay_out(gradient_sum *s)
{
    int64_t at = 0;
    for (int k = 0; k < TENSORS; k++) { /* 1 to 50 000 elements, each beginning on 16 */
        int64_t n = 1 + (int64_t)(k * k * 7919) % 50000;
        if (s) s->tensor[k].off = at, s->tensor[k].n = n;
        at += (n + 15) / 16 * 16;
    }
    return at;
}

static void fill(const gradient_sum *s, float *g, int unit, int step)
{
    for (int k = 0; k < TENSORS; k++)
        for (int64_t i = 0; i < s->tensor[k].n; i++) g[s->tensor[k].off + i] = cheap(unit, (int)(s->tensor[k].off + i) + 3 * step);
}

/* A rank's units but the last; which that is, or -1. Ranks 1, 4, .. have none, the others two or one. */
static int but_last(gradient_sum *s, float *g, int rank, int step)
{
    if (rank % 3 == 1) return -1;
    for (int unit = 0; unit < rank % 2; unit++) {
        fill(s, g, 2 * rank + unit, step);
        EXPECT(sum_check(s, g, 0, TENSORS) == -1, "refused");
        sum_add(s, g, 0, TENSORS);
    }
    return 2 * rank + rank % 2;
}

static void early_sum(enum sum_mode mode)
{
    gradient_sum early, after;
    sum_ahead *a;
    float *g, *plain;
    int rank = comm_rank(world), id[TENSORS], n_bad = 0;
    int64_t n = lay_out(NULL);
    for (int k = 0; k < TENSORS; k++) id[k] = k;
    EXPECT_OK(sum_init(&early, world, true, TENSORS, TENSORS, n, 16, &g));
    EXPECT_OK(sum_init(&after, world, true, TENSORS, TENSORS, n, 16, &plain));
    lay_out(&early), lay_out(&after);
    EXPECT_OK(sum_ahead_open(&a, &early, &(sum_part){0, TENSORS - 2, &early.all}, 1, mode)); /* the last two are no shared ones */
    EXPECT((a != NULL) == (n_nodes > 1), "%.0f nodes, begun early: %d", n_nodes, a != NULL);
    for (int step = 0; step < EARLY_STEPS && a; step++) {
        bool take_back = step == BAD_STEP && rank == 0; /* it has one unit */
        double again = take_back;
        sum_ahead_begin(a);
        int last = but_last(&early, g, rank, step), reference = but_last(&after, plain, rank, step);
        if (last >= 0) fill(&early, g, last, step);
        for (int k = TENSORS - 2; k >= 0 && last >= 0; k -= 3) { /* as a layer's tensors are finished */
            int lo = k > 3 ? k - 3 : 0;
            EXPECT(sum_check(&early, g, lo, k) == -1, "refused");
            sum_add_early(&early, g, lo, k);
            sum_ahead_done(a, lo);
            if (take_back && lo < TENSORS / 2) {
                sum_take_back(&early, g, lo, TENSORS - 2);
                break;
            }
        }
        if (last >= 0) {
            EXPECT(sum_check(&early, g, TENSORS - 2, TENSORS) == -1, "refused");
            if (take_back) EXPECT(sum_check(&early, g, 0, TENSORS) == -1, "refused"); /* its maxima count all the same */
            if (take_back) sum_reject(&early, g, 0, TENSORS);
            else sum_add(&early, g, TENSORS - 2, TENSORS);
        }
        if (reference >= 0) {
            fill(&after, plain, reference, step);
            EXPECT(sum_check(&after, plain, 0, TENSORS) == -1, "refused");
            if (take_back) sum_reject(&after, plain, 0, TENSORS);
            else sum_add(&after, plain, 0, TENSORS);
        }
        EXPECT_OK(sum_ahead_finish(a));
        EXPECT_OK(comm_sum_f64(world, &again, 1));
        if (again > 0) EXPECT_OK(sum_reduce(&early, world, 0, TENSORS - 2, g));
        else sum_ahead_take(a, g);
        EXPECT_OK(sum_reduce(&early, world, TENSORS - 2, TENSORS, g));
        EXPECT_OK(sum_rescale(&early, world, id));
        EXPECT_OK(sum_reduce(&after, world, 0, TENSORS, plain));
        EXPECT_OK(sum_rescale(&after, world, id));
        for (int k = 0; k < TENSORS; k++) {
            const sum_tensor *x = &early.tensor[k];
            n_bad += memcmp(g + x->off, plain + x->off, sizeof *g * (size_t)x->n) != 0;
            n_bad += x->exponent != after.tensor[k].exponent;
        }
        EXPECT(n_bad == 0, "step %d: %d tensors or exponents differ", step, n_bad);
        memset(g, 0, sizeof *g * (size_t)n);
        memset(plain, 0, sizeof *plain * (size_t)n);
    }
    sum_ahead_close(a);
    sum_free(&early);
    sum_free(&after);
}

static void begun_early_between_layers(void) { early_sum(SUM_POLL); }
static void begun_early_by_a_thread(void) { early_sum(SUM_THREAD); }

/* What is handed to MPI for other ranks, counted on its way. */
static double bytes_sent;

int MPI_Alltoallv(const void *from, const int *n, const int *at, MPI_Datatype type, void *to, const int *m, const int *into, MPI_Datatype other, MPI_Comm c)
{
    int size, bytes;
    MPI_Comm_size(c, &size);
    MPI_Type_size(type, &bytes);
    for (int r = 0; r < size; r++) bytes_sent += (double)n[r] * bytes; /* none for this rank itself */
    return PMPI_Alltoallv(from, n, at, type, to, m, into, other, c);
}

int MPI_Allgatherv(const void *from, int n, MPI_Datatype type, void *to, const int *m, const int *at, MPI_Datatype other, MPI_Comm c)
{
    int size, rank, bytes;
    MPI_Comm_size(c, &size);
    MPI_Comm_rank(c, &rank);
    MPI_Type_size(other, &bytes);
    bytes_sent += (double)m[rank] * bytes * (size - 1);
    return PMPI_Allgatherv(from, n, type, to, m, at, other, c);
}

/* One sum a node crosses the network, as comm_simulate counts it: 12 bytes a value and other node. */
static void what_crosses_the_network(void)
{
    enum { ALL = 1 << 20 };
    float *g;
    int size = comm_size(world);
    gradient_sum s;
    double nodes = n_nodes;
    EXPECT_OK(sum_init(&s, world, true, 1, 1, ALL, 8, &g));
    s.tensor[0].off = 0, s.tensor[0].n = ALL;
    for (int i = 0; i < ALL; i++) g[i] = cheap(comm_rank(world), i);
    sum_add(&s, g, 0, 1);
    bytes_sent = 0;
    EXPECT_OK(sum_reduce(&s, world, 0, 1, g));
    double all = bytes_sent;
    EXPECT_OK(comm_sum_f64(world, &all, 1));
    EXPECT(fabs(all - 12.0 * ALL * (nodes - 1)) <= 1e-3 * all, "%.0f bytes through MPI, %d ranks on %.0f nodes", all, size, nodes);
    sum_free(&s);

    sim_times t;
    double seconds[8] = {0};
    sim_cluster c = {.nodes = (int)nodes, .per_node = 1, .bytes_per_s = 1e9, .memory_rate = 1e9};
    EXPECT_OK(comm_simulate(&c, seconds, 0, &(sim_part){.n = ALL}, 1, 1, &t));
    EXPECT_NEAR(t.wire * 1e9 * nodes, all, 1e-3 * all + 1);
}

/* Clocks: the busiest rank, and the mean of the latest of many late ones, against the integral over its distribution. */
static void simulated_waiting(void)
{
    enum { RANKS = 512 };
    static double seconds[RANKS];
    sim_times t;
    sim_cluster c = {.nodes = 32, .per_node = 16, .latency_s = 1e-6, .bytes_per_s = 1e9, .memory_rate = 1e11, .seed = 3};
    for (int r = 0; r < RANKS; r++) seconds[r] = r == 77 ? 3 : 1;
    EXPECT_OK(comm_simulate(&c, seconds, 0.25, &(sim_part){.n = 1 << 20}, 1, 10, &t));
    EXPECT_NEAR(t.compute, (RANKS + 2.0) / RANKS, 1e-12);
    EXPECT_NEAR(t.compute + t.balance, 3, 1e-12);
    EXPECT(t.jitter == 0 && t.update == 0.25, "jitter %g", t.jitter);
    EXPECT_NEAR(t.step, 3.25 + t.node + t.wire + t.latency, 1e-12);
    EXPECT_NEAR(t.wire, 12.0 * (1 << 20) * 31 / 32 / 1e9, 1e-9);
    seconds[77] = 1;
    c.jitter = 0.1;
    EXPECT_OK(comm_simulate(&c, seconds, 0, &(sim_part){.n = 1 << 20}, 1, 400, &t));
    double want = 0; /* of the largest of RANKS |normal| */
    for (double x = 0; x < 8; x += 1e-3) want += 1e-3 * (1 - pow(erf(x / sqrt(2)), RANKS));
    EXPECT_NEAR(t.jitter, 0.1 * want, 0.01);
    c.jitter = 0, c.slow_nodes = 1, c.slow_by = 0.5;
    EXPECT_OK(comm_simulate(&c, seconds, 0, &(sim_part){.n = 1 << 20}, 1, 3, &t));
    EXPECT_NEAR(t.jitter, 0.5, 1e-12);
}

static double evenly(const void *arg, int64_t from) { return 1 - (double)from / *(const double *)arg; }

/* Eight equal buckets, each done an eighth of backward after the one before: what is left is the last one's exchange, or all that does not fit. */
static void simulated_early_sum(void)
{
    enum { RANKS = 8, ALL = 1 << 20 };
    double seconds[RANKS], n = ALL, whole = 12.0 * ALL * 3 / 4 / 1e9, left;
    sim_times t;
    sim_cluster c = {.nodes = 4, .per_node = 2, .bytes_per_s = 1e9, .memory_rate = 1e11, .done = evenly, .done_arg = &n};
    for (int r = 0; r < RANKS; r++) seconds[r] = r == 5 ? 2 : 1;
    c.tail_s = 1; /* an eighth of it is longer than a bucket's exchange */
    EXPECT_OK(comm_simulate(&c, seconds, 0, &(sim_part){.n = ALL}, 1, 3, &t));
    EXPECT_NEAR(t.wire, whole / 8, 1e-12);
    EXPECT_NEAR(t.step, 2 + t.node + whole / 8, 1e-9);
    c.tail_s = whole / 2; /* the first bucket is done an eighth into it, then the network is busy to the end */
    left = whole - c.tail_s * 7 / 8;
    EXPECT_OK(comm_simulate(&c, seconds, 0, &(sim_part){.n = ALL}, 1, 3, &t));
    EXPECT_NEAR(t.wire, left, 1e-12);
    c.tail_s = 1, c.latency_s = 1e-4; /* three others, there and back */
    EXPECT_OK(comm_simulate(&c, seconds, 0, &(sim_part){.n = ALL}, 1, 3, &t));
    double small = 4 * 2 * 2 * 1e-4; /* small sums, log2(4) hops there and back */
    EXPECT_NEAR(t.wire + t.latency, whole / 8 + 6e-4 + small, 1e-12);
    c.latency_s = 0, c.poll_s = 0.25; /* four buckets wait to be looked at, the others are exchanged at once when backward is through */
    EXPECT_OK(comm_simulate(&c, seconds, 0, &(sim_part){.n = ALL}, 1, 3, &t));
    EXPECT_NEAR(t.wire, 0.125 + whole, 1e-12);
}

static void other_words_are_found(void)
{
    int rank = comm_rank(world), size = comm_size(world);
    EXPECT_OK(comm_same_text(world, "a = 1\nb = 2\n", ST_USAGE, "words"));
    char text[64], want[96];
    snprintf(text, sizeof text, "a = 1\nb = %d\nc = 3\n", rank == size - 1 ? 7 : 2);
    status st = comm_same_text(world, text, ST_USAGE, "words");
    EXPECT(st == (size > 1 ? ST_USAGE : OK), "got %d", st);
    snprintf(want, sizeof want, "words: rank %d has \"b = 7\", rank 0 has \"b = 2\"", size - 1);
    EXPECT(size == 1 || strstr(status_message(), want), "%s", status_message());
    st = comm_same_text(world, rank == 0 ? "a = 1\nb = 2\n" : "a = 1\n", ST_DATA, "words");
    EXPECT(st == (size > 1 ? ST_DATA : OK), "a missing line: got %d", st);
}

static void float_mode_is_close(void)
{
    double worst = 1;
    (void)run(world, false, 0, true, true, &worst);
    EXPECT(worst < 1e-6, "relative error %g", worst);
}

static void bad_units_are_refused(void)
{
    static float g[N], total[N];
    gradient_sum s;
    int id[2] = {0, 1};
    make(&s, world, true, NULL);
    g[5] = 1;
    EXPECT(sum_check(&s, g, 0, 2) == -1, "good unit refused");
    sum_add(&s, g, 0, 2);
    EXPECT_OK(sum_reduce(&s, world, 0, 2, total));
    EXPECT(total[5] == (float)comm_size(world), "%g", total[5]);
    memset(total, 0, sizeof total);
    EXPECT_OK(sum_rescale(&s, world, id));
    float bad[] = {NAN, INFINITY, -INFINITY, 1e6f};
    for (int k = 0; k < 4; k++) {
        g[0] = 0.5f, g[1100] = 1, g[7] = bad[k];
        EXPECT(sum_check(&s, g, 0, 2) == 0, "value %g accepted", bad[k]);
        sum_reject(&s, g, 0, 2);
        EXPECT(g[7] == 0 && g[1100] == 0, "not cleared");
    }
    EXPECT_OK(sum_reduce(&s, world, 0, 2, total));
    for (int i = 0; i < N; i++) EXPECT(total[i] == 0, "refused units left %g at %d", total[i], i);
    /* the refused maximum counts for the next range: a lasting jump is followed, not refused for ever */
    EXPECT_OK(sum_rescale(&s, world, id));
    g[7] = 1e6f;
    EXPECT(sum_check(&s, g, 0, 2) == -1, "range did not follow");
    sum_free(&s);
}

static void agreement_names_the_rank(void)
{
    int size = comm_size(world), last = size - 1;
    status st = comm_rank(world) == last ? status_raise(ST_DATA, "x.c", 1, "shard 7 is bad") : OK;
    st = comm_agree(world, st);
    EXPECT(st == ST_DATA, "got %d", st);
    EXPECT(strstr(status_message(), "shard 7 is bad") != NULL, "%s", status_message());
    char want[32];
    snprintf(want, sizeof want, "rank %d of %d", last, size);
    EXPECT(size == 1 || strstr(status_message(), want) != NULL, "%s", status_message());
    EXPECT_OK(comm_agree(world, OK));
}

static void gather_and_groups(void)
{
    int rank = comm_rank(world), size = comm_size(world);
    char mine[16];
    int n = snprintf(mine, sizeof mine, "%.*s", rank, "abcdefgh");
    size_t sizes[64];
    void *all;
    EXPECT_OK(comm_gather(world, mine, (size_t)n, 0, &all, sizes));
    if (rank == 0) {
        size_t at = 0;
        for (int r = 0; r < size; r++) {
            EXPECT(sizes[r] == (size_t)r && memcmp((char *)all + at, "abcdefgh", (size_t)r) == 0, "rank %d's bytes", r);
            at += sizes[r];
        }
    } else EXPECT(all == NULL, "bytes on rank %d", rank);
    free(all);
    comm *odd;
    EXPECT_OK(comm_group(world, rank % 2 == 1, &odd));
    EXPECT((odd != NULL) == (rank % 2 == 1), "membership");
    if (odd) EXPECT(comm_size(odd) == size / 2 && comm_rank(odd) == rank / 2, "group %d/%d", comm_rank(odd), comm_size(odd));
    comm_group_close(odd);
}

int main(int argc, char **argv)
{
    if (comm_open(&argc, &argv, &world) != OK) return 1;
    log_open(comm_rank(world), LOG_WARN);
    nodes_share = argc < 2 || strcmp(argv[1], "apart") != 0;
    if (comm_rank(world) != 0 && !freopen("/dev/null", "w", stdout)) return 1; /* TAP comes from rank 0; all ranks' failures count */
    RUN(nodes_are_counted);
    RUN(same_bits_for_any_deal);
    RUN(every_value_is_the_rounded_sum);
    RUN(begun_early_between_layers);
    RUN(begun_early_by_a_thread);
    RUN(what_crosses_the_network);
    RUN(simulated_waiting);
    RUN(simulated_early_sum);
    RUN(other_words_are_found);
    RUN(float_mode_is_close);
    RUN(bad_units_are_refused);
    RUN(agreement_names_the_rank);
    RUN(gather_and_groups);
    double bad = test_bad;
    if (comm_sum_f64(world, &bad, 1) != OK) bad = 1;
    comm_close(world);
    if (bad > 0 && test_bad == 0) printf("not ok %d - on another rank\n", ++test_n), test_bad++;
    DONE();
}
