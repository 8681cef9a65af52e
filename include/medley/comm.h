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
/* Collective over c: is `text` (lines "key = value") on every rank what it is on rank 0? If not, all ranks get `code` and a message that
 * names `what`, the lowest rank that differs, and the first line in which it does. */
MUST status comm_same_text(comm *c, const char *text, status code, const char *what);
/* The two halves of a sum over the ranks of c, for n elements of which rank r owns [r * slice, (r + 1) * slice). Collective.
 * exchange: `in` gets, for every other rank in rank order, that rank's elements of this rank's slice. share: every rank gets every owner's
 * slice of data. n < 2^30. */
MUST status comm_exchange_i64(comm *c, const int64_t *data, int64_t n, int64_t slice, int64_t *in);
MUST status comm_share_f32(comm *c, float *data, int64_t n, int64_t slice);
/* Collective over c: sub-group of the ranks with member = true (order kept). *out = NULL on ranks outside. */
MUST status comm_group(comm *c, bool member, comm **out);
void        comm_group_close(comm *g);

/* ---- gradient sums (src/comm/sum.c) ---------------------------------------------------------------------------------- *
 * Exact: every unit's gradient becomes 64-bit integers, value * 2^exponent of its tensor, before anything is added. Integer addition is
 * associative, so the sum has the same bits for any number of ranks, any placement and any algorithm of the MPI library
 * (ecosystem.md 2.4). The exponents come from the largest |gradient| of the step before, over all units: the same on all ranks. A
 * gradient beyond the range (4096 times the last maximum), infinite or NaN is refused, never wrapped. Float: plain additions. */

typedef struct sum_tensor {
    int64_t off, n;   /* place in the gradient arena */
    int     exponent; /* values are multiplied by 2^exponent */
    float   max;      /* largest |gradient| of an accepted or refused unit of this step; not finite values do not count */
    bool    filled;   /* a unit was added since the last sum_reduce; if not, the accumulators' contents count as 0 */
} sum_tensor;

typedef struct gradient_sum {
    bool        exact;
    int         n_tensors, unit_bits; /* unit_bits: log2 of the most addends */
    sum_tensor *tensor;
    int64_t     n;                    /* elements of the arena */
    int64_t    *fixed;                /* (n) exact: fixed-point sums */
    float      *floating;             /* (n) float mode */
    int64_t    *incoming;             /* exact: what other ranks send of one piece of the arena */
    double     *scratch;              /* (n_tensors) */
} gradient_sum;

#define SUM_EXPONENT_UNKNOWN INT32_MIN /* no step seen yet: a range of +-2^20 is used */

/* n_ranks: the most ranks of a sum_reduce. */
MUST status sum_init(gradient_sum *s, bool exact, int n_tensors, int64_t n, int n_units, int n_ranks);
void sum_free(gradient_sum *s);
/* Adds the unit's gradient g of tensors first..last-1 and sets g to zero. Local. sum_check looks at a range first and
 * returns -1, or the first tensor that is not finite or out of range: check all ranges of a unit, then add all or reject all. */
int  sum_check(gradient_sum *s, const float *g, int first, int last);
void sum_add(gradient_sum *s, float *g, int first, int last);
void sum_reject(gradient_sum *s, float *g, int first, int last); /* g = 0 */
/* Collective over c (NULL: this rank alone): g = the sums of tensors first..last-1 over the ranks, the accumulators are empty again. The
 * tensors must be contiguous in the arena and in the same order on all ranks of c. */
MUST status sum_reduce(gradient_sum *s, comm *c, int first, int last, float *g);
/* Collective over c: next step's exponents from the maxima over all ranks (tensor t of every rank is global tensor id[t] of n_global). */
MUST status sum_rescale(gradient_sum *s, comm *c, const int *id, int n_global);

/* Watchdog: a thread that ends the process with ST_COMM if watchdog_tick is not called for `seconds`. It prints rank, step, verb and
 * task. Local. */
void watchdog_start(int rank, double seconds);
void watchdog_tick(int64_t step, const char *verb, const char *task);
void watchdog_stop(void);

#endif
