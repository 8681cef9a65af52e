/* history: what RUN/record.jsonl tells of a run, as series over steps. Shared by report.c and status.c. */
#ifndef USE_HISTORY_H
#define USE_HISTORY_H

#include "medley/train.h"

typedef struct series { int n, cap; double *x, *y; } series; /* y over x; x rises */

/* Parts of a step's time, as the record names them without "_s". "other" is what the verbs do not cover. */
enum { PART_LOAD, PART_FORWARD, PART_LOSS, PART_BACKWARD, PART_SUM, PART_CLIP, PART_UPDATE, PART_OTHER, N_PARTS };
extern const char *const part_name[N_PARTS];

typedef struct task_history {
    char    name[64], score_name[32];
    series  loss, score;
    double  best;               /* best validation score, NaN if none */
    int64_t best_step;
    bool    suspended;
    int64_t suspended_step, n_dropped, drop_step; /* units dropped; the last one: */
    char    drop_cause[16], drop_tensor[128], drop_sample[160];
    int     drop_unit, drop_rank;
} task_history;

/* A rank, or a node's ranks in the mean, at the last log line that told of them. */
typedef struct group_times {
    char    node[64], slowest_task[64];
    int64_t rank, ranks, slowest_rank; /* rank: -1 for a node */
    double  s[N_RANK_TIMES], slowest_s, over; /* a step */
} group_times;

/* Steps for which a rank was the slowest. */
typedef struct slow_rank { char node[64]; int64_t rank; double steps, s, mean_s, over, over_steps; } slow_rank;

typedef struct history {
    char    path[700];
    /* the last start */
    char    encoder[64], sum[16], blas[128], mpi[128], resumed_from[256], version[64];
    int64_t steps, ranks, threads, units, parameters;
    double  imbalance;          /* planned, max over mean; NaN if unknown */
    /* the whole run */
    int     n_starts, n_lines, n_dropped_events, n_tasks, cap_tasks;
    task_history *task;
    series  loss, lr, rate, grad_norm, memory, wait, mean_score; /* wait: of the most idle rank, percent of a step; mean_score: mean validation
                                                                    score of the tasks that have one */
    double  part_s[N_PARTS];    /* seconds, slowest rank, summed over the steps */
    double  wait_s, step_s;     /* the same: most idle rank's wait; whole steps */
    /* where the ranks' time went: the last line, least, mean and most of a step; the whole run, mean rank */
    double  rank_min[N_RANK_TIMES], rank_mean[N_RANK_TIMES], rank_max[N_RANK_TIMES]; /* NaN: not known */
    double  rank_s[N_RANK_TIMES], rank_all_s, pause_s[N_PAUSES], start_s; /* rank_all_s: of all those steps */
    double  longest_s;          /* of a unit of the task whose units take longest, at the last line */
    char    longest_task[64];
    int     n_groups, cap_groups, n_slow, cap_slow;
    group_times *group;         /* of step group_step */
    int64_t group_step;
    slow_rank *slow;            /* each rank that was the slowest at some line */
    group_times last_slow;      /* the slowest rank of the last line: node, slowest_* and over */
    double  images, seconds;    /* seconds: wall time of all sessions */
    int64_t step, dropped, dropped_before; /* last step; units dropped in all, and before the last start */
    double  last_step_s, last_wait_s, last_load_s;
    double  line_interval_s;    /* between the last two step lines */
    double  first_time, last_time, checkpoint_time; /* seconds since 1970; 0 = none */
    int64_t checkpoint_step;
    char    checkpoint[256], last_event[32], stop_text[256];
    bool    ended, stopped;
} history;

/* Reads RUN/record.jsonl. A run that is being written is fine. ST_DATA if there is no record or it is damaged. */
MUST status history_load(history *h, const char *run);
void history_free(history *h);
task_history *history_task(history *h, const char *name); /* NULL if unknown */

/* The task's last dropped unit in words: "step 7, unit 0 on rank 1: activation: encoder.features.3.1; sample 17". */
void history_drop_text(const task_history *t, char out[400]);

/* efficiency.c: where the time of the run went, in words: "units 84.2 %, waiting for other ranks 9.1 %, ...", "" if the record does not say;
 * and who was slowest, for the whole run or at the last line: "rank 17 on n05, ...". */
void efficiency_text(const history *h, char *out, size_t n);
void slowest_text(const history *h, bool last_line, char *out, size_t n);
/* The last line's times, least, mean and most of all ranks; and the ranks or nodes that take longest, at most `most` of them. */
void efficiency_tables(FILE *out, const history *h, int most);

#endif
