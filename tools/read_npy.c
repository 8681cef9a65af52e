/* read_npy: numpy arrays (.npy) of images, and beside them arrays of masks and classes for the same images. One image at a time is read where it
 * lies in the file, so that memory does not grow with the array; nothing in a head is believed beyond the length of its file. */
#include "case.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct array {
    char   what[2 * PATTERN_PATH];
    int    fd;                     /* 0: not there */
    npy    head;
    size_t bytes;                  /* of one image's elements */
} array;

struct npy_set {
    array  images, label[SHARD_MAX_LABELS];
    int    n, H, W, C;
};

static bool is_text(const npy *h) { return h->kind == 'U' || h->kind == 'S'; }

static status array_open(array *a, const char *path)
{
    uint8_t b[NPY_HEAD_MAX];
    struct stat info;
    snprintf(a->what, sizeof a->what, "%s", path);
    a->fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(a->fd > 0, ST_DATA, "%s: cannot open: %s", path, strerror(errno));
    CHECK(!fstat(a->fd, &info) && S_ISREG(info.st_mode), ST_DATA, "%s: not a regular file", path);
    ssize_t n = pread(a->fd, b, sizeof b, 0);
    CHECK(n >= 0, ST_DATA, "%s: cannot read: %s", path, strerror(errno));
    TRY(npy_parse(&a->head, b, (size_t)n, path), "numpy array");
    const npy *h = &a->head;
    CHECK(!h->fortran, ST_DATA, "%s: in Fortran's order; save it with numpy.ascontiguousarray", path);
    CHECK(h->ndim >= 1 && h->dim[0] >= 1 && h->count >= 1, ST_DATA, "%s: an empty array", path);
    CHECK(h->dim[0] <= PARTS_MAX, ST_DATA, "%s: %lld images, at most %d are read", path, (long long)h->dim[0], PARTS_MAX);
    int64_t want = h->count * h->bytes + (int64_t)h->head; /* count: at most 2^48 */
    CHECK(info.st_size == want, ST_DATA, "%s: %lld bytes, its head says %lld", path, (long long)info.st_size, (long long)want);
    a->bytes = (size_t)(h->count / h->dim[0]) * (size_t)h->bytes;
    CHECK(a->bytes <= IMAGE_BYTES_MAX, ST_DATA, "%s: images of %zu MiB", path, a->bytes >> 20);
    return OK;
}

static status array_read(const array *a, int i, void *to)
{
    for (size_t got = 0; got < a->bytes;) {
        ssize_t n = pread(a->fd, (char *)to + got, a->bytes - got, (off_t)(a->head.head + (size_t)i * a->bytes + got));
        if (n < 0 && errno == EINTR) continue;
        CHECK(n > 0, ST_DATA, "%s: image %d: %s", a->what, i, n ? strerror(errno) : "the file became shorter");
        got += (size_t)n;
    }
    return OK;
}

/* Element at p. */
static double number_of(const npy *h, const uint8_t *p)
{
    uint64_t u = 0;
    double d;
    float f;
    for (int k = 0; k < h->bytes; k++) u = u << 8 | p[h->big ? k : h->bytes - 1 - k];
    if (h->kind == 'f' && h->bytes == 8) return memcpy(&d, &u, 8), d;
    if (h->kind == 'f') {
        uint32_t half = (uint32_t)u;
        return memcpy(&f, &half, 4), (double)f;
    }
    if (h->kind == 'i' && h->bytes < 8 && u >> (8 * h->bytes - 1)) u |= UINT64_MAX << (8 * h->bytes);
    return h->kind == 'i' ? (double)(int64_t)u : (double)u;
}

/* ---- opening ---------------------------------------------------------------------------------------------------------------------------- */

static status check_numbers(const array *a)
{
    const npy *h = &a->head;
    CHECK(!is_text(h) && !(h->kind == 'f' && h->bytes < 4), ST_DATA, "%s: elements \"%c%d\"; whole numbers, f4 and f8 are read", a->what, h->kind, h->bytes);
    return OK;
}

static status check_images(npy_set *v)
{
    const npy *h = &v->images.head;
    TRY(check_numbers(&v->images), "images");
    CHECK(h->ndim == 3 || (h->ndim == 4 && (h->dim[3] == 1 || h->dim[3] == 3)), ST_DATA, "%s: %d dimensions; (n,H,W), (n,H,W,1) and (n,H,W,3) are read",
          v->images.what, h->ndim);
    CHECK(h->dim[1] <= IMAGE_SIDE_MAX && h->dim[2] <= IMAGE_SIDE_MAX, ST_DATA, "%s: images of %lldx%lld pixels", v->images.what, (long long)h->dim[2],
          (long long)h->dim[1]);
    v->n = (int)h->dim[0], v->H = (int)h->dim[1], v->W = (int)h->dim[2], v->C = h->ndim == 4 ? (int)h->dim[3] : 1;
    return OK;
}

static status check_label(const npy_set *v, const array *a, const recipe_label *l)
{
    const npy *h = &a->head;
    CHECK(h->dim[0] == v->n, ST_DATA, "%s: %lld rows for %d images", a->what, (long long)h->dim[0], v->n);
    if (l->task == TASK_CLASSIFICATION) {
        CHECK(h->count == v->n, ST_DATA, "%s: %lld elements for %d images", a->what, (long long)h->count, v->n);
        return OK;
    }
    TRY(check_numbers(a), "masks");
    CHECK((h->ndim == 3 || h->ndim == 4) && h->dim[1] == v->H && h->dim[2] == v->W, ST_DATA, "%s: not (%d,%d,%d) or (%d,%d,%d,K), as the images are", a->what,
          v->n, v->H, v->W, v->n, v->H, v->W);
    int64_t K = h->ndim == 4 ? h->dim[3] : 1;
    CHECK(l->n_planes || K == 1, ST_DATA, "%s: %lld planes; say in the recipe which ones hold the classes (planes)", a->what, (long long)K);
    for (int k = 0; k < l->n_planes; k++)
        CHECK(l->planes[k] < K, ST_DATA, "%s: has no plane %d, but %lld of them", a->what, l->planes[k], (long long)K);
    return OK;
}

static status open_label(npy_set *v, const source *s, const bindings *known, int i)
{
    const recipe_label *l = &s->r->label[i];
    found_list files = {0};
    char path[2 * PATTERN_PATH];
    status st = OK;
    TRY_TO(out, pattern_list(s->root, l->file, known, &files), "label %s", l->name);
    if (files.n == 0) goto out;
    CHECK_TO(out, files.n == 1, ST_DATA, "label %s: %d files match %s", l->name, files.n, l->file);
    snprintf(path, sizeof path, "%s/%s", s->root, files.v[0].path);
    TRY_TO(out, array_open(&v->label[i], path), "label %s", l->name);
    TRY_TO(out, check_label(v, &v->label[i], l), "label %s", l->name);
out:
    found_free(&files);
    return st;
}

status npy_open(npy_set **out, const struct source *s, const bindings *known, const char *path)
{
    npy_set *v;
    *out = NULL;
    TRY(mem_alloc(&v, sizeof *v, "a numpy array"), "%s", path);
    status st = array_open(&v->images, path);
    if (!st) st = check_images(v);
    for (int i = 0; s && !st && i < s->r->n_labels; i++)
        if (!strcmp(s->r->label[i].source, "npy")) st = open_label(v, s, known, i);
    if (st) npy_close(v);
    else *out = v;
    return st;
}

void npy_close(npy_set *v)
{
    if (!v) return;
    if (v->images.fd > 0) close(v->images.fd);
    for (int i = 0; i < SHARD_MAX_LABELS; i++)
        if (v->label[i].fd > 0) close(v->label[i].fd);
    free(v);
}

int npy_count(const npy_set *v) { return v->n; }

/* ---- reading ---------------------------------------------------------------------------------------------------------------------------- */

/* u1, u2, i2 and f4 keep their type; the others become f4, which must hold them exactly. */
status npy_read(npy_set *v, part p, image *out)
{
    const npy *h = &v->images.head;
    uint8_t *raw = NULL;
    bool narrow = h->kind != 'f' && h->bytes == 1;
    enum dtype t = h->kind == 'f' || h->bytes > 2 || (h->kind == 'i' && narrow) ? DT_F32 : narrow ? DT_U8 : h->kind == 'u' ? DT_U16 : DT_I16;
    CHECK(p.b >= 0 && p.b < v->n, ST_BUG, "%s: no image %d", v->images.what, p.b);
    TRY(image_alloc(out, 1, v->H, v->W, v->C, t, v->images.what), "numpy");
    size_t n = image_count(out);
    status st = OK;
    if (!h->big && (size_t)h->bytes == dtype_bytes(t) && (t != DT_F32 || h->kind == 'f')) { /* as it lies in the file */
        TRY_TO(out, array_read(&v->images, p.b, out->data), "images");
        goto out;
    }
    TRY_TO(out, mem_grow(&raw, v->images.bytes, "an image of an array"), "images");
    TRY_TO(out, array_read(&v->images, p.b, raw), "images");
    for (size_t k = 0; k < n; k++) {
        double x = number_of(h, raw + k * (size_t)h->bytes);
        if (t == DT_U16) ((uint16_t *)out->data)[k] = (uint16_t)x;
        else if (t == DT_I16) ((int16_t *)out->data)[k] = (int16_t)x;
        else {
            CHECK_TO(out, fabs(x) <= 1e30 && (double)(float)x == x, ST_DATA, "%s: image %d: %.17g is no number that float32 holds", v->images.what, p.b, x);
            ((float *)out->data)[k] = (float)x;
        }
    }
out:
    free(raw);
    if (st) image_free(out);
    return st;
}

bool npy_has(const npy_set *v, int label) { return v->label[label].fd > 0; }

status npy_mask(const npy_set *v, int label, part p, const recipe_label *l, const int16_t *class_of, uint8_t *px)
{
    const array *a = &v->label[label];
    const npy *h = &a->head;
    size_t K = h->ndim == 4 ? (size_t)h->dim[3] : 1, area = (size_t)v->H * (size_t)v->W;
    uint8_t *raw = NULL;
    status st = OK;
    TRY(mem_grow(&raw, a->bytes, "masks of an array"), "masks");
    TRY_TO(out, array_read(a, p.b, raw), "masks");
    memset(px, 0, area);
    for (size_t k = 0; k < area; k++) {
        const uint8_t *here = raw + k * K * (size_t)h->bytes;
        if (l->n_planes > 1) { /* one plane for each class, numbers of objects in it */
            for (int c = 0; c < l->n_planes; c++)
                if (number_of(h, here + (size_t)l->planes[c] * (size_t)h->bytes) > 0) px[k] = (uint8_t)(c + 1);
            continue;
        }
        double x = number_of(h, here + (l->n_planes ? (size_t)l->planes[0] * (size_t)h->bytes : 0));
        int c = x == rint(x) && x >= -LUT_ZERO && x < LUT_SIZE - LUT_ZERO ? class_of[LUT_ZERO + (int)x] : -1;
        CHECK_TO(out, c >= 0, ST_DATA, "%s: image %d: value %g is no class of label %s", a->what, p.b, x, l->name);
        px[k] = (uint8_t)c;
    }
out:
    free(raw);
    return st;
}

/* Texts of numpy are UCS-4 ('U') or bytes ('S'), with zeros behind them; what is no ASCII becomes "?". */
status npy_value(const npy_set *v, int label, part p, char *text, size_t room, bool *number)
{
    const array *a = &v->label[label];
    const npy *h = &a->head;
    uint8_t raw[NPY_TEXT_MAX];
    CHECK(a->bytes <= sizeof raw && room > NPY_TEXT_MAX, ST_BUG, "%s: texts of %zu bytes", a->what, a->bytes);
    TRY(array_read(a, p.b, raw), "classes");
    *number = !is_text(h);
    if (*number) {
        snprintf(text, room, "%.17g", number_of(h, raw));
        return OK;
    }
    size_t step = h->kind == 'U' ? 4 : 1, n = 0;
    for (size_t k = 0; k < a->bytes; k += step) {
        uint32_t u = h->kind == 'S' ? raw[k] : h->big ? (uint32_t)raw[k] << 24 | (uint32_t)raw[k + 1] << 16 | (uint32_t)raw[k + 2] << 8 | raw[k + 3]
                                                      : (uint32_t)raw[k + 3] << 24 | (uint32_t)raw[k + 2] << 16 | (uint32_t)raw[k + 1] << 8 | raw[k];
        if (!u) break;
        text[n++] = u >= 32 && u < 127 ? (char)u : '?';
    }
    text[n] = 0;
    return OK;
}
