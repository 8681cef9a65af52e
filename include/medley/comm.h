/* comm: everything that crosses ranks. Only src/comm includes mpi.h. Scope words: local, or collective over a group. */
#ifndef MEDLEY_COMM_H
#define MEDLEY_COMM_H

#include "medley/core.h"

typedef struct comm comm; /* a group of ranks; NULL = the world is not open */

/* Starts the watchdog, then MPI_Init_thread(SERIALIZED; FUNNELED will do), then the board on which the ranks see each other; collective over the world. */
MUST status comm_open(int *argc, char ***argv, comm **world);
void        comm_close(comm *world);                          /* MPI_Finalize, watched too */
/* For a rank that failed, once: have all ranks of the world come here within so many seconds? False as soon as a signal asks for a stop, too. */
bool        comm_all_leave(comm *world, double seconds);
/* Ends every rank with `code`, within seconds even if MPI_Abort does not return. */
_Noreturn void comm_abort(comm *world, int code);
int comm_rank(const comm *c);
int comm_size(const comm *c);
enum { COMM_NODE_BYTES = 64 };
void comm_node_name(char out[COMM_NODE_BYTES]); /* this process's host; MEDLEY_NODE takes its place in tests */
const char *comm_library(void); /* "Open MPI 4.1.4" */

/* Collective over c. All ranks learn the gravest status, the lowest rank that has it, and its message. */
MUST status comm_agree(comm *c, status mine);
MUST status comm_bcast(comm *c, void *data, size_t n_bytes, int root);
/* root gets every rank's bytes one after another (malloc'ed, free()) with sizes[n_ranks]; others get NULL. */
MUST status comm_gather(comm *c, const void *data, size_t n_bytes, int root, void **all, size_t *sizes);
/* root's all (n_ranks * n_bytes) gets the same number of bytes of every rank; NULL elsewhere. Allocates nothing. */
MUST status comm_collect(comm *c, const void *data, size_t n_bytes, int root, void *all);
MUST status comm_collect_all(comm *c, const void *data, size_t n_bytes, void *all); /* on every rank */
MUST status comm_sum_f32(comm *c, float *data, int64_t n);     /* in place, over all ranks; counts above INT_MAX split */
MUST status comm_max_f64(comm *c, double *data, int64_t n);
MUST status comm_min_f64(comm *c, double *data, int64_t n);
MUST status comm_sum_f64(comm *c, double *data, int64_t n);    /* exact only where at most one rank has non-zero entries */
MUST status comm_send(comm *c, int to, int tag, const void *data, size_t n_bytes);
MUST status comm_recv(comm *c, int from, int tag, void *data, size_t n_bytes);
MUST status comm_barrier(comm *c);
MUST status comm_meet(comm *c, const char *point); /* a barrier with a fault point of its own */
/* Collective over c: is `text` (lines "key = value") on every rank what it is on rank 0? If not, all ranks get `code` and a message that
 * names `what`, the lowest rank that differs, and the first line in which it does. */
MUST status comm_same_text(comm *c, const char *text, status code, const char *what);
/* The two halves of a sum over the ranks of c, for n elements of which rank r owns [r * slice, (r + 1) * slice). Collective.
 * exchange: `in` gets, for every other rank in rank order, that rank's elements of this rank's slice. share: every rank gets every owner's
 * slice of data. n < 2^30. */
MUST status comm_exchange_i64(comm *c, const int64_t *data, int64_t n, int64_t slice, int64_t *in);
MUST status comm_share_f32(comm *c, float *data, int64_t n, int64_t slice);
/* The same without waiting, one at a time on c: *through when it is done, and until then nobody touches data and in. */
MUST status comm_exchange_begin(comm *c, const int64_t *data, int64_t n, int64_t slice, int64_t *in);
MUST status comm_share_begin(comm *c, float *data, int64_t n, int64_t slice);
MUST status comm_begun_test(comm *c, bool *through);
/* Bytes that this process has handed to MPI for other ranks in exchange, share and comm_sum_f32 (as a ring would send them). Local. */
double comm_bytes_sent(void);
/* Collective over c: sub-group of the ranks with member = true (order kept). *out = NULL on ranks outside. */
MUST status comm_group(comm *c, bool member, comm **out);
void        comm_group_close(comm *g);

/* The world in two levels. Collective over the world; a world of one rank has neither. */
typedef struct comm_levels {
    comm *node;   /* the ranks of this node */
    comm *across; /* the ranks that have this one's place on their nodes, one of each node; NULL beyond the first `lanes` of a node */
    int   lanes;  /* ranks of the smallest node */
} comm_levels;
MUST status comm_levels_open(comm *world, comm_levels *out); /* of any group */
void        comm_levels_close(comm_levels *l);

/* ---- memory of a node (src/comm/shared.c) ----------------------------------------------------------------------------- */

typedef struct shared_arena {
    int    n;   /* ranks of the node; 0: there is none */
    char **of;  /* (n) rank r's memory: this rank's to write, the others' to read; 64-byte aligned */
    arena *map; /* (n) what is mapped for it */
} shared_arena;
/* Collective over the world: `bytes` zeros of this rank (each rank has a number of its own), which all others of its node read where they
 * lie. n = 0 on every rank of the world, with a line in the log, where a system shows no process the memory of another (/proc/PID/fd). */
MUST status comm_shared_open(comm *world, comm *node, size_t bytes, shared_arena *out);
/* Collective over the world: the first `bytes` (whole pages) of own become memory that all ranks of the node read and write, zeros at first.
 * ST_RESOURCE on all ranks where that cannot be. */
MUST status comm_common(comm *world, comm *node, size_t bytes, arena *own);
/* rank r's bytes from..from+n-1 have been read: they no longer count as memory of this process, which has its own to answer for. */
void comm_shared_unsee(shared_arena *s, int r, size_t from, size_t n);
void comm_shared_close(shared_arena *s);

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
    bool    left;     /* g holds a unit that was not added yet (sum_leave) */
    bool    away;     /* other ranks' alone: has a place in the arena, which nobody touches here */
} sum_tensor;

/* Ranks that sum some of the tensors among themselves. */
typedef struct sum_group {
    comm       *ranks;  /* NULL: this rank alone */
    comm_levels levels; /* of these ranks, where those of a node see each other's memory; none: sums go through MPI */
    int        *place;  /* (ranks of levels.node) where each is in fixed_of and g_of */
} sum_group;

typedef struct gradient_sum {
    bool        exact;
    int         n_tensors, n_global, unit_bits; /* unit_bits: log2 of the most addends */
    sum_tensor *tensor;
    int64_t     n;                    /* elements of the arena */
    int64_t    *fixed;                /* (n) exact: fixed-point sums */
    float      *floating;             /* (n) float mode */
    float      *g;                    /* (n) the gradient arena, or NULL: the caller's */
    sum_group   all;                  /* the ranks of sum_init */
    uint8_t    *has;                  /* (n_tensors) exact: where the tensors of this step are (sum_node.c) */
    arena       own_sums, own_g;      /* where they lie if no other rank sees them */
    uint8_t    *own_has;
    shared_arena fixed_of, g_of, has_of; /* exact, and nodes of several ranks: `fixed`, `g` and `has` of all ranks of this node */
    int64_t    *incoming;             /* exact: what other ranks send of one piece of the arena */
    const int64_t **other;            /* (n_ranks) exact: where the others' part of a piece begins */
    double     *scratch;              /* (n_global) maxima */
} gradient_sum;

#define SUM_EXPONENT_UNKNOWN INT32_MIN /* no step seen yet: a range of +-2^20 is used */

/* Collective over c (NULL: this rank alone), of which all sums are made. n_global: tensors over all ranks. g: gets the gradient arena, (n)
 * zeros that belong to s; then ranks of one node add up each other's accumulators where they lie, and only the node's sum crosses to other
 * nodes. NULL: there is one already, and sums go through MPI. */
MUST status sum_init(gradient_sum *s, comm *c, bool exact, int n_tensors, int n_global, int64_t n, int n_units, float **g);
void sum_free(gradient_sum *s);
/* Adds the unit's gradient g of tensors first..last-1 and sets g to zero. Local. sum_check looks at a range first and
 * returns -1, or the first tensor that is not finite or out of range: check all ranges of a unit, then add all or reject all. */
int  sum_check(gradient_sum *s, const float *g, int first, int last);
void sum_add(gradient_sum *s, float *g, int first, int last);
/* Adds it later: nothing else is added to these tensors before sum_reduce, which takes g from where it lies. For a rank's only unit of a step:
 * no integers are written then, if its node is the only one. Not where the sum begins early. */
void sum_leave(gradient_sum *s, float *g, int first, int last);
void sum_reject(gradient_sum *s, float *g, int first, int last); /* g = 0 */
/* Exact: adds, but g stays as it is, so that what a unit has added can be taken back, every bit of it. */
void sum_add_early(gradient_sum *s, float *g, int first, int last);
void sum_take_back(gradient_sum *s, float *g, int first, int last);
/* Collective over c (NULL: this rank alone): g = the sums of tensors first..last-1 over the ranks, the accumulators are empty again. The
 * tensors must be contiguous in the arena and in the same order on all ranks of c. */
MUST status sum_reduce(gradient_sum *s, comm *c, int first, int last, float *g);
/* The same over the ranks of a group, for tensors that lie at the same place on all of them. Collective over the group. */
MUST status sum_reduce_among(gradient_sum *s, const sum_group *group, int first, int last, float *g);
/* Collective over s's ranks: the group of those with member = true. Elsewhere *out is empty. */
MUST status sum_group_open(sum_group *out, gradient_sum *s, bool member);
void        sum_group_close(sum_group *group);
/* Collective over c: next step's exponents from the maxima over all ranks (tensor t of every rank is global tensor id[t]). */
MUST status sum_rescale(gradient_sum *s, comm *c, const int *id);

/* ---- the sum begun early (src/comm/sum_ahead.c) ------------------------------------------------------------------------- *
 * Between nodes the sum of tensors 0..n_tensors-1 can go on while the last unit of a step is still in backward: from the last tensor down, as
 * backward finishes them. Same integers, same rounding, same bits as sum_reduce. */

enum sum_mode { SUM_AFTER, SUM_POLL, SUM_THREAD }; /* all after the units; in calls from between layers; by a thread */
typedef struct sum_ahead sum_ahead;
/* Tensors first..last-1 are summed over a group; NULL: of which this rank is none. */
typedef struct sum_part { int first, last; const sum_group *group; } sum_part;
/* Collective over s's ranks, once s's tensors are known: the same parts on all ranks, one behind the other from tensor 0 on. *out = NULL on all
 * ranks, with a line in the log, where there is nothing to gain or it cannot be: one node, no exact sum, ranks of a node that do not see each
 * other's memory. */
MUST status sum_ahead_open(sum_ahead **out, gradient_sum *s, const sum_part *part, int n_parts, enum sum_mode mode);
void sum_ahead_close(sum_ahead *a);
void sum_ahead_begin(sum_ahead *a); /* a step begins. Local, as is the next */
/* This rank adds nothing more to tensors from..n_tensors-1 in this step. from falls. */
void sum_ahead_done(sum_ahead *a, int from);
/* Collective: this rank has no unit left; returns when all is summed. The result is not in place yet: if a rank has taken back what it had
 * added, sum_reduce sums anew. */
MUST status sum_ahead_finish(sum_ahead *a);
/* Behind an agreement of all ranks that the result counts: g = the sums, the accumulators are empty again. Local; another collective over
 * the world must follow before the next sum_ahead_begin. */
void sum_ahead_take(sum_ahead *a, float *g);

/* ---- simulation (src/comm/simulate.c) --------------------------------------------------------------------------------- *
 * Where the time of a step goes on a cluster that is not here: the collectives of a step with clocks for ranks. Local. */

/* Elements that some ranks sum among themselves: rank r if member[r * stride]; NULL: all. */
typedef struct sim_part { int64_t n; const bool *member; int stride; } sim_part;
typedef struct sim_cluster {
    int      nodes, per_node;        /* the last node counts as full */
    double   latency_s, bytes_per_s; /* of a message between nodes; of a node's network, each way */
    double   memory_rate;            /* bytes/s of a node */
    double   jitter;                 /* a rank's work takes 1 + jitter * |normal| times its seconds, another draw every step */
    double   slow_nodes, slow_by;    /* this share of the nodes takes 1 + slow_by times as long */
    uint64_t seed;
    /* The sum begins early: how much of a rank's last backward has gone by when elements from `from` on are done, 0 to 1. NULL: it does not. */
    double (*done)(const void *arg, int64_t from);
    const void *done_arg;
    double   tail_s, poll_s;         /* seconds of a rank's last backward; between two looks at what goes on in it, 0: by a thread */
} sim_cluster;
/* Seconds of a step, mean over steps: work of the mean rank; waiting for the busiest; for what jitter and slow nodes add; sum inside the
 * nodes; bytes and latencies between them, as far as they are not hidden behind backward; update; all together. */
typedef struct sim_times { double compute, balance, jitter, node, wire, latency, update, step; } sim_times;
/* seconds (nodes * per_node): each rank's work; part (n_parts): what is summed, in the order of the arena. */
MUST status comm_simulate(const sim_cluster *c, const double *seconds, double update_s, const sim_part *part, int n_parts, int steps, sim_times *out);

/* ---- watchdog (src/comm/watchdog.c) ----------------------------------------------------------------------------------- *
 * A thread on every rank that ends the job with ST_COMM when a rank makes no progress for the watchdog's time, or has died, and says
 * which one, at which step, verb and task, and who waits for it. comm_open starts it, comm_close stops it. All of this is local. */

void watchdog_start(double seconds);
/* From here on: seconds without progress that end the job, 0: never; folder: shared by all nodes, where their states are exchanged
 * while the job runs (.watch-N), NULL: nowhere. */
void watchdog_limit(double seconds, const char *folder);
/* The main thread is here now; step -1: not in a step, task NULL: in none. Counts as progress, as does progress_beat. */
void watchdog_tick(int64_t step, const char *verb, const char *task);
/* The same, and the fault point named like the verb, which fails with `code`. */
MUST status watchdog_point(int64_t step, const char *verb, const char *task, status code);
/* Where MPI failed, or else where the main thread is: "step 3, sum"; "" before the first step. */
const char *watchdog_where(void);
/* This process ends within `seconds`, by _exit(code) if need be, and tells why itself: the others of its node keep silent. */
void watchdog_leave(double seconds, int code);
void watchdog_stop(void);

/* ---- cores (src/comm/cores.c) ------------------------------------------------------------------------------------------ */

/* How the ranks of a node share its CPUs. */
typedef struct core_share {
    int  threads;      /* of this rank: as asked, or this rank's share of the CPUs it may use */
    int  ranks, cpus;  /* on this node: ranks, and CPUs that any of them may use (or the container's quota, if less) */
    int  all_threads;  /* of this node's ranks */
    bool first;        /* the lowest rank of this node: speaks for it */
    char list[160];    /* "0-3,8", CPUs of the node's ranks */
    char crowded[560]; /* "" = every thread has a CPU; else numbers and cure */
} core_share;
/* Threads that are asked for on this rank: `wanted`, else OMP_NUM_THREADS; 0: neither. */
int         cores_asked(int wanted);
/* Collective over the world. asked: threads wanted on this rank, 0: its share. */
MUST status comm_cores(comm *world, int asked, core_share *out);

#endif
