/* safetensors_write: weights for other programs. Tensors of wider elements come first, so that each one is aligned in a mapped file. */
#include "medley/store.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct entry { const char *name; json_t *offsets; const void *data; size_t bytes; int number; enum dtype type; } entry;

struct tensors_writer {
    char   path[1024], part[1040];
    json_t *root, *meta;           /* meta: part of root once there is a text */
    int     n, room;
    entry  *e;
};

status tensors_create(tensors_writer **out, const char *path)
{
    *out = NULL;
    tensors_writer *w;
    TRY(mem_alloc(&w, sizeof *w, "file handle"), "%s", path);
    bool fits = snprintf(w->path, sizeof w->path, "%s", path) < (int)sizeof w->path;
    snprintf(w->part, sizeof w->part, "%s.part", w->path);
    w->root = fits ? json_object() : NULL;
    if (!w->root) {
        tensors_discard(w);
        return status_raise(ST_RESOURCE, __FILE__, __LINE__, "%.80s...: %s", path, fits ? "no memory" : "path too long");
    }
    *out = w;
    return OK;
}

void tensors_discard(tensors_writer *w)
{
    if (!w) return;
    json_decref(w->root);
    free(w->e);
    free(w);
}

status tensors_put_meta(tensors_writer *w, const char *key, const char *value)
{
    if (!w->meta) {
        w->meta = json_object();
        CHECK(w->meta && json_object_set_new(w->root, "__metadata__", w->meta) == 0, ST_RESOURCE, "%s: no memory", w->path);
    }
    json_t *text = json_string(value);
    CHECK(text, ST_DATA, "%s: the text of \"%s\" is not UTF-8", w->path, key);
    CHECK(json_object_set_new(w->meta, key, text) == 0, ST_DATA, "%s: the key \"%s\" is not UTF-8", w->path, key);
    return OK;
}

static json_t *shape_of(int ndim, const int64_t *dims)
{
    json_t *shape = json_array();
    for (int i = 0; i < ndim; i++)
        if (json_array_append_new(shape, json_integer(dims[i]))) {
            json_decref(shape);
            return NULL;
        }
    return shape;
}

status tensors_put(tensors_writer *w, const char *name, enum dtype t, int ndim, const int64_t *dims, const void *data)
{
    CHECK(t == DT_F32 || t == DT_F64 || t == DT_I64, ST_BUG, "%s: %s: %s is not written", w->path, name, dtype_name(t));
    CHECK(name[0] && strcmp(name, "__metadata__") != 0 && !json_object_get(w->root, name), ST_BUG, "%s: tensor name \"%s\" is empty, reserved or taken",
          w->path, name);
    CHECK(ndim >= 0 && ndim <= TENSORS_MAX_DIMS, ST_BUG, "%s: %s: %d dimensions", w->path, name, ndim);
    int64_t n = (int64_t)dtype_bytes(t);
    for (int i = 0; i < ndim; i++)
        CHECK(dims[i] >= 0 && !__builtin_mul_overflow(n, dims[i], &n), ST_BUG, "%s: %s: impossible shape", w->path, name);
    if (w->n == w->room) {
        int room = w->room ? 2 * w->room : 256;
        TRY(mem_grow(&w->e, (size_t)room * sizeof *w->e, "tensor list"), "%s", w->path);
        w->room = room;
    }
    json_t *one = json_pack("{s:s, s:o*, s:[]}", "dtype", t == DT_F32 ? "F32" : t == DT_F64 ? "F64" : "I64", "shape", shape_of(ndim, dims),
                            "data_offsets");
    CHECK(one && json_object_get(one, "shape"), ST_RESOURCE, "%s: no memory for tensor %s", w->path, name);
    CHECK(json_object_set_new(w->root, name, one) == 0, ST_DATA, "%s: the tensor name \"%s\" is not UTF-8", w->path, name);
    w->e[w->n] = (entry){json_object_iter_key(json_object_iter_at(w->root, name)), json_object_get(one, "data_offsets"), data, (size_t)n, w->n, t};
    w->n++;
    return OK;
}

static int wide_first(const void *pa, const void *pb)
{
    const entry *a = pa, *b = pb;
    size_t wa = dtype_bytes(a->type), wb = dtype_bytes(b->type);
    return wa != wb ? (wa > wb ? -1 : 1) : a->number - b->number;
}

/* The header as text, padded with spaces to a multiple of 8 bytes. */
static status make_header(tensors_writer *w, char **out, uint64_t *n)
{
    int64_t at = 0;
    if (w->n) qsort(w->e, (size_t)w->n, sizeof *w->e, wide_first);
    for (int i = 0; i < w->n; i++) {
        int64_t to = at + (int64_t)w->e[i].bytes;
        CHECK(json_array_append_new(w->e[i].offsets, json_integer(at)) == 0 && json_array_append_new(w->e[i].offsets, json_integer(to)) == 0,
              ST_RESOURCE, "%s: no memory for tensor %s", w->path, w->e[i].name);
        at = to;
    }
    char *text = json_dumps(w->root, JSON_COMPACT);
    CHECK(text, ST_RESOURCE, "%s: no memory for the header", w->path);
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    status st = mem_alloc(out, padded + 1, "header");
    if (!st) {
        memset(*out, ' ', padded);
        memcpy(*out, text, length);
        *n = padded;
    }
    free(text);
    TRY(st, "%s", w->path);
    CHECK(padded <= TENSORS_HEADER_MAX, ST_DATA, "%s: a header of %zu bytes is more than readers take", w->path, padded);
    return OK;
}

static status write_all(const tensors_writer *w, int fd, const void *data, size_t n)
{
    for (const char *p = data; n;) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        CHECK(done >= 0, ST_RESOURCE, "cannot write %s: %s", w->part, strerror(errno));
        p += done, n -= (size_t)done;
    }
    return OK;
}

static status write_file(tensors_writer *w, const char *header, uint64_t n)
{
    int fd;
    TRY(file_create(w->part, &fd), "writing %s", w->path);
    status st = write_all(w, fd, &n, sizeof n);
    if (!st) st = write_all(w, fd, header, n);
    for (int i = 0; i < w->n && !st; i++) st = write_all(w, fd, w->e[i].data, w->e[i].bytes);
    bool synced = st || fsync(fd) == 0;
    int why = errno;
    if (close(fd) && synced) synced = false, why = errno;
    if (!st && !synced) st = status_raise(ST_RESOURCE, __FILE__, __LINE__, "cannot finish %s: %s", w->part, strerror(why));
    if (!st && rename(w->part, w->path))
        st = status_raise(ST_RESOURCE, __FILE__, __LINE__, "cannot rename %s to %s: %s", w->part, w->path, strerror(errno));
    if (st) {
        unlink(w->part);
        return st;
    }
    char *slash = strrchr(w->part, '/'); /* the folder; the name is not needed any more */
    if (slash) *(slash == w->part ? slash + 1 : slash) = 0;
    return path_sync_dir(slash ? w->part : ".");
}

status tensors_commit(tensors_writer *w)
{
    char *header = NULL;
    uint64_t n = 0;
    status st = make_header(w, &header, &n);
    if (!st) st = write_file(w, header, n);
    free(header);
    tensors_discard(w);
    return st;
}
