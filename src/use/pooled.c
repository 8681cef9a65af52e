/* pooled: an encoder's pooled vectors of the samples of a data set. Ranks take turns in sample order, so that rank 0 gets the rows in that
 * order, on any number of ranks. */
#include "pooled.h"

#include "medley/use.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TURN = 16 }; /* images of a rank between two gatherings */

struct features {
    comm          *world;
    const weights *w;
    seen_data      seen;
    bool           stages;
    int            C[5], D;
    catalogue      cat;
    int64_t       *first;         /* (n_shards + 1) number of each shard's first sample */
    shard          open;          /* its shard number `opened`; -1: none */
    int            opened;
    arena          act;
    swin_run      *run;
    void          *pixels;
    float         *input;         /* (H,W,3) */
};

/* ---- how a data set is seen ---------------------------------------------------------------------------------------------------- */

bool features_same_folder(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static status see(seen_data *out, const char *dir, int H, int W, double spacing)
{
    *out = (seen_data){.H = H, .W = W, .spacing = spacing};
    CHECK(snprintf(out->dir, sizeof out->dir, "%s", dir) < (int)sizeof out->dir, ST_USAGE, "path too long: %.80s...", dir);
    return OK;
}

status features_seen_by(const job *j, const char *dir, seen_data *out)
{
    char own[JOB_DIR_BYTES];
    const job_task *t = NULL;
    for (int i = 0; i < j->n_tasks && !t; i++) {
        job_data_dir(j, j->task[i].data, own);
        if (features_same_folder(own, dir)) t = &j->task[i];
    }
    const job_task *by = t ? t : &j->task[0];
    return see(out, dir, by->image[0], by->image[1], t ? t->spacing : 0);
}

status features_seen(const swin *enc, const char *dir, seen_data *out)
{
    int side = swin_trained_side(enc);
    return see(out, dir, side, side, 0);
}

status features_override(const char *image, const char *spacing, seen_data *out)
{
    int H, W;
    if (image) {
        TRY(use_image_size(image, &H, &W), "--image");
        out->H = H, out->W = W;
    }
    return use_number("--spacing", spacing, 0, 1000, &out->spacing);
}

int features_columns(const swin *enc, bool stages, int C[5])
{
    int D = 0;
    for (int l = 0; l < 4; l++) C[l] = enc->embed << l, D += stages ? C[l] : 0;
    C[4] = C[3];
    return D + C[4];
}

/* ---- a data set ------------------------------------------------------------------------------------------------------------------ */

/* Rank 0 reads the index for all. Collective. */
static status share_catalogue(features *f)
{
    char *bytes = NULL;
    size_t n = 0;
    bool reads = comm_rank(f->world) == 0;
    TRY(comm_agree(f->world, reads ? catalogue_read(f->seen.dir, &bytes, &n) : OK), "data");
    uint64_t size = n;
    status st = comm_bcast(f->world, &size, sizeof size, 0);
    if (!st && !reads) st = mem_alloc(&bytes, size, "index");
    st = comm_agree(f->world, st);
    if (!st) st = comm_bcast(f->world, bytes, size, 0);
    if (!st) st = comm_agree(f->world, catalogue_open_bytes(&f->cat, f->seen.dir, bytes, size));
    free(bytes);
    return st;
}

static status place(features *f)
{
    arena measure = {0};
    swin_run *run;
    int H = f->seen.H, W = f->seen.W;
    TRY(swin_place(&run, &f->w->enc, 1, H, W, false, &measure), "features");
    swin_run_free(run);
    TRY(arena_init(&f->act, measure.peak, "activations"), "features");
    TRY(swin_place(&f->run, &f->w->enc, 1, H, W, false, &f->act), "features");
    return mem_alloc(&f->input, sizeof *f->input * (size_t)H * (size_t)W * 3, "image");
}

static status begin(features **out, const weights *w, bool stages, const seen_data *seen)
{
    features *f;
    *out = NULL;
    TRY(mem_alloc(&f, sizeof *f, "features"), "features");
    f->w = w, f->seen = *seen, f->stages = stages, f->opened = -1;
    f->D = features_columns(&w->enc, stages, f->C);
    *out = f;
    return OK;
}

status features_open_network(features **out, const weights *w, bool stages, const seen_data *seen)
{
    TRY(begin(out, w, stages, seen), "features");
    return place(*out);
}

static status count_shards(features *f)
{
    TRY(mem_alloc(&f->first, sizeof *f->first * (size_t)(f->cat.n_shards + 1), "shards"), "features");
    for (int i = 0; i < f->cat.n_shards; i++) f->first[i + 1] = f->first[i] + f->cat.n[i];
    return place(f);
}

status features_open(features **out, comm *world, const weights *w, bool stages, seen_data *seen)
{
    TRY(comm_agree(world, begin(out, w, stages, seen)), "features");
    features *f = *out;
    f->world = world;
    TRY(share_catalogue(f), "features");
    snprintf(seen->name, sizeof seen->name, "%s", f->cat.meta.name);
    return comm_agree(world, count_shards(f));
}

const catalogue *features_catalogue(const features *f) { return &f->cat; }

void features_close(features *f)
{
    if (!f) return;
    if (f->opened >= 0) shard_close(&f->open);
    swin_run_free(f->run);
    arena_free(&f->act);
    free(f->input), free(f->pixels), free(f->first);
    catalogue_close(&f->cat);
    free(f);
}

static status open_shard(features *f, int k)
{
    char path[700];
    if (f->opened == k) return OK;
    if (f->opened >= 0) shard_close(&f->open);
    f->opened = -1;
    free(f->pixels), f->pixels = NULL;
    TRY(path_inside(f->cat.dir, f->cat.file[k], path, sizeof path), "data");
    TRY(shard_open(&f->open, path), "data");
    f->opened = k;
    const shard_meta *m = &f->open.meta;
    CHECK(f->open.n == f->cat.n[k], ST_DATA, "%s: %lld samples, its index says %lld", path, (long long)f->open.n, (long long)f->cat.n[k]);
    CHECK(m->channels == 1 || m->channels == 3, ST_DATA, "%s: images of %d channels", path, m->channels);
    return mem_alloc(&f->pixels, dtype_bytes(m->pixel) * (size_t)f->open.Hmax * (size_t)f->open.Wmax * (size_t)m->channels, "image");
}

/* ---- a sample -------------------------------------------------------------------------------------------------------------------- */

static void describe(const shard *s, int64_t i, sample_row *row)
{
    memset(row, 0, sizeof *row); /* it is sent as bytes */
    snprintf(row->id, sizeof row->id, "%s", s->id[i]);
    snprintf(row->subject, sizeof row->subject, "%s", s->subject[i]);
    snprintf(row->centre, sizeof row->centre, "%s", s->centre[i]);
    snprintf(row->case_id, sizeof row->case_id, "%s", s->case_id[i]);
    snprintf(row->source, sizeof row->source, "%s", s->source[i]);
    row->slice = s->slice[i], row->n_slices = 1, row->split = s->split[i];
}

status features_plane(features *f, const plane *s, float *x)
{
    view v;
    TRY(image_fit(s->pixels, s->type, s->H, s->W, s->C, s->range, image_step(s->spacing, f->seen.spacing), f->seen.H, f->seen.W, f->input, &v), "image");
    swin_forward(f->run, &f->w->pt, f->w->w, f->input, NULL);
    const pyramid *p = swin_pyramid(f->run);
    float *at = x;
    for (int l = 0; f->stages && l < 4; at += f->C[l], l++) swin_pool(at, &p->level[l], 0);
    swin_pool(at, &p->top, 0);
    for (int c = 0; c < f->D; c++) CHECK(isfinite(x[c]), ST_NUMERIC, "its vector is not finite");
    return OK;
}

static status see_sample(features *f, int64_t sample, sample_row *row, float *x)
{
    int k = f->opened < 0 ? 0 : f->opened;
    while (sample < f->first[k]) k--;
    while (sample >= f->first[k + 1]) k++;
    TRY(open_shard(f, k), "features");
    shard *s = &f->open;
    int64_t i = sample - f->first[k];
    TRY(shard_read_image(s, i, f->pixels), "features");
    const plane seen = {.pixels = f->pixels, .type = s->meta.pixel, .H = s->size[2 * i], .W = s->size[2 * i + 1], .C = s->meta.channels,
                        .range = {s->range[2 * i], s->range[2 * i + 1]}, .spacing = {s->spacing[2 * i], s->spacing[2 * i + 1]}};
    TRY(features_plane(f, &seen, x), "%s: sample %s", s->path, s->id[i]);
    describe(s, i, row);
    return OK;
}

/* ---- in turns -------------------------------------------------------------------------------------------------------------------- */

/* Every rank its TURN samples of base .. base + size * TURN; rank 0 takes them in order. `mine`: room for TURN rows, each a description and
 * its numbers. Collective. */
static status turn(features *f, const int64_t *sample, int64_t n, int64_t base, char *mine, size_t *sizes, features_take *take, void *arg)
{
    size_t bytes = sizeof(sample_row) + sizeof(float) * (size_t)f->D, used = 0;
    void *gathered = NULL;
    status st = OK;
    int64_t from = base + (int64_t)comm_rank(f->world) * TURN, to = from + TURN < n ? from + TURN : n;
    for (int64_t i = from; i < to && !st; i++, used += bytes) {
        sample_row row;
        watchdog_tick(-1, "features", NULL);
        st = see_sample(f, sample[i], &row, (float *)(void *)(mine + used + sizeof row));
        memcpy(mine + used, &row, sizeof row);
    }
    TRY(comm_agree(f->world, st), "features");
    TRY(comm_gather(f->world, mine, used, 0, &gathered, sizes), "features");
    if (comm_rank(f->world) == 0) {
        size_t all = 0;
        for (int r = 0; r < comm_size(f->world); r++) all += sizes[r];
        for (const char *at = gathered, *end = at + all; at < end && !st; at += bytes) {
            sample_row row;
            memcpy(&row, at, sizeof row);
            st = take(arg, &row, (const float *)(const void *)(at + sizeof row));
        }
    }
    free(gathered);
    return comm_agree(f->world, st);
}

status features_each(features *f, const int64_t *sample, int64_t n, features_take *take, void *arg)
{
    char *mine = NULL;
    size_t *sizes = NULL;
    status st = mem_alloc(&mine, TURN * (sizeof(sample_row) + sizeof(float) * (size_t)f->D), "rows");
    if (!st) st = mem_alloc(&sizes, sizeof *sizes * (size_t)comm_size(f->world), "sizes");
    st = comm_agree(f->world, st);
    int64_t step = (int64_t)comm_size(f->world) * TURN;
    for (int64_t base = 0; base < n && !st; base += step) st = turn(f, sample, n, base, mine, sizes, take, arg);
    free(mine), free(sizes);
    if (!st) log_line(LOG_INFO, "%s: %lld images at %dx%d", f->cat.meta.name, (long long)n, f->seen.H, f->seen.W);
    return st;
}
