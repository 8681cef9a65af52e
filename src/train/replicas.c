/* replicas: are the weights and moments of all ranks still the same bits? They are made by the same operations from the same sums, so a
 * difference means that a rank's memory or arithmetic failed. A checksum per tensor and array goes through one maximum over the ranks;
 * only when they differ are the ranks asked one by one. A head or decoder that one rank has alone has no second copy to be compared with. */
#include "train_internal.h"

#include <stdlib.h>
#include <string.h>

static const char *const array_name[REPLICA_ARRAYS] = {"weights", "first moments", "second moments", "moving average"};

static const float *array_of(const trainer *t, int a)
{
    const float *const all[REPLICA_ARRAYS] = {t->w, t->m, t->v, t->ema};
    return all[a];
}

/* Moments that the ranks of a node share have one of them to answer for them. */
static bool has(const trainer *t, int a, const param *p)
{
    return held(p) && array_of(t, a) && (a == 0 || node_state_holds(t, p));
}

static double checksum_of(const trainer *t, int a, const param *p)
{
    return (double)crc32c(0, array_of(t, a) + p->off, sizeof(float) * (size_t)p->n); /* 32 bits are exact in a double */
}

/* Entry (array, tensor, side): largest checksum of any rank, and largest of its negative. Collective. */
static status largest_checksums(trainer *t)
{
    int64_t n = t->pt.n, n_all = REPLICA_ARRAYS * 2 * n;
    for (int64_t i = 0; i < n_all; i++) t->replica[i] = -1e300;
#pragma omp parallel for schedule(dynamic) collapse(2)
    for (int k = 0; k < t->n_local; k++)
        for (int a = 0; a < REPLICA_ARRAYS; a++) {
            if (!has(t, a, &t->pt.p[t->local[k]])) continue;
            double *entry = t->replica + 2 * (a * n + t->local[k]);
            entry[0] = checksum_of(t, a, &t->pt.p[t->local[k]]);
            entry[1] = -entry[0];
        }
    return comm_max_f64(t->world, t->replica, n_all);
}

/* Rank 0: who stands alone? `value` (size): checksums, negative where a rank has no copy. */
static status name_ranks(const trainer *t, const double *value, const char *array, const char *tensor, int n_bad)
{
    int n_have = 0, best = 0, n_named = 0;
    double most = -1;
    char ranks[256] = "";
    for (int r = 0; r < t->size; r++) {
        int equal = 0;
        n_have += value[r] >= 0;
        for (int q = 0; q < t->size && value[r] >= 0; q++) equal += value[q] == value[r];
        if (equal > best) best = equal, most = value[r];
    }
    bool decided = 2 * best > n_have;
    for (int r = 0; r < t->size; r++) {
        if (value[r] < 0 || (decided && value[r] == most)) continue;
        size_t at = strlen(ranks);
        if (at + 16 < sizeof ranks) snprintf(ranks + at, sizeof ranks - at, "%s%d", n_named ? ", " : "", r);
        n_named++;
    }
    return status_raise(ST_NUMERIC, __FILE__, __LINE__,
                        "step %lld: replicas differ: %s of %s on rank%s %s of %d%s; %d array%s differ%s in all. The memory or the processor "
                        "of that node is suspect. Nothing of this state is saved; the same command goes on from the last checkpoint",
                        (long long)t->step, array, tensor, n_named == 1 ? "" : "s", ranks, t->size,
                        decided ? "" : ", and no majority tells which of them is right", n_bad, n_bad == 1 ? "" : "s", n_bad == 1 ? "s" : "");
}

/* Collective: which ranks differ in one array of one tensor. Always an error. */
static status accuse(trainer *t, int array, int tensor, int n_bad)
{
    const param *p = &t->pt.p[tensor];
    double mine = has(t, array, p) ? checksum_of(t, array, p) : -1;
    void *all = NULL;
    size_t *sizes = NULL;
    status st = mem_alloc(&sizes, sizeof *sizes * (size_t)t->size, "replicas");
    st = comm_agree(t->world, st);
    if (!st) st = comm_gather(t->world, &mine, sizeof mine, 0, &all, sizes);
    if (!st && t->rank == 0) st = name_ranks(t, all, array_name[array], p->name, n_bad);
    st = comm_agree(t->world, st);
    free(all);
    free(sizes);
    return st;
}

status replicas_check(trainer *t)
{
    if (t->size == 1) return OK;
    watchdog_tick(t->step, "replicas", NULL);
    TRY(largest_checksums(t), "replicas");
    int bad = -1, n_bad = 0;
    for (int i = 0; i < REPLICA_ARRAYS * t->pt.n; i++) {
        const double *entry = t->replica + 2 * (int64_t)i;
        if (entry[0] + entry[1] == 0 || entry[0] < 0) continue; /* equal everywhere, or an array nobody has */
        if (bad < 0) bad = i;
        n_bad++;
    }
    return bad < 0 ? OK : accuse(t, bad / t->pt.n, bad % t->pt.n, n_bad);
}
