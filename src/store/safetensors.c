/* safetensors: reads weights of other programs; trusts nothing the header says before it is checked against the file.
 * Source: the format description of the safetensors project (header, dtypes, no holes). */
#include "medley/store.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TENSORS_MAX = 1 << 20, PIECE = 1 << 14 };

struct tensors {
    int          fd;
    char        *path;
    int64_t      data_at, data_bytes; /* where the elements start in the file, how many bytes they are */
    json_t      *root;                /* owns the names and texts */
    int          n;
    tensor_info *x;                   /* (n) in the order of the data */
    int         *by_name;             /* (n) positions in x, sorted by name */
};

static const struct { const char *name; int bytes; } types[N_TENSOR_TYPES] = {
    [TT_BOOL] = {"BOOL", 1}, [TT_U8] = {"U8", 1}, [TT_I8] = {"I8", 1}, [TT_F8_E5M2] = {"F8_E5M2", 1}, [TT_F8_E4M3] = {"F8_E4M3", 1},
    [TT_U16] = {"U16", 2}, [TT_I16] = {"I16", 2}, [TT_F16] = {"F16", 2}, [TT_BF16] = {"BF16", 2}, [TT_U32] = {"U32", 4},
    [TT_I32] = {"I32", 4}, [TT_F32] = {"F32", 4}, [TT_U64] = {"U64", 8}, [TT_I64] = {"I64", 8}, [TT_F64] = {"F64", 8}};

const char *tensor_type_name(enum tensor_type t) { return types[t].name; }

/* ---- header --------------------------------------------------------------------------------------------------------------- */

/* A whole number from 0 to `most`. */
static bool whole(const json_t *j, int64_t most, int64_t *out)
{
    if (!json_is_integer(j)) return false;
    *out = json_integer_value(j);
    return *out >= 0 && *out <= most;
}

static status parse_tensor(const tensors *t, const char *name, json_t *j, tensor_info *x)
{
    *x = (tensor_info){.name = name, .type = N_TENSOR_TYPES, .n = 1};
    json_t *shape = json_object_get(j, "shape"), *offsets = json_object_get(j, "data_offsets");
    const char *word = json_string_value(json_object_get(j, "dtype"));
    CHECK(name[0], ST_DATA, "%s: a tensor without a name", t->path);
    CHECK(word && json_is_array(shape) && json_is_array(offsets) && json_array_size(offsets) == 2 && json_object_size(j) == 3, ST_DATA,
          "%s: tensor \"%.200s\": needs dtype, shape and two data_offsets, nothing else", t->path, name);
    for (int k = 0; k < N_TENSOR_TYPES; k++)
        if (strcmp(types[k].name, word) == 0) x->type = (enum tensor_type)k;
    CHECK(x->type != N_TENSOR_TYPES, ST_DATA, "%s: tensor \"%.200s\": unknown dtype \"%.40s\"", t->path, name, word);
    size_t ndim = json_array_size(shape);
    CHECK(ndim <= TENSORS_MAX_DIMS, ST_DATA, "%s: tensor \"%.200s\": %zu dimensions, at most %d are read", t->path, name, ndim, TENSORS_MAX_DIMS);
    x->ndim = (int)ndim;
    for (int i = 0; i < x->ndim; i++) {
        bool good = whole(json_array_get(shape, (size_t)i), INT64_MAX, &x->dims[i]) && !__builtin_mul_overflow(x->n, x->dims[i], &x->n);
        CHECK(good, ST_DATA, "%s: tensor \"%.200s\": impossible shape", t->path, name);
    }
    int64_t bytes;
    CHECK(!__builtin_mul_overflow(x->n, (int64_t)types[x->type].bytes, &bytes), ST_DATA, "%s: tensor \"%.200s\": impossible shape", t->path, name);
    bool in = whole(json_array_get(offsets, 0), t->data_bytes, &x->from) && whole(json_array_get(offsets, 1), t->data_bytes, &x->to) &&
              x->from <= x->to;
    CHECK(in, ST_DATA, "%s: tensor \"%.200s\": data_offsets leave the file, which has %lld bytes of data", t->path, name,
          (long long)t->data_bytes);
    CHECK(x->to - x->from == bytes, ST_DATA, "%s: tensor \"%.200s\": %lld bytes of data for a shape of %lld", t->path, name,
          (long long)(x->to - x->from), (long long)bytes);
    return OK;
}

static int by_place(const void *pa, const void *pb)
{
    const tensor_info *a = pa, *b = pb;
    if (a->from != b->from) return a->from < b->from ? -1 : 1;
    if (a->to != b->to) return a->to < b->to ? -1 : 1; /* empty ones before the one that starts there */
    return strcmp(a->name, b->name);
}

static int by_name(const void *pa, const void *pb, void *to)
{
    const tensor_info *x = to;
    return strcmp(x[*(const int *)pa].name, x[*(const int *)pb].name);
}

/* No overlap, no gap: each one begins where the one before ended, the last one ends with the file. */
static status check_ranges(tensors *t)
{
    int64_t end = 0;
    qsort(t->x, (size_t)t->n, sizeof *t->x, by_place);
    for (int i = 0; i < t->n; i++) {
        CHECK(t->x[i].from == end, ST_DATA, "%s: tensor \"%.200s\": begins at byte %lld of the data, the one before ends at %lld (%s)", t->path,
              t->x[i].name, (long long)t->x[i].from, (long long)end, t->x[i].from < end ? "overlap" : "gap");
        end = t->x[i].to;
    }
    CHECK(end == t->data_bytes, ST_DATA, "%s: the tensors end at byte %lld of the data, the file has %lld", t->path, (long long)end,
          (long long)t->data_bytes);
    for (int i = 0; i < t->n; i++) t->by_name[i] = i;
    qsort_r(t->by_name, (size_t)t->n, sizeof *t->by_name, by_name, t->x);
    return OK;
}

static status parse_header(tensors *t, const char *text, size_t n)
{
    json_error_t error;
    CHECK(text[0] == '{', ST_DATA, "%s: not a safetensors file: the header does not begin with {", t->path);
    t->root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    CHECK(t->root && json_is_object(t->root), ST_DATA, "%s: header, byte %d: %s", t->path, t->root ? 0 : error.position,
          t->root ? "not an object" : error.text);
    size_t count = json_object_size(t->root);
    CHECK(count <= TENSORS_MAX, ST_DATA, "%s: %zu tensors, at most %d are read", t->path, count, TENSORS_MAX);
    TRY(mem_alloc(&t->x, (count + 1) * sizeof *t->x, "list of tensors"), "%s", t->path);
    TRY(mem_alloc(&t->by_name, (count + 1) * sizeof *t->by_name, "list of tensors"), "%s", t->path);
    const char *name, *key;
    json_t *value, *text_value;
    json_object_foreach(t->root, name, value) {
        if (strcmp(name, "__metadata__") == 0) {
            CHECK(json_is_object(value), ST_DATA, "%s: __metadata__ is not an object", t->path);
            json_object_foreach(value, key, text_value)
                CHECK(json_is_string(text_value), ST_DATA, "%s: __metadata__: \"%.200s\" is not a text", t->path, key);
            continue;
        }
        CHECK(json_is_object(value), ST_DATA, "%s: tensor \"%.200s\": not an object", t->path, name);
        TRY(parse_tensor(t, name, value, &t->x[t->n]), "safetensors");
        t->n++;
    }
    return check_ranges(t);
}

static status read_at(const tensors *t, int64_t at, void *out, size_t n)
{
    for (char *p = out; n;) {
        ssize_t got = pread(t->fd, p, n, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        CHECK(got >= 0, ST_DATA, "%s: cannot read: %s", t->path, strerror(errno));
        CHECK(got > 0, ST_DATA, "%s: the file became shorter while it was read", t->path);
        p += got, at += got, n -= (size_t)got;
    }
    return OK;
}

static status open_file(tensors *t, const char *path)
{
    status st = OK;
    char *text = NULL;
    struct stat info;
    uint64_t n;
    TRY(mem_copy(&t->path, path, strlen(path), "file name"), "%s", path);
    t->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* not to wait for the writer of a pipe */
    CHECK(t->fd >= 0, ST_DATA, "%s: cannot open: %s", path, strerror(errno));
    CHECK(fstat(t->fd, &info) == 0 && S_ISREG(info.st_mode), ST_DATA, "%s: not a regular file", path);
    CHECK(info.st_size >= 8, ST_DATA, "%s: %lld bytes are no safetensors file", path, (long long)info.st_size);
    TRY(read_at(t, 0, &n, sizeof n), "safetensors");
    CHECK(n >= 2 && n <= TENSORS_HEADER_MAX && n <= (uint64_t)info.st_size - 8, ST_DATA,
          "%s: not a safetensors file: says that its header has %llu bytes, the file has %lld, %d are accepted", path, (unsigned long long)n,
          (long long)info.st_size, TENSORS_HEADER_MAX);
    t->data_at = 8 + (int64_t)n;
    t->data_bytes = info.st_size - t->data_at;
    TRY(mem_alloc(&text, n + 1, "header"), "%s", path);
    TRY_TO(done, read_at(t, 8, text, n), "safetensors");
    TRY_TO(done, parse_header(t, text, n), "safetensors");
done:
    free(text);
    return st;
}

status tensors_open(tensors **out, const char *path)
{
    tensors *t;
    *out = NULL;
    TRY(mem_alloc(&t, sizeof *t, "file handle"), "%s", path);
    t->fd = -1;
    status st = open_file(t, path);
    if (st) tensors_close(t);
    else *out = t;
    return st;
}

void tensors_close(tensors *t)
{
    if (!t) return;
    if (t->fd >= 0) close(t->fd);
    json_decref(t->root);
    free(t->path), free(t->x), free(t->by_name);
    free(t);
}

/* ---- what is in it ---------------------------------------------------------------------------------------------------------- */

int tensors_count(const tensors *t) { return t->n; }

const tensor_info *tensors_next(const tensors *t, const tensor_info *after)
{
    int64_t i = after ? after - t->x + 1 : 0;
    return i < t->n ? &t->x[i] : NULL;
}

const tensor_info *tensors_find(const tensors *t, const char *name)
{
    int lo = 0, hi = t->n;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2, order = strcmp(t->x[t->by_name[mid]].name, name);
        if (order == 0) return &t->x[t->by_name[mid]];
        if (order < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

bool tensors_meta(const tensors *t, int i, const char **key, const char **value)
{
    json_t *all = json_object_get(t->root, "__metadata__"), *text;
    const char *name;
    json_object_foreach(all, name, text) {
        if (i-- > 0) continue;
        *key = name, *value = json_string_value(text);
        return true;
    }
    return false;
}

const char *tensors_meta_find(const tensors *t, const char *key)
{
    return json_string_value(json_object_get(json_object_get(t->root, "__metadata__"), key));
}

/* ---- elements ----------------------------------------------------------------------------------------------------------------- */

static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff, u;
    float f;
    if (exponent == 31) u = sign | 0x7f800000u | fraction << 13;
    else if (exponent) u = sign | (exponent + 112) << 23 | fraction << 13;
    else { /* zero or subnormal: a whole number of 2^-24 */
        f = (float)fraction * 0x1p-24f;
        return sign ? -f : f;
    }
    memcpy(&f, &u, sizeof f);
    return f;
}

static double element(enum tensor_type type, const unsigned char *p)
{
    uint16_t h;
    uint32_t u;
    float f;
    double d;
    switch (type) {
    case TT_F16: return memcpy(&h, p, 2), half_to_float(h);
    case TT_BF16: return memcpy(&h, p, 2), u = (uint32_t)h << 16, memcpy(&f, &u, 4), f;
    case TT_F32: return memcpy(&f, p, 4), f;
    default: return memcpy(&d, p, 8), d;
    }
}

status tensors_read(tensors *t, const tensor_info *x, enum dtype as, int64_t n_expected, void *out)
{
    CHECK(x->n == n_expected, ST_DATA, "%s: tensor \"%.200s\": has %lld elements, wanted %lld", t->path, x->name, (long long)x->n,
          (long long)n_expected);
    bool is_float = x->type == TT_F16 || x->type == TT_BF16 || x->type == TT_F32 || x->type == TT_F64;
    CHECK(as == DT_I64 ? x->type == TT_I64 : (as == DT_F32 || as == DT_F64) && is_float, ST_DATA, "%s: tensor \"%.200s\": %s is not read as %s",
          t->path, x->name, types[x->type].name, dtype_name(as));
    size_t bytes = (size_t)types[x->type].bytes;
    if (bytes == dtype_bytes(as)) return read_at(t, t->data_at + x->from, out, (size_t)(x->to - x->from));
    unsigned char piece[PIECE];
    for (int64_t i = 0, n; i < x->n; i += n) {
        n = x->n - i < (int64_t)(PIECE / bytes) ? x->n - i : (int64_t)(PIECE / bytes);
        TRY(read_at(t, t->data_at + x->from + i * (int64_t)bytes, piece, (size_t)n * bytes), "safetensors");
        for (int64_t k = 0; k < n; k++) {
            double v = element(x->type, piece + (size_t)k * bytes);
            if (as == DT_F64) ((double *)out)[i + k] = v;
            else {
                CHECK(!isfinite(v) || fabs(v) <= 3.4028234663852886e38, ST_DATA, "%s: tensor \"%.200s\": element %lld is %g, too large for f32",
                      t->path, x->name, (long long)(i + k), v);
                ((float *)out)[i + k] = (float)v;
            }
        }
    }
    return OK;
}
