/* read_npz: NPZ files in MedMNIST's form (libzip). Members may be stored or deflated; images are unpacked in the order of the file. A few images
 * stay behind the place of reading, for threads that ask a little later; who asks for an earlier one starts the member anew. */
#include "many.h"

#include "medley_build.h"

#ifdef HAVE_ZIP
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

enum { KEPT_MOST = 64 };
#define KEPT_BYTES ((size_t)64 << 20)
#define LABELS_MAX ((int64_t)1 << 28)

typedef struct member {
    zip_uint64_t index, size;
    npy      head;
    int      n;                    /* images */
    int      D, H, W, C;
    enum dtype type;
    size_t   bytes;                /* per image */
    int32_t *label;                /* (n,k) */
    int      k;
    zip_file_t *open;              /* where images come from, next is number `next` */
    int      next, kept;
    uint8_t *ring;                 /* (kept,bytes): image i lies in i % kept */
} member;

struct npz {
    char   what[2 * PATTERN_PATH];
    zip_t *zip;
    pthread_mutex_t lock;
    member part[N_SPLITS];
};

static status fail(const npz *z, const member *m, int split, const char *why)
{
    return status_raise(ST_DATA, __FILE__, __LINE__, "%s: %s_images: %s%s%s", z->what, split_name[split], why, m->open ? ": " : "",
                        m->open ? zip_file_strerror(m->open) : "");
}

static status read_bytes(zip_file_t *file, void *to, size_t n, const char *what)
{
    for (size_t got = 0; got < n;) {
        zip_int64_t now = zip_fread(file, (char *)to + got, n - got);
        CHECK(now >= 0, ST_DATA, "%s is damaged: %s", what, zip_file_strerror(file));
        CHECK(now > 0, ST_DATA, "%s is shorter than it says", what);
        got += (size_t)now;
    }
    return OK;
}

/* Opens NAME.npy at its data. *file NULL: there is none. */
static status open_array(const npz *z, const char *name, zip_file_t **file, npy *head, zip_uint64_t *index, zip_uint64_t *size)
{
    char entry[64], what[3 * PATTERN_PATH];
    uint8_t b[NPY_HEAD_MAX];
    zip_stat_t info;
    snprintf(entry, sizeof entry, "%s.npy", name);
    snprintf(what, sizeof what, "%s: %s", z->what, entry);
    zip_int64_t at = zip_name_locate(z->zip, entry, 0);
    *file = NULL;
    if (at < 0) return OK;
    CHECK(zip_stat_index(z->zip, (zip_uint64_t)at, 0, &info) == 0 && (info.valid & ZIP_STAT_SIZE), ST_DATA, "%s: no size", what);
    CHECK(!(info.valid & ZIP_STAT_COMP_METHOD) || info.comp_method == ZIP_CM_STORE || info.comp_method == ZIP_CM_DEFLATE, ST_DATA,
          "%s: packed with method %d; stored and deflated are read", what, (int)info.comp_method);
    *file = zip_fopen_index(z->zip, (zip_uint64_t)at, 0);
    CHECK(*file, ST_DATA, "%s: %s", what, zip_strerror(z->zip));
    status st = OK;
    TRY_TO(bad, read_bytes(*file, b, 12, what), "NPZ");
    size_t length = 10 + (b[8] | (size_t)b[9] << 8);
    if (b[6] > 1) length += 2 + ((size_t)b[10] << 16 | (size_t)b[11] << 24);
    CHECK_TO(bad, length >= 12 && length <= sizeof b, ST_DATA, "%s: no numpy array", what);
    TRY_TO(bad, read_bytes(*file, b + 12, length - 12, what), "NPZ");
    TRY_TO(bad, npy_parse(head, b, length, what), "NPZ");
    CHECK_TO(bad, head->kind != 'U' && head->kind != 'S', ST_DATA, "%s: texts; whole numbers are read", what);
    CHECK_TO(bad, !head->fortran || head->ndim < 2, ST_DATA, "%s: Fortran order; save it with numpy.ascontiguousarray", what);
    CHECK_TO(bad, head->head + (uint64_t)head->count * (uint64_t)head->bytes == info.size, ST_DATA, "%s: %llu bytes for %lld elements of %d bytes", what,
             (unsigned long long)info.size, (long long)head->count, head->bytes);
    *index = (zip_uint64_t)at, *size = info.size;
    return OK;
bad:
    zip_fclose(*file);
    *file = NULL;
    return st;
}

/* Numbers of 1 to 8 bytes in place of the file's order to the machine's. */
static void turn(uint8_t *b, size_t n, int bytes)
{
    for (size_t i = 0; i < n; i++, b += bytes)
        for (int k = 0; k < bytes / 2; k++) {
            uint8_t keep = b[k];
            b[k] = b[bytes - 1 - k], b[bytes - 1 - k] = keep;
        }
}

static int64_t number_at(const npy *h, const uint8_t *b)
{
    uint64_t v = 0;
    for (int i = 0; i < h->bytes; i++) v |= (uint64_t)b[h->big ? h->bytes - 1 - i : i] << 8 * i;
    if (h->kind == 'i' && h->bytes < 8 && v >> (8 * h->bytes - 1)) v -= (uint64_t)1 << 8 * h->bytes;
    return (int64_t)v;
}

static status read_labels(npz *z, int split)
{
    member *m = &z->part[split];
    char name[32];
    zip_file_t *file;
    zip_uint64_t index, size;
    npy h;
    status st = OK;
    snprintf(name, sizeof name, "%s_labels", split_name[split]);
    TRY(open_array(z, name, &file, &h, &index, &size), "labels");
    CHECK(file, ST_DATA, "%s: no %s.npy", z->what, name);
    CHECK_TO(out, h.kind != 'f', ST_DATA, "%s: %s.npy: labels are whole numbers", z->what, name);
    CHECK_TO(out, (h.ndim == 1 || h.ndim == 2) && h.dim[0] == m->n, ST_DATA, "%s: %s.npy: %lld rows in %d dimensions for %d images", z->what, name,
             h.ndim ? (long long)h.dim[0] : 0, h.ndim, m->n);
    CHECK_TO(out, h.count <= LABELS_MAX && h.count >= m->n && h.count / m->n <= RECIPE_CLASSES, ST_DATA, "%s: %s.npy: %lld numbers for %d images", z->what,
             name, (long long)h.count, m->n);
    m->k = (int)(h.count / m->n);
    for (int64_t i = 0, room = 0; i < h.count; i++) { /* grows with what is there, not with what is promised */
        uint8_t b[8];
        if (i == room) {
            room = room ? 2 * room : 4096;
            if (room > h.count) room = h.count;
            TRY_TO(out, mem_grow(&m->label, (size_t)room * sizeof *m->label, "labels"), "%s", z->what);
        }
        TRY_TO(out, read_bytes(file, b, (size_t)h.bytes, name), "%s", z->what);
        int64_t v = number_at(&h, b);
        CHECK_TO(out, v >= INT32_MIN && v <= INT32_MAX, ST_DATA, "%s: %s.npy: label %lld", z->what, name, (long long)v);
        m->label[i] = (int32_t)v;
    }
out:
    zip_fclose(file);
    return st;
}

static status shape_images(const npz *z, member *m, int split)
{
    const npy *h = &m->head;
    CHECK(h->ndim == 3 || h->ndim == 4, ST_DATA, "%s: %s_images has %d dimensions; (n,H,W), (n,H,W,3) and (n,D,H,W) are read", z->what, split_name[split], h->ndim);
    bool colour = h->ndim == 4 && (h->dim[3] == 3 || h->dim[3] == 1), volume = h->ndim == 4 && !colour;
    CHECK(h->kind == 'u' ? h->bytes <= 2 : h->kind == 'i' && h->bytes == 2, ST_DATA, "%s: %s_images: elements \"%c%d\"; u1, u2 and i2 are read", z->what,
          split_name[split], h->kind, h->bytes);
    CHECK(h->dim[0] <= PARTS_MAX, ST_DATA, "%s: %lld images, at most %d are read", z->what, (long long)h->dim[0], PARTS_MAX);
    for (int i = 1; i < h->ndim; i++)
        CHECK(h->dim[i] >= 1 && h->dim[i] <= IMAGE_SIDE_MAX, ST_DATA, "%s: %s_images: images of %lld pixels a side", z->what, split_name[split], (long long)h->dim[i]);
    m->n = (int)h->dim[0];
    m->D = volume ? (int)h->dim[1] : 1, m->H = (int)h->dim[volume ? 2 : 1], m->W = (int)h->dim[volume ? 3 : 2], m->C = colour ? (int)h->dim[3] : 1;
    m->type = h->bytes == 1 ? DT_U8 : h->kind == 'u' ? DT_U16 : DT_I16;
    m->bytes = (size_t)h->bytes;
    for (int i = 1; i < h->ndim; i++) m->bytes *= (size_t)h->dim[i];
    CHECK(m->bytes <= IMAGE_BYTES_MAX, ST_DATA, "%s: images of %zu MiB", z->what, m->bytes >> 20);
    return OK;
}

status npz_open(npz **out, const char *path)
{
    npz *z;
    int code = 0, n = 0;
    *out = NULL;
    TRY(mem_alloc(&z, sizeof *z, "an NPZ file"), "%s", path);
    snprintf(z->what, sizeof z->what, "%s", path);
    pthread_mutex_init(&z->lock, NULL);
    z->zip = zip_open(path, ZIP_RDONLY, &code);
    status st = OK;
    CHECK_TO(bad, z->zip, ST_DATA, "%s: damaged or no NPZ file (libzip error %d)", path, code);
    for (int s = 0; s < N_SPLITS; s++) {
        char name[32];
        zip_file_t *file;
        member *m = &z->part[s];
        snprintf(name, sizeof name, "%s_images", split_name[s]);
        TRY_TO(bad, open_array(z, name, &file, &m->head, &m->index, &m->size), "images");
        if (!file) continue;
        zip_fclose(file);
        TRY_TO(bad, shape_images(z, m, s), "images");
        if (m->n > 0) TRY_TO(bad, read_labels(z, s), "labels");
        n += m->n;
    }
    CHECK_TO(bad, n > 0, ST_DATA, "%s: none of train_images, val_images and test_images in it, or they are empty", path);
    *out = z;
    return OK;
bad:
    npz_close(z);
    return st;
}

void npz_close(npz *z)
{
    if (!z) return;
    for (int s = 0; s < N_SPLITS; s++) {
        if (z->part[s].open) zip_fclose(z->part[s].open);
        free(z->part[s].label);
        free(z->part[s].ring);
    }
    if (z->zip) zip_discard(z->zip);
    pthread_mutex_destroy(&z->lock);
    free(z);
}

status npz_check(const npz *z)
{
    uint8_t *b;
    TRY(mem_alloc(&b, 1 << 18, "a buffer"), "%s", z->what);
    status st = OK;
    for (zip_int64_t i = 0, n = zip_get_num_entries(z->zip, 0); i < n && !st; i++) {
        const char *name = zip_get_name(z->zip, (zip_uint64_t)i, 0);
        zip_stat_t info;
        if (!name || !strstr(name, ".npy") || zip_stat_index(z->zip, (zip_uint64_t)i, 0, &info)) continue;
        zip_file_t *file = zip_fopen_index(z->zip, (zip_uint64_t)i, 0);
        if (!file) {
            st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: %s: %s", z->what, name, zip_strerror(z->zip));
            break;
        }
        zip_uint64_t sum = 0;
        for (zip_int64_t got = 1; got > 0 && !st;) { /* libzip compares the checksum at the end */
            got = zip_fread(file, b, 1 << 18);
            if (got > 0) sum += (zip_uint64_t)got;
            if (got < 0 || sum > info.size || (got == 0 && sum < info.size))
                st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: %s is damaged: %s", z->what, name, got < 0 ? zip_file_strerror(file) : "not as long as it says");
        }
        zip_fclose(file);
    }
    free(b);
    return st;
}

int npz_count(const npz *z, int split) { return z->part[split].n; }

const int32_t *npz_label(const npz *z, part p, int *k)
{
    *k = z->part[p.a].k;
    return z->part[p.a].label + (size_t)p.b * (size_t)*k;
}

/* Moves the place of reading behind image i. */
static status advance(npz *z, int split, int i)
{
    member *m = &z->part[split];
    if (!m->ring) {
        m->kept = (int)(KEPT_BYTES / m->bytes);
        if (m->kept > KEPT_MOST) m->kept = KEPT_MOST;
        if (m->kept > m->n) m->kept = m->n;
        if (m->kept < 1) m->kept = 1;
        TRY(mem_alloc(&m->ring, (size_t)m->kept * m->bytes, "images of an NPZ file"), "%s", z->what);
    }
    if (m->open && i >= m->next - m->kept) { /* still there, or ahead */
        if (i < m->next) return OK;
    } else {
        if (m->open) zip_fclose(m->open);
        char name[32];
        zip_uint64_t index, size;
        snprintf(name, sizeof name, "%s_images", split_name[split]);
        m->next = 0;
        TRY(open_array(z, name, &m->open, &m->head, &index, &size), "images");
        CHECK(m->open && index == m->index && size == m->size, ST_DATA, "%s changed while it was read", z->what);
    }
    for (; m->next <= i; m->next++) {
        uint8_t *to = m->ring + (size_t)(m->next % m->kept) * m->bytes;
        status st = read_bytes(m->open, to, m->bytes, "the member");
        if (st) {
            st = fail(z, m, split, "damaged or cut short");
            zip_fclose(m->open);
            m->open = NULL;
            return st;
        }
        if (m->head.big) turn(to, m->bytes / (size_t)m->head.bytes, m->head.bytes);
    }
    return OK;
}

status npz_read(npz *z, part p, image *out)
{
    const member *m = &z->part[p.a];
    CHECK(p.b < m->n, ST_BUG, "%s: no image %d", z->what, p.b);
    TRY(image_alloc(out, m->D, m->H, m->W, m->C, m->type, z->what), "NPZ");
    out->is_volume = m->D > 1;
    pthread_mutex_lock(&z->lock);
    status st = advance(z, p.a, p.b);
    if (!st) memcpy(out->data, m->ring + (size_t)(p.b % m->kept) * m->bytes, m->bytes);
    pthread_mutex_unlock(&z->lock);
    if (st) image_free(out);
    return st;
}
#else
#include "not_built.h"

status npz_open(npz **out, const char *path)
{
    *out = NULL;
    return NOT_BUILT("libzip-dev", "NPZ", path);
}
status npz_check(const npz *z) { return (void)z, OK; }
void npz_close(npz *z) { (void)z; }
int  npz_count(const npz *z, int split) { return (void)z, (void)split, 0; }
const int32_t *npz_label(const npz *z, part p, int *k) { return (void)z, (void)p, *k = 0, NULL; }
status npz_read(npz *z, part p, image *out) { return (void)z, (void)p, (void)out, status_raise(ST_BUG, __FILE__, __LINE__, "no NPZ file"); }
#endif
