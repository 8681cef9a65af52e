/* catalogue: the index of a data set folder, enough to choose samples without opening a shard. */
#include "store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_INDEX_BYTES ((size_t)16 << 30)

static status check_shards(catalogue *c, store *s)
{
    c->n_total = 0;
    for (int i = 0; i < c->n_shards; i++) {
        int64_t sum = 0;
        for (int k = 0; k < N_SPLITS; k++) {
            int64_t n = c->n_split[N_SPLITS * i + k];
            CHECK(n >= 0 && n <= INT32_MAX, ST_DATA, "%s: /n_split[%d]: %lld samples", s->path, i, (long long)n);
            sum += n;
        }
        CHECK(c->n[i] == sum, ST_DATA, "%s: /n[%d]: %lld samples, the splits have %lld", s->path, i, (long long)c->n[i],
              (long long)sum);
        CHECK(c->file[i][0] && c->file[i][0] != '.' && !strchr(c->file[i], '/'), ST_DATA,
              "%s: /file[%d]: \"%s\" is not a plain file name", s->path, i, c->file[i]);
        CHECK(c->bytes[i] > 0, ST_DATA, "%s: /bytes[%d]: %lld", s->path, i, (long long)c->bytes[i]);
        c->n_total += c->n[i];
    }
    CHECK(c->n_total <= s->file_bytes, ST_DATA, "%s: says %lld samples, the file has %lld bytes", s->path, (long long)c->n_total,
          (long long)s->file_bytes);
    CHECK(c->n_total <= UINT32_MAX, ST_DATA, "%s: %lld samples, at most 2^32 are accepted", s->path, (long long)c->n_total);
    return OK;
}

static status read_label(catalogue *c, store *s, int l)
{
    const shard_label *label = &c->meta.label[l];
    char path[160];
    int64_t n = c->n_total, n_present[N_SPLITS], counted[N_SPLITS] = {0};
    meta_label_path(path, label, "n_present");
    TRY(store_read(s, path, DT_I64, N_SPLITS, n_present), "index");
    meta_label_path(path, label, "n_class");
    TRY(read_new(s, path, DT_I64, 2, (int64_t[]){N_SPLITS, label->n_classes}, &c->label[l].n_class), "index");
    meta_label_path(path, label, "present");
    TRY(read_new(s, path, DT_U8, 1, &n, &c->label[l].present), "index");
    for (int64_t i = 0; i < n; i++) {
        CHECK(c->label[l].present[i] <= 1, ST_DATA, "%s: %s[%lld]: %d", s->path, path, (long long)i, c->label[l].present[i]);
        counted[c->split[i]] += c->label[l].present[i];
    }
    for (int k = 0; k < N_SPLITS; k++)
        CHECK(counted[k] == n_present[k], ST_DATA, "%s: %s: %lld labelled samples in split %s, /n_present says %lld", s->path, path,
              (long long)counted[k], split_name[k], (long long)n_present[k]);
    if (label->kind != TASK_CLASSIFICATION) return OK;
    meta_label_path(path, label, "class");
    TRY(read_new(s, path, DT_I32, 1, &n, &c->label[l].cls), "index");
    for (int64_t i = 0; i < n; i++)
        CHECK(c->label[l].cls[i] >= (c->label[l].present[i] ? 0 : -1) && c->label[l].cls[i] < label->n_classes, ST_DATA,
              "%s: %s[%lld]: class %d of %d", s->path, path, (long long)i, c->label[l].cls[i], label->n_classes);
    return OK;
}

static status read_index(catalogue *c, store *s)
{
    TRY(meta_read(s, "medley-index", &c->meta), "index");
    enum dtype t;
    int rank;
    int64_t dims[8];
    TRY(store_shape(s, "n", &t, &rank, dims), "index");
    CHECK(rank == 1 && dims[0] >= 1 && dims[0] <= 1 << 20, ST_DATA, "%s: /n: impossible number of shards", s->path);
    int64_t S = dims[0];
    c->n_shards = (int)S;
    TRY(read_texts(s, "file", S, SHARD_TEXT, &c->file), "index");
    TRY(read_texts(s, "sha256", S, 65, &c->sha256), "index");
    TRY(read_new(s, "n", DT_I64, 1, &S, &c->n), "index");
    TRY(read_new(s, "bytes", DT_I64, 1, &S, &c->bytes), "index");
    TRY(read_new(s, "n_split", DT_I64, 2, (int64_t[]){S, N_SPLITS}, &c->n_split), "index");
    TRY(check_shards(c, s), "index");
    TRY(read_new(s, "split", DT_U8, 1, &c->n_total, &c->split), "index");
    for (int64_t i = 0; i < c->n_total; i++)
        CHECK(c->split[i] < N_SPLITS, ST_DATA, "%s: /split[%lld]: %d", s->path, (long long)i, c->split[i]);
    int64_t n;
    TRY(store_read_text(s, "id", &n, &c->id_width, &c->id), "index");
    CHECK(n == c->n_total && c->id_width <= SHARD_TEXT, ST_DATA, "%s: /id: %lld texts, wanted %lld", s->path, (long long)n,
          (long long)c->n_total);
    TRY(store_read_text(s, "case", &n, &c->case_width, &c->case_id), "index");
    CHECK(n == c->n_total && c->case_width <= SHARD_TEXT, ST_DATA, "%s: /case: %lld texts, wanted %lld", s->path, (long long)n,
          (long long)c->n_total);
    for (int l = 0; l < c->meta.n_labels; l++) TRY(read_label(c, s, l), "label %s", c->meta.label[l].name);
    return OK;
}

/* From an open index, which is closed. */
static status from_index(catalogue *c, const char *dir, store *s)
{
    status st = OK;
    CHECK_TO(done, snprintf(c->dir, sizeof c->dir, "%s", dir) < (int)sizeof c->dir, ST_RESOURCE, "path too long: %.80s...", dir);
    st = read_index(c, s);
done:
    store_close(s);
    if (st) catalogue_close(c);
    return st;
}

status catalogue_open(catalogue *c, const char *dir)
{
    *c = (catalogue){0};
    char path[600];
    store *s;
    TRY(path_inside(dir, "index.h5", path, sizeof path), "data set folder");
    TRY(store_open(&s, path), "data set folder %s", dir);
    return from_index(c, dir, s);
}

status catalogue_open_bytes(catalogue *c, const char *dir, const void *bytes, size_t n_bytes)
{
    *c = (catalogue){0};
    char path[600];
    store *s;
    snprintf(path, sizeof path, "%.580s/index.h5", dir);
    TRY(store_open_bytes(&s, path, bytes, n_bytes), "data set folder %s", dir);
    return from_index(c, dir, s);
}

status catalogue_read(const char *dir, char **bytes, size_t *n_bytes)
{
    char path[600];
    *bytes = NULL;
    TRY(path_inside(dir, "index.h5", path, sizeof path), "data set folder");
    CHECK(access(path, R_OK) == 0 || errno != EACCES, ST_RESOURCE, "%s: cannot read: %s", path, strerror(errno));
    return file_read_all(path, MOST_INDEX_BYTES, bytes, n_bytes);
}

void catalogue_close(catalogue *c)
{
    free(c->file), free(c->n), free(c->n_split), free(c->bytes), free(c->sha256), free(c->split), free(c->id), free(c->case_id);
    for (int l = 0; l < SHARD_MAX_LABELS; l++) free(c->label[l].present), free(c->label[l].cls), free(c->label[l].n_class);
    shard_meta_free(&c->meta);
    *c = (catalogue){0};
}
