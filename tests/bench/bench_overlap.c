/* bench_overlap: what beginning the sum during backward hides, on nodes that MEDLEY_NODE pretends and a network that is pretended here: MPI's calls
 * for the exchange take so long that latency and bandwidth come out as given. Backward is a loop that computes for a given time, and finishes
 * an encoder's tensors in their order. Usage, one rank a node:
 *
 *   mpirun -n 1 -x MEDLEY_NODE=a bench_overlap GBIT US BACKWARD-S [ENCODER] : -n 1 -x MEDLEY_NODE=b bench_overlap GBIT US BACKWARD-S [ENCODER] */
#include "medley/comm.h"
#include "medley/model.h"

#include <math.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STEPS = 7 };
static const char *encoder = "swin_t";
static double bytes_per_s, latency_s, backward_s, ready; /* ready: when the network is through with what is under way */

/* Pairwise: a message to each other rank, one after another; what comes in takes another way. */
static double on_the_wire(double bytes, int others) { return others * latency_s + bytes / bytes_per_s; }

static double bytes_of(const int *n, int size, int mine, int item)
{
    double sum = 0;
    for (int r = 0; r < size; r++) sum += r == mine ? 0 : (double)n[r] * item;
    return sum;
}

static void sleep_until(double when)
{
    for (double left; (left = when - timer_now()) > 0;) nanosleep(&(struct timespec){(time_t)left, (long)(fmod(left, 1) * 1e9)}, NULL);
}

int MPI_Alltoallv(const void *from, const int *n, const int *at, MPI_Datatype type, void *to, const int *m, const int *into, MPI_Datatype other, MPI_Comm c)
{
    int size, rank;
    MPI_Comm_size(c, &size), MPI_Comm_rank(c, &rank);
    PMPI_Barrier(c); /* bytes move when both sides are there */
    double end = timer_now() + on_the_wire(bytes_of(n, size, rank, 8), size - 1);
    int bad = PMPI_Alltoallv(from, n, at, type, to, m, into, other, c);
    sleep_until(end);
    return bad;
}

int MPI_Allgatherv(const void *from, int n, MPI_Datatype type, void *to, const int *m, const int *at, MPI_Datatype other, MPI_Comm c)
{
    int size, rank;
    MPI_Comm_size(c, &size), MPI_Comm_rank(c, &rank);
    PMPI_Barrier(c);
    double end = timer_now() + on_the_wire((double)m[rank] * 4 * (size - 1), size - 1);
    int bad = PMPI_Allgatherv(from, n, type, to, m, at, other, c);
    sleep_until(end);
    return bad;
}

/* Begun at once; the pretended network needs its time from the moment at which this side has begun. */
int MPI_Ialltoallv(const void *from, const int *n, const int *at, MPI_Datatype type, void *to, const int *m, const int *into, MPI_Datatype other, MPI_Comm c,
                   MPI_Request *r)
{
    int size, rank;
    MPI_Comm_size(c, &size), MPI_Comm_rank(c, &rank);
    ready = timer_now() + on_the_wire(bytes_of(n, size, rank, 8), size - 1);
    return PMPI_Ialltoallv(from, n, at, type, to, m, into, other, c, r);
}

int MPI_Iallgatherv(const void *from, int n, MPI_Datatype type, void *to, const int *m, const int *at, MPI_Datatype other, MPI_Comm c, MPI_Request *r)
{
    int size, rank;
    MPI_Comm_size(c, &size), MPI_Comm_rank(c, &rank);
    ready = timer_now() + on_the_wire((double)m[rank] * 4 * (size - 1), size - 1);
    return PMPI_Iallgatherv(from, n, type, to, m, at, other, c, r);
}

int MPI_Test(MPI_Request *r, int *flag, MPI_Status *s)
{
    *flag = 0;
    if (timer_now() < ready) { /* let MPI move its bytes meanwhile, but keep the request */
        MPI_Request_get_status(*r, flag, MPI_STATUS_IGNORE);
        *flag = 0;
        return MPI_SUCCESS;
    }
    return PMPI_Test(r, flag, s);
}

static void compute(double seconds)
{
    volatile double x = 1;
    for (double end = timer_now() + seconds; timer_now() < end;)
        for (int i = 0; i < 1000; i++) x = x * 1.0000001;
}

static int by_size(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b; }

/* Median seconds of a step, from the beginning of backward to the sum in place. */
static status steps(comm *world, const swin *net, const params *pt, enum sum_mode mode, double *median)
{
    gradient_sum s;
    sum_ahead *a = NULL;
    float *g;
    double took[STEPS];
    TRY(sum_init(&s, world, true, pt->n, pt->n, pt->n_local, 4, &g), "bench");
    for (int k = 0; k < pt->n; k++) s.tensor[k].off = pt->p[k].off, s.tensor[k].n = pt->p[k].n;
    TRY(sum_ahead_open(&a, &s, &(sum_part){0, pt->n, &s.all}, 1, mode), "bench");
    for (int step = 0; step < STEPS; step++) {
        for (int64_t i = 0; i < pt->n_local; i++) g[i] = (float)(i % 1000 + comm_rank(world)) * 1e-3f;
        TRY(comm_barrier(world), "bench");
        double began = timer_now(), through = 0;
        if (a) sum_ahead_begin(a);
        for (int k = pt->n - 1, first = pt->n; k >= 0; k--) { /* a layer ends where the share of backward that is through grows */
            double share = swin_backward_share(net, k, 224, 224);
            if (k > 0 && swin_backward_share(net, k - 1, 224, 224) <= share) continue;
            compute(backward_s * (share - through));
            through = share;
            if (a) sum_add_early(&s, g, k, first), sum_ahead_done(a, k);
            else sum_add(&s, g, k, first);
            first = k;
        }
        if (a) TRY(sum_ahead_finish(a), "bench");
        TRY(comm_agree(world, OK), "bench");
        if (a) sum_ahead_take(a, g);
        else TRY(sum_reduce(&s, world, 0, pt->n, g), "bench");
        TRY(comm_barrier(world), "bench");
        took[step] = timer_now() - began;
    }
    qsort(took + 1, STEPS - 1, sizeof *took, by_size); /* the first one touches the memory */
    *median = took[STEPS / 2];
    sum_ahead_close(a);
    sum_free(&s);
    return OK;
}

static status run(comm *world)
{
    static const char *const name[] = {"after backward", "between layers", "by a thread"};
    params pt = {0};
    swin net;
    bool owned[1] = {true};
    double first = 0, alone = 0;
    TRY(swin_init(&net, encoder, -1, &pt), "bench");
    params_layout(&pt, owned, 1);
    double bytes = 12.0 * (double)pt.n_local * (comm_size(world) - 1) / comm_size(world);
    if (comm_rank(world) == 0)
        printf("%d nodes of one rank, %s: %.1f MB leave each; %.3f s at %.1f Gbit/s, %.0f us a message; backward %.2f s\n", comm_size(world), encoder, 1e-6 * bytes,
               bytes / bytes_per_s, 8e-9 * bytes_per_s, 1e6 * latency_s, backward_s);
    for (int mode = 0; mode < 3; mode++) {
        TRY(steps(world, &net, &pt, (enum sum_mode)mode, &alone), "bench");
        if (mode == 0) first = alone;
        if (comm_rank(world) == 0) printf("sum %-16s %.3f s a step, %.3f s beyond backward; saves %.3f s\n", name[mode], alone, alone - backward_s, first - alone);
    }
    params_free(&pt);
    return OK;
}

int main(int argc, char **argv)
{
    comm *world;
    if (comm_open(&argc, &argv, &world) != OK) return 1;
    bytes_per_s = argc > 1 ? atof(argv[1]) * 1.25e8 : 1.25e9;
    latency_s = argc > 2 ? atof(argv[2]) * 1e-6 : 5e-6;
    backward_s = argc > 3 ? atof(argv[3]) : 1;
    if (argc > 4) encoder = argv[4];
    status st = run(world);
    if (st) fprintf(stderr, "bench_overlap: %s\n", status_message());
    comm_close(world);
    return (int)st;
}
