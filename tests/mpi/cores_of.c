/* cores_of THREADS: opens the world, asks comm_cores for THREADS (0: a share), prints what each rank is told. For cores.sh. */
#include "medley/comm.h"

#include <stdlib.h>

static status show(comm *world, int asked)
{
    core_share s;
    TRY(comm_cores(world, asked, &s), "cores");
    for (int r = 0; r < comm_size(world); r++) {
        TRY(comm_barrier(world), "order");
        if (r != comm_rank(world)) continue;
        printf("rank %d: threads %d ranks %d cpus %d all %d first %d list %s\n", r, s.threads, s.ranks, s.cpus, s.all_threads, s.first, s.list);
        if (s.crowded[0]) printf("rank %d: crowded %s\n", r, s.crowded);
        fflush(stdout);
    }
    return OK;
}

int main(int argc, char **argv)
{
    comm *world;
    status st = comm_open(&argc, &argv, &world);
    if (!st) st = show(world, argc > 1 ? atoi(argv[1]) : 0);
    if (st) comm_abort(world, (int)st);
    comm_close(world);
    return 0;
}
