/* predict: `medley predict`: one task of a run on files that somebody has. Files are shared out over the ranks, each is worked on by one of
 * them, and rank 0 makes the tables: every output has the same bytes on any number of ranks. */
#include "predict.h"

#include "medley/command.h"

#include <stdlib.h>
#include <string.h>

typedef struct fault { int32_t file; char text[1020]; } fault;

typedef struct prediction {
    comm         *world;
    predict_ask   ask;
    predictor     p;
    predict_files files;
    int          *rank_of;  /* (files.n) */
    predict_rows  rows;     /* of this rank; on rank 0, in the end, of all */
    fault        *bad;      /* (n_bad) files that could not be used: the same */
    int           n_bad, room;
} prediction;

/* ---- sharing out -------------------------------------------------------------------------------------------------------------------- */

static status share(prediction *d)
{
    unit *u;
    int n = d->files.n;
    TRY(mem_alloc(&d->rank_of, sizeof *d->rank_of * (size_t)n, "files of the ranks"), "predict");
    TRY(mem_alloc(&u, sizeof *u * (size_t)n, "files of the ranks"), "predict");
    for (int i = 0; i < n; i++) u[i] = (unit){.task = i, .cost = d->files.file[i].cost + 1e5}; /* opening one costs too */
    double balance = place_units(u, n, comm_size(d->world), d->rank_of);
    free(u);
    return balance < 0 ? ST_RESOURCE : OK;
}

static status note_fault(prediction *d, int file)
{
    if (d->n_bad == d->room) {
        int room = 2 * d->room + 8;
        TRY(mem_grow(&d->bad, sizeof *d->bad * (size_t)room, "messages"), "predict");
        d->room = room;
    }
    fault *f = &d->bad[d->n_bad++];
    memset(f, 0, sizeof *f); /* it is sent as bytes */
    f->file = file;
    text_shown(status_message(), f->text, sizeof f->text);
    status_clear();
    return OK;
}

/* Local: this rank's files. One that cannot be used is noted, the others go on. */
static status work(prediction *d)
{
    for (int i = 0; i < d->files.n; i++) {
        if (d->rank_of[i] != comm_rank(d->world)) continue;
        status st = predict_case(&d->p, &d->ask, &d->files.file[i], i, &d->rows);
        if (st == ST_DATA) st = note_fault(d, i);
        else if (!st) log_line(LOG_INFO, "%s: done", d->files.file[i].path);
        if (st) return st;
    }
    return OK;
}

/* ---- gathering ---------------------------------------------------------------------------------------------------------------------- */

/* Rank 0 gets every rank's bytes in place of its own. Collective. */
static status gather(prediction *d, void *mine, size_t n, char **all, size_t *n_all)
{
    size_t *sizes = NULL;
    void *got = NULL;
    TRY(comm_agree(d->world, mem_alloc(&sizes, sizeof *sizes * (size_t)comm_size(d->world), "sizes")), "predict");
    status st = comm_gather(d->world, mine, n, 0, &got, sizes);
    *n_all = 0;
    for (int r = 0; !st && comm_rank(d->world) == 0 && r < comm_size(d->world); r++) *n_all += sizes[r];
    free(sizes);
    *all = got;
    return st;
}

static int by_file(const void *a, const void *b) { return ((const fault *)a)->file - ((const fault *)b)->file; }

static status gather_all(prediction *d)
{
    char *rows, *bad;
    size_t n_rows, n_bad;
    TRY(gather(d, d->rows.bytes, d->rows.n, &rows, &n_rows), "results");
    free(d->rows.bytes);
    d->rows = (predict_rows){rows, n_rows, n_rows};
    TRY(gather(d, d->bad, sizeof *d->bad * (size_t)d->n_bad, &bad, &n_bad), "messages");
    free(d->bad);
    d->bad = (fault *)(void *)bad, d->n_bad = (int)(n_bad / sizeof *d->bad), d->room = d->n_bad;
    if (d->n_bad > 1) qsort(d->bad, (size_t)d->n_bad, sizeof *d->bad, by_file);
    return OK;
}

/* Rank 0. */
static status finish(prediction *d, double began)
{
    int n = d->files.n, n_good = n - d->n_bad;
    const predict_plan *plan = &d->p.plan;
    for (int i = 0; i < d->n_bad; i++) log_line(LOG_WARN, "%s", d->bad[i].text);
    if (n_good > 0) TRY(predict_tables(&d->p, &d->ask, &d->files, &d->rows), "predict");
    printf("%s: %d file%s by task %s (%s, %s of step %lld), %.1f s\n", d->ask.out, n_good, n_good == 1 ? "" : "s", plan->spec.name,
           task_kind_name[plan->spec.kind], plan->weights, (long long)plan->step, timer_now() - began);
    CHECK(d->n_bad == 0, ST_DATA, "%d of %d file%s could not be used%s%s", d->n_bad, n, n == 1 ? "" : "s", n == 1 ? ": " : "; the first: ", d->bad[0].text);
    return OK;
}

/* ---- the command -------------------------------------------------------------------------------------------------------------------- */

static status predict(prediction *d)
{
    double began = timer_now();
    bool speaks = comm_rank(d->world) == 0;
    status st = OK;
    TRY(use_compute(d->world), "predict");
    TRY(predictor_open(&d->p, d->world, &d->ask), "predict");
    TRY(predict_files_open(&d->files, d->world, &d->ask), "predict");
    if (speaks) st = predict_may_write(&d->files, &d->ask, &d->p.plan.spec);
    if (speaks && !st) st = path_make_dirs(d->ask.out);
    if (!st) st = share(d);
    TRY(comm_agree(d->world, st), "predict");
    TRY(comm_agree(d->world, work(d)), "predict");
    TRY(gather_all(d), "predict");
    return comm_agree(d->world, speaks ? finish(d, began) : OK);
}

status cmd_predict(int argc, char **argv)
{
    prediction d = {.ask.overlap = 50};
    predict_ask *a = &d.ask;
    const char *args[PREDICT_MOST_FILES + 1];
    int n_args = 0;
    const command_option options[] = {
        {.name = "--task", .arg = "TASK", .text = &a->task, .help = "task of the run; may be left out if there is one only"},
        {.name = "--out", .arg = "DIR", .text = &a->out, .help = "folder for the results; made if need be"},
        {.name = "--list", .arg = "FILE", .text = &a->list, .help = "a text file with more files, a path a line"},
        {.name = "--tta", .flag = &a->tta, .help = "the mean over mirror images too, as far as the task was trained with them (aug.flip_x, aug.flip_y)"},
        {.name = "--overlay", .flag = &a->overlay,
         .help = "masks and boxes: NAME-overlay.png, the result drawn on the image; of a volume the plane with most of it (boxes: the best one)"},
        {.name = "--probabilities", .flag = &a->probabilities,
         .help = "masks: the probability of each class too, NAME-probabilities.nii.gz (x, y, z, class) or .npy (y, x, class), float32"},
        {.name = "--score", .arg = "S", .text = &a->score, .help = "boxes: least score, 0 to 1 (default: the task's score_min)"},
        {.name = "--overlap", .arg = "PERCENT", .number = &a->overlap, .lo = 0, .hi = 90,
         .help = "masks and boxes: overlap of the windows that cover an image larger than the network's field (default 50)"},
        {.name = "--scale", .arg = "S", .text = &a->scale,
         .help = "pixels of the image in a network pixel, instead of the task's spacing: for images that do not say theirs, or tasks trained on crops"},
        {.name = "--spacing", .arg = "S", .text = &a->spacing,
         .help = "size of a network pixel in the data's units; 0: the whole image is fitted (default: the task's)"},
        {.name = "--range", .arg = "RULE", .text = &a->range,
         .help = "intensities that become 0 and 1: dtype, window:LO:HI or percentile:LO:HI (default: as the task's data set was converted)"},
        {.name = "--weights", .arg = "WHICH", .text = &a->weights.which,
         .help = "best (by validation, default), last (newest checkpoint) or a checkpoint file"},
        {.name = "--raw", .flag = &a->weights.raw, .help = "the trained weights themselves, not their moving average (train.ema)"},
        {.name = "--data", .arg = "DIR", .text = &a->data,
         .help = "folder of the task's data set, if it is elsewhere than the run says; only its index.h5 is needed"},
        {.name = "--force", .flag = &a->force, .help = "replace what is in DIR"},
        {0},
    };
    const command_line c = {
        "medley predict RUN --task TASK FILE... --out DIR [--tta] [--overlay] [--list FILE]",
        "What a task of a run finds in new images: PNG, JPEG, BMP, TIFF, NIfTI, DICOM files, folders with a DICOM series or with images. They are "
        "read as the task's data set was (range, channels, plane of volumes) and seen as in evaluation. On any number of ranks, with the same "
        "bytes.\n"
        "Segmentation: NAME.nii.gz on the grid of a volume, NAME.png (numbers of classes with a colour table) of an image, and TASK.csv with "
        "sizes. Detection: TASK.json in COCO's form. Classes, labels, values: TASK.csv, of volumes the mean over their planes, with "
        "TASK-slices.csv. A file that cannot be used is named, the others go on, and the exit status is 3.",
        options, 1, PREDICT_MOST_FILES + 1};
    if (command_help(&c, argc, argv)) return OK;
    TRY(use_open(argc, argv, &d.world), "predict");
    status st = command_parse(&c, argc, argv, args, &n_args);
    if (!st && !a->out) st = command_missing(&c, "--out DIR");
    if (!st && n_args < 2 && !a->list) st = command_missing(&c, "FILE");
    st = comm_agree(d.world, st);
    if (!st) {
        a->run = args[0], a->word = args + 1, a->n_words = n_args - 1;
        st = predict(&d);
    }
    predictor_close(&d.p);
    predict_files_close(&d.files);
    free(d.rank_of), free(d.rows.bytes), free(d.bad);
    return use_close(d.world, st);
}
