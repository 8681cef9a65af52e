/* bench_exact: what exactness costs. One training on the given job, whose steps use the exact and the float sum in turns: the median of
 * the ratios of neighbouring steps, and seconds of the verb sum (waiting for other ranks taken out). Usage: mpirun -n 2 bench_exact
 * JOB.cfg [ROUNDS] (exact_cost.sh makes the job) */
#include "../../src/train/train_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_ROUNDS = 200 };
enum { EXACT, FLOATING };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *x, int n)
{
    double copy[MOST_ROUNDS];
    memcpy(copy, x, sizeof *x * (size_t)n);
    qsort(copy, (size_t)n, sizeof *copy, ascending);
    return 0.5 * (copy[n / 2] + copy[(n - 1) / 2]);
}

/* One step with sum `which`; seconds of the slowest rank: all of it, and its sum. */
static status one(trainer *t, gradient_sum *sums, int which, double *step_s, double *sum_s)
{
    t->sum = sums[which];
    TRY(comm_barrier(t->world), "bench");
    double began = timer_now(), sum_began = t->verb_s[VERB_SUM], wait_began = t->wait_s, s[2];
    TRY(step_run(t), "bench");
    s[0] = timer_now() - began;
    s[1] = t->verb_s[VERB_SUM] - sum_began - (t->wait_s - wait_began);
    sums[which] = t->sum; /* its exponents moved on */
    TRY(comm_max_f64(t->world, s, 2), "bench");
    *step_s = s[0], *sum_s = s[1];
    return OK;
}

static status bench(trainer *t, int rounds)
{
    static double step_s[2][MOST_ROUNDS], sum_s[2][MOST_ROUNDS], ratio[MOST_ROUNDS];
    gradient_sum sums[2] = {t->sum, {0}}, own = t->sum;
    status st;
    TRY(sum_init(&sums[FLOATING], t->world, false, t->sum.n_tensors, t->pt.n, t->sum.n, t->n_units, NULL), "bench");
    for (int k = 0; k < t->sum.n_tensors; k++)
        sums[FLOATING].tensor[k].off = own.tensor[k].off, sums[FLOATING].tensor[k].n = own.tensor[k].n;
    TRY_TO(done, loader_open(&t->loader, t->uses, t->n_uses, t->mine, t->n_mine, 1, 0, 4), "bench");
    for (int r = -2; r < rounds; r++) /* the first ones touch memory; whoever goes first, goes second the next time */
        for (int k = 0; k < 2; k++) {
            double a = 0, b = 0;
            int which = (r & 1) ^ k;
            TRY_TO(done, one(t, sums, which, &a, &b), "bench");
            if (r >= 0) step_s[which][r] = a, sum_s[which][r] = b;
        }
    for (int r = 0; r < rounds; r++) ratio[r] = step_s[EXACT][r] / step_s[FLOATING][r];
    if (t->rank == 0) {
        printf("%.2f M parameters, %d units on %d ranks, %d rounds\n", 1e-6 * (double)params_count(&t->pt, -1), t->n_units, t->size,
               rounds);
        for (int k = 0; k < 2; k++)
            printf("%-5s sum: step %.1f ms (median), of which sum %.1f ms\n", k == EXACT ? "exact" : "float",
                   1e3 * median(step_s[k], rounds), 1e3 * median(sum_s[k], rounds));
        printf("exact over float: step %.4f (median of %d ratios), by the sums' medians %.4f\n", median(ratio, rounds), rounds,
               1 + (median(sum_s[EXACT], rounds) - median(sum_s[FLOATING], rounds)) / median(step_s[FLOATING], rounds));
    }
done:
    t->sum = sums[EXACT];
    sum_free(&sums[FLOATING]);
    return st;
}

int main(int argc, char **argv)
{
    comm *world;
    trainer *t = NULL;
    static job j;
    int rounds = argc > 2 ? atoi(argv[2]) : 10;
    if (argc < 2 || rounds < 1 || rounds > MOST_ROUNDS || comm_open(&argc, &argv, &world) != OK) return 2;
    log_open(comm_rank(world), LOG_WARN);
    status st = comm_agree(world, job_load(&j, argv[1], NULL, 0));
    if (!st) st = trainer_open(&t, world, &j, true);
    if (!st) st = comm_agree(world, bench(t, rounds));
    if (st && comm_rank(world) == 0) fprintf(stderr, "bench_exact: %s\n", status_message());
    trainer_close(t);
    comm_close(world);
    return (int)st;
}
