/* train: plan, step (the corridor), loop, optimiser, schedule, checkpoint, validation, record. */
#ifndef MEDLEY_TRAIN_H
#define MEDLEY_TRAIN_H

#include "medley/comm.h"
#include "medley/config.h"
#include "medley/data.h"
#include "medley/task.h"

/* ---- record: flat JSON objects, one per line, in RUN/record.jsonl ------------------------------------------------------- *
 * events: "start" "step" "ranks" "group" "validate" "checkpoint" "drop" "suspend" "rebalance" "stop" "end" "evaluate". Written by rank 0
 * only, flushed per line.
 * step:     step lr loss images images_per_s grad_norm load_s forward_s backward_s sum_s update_s wait_s memory_bytes
 *           and loss/TASK for each task
 * ranks:    step steps seconds ranks nodes, of each rank_time T_min_s T_mean_s T_max_s over the ranks, slowest_* longest_* and *_pause_s (times.c)
 * group:    step node rank ranks slowest_* and of each rank_time T_s: of a rank, or the mean of a node's ranks (rank: -1)
 * drop:     step task unit rank cause tensor sample (numbers.c); suspend: step task failures
 * validate: step task split score score_name and every metric by name */
typedef struct record record;

/* What the seconds of a rank between two log lines went into, and those of its loader's thread, which run beside: the record's columns. */
enum rank_time { TIME_COMPUTE, TIME_DATA, TIME_WAIT, TIME_SUM, TIME_UPDATE, TIME_READ, TIME_AUGMENT, N_RANK_TIMES };
/* While steps stand still. */
enum pause { PAUSE_VALIDATION, PAUSE_CHECKPOINT, N_PAUSES };
/* key: in the record; shown: to people. */
typedef struct time_name { const char *key, *shown; } time_name;
extern const time_name rank_time_name[N_RANK_TIMES], pause_name[N_PAUSES];
MUST status record_open(record **out, const char *path, int64_t truncate_after_step); /* drops lines of later steps (resume) */
void record_close(record *r);
void record_begin(record *r, const char *event);
void record_i64(record *r, const char *key, int64_t v);
void record_f64(record *r, const char *key, double v);   /* not finite: null */
void record_str(record *r, const char *key, const char *v);
MUST status record_end(record *r);

typedef struct record_field { char key[96]; bool is_text, is_null; double number; char text[256]; } record_field;
#define RECORD_MAX_FIELDS 384 /* a step's own fields and a loss for each of JOB_MAX_TASKS; about 140 KiB: not for the stack */
typedef struct record_line { int n; record_field field[RECORD_MAX_FIELDS]; } record_line;
/* Calls `each` for every line. Our own flat objects only; a damaged last line is skipped. */
MUST status record_read(const char *path, status (*each)(void *arg, const record_line *line), void *arg);
const record_field *record_get(const record_line *line, const char *key);

/* ---- trainer ----------------------------------------------------------------------------------------------------------- */

typedef struct trainer trainer;

/* Collective. Checks, plans, places, loads the newest good checkpoint of the run folder unless fresh. */
MUST status trainer_open(trainer **out, comm *world, const job *j, bool fresh);
/* To the last step, a signal or the time limit (ST_STOPPED). *again: only so far; a checkpoint is there, and the caller closes the trainer and
 * opens it again, not fresh, so that units are placed by what they cost. */
MUST status trainer_run(trainer *t, bool *again);
void        trainer_close(trainer *t);

/* For use/: open a finished or running run folder with its weights ("best", "last" or a checkpoint file), no optimiser. */
MUST status trainer_open_run(trainer **out, comm *world, const char *run, const char *weights);
const job *trainer_job(const trainer *t);
int        trainer_n_tasks(const trainer *t);
const task *trainer_task(const trainer *t, int i);
int64_t    trainer_step(const trainer *t);              /* step of the weights */
/* Collective: metrics of task i on split s. The accumulator is complete on rank 0 (*m, metric_free it; NULL elsewhere). */
MUST status trainer_evaluate(trainer *t, int i, enum split s, metric **m);
/* The same with all that metric_want offers, and pictures of up to n_examples samples spread over the split. */
MUST status trainer_examine(trainer *t, int i, enum split s, int n_examples, metric **m);

/* ---- weights without a trainer and its data (src/train/weights.c) --------------------------------------------------------- */

typedef struct weights {
    swin    enc;
    params  pt;          /* the encoder as swin_init declares it; behind it, if asked for, decoders and heads with the file's names */
    float  *w;           /* (pt.n_local) */
    char    path[1300];  /* the file */
    int64_t step;        /* of the training; -1: the file does not say */
    bool    average;     /* it is the moving average */
    enum weight_naming naming; /* a safetensors file's */
    int     n_unused;    /* tensors of a safetensors file that are not the encoder's */
} weights;
typedef struct weights_ask {
    const char *which;   /* of a run: "best", "last" or a file; NULL: best */
    const char *encoder; /* NULL: the file's */
    bool        heads;   /* of a run or checkpoint: decoders and heads too */
    bool        raw;     /* the trained weights themselves even if there is their moving average */
} weights_ask;
/* from: a run folder, a checkpoint, or a safetensors file with the names of Medley, torchvision, timm, Microsoft or Hugging Face. Local.
 * ST_DATA: damaged, not finite, or it does not fit: the message names tensors that are missing or of another shape. */
MUST status weights_open(weights *out, const char *from, const weights_ask *ask);
/* Collective: rank 0 opens, the others are sent encoder and weights. Without ask->heads. */
MUST status weights_open_all(weights *out, comm *world, const char *from, const weights_ask *ask);
/* As at the start of a training with this seed. Local. */
MUST status weights_random(weights *out, const char *encoder, uint64_t seed);
void        weights_close(weights *o);

/* ---- a short training in memory (src/train/fit.c) --------------------------------------------------------------------------- */

typedef struct fit_ask {
    const job     *job;      /* one task; task, train.steps, train.prefetch, optim, seed and model.drop_path count, its run folder does not */
    const weights *from;     /* the encoder at the start, of job->model.encoder; decoder and head are random by the seed */
    bool           frozen;   /* and it stays so: decoder and head are trained */
    const int64_t *samples;  /* (n) of the training split, ascending */
    int64_t        n;
    enum split     split;    /* that is scored */
} fit_ask;
/* Local, with the threads that are set; the same bits wherever it runs. Writes nothing. */
MUST status trainer_fit(const fit_ask *ask, metric_result *out);

/* How a safetensors file and an encoder fit. */
typedef struct weights_fit {
    char encoder[32], prefix[64]; /* prefix: what the file has before the naming's own names */
    enum weight_naming naming;
    int  n_wanted, n_found, n_missing, n_shaped; /* weights; shaped: there, but of another shape */
    int  n_extra, n_unused, n_buffers; /* tensors of the file: more blocks than the encoder has; not the encoder's; nobody needs them */
} weights_fit;
/* The naming and, unless `encoder` says which, the encoder that fit best. */
MUST status weights_compare(weights_fit *out, const tensors *f, const char *encoder);
/* Lines "missing NAME SHAPE", "shape NAME SHAPE, wanted SHAPE", "extra NAME SHAPE", "unused NAME SHAPE"; at most `most` of each. */
MUST status weights_differences(FILE *out, const weights_fit *fit, const tensors *f, int most);

/* Where a job is to run. */
typedef struct cluster {
    int    ranks, nodes;
    int    cpus;                    /* of a node; 0: as many as this process may use */
    bool   timed;                   /* measure a step here, and say how long it takes there */
    const char *costs;              /* timed: the file that what was measured is kept in; NULL: none */
    double bytes_per_s, latency_s;  /* of a node's network */
    double jitter, slow_nodes, slow_by; /* as in sim_cluster (comm.h) */
} cluster;
static inline int cluster_per_node(const cluster *c) { return (c->ranks + c->nodes - 1) / c->nodes; }
/* What `medley check` prints: sizes and costs without training, for all those ranks on one process. */
MUST status trainer_forecast(const job *j, const cluster *on, FILE *out);

#endif
