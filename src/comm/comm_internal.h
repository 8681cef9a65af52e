/* comm_internal: the group behind the handle, and how a call of MPI is made: fault point, watchdog, error. */
#ifndef MEDLEY_COMM_INTERNAL_H
#define MEDLEY_COMM_INTERNAL_H

#include "medley/comm.h"

#include <mpi.h>

struct comm {
    MPI_Comm mpi;
    MPI_Comm leaving; /* the world's own: a copy that only comm_all_leave uses, whatever collective was left unfinished on mpi */
    int rank, size;
    bool any_thread; /* the world's own: another thread than main may call MPI while main does not */
    int *counts; /* (4, size) counts and places of sent, then of received pieces */
    MPI_Request begun; /* of the one exchange that is under way */
};

MUST status comm_check(int code, const char *what); /* MPI's error text as a status */
MUST status comm_enter(const char *name);           /* the fault point `name`; then this rank waits in it */
MUST status comm_leave(int code, const char *what);

/* A call of MPI that may wait for other ranks. */
#define MPI_WAIT(name, call, what) ({ status in_ = comm_enter(name); in_ ? in_ : comm_leave((call), (what)); })

/* Collective over the world, once: shares the board among the ranks of each node. */
MUST status comm_join_board(comm *world);

#endif
