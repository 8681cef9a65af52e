/* train_internal: what the files of src/train share. The trainer is made by plan.c, moved by step.c and loop.c. */
#ifndef TRAIN_INTERNAL_H
#define TRAIN_INTERNAL_H

#include "medley/train.h"
#include "saver.h"

/* The corridor's verbs, in order: function names, trace words, columns of the step record. */
enum verb { VERB_LOAD, VERB_FORWARD, VERB_LOSS, VERB_BACKWARD, VERB_SUM, VERB_CLIP, VERB_UPDATE, N_VERBS };
extern const char *const verb_name[N_VERBS];

typedef struct task_state {
    task      task;
    dataset  *data;          /* training loader's view; NULL on ranks without units of this task */
    dataset  *eval_data;     /* twin, made at the first evaluation: the loader thread owns `data` */
    shard_meta meta;
    char    (*class_name)[64];
    float    *class_weight;  /* (K) or NULL */
    int64_t   n_split[N_SPLITS];
    task_run *run, *eval_run; /* NULL on ranks without units of this task */
    bool      mine;
    bool      added;         /* not in the checkpoint that is resumed from: its head is new */
    int64_t   born;          /* step at which its head was new */
    comm     *group;         /* the task's ranks, if more than one of them and this is one */
    int       lead;          /* lowest rank that runs the task: speaks for its head */
    int       head_first, head_last; /* local tensors of the head */
    /* state that is the same on all ranks and lies in the checkpoint */
    bool      suspended, suspended_now; /* now: in this step */
    int64_t   failures, dropped; /* in a row; in total */
    double    cost_s;        /* measured seconds of one unit, running mean */
    double    loss;          /* of the last step, mean over its units; NaN if none counted */
} task_state;

/* Without training samples a task is suspended from the start, and no rank loads its units. */
static inline bool task_rests(const task_state *ts) { return ts->n_split[SPLIT_TRAIN] == 0; }

/* Why a unit was dropped: found by the rank that ran it, told to all. */
enum drop_cause { CAUSE_NONE, CAUSE_IMAGE, CAUSE_LABEL, CAUSE_WEIGHT, CAUSE_OUTPUT, CAUSE_GRADIENT, CAUSE_RANGE, CAUSE_LOSS, N_CAUSES };
typedef struct drop_note {
    enum drop_cause cause;
    int  rank;
    char tensor[128], sample[SHARD_TEXT]; /* parameter, layer, "image", "label" or "loss"; ids of the samples that may be at fault */
} drop_note;

/* Where the ranks' time goes between two log lines (times.c). What is allocated is rank 0's. */
typedef struct rank_times {
    double  adding_s, read_s, augment_s; /* of this rank: adding units to the sum; its loader's thread */
    double  pause_s[N_PAUSES];
    double *all;             /* (size, N_RANK_TIMES) */
    double *unit_s;          /* (n_units) seconds of each unit */
    double *task_s, *usual_s, *busy_s; /* (n_tasks) mean of a unit; (size) of a rank's units as such means, and as measured */
    char  (*node)[COMM_NODE_BYTES]; /* (n_nodes) */
    int    *node_of;         /* (size) */
    int     n_nodes;
    double  groups_at;       /* when the groups' lines were written last */
} rank_times;

/* The sum over the nodes during the backward of this rank's last unit (ahead.c). */
typedef struct ahead_state {
    sum_ahead *sum;          /* NULL: all is summed after the units */
    int  last;               /* this step's last unit of this rank, in trainer.units; -1: none */
    const task_state *ts;    /* its task while its last piece is in backward */
    int  added;              /* its shared tensors from here on are in the sum already */
    bool stuck, took_back;   /* a bad number: nothing more goes ahead; what had gone was taken back */
} ahead_state;

/* Moments and moving average of the shared blocks once a node (node_state.c). */
typedef struct node_state {
    comm_levels  levels;
    shared_arena w_of;       /* weights of the ranks of this node; n = 0: every rank has all of its own */
    int         *rank;       /* (w_of.n) their numbers in the world */
    int64_t      n;          /* elements of the shared blocks */
} node_state;

/* A shared block: the encoder, or a decoder (holders.c). */
typedef struct block_state {
    int64_t   lo, hi;        /* its elements in the arenas */
    int       lead, n_ranks; /* lowest rank that holds it: speaks for it; how many hold it */
    bool      everywhere, away; /* all hold it; other ranks alone do */
    sum_group sum;           /* who holds it, unless everywhere */
} block_state;

typedef struct save_state {
    saver   *saver;          /* rank 0 */
    float   *buf;            /* rank 0: (largest tensor that it does not hold) */
    int64_t *exponent;       /* (pt.n) */
    double  *exponent_f;     /* (pt.n) */
    char    *plan;           /* plan_text */
    int64_t  last_step;      /* of the last checkpoint of this process; -1 none */
    double   longest_s;      /* rank 0: longest stall and save so far */
    double   best_kept;      /* rank 0: score and step of the best.h5 that is on disk */
    int64_t  best_kept_step;
} save_state;

struct trainer {
    comm    *world;
    int      rank, size;
    job      job;
    shared   shared;
    params   pt;
    int      n_tasks, n_units, n_mine;
    task_state *ts;          /* (n_tasks) */
    unit    *units;          /* (n_units) of one step, by task and number */
    int     *rank_of;        /* (n_units) */
    bool    *holds;          /* (size, BLOCK_HEAD0) */
    block_state block[BLOCK_HEAD0];
    loader_unit *mine;       /* (n_mine) */
    int     *mine_unit;      /* (n_mine) index into units */
    dataset_use *uses;
    int      n_uses;
    double   imbalance;      /* max over mean of planned cost */

    arena    weight_arena, m_arena, v_arena, ema_arena, act_arena;
    float   *w, *g, *m, *v, *ema; /* (pt.n_local) each; m, v, ema NULL when not training or off */
    gradient_sum sum;
    int      n_local;        /* tensors on this rank: the sum's tensors, in table order */
    int     *local;          /* (n_local) index into pt.p = global tensor id */
    int      block_first[BLOCK_HEAD0 + 1], block_last[BLOCK_HEAD0 + 1]; /* local tensors of the shared blocks */
    double  *norms;          /* (pt.n) squared norms per tensor */
    double  *report;         /* (REPORT_HEAD + n_units * REPORT_UNIT) one reduction per step carries them */
    drop_note *drop;         /* (n_units) valid where the report says dropped */
    double  *replica;        /* (REPLICA_ARRAYS, pt.n, 2) */

    loader  *loader;
    record  *record;
    FILE    *trace;          /* train.trace_samples: RUN/samples/rank-N.csv; else NULL */
    int64_t  step, opened;   /* steps done; done when the run began to move */
    double   best_score;
    int64_t  best_step;
    const double *unit_s;    /* (n_tasks) dry: measured seconds of a unit, or NULL */
    bool     training, dry; /* dry: plan and measure only, for a forecast without MPI */
    bool     quiet, frozen; /* quiet: says nothing of its plan, threads are set; frozen: the encoder stays as it is (trainer_fit) */
    const int64_t *only;    /* (n_only) or NULL: the training samples, ascending */
    int64_t  n_only;
    char     from[600];     /* checkpoint to resume from; "" = none */
    int64_t  born[BLOCK_HEAD0]; /* step at which the moments of a shared block began */
    bool     tasks_changed; /* the job has other tasks than that checkpoint */
    char     verified[600]; /* rank 0: the file that checkpoint_find has read whole */
    save_state save;
    int      lock_fd;       /* rank 0: of RUN/lock; 0 none */
    bool     validation_due; /* the validation of this step was not made or not finished; lies in the checkpoint */
    double   limit, job_end, longest_step_s; /* readings of timer_now(), INFINITY: none; seconds */

    /* measured since the last record line */
    rank_times times;
    ahead_state ahead;
    node_state node;
    double   verb_s[N_VERBS], wait_s, since, started, grad_norm, lr;
    double   sent, sum_bytes; /* comm_bytes_sent at the last report; of all ranks in a step, NAN: not known yet */
    int64_t  images, total_images, steps_since, n_dropped;
    double   last_checkpoint_time;
};

/* one step's report: entries are written by one rank each, so their sum over ranks is exact */
enum { REPORT_STOP, REPORT_CUT, REPORT_AGAIN, REPORT_SENT, REPORT_HEAD }; /* AGAIN: what was summed ahead does not count; SENT: bytes that the sum before has handed to MPI */
enum { REPORT_LOSS, REPORT_VALID, REPORT_COST, REPORT_DROPPED, REPORT_UNIT };

/* trainer.c: the encoder becomes that of `from`. Local. */
void trainer_take_encoder(trainer *t, const weights *from);

/* plan.c */
MUST status plan_make(trainer *t, bool training);
void plan_free(trainer *t);
/* budget.c: sets micro and recompute of every task's spec. Collective, once model and uses are made. ST_RESOURCE if train.memory is too
 * little for a task: its name and the bytes. */
MUST status budget_plan(trainer *t);
MUST status budget_say(const trainer *t, int i, char *out, size_t n); /* what was chosen for task i */
/* forecast.c: bytes beside activations of a rank that runs every task, on any number of ranks. Local, before placement. */
MUST status forecast_rest(trainer *t, double *bytes);
/* forecast_sum.c: bytes that go through MPI in a step, of all ranks; that leave the node which most leave. t: a dry one, ranks in order on
 * their nodes. */
typedef struct sum_traffic { double bytes, leave; } sum_traffic;
MUST status forecast_traffic(const trainer *t, int per_node, sum_traffic *out);
/* forecast_time.c */
typedef struct step_cost {
    double *unit_s;               /* (n_tasks) seconds of a unit of each task: forward, loss, backward, adding to the sum */
    double  load_s;               /* processor seconds of the loader a unit */
    double  backward;             /* the share of backward in a unit */
    double  end_s;                /* what follows once a step: rounding the sum, clip, update */
    double  core_rate, node_rate; /* bytes/s of a triad by one core and by all */
    int     cpus, threads;        /* CPUs of this process; threads of a rank */
} step_cost;
typedef struct rank_load { double seconds; int units; } rank_load; /* of a step */
MUST status forecast_measure(const job *j, step_cost *c); /* unit_s given, zeros; trains some steps with all tasks, writes nothing */
/* costs.c: the same from a file that costs_write has written, for the tasks of the job. ST_DATA if it lacks one. */
MUST status costs_read(const job *j, step_cost *c, const char *path);
MUST status costs_write(const job *j, const step_cost *c, const char *path);
MUST status forecast_time(const trainer *t, const rank_load *load, const step_cost *c, const cluster *on, FILE *out); /* load (on->ranks); t: a dry one */
/* plan_text.c: the settings that decide the result, one "key = value" per line; malloc'ed. */
MUST status plan_text(const trainer *t, char **out);

/* conditions.c: what the bits depend on besides the plan: program, kernels, CPU. */
/* Local: products of linear layers as train.precision says. ST_USAGE where bf16 would be slower than fp32. */
MUST status precision_set(const trainer *t);
/* Collective: the same on all ranks? ST_USAGE if not, or a warning if the job allows it. */
MUST status conditions_agree(trainer *t);
MUST status conditions_put(const trainer *t, store *s);
/* Rank 0: warns of every line in which the checkpoint's conditions differ from this run's. */
MUST status conditions_compare(const trainer *t, store *s, const char *path);

/* adopt.c: what of a checkpoint belongs to this job. */
/* The plan must be this job's; in training, tasks may differ if the job allows it: then ts[].added is set. Local. */
MUST status adopt_plan(trainer *t, store *s, const char *path, bool full);
MUST status adopt_text(store *s, const char *path, const char *name, char **out); /* a text array, NUL-terminated; free() */
/* Scales of the sum, and ages of the moments, of a checkpoint of step `step`. Local. */
MUST status adopt_tensors(trainer *t, store *s, const char *path, int64_t step);
/* Is parameter p missing in the checkpoint because its task is new? Then it keeps its initial weights, and its moments are zero. */
bool adopt_as_new(const trainer *t, store *s, const param *p);
MUST status adopt_put_tensors(trainer *t, store *s); /* names and births of all tensors: what sum_exponent is indexed by */
int64_t adopt_age(const trainer *t, int block);      /* optimiser steps the moments of a block have seen */

/* trace.c: RUN/samples. trace_tidy: rank 0 drops what was written of steps that are not done; trace_open: local, behind it. */
MUST status trace_tidy(const trainer *t);
MUST status trace_open(trainer *t);
void trace_unit(trainer *t, int unit, const batch *b); /* the samples of a unit that is trained on */
MUST status trace_flush(trainer *t);                   /* after the units of a step */

/* times.c. open and gather: collective over the world; the rest is local. */
MUST status times_open(trainer *t);
void times_close(trainer *t);
void times_unit(trainer *t, int unit, double seconds); /* on any rank, told to all */
MUST status times_gather(trainer *t);
/* Rank 0, behind times_gather: the events "ranks" and "group"; seconds: since the last log line, pauses left out. last: of this trainer. */
MUST status times_record(trainer *t, double seconds, bool last);
void times_put_pauses(trainer *t, record *r); /* rank 0: into the event that is being written; they count from 0 again */
void times_reset(trainer *t);

/* numbers.c */
MUST status numbers_init(trainer *t); /* what a bad unit needs, so that nothing is allocated then */
void numbers_free(trainer *t);
/* The ranges of local tensors whose gradient a task writes: shared blocks it uses, then its head. Returns how many. */
int  numbers_ranges(const trainer *t, const task_state *ts, int range[4][2]);
/* The source of a unit's bad numbers, after forward (and backward) of its piece number `piece`. out_of_range: local tensor beyond the sum's
 * range, or -1. */
void numbers_find(const trainer *t, const task_state *ts, const batch *b, int piece, int out_of_range, drop_note *note);
void numbers_say(const drop_note *d, char *out, size_t room);
/* Collective: all ranks learn the notes of the units this step's report has dropped; rank 0 records them and the tasks suspended now. */
MUST status numbers_record(trainer *t, int n_suspended);

extern const char *const block_name[BLOCK_HEAD0];
/* holders.c: which ranks hold the shared blocks. find: local, units are placed. bounds: they are laid out. open: collective, the sum is made. */
MUST status holders_find(trainer *t);
void holders_bounds(trainer *t);
MUST status holders_open(trainer *t);
void holders_close(trainer *t);
bool rank_holds(const trainer *t, int block, int rank);
bool held(const param *p);                     /* this rank keeps p, sums its gradient and updates it */
int  lead_of(const trainer *t, int block);     /* lowest rank that holds a block, heads too: speaks for it */
int64_t held_elements(const trainer *t);       /* of this rank's arenas */
int  holders_parts(const trainer *t, sum_part part[BLOCK_HEAD0]); /* shared tensors by the ranks that sum them; how many */
MUST status holders_sum(trainer *t);           /* collective over the world: g = the sums of the shared tensors that this rank holds */

/* ahead.c: open is collective over the world, the rest local. */
MUST status ahead_open(trainer *t); /* once the sum is made */
void ahead_begin(trainer *t);       /* a step */
void ahead_watch(trainer *t, const task_state *ts, int unit, bool last_piece); /* before forward and backward of a piece */
void ahead_leave_out(const trainer *t, int range[4][2], int n); /* of a unit's tensors, those that are in the sum already */
void ahead_take_back(trainer *t);   /* what the unit that is dropped has put there */
void ahead_unwatch(trainer *t);     /* the unit is through */

/* node_state.c. open and spread: collective over the world. */
MUST status node_state_open(trainer *t);  /* once the arenas are there, and nothing in them yet */
void node_state_close(trainer *t);
int64_t node_state_pad(const trainer *t, int64_t end); /* elements between the shared blocks and the heads, so that these have pages of their own */
bool node_state_holds(const trainer *t, const param *p); /* this rank answers for all of p's moments and average */
void node_state_share(const trainer *t, const param *p, int64_t *from, int64_t *to); /* elements of p that this rank updates */
MUST status node_state_spread(trainer *t); /* after the update: the weights that other ranks of the node have updated */

/* replicas.c: collective over the world. ST_NUMERIC with ranks, array and tensor if weights, moments or averages differ between ranks. */
enum { REPLICA_ARRAYS = 4 };
MUST status replicas_check(trainer *t);

/* step.c: collective over the world. */
MUST status step_run(trainer *t);

/* optim.c */
double schedule_lr(const job *j, int64_t step);
/* Collective: *norm = the global norm of the summed gradient. */
MUST status optim_norm(trainer *t, double *norm);
/* One AdamW step in numbers. scale: the gradient is multiplied by it (clipping); ema: weight of the old moving average. */
typedef struct adamw { double beta1, beta2, eps, ema; float scale, keep, size, root; } adamw;
adamw adamw_at(double lr, double decay, double beta1, double beta2, double eps, int64_t step); /* number `step` from 0; scale 1, no average */
/* One pass over n elements: moments, weights, moving average (ema NULL: none); g is set to zero. */
void adamw_update(float *w, float *g, float *m, float *v, float *ema, int64_t n, const adamw *o);
/* On every local tensor, with the gradient clipped to job.optim.clip (0: not) by trainer.grad_norm. */
MUST status optim_update(trainer *t, double lr); /* collective */

enum { CHECKPOINT_VERSION = 1 };

/* checkpoint.c: collective over the world. */
MUST status checkpoint_load(trainer *t, const char *path, bool full);
/* Fills ts[].cost_s from t->from, if it has one: a better placement, no other result. Collective. */
MUST status checkpoint_costs(trainer *t);
/* The newest checkpoint of the run folder that passes verification; "" if there is none. */
MUST status checkpoint_find(trainer *t, char path[600]);
MUST status checkpoint_newest(const char *run, char path[600]); /* the same, local */
/* Is this open file a checkpoint we can read? ST_DATA. */
MUST status checkpoint_check_format(store *s, const char *path);
/* The rest is local, for rank 0; what cannot be removed or renamed is a warning. */
void checkpoint_prune(const trainer *t, int64_t step); /* keeps the newest job.train.keep up to `step` */
void checkpoint_tidy(const trainer *t);                /* temporary files of a run that was ended while it saved */
void checkpoint_set_aside(const trainer *t);           /* renames checkpoints later than t->step, which are damaged */
void checkpoint_remove_all(const trainer *t);

/* checkpoint_write.c: collective over the world: all ranks' state as a file in m (rank 0's; NULL elsewhere). full: moments, cursors and
 * scales too. */
MUST status checkpoint_snapshot(trainer *t, store_image *m, const char *path, bool full);
size_t checkpoint_room(const trainer *t, bool full); /* bytes that m needs at most; the plan is enough for this */

/* save.c: collective over the world, but for close. */
MUST status save_open(trainer *t); /* local: allocates, starts the saver on rank 0 */
void save_close(trainer *t);       /* local */
/* Copies the state and hands it to the saver: RUN/checkpoints/step-N.h5 if full, else RUN/best.h5. Waits for the same file's last save. */
MUST status save_begin(trainer *t, bool full);
/* Between two steps: the record's "checkpoint" event, pruning, and the failure of a save, which ends the run unless on_save_error says
 * otherwise. */
MUST status save_look(trainer *t);
MUST status save_finish(trainer *t); /* waits for all saves; any failure is an error here */

/* rebalance.c: collective over the world. *due: the units should be placed anew, from a checkpoint. */
MUST status rebalance_look(trainer *t, bool *due);

/* run_lock.c: local, rank 0. ST_USAGE if another process trains in the run folder. */
MUST status run_lock(trainer *t);
void run_unlock(trainer *t);

/* stop.c: local. */
void stop_plan(trainer *t);
bool stop_due(const trainer *t);   /* by signal, time limit or the end of the Slurm job */
bool stop_at_once(void);           /* SIGTERM, SIGINT: the rest of the step is given up, too */

/* validate.c: collective. *cut: a stop came in between, and nothing was noted or kept. */
MUST status validate_all(trainer *t, bool *cut);

#endif
