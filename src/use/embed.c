/* embed: `medley embed`: the encoder's pooled vectors of the samples of shards, on any number of ranks. Images go through the encoder one
 * at a time, so that no vector depends on its neighbours; ranks take turns in sample order, so that rank 0 gets the rows in that order. */
#include "medley/command.h"
#include "medley/kern.h"
#include "medley/use.h"

#include "embed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TURN = 16 }; /* images of a rank between two gatherings */

typedef struct embedder {
    comm       *world;
    const char *from, *out, *image, *spacing;
    const char *dirs[EMBED_MOST_DATA];
    int         n_dirs, split;       /* split: -1 all */
    bool        by_case, force;
    enum embed_format format;
    weights     w;
    embedding   all;                 /* what comes out; rows on rank 0 */
    /* the data set at hand */
    catalogue   cat;
    int64_t    *first;               /* (n_shards + 1) number of each shard's first sample */
    int64_t    *chosen, n_chosen;    /* samples of the split, ascending */
    shard       open;                /* its shard number `opened`; -1: none */
    int         opened;
    arena       act;
    swin_run   *run;
    void       *pixels;
    float      *input;               /* (H,W,3) */
} embedder;

/* ---- what is asked for: rank 0 ------------------------------------------------------------------------------------------------- */

static bool same_folder(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static status add_data(embedding *e, const char *dir, int H, int W, double spacing)
{
    for (int i = 0; i < e->n_data; i++)
        if (same_folder(e->data[i].dir, dir)) return OK;
    CHECK(e->n_data < EMBED_MOST_DATA, ST_USAGE, "more than %d data sets", EMBED_MOST_DATA);
    embed_data *d = &e->data[e->n_data++];
    CHECK(snprintf(d->dir, sizeof d->dir, "%s", dir) < (int)sizeof d->dir, ST_USAGE, "path too long: %.80s...", dir);
    d->H = H, d->W = W, d->spacing = spacing;
    return OK;
}

/* Data sets as the job sees them: those named, or all of its own. One that is not the job's is seen as its first task sees its own. */
static status data_of_job(embedder *b, const job *j)
{
    char dir[JOB_DIR_BYTES];
    for (int i = 0; b->n_dirs == 0 && i < j->n_tasks; i++) {
        job_data_dir(j, j->task[i].data, dir);
        TRY(add_data(&b->all, dir, j->task[i].image[0], j->task[i].image[1], j->task[i].spacing), "embed");
    }
    for (int k = 0; k < b->n_dirs; k++) {
        const job_task *t = NULL;
        for (int i = 0; i < j->n_tasks && !t; i++) {
            job_data_dir(j, j->task[i].data, dir);
            if (same_folder(dir, b->dirs[k])) t = &j->task[i];
        }
        const job_task *seen = t ? t : &j->task[0];
        TRY(add_data(&b->all, b->dirs[k], seen->image[0], seen->image[1], t ? t->spacing : 0), "embed");
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

/* --image and --spacing over what the job says. */
static status override(embedder *b)
{
    int H = 0, W = 0;
    double spacing = -1;
    char *rest;
    if (b->image) TRY(use_image_size(b->image, &H, &W), "--image");
    if (b->spacing) {
        spacing = strtod(b->spacing, &rest);
        CHECK(*b->spacing && !*rest && spacing >= 0 && spacing <= 1000, ST_USAGE, "--spacing: got \"%.40s\", expected a number from 0 to 1000",
              b->spacing);
    }
    for (int i = 0; i < b->all.n_data; i++) {
        embed_data *d = &b->all.data[i];
        if (H) d->H = H, d->W = W;
        if (spacing >= 0) d->spacing = spacing;
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
    if (path_exists(path)) TRY(data_of_run(b, path), "embed");
    else {
        int side = b->w.enc.version == 1 ? 224 : 256; /* what torchvision's weights were trained at */
        CHECK(b->n_dirs > 0, ST_USAGE, "%s is no run folder with data sets of its own: --data DIR is missing", b->from);
        for (int k = 0; k < b->n_dirs; k++) TRY(add_data(&b->all, b->dirs[k], side, side, 0), "embed");
    }
    return override(b);
}

/* ---- a data set ------------------------------------------------------------------------------------------------------------------ */

/* Rank 0 reads the index for all. Collective. */
static status share_catalogue(embedder *b, const char *dir)
{
    char *bytes = NULL;
    size_t n = 0;
    bool reads = comm_rank(b->world) == 0;
    TRY(comm_agree(b->world, reads ? catalogue_read(dir, &bytes, &n) : OK), "data");
    uint64_t size = n;
    status st = comm_bcast(b->world, &size, sizeof size, 0);
    if (!st && !reads) st = mem_alloc(&bytes, size, "index");
    st = comm_agree(b->world, st);
    if (!st) st = comm_bcast(b->world, bytes, size, 0);
    if (!st) st = comm_agree(b->world, catalogue_open_bytes(&b->cat, dir, bytes, size));
    free(bytes);
    return st;
}

static status choose(embedder *b)
{
    const catalogue *c = &b->cat;
    TRY(mem_alloc(&b->first, sizeof *b->first * (size_t)(c->n_shards + 1), "shards"), "embed");
    TRY(mem_alloc(&b->chosen, sizeof *b->chosen * (size_t)(c->n_total + 1), "samples"), "embed");
    for (int i = 0; i < c->n_shards; i++) b->first[i + 1] = b->first[i] + c->n[i];
    for (int64_t i = 0; i < c->n_total; i++)
        if (b->split < 0 || c->split[i] == b->split) b->chosen[b->n_chosen++] = i;
    return OK;
}

static status place(embedder *b, const embed_data *d)
{
    arena measure = {0};
    swin_run *run;
    TRY(swin_place(&run, &b->w.enc, 1, d->H, d->W, false, &measure), "embed");
    swin_run_free(run);
    TRY(arena_init(&b->act, measure.peak, "activations"), "embed");
    TRY(swin_place(&b->run, &b->w.enc, 1, d->H, d->W, false, &b->act), "embed");
    return mem_alloc(&b->input, sizeof *b->input * (size_t)d->H * (size_t)d->W * 3, "image");
}

static void close_data(embedder *b)
{
    if (b->opened >= 0) shard_close(&b->open);
    b->opened = -1, b->n_chosen = 0;
    swin_run_free(b->run), b->run = NULL;
    arena_free(&b->act);
    free(b->input), free(b->pixels), free(b->first), free(b->chosen);
    b->input = NULL, b->pixels = NULL, b->first = NULL, b->chosen = NULL;
    catalogue_close(&b->cat);
}

static status open_shard(embedder *b, int k)
{
    char path[700];
    if (b->opened == k) return OK;
    if (b->opened >= 0) shard_close(&b->open);
    b->opened = -1;
    free(b->pixels), b->pixels = NULL;
    TRY(path_inside(b->cat.dir, b->cat.file[k], path, sizeof path), "data");
    TRY(shard_open(&b->open, path), "data");
    b->opened = k;
    const shard_meta *m = &b->open.meta;
    CHECK(b->open.n == b->cat.n[k], ST_DATA, "%s: %lld samples, its index says %lld", path, (long long)b->open.n, (long long)b->cat.n[k]);
    CHECK(m->channels == 1 || m->channels == 3, ST_DATA, "%s: images of %d channels", path, m->channels);
    return mem_alloc(&b->pixels, dtype_bytes(m->pixel) * (size_t)b->open.Hmax * (size_t)b->open.Wmax * (size_t)m->channels, "image");
}

/* ---- a sample -------------------------------------------------------------------------------------------------------------------- */

static void describe(const embedder *b, int data, int64_t i, embed_row *row)
{
    const shard *s = &b->open;
    memset(row, 0, sizeof *row); /* it is sent as bytes */
    snprintf(row->id, sizeof row->id, "%s", s->id[i]);
    snprintf(row->subject, sizeof row->subject, "%s", s->subject[i]);
    snprintf(row->centre, sizeof row->centre, "%s", s->centre[i]);
    snprintf(row->case_id, sizeof row->case_id, "%s", s->case_id[i]);
    snprintf(row->source, sizeof row->source, "%s", s->source[i]);
    row->data = data, row->slice = s->slice[i], row->n_slices = 1, row->split = s->split[i];
}

static status embed_sample(embedder *b, int data, int64_t sample, embed_row *row, float *x)
{
    const embed_data *d = &b->all.data[data];
    view v;
    int k = b->opened < 0 ? 0 : b->opened;
    while (sample < b->first[k]) k--;
    while (sample >= b->first[k + 1]) k++;
    TRY(open_shard(b, k), "embed");
    shard *s = &b->open;
    int64_t i = sample - b->first[k];
    TRY(shard_read_image(s, i, b->pixels), "embed");
    TRY(image_fit(b->pixels, s->meta.pixel, s->size[2 * i], s->size[2 * i + 1], s->meta.channels, s->range + 2 * i,
                  image_step(s->spacing + 2 * i, d->spacing), d->H, d->W, b->input, &v), "%s: sample %s", s->path, s->id[i]);
    swin_forward(b->run, &b->w.pt, b->w.w, b->input, NULL);
    const pyramid *p = swin_pyramid(b->run);
    float *at = x;
    for (int l = 0; b->all.stages && l < 4; at += b->all.C[l], l++) swin_pool(at, &p->level[l], 0);
    swin_pool(at, &p->top, 0);
    for (int c = 0; c < b->all.D; c++)
        CHECK(isfinite(x[c]), ST_NUMERIC, "%s: sample %s: its vector is not finite", s->path, s->id[i]);
    describe(b, data, i, row);
    return OK;
}

/* ---- in turns -------------------------------------------------------------------------------------------------------------------- */

/* Rank 0: `n` more rows, each a description and its numbers, one after another in `bytes`. */
static status append(embedding *e, const char *bytes, int64_t n)
{
    if (e->n + n > e->room) {
        int64_t room = 2 * e->room > e->n + n ? 2 * e->room : e->n + n;
        TRY(mem_grow(&e->row, sizeof *e->row * (size_t)room, "rows"), "embed");
        TRY(mem_grow(&e->x, sizeof *e->x * (size_t)(room * e->D), "vectors"), "embed");
        e->room = room;
    }
    size_t vector = sizeof(float) * (size_t)e->D;
    for (int64_t i = 0; i < n; i++, e->n++, bytes += sizeof(embed_row) + vector) {
        memcpy(&e->row[e->n], bytes, sizeof(embed_row));
        memcpy(e->x + e->n * e->D, bytes + sizeof(embed_row), vector);
    }
    return OK;
}

/* Every rank its TURN samples of base .. base + size * TURN; rank 0 gets them in order. Collective. */
static status turn(embedder *b, int data, int64_t base, char *mine, size_t *sizes)
{
    size_t bytes = sizeof(embed_row) + sizeof(float) * (size_t)b->all.D, used = 0;
    void *gathered = NULL;
    status st = OK;
    int64_t from = base + (int64_t)comm_rank(b->world) * TURN, to = from + TURN < b->n_chosen ? from + TURN : b->n_chosen;
    for (int64_t i = from; i < to && !st; i++, used += bytes) {
        embed_row row;
        watchdog_tick(-1, "embed", NULL);
        float *x = (float *)(void *)(mine + used + sizeof row);
        st = embed_sample(b, data, b->chosen[i], &row, x);
        memcpy(mine + used, &row, sizeof row);
    }
    TRY(comm_agree(b->world, st), "embed");
    TRY(comm_gather(b->world, mine, used, 0, &gathered, sizes), "embed");
    if (comm_rank(b->world) == 0) {
        size_t all = 0;
        for (int r = 0; r < comm_size(b->world); r++) all += sizes[r];
        st = append(&b->all, gathered, (int64_t)(all / bytes));
    }
    free(gathered);
    return comm_agree(b->world, st);
}

static status embed_data_set(embedder *b, int data)
{
    embed_data *d = &b->all.data[data];
    char *mine = NULL;
    size_t *sizes = NULL;
    TRY(share_catalogue(b, d->dir), "embed");
    snprintf(d->name, sizeof d->name, "%s", b->cat.meta.name);
    status st = choose(b);
    if (!st) st = place(b, d);
    if (!st) st = mem_alloc(&mine, TURN * (sizeof(embed_row) + sizeof(float) * (size_t)b->all.D), "rows");
    if (!st) st = mem_alloc(&sizes, sizeof *sizes * (size_t)comm_size(b->world), "sizes");
    st = comm_agree(b->world, st);
    int64_t step = (int64_t)comm_size(b->world) * TURN;
    for (int64_t base = 0; base < b->n_chosen && !st; base += step) st = turn(b, data, base, mine, sizes);
    if (!st) log_line(LOG_INFO, "%s: %lld images at %dx%d", d->name, (long long)b->n_chosen, d->H, d->W);
    free(mine), free(sizes);
    close_data(b);
    return st;
}

/* ---- means over cases -------------------------------------------------------------------------------------------------------------- */

typedef struct member { const embed_row *row; int64_t at, first; } member; /* first: its case's first row */

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
    embed_row *row = NULL;
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

/* Collective. Threads of this rank; ranks that compute with other kernels would give rows that depend on who made them. */
static status prepare(embedder *b)
{
    core_share cores;
    char text[320];
    TRY(comm_cores(b->world, cores_asked(0), &cores), "threads");
    kern_init(cores.threads);
    watchdog_limit(300, NULL);
    snprintf(text, sizeof text, "blas = %s\ncpu = %s\n", kern_blas_name(), kern_isa());
    return comm_same_text(b->world, text, ST_USAGE, "the ranks compute differently (set OPENBLAS_CORETYPE to the same on all nodes)");
}

static status embed(embedder *b, const weights_ask *ask)
{
    double began = timer_now();
    embedding *e = &b->all;
    bool speaks = comm_rank(b->world) == 0;
    TRY(prepare(b), "embed");
    TRY(weights_open_all(&b->w, b->world, b->from, ask), "embed");
    TRY(comm_agree(b->world, speaks ? decide(b) : OK), "embed");
    TRY(comm_bcast(b->world, e->data, sizeof e->data, 0), "embed");
    TRY(comm_bcast(b->world, &e->n_data, sizeof e->n_data, 0), "embed");
    e->w = &b->w;
    for (int l = 0; l < 4; l++) e->C[l] = b->w.enc.embed << l, e->D += e->stages ? e->C[l] : 0;
    e->C[4] = e->C[3], e->D += e->C[4];
    for (int i = 0; i < e->n_data; i++) TRY(embed_data_set(b, i), "%s", e->data[i].dir);
    return comm_agree(b->world, speaks ? finish(b, began) : OK);
}

status cmd_embed(int argc, char **argv)
{
    embedder b = {.opened = -1, .split = -1};
    weights_ask ask = {0};
    const char *args[1], *split = "all", *by = "sample";
    int n_args = 0;
    const command_option options[] = {
        {.name = "--out", .arg = "FILE", .text = &b.out,
         .help = "what to write: .h5 (arrays vector, id, subject, case, split ...), .csv, or .npy with the ids in a .csv beside it"},
        {.name = "--data", .arg = "DIR", .list = b.dirs, .n_list = &b.n_dirs, .room = EMBED_MOST_DATA,
         .help = "data set folder of shards; may be given several times (default: all of the run's)"},
        {.name = "--split", .arg = "SPLIT", .text = &split, .choices = "all|train|val|test", .help = "all (default), train, val or test"},
        {.name = "--by", .arg = "WHAT", .text = &by, .choices = "sample|case",
         .help = "a vector for each sample (image, slice; default), or for each case: the mean over a volume's slices"},
        {.name = "--stages", .flag = &b.all.stages,
         .help = "the pooled outputs of the four stages too (columns before the vector; in .h5 arrays stage1 to stage4)"},
        {.name = "--weights", .arg = "WHICH", .text = &ask.which,
         .help = "of a run: best (by validation, default), last (newest checkpoint) or a checkpoint file"},
        {.name = "--raw", .flag = &ask.raw, .help = "the trained weights themselves, not their moving average (train.ema)"},
        {.name = "--image", .arg = "HxW", .text = &b.image,
         .help = "size the network sees (default: the run's for this data set, or its first task's; of a file 224x224 for V1, 256x256 for V2)"},
        {.name = "--spacing", .arg = "S", .text = &b.spacing,
         .help = "size of a network pixel in the data's units; 0: the whole image is fitted (default: the run's for this data set)"},
        {.name = "--force", .flag = &b.force, .help = "replace FILE"},
        {0},
    };
    const command_line c = {
        "medley embed RUN|FILE --out FILE.h5|.npy|.csv [--data DIR]... [--split SPLIT] [--by sample|case] [--stages]",
        "Vectors of images by the encoder of a run, a checkpoint or a safetensors file: the mean over positions after the final norm, 768 numbers "
        "for swin_t. On any number of ranks, with the same bits. Images are seen as in evaluation. Source files (PNG, NIfTI, DICOM ...) become "
        "shards first: medley-data convert, with a recipe that may do without labels.",
        options, 1, 1};
    if (command_help(&c, argc, argv)) return OK;
    TRY(use_open(argc, argv, &b.world), "embed");
    status st = command_parse(&c, argc, argv, args, &n_args);
    if (!st && !b.out) st = command_missing(&c, "--out FILE");
    st = comm_agree(b.world, st);
    for (int s = 0; s < N_SPLITS; s++)
        if (strcmp(split, split_name[s]) == 0) b.split = s;
    b.by_case = strcmp(by, "case") == 0;
    if (!st) b.from = args[0], st = embed(&b, &ask);
    close_data(&b);
    weights_close(&b.w);
    free(b.all.row), free(b.all.x);
    return use_close(b.world, st);
}
