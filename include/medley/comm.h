/* comm: everything that crosses ranks. Only src/comm includes mpi.h. Scope words: local, or collective over a group. */
#ifndef MEDLEY_COMM_H
#define MEDLEY_COMM_H

#include "medley/core.h"

typedef struct comm comm; /* a group of ranks; NULL = the world is not open */

MUST status comm_open(int *argc, char ***argv, comm **world); /* MPI_Init_thread(FUNNELED); collective over the world */
void        comm_close(comm *world);                          /* MPI_Finalize */
/* Ends every rank with `code`. Used by main and by the watchdog's owner only. */
_Noreturn void comm_abort(comm *world, int code);
int comm_rank(const comm *c);
int comm_size(const comm *c);
const char *comm_library(void); /* "Open MPI 4.1.4" */

/* Collective over c. All ranks learn the gravest status, the lowest rank that has it, and its message. */
MUST status comm_agree(comm *c, status mine);
MUST status comm_bcast(comm *c, void *data, size_t n_bytes, int root);
/* root gets every rank's bytes one after another (malloc'ed, free()) with sizes[n_ranks]; others get NULL. */
MUST status comm_gather(comm *c, const void *data, size_t n_bytes, int root, void **all, size_t *sizes);
MUST status comm_sum_i64(comm *c, int64_t *data, int64_t n);   /* in place, over all ranks; counts above INT_MAX split */
MUST status comm_sum_f32(comm *c, float *data, int64_t n);
MUST status comm_max_f64(comm *c, double *data, int64_t n);
MUST status comm_min_f64(comm *c, double *data, int64_t n);
MUST status comm_sum_f64(comm *c, double *data, int64_t n);    /* exact only where at most one rank has non-zero entries */
MUST status comm_send(comm *c, int to, int tag, const void *data, size_t n_bytes);
MUST status comm_recv(comm *c, int from, int tag, void *data, size_t n_bytes);
MUST status comm_barrier(comm *c);
/* Collective over c: sub-group of the ranks with member = true (order kept). *out = NULL on ranks outside. */
MUST status comm_group(comm *c, bool member, comm **out);
void        comm_group_close(comm *g);

/* Watchdog: a thread that ends the process with ST_COMM if watchdog_tick is not called for `seconds`. It prints rank, step, verb and
 * task. Local. */
void watchdog_start(int rank, double seconds);
void watchdog_tick(int64_t step, const char *verb, const char *task);
void watchdog_stop(void);

#endif
