/* watchdog_internal: what comm.c and board_mpi.c need of the watchdog besides medley/comm.h. */
#ifndef MEDLEY_WATCHDOG_INTERNAL_H
#define MEDLEY_WATCHDOG_INTERNAL_H

#include "board.h"
#include "medley/comm.h"

enum { WATCH_MOST = 8192 }; /* ranks above this are watched by themselves and the launcher only */

/* A rank of the watchdog's own until the world is known; the lock is for whoever changes it, before watchdog_move_in. */
board *watchdog_board(void);
void watchdog_lock(void);
void watchdog_unlock(void);
void watchdog_move_in(void); /* this rank's place is now seats[me]; under the lock */

/* Around every call of MPI that waits for others: a rank in it is not to blame. */
void watchdog_wait(const char *where);
void watchdog_go(void);
/* A call of MPI has failed here: what is tidied up after does not change watchdog_where. */
void watchdog_failed(void);

#endif
