/* config: job files and recipes. One table per subject is parser, check, help and printout. Only src/config includes libconfig.h. */
#ifndef MEDLEY_CONFIG_H
#define MEDLEY_CONFIG_H

#include "medley/core.h"

#define JOB_MAX_TASKS 256

typedef struct job_task {
    char   name[64], kind[20];        /* kind "" = take it from the data set */
    char   data[512], label[64];      /* data set folder (relative to data_root), label set */
    int    image[2];                  /* H, W; multiples of 32 */
    int    batch, units;              /* images per unit, units per step */
    char   micro_batch[16];           /* images run at a time: "whole", "auto" or a number (job_micro_batch) */
    double weight, dropout;
    double spacing;                   /* mm (um) per network pixel; 0 = fit the whole image */
    bool   balance_loss;              /* class weights 1/frequency in the loss */
    bool   balance_sampling;
    bool   center_sampling;
    int    max_boxes;
    double score_min, nms_iou;
    char   augment[16];               /* preset; "" = by modality of the data set */
    struct { double flip_x, flip_y, rot90, rotate_deg, scale_lo, scale_hi, crop_scale, shift, brightness, contrast, gamma, noise, blur,
             hue, saturation, window, invert; } aug; /* NaN = preset's value */
    int    line;                      /* in the job file, for messages */
} job_task;

typedef struct job {
    char   file[512], dir[512];       /* path as given, folder it lies in */
    char   run[512];                  /* run folder, absolute or relative to the working directory */
    char   data_root[512];            /* absolute after loading (relative paths in the file: to the job file's folder) */
    int64_t seed;
    struct { char encoder[32]; double drop_path; char init[512]; } model; /* drop_path < 0: preset's; init: "random" or a file, absolute after loading */
    struct {
        int64_t steps;
        char sum[8];                  /* "exact" | "float" */
        char precision[8];            /* "fp32" | "bf16": what linear layers multiply */
        char overlap[8];              /* "off" | "poll" | "thread": the sum over the nodes during backward */
        char moments[8];              /* "rank" | "node": who holds the moments of the shared blocks */
        char memory[24];              /* budget of a rank, "6GiB"; "" = none (job_memory) */
        int  threads;                 /* per rank; 0 = from the CPU mask / OMP_NUM_THREADS */
        int  prefetch;                /* loader ring depth */
        int64_t checkpoint_every; double checkpoint_minutes; int keep;
        int64_t validate_every, log_every;
        char save[16];                /* "background" | "foreground" */
        char on_save_error[16];       /* "stop" | "continue" */
        double grace_s;               /* kept free before the end of a Slurm job */
        double time_limit_minutes;    /* 0 = none: at the limit checkpoint and exit 75 */
        double watchdog_s;
        int  suspend_after;           /* failures in a row that suspend a task */
        int64_t rebalance_after;      /* steps after a start; 0: never */
        int64_t check_replicas_every; /* steps between checksums over the ranks; 0: never */
        double ema;                   /* 0 = off, else decay */
        bool allow_task_changes;      /* a resumed run may have other tasks than its checkpoint */
        bool allow_mixed_cpus;        /* ranks may compute with different kernels: no promise of bits */
        bool trace_samples;           /* RUN/samples/rank-N.csv: every sample that was trained on */
    } train;
    struct { double lr, min_lr, weight_decay, beta1, beta2, eps, clip; int64_t warmup; } optim;
    int      n_tasks;
    job_task task[JOB_MAX_TASKS];
} job;

/* Reads, overrides (set[i] = "key=value", keys as printed by job_print, tasks by tasks[NAME].key or tasks[2].key), checks. All faults are
 * listed in the message, one per line "file:line: key: what (did you mean ...?)". ST_USAGE. */
MUST status job_load(job *j, const char *path, const char *const *set, int n_set);
enum { JOB_DIR_BYTES = 1024 };
void    job_data_dir(const job *j, const char *data, char out[JOB_DIR_BYTES]); /* folder of the data set `data` of a task */
bool    job_starts_from_file(const job *j);     /* model.init is a file's path */
int64_t job_memory(const job *j);               /* train.memory in bytes; 0: no budget */
int     job_micro_batch(const job_task *t);     /* images run at a time; 0: as the budget asks, -1: not a choice (job_load refuses it) */
MUST status job_print(const job *j, FILE *out);   /* a job file that loads to the same job, comments say meaning and range */
MUST status job_explain(FILE *out);               /* every key: type, default, range, meaning */
/* As job_load, for looking at a finished run: does not ask whether the data folders are there. */
MUST status job_load_without_data(job *j, const char *path, const char *const *set, int n_set);
MUST status job_man(FILE *out);                   /* the same keys as part of a manual page */

/* ---- recipes (datasets/NAME.cfg) are read by tools through this generic view: same table idea ------------------------- */

enum key_type { KEY_BOOL, KEY_INT, KEY_FLOAT, KEY_TEXT, KEY_TEXT_LIST, KEY_FLOAT_LIST, KEY_GROUP_LIST, KEY_GROUP, KEY_INT_LIST,
                KEY_LINE /* no key of the file: an int that receives the line of the group */ };
/* A field is bool, int (size 8: int64_t), double (size 4: float) or char[size]. Offsets of a group's members count from the group's own
 * offset, those of a group list from its element. def: text without quotes; lists "[1, 2]" or "" = empty; "nan" = unset; group: NULL or
 * "" (an absent group is read as an empty one; "" asks for none of its required members). lo == hi: no range. config_load writes the
 * fields of the table and nothing else: zero the struct first. */
typedef struct key {
    const char *name;
    enum key_type type;
    size_t offset;            /* in the struct; lists: of the first element, count_offset: of an int */
    size_t size;              /* text: bytes of the buffer; list: most elements; group list: most elements */
    const char *def;          /* default as text; NULL = required */
    double lo, hi;            /* range of numbers */
    const char *choices;      /* "a|b|c" or NULL */
    const char *help;
    const struct key *sub;    /* group, group list: table of the members, ends with name == NULL */
    size_t sub_bytes;         /* group list: bytes per element */
    size_t count_offset;      /* lists: where the number of elements (int) goes */
    size_t item_bytes;        /* text list: bytes per string; number lists: as `size` of a number, 0 = int or double */
    size_t least;             /* lists: fewest elements; least == size: fixed length, count_offset is not used */
} key;
/* Reads `path` into `out` by `table`; the same fault list as job_load. `check` (or NULL) may add faults through config_fault. */
typedef struct config_faults config_faults;
/* key: "tasks[2].image". The key's own place in the file is named if it has one, else `line` (0: the group's). Dropped if the key has a
 * fault already. */
void config_fault(config_faults *f, int line, const char *key, const char *fmt, ...) PRINTF_LIKE(4, 5);
MUST status config_load(const char *path, const key *table, void *out, const char *const *set, int n_set,
                        void (*check)(void *out, config_faults *f));
MUST status config_print(const key *table, const void *in, FILE *out);
MUST status config_explain(const key *table, FILE *out);
MUST status config_man(const key *table, FILE *out); /* the same as .TP entries of a manual page */

#endif
