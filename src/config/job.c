/* job: the table of job files, and what no table can say: names, paths, data folders, values that must fit each other. */
#include "config_internal.h"

#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- the table ------------------------------------------------------------------------------------------------------------- */

#define AT(field) offsetof(job, field), sizeof(((job *)0)->field)
#define IN(field) offsetof(job_task, field), sizeof(((job_task *)0)->field)
#define TEXT(name, place, def, choices, help) {name, KEY_TEXT, place, def, 0, 0, choices, help, NULL, 0, 0, 0, 0}
#define INT(name, place, def, lo, hi, help) {name, KEY_INT, place, def, lo, hi, NULL, help, NULL, 0, 0, 0, 0}
#define FLOAT(name, place, def, lo, hi, help) {name, KEY_FLOAT, place, def, lo, hi, NULL, help, NULL, 0, 0, 0, 0}
#define BOOL(name, place, def, help) {name, KEY_BOOL, place, def, 0, 0, NULL, help, NULL, 0, 0, 0, 0}
#define GROUP(name, table, help) {name, KEY_GROUP, 0, 0, NULL, 0, 0, NULL, help, table, 0, 0, 0, 0}
#define END {NULL, KEY_LINE, 0, 0, NULL, 0, 0, NULL, NULL, NULL, 0, 0, 0, 0}

static const key aug_keys[] = {
    FLOAT("flip_x", IN(aug.flip_x), "nan", 0, 1, "probability of a left-right flip"),
    FLOAT("flip_y", IN(aug.flip_y), "nan", 0, 1, "probability of an up-down flip"),
    FLOAT("rot90", IN(aug.rot90), "nan", 0, 1, "probability of a random multiple of 90 degrees"),
    FLOAT("rotate_deg", IN(aug.rotate_deg), "nan", 0, 180, "largest rotation in degrees"),
    FLOAT("scale_lo", IN(aug.scale_lo), "nan", 0.1, 10, "smallest zoom about the fitted size"),
    FLOAT("scale_hi", IN(aug.scale_hi), "nan", 0.1, 10, "largest zoom about the fitted size"),
    FLOAT("crop_scale", IN(aug.crop_scale), "nan", 0.1, 64, "zoom of crops of large images; 1 fits the whole image"),
    FLOAT("shift", IN(aug.shift), "nan", 0, 1, "largest shift, fraction of the input size"),
    FLOAT("brightness", IN(aug.brightness), "nan", 0, 1, "largest change of brightness"),
    FLOAT("contrast", IN(aug.contrast), "nan", 0, 1, "largest change of contrast"),
    FLOAT("gamma", IN(aug.gamma), "nan", 0, 1, "largest change of gamma"),
    FLOAT("noise", IN(aug.noise), "nan", 0, 1, "largest standard deviation of Gaussian noise"),
    FLOAT("blur", IN(aug.blur), "nan", 0, 16, "largest standard deviation of blur in pixels"),
    FLOAT("hue", IN(aug.hue), "nan", 0, 0.5, "largest change of hue, in turns; colour images only"),
    FLOAT("saturation", IN(aug.saturation), "nan", 0, 1, "largest change of saturation; colour images only"),
    FLOAT("window", IN(aug.window), "nan", 0, 1, "jitter of the intensity window's ends, fraction of its width"),
    FLOAT("invert", IN(aug.invert), "nan", 0, 1, "probability of inverted intensities"),
    END,
};

static const key task_keys[] = {
    {"", KEY_LINE, offsetof(job_task, line), sizeof(int), NULL, 0, 0, NULL, NULL, NULL, 0, 0, 0, 0},
    TEXT("name", IN(name), NULL, NULL, "name of the task: letters, digits, dot, dash and underscore; unique"),
    TEXT("data", IN(data), NULL, NULL, "data set folder, relative to data_root unless absolute"),
    TEXT("label", IN(label), "", NULL, "label set of the data set; empty: the only one"),
    TEXT("kind", IN(kind), "", "classification|multilabel|regression|segmentation|detection", "kind of task; empty: the label set's"),
    {"image", KEY_INT_LIST, offsetof(job_task, image), 2, NULL, 32, 4096, NULL, "height and width the network sees, multiples of 32",
     NULL, 0, 0, sizeof(int), 2},
    INT("batch", IN(batch), "8", 1, 4096, "images per unit, whose mean the loss is"),
    TEXT("micro_batch", IN(micro_batch), "whole", NULL,
         "images of a unit that are run at a time: \"whole\", a number in quotes that divides batch, or \"auto\": as train.memory asks. "
         "The unit's loss and gradient stay the mean over the batch; fewer at a time round differently"),
    INT("units", IN(units), "1", 1, 65536, "units of this task in every step"),
    FLOAT("weight", IN(weight), "1", 0, 1000, "weight of the loss in the sum over tasks"),
    FLOAT("spacing", IN(spacing), "0", 0, 1000,
          "size of a network pixel in the data set's units (mm, um), so that size is seen; 0: fit the whole image"),
    FLOAT("dropout", IN(dropout), "0.1", 0, 0.95, "dropout before the linear layer of image-level heads"),
    BOOL("balance_loss", IN(balance_loss), "false", "weigh classes by 1/frequency in the loss (classification)"),
    BOOL("balance_sampling", IN(balance_sampling), "false", "draw classes equally often in training (classification)"),
    BOOL("center_sampling", IN(center_sampling), "false", "detection: only locations near a box centre are positive"),
    INT("max_boxes", IN(max_boxes), "100", 1, 4096, "detection: most boxes per image"),
    FLOAT("score_min", IN(score_min), "0.05", 0, 1, "detection: lowest score that is reported"),
    FLOAT("nms_iou", IN(nms_iou), "0.5", 0, 1, "detection: overlap above which the weaker box is dropped"),
    TEXT("augment", IN(augment), "", "none|weak|ct|mr|xray|histology|microscopy",
         "augmentation preset; empty: by modality of the data set"),
    GROUP("aug", aug_keys, "single strengths that differ from the preset; 0 switches a part off"),
    END,
};

static const key model_keys[] = {
    TEXT("encoder", AT(model.encoder), NULL, "swin_t|swin_s|swin_b|swin_micro|swin_nano|swin_v2_t|swin_v2_s|swin_v2_b|swin_v2_micro|swin_v2_nano",
         "shared encoder"),
    FLOAT("drop_path", AT(model.drop_path), "-1", -1, 0.9, "largest rate of stochastic depth; negative: the encoder's own"),
    TEXT("init", AT(model.init), "random", NULL,
         "initial weights: random, or of the encoder in a file: safetensors with the names of torchvision, timm, Microsoft, Hugging Face or Medley "
         "(medley import looks at one), or a checkpoint (.h5); relative to this file. Decoders and heads are random"),
    END,
};

static const key train_keys[] = {
    INT("steps", AT(train.steps), NULL, 1, 1e9, "length of the training in steps"),
    TEXT("sum", AT(train.sum), "exact", "exact|float", "sum of gradients over ranks; exact: same bits on any number of ranks"),
    TEXT("precision", AT(train.precision), "fp32", "fp32|bf16",
         "bf16: linear layers of a step round what they multiply to bf16; sums, norms, weights, moments and validation stay fp32; same bits on any "
         "number of ranks; refused where it would be slower, as on every CPU without AVX512-BF16 or AMX"),
    TEXT("overlap", AT(train.overlap), "off", "off|poll|thread",
         "the exact sum over several nodes begins while the last unit is still in backward: poll: it goes on between layers, which does for networks "
         "that move data by themselves; thread: a thread moves it, worth a core that is free; same bits"),
    TEXT("moments", AT(train.moments), "rank", "rank|node",
         "who holds the optimiser's moments and the moving average of the shared blocks: every rank, or every node once, of which each rank updates a "
         "share: 8 bytes a weight less on each further rank of a node; same bits; check_replicas_every then compares shares between nodes only"),
    TEXT("memory", AT(train.memory), "", NULL,
         "memory budget of a rank such as \"6GiB\" or \"800MiB\"; what does not fit is made to, by recomputing stages of the encoder in "
         "backward (slower, same bits) and by micro_batch where it is \"auto\"; empty: none"),
    INT("threads", AT(train.threads), "0", 0, 1024, "threads per rank; 0: OMP_NUM_THREADS or the CPU mask"),
    INT("prefetch", AT(train.prefetch), "4", 1, 256, "batches the loader prepares ahead"),
    INT("checkpoint_every", AT(train.checkpoint_every), "500", 0, 1e9,
        "steps between checkpoints; 0: not by steps; one is always made at the end"),
    FLOAT("checkpoint_minutes", AT(train.checkpoint_minutes), "10", 0, 1e6, "minutes between checkpoints; 0: not by time"),
    INT("keep", AT(train.keep), "3", 1, 1000, "checkpoints that are kept"),
    TEXT("save", AT(train.save), "background", "background|foreground", "whether training goes on while a checkpoint is written"),
    TEXT("on_save_error", AT(train.on_save_error), "stop", "stop|continue",
         "what a failed checkpoint does: end the run (exit 4), or warn and go on; the last one of a run must succeed"),
    INT("validate_every", AT(train.validate_every), "500", 0, 1e9, "steps between validations; 0: at the end only"),
    INT("log_every", AT(train.log_every), "10", 0, 1e9, "steps between log lines; 0: at the end only"),
    FLOAT("time_limit_minutes", AT(train.time_limit_minutes), "0", 0, 1e6,
          "after these minutes checkpoint and exit with 75; 0: no limit"),
    FLOAT("grace_s", AT(train.grace_s), "60", 0, 1e6,
          "seconds kept free before the end of a Slurm job (SLURM_JOB_END_TIME); the longest step and save are added"),
    FLOAT("watchdog_s", AT(train.watchdog_s), "300", 0, 1e6, "seconds without progress that end the run; 0: off"),
    INT("suspend_after", AT(train.suspend_after), "5", 0, 1e6, "dropped units in a row that suspend a task; 0: never"),
    BOOL("allow_task_changes", AT(train.allow_task_changes), "false",
         "on resume, tasks may be added (fresh heads) or removed (their state is dropped)"),
    BOOL("allow_mixed_cpus", AT(train.allow_mixed_cpus), "false",
         "ranks may compute with different kernels (OpenBLAS core type, CPU): trains, but gives up the promise of same bits"),
    BOOL("trace_samples", AT(train.trace_samples), "false", "write the ids of all samples trained on to RUN/samples/rank-N.csv"),
    INT("rebalance_after", AT(train.rebalance_after), "50", 0, 1e9,
        "steps after a start at which units are placed anew, from a checkpoint, if what they were seen to cost allows a better balance; 0: never"),
    INT("check_replicas_every", AT(train.check_replicas_every), "100", 0, 1e9,
        "steps between comparisons of weights and moments over the ranks; also before every validation and checkpoint; 0: never"),
    FLOAT("ema", AT(train.ema), "0", 0, 0.999999, "decay of the moving average of weights used for evaluation; 0: off"),
    END,
};

static const key optim_keys[] = {
    FLOAT("lr", AT(optim.lr), "5e-4", 1e-12, 100, "peak learning rate"),
    FLOAT("min_lr", AT(optim.min_lr), "1e-6", 0, 100, "learning rate at the end of the cosine"),
    INT("warmup", AT(optim.warmup), "100", 0, 1e9, "steps of linear warm-up"),
    FLOAT("weight_decay", AT(optim.weight_decay), "0.05", 0, 10, "AdamW weight decay (not on norms, biases, position tables)"),
    FLOAT("beta1", AT(optim.beta1), "0.9", 0, 0.999999, "decay of the first moment"),
    FLOAT("beta2", AT(optim.beta2), "0.999", 0, 0.9999999, "decay of the second moment"),
    FLOAT("eps", AT(optim.eps), "1e-8", 1e-16, 1, "added to the root of the second moment"),
    FLOAT("clip", AT(optim.clip), "5", 0, 1e6, "largest global gradient norm; 0: off"),
    END,
};

static const key job_keys[] = {
    TEXT("run", AT(run), NULL, NULL, "run folder, relative to the working directory"),
    TEXT("data_root", AT(data_root), "", NULL, "where data set folders lie, relative to this file; empty: this file's folder"),
    INT("seed", AT(seed), "1", 0, 9e18, "seed of everything random"),
    GROUP("model", model_keys, "the shared encoder"),
    GROUP("train", train_keys, "length, checkpoints, log"),
    GROUP("optim", optim_keys, "AdamW and its schedule"),
    {"tasks", KEY_GROUP_LIST, offsetof(job, task), JOB_MAX_TASKS, NULL, 0, 0, NULL, "what is learnt together", task_keys,
     sizeof(job_task), offsetof(job, n_tasks), 0, 1},
    END,
};

/* ---- what must fit together --------------------------------------------------------------------------------------------------- */

static bool safe_name(const char *s)
{
    if (!isalnum((unsigned char)s[0])) return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("._-", *s)) return false;
    return true;
}

/* The data set folder in `root` whose name is nearest to `name`; "" if none is near. */
static void nearest_data(const char *root, const char *name, char out[256])
{
    char (*list)[256] = NULL, path[1400];
    const char *names[256];
    int n = 0;
    out[0] = 0;
    DIR *d = opendir(root);
    if (!d) return;
    bool listed = mem_alloc(&list, 256 * sizeof *list, "folder names") == OK; /* without it there is no hint, no more */
    for (struct dirent *e; listed && n < 256 && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s/index.h5", root, e->d_name);
        if (e->d_name[0] == '.' || !path_exists(path)) continue;
        snprintf(list[n], sizeof *list, "%s", e->d_name);
        names[n] = list[n];
        n++;
    }
    closedir(d);
    const char *near = text_nearest(name, names, n);
    if (near) snprintf(out, 256, "%s", near);
    free(list);
}

/* Is there a data set folder? */
_Static_assert(sizeof((job *)0)->data_root + sizeof((job_task *)0)->data <= JOB_DIR_BYTES, "a root, a slash and a folder fit");
void job_data_dir(const job *j, const char *data, char out[JOB_DIR_BYTES])
{
    if (data[0] == '/') snprintf(out, JOB_DIR_BYTES, "%s", data);
    else snprintf(out, JOB_DIR_BYTES, "%s/%s", j->data_root, data);
}

static void check_data(const job *j, const job_task *t, const char *where, config_faults *f)
{
    char dir[JOB_DIR_BYTES + 16], near[256] = "";
    job_data_dir(j, t->data, dir);
    size_t n = strlen(dir);
    snprintf(dir + n, sizeof dir - n, "/index.h5");
    if (path_exists(dir)) return;
    if (t->data[0] != '/') nearest_data(j->data_root, t->data, near);
    if (near[0]) config_fault(f, t->line, where, "no data set there: %s is missing (did you mean \"%s\"?)", dir, near);
    else config_fault(f, t->line, where, "no data set there: %s is missing (medley-data convert makes one)", dir);
}

/* "1.5GiB", "800 MiB", "65536KiB": bytes; -1 if it is no size. */
static int64_t bytes_of(const char *text)
{
    static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB"};
    char *end;
    if (!isdigit((unsigned char)text[0])) return -1;
    double v = strtod(text, &end);
    while (*end == ' ') end++;
    for (int i = 0; i < 4; i++)
        if (strcmp(end, unit[i]) == 0) {
            v *= (double)(1LL << 10 * (i + 1));
            return v >= 1 && v < 0x1p60 ? (int64_t)v : -1;
        }
    return -1;
}

bool job_starts_from_file(const job *j) { return strcmp(j->model.init, "random") != 0; }

int64_t job_memory(const job *j) { return j->train.memory[0] ? bytes_of(j->train.memory) : 0; }

int job_micro_batch(const job_task *t)
{
    char *end;
    if (strcmp(t->micro_batch, "whole") == 0 || !t->micro_batch[0]) return t->batch;
    if (strcmp(t->micro_batch, "auto") == 0) return 0;
    long n = strtol(t->micro_batch, &end, 10);
    return isdigit((unsigned char)t->micro_batch[0]) && !*end && n > 0 && n <= t->batch && t->batch % n == 0 ? (int)n : -1;
}

static void check_memory(const job *j, config_faults *f)
{
    char where[PATH_BYTES], shown[80];
    if (job_memory(j) < 0)
        config_fault(f, 0, "train.memory", "got \"%s\", expected a number with KiB, MiB or GiB behind it, such as \"6GiB\"",
                     text_shown(j->train.memory, shown, sizeof shown));
    for (int i = 0; i < j->n_tasks; i++) {
        const job_task *t = &j->task[i];
        int n = job_micro_batch(t);
        snprintf(where, sizeof where, "tasks[%d].micro_batch", i);
        if (n < 0)
            config_fault(f, t->line, where, "got \"%s\", expected \"whole\", \"auto\" or a divisor of batch (%d) in quotes",
                         text_shown(t->micro_batch, shown, sizeof shown), t->batch);
        if (n == 0 && !j->train.memory[0]) config_fault(f, t->line, where, "is \"auto\", but train.memory gives no budget to fit");
    }
}

static void check_aug(const job_task *t, int i, config_faults *f)
{
    char where[PATH_BYTES];
    snprintf(where, sizeof where, "tasks[%d].aug.scale_lo", i);
    if (t->aug.scale_lo > t->aug.scale_hi) /* false if one is unset */
        config_fault(f, t->line, where, "got %g, more than scale_hi (%g)", t->aug.scale_lo, t->aug.scale_hi);
}

static void check_task(const job *j, int i, bool look_for_data, config_faults *f)
{
    const job_task *t = &j->task[i];
    char where[PATH_BYTES], shown[80];
    snprintf(where, sizeof where, "tasks[%d].name", i);
    if (!safe_name(t->name))
        config_fault(f, t->line, where,
                     "got \"%s\", expected a name that can be a file name: letters, digits, \"._-\", a letter or digit first",
                     text_shown(t->name, shown, sizeof shown));
    for (int k = 0; k < i; k++)
        if (t->name[0] && strcasecmp(t->name, j->task[k].name) == 0) {
            config_fault(f, t->line, where, "got \"%s\", which is already the name of tasks[%d] (line %d)", t->name, k,
                         j->task[k].line);
            break;
        }
    for (int d = 0; d < 2; d++) {
        snprintf(where, sizeof where, "tasks[%d].image[%d]", i, d);
        int up = (t->image[d] + 31) / 32 * 32;
        if (t->image[d] % 32) config_fault(f, t->line, where, "got %d, expected a multiple of 32 such as %d", t->image[d], up);
    }
    check_aug(t, i, f);
    snprintf(where, sizeof where, "tasks[%d].data", i);
    if (!t->data[0]) config_fault(f, t->line, where, "is empty, expected a data set folder");
    else if (look_for_data) check_data(j, t, where, f);
}

/* base/path as an absolute path without "." steps at its front. */
static bool make_absolute(const char *base, const char *path, char *out, size_t n)
{
    char cwd[1024] = "";
    while (path[0] == '.' && path[1] == '/') path += 2;
    if (strcmp(path, ".") == 0) path = "";
    if (path[0] != '/' && base[0] != '/' && !getcwd(cwd, sizeof cwd)) return false;
    if (strcmp(base, ".") == 0) base = "";
    int used = 0;
    out[0] = 0;
    const char *parts[3] = {cwd, path[0] == '/' ? "" : base, path};
    for (int i = 0; i < 3; i++) {
        if (!parts[i][0]) continue;
        used += snprintf(out + used, n - (size_t)used, "%s%s", used && out[used - 1] != '/' ? "/" : "", parts[i]);
        if ((size_t)used >= n) return false;
    }
    while (used > 1 && out[used - 1] == '/') out[--used] = 0;
    return true;
}

/* A path of the file becomes absolute: relative to the file, or, given on the command line, to where that was typed. */
static void resolve(const job *j, const char *name, char path[512], config_faults *f)
{
    char full[512];
    config_setting_t *deepest, *s = set_find(f, name, &deepest);
    if (!make_absolute(s && set_is_from(s) ? "." : j->dir, path, full, sizeof full)) config_fault(f, 0, name, "path too long");
    else memcpy(path, full, sizeof full);
}

static void check_job(job *j, bool look_for_data, config_faults *f)
{
    resolve(j, "data_root", j->data_root, f);
    if (!j->model.init[0]) config_fault(f, 0, "model.init", "is empty, expected \"random\" or a file");
    else if (job_starts_from_file(j)) resolve(j, "model.init", j->model.init, f);
    if (!j->run[0]) config_fault(f, 0, "run", "is empty, expected a folder");
    if (j->optim.min_lr > j->optim.lr)
        config_fault(f, 0, "optim.min_lr", "got %g, more than optim.lr (%g)", j->optim.min_lr, j->optim.lr);
    for (int i = 0; i < j->n_tasks; i++) check_task(j, i, look_for_data, f);
    check_memory(j, f);
    bool learns = j->n_tasks == 0;
    for (int i = 0; i < j->n_tasks; i++) learns |= j->task[i].weight > 0;
    if (!learns) config_fault(f, 0, "tasks", "every task has weight 0: nothing would be learnt");
}

static void check_with_data(void *out, config_faults *f) { check_job(out, true, f); }
static void check_without_data(void *out, config_faults *f) { check_job(out, false, f); }

static status load(job *j, const char *path, const char *const *set, int n_set, void (*check)(void *, config_faults *))
{
    memset(j, 0, sizeof *j);
    CHECK(strlen(path) < sizeof j->file, ST_USAGE, "path too long: %.100s...", path);
    strcpy(j->file, path);
    const char *slash = strrchr(path, '/');
    snprintf(j->dir, sizeof j->dir, "%.*s", slash == path ? 1 : (int)(slash ? slash - path : 1), slash ? path : ".");
    return config_load(path, job_keys, j, set, n_set, check);
}

status job_load(job *j, const char *path, const char *const *set, int n_set) { return load(j, path, set, n_set, check_with_data); }

status job_load_without_data(job *j, const char *path, const char *const *set, int n_set)
{
    return load(j, path, set, n_set, check_without_data);
}

status job_print(const job *j, FILE *out)
{
    char shown[sizeof j->file];
    fprintf(out, "# Medley job file, all settings, from %s\n", text_shown(j->file, shown, sizeof shown));
    return config_print(job_keys, j, out);
}

status job_explain(FILE *out) { return config_explain(job_keys, out); }
status job_man(FILE *out) { return config_man(job_keys, out); }
