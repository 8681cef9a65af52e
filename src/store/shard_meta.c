/* shard_meta: what shards and index say about their data set, and the texts and arrays they are read from. */
#include "store_internal.h"

#include "medley_build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT_VERSION = 1, MAX_CLASSES = 1 << 16 };

/* The text attributes of "/", one table for writing and reading. */
static const struct { const char *key; size_t offset, bytes; } texts[] = {
#define TEXT(key, field) {key, offsetof(shard_meta, field), sizeof((shard_meta *)0)->field}
    TEXT("name", name), TEXT("title", title), TEXT("modality", modality), TEXT("licence", licence), TEXT("citation", citation),
    TEXT("origin", origin), TEXT("recipe_sha256", recipe_sha256), TEXT("spacing_units", spacing_units)};
enum { N_TEXTS = sizeof texts / sizeof *texts };

void meta_label_path(char out[160], const shard_label *l, const char *member)
{
    snprintf(out, 160, "/label/%s%s%s", l->name, *member ? "/" : "", member);
}

static bool plain_name(const char *name, size_t room)
{
    size_t n = strnlen(name, room);
    if (n == 0 || n == room || name[0] == '.') return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] <= ' ' || name[i] == '/' || name[i] == 127) return false;
    return true;
}

status meta_check(const shard_meta *m)
{
    CHECK(plain_name(m->name, sizeof m->name), ST_DATA, "data set name \"%.64s\": needs 1 to 63 characters without spaces and slashes",
          m->name);
    CHECK(m->pixel == DT_U8 || m->pixel == DT_U16 || m->pixel == DT_I16 || m->pixel == DT_F32, ST_DATA,
          "%s: pixels are u8, u16, i16 or f32", m->name);
    CHECK(m->channels == 1 || m->channels == 3, ST_DATA, "%s: %d channels, 1 or 3 are accepted", m->name, m->channels);
    if (m->reading.rule[0]) TRY(reading_check(&m->reading, m->name), "how files were read");
    CHECK(m->n_labels >= 0 && m->n_labels <= SHARD_MAX_LABELS, ST_DATA, "%s: %d label sets, up to %d are accepted", m->name, m->n_labels,
          SHARD_MAX_LABELS);
    for (int i = 0; i < m->n_labels; i++) {
        const shard_label *l = &m->label[i];
        CHECK(plain_name(l->name, sizeof l->name), ST_DATA,
              "%s: label name \"%.64s\": needs 1 to 63 characters without spaces and slashes", m->name, l->name);
        for (int j = 0; j < i; j++)
            CHECK(strcmp(l->name, m->label[j].name) != 0, ST_DATA, "%s: two label sets named %s", m->name, l->name);
        CHECK((unsigned)l->kind < N_TASK_KINDS, ST_DATA, "%s: label %s: unknown kind", m->name, l->name);
        int most = l->kind == TASK_SEGMENTATION ? IGNORE_MASK : l->kind == TASK_REGRESSION ? 1 : MAX_CLASSES;
        CHECK(l->n_classes >= 1 && l->n_classes <= most, ST_DATA, "%s: label %s: %d classes, 1 to %d are accepted for %s", m->name,
              l->name, l->n_classes, most, task_kind_name[l->kind]);
        if (l->kind == TASK_REGRESSION)
            CHECK(isfinite(l->lo) && isfinite(l->hi) && l->lo < l->hi, ST_DATA, "%s: label %s: range %g to %g is empty", m->name, l->name, l->lo, l->hi);
    }
    return OK;
}

void shard_meta_free(shard_meta *m)
{
    for (int i = 0; i < SHARD_MAX_LABELS; i++) {
        free(m->label[i].class_name);
        m->label[i].class_name = NULL;
    }
}

status meta_copy(shard_meta *to, const shard_meta *from)
{
    *to = *from;
    for (int i = 0; i < SHARD_MAX_LABELS; i++) to->label[i].class_name = NULL;
    for (int i = 0; i < from->n_labels; i++) {
        const shard_label *l = &from->label[i];
        status st = mem_alloc(&to->label[i].class_name, sizeof *l->class_name * (size_t)l->n_classes, "class names");
        if (st) {
            shard_meta_free(to);
            return st;
        }
        for (int k = 0; k < l->n_classes; k++) { /* a label set without names gets numbers */
            if (l->class_name) snprintf(to->label[i].class_name[k], 64, "%s", l->class_name[k]);
            else snprintf(to->label[i].class_name[k], 64, "%d", k);
        }
    }
    return OK;
}

status meta_write(store *s, const char *format, const shard_meta *m)
{
    TRY(store_put_str(s, "/", "format", format), "header");
    TRY(store_put_i64(s, "/", "format_version", FORMAT_VERSION), "header");
    TRY(store_put_str(s, "/", "creator", "medley " MEDLEY_VERSION), "header");
    TRY(store_put_str(s, "/", "axes", "sample,y,x,channel"), "header");
    for (size_t i = 0; i < N_TEXTS; i++) TRY(store_put_str(s, "/", texts[i].key, (const char *)m + texts[i].offset), "header");
    TRY(store_put_str(s, "/", "pixel", dtype_name(m->pixel)), "header");
    TRY(store_put_i64(s, "/", "channels", m->channels), "header");
    TRY(reading_write(s, &m->reading), "header");
    for (int i = 0; i < m->n_labels; i++) {
        const shard_label *l = &m->label[i];
        char path[160];
        meta_label_path(path, l, "");
        TRY(store_put_str(s, path, "kind", task_kind_name[l->kind]), "label %s", l->name);
        TRY(store_put_i64(s, path, "n_classes", l->n_classes), "label %s", l->name);
        TRY(store_put_i64(s, path, "position", i), "label %s", l->name);
        if (l->kind == TASK_REGRESSION) {
            TRY(store_put_f64(s, path, "lo", l->lo), "label %s", l->name);
            TRY(store_put_f64(s, path, "hi", l->hi), "label %s", l->name);
        }
        meta_label_path(path, l, "names");
        TRY(write_texts(s, path, l->n_classes, l->class_name[0], sizeof *l->class_name), "label %s", l->name);
    }
    return OK;
}

static status read_label(store *s, const char *name, shard_meta *m, unsigned *seen)
{
    char path[160], kind[32];
    snprintf(path, sizeof path, "/label/%s", name);
    int64_t position, n_classes;
    TRY(store_get_i64(s, path, "position", &position), "reading");
    CHECK(position >= 0 && position < m->n_labels && !(*seen >> position & 1), ST_DATA, "%s: %s: position %lld among %d label sets",
          s->path, path, (long long)position, m->n_labels);
    *seen |= 1u << position;
    shard_label *l = &m->label[position];
    CHECK(snprintf(l->name, sizeof l->name, "%s", name) < (int)sizeof l->name, ST_DATA, "%s: %s: name too long", s->path, path);
    TRY(store_get_str(s, path, "kind", kind, sizeof kind), "reading");
    int k = task_kind_find(kind);
    CHECK(k >= 0, ST_DATA, "%s: %s: unknown kind \"%s\"", s->path, path, kind);
    l->kind = (enum task_kind)k;
    TRY(store_get_i64(s, path, "n_classes", &n_classes), "reading");
    CHECK(n_classes >= 1 && n_classes <= MAX_CLASSES, ST_DATA, "%s: %s: %lld classes", s->path, path, (long long)n_classes);
    l->n_classes = (int)n_classes;
    if (l->kind == TASK_REGRESSION) {
        TRY(store_get_f64(s, path, "lo", &l->lo), "reading");
        TRY(store_get_f64(s, path, "hi", &l->hi), "reading");
    }
    meta_label_path(path, l, "names");
    return read_texts(s, path, n_classes, sizeof *l->class_name, &l->class_name);
}

static status read_meta(store *s, const char *format, shard_meta *m)
{
    char text[32];
    int64_t version, channels;
    TRY(store_get_str(s, "/", "format", text, sizeof text), "not a %s", format);
    CHECK(strcmp(text, format) == 0, ST_DATA, "%s: format is \"%s\", wanted \"%s\"", s->path, text, format);
    TRY(store_get_i64(s, "/", "format_version", &version), "reading");
    CHECK(version == FORMAT_VERSION, ST_DATA, "%s: format version %lld, this program reads %d", s->path, (long long)version,
          FORMAT_VERSION);
    for (size_t i = 0; i < N_TEXTS; i++)
        TRY(store_get_str(s, "/", texts[i].key, (char *)m + texts[i].offset, texts[i].bytes), "reading");
    TRY(store_get_str(s, "/", "pixel", text, sizeof text), "reading");
    m->pixel = N_DTYPES;
    for (int t = 0; t < N_DTYPES; t++)
        if (strcmp(text, dtype_name((enum dtype)t)) == 0) m->pixel = (enum dtype)t;
    TRY(store_get_i64(s, "/", "channels", &channels), "reading");
    CHECK(channels == 1 || channels == 3, ST_DATA, "%s: %lld channels", s->path, (long long)channels);
    m->channels = (int)channels;
    TRY(reading_read(s, &m->reading), "%s", s->path);
    int n = 0;
    char(*name)[128] = NULL;
    if (store_has(s, "label")) TRY(store_list(s, "/label", &n, &name), "reading"); /* else images without labels, to be embedded */
    status st = OK;
    unsigned seen = 0;
    m->n_labels = n;
    if (n > SHARD_MAX_LABELS) st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: /label: %d label sets", s->path, n);
    for (int i = 0; !st && i < n; i++) st = read_label(s, name[i], m, &seen);
    free(name);
    TRY(st, "label sets");
    TRY(meta_check(m), "%s", s->path);
    return OK;
}

status meta_read(store *s, const char *format, shard_meta *m)
{
    *m = (shard_meta){0};
    status st = read_meta(s, format, m);
    if (st) shard_meta_free(m);
    return st;
}

/* ---- arrays ---- */

status write_texts(store *s, const char *name, int64_t n, const char *first, size_t stride)
{
    size_t width = 1;
    for (int64_t i = 0; i < n; i++) {
        size_t w = strnlen(first + (size_t)i * stride, stride - 1) + 1;
        if (w > width) width = w;
    }
    char *packed;
    TRY(mem_alloc(&packed, (size_t)n * width + 1, "texts"), "%s", name);
    for (int64_t i = 0; i < n; i++) {
        const char *text = first + (size_t)i * stride;
        memcpy(packed + (size_t)i * width, text, strnlen(text, width - 1));
    }
    status st = store_write_text(s, name, n, (int)width, packed);
    free(packed);
    return st;
}

status read_texts(store *s, const char *name, int64_t n, size_t width, void *out_ptr)
{
    *(void **)out_ptr = NULL;
    int64_t n_found;
    int w;
    char *raw, *wide = NULL;
    TRY(store_read_text(s, name, &n_found, &w, &raw), "reading");
    status st = OK;
    CHECK_TO(done, n_found <= s->file_bytes, ST_DATA, "%s: %s: says %lld texts, the file has %lld bytes", s->path, name, (long long)n_found,
             (long long)s->file_bytes);
    CHECK_TO(done, n_found == n, ST_DATA, "%s: %s: has %lld texts, wanted %lld", s->path, name, (long long)n_found, (long long)n);
    TRY_TO(done, mem_alloc(&wide, (size_t)n * width + 1, "texts"), "%s: %s", s->path, name);
    for (int64_t i = 0; i < n; i++) {
        size_t len = strlen(raw + (size_t)i * (size_t)w);
        CHECK_TO(done, len < width, ST_DATA, "%s: %s[%lld]: %zu bytes long, at most %zu are accepted", s->path, name, (long long)i, len,
                 width - 1);
        memcpy(wide + (size_t)i * width, raw + (size_t)i * (size_t)w, len);
    }
    *(void **)out_ptr = wide;
    wide = NULL;
done:
    free(raw);
    free(wide);
    return st;
}

status read_new(store *s, const char *name, enum dtype t, int ndim, const int64_t *dims, void *out_ptr)
{
    *(void **)out_ptr = NULL;
    enum dtype found;
    int rank;
    int64_t got[8], n;
    TRY(store_shape(s, name, &found, &rank, got), "reading");
    bool same = rank == ndim;
    for (int i = 0; same && i < ndim; i++) same = got[i] == dims[i];
    CHECK(same, ST_DATA, "%s: %s: shape differs from that of the other arrays", s->path, name);
    TRY(dims_count(s, name, ndim, dims, &n), "reading");
    {   /* before memory is taken for it, the data must be there */
        DOOR;
        AUTO_HID set = H5Dopen2(s->file, name, H5P_DEFAULT);
        DOOR_CHECK(set >= 0, ST_DATA, "%s: no readable array %s", s->path, name);
        AUTO_HID type = H5Dget_type(set);
        TRY(hdf5_check_storage(s, set, name, n * (int64_t)H5Tget_size(type)), "reading");
    }
    void *data;
    TRY(mem_alloc(&data, (size_t)n * dtype_bytes(t) + 1, "array"), "%s: %s", s->path, name);
    status st = store_read(s, name, t, n, data);
    if (st) free(data);
    else *(void **)out_ptr = data;
    return st;
}
