/* embed: `medley embed`: the encoder's pooled vectors of the samples of shards (of files: embed_files.c), or of cases, to a file. */
#include "medley/command.h"
#include "medley/use.h"

#include "embed.h"

#include <stdlib.h>
#include <string.h>

/* ---- what is asked for: rank 0 ------------------------------------------------------------------------------------------------- */

static status add_data(embedding *e, const seen_data *d)
{
    for (int i = 0; i < e->n_data; i++)
        if (features_same_folder(e->data[i].dir, d->dir)) return OK;
    CHECK(e->n_data < EMBED_MOST_DATA, ST_USAGE, "more than %d data sets", EMBED_MOST_DATA);
    e->data[e->n_data++] = *d;
    return OK;
}

/* Data sets as the job sees them: those named, or all of its own. */
static status data_of_job(embedder *b, const job *j)
{
    char dir[JOB_DIR_BYTES];
    seen_data d;
    for (int i = 0; b->n_dirs == 0 && i < j->n_tasks; i++) {
        job_data_dir(j, j->task[i].data, dir);
        TRY(features_seen_by(j, dir, &d), "embed");
        TRY(add_data(&b->all, &d), "embed");
    }
    for (int k = 0; k < b->n_dirs; k++) {
        TRY(features_seen_by(j, b->dirs[k], &d), "embed");
        TRY(add_data(&b->all, &d), "embed");
    }
    return OK;
}

static status data_of_run(embedder *b, const char *job_file)
{
    job *j;
    TRY(mem_alloc(&j, sizeof *j, "job"), "embed");
    status st = job_load_without_data(j, job_file, NULL, 0);
    if (!st) st = data_of_job(b, j);
    free(j);
    return st;
}

static status data_of_file(embedder *b)
{
    seen_data d;
    CHECK(b->n_dirs > 0, ST_USAGE, "%s is no run folder with data sets of its own: --data DIR is missing", b->from);
    for (int k = 0; k < b->n_dirs; k++) {
        TRY(features_seen(&b->w.enc, b->dirs[k], &d), "embed");
        TRY(add_data(&b->all, &d), "embed");
    }
    return OK;
}

static status decide(embedder *b)
{
    char path[1400];
    TRY(embed_format_of(b->out, &b->format), "--out");
    status st = use_may_write(b->out, b->force);
    if (!st && b->format == EMBED_NPY) {
        TRY(embed_ids_path(b->out, path, sizeof path), "embed");
        st = use_may_write(path, b->force);
    }
    if (st) return st;
    snprintf(path, sizeof path, "%.1300s/job.cfg", b->from);
    TRY(path_exists(path) ? data_of_run(b, path) : data_of_file(b), "embed");
    for (int i = 0; i < b->all.n_data; i++) {
        st = features_override(b->image, b->spacing, &b->all.data[i]);
        if (st) return st;
    }
    return b->files ? embed_files_decide(b) : OK;
}

/* ---- a data set ------------------------------------------------------------------------------------------------------------------ */

status embed_append(void *arg, const sample_row *row, const float *x)
{
    embedder *b = arg;
    embedding *e = &b->all;
    if (e->n == e->room) {
        int64_t room = e->room ? 2 * e->room : 256;
        TRY(mem_grow(&e->row, sizeof *e->row * (size_t)room, "rows"), "embed");
        TRY(mem_grow(&e->x, sizeof *e->x * (size_t)(room * e->D), "vectors"), "embed");
        e->room = room;
    }
    e->row[e->n] = *row;
    e->row[e->n].data = b->data;
    memcpy(e->x + e->n * e->D, x, sizeof *x * (size_t)e->D);
    e->n++;
    return OK;
}

static status choose(const embedder *b, const catalogue *c, int64_t **chosen, int64_t *n)
{
    *n = 0;
    TRY(mem_alloc(chosen, sizeof **chosen * (size_t)(c->n_total + 1), "samples"), "embed");
    for (int64_t i = 0; i < c->n_total; i++)
        if (b->split < 0 || c->split[i] == b->split) (*chosen)[(*n)++] = i;
    return OK;
}

/* Collective. */
static status embed_data_set(embedder *b, int data)
{
    features *f = NULL;
    int64_t *chosen = NULL, n;
    b->data = data;
    status st = features_open(&f, b->world, &b->w, b->all.stages, &b->all.data[data]);
    if (!st) st = comm_agree(b->world, choose(b, features_catalogue(f), &chosen, &n));
    if (!st) st = features_each(f, chosen, n, embed_append, b);
    free(chosen);
    features_close(f);
    return st;
}

/* ---- means over cases -------------------------------------------------------------------------------------------------------------- */

typedef struct member { const sample_row *row; int64_t at, first; } member; /* first: its case's first row */

static int by_case(const void *pa, const void *pb)
{
    const member *a = pa, *b = pb;
    if (a->row->data != b->row->data) return a->row->data < b->row->data ? -1 : 1;
    int c = strcmp(a->row->case_id, b->row->case_id);
    return c ? c : a->at < b->at ? -1 : a->at > b->at;
}

static int by_first(const void *pa, const void *pb)
{
    const member *a = pa, *b = pb;
    return a->first != b->first ? (a->first < b->first ? -1 : 1) : a->at < b->at ? -1 : a->at > b->at;
}

/* One row a case, in the order of their first slices; a case's slices are added in sample order, in double precision. */
static status mean_over_cases(embedding *e)
{
    member *m;
    double *sum = NULL;
    sample_row *row = NULL;
    float *x = NULL;
    int64_t n = 0;
    status st;
    TRY(mem_alloc(&m, sizeof *m * (size_t)(e->n + 1), "cases"), "embed");
    TRY_TO(done, mem_alloc(&sum, sizeof *sum * (size_t)e->D, "mean"), "embed");
    TRY_TO(done, mem_alloc(&row, sizeof *row * (size_t)(e->n + 1), "rows"), "embed");
    TRY_TO(done, mem_alloc(&x, sizeof *x * (size_t)(e->n * e->D + 1), "vectors"), "embed");
    for (int64_t i = 0; i < e->n; i++) m[i] = (member){&e->row[i], i, i};
    qsort(m, (size_t)e->n, sizeof *m, by_case);
    for (int64_t i = 1; i < e->n; i++)
        if (m[i].row->data == m[i - 1].row->data && strcmp(m[i].row->case_id, m[i - 1].row->case_id) == 0) m[i].first = m[i - 1].first;
    qsort(m, (size_t)e->n, sizeof *m, by_first);
    for (int64_t i = 0, k; i < e->n; i = k, n++) {
        memset(sum, 0, sizeof *sum * (size_t)e->D);
        for (k = i; k < e->n && m[k].first == m[i].first; k++)
            for (int c = 0; c < e->D; c++) sum[c] += (double)e->x[m[k].at * e->D + c];
        row[n] = *m[i].row;
        memcpy(row[n].id, row[n].case_id, sizeof row[n].id);
        row[n].n_slices = (int32_t)(k - i);
        if (k - i > 1) row[n].slice = -1;
        for (int c = 0; c < e->D; c++) x[n * e->D + c] = (float)(sum[c] / (double)(k - i));
    }
    free(e->row), free(e->x);
    e->row = row, e->x = x, e->n = n;
    row = NULL, x = NULL;
done:
    free(m), free(sum), free(row), free(x);
    return st;
}

/* ---- the command ------------------------------------------------------------------------------------------------------------------- */

static status finish(embedder *b, double began)
{
    embedding *e = &b->all;
    int64_t n_images = e->n;
    CHECK(n_images > 0, ST_DATA, "no images in %s", b->split < 0 ? "these data sets" : "this split of these data sets");
    if (b->by_case) TRY(mean_over_cases(e), "embed");
    TRY(embed_write(e, b->out, b->format), "embed");
    double seconds = timer_now() - began;
    printf("%s: %lld vectors of %d numbers from %lld images, %s of %s (%.1f images/s)\n", b->out, (long long)e->n, e->D, (long long)n_images,
           e->w->enc.variant, b->w.path, (double)n_images / seconds);
    return OK;
}

static status embed(embedder *b, const weights_ask *ask)
{
    double began = timer_now();
    embedding *e = &b->all;
    bool speaks = comm_rank(b->world) == 0;
    TRY(use_compute(b->world), "embed");
    TRY(weights_open_all(&b->w, b->world, b->from, ask), "embed");
    TRY(comm_agree(b->world, speaks ? decide(b) : OK), "embed");
    TRY(comm_bcast(b->world, e->data, sizeof e->data, 0), "embed");
    TRY(comm_bcast(b->world, &e->n_data, sizeof e->n_data, 0), "embed");
    e->w = &b->w;
    e->D = features_columns(&b->w.enc, e->stages, e->C);
    if (b->files) TRY(embed_sources(b), "embed");
    for (int i = 0; i < e->n_data && !b->files; i++) TRY(embed_data_set(b, i), "%s", e->data[i].dir);
    status st = OK;
    if (speaks && (!b->files || e->n > 0)) st = finish(b, began);
    if (!st && speaks && b->files) st = source_faults_say(&b->bad, b->sources.n);
    return comm_agree(b->world, st);
}

status cmd_embed(int argc, char **argv)
{
    embedder b = {.split = -1};
    weights_ask ask = {0};
    const char *args[SOURCES_MOST_WORDS + 1], *split = "all", *by = "sample";
    int n_args = 0;
    const command_option options[] = {
        {.name = "--out", .arg = "FILE", .text = &b.out,
         .help = "what to write: .h5 (arrays vector, id, subject, case, split ...), .csv, or .npy with the ids in a .csv beside it"},
        {.name = "--data", .arg = "DIR", .list = b.dirs, .n_list = &b.n_dirs, .room = EMBED_MOST_DATA,
         .help = "data set folder of shards; may be given several times (default: all of the run's)"},
        {.name = "--split", .arg = "SPLIT", .text = &split, .choices = "all|train|val|test", .help = "all (default), train, val or test"},
        {.name = "--by", .arg = "WHAT", .text = &by, .choices = "sample|case",
         .help = "a vector for each sample (image, slice; default), or for each case: the mean over a volume's slices or a slide's tiles"},
        {.name = "--stages", .flag = &b.all.stages,
         .help = "the pooled outputs of the four stages too (columns before the vector; in .h5 arrays stage1 to stage4)"},
        {.name = "--weights", .arg = "WHICH", .text = &ask.which,
         .help = "of a run: best (by validation, default), last (newest checkpoint) or a checkpoint file"},
        {.name = "--raw", .flag = &ask.raw, .help = "the trained weights themselves, not their moving average (train.ema)"},
        {.name = "--image", .arg = "HxW", .text = &b.image,
         .help = "size the network sees (default: the run's for this data set, or its first task's; of a file 224x224 for V1, 256x256 for V2)"},
        {.name = "--spacing", .arg = "S", .text = &b.spacing,
         .help = "size of a network pixel in the data's units; 0: the whole image is fitted (default: the run's for this data set)"},
        {.name = "--list", .arg = "FILE", .text = &b.list, .help = "a text file with source files, a path a line"},
        {.name = "--range", .arg = "RULE", .text = &b.ask.range,
         .help = "source files: intensities that become 0 and 1: dtype, window:LO:HI or percentile:LO:HI (default: as the data set was converted)"},
        SOURCE_SLIDE_OPTIONS(b.ask),
        {.name = "--force", .flag = &b.force, .help = "replace FILE"},
        {0},
    };
    const command_line c = {
        "medley embed RUN|WEIGHTS [SOURCE...] --out FILE.h5|.npy|.csv [--data DIR]... [--split SPLIT] [--by sample|case] [--stages]",
        "Vectors of images by the encoder of a run, a checkpoint or a safetensors file: the mean over positions after the final norm, 768 numbers "
        "for swin_t. On any number of ranks, with the same bits. Images are seen as in evaluation. Without source files, those of data sets (shards). "
        "Source files (PNG, JPEG, BMP, TIFF, NIfTI, DICOM, whole slides; folders with a DICOM series or with images) are read as the files of the data "
        "set were that --data names (default: of the run's first task); one that cannot be used is named, the others go on, and the exit status is 3. "
        "Of a slide each tile with tissue has a vector.",
        options, 1, SOURCES_MOST_WORDS + 1};
    if (command_help(&c, argc, argv)) return OK;
    TRY(use_open(argc, argv, &b.world), "embed");
    status st = command_parse(&c, argc, argv, args, &n_args);
    if (!st && !b.out) st = command_missing(&c, "--out FILE");
    st = comm_agree(b.world, st);
    for (int s = 0; s < N_SPLITS; s++)
        if (strcmp(split, split_name[s]) == 0) b.split = s;
    b.by_case = strcmp(by, "case") == 0;
    if (!st) {
        b.from = args[0], b.word = args + 1, b.n_words = n_args - 1, b.files = b.n_words > 0 || b.list;
        st = embed(&b, &ask);
    }
    weights_close(&b.w);
    sources_close(&b.sources);
    free(b.bad.v);
    free(b.all.row), free(b.all.x);
    return use_close(b.world, st);
}
