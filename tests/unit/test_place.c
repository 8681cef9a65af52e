/* test_place: placement of units on ranks: balance, grouping, determinism, odd numbers. */
#include "medley/task.h"

#include "test.h"

static double largest(const unit *u, const int *rank_of, int n, int ranks)
{
    double most = 0;
    for (int r = 0; r < ranks; r++) {
        double load = 0;
        for (int i = 0; i < n; i++) load += rank_of[i] == r ? u[i].cost : 0;
        most = load > most ? load : most;
    }
    return most;
}

static int used(const int *rank_of, int n, int ranks)
{
    int count = 0;
    for (int r = 0; r < ranks; r++) {
        bool has = false;
        for (int i = 0; i < n; i++) has |= rank_of[i] == r;
        count += has;
    }
    return count;
}

static void one_rank(void)
{
    unit u[3] = {{0, 0, 1}, {1, 0, 2}, {2, 0, 3}};
    int rank_of[3] = {-1, -1, -1};
    EXPECT_NEAR(place_units(u, 3, 1, rank_of), 1.0, 1e-12);
    EXPECT(rank_of[0] == 0 && rank_of[1] == 0 && rank_of[2] == 0, "%d %d %d", rank_of[0], rank_of[1], rank_of[2]);
}

static void longest_first(void)
{
    unit u[5] = {{0, 0, 2}, {1, 0, 3}, {2, 0, 7}, {3, 0, 4}, {4, 0, 6}};
    int rank_of[5];
    double ratio = place_units(u, 5, 2, rank_of); /* 7, then 6, then 4 beside 6, 3 beside 7, 2 on top of 10: 10 + 2 */
    EXPECT_NEAR(ratio, 12.0 / 11.0, 1e-12);
    EXPECT(rank_of[2] == rank_of[1] && rank_of[4] == rank_of[3] && rank_of[2] != rank_of[4], "%d %d %d %d", rank_of[1], rank_of[2],
           rank_of[3], rank_of[4]);
}

static void keeps_tasks_together(void)
{
    unit u[8];
    int rank_of[8];
    for (int i = 0; i < 8; i++) u[i] = (unit){i / 2, i % 2, 1 + i / 2 % 2};
    EXPECT_NEAR(place_units(u, 8, 2, rank_of), 1.0, 1e-12);
    for (int i = 0; i < 8; i += 2) EXPECT(rank_of[i] == rank_of[i + 1], "task %d is on %d and %d", i / 2, rank_of[i], rank_of[i + 1]);
}

static void splits_when_it_must(void)
{
    unit u[4] = {{0, 0, 1}, {0, 1, 1}, {0, 2, 1}, {0, 3, 1}};
    int rank_of[4];
    EXPECT_NEAR(place_units(u, 4, 2, rank_of), 1.0, 1e-12); /* one task would leave a rank idle */
    EXPECT_NEAR(place_units(u, 4, 4, rank_of), 1.0, 1e-12);
    unit v[5] = {{0, 0, 1}, {0, 1, 1}, {0, 2, 1}, {1, 0, 1}, {1, 1, 0.99}};
    int at[5];
    EXPECT(place_units(v, 5, 2, at) < 1.21, "3 against 2 units"); /* 3 : 1.99; splitting would bring 2.99 : 2 */
    EXPECT(at[3] == at[4] && at[0] == at[1] && at[1] == at[2], "a task is split for nothing");
    unit w[6] = {{0, 0, 1}, {0, 1, 1}, {0, 2, 1}, {0, 3, 1}, {1, 0, 1}, {2, 0, 1}};
    int of[6];
    EXPECT_NEAR(place_units(w, 6, 2, of), 1.0, 1e-12); /* 4 units of one task against 2: balanced only if one moves */
}

/* Seventeen tasks as unequal as UMedPT's, the heavy ones cut into several units a step. */
static void seventeen_tasks(void)
{
    static const struct { int units; double cost; } task[17] = {{8, 0.62}, {6, 0.55}, {4, 0.71}, {4, 0.48}, {4, 0.39}, {3, 0.66}, {3, 0.31}, {2, 0.74}, {2, 0.52},
                                                                {2, 0.43}, {2, 0.28}, {1, 0.69}, {1, 0.57}, {1, 0.33}, {1, 0.21}, {1, 0.16}, {1, 0.09}};
    unit u[64];
    int rank_of[64], n = 0;
    for (int t = 0; t < 17; t++)
        for (int k = 0; k < task[t].units; k++) u[n++] = (unit){t, k, task[t].cost};
    for (int ranks = 2; ranks <= 8; ranks *= 2) {
        double ratio = place_units(u, n, ranks, rank_of);
        EXPECT(ratio <= 1.05, "%d ranks: %.3f", ranks, ratio);
        printf("# %d units of 17 tasks on %d ranks: imbalance %.3f\n", n, ranks, ratio);
    }
}

/* A thousand nodes: in seconds, not hours. */
static void many_units(void)
{
    enum { N = 16384 };
    static unit u[N];
    static int rank_of[N];
    for (int i = 0; i < N; i++) u[i] = (unit){i / 1024, i % 1024, 1 + i % 7 * 0.01};
    EXPECT(place_units(u, N, N / 2, rank_of) < 1.05, "two units a rank");
    EXPECT(used(rank_of, N, N / 2) == N / 2, "a rank is idle");
}

static void more_ranks_than_units(void)
{
    unit u[3] = {{0, 0, 1}, {0, 1, 5}, {1, 0, 2}};
    int rank_of[3];
    double ratio = place_units(u, 3, 8, rank_of);
    EXPECT(used(rank_of, 3, 8) == 3, "%d ranks used", used(rank_of, 3, 8));
    EXPECT_NEAR(ratio, 5.0 * 8 / 8.0, 1e-12);
    place_units(u, 3, 2, rank_of);
    EXPECT(used(rank_of, 3, 2) == 2, "a rank is idle");
}

static void random_cases(void)
{
    for (int c = 0; c < 200; c++) {
        rng r = rng_open((rng_key){.seed = 5, .a = (uint32_t)c}, RNG_TEST, 0);
        unit u[60], shuffled[60];
        int rank_of[60], again[60], single[60], n = 0, ranks = 1 + (int)rng_below(&r, 12), tasks = 1 + (int)rng_below(&r, 15);
        for (int t = 0; t < tasks; t++) {
            double cost = 0.1 + rng_uniform(&r);
            for (int k = 1 + (int)rng_below(&r, 4); k > 0; k--, n++) u[n] = (unit){t, k, cost};
        }
        unit alone[60];
        for (int i = 0; i < n; i++) alone[i] = (unit){i, 0, u[i].cost};
        double ratio = place_units(u, n, ranks, rank_of);
        place_units(alone, n, ranks, single);
        double best = largest(alone, single, n, ranks), got = largest(u, rank_of, n, ranks), total = 0;
        for (int i = 0; i < n; i++) total += u[i].cost;
        EXPECT(got <= 1.05 * best * (1 + 1e-12), "case %d: %g against %g with nothing kept together", c, got, best);
        EXPECT(used(rank_of, n, ranks) == (n < ranks ? n : ranks), "case %d: %d of %d ranks used", c, used(rank_of, n, ranks), ranks);
        EXPECT_NEAR(ratio, got * ranks / total, 1e-9);
        /* the order of the list does not matter */
        for (int i = 0; i < n; i++) shuffled[i] = u[n - 1 - i];
        place_units(shuffled, n, ranks, again);
        for (int i = 0; i < n; i++) EXPECT(again[n - 1 - i] == rank_of[i], "case %d: unit %d moved", c, i);
    }
}

static void free_units(void)
{
    unit u[4] = {{0, 0, 0}, {1, 0, 0}, {2, 0, 0}, {3, 0, 0}};
    int rank_of[4];
    EXPECT_NEAR(place_units(u, 4, 4, rank_of), 1.0, 1e-12);
    EXPECT(used(rank_of, 4, 4) == 4, "unknown costs still use all ranks");
}

int main(void)
{
    RUN(one_rank);
    RUN(longest_first);
    RUN(keeps_tasks_together);
    RUN(splits_when_it_must);
    RUN(more_ranks_than_units);
    RUN(seventeen_tasks);
    RUN(many_units);
    RUN(random_cases);
    RUN(free_units);
    DONE();
}
