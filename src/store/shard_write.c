/* shard_write: one shard file from samples in memory. */
#include "store_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { DEFLATE = 4 };

/* One per-sample column: where it lies in `sample`, its type and width. */
static const struct { const char *name; size_t offset; enum dtype type; int width; } columns[] = {
    {"slice", offsetof(sample, slice), DT_I32, 0},
    {"range", offsetof(sample, range), DT_F32, 2},
    {"spacing", offsetof(sample, spacing), DT_F32, 2}};
static const struct { const char *name; size_t offset, bytes; } text_columns[] = {
#define TEXT(key, field) {key, offsetof(sample, field), sizeof((sample *)0)->field}
    TEXT("id", id), TEXT("subject", subject), TEXT("centre", centre), TEXT("case", case_id), TEXT("source", source),
    TEXT("source_sha256", source_sha256)};

static status write_columns(store *s, const sample *const *samples, int64_t n, char *scratch)
{
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
        int64_t dims[2] = {n, columns[c].width};
        size_t bytes = dtype_bytes(columns[c].type) * (size_t)(columns[c].width ? columns[c].width : 1);
        for (int64_t i = 0; i < n; i++) memcpy(scratch + (size_t)i * bytes, (const char *)samples[i] + columns[c].offset, bytes);
        TRY(store_write(s, columns[c].name, columns[c].type, columns[c].width ? 2 : 1, dims, scratch, 0), "columns");
    }
    for (size_t c = 0; c < sizeof text_columns / sizeof *text_columns; c++) {
        size_t bytes = text_columns[c].bytes;
        for (int64_t i = 0; i < n; i++) memcpy(scratch + (size_t)i * bytes, (const char *)samples[i] + text_columns[c].offset, bytes);
        TRY(write_texts(s, text_columns[c].name, n, scratch, bytes), "columns");
    }
    int32_t *size = (int32_t *)(void *)scratch;
    for (int64_t i = 0; i < n; i++) size[2 * i] = samples[i]->H, size[2 * i + 1] = samples[i]->W;
    TRY(store_write(s, "size", DT_I32, 2, (int64_t[]){n, 2}, size, 0), "columns");
    uint8_t *split = (uint8_t *)scratch;
    for (int64_t i = 0; i < n; i++) split[i] = (uint8_t)samples[i]->split;
    return store_write(s, "split", DT_U8, 1, &n, split, 0);
}

/* A stack of planes (N,Hmax,Wmax[,C]), one sample per chunk. */
typedef struct stack {
    hid_t   set, type;
    hsize_t dims[4];
    int     ndim, fill;
    size_t  row_bytes, chunk_bytes, element_bytes;
} stack;
/* What goes into a stack: of sample i, H rows of `bytes`; NULL: nothing, its chunk is never written. */
typedef struct plane { const char *rows; int H; size_t bytes; } plane;

static status stack_open(store *s, stack *k, const char *name, int64_t n, int64_t Hmax, int64_t Wmax, int C, enum dtype t, int fill)
{
    *k = (stack){.set = -1, .type = hdf5_type(t), .dims = {(hsize_t)n, (hsize_t)Hmax, (hsize_t)Wmax, (hsize_t)C}, .ndim = C ? 4 : 3,
                 .fill = fill};
    k->element_bytes = dtype_bytes(t);
    k->row_bytes = (size_t)Wmax * (size_t)(C ? C : 1) * dtype_bytes(t);
    k->chunk_bytes = k->row_bytes * (size_t)Hmax;
    TRY(hdf5_make_parents(s, name), "writing");
    hsize_t chunk[4] = {1, k->dims[1], k->dims[2], k->dims[3]};
    AUTO_HID space = H5Screate_simple(k->ndim, k->dims, NULL);
    AUTO_HID plist = hdf5_create_plist(H5P_DATASET_CREATE);
    H5Pset_chunk(plist, k->ndim, chunk);
    if (dtype_bytes(t) > 1) H5Pset_shuffle(plist);
    H5Pset_deflate(plist, DEFLATE);
    H5Pset_fletcher32(plist);
    uint8_t value = (uint8_t)fill;
    if (fill) H5Pset_fill_value(plist, H5T_STD_U8LE, &value); /* a sample without a mask has no chunk and reads as ignored */
    AUTO_HID access = H5Pcreate(H5P_DATASET_ACCESS);
    H5Pset_chunk_cache(access, 0, 0, 0);
    k->set = H5Dcreate2(s->file, name, k->type, space, H5P_DEFAULT, plist, access);
    DOOR_CHECK(k->set >= 0, ST_RESOURCE, "%s: cannot make %s", s->part, name);
    return OK;
}

/* The sample in the top-left corner of its chunk; the chunk itself where it fills it. */
static const char *padded(const stack *k, const plane *p, char *chunk)
{
    if (p->bytes == k->row_bytes && p->bytes * (size_t)p->H == k->chunk_bytes) return p->rows;
    memset(chunk, k->fill, k->chunk_bytes);
    for (int y = 0; y < p->H; y++) memcpy(chunk + (size_t)y * k->row_bytes, p->rows + (size_t)y * p->bytes, p->bytes);
    return chunk;
}

static plane plane_of(const shard_meta *m, const sample *x, int label)
{
    if (label < 0) return (plane){x->pixels, x->H, (size_t)x->W * (size_t)m->channels * dtype_bytes(m->pixel)};
    return (plane){x->label[label].present ? (const char *)x->label[label].mask : NULL, x->H, (size_t)x->W};
}

/* Chunks packed by our own threads; the thread that is in HDF5 writes them in order. */
typedef struct packing {
    const stack *k;
    const shard_meta *m;
    const sample *const *samples;
    int     label, n_threads;
    int64_t n, next;
    struct { char *bytes; size_t n; bool ready; } *chunk; /* (n) */
    uint32_t *crc;
    status  st;
    char    why[256];
    pthread_mutex_t lock;
    pthread_cond_t  wake;
    pthread_t thread[64];
} packing;

static status pack_one(packing *g, packer *p, char *room, int64_t i)
{
    plane at = plane_of(g->m, g->samples[i], g->label);
    g->crc[i] = 0;
    if (!at.rows) return OK;
    g->crc[i] = crc32c(0, at.rows, at.bytes * (size_t)at.H);
    return packer_pack(p, padded(g->k, &at, room), g->k->chunk_bytes, g->k->element_bytes, &g->chunk[i].bytes, &g->chunk[i].n);
}

static void *pack_some(void *arg)
{
    packing *g = arg;
    packer *p = NULL;
    char *room = NULL;
    status st = packer_open(&p, g->k->chunk_bytes);
    if (!st) st = mem_alloc(&room, g->k->chunk_bytes, "one padded sample");
    pthread_mutex_lock(&g->lock);
    while (!st && !g->st && g->next < g->n) {
        int64_t i = g->next++;
        pthread_mutex_unlock(&g->lock);
        st = pack_one(g, p, room, i);
        pthread_mutex_lock(&g->lock);
        g->chunk[i].ready = true;
        pthread_cond_signal(&g->wake);
    }
    if (st && !g->st) {
        g->st = st;
        snprintf(g->why, sizeof g->why, "%s", status_message());
        pthread_cond_signal(&g->wake);
    }
    pthread_mutex_unlock(&g->lock);
    packer_close(p);
    free(room);
    return NULL;
}

static status put_packed(store *s, packing *g, int64_t i)
{
    if (!g->chunk[i].bytes) return OK;
    hsize_t start[4] = {(hsize_t)i};
    herr_t put = H5Dwrite_chunk(g->k->set, H5P_DEFAULT, 0, start, g->chunk[i].n, g->chunk[i].bytes);
    free(g->chunk[i].bytes);
    g->chunk[i].bytes = NULL;
    DOOR_CHECK(put >= 0, ST_RESOURCE, "%s: cannot write sample %lld", s->part, (long long)i);
    return OK;
}

static status put_in_order(store *s, packing *g)
{
    for (int64_t i = 0; i < g->n; i++) {
        pthread_mutex_lock(&g->lock);
        while (!g->chunk[i].ready && !g->st) pthread_cond_wait(&g->wake, &g->lock);
        status st = g->chunk[i].ready ? OK : status_set(g->st, g->why);
        pthread_mutex_unlock(&g->lock);
        if (!st) st = put_packed(s, g, i);
        if (st) return st;
    }
    return OK;
}

static status write_packed(store *s, packing *g, int jobs)
{
    status st = OK;
    TRY(mem_alloc(&g->chunk, (size_t)g->n * sizeof *g->chunk, "packed samples"), "shard");
    if (jobs > 1) {
        pthread_mutex_init(&g->lock, NULL);
        pthread_cond_init(&g->wake, NULL);
        while (g->n_threads < jobs && g->n_threads < 64 && !pthread_create(&g->thread[g->n_threads], NULL, pack_some, g)) g->n_threads++;
    }
    if (g->n_threads) {
        st = put_in_order(s, g);
        pthread_mutex_lock(&g->lock);
        if (st && !g->st) g->st = st;
        pthread_mutex_unlock(&g->lock);
        for (int t = 0; t < g->n_threads; t++) pthread_join(g->thread[t], NULL);
    } else {
        packer *p = NULL;
        char *room = NULL;
        st = packer_open(&p, g->k->chunk_bytes);
        if (!st) st = mem_alloc(&room, g->k->chunk_bytes, "one padded sample");
        for (int64_t i = 0; !st && i < g->n; i++) {
            st = pack_one(g, p, room, i);
            if (!st) st = put_packed(s, g, i);
        }
        packer_close(p);
        free(room);
    }
    for (int64_t i = 0; i < g->n; i++) free(g->chunk[i].bytes);
    free(g->chunk);
    return st;
}

/* By HDF5's own filters. */
static status write_plain(store *s, const packing *g)
{
    const stack *k = g->k;
    char *room;
    TRY(mem_alloc(&room, k->chunk_bytes, "one padded sample"), "shard");
    status st = OK;
    for (int64_t i = 0; i < g->n; i++) {
        plane at = plane_of(g->m, g->samples[i], g->label);
        g->crc[i] = 0;
        if (!at.rows) continue;
        g->crc[i] = crc32c(0, at.rows, at.bytes * (size_t)at.H);
        hsize_t start[4] = {(hsize_t)i}, count[4] = {1, k->dims[1], k->dims[2], k->dims[3]};
        AUTO_HID file_space = H5Dget_space(k->set);
        AUTO_HID mem_space = H5Screate_simple(k->ndim, count, NULL);
        bool ok = H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
                  H5Dwrite(k->set, k->type, mem_space, file_space, H5P_DEFAULT, padded(k, &at, room)) >= 0;
        CHECK_TO(out, ok, ST_RESOURCE, "%s: cannot write sample %lld: %s", s->part, (long long)i, hdf5_why());
    }
out:
    free(room);
    return st;
}

/* Images (label -1) or the masks of a label set, and their checksums. */
static status write_stack(store *s, const shard_meta *m, int label, const sample *const *samples, int64_t n, int64_t Hmax, int64_t Wmax, uint32_t *crc,
                          int jobs)
{
    char path[160] = "image", crc_path[160] = "image_crc32c";
    if (label >= 0) meta_label_path(path, &m->label[label], "mask"), meta_label_path(crc_path, &m->label[label], "mask_crc32c");
    stack k;
    status st = label < 0 ? stack_open(s, &k, path, n, Hmax, Wmax, m->channels, m->pixel, 0) : stack_open(s, &k, path, n, Hmax, Wmax, 0, DT_U8, IGNORE_MASK);
    packing g = {.k = &k, .m = m, .samples = samples, .label = label, .n = n, .crc = crc};
    if (!st) st = packer_here() ? write_packed(s, &g, jobs) : write_plain(s, &g);
    hid_drop(&k.set);
    TRY(st, "%s", path);
    return store_write(s, crc_path, DT_U32, 1, &n, crc, 0);
}

static status write_boxes(store *s, const shard_label *label, int l, const sample *const *samples, int64_t n)
{
    status st = OK;
    int64_t M = 0, *off;
    float *box = NULL;
    int32_t *cls = NULL;
    char path[160];
    TRY(mem_alloc(&off, sizeof *off * (size_t)(n + 1), "box offsets"), "boxes");
    for (int64_t i = 0; i < n; i++) off[i + 1] = M += samples[i]->label[l].present ? samples[i]->label[l].n_box : 0;
    TRY_TO(done, mem_alloc(&box, sizeof *box * 4 * (size_t)M + 1, "boxes"), "boxes");
    TRY_TO(done, mem_alloc(&cls, sizeof *cls * (size_t)M + 1, "box classes"), "boxes");
    for (int64_t i = 0; i < n; i++) {
        const sample_label *v = &samples[i]->label[l];
        if (off[i + 1] == off[i]) continue;
        memcpy(box + 4 * off[i], v->box, sizeof *box * 4 * (size_t)v->n_box);
        memcpy(cls + off[i], v->box_cls, sizeof *cls * (size_t)v->n_box);
    }
    meta_label_path(path, label, "box_off");
    TRY_TO(done, store_write(s, path, DT_I64, 1, (int64_t[]){n + 1}, off, 0), "boxes");
    meta_label_path(path, label, "box");
    TRY_TO(done, store_write(s, path, DT_F32, 2, (int64_t[]){M, 4}, box, 0), "boxes");
    meta_label_path(path, label, "box_class");
    TRY_TO(done, store_write(s, path, DT_I32, 1, &M, cls, 0), "boxes");
done:
    free(off), free(box), free(cls);
    return st;
}

static status write_label(store *s, const shard_meta *m, int l, const sample *const *samples, int64_t n, int64_t Hmax, int64_t Wmax,
                          char *scratch, int jobs)
{
    const shard_label *label = &m->label[l];
    char path[160];
    uint8_t *bytes = (uint8_t *)scratch;
    int32_t *ints = (int32_t *)(void *)scratch;
    float *floats = (float *)(void *)scratch;
    for (int64_t i = 0; i < n; i++) bytes[i] = samples[i]->label[l].present;
    meta_label_path(path, label, "present");
    TRY(store_write(s, path, DT_U8, 1, &n, bytes, 0), "label %s", label->name);
    switch (label->kind) {
    case TASK_CLASSIFICATION:
        for (int64_t i = 0; i < n; i++) ints[i] = samples[i]->label[l].present ? samples[i]->label[l].cls : IGNORE_CLASS;
        meta_label_path(path, label, "class");
        return store_write(s, path, DT_I32, 1, &n, ints, 0);
    case TASK_MULTILABEL: {
        size_t K = (size_t)label->n_classes;
        uint8_t *vec;
        TRY(mem_alloc(&vec, (size_t)n * K, "label vectors"), "label %s", label->name);
        for (int64_t i = 0; i < n; i++) {
            if (samples[i]->label[l].present) memcpy(vec + (size_t)i * K, samples[i]->label[l].vec, K);
            else memset(vec + (size_t)i * K, 255, K);
        }
        meta_label_path(path, label, "vector");
        status st = store_write(s, path, DT_U8, 2, (int64_t[]){n, (int64_t)K}, vec, 0);
        free(vec);
        return st;
    }
    case TASK_REGRESSION:
        for (int64_t i = 0; i < n; i++) floats[i] = samples[i]->label[l].present ? samples[i]->label[l].scalar : __builtin_nanf("");
        meta_label_path(path, label, "scalar");
        return store_write(s, path, DT_F32, 1, &n, floats, 0);
    case TASK_SEGMENTATION: return write_stack(s, m, l, samples, n, Hmax, Wmax, (uint32_t *)(void *)scratch, jobs);
    case TASK_DETECTION: return write_boxes(s, label, l, samples, n);
    case N_TASK_KINDS: break;
    }
    return OK;
}

status shard_write_file(const char *path, const shard_meta *m, const sample *const *samples, int64_t n, int jobs)
{
    DOOR;
    int64_t Hmax = 1, Wmax = 1;
    for (int64_t i = 0; i < n; i++) {
        if (samples[i]->H > Hmax) Hmax = samples[i]->H;
        if (samples[i]->W > Wmax) Wmax = samples[i]->W;
    }
    status st = OK;
    store *s = NULL;
    char *scratch = NULL;
    TRY_TO(fail, mem_alloc(&scratch, (size_t)n * SHARD_TEXT + 1, "columns"), "%s", path);
    TRY_TO(fail, store_create(&s, path), "shard");
    TRY_TO(fail, meta_write(s, "medley-shard", m), "%s", path);
    TRY_TO(fail, write_columns(s, samples, n, scratch), "%s", path);
    TRY_TO(fail, write_stack(s, m, -1, samples, n, Hmax, Wmax, (uint32_t *)(void *)scratch, jobs), "%s", path);
    TRY_TO(fail, store_put_str(s, "spacing", "units", m->spacing_units), "%s", path);
    for (int l = 0; l < m->n_labels; l++) TRY_TO(fail, write_label(s, m, l, samples, n, Hmax, Wmax, scratch, jobs), "%s", path);
    free(scratch);
    return store_commit(s);
fail:
    store_discard(s);
    free(scratch);
    return st;
}
