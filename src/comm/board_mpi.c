/* board_mpi: who is on which node, and the one segment that the ranks of a node share. MPI is needed here only, at the start. */
#include "comm_internal.h"
#include "watchdog_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NAME_BYTES = COMM_NODE_BYTES };

void comm_node_name(char out[COMM_NODE_BYTES])
{
    const char *given = getenv("MEDLEY_NODE");
    memset(out, 0, NAME_BYTES); /* names are compared as a whole */
    if (given) snprintf(out, NAME_BYTES, "%s", given);
    else if (gethostname(out, NAME_BYTES - 1) != 0) snprintf(out, NAME_BYTES, "process %d", (int)getpid());
}

/* node_of[r]: the lowest rank with the same host name as r. */
static status find_nodes(comm *world, int *node_of)
{
    char mine[NAME_BYTES], (*all)[NAME_BYTES];
    comm_node_name(mine);
    TRY(comm_agree(world, mem_alloc(&all, sizeof *all * (size_t)world->size, "host names")), "nodes");
    status st = MPI_WAIT("comm_nodes", MPI_Allgather(mine, NAME_BYTES, MPI_CHAR, all, NAME_BYTES, MPI_CHAR, world->mpi), "MPI_Allgather");
    for (int r = 0; r < world->size && !st; r++) {
        node_of[r] = r;
        for (int k = 0; k < r; k++)
            if (node_of[k] == k && memcmp(all[k], all[r], NAME_BYTES) == 0) node_of[r] = k;
    }
    free(all);
    return st;
}

/* Collective over the node. If one rank cannot have the memory, each keeps to itself: the watchdog then sees its own rank only. */
static status share(comm *node, board *b)
{
    char name[64] = "";
    status st = node->rank == 0 ? board_make(b, name) : OK, shared;
    TRY(MPI_WAIT("comm_board", MPI_Bcast(name, sizeof name, MPI_CHAR, 0, node->mpi), "MPI_Bcast"), "board");
    if (node->rank != 0) st = board_open(b, name);
    shared = comm_agree(node, st);
    if (node->rank == 0) board_unname(name);
    if (!shared) return OK;
    if (node->rank == 0) log_line(LOG_WARN, "%s: a hung rank will be named by itself only", status_message());
    status_clear();
    board_private(b);
    return OK;
}

status comm_join_board(comm *world)
{
    if (world->size == 1) return OK;
    board b = *watchdog_board();
    int *node_of;
    uint64_t job = (uint64_t)time(NULL) << 24 ^ (uint64_t)getpid();
    MPI_Comm split;
    TRY(comm_agree(world, mem_alloc(&node_of, sizeof *node_of * (size_t)world->size, "nodes")), "start");
    status st = comm_bcast(world, &job, sizeof job, 0);
    if (!st) st = find_nodes(world, node_of);
    b.job = job, b.rank = world->rank, b.size = world->size;
    if (!st) b.node = node_of[world->rank];
    if (!st) st = MPI_WAIT("comm_node", MPI_Comm_split(world->mpi, b.node, world->rank, &split), "MPI_Comm_split");
    if (!st) {
        comm node = {.mpi = split};
        MPI_Comm_rank(split, &node.rank);
        MPI_Comm_size(split, &node.size);
        MPI_Comm_set_errhandler(split, MPI_ERRORS_RETURN);
        b.n_local = node.size, b.me = node.rank;
        st = comm_agree(world, board_views(&b, node_of));
        if (!st && node.size > 1) st = share(&node, &b);
        MPI_Comm_free(&split);
    }
    free(node_of);
    TRY(st, "board of the ranks");
    watchdog_lock();
    *watchdog_board() = b;
    watchdog_move_in();
    watchdog_unlock();
    return OK;
}
