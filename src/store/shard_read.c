/* shard_read: one shard, its index arrays checked at open so that nothing behind needs to, its pixels one sample at a time. */
#include "store_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SIDE = 1 << 16 };

static status open_stack(shard *s, const char *name, int ndim, int64_t dims[4], hid_t *out, chunk_form *form)
{
    DOOR;
    store *f = s->file;
    enum dtype t;
    int rank;
    int64_t got[8];
    TRY(hdf5_shape(f, name, &t, &rank, got), "shard");
    CHECK(rank == ndim, ST_DATA, "%s: /%s has %d dimensions, wanted %d", s->path, name, rank, ndim);
    CHECK(t == (ndim == 4 ? s->meta.pixel : DT_U8), ST_DATA, "%s: /%s is stored as %s", s->path, name, dtype_name(t));
    memcpy(dims, got, sizeof *dims * (size_t)ndim);
    AUTO_HID access = H5Pcreate(H5P_DATASET_ACCESS);
    H5Pset_chunk_cache(access, 0, 0, 0); /* every chunk is used once: a cache only costs memory and copies */
    AUTO_HID set = H5Dopen2(f->file, name, access);
    AUTO_HID plist = H5Dget_create_plist(set);
    hsize_t chunk[8];
    bool per_sample = plist >= 0 && H5Pget_layout(plist) == H5D_CHUNKED && H5Pget_chunk(plist, 8, chunk) == ndim && chunk[0] == 1;
    for (int i = 1; per_sample && i < ndim; i++) per_sample = chunk[i] == (hsize_t)dims[i];
    CHECK(per_sample, ST_DATA, "%s: /%s is not stored with one sample per chunk", s->path, name);
    TRY(hdf5_check_storage(f, set, name, 0), "shard");
    int64_t C = ndim == 4 ? dims[3] : 1;
    if (dims[1] >= 1 && dims[1] <= MAX_SIDE && dims[2] >= 1 && dims[2] <= MAX_SIDE && C >= 1 && C <= 3 &&
        dims[1] * dims[2] * C * (int64_t)dtype_bytes(t) / 1040 < f->file_bytes) /* a chunk that the file can hold: deflate packs at most 1032 to 1 */
        TRY(unpack_prepare(form, plist, dims[1], (size_t)(dims[2] * C) * dtype_bytes(t), dtype_bytes(t)), "%s: %s", s->path, name);
    form->sums = hdf5_has_sums(plist);
    *out = set;
    set = -1;
    return OK;
}

static status read_index(shard *s)
{
    store *f = s->file;
    int64_t n = s->n, two[2] = {n, 2};
    TRY(read_new(f, "size", DT_I32, 2, two, &s->size), "shard");
    TRY(read_new(f, "slice", DT_I32, 1, &n, &s->slice), "shard");
    TRY(read_new(f, "range", DT_F32, 2, two, &s->range), "shard");
    TRY(read_new(f, "spacing", DT_F32, 2, two, &s->spacing), "shard");
    TRY(read_new(f, "split", DT_U8, 1, &n, &s->split), "shard");
    TRY(read_new(f, "image_crc32c", DT_U32, 1, &n, &s->crc), "shard");
    struct { const char *name; size_t width; void *to; } text[] = {
        {"id", SHARD_TEXT, &s->id}, {"subject", SHARD_TEXT, &s->subject}, {"centre", SHARD_TEXT, &s->centre},
        {"case", SHARD_TEXT, &s->case_id}, {"source", SHARD_TEXT, &s->source}, {"source_sha256", 65, &s->source_sha256}};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) TRY(read_texts(f, text[i].name, n, text[i].width, text[i].to), "shard");
    for (int64_t i = 0; i < n; i++) {
        int32_t H = s->size[2 * i], W = s->size[2 * i + 1];
        CHECK(H >= 1 && W >= 1 && H <= s->Hmax && W <= s->Wmax, ST_DATA, "%s: /size[%lld]: %dx%d, the images have at most %dx%d",
              s->path, (long long)i, W, H, s->Wmax, s->Hmax);
        float lo = s->range[2 * i], hi = s->range[2 * i + 1];
        CHECK(isfinite(lo) && isfinite(hi) && lo < hi, ST_DATA, "%s: /range[%lld]: %g to %g", s->path, (long long)i, lo, hi);
        for (int k = 0; k < 2; k++) {
            float mm = s->spacing[2 * i + k];
            CHECK(isnan(mm) || (isfinite(mm) && mm > 0), ST_DATA, "%s: /spacing[%lld]: %g", s->path, (long long)i, mm);
        }
        CHECK(s->split[i] < N_SPLITS, ST_DATA, "%s: /split[%lld]: %d", s->path, (long long)i, s->split[i]);
    }
    return OK;
}

static status read_box_label(shard *s, int l)
{
    const char *name = s->meta.label[l].name;
    int K = s->meta.label[l].n_classes;
    char path[160];
    enum dtype t;
    int rank;
    int64_t dims[8], n1 = s->n + 1;
    meta_label_path(path, &s->meta.label[l], "box_off");
    TRY(read_new(s->file, path, DT_I64, 1, &n1, &s->label[l].box_off), "shard");
    const int64_t *off = s->label[l].box_off;
    meta_label_path(path, &s->meta.label[l], "box");
    TRY(store_shape(s->file, path, &t, &rank, dims), "shard");
    CHECK(rank == 2 && dims[1] == 4, ST_DATA, "%s: %s: not (M,4)", s->path, path);
    int64_t M = dims[0];
    CHECK(off[0] == 0 && off[s->n] == M, ST_DATA, "%s: /label/%s/box_off: runs from %lld to %lld, there are %lld boxes", s->path, name,
          (long long)off[0], (long long)off[s->n], (long long)M);
    for (int64_t i = 0; i < s->n; i++)
        CHECK(off[i] <= off[i + 1] && off[i + 1] - off[i] <= 1 << 24, ST_DATA, "%s: /label/%s/box_off[%lld]: %lld boxes", s->path, name,
              (long long)i, (long long)(off[i + 1] - off[i]));
    TRY(read_new(s->file, path, DT_F32, 2, (int64_t[]){M, 4}, &s->label[l].box), "shard");
    meta_label_path(path, &s->meta.label[l], "box_class");
    TRY(read_new(s->file, path, DT_I32, 1, &M, &s->label[l].box_cls), "shard");
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t j = off[i]; j < off[i + 1]; j++) {
            const float *b = s->label[l].box + 4 * j;
            bool inside = b[0] >= 0 && b[1] >= 0 && b[2] <= (float)s->size[2 * i + 1] && b[3] <= (float)s->size[2 * i] && b[0] < b[2] &&
                          b[1] < b[3];
            CHECK(inside, ST_DATA, "%s: /label/%s/box[%lld]: (%g %g %g %g) is empty or leaves its image %s", s->path, name,
                  (long long)j, b[0], b[1], b[2], b[3], s->id[i]);
            CHECK(s->label[l].box_cls[j] >= 0 && s->label[l].box_cls[j] < K, ST_DATA, "%s: /label/%s/box_class[%lld]: %d of %d classes",
                  s->path, name, (long long)j, s->label[l].box_cls[j], K);
        }
    return OK;
}

static status read_label(shard *s, int l)
{
    const shard_label *label = &s->meta.label[l];
    int64_t n = s->n, K = label->n_classes, dims[4];
    char path[160];
    meta_label_path(path, label, "present");
    TRY(read_new(s->file, path, DT_U8, 1, &n, &s->label[l].present), "shard");
    const uint8_t *present = s->label[l].present;
    for (int64_t i = 0; i < n; i++) CHECK(present[i] <= 1, ST_DATA, "%s: %s[%lld]: %d", s->path, path, (long long)i, present[i]);
    switch (label->kind) {
    case TASK_CLASSIFICATION:
        meta_label_path(path, label, "class");
        TRY(read_new(s->file, path, DT_I32, 1, &n, &s->label[l].cls), "shard");
        for (int64_t i = 0; i < n; i++)
            CHECK(s->label[l].cls[i] >= (present[i] ? 0 : -1) && s->label[l].cls[i] < K, ST_DATA, "%s: %s[%lld]: class %d of %lld",
                  s->path, path, (long long)i, s->label[l].cls[i], (long long)K);
        return OK;
    case TASK_MULTILABEL:
        meta_label_path(path, label, "vector");
        TRY(read_new(s->file, path, DT_U8, 2, (int64_t[]){n, K}, &s->label[l].vec), "shard");
        for (int64_t i = 0; i < n * K; i++)
            CHECK(s->label[l].vec[i] <= 1 || s->label[l].vec[i] == 255, ST_DATA, "%s: %s[%lld,%lld]: %d, 0, 1 or 255 are accepted",
                  s->path, path, (long long)(i / K), (long long)(i % K), s->label[l].vec[i]);
        return OK;
    case TASK_REGRESSION:
        meta_label_path(path, label, "scalar");
        TRY(read_new(s->file, path, DT_F32, 1, &n, &s->label[l].scalar), "shard");
        for (int64_t i = 0; i < n; i++)
            CHECK(!present[i] || isfinite(s->label[l].scalar[i]), ST_DATA, "%s: %s[%lld]: not finite", s->path, path, (long long)i);
        return OK;
    case TASK_SEGMENTATION:
        meta_label_path(path, label, "mask");
        TRY(open_stack(s, path + 1, 3, dims, &s->file->mask[l], &s->file->mask_form[l]), "shard");
        CHECK(dims[0] == n && dims[1] == s->Hmax && dims[2] == s->Wmax, ST_DATA, "%s: %s: shape differs from that of /image", s->path,
              path);
        meta_label_path(path, label, "mask_crc32c");
        TRY(read_new(s->file, path, DT_U32, 1, &n, &s->label[l].mask_crc), "shard");
        s->label[l].has_mask = true;
        return OK;
    case TASK_DETECTION: return read_box_label(s, l);
    case N_TASK_KINDS: break;
    }
    return OK;
}

static status open_shard(shard *s, const char *path)
{
    CHECK(snprintf(s->path, sizeof s->path, "%s", path) < (int)sizeof s->path, ST_RESOURCE, "path too long: %.80s...", path);
    TRY(store_open(&s->file, path), "shard");
    TRY(meta_read(s->file, "medley-shard", &s->meta), "shard");
    int64_t dims[4];
    TRY(open_stack(s, "image", 4, dims, &s->file->image, &s->file->image_form), "shard");
    CHECK(dims[0] >= 0 && dims[0] <= INT32_MAX && dims[1] >= 1 && dims[1] <= MAX_SIDE && dims[2] >= 1 && dims[2] <= MAX_SIDE &&
          dims[3] == s->meta.channels, ST_DATA, "%s: /image: shape %lld,%lld,%lld,%lld for %d channels", path, (long long)dims[0],
          (long long)dims[1], (long long)dims[2], (long long)dims[3], s->meta.channels);
    CHECK(dims[0] <= s->file->file_bytes, ST_DATA, "%s: /image: says %lld samples, the file has %lld bytes", path, (long long)dims[0],
          (long long)s->file->file_bytes);
    CHECK(dims[1] * dims[2] * dims[3] * (int64_t)dtype_bytes(s->meta.pixel) < INT64_C(1) << 31, ST_DATA,
          "%s: /image: samples of %lldx%lld pixels", path, (long long)dims[2], (long long)dims[1]);
    s->n = dims[0], s->Hmax = (int)dims[1], s->Wmax = (int)dims[2];
    TRY(read_index(s), "shard");
    for (int l = 0; l < s->meta.n_labels; l++) TRY(read_label(s, l), "label %s", s->meta.label[l].name);
    return OK;
}

status shard_open(shard *s, const char *path)
{
    *s = (shard){0};
    status st = open_shard(s, path);
    if (st) shard_close(s);
    return st;
}

void shard_close(shard *s)
{
    store_close(s->file);
    free(s->size), free(s->slice), free(s->range), free(s->spacing);
    free(s->id), free(s->subject), free(s->centre), free(s->case_id), free(s->source), free(s->source_sha256);
    free(s->split), free(s->crc);
    for (int l = 0; l < SHARD_MAX_LABELS; l++) {
        free(s->label[l].present), free(s->label[l].cls), free(s->label[l].vec), free(s->label[l].scalar), free(s->label[l].box_off);
        free(s->label[l].box), free(s->label[l].box_cls), free(s->label[l].mask_crc);
    }
    shard_meta_free(&s->meta);
    *s = (shard){0};
}

static status read_plane(shard *s, int64_t i, hid_t set, const chunk_form *form, const char *name, enum dtype t, int C, uint32_t crc, void *out)
{
    DOOR;
    CHECK(i >= 0 && i < s->n, ST_BUG, "%s: sample %lld of %lld", s->path, (long long)i, (long long)s->n);
    int64_t H = s->size[2 * i], W = s->size[2 * i + 1];
    if (!unpack_chunk(form, set, i, H, (size_t)(W * (C ? C : 1)) * dtype_bytes(t), out)) {
        hsize_t start[4] = {(hsize_t)i}, count[4] = {1, (hsize_t)H, (hsize_t)W, (hsize_t)C};
        if (form->sums) TRY(hdf5_check_chunk(s->file, set, name, start), "sample %lld (%s)", (long long)i, s->id[i]);
        AUTO_HID file_space = H5Dget_space(set);
        AUTO_HID mem_space = H5Screate_simple(C ? 4 : 3, count, NULL);
        bool ok = file_space >= 0 && H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
                  H5Dread(set, hdf5_type(t), mem_space, file_space, H5P_DEFAULT, out) >= 0;
        DOOR_CHECK(ok, ST_DATA, "%s: %s[%lld] (%s): cannot read", s->path, name, (long long)i, s->id[i]);
    }
    uint32_t got = crc32c(0, out, (size_t)(H * W * (C ? C : 1)) * dtype_bytes(t));
    CHECK(got == crc, ST_DATA, "%s: %s[%lld] (%s): damaged, checksum %08x, should be %08x", s->path, name, (long long)i, s->id[i], got,
          crc);
    return OK;
}

status shard_read_image(shard *s, int64_t i, void *out)
{
    return read_plane(s, i, s->file->image, &s->file->image_form, "/image", s->meta.pixel, s->meta.channels, i >= 0 && i < s->n ? s->crc[i] : 0, out);
}

status shard_read_mask(shard *s, int64_t i, int label, uint8_t *out)
{
    CHECK(label >= 0 && label < s->meta.n_labels && s->label[label].has_mask && i >= 0 && i < s->n && s->label[label].present[i],
          ST_BUG, "%s: sample %lld has no mask in label set %d", s->path, (long long)i, label);
    char path[160];
    meta_label_path(path, &s->meta.label[label], "mask");
    TRY(read_plane(s, i, s->file->mask[label], &s->file->mask_form[label], path, DT_U8, 0, s->label[label].mask_crc[i], out), "mask");
    int K = s->meta.label[label].n_classes;
    for (int64_t k = 0, area = (int64_t)s->size[2 * i] * s->size[2 * i + 1]; k < area; k++)
        CHECK(out[k] < K || out[k] == IGNORE_MASK, ST_DATA, "%s: %s[%lld] (%s): value %d, %d classes", s->path, path, (long long)i,
              s->id[i], out[k], K);
    return OK;
}
