/* embed_write: vectors to HDF5, NPY or CSV. */
#include "embed.h"
#include "scores.h"
#include "writers.h"

#include <stdlib.h>
#include <string.h>

static const char *const part_names[] = {"stage1", "stage2", "stage3", "stage4", "vector"};

/* Parts of a row: the stages, if there, and the vector. Column where part p begins. */
static int first_part(const embedding *e) { return e->stages ? 0 : 4; }

static int part_column(const embedding *e, int p)
{
    int at = 0;
    for (int i = first_part(e); i < p; i++) at += e->C[i];
    return at;
}

static const struct { const char *end; enum embed_format format; } ends[] = {
    {".h5", EMBED_HDF5}, {".hdf5", EMBED_HDF5}, {".npy", EMBED_NPY}, {".csv", EMBED_CSV}};

status embed_format_of(const char *path, enum embed_format *out)
{
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t m = strlen(ends[i].end);
        if (n <= m || strcmp(path + n - m, ends[i].end) != 0) continue;
        *out = ends[i].format;
        return OK;
    }
    return status_raise(ST_USAGE, __FILE__, __LINE__, "%s: the name tells the format: it has to end with .h5, .npy or .csv", path);
}

status embed_ids_path(const char *path, char *out, size_t room)
{
    CHECK(snprintf(out, room, "%.*s.csv", (int)(strlen(path) - strlen(".npy")), path) < (int)room, ST_USAGE, "path too long: %.80s...", path);
    return OK;
}

/* ---- CSV ----------------------------------------------------------------------------------------------------------------------- */

static void put_head(const embedding *e, FILE *f, bool vectors)
{
    fputs("data,id,subject,centre,case,slice,slices,split,source", f);
    for (int p = first_part(e); vectors && p < 5; p++)
        for (int c = 0; c < e->C[p]; c++) fprintf(f, ",%s_%d", part_names[p], c);
    fputc('\n', f);
}

static void put_row(const embedding *e, FILE *f, int64_t i, bool vectors)
{
    const sample_row *r = &e->row[i];
    const char *const texts[] = {e->data[r->data].name, r->id, r->subject, r->centre, r->case_id};
    for (int k = 0; k < 5; k++) csv_text(f, texts[k]), fputc(',', f);
    if (r->slice >= 0) fprintf(f, "%d", (int)r->slice);
    fprintf(f, ",%d,%s,", (int)r->n_slices, r->split < 0 ? "" : split_name[r->split]);
    csv_text(f, r->source);
    for (int c = 0; vectors && c < e->D; c++) fputc(',', f), csv_number(f, (double)e->x[i * e->D + c]);
    fputc('\n', f);
}

static status write_csv(const embedding *e, const char *path, bool vectors)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f;
    TRY(mem_text_open(&f, &text, &n, "table"), "%s", path);
    put_head(e, f, vectors);
    for (int64_t i = 0; i < e->n; i++) put_row(e, f, i, vectors);
    status st = mem_text_close(f, &text, "table");
    if (!st) st = file_write_atomic(path, text, n);
    free(text);
    return st;
}

/* ---- NPY ----------------------------------------------------------------------------------------------------------------------- */

static status write_npy(const embedding *e, const char *path)
{
    char ids[1400];
    uint8_t *bytes;
    size_t n;
    TRY(embed_ids_path(path, ids, sizeof ids), "embed");
    TRY(npy_encode(e->x, 2, (int64_t[]){e->n, e->D}, &bytes, &n), "%s", path);
    status st = write_csv(e, ids, false);
    if (!st) st = file_write_atomic(path, bytes, n);
    free(bytes);
    return st;
}

/* ---- HDF5 ---------------------------------------------------------------------------------------------------------------------- */

/* Columns of one part as an array of its own. */
static status put_part(const embedding *e, store *s, int p)
{
    float *part;
    int64_t C = e->C[p], at = part_column(e, p);
    TRY(mem_alloc(&part, sizeof *part * (size_t)(e->n * C), part_names[p]), "embed");
    for (int64_t i = 0; i < e->n; i++) memcpy(part + i * C, e->x + i * e->D + at, sizeof *part * (size_t)C);
    status st = store_write(s, part_names[p], DT_F32, 2, (int64_t[]){e->n, C}, part, 0);
    free(part);
    return st;
}

static status put_texts(const embedding *e, store *s, const char *name, size_t field)
{
    char *text;
    TRY(mem_alloc(&text, (size_t)e->n * SHARD_TEXT, name), "embed");
    for (int64_t i = 0; i < e->n; i++) snprintf(text + i * SHARD_TEXT, SHARD_TEXT, "%s", (const char *)&e->row[i] + field);
    status st = store_write_text(s, name, e->n, SHARD_TEXT, text);
    free(text);
    return st;
}

static status put_numbers(const embedding *e, store *s, const char *name, size_t field)
{
    int32_t *v;
    TRY(mem_alloc(&v, sizeof *v * (size_t)e->n, name), "embed");
    for (int64_t i = 0; i < e->n; i++) memcpy(&v[i], (const char *)&e->row[i] + field, sizeof *v);
    status st = store_write(s, name, DT_I32, 1, &e->n, v, 0);
    free(v);
    return st;
}

static status put_all(const embedding *e, store *s)
{
    static const struct { const char *name; size_t field; bool text; } columns[] = {
        {"id", offsetof(sample_row, id), true}, {"subject", offsetof(sample_row, subject), true}, {"centre", offsetof(sample_row, centre), true},
        {"case", offsetof(sample_row, case_id), true}, {"source", offsetof(sample_row, source), true}, {"slice", offsetof(sample_row, slice), false},
        {"slices", offsetof(sample_row, n_slices), false}, {"split", offsetof(sample_row, split), false}, {"data", offsetof(sample_row, data), false}};
    char names[EMBED_MOST_DATA][64] = {{0}};
    const char *base = strrchr(e->w->path, '/');
    TRY(store_put_str(s, "/", "format", "medley-embedding"), "embed");
    TRY(store_put_i64(s, "/", "format_version", 1), "embed");
    TRY(store_put_str(s, "/", "encoder", e->w->enc.variant), "embed");
    TRY(store_put_str(s, "/", "weights", base ? base + 1 : e->w->path), "embed");
    TRY(store_put_i64(s, "/", "step", e->w->step), "embed");
    for (int p = first_part(e); p < 5; p++) TRY(put_part(e, s, p), "embed");
    for (size_t k = 0; k < sizeof columns / sizeof *columns; k++)
        TRY(columns[k].text ? put_texts(e, s, columns[k].name, columns[k].field) : put_numbers(e, s, columns[k].name, columns[k].field), "embed");
    for (int i = 0; i < e->n_data; i++) snprintf(names[i], sizeof names[i], "%s", e->data[i].name);
    TRY(store_write_text(s, "data_names", e->n_data, 64, names[0]), "embed");
    return store_put_str(s, "split", "values", "0 train, 1 val, 2 test; -1: a file of no split");
}

static status write_hdf5(const embedding *e, const char *path)
{
    store *s;
    TRY(store_create(&s, path), "embed");
    status st = put_all(e, s);
    if (st) store_discard(s);
    else st = store_commit(s);
    return st;
}

status embed_write(const embedding *e, const char *path, enum embed_format format)
{
    switch (format) {
    case EMBED_HDF5: return write_hdf5(e, path);
    case EMBED_NPY: return write_npy(e, path);
    case EMBED_CSV: return write_csv(e, path, true);
    }
    return status_raise(ST_BUG, __FILE__, __LINE__, "unknown format");
}
