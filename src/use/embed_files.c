/* embed_files: vectors of source files, each worked on by one rank; rank 0 puts them in the order of the list. */
#include "embed.h"

#include <stdlib.h>
#include <string.h>

status embed_files_decide(embedder *b)
{
    seen_data *d = &b->all.data[0];
    catalogue c;
    b->all.n_data = 1;
    status st = catalogue_open(&c, d->dir);
    TRY(st, "the index of a data set tells how files are read (--data DIR: another one)");
    st = source_how_of(&b->how, &c, &b->ask, d->H, d->W, d->spacing);
    snprintf(d->name, sizeof d->name, "%s", c.meta.name);
    catalogue_close(&c);
    return st;
}

/* Rows of this rank: the number of the file, the row, its numbers. */
typedef struct row_bytes { char *at; size_t n, room, one; } row_bytes;

static status room_for_one(row_bytes *r)
{
    if (r->n + r->one <= r->room) return OK;
    TRY(mem_grow(&r->at, 2 * (r->n + r->one), "vectors"), "embed");
    r->room = 2 * (r->n + r->one);
    return OK;
}

/* A plane of a file (named by number), or a tile of a slide (by place). x: room for a vector. */
static status embed_plane(embedder *b, features *net, int number, const plane *seen, const char *place, int slice, float *x, row_bytes *out)
{
    const source_file *f = &b->sources.file[number];
    int64_t head = number;
    sample_row row;
    watchdog_tick(-1, "embed", NULL);
    memset(&row, 0, sizeof row); /* it is sent as bytes */
    snprintf(row.id, sizeof row.id, "%.150s%s", f->name, place);
    snprintf(row.subject, sizeof row.subject, "%.150s", f->name);
    snprintf(row.case_id, sizeof row.case_id, "%.150s", f->name);
    snprintf(row.source, sizeof row.source, "%.150s", f->path);
    row.slice = slice, row.n_slices = 1, row.split = -1;
    TRY(features_plane(net, seen, x), "embed");
    TRY(room_for_one(out), "embed");
    char *to = out->at + out->n;
    memcpy(to, &head, sizeof head), memcpy(to + sizeof head, &row, sizeof row);
    memcpy(to + sizeof head + sizeof row, x, sizeof *x * (size_t)b->all.D);
    out->n += out->one;
    return OK;
}

static status embed_image(embedder *b, features *net, int number, float *x, row_bytes *out)
{
    source_case c;
    char place[24] = "";
    TRY(source_read(&c, b->sources.file[number].path, &b->how.image), "embed");
    status st = OK;
    for (int k = 0; !st && k < c.m.D; k++) {
        const plane seen = source_plane(&c, k);
        if (c.m.is_volume) snprintf(place, sizeof place, "/%03d", k);
        st = embed_plane(b, net, number, &seen, place, c.m.is_volume ? k : -1, x, out);
    }
    source_free(&c);
    return st;
}

/* Its tiles are called as those of a data set. */
static status embed_slide(embedder *b, features *net, int number, float *x, row_bytes *out)
{
    source_slide s;
    source_case c;
    char place[32];
    TRY(source_slide_open(&s, b->sources.file[number].path, &b->how, false), "embed");
    status st = OK;
    for (int i = 0; !st && i < s.n; i++) {
        if (!s.has[i]) continue;
        snprintf(place, sizeof place, "/%d,%d", (int)s.place[i].a, (int)s.place[i].b);
        st = source_tile(&c, &s, s.place[i]);
        if (st) break;
        const plane seen = source_plane(&c, 0);
        st = embed_plane(b, net, number, &seen, place, -1, x, out);
        source_free(&c);
    }
    source_slide_close(&s);
    return st;
}

static status embed_file(embedder *b, features *net, int number, row_bytes *out)
{
    const char *path = b->sources.file[number].path;
    size_t before = out->n;
    float *x = NULL;
    TRY(mem_alloc(&x, sizeof *x * (size_t)b->all.D, "vector"), "embed");
    watchdog_tick(-1, "embed", NULL);
    status st = source_is_slide(path, &b->how) ? embed_slide(b, net, number, x, out) : embed_image(b, net, number, x, out);
    if (st) out->n = before, st = status_note(st, __FILE__, __LINE__, "%s", path); /* all of a file or nothing */
    free(x);
    return st;
}

static int by_number(const void *a, const void *b)
{
    int64_t x, y;
    const char *p = *(const char *const *)a, *q = *(const char *const *)b;
    memcpy(&x, p, sizeof x), memcpy(&y, q, sizeof y);
    return x != y ? (x < y ? -1 : 1) : p < q ? -1 : p > q; /* planes of a file lie in their order */
}

/* Rank 0. */
static status put_in_order(embedder *b, const char *all, size_t n, size_t one)
{
    const char **row;
    size_t rows = n / one;
    TRY(mem_alloc(&row, sizeof *row * (rows + 1), "order of rows"), "embed");
    for (size_t i = 0; i < rows; i++) row[i] = all + i * one;
    qsort(row, rows, sizeof *row, by_number);
    status st = OK;
    for (size_t i = 0; i < rows && !st; i++) {
        sample_row who;
        const char *at = row[i] + sizeof(int64_t);
        memcpy(&who, at, sizeof who);
        st = embed_append(b, &who, (const float *)(const void *)(at + sizeof who));
    }
    free(row);
    return st;
}

status embed_sources(embedder *b)
{
    row_bytes mine = {.one = sizeof(int64_t) + sizeof(sample_row) + sizeof(float) * (size_t)b->all.D};
    char *all = NULL;
    size_t n = 0;
    TRY(comm_bcast(b->world, &b->how, sizeof b->how, 0), "embed");
    TRY(sources_open(&b->sources, b->world, b->word, b->n_words, b->list), "embed");
    features *net = NULL;
    status st = features_open_network(&net, &b->w, b->all.stages, &b->all.data[0]);
    for (int i = 0; i < b->sources.n && !st; i++) {
        if (b->sources.rank_of[i] != comm_rank(b->world)) continue;
        st = embed_file(b, net, i, &mine);
        if (st == ST_DATA) st = source_faults_note(&b->bad, i);
    }
    st = comm_agree(b->world, st);
    if (!st) st = sources_gather(b->world, mine.at, mine.n, &all, &n);
    if (!st) st = source_faults_gather(&b->bad, b->world);
    if (!st) st = comm_agree(b->world, comm_rank(b->world) == 0 ? put_in_order(b, all, n, mine.one) : OK);
    free(mine.at), free(all);
    features_close(net);
    return st;
}
