/* train_internal: what the files of src/train share. The trainer is made by plan.c, moved by step.c and loop.c. */
#ifndef TRAIN_INTERNAL_H
#define TRAIN_INTERNAL_H

#include "medley/train.h"

/* The corridor's verbs, in order: function names, trace words, columns of the step record. */
enum verb { VERB_LOAD, VERB_FORWARD, VERB_LOSS, VERB_BACKWARD, VERB_SUM, VERB_CLIP, VERB_UPDATE, N_VERBS };
extern const char *const verb_name[N_VERBS];

typedef struct task_state {
    task      task;
    dataset  *data;          /* training loader's view; NULL on ranks without units of this task */
    dataset  *eval_data;     /* opened at the first evaluation: the loader thread owns `data` */
    shard_meta meta;
    char    (*class_name)[64];
    float    *class_weight;  /* (K) or NULL */
    int64_t   n_split[N_SPLITS];
    task_run *run, *eval_run; /* NULL on ranks without units of this task */
    bool      mine;
    comm     *group;         /* the task's ranks, if more than one of them and this is one */
    int       lead;          /* lowest rank that runs the task: speaks for its head */
    int       head_first, head_last; /* local tensors of the head */
    /* state that is the same on all ranks and lies in the checkpoint */
    bool      suspended;
    int64_t   failures, dropped; /* in a row; in total */
    double    cost_s;        /* measured seconds of one unit, running mean */
    double    loss;          /* of the last step, mean over its units; NaN if none counted */
} task_state;

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
    loader_unit *mine;       /* (n_mine) */
    int     *mine_unit;      /* (n_mine) index into units */
    dataset_use *uses;
    int      n_uses;
    double   imbalance;      /* max over mean of planned cost */

    arena    weight_arena, grad_arena, m_arena, v_arena, ema_arena, act_arena;
    float   *w, *g, *m, *v, *ema; /* (pt.n_local) each; m, v, ema NULL when not training or off */
    gradient_sum sum;
    int      n_local;        /* tensors on this rank: the sum's tensors, in table order */
    int     *local;          /* (n_local) index into pt.p = global tensor id */
    int      block_first[BLOCK_HEAD0 + 1], block_last[BLOCK_HEAD0 + 1]; /* local tensors of the shared blocks */
    double  *norms;          /* (pt.n) squared norms per tensor */
    double  *report;         /* (REPORT_HEAD + n_units * REPORT_UNIT) one reduction per step carries them */

    loader  *loader;
    record  *record;
    int64_t  step;           /* steps done */
    double   best_score;
    int64_t  best_step;
    bool     training, dry; /* dry: plan and measure only, for a forecast without MPI */
    char     from[600];     /* checkpoint to resume from; "" = none */

    /* measured since the last record line */
    double   verb_s[N_VERBS], wait_s, since, started, grad_norm, lr;
    int64_t  images, total_images, steps_since, n_dropped;
    double   last_checkpoint_time;
};

/* one step's report: entries are written by one rank each, so their sum over ranks is exact */
enum { REPORT_STOP, REPORT_SECONDS, REPORT_HEAD };
enum { REPORT_LOSS, REPORT_VALID, REPORT_COST, REPORT_DROPPED, REPORT_UNIT };

/* plan.c */
MUST status plan_make(trainer *t, bool training);
void plan_free(trainer *t);
/* plan_text.c: the settings that decide the result, one "key = value" per line; malloc'ed. */
MUST status plan_text(const trainer *t, char **out);

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
void optim_update(trainer *t, double lr);

/* checkpoint.c: collective over the world. */
MUST status checkpoint_save(trainer *t, const char *path, bool full); /* full: moments, cursors, scales too */
MUST status checkpoint_load(trainer *t, const char *path, bool full);
/* Fills ts[].cost_s from t->from, if it has one: a better placement, no other result. Collective. */
MUST status checkpoint_costs(trainer *t);
/* The newest checkpoint of the run folder that passes verification; "" if there is none. */
MUST status checkpoint_find(trainer *t, char path[600]);
void checkpoint_prune(trainer *t);      /* rank 0 keeps the newest job.train.keep */
void checkpoint_remove_all(trainer *t); /* local: rank 0 */

/* validate.c: collective. */
MUST status validate_all(trainer *t);

#endif
