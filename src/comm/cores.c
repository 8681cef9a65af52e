/* cores: do the threads of a node's ranks have a CPU each? Masks (sched_getaffinity) and the container's quota against ranks x threads. */
#include "comm_internal.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MASK_WORDS = 128 }; /* 8192 CPUs */

typedef struct rank_cores { uint64_t mask[MASK_WORDS]; int asked; double quota; } rank_cores;

static int count(const uint64_t *mask)
{
    int n = 0;
    for (int w = 0; w < MASK_WORDS; w++) n += __builtin_popcountll(mask[w]);
    return n;
}

static bool inside(const uint64_t *a, const uint64_t *b)
{
    for (int w = 0; w < MASK_WORDS; w++)
        if (a[w] & ~b[w]) return false;
    return true;
}

static bool meet(const uint64_t *a, const uint64_t *b)
{
    for (int w = 0; w < MASK_WORDS; w++)
        if (a[w] & b[w]) return true;
    return false;
}

/* "0-3,8" */
static void put_list(const uint64_t *mask, char *out, size_t room)
{
    size_t used = 0;
    out[0] = 0;
    for (int c = 0; c < MASK_WORDS * 64; c++) {
        if (!(mask[c / 64] >> (c % 64) & 1)) continue;
        int end = c;
        while (end + 1 < MASK_WORDS * 64 && mask[(end + 1) / 64] >> ((end + 1) % 64) & 1) end++;
        char part[32];
        int n = end > c ? snprintf(part, sizeof part, "%s%d-%d", used ? "," : "", c, end) : snprintf(part, sizeof part, "%s%d", used ? "," : "", c);
        if (used + (size_t)n + 5 >= room) {
            strcpy(out + used, ",...");
            return;
        }
        strcpy(out + used, part);
        used += (size_t)n;
        c = end;
    }
}

/* CPUs' worth of time that the container may use; 0: no limit is known. cgroup v2: "QUOTA PERIOD" or "max PERIOD"; v1: two files. */
static double cpu_quota(void)
{
    double quota = 0, period = 100000;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    bool v2 = f != NULL;
    if (!f) f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r");
    if (!f) return 0;
    bool good = fscanf(f, "%lf", &quota) == 1 && quota > 0; /* "max" and -1 are none */
    if (v2 && good) good = fscanf(f, "%lf", &period) == 1;
    fclose(f);
    if (!v2 && good && (f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r"))) {
        good = fscanf(f, "%lf", &period) == 1;
        fclose(f);
    }
    return good && period > 0 ? quota / period : 0;
}

int cores_asked(int wanted)
{
    const char *omp = getenv("OMP_NUM_THREADS");
    return wanted > 0 ? wanted : omp && atoi(omp) > 0 ? atoi(omp) : 0;
}

/* What rank i gets if it asks for nothing: its CPUs, shared with the ranks whose masks meet its own; one at least. */
static int share_of(const rank_cores *all, int n, int i)
{
    if (all[i].asked > 0) return all[i].asked;
    int sharing = 0, cpus = count(all[i].mask);
    for (int k = 0; k < n; k++) sharing += meet(all[i].mask, all[k].mask);
    int threads = cpus / (sharing > 0 ? sharing : 1);
    if (all[i].quota > 0 && threads > (int)(all[i].quota / n)) threads = (int)(all[i].quota / n);
    return threads > 0 ? threads : 1;
}

/* The masks of a launcher are nested or apart: it is enough to ask of each mask whether it holds all that must run inside it. */
static void judge(const rank_cores *all, int n, core_share *out)
{
    char host[64] = "this node", list[sizeof out->list];
    int cpus = out->cpus, ranks = n, threads = out->all_threads;
    const uint64_t *where = NULL;
    double worst = (double)threads / (cpus > 0 ? cpus : 1);
    for (int i = 0; i < n; i++) {
        int need = 0, here = 0, room = count(all[i].mask);
        for (int k = 0; k < n; k++)
            if (inside(all[k].mask, all[i].mask)) need += share_of(all, n, k), here++;
        if (room > 0 && (double)need / room > worst) worst = (double)need / room, cpus = room, ranks = here, threads = need, where = all[i].mask;
    }
    if (worst <= 1) return;
    gethostname(host, sizeof host - 1);
    if (where) put_list(where, list, sizeof list);
    else snprintf(list, sizeof list, "%s", out->list);
    snprintf(out->crowded, sizeof out->crowded,
             "%s: %d rank%s with %d thread%s in all on %d CPU%s (%s): expect %.1f times the time. Take fewer ranks or threads (train.threads, "
             "OMP_NUM_THREADS); if the launcher has bound them too tightly: mpirun --bind-to none, or --map-by slot:pe=THREADS; srun "
             "--cpus-per-task=THREADS",
             host, ranks, ranks == 1 ? "" : "s", threads, threads == 1 ? "" : "s", cpus, cpus == 1 ? "" : "s", list, worst);
}

status comm_cores(comm *world, int asked, core_share *out)
{
    rank_cores *all = NULL, mine = {.asked = asked, .quota = cpu_quota()};
    MPI_Comm node = MPI_COMM_NULL;
    int n = 1, me = 0;
    *out = (core_share){.ranks = 1};
    if (sched_getaffinity(0, sizeof mine.mask, (cpu_set_t *)mine.mask) != 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        for (long c = 0; c < online && c < MASK_WORDS * 64; c++) mine.mask[c / 64] |= 1ull << (c % 64);
    }
    if (comm_size(world) > 1) {
        TRY(MPI_WAIT("comm_cores", MPI_Comm_split_type(world->mpi, MPI_COMM_TYPE_SHARED, world->rank, MPI_INFO_NULL, &node),
                     "MPI_Comm_split_type"), "cores");
        MPI_Comm_rank(node, &me);
        MPI_Comm_size(node, &n);
    }
    status st = mem_alloc(&all, sizeof *all * (size_t)n, "CPU masks");
    TRY_TO(done, comm_agree(world, st), "cores");
    all[0] = mine;
    if (n > 1)
        TRY_TO(done, comm_check(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, node), "MPI_Allgather"), "cores");
    uint64_t any[MASK_WORDS] = {0};
    for (int i = 0; i < n; i++) {
        for (int w = 0; w < MASK_WORDS; w++) any[w] |= all[i].mask[w];
        out->all_threads += share_of(all, n, i);
    }
    out->threads = share_of(all, n, me);
    out->ranks = n;
    out->first = me == 0;
    out->cpus = count(any);
    if (mine.quota >= 1 && mine.quota < out->cpus) out->cpus = (int)mine.quota;
    put_list(any, out->list, sizeof out->list);
    judge(all, n, out);
done:
    if (node != MPI_COMM_NULL) MPI_Comm_free(&node);
    free(all);
    return st;
}
