/* predict: `medley predict`: one task of a run on files that somebody has. Files are shared out over the ranks, each is worked on by one of
 * them, and rank 0 makes the tables: every output has the same bytes on any number of ranks. */
#include "predict.h"

#include "medley/command.h"

#include <stdlib.h>
#include <string.h>

typedef struct prediction {
    comm         *world;
    predict_ask   ask;
    predictor     p;
    source_files  files;
    predict_rows  rows;     /* of this rank; on rank 0, in the end, of all */
    source_faults bad;      /* the same */
} prediction;

/* Local: this rank's files. One that cannot be used is noted, the others go on. */
static status work(prediction *d)
{
    for (int i = 0; i < d->files.n; i++) {
        if (d->files.rank_of[i] != comm_rank(d->world)) continue;
        status st = predict_case(&d->p, &d->ask, &d->files.file[i], i, &d->rows);
        if (st == ST_DATA) st = source_faults_note(&d->bad, i);
        else if (!st) log_line(LOG_INFO, "%s: done", d->files.file[i].path);
        if (st) return st;
    }
    return OK;
}

/* Rank 0 gets all. Collective. */
static status gather(prediction *d)
{
    char *rows;
    size_t n;
    TRY(sources_gather(d->world, d->rows.bytes, d->rows.n, &rows, &n), "results");
    free(d->rows.bytes);
    d->rows = (predict_rows){rows, n, n};
    return source_faults_gather(&d->bad, d->world);
}

/* Rank 0. */
static status finish(prediction *d, double began)
{
    int n_good = d->files.n - d->bad.n;
    const predict_plan *plan = &d->p.plan;
    if (n_good > 0) TRY(predict_tables(&d->p, &d->ask, &d->files, &d->rows), "predict");
    printf("%s: %d file%s by task %s (%s, %s of step %lld), %.1f s\n", d->ask.out, n_good, n_good == 1 ? "" : "s", plan->spec.name,
           task_kind_name[plan->spec.kind], plan->weights, (long long)plan->step, timer_now() - began);
    return source_faults_say(&d->bad, d->files.n);
}

/* ---- the command -------------------------------------------------------------------------------------------------------------------- */

static status predict(prediction *d)
{
    double began = timer_now();
    bool speaks = comm_rank(d->world) == 0;
    status st = OK;
    TRY(use_compute(d->world), "predict");
    TRY(predictor_open(&d->p, d->world, &d->ask), "predict");
    TRY(sources_open(&d->files, d->world, d->ask.word, d->ask.n_words, d->ask.list), "predict");
    if (speaks) st = predict_may_write(&d->files, &d->ask, &d->p.plan);
    if (speaks && !st) st = path_make_dirs(d->ask.out);
    TRY(comm_agree(d->world, st), "predict");
    TRY(comm_agree(d->world, work(d)), "predict");
    TRY(gather(d), "predict");
    return comm_agree(d->world, speaks ? finish(d, began) : OK);
}

status cmd_predict(int argc, char **argv)
{
    prediction d = {.ask.overlap = 50};
    predict_ask *a = &d.ask;
    const char *args[SOURCES_MOST_WORDS + 1];
    int n_args = 0;
    const command_option options[] = {
        {.name = "--task", .arg = "TASK", .text = &a->task, .help = "task of the run; may be left out if there is one only"},
        {.name = "--out", .arg = "DIR", .text = &a->out, .help = "folder for the results; made if need be"},
        {.name = "--list", .arg = "FILE", .text = &a->list, .help = "a text file with more files, a path a line"},
        {.name = "--tta", .flag = &a->tta, .help = "the mean over mirror images too, as far as the task was trained with them (aug.flip_x, aug.flip_y)"},
        {.name = "--overlay", .flag = &a->overlay,
         .help = "masks and boxes: NAME-overlay.png, the result drawn on the image; of a volume the plane with most of it (boxes: the best one)"},
        {.name = "--geojson", .flag = &a->outlines,
         .help = "masks and boxes of images (of slides always): NAME.geojson, an annotation for each connected region, or box, in pixels of the image, as QuPath reads them"},
        {.name = "--probabilities", .flag = &a->probabilities,
         .help = "masks: the probability of each class too, NAME-probabilities.nii.gz (x, y, z, class) or .npy (y, x, class), float32"},
        {.name = "--score", .arg = "S", .text = &a->score, .help = "boxes: least score, 0 to 1 (default: the task's score_min)"},
        {.name = "--overlap", .arg = "PERCENT", .number = &a->overlap, .lo = 0, .hi = 90,
         .help = "masks and boxes: overlap of the windows that cover an image larger than the network's field (default 50)"},
        {.name = "--scale", .arg = "S", .text = &a->scale,
         .help = "pixels of the image in a network pixel, instead of the task's spacing: for images that do not say theirs, or tasks trained on crops"},
        {.name = "--spacing", .arg = "S", .text = &a->spacing,
         .help = "size of a network pixel in the data's units; 0: the whole image is fitted (default: the task's)"},
        {.name = "--range", .arg = "RULE", .text = &a->files.range,
         .help = "intensities that become 0 and 1: dtype, window:LO:HI or percentile:LO:HI (default: as the task's data set was converted)"},
        SOURCE_SLIDE_OPTIONS(a->files),
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
        "What a task of a run finds in new images: PNG, JPEG, BMP, TIFF, NIfTI, DICOM files, whole slides, folders with a DICOM series or with images. They are "
        "read as the task's data set was (range, channels, plane of volumes) and seen as in evaluation. On any number of ranks, with the same "
        "bytes.\n"
        "Segmentation: NAME.nii.gz on the grid of a volume, NAME.png (numbers of classes with a colour table) of an image, and TASK.csv with "
        "sizes. Detection: TASK.json in COCO's form. Classes, labels, values: TASK.csv, of volumes the mean over their planes, with "
        "TASK-slices.csv. Slides are looked at in tiles where there is tissue: NAME.geojson holds the tiles with their class and probability (and "
        "TASK-tiles.csv; TASK.csv has the mean), the regions of masks, or the boxes, in pixels of the finest level, as QuPath reads them; no pictures, "
        "masks or probabilities are written of them. A file that cannot be used is named, the others go on, and the exit status is 3.",
        options, 1, SOURCES_MOST_WORDS + 1};
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
    sources_close(&d.files);
    free(d.rows.bytes), free(d.bad.v);
    return use_close(d.world, st);
}
