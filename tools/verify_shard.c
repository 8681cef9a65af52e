/* verify_shard: one shard: its samples, or, if it does not open, what in it is wrong array by array. */
#include "verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a shard that opens: what shard_open does not ask, then pixels and masks ----------------------------------------- */

static bool is_hex64(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static void check_label(const shard *s, int l, int64_t i, findings *f)
{
    const shard_label *label = &s->meta.label[l];
    bool present = s->label[l].present[i];
    if (label->kind == TASK_CLASSIFICATION && !present && s->label[l].cls[i] != IGNORE_CLASS)
        found_error(f, "label", "%s: %s: label %s has class %d but is marked as missing", s->path, s->id[i], label->name, s->label[l].cls[i]);
    if (label->kind == TASK_DETECTION && !present && s->label[l].box_off[i + 1] > s->label[l].box_off[i])
        found_error(f, "label", "%s: %s: label %s has boxes but is marked as missing", s->path, s->id[i], label->name);
    if (label->kind == TASK_REGRESSION && present && (s->label[l].scalar[i] < (float)label->lo || s->label[l].scalar[i] > (float)label->hi))
        found_warning(f, "label", "%s: %s: label %s is %g, outside its range %g to %g", s->path, s->id[i], label->name, (double)s->label[l].scalar[i],
                      label->lo, label->hi);
}

static void check_sample(const shard *s, int64_t i, findings *f)
{
    if (!s->id[i][0]) found_error(f, "sample", "%s: sample %lld has no id", s->path, (long long)i);
    if (!s->subject[i][0]) found_error(f, "sample", "%s: %s: no subject", s->path, s->id[i]);
    if (s->source_sha256[i][0] && !is_hex64(s->source_sha256[i])) found_error(f, "sample", "%s: %s: /source_sha256 is no SHA-256", s->path, s->id[i]);
    for (int k = 0; k < 2; k++) {
        float v = s->spacing[2 * i + k];
        if (!isnan(v) && !(isfinite(v) && v > 0)) found_error(f, "sample", "%s: %s: spacing %g", s->path, s->id[i], (double)v);
    }
    bool any = false;
    for (int l = 0; l < s->meta.n_labels; l++) {
        any |= s->label[l].present[i];
        check_label(s, l, i, f);
    }
    if (!any && s->meta.n_labels > 0) found_warning(f, "label", "%s: %s: has no label at all", s->path, s->id[i]);
}

static void check_image(shard *s, int64_t i, void *px, findings *f)
{
    if (shard_read_image(s, i, px)) {
        found_error(f, "pixels", "%s", status_message());
        return;
    }
    size_t n = (size_t)s->size[2 * i] * (size_t)s->size[2 * i + 1] * (size_t)s->meta.channels, each = dtype_bytes(s->meta.pixel);
    for (size_t k = 0; s->meta.pixel == DT_F32 && k < n; k++)
        if (!isfinite(((const float *)px)[k])) {
            found_error(f, "pixels", "%s: %s: pixel %zu is not finite", s->path, s->id[i], k);
            break;
        }
    if (n > 1 && memcmp(px, (char *)px + each, (n - 1) * each) == 0) found_warning(f, "blank", "%s: %s: all pixels are equal", s->path, s->id[i]);
}

static void check_mask(shard *s, int64_t i, int l, uint8_t *mask, int64_t *n_shown, findings *f)
{
    if (shard_read_mask(s, i, l, mask)) { /* also an unknown class */
        found_error(f, "mask", "%s", status_message());
        return;
    }
    bool shown[256] = {false};
    for (int64_t k = 0, area = (int64_t)s->size[2 * i] * s->size[2 * i + 1]; k < area; k++) shown[mask[k]] = true;
    for (int k = 0; n_shown && k < s->meta.label[l].n_classes; k++) n_shown[s->split[i] * s->meta.label[l].n_classes + k] += shown[k];
}

status verify_samples(shard *s, bool quick, int64_t *const *n_shown, findings *f)
{
    for (int64_t i = 0; i < s->n; i++) check_sample(s, i, f);
    if (quick) return OK;
    void *px = NULL;
    uint8_t *mask = NULL;
    size_t area = (size_t)s->Hmax * (size_t)s->Wmax;
    status st = mem_alloc(&px, area * (size_t)s->meta.channels * dtype_bytes(s->meta.pixel), "one image");
    if (!st) st = mem_alloc(&mask, area, "one mask");
    for (int64_t i = 0; !st && i < s->n; i++) {
        check_image(s, i, px, f);
        for (int l = 0; l < s->meta.n_labels; l++)
            if (s->label[l].has_mask && s->label[l].present[i]) check_mask(s, i, l, mask, n_shown[l], f);
    }
    free(px);
    free(mask);
    return st;
}

/* ---- a shard that does not open ------------------------------------------------------------------------------------------- */

typedef struct broken {
    store      *file;
    const char *path;
    findings   *f;
    int64_t     n;          /* samples, from /image */
    int64_t     H, W;
    char       *id;         /* (n) texts of id_width bytes, or NULL */
    int         id_width;
    int32_t    *size;       /* (n,2) or NULL */
} broken;

static const char *name_of(const broken *b, int64_t i, char number[32])
{
    if (b->id) return b->id + i * b->id_width;
    snprintf(number, 32, "sample %lld", (long long)i);
    return number;
}

/* The array, if it is whole and has `per` elements a sample plus `extra`; else a finding and NULL. */
static void *take_array(broken *b, const char *name, enum dtype t, int64_t n)
{
    void *data;
    if (mem_alloc(&data, (size_t)(n > 0 ? n : 1) * dtype_bytes(t), "array")) return NULL;
    if (!store_read(b->file, name, t, n, data)) return data;
    found_error(b->f, "array", "%s", status_message());
    free(data);
    return NULL;
}

static void take_text(broken *b, const char *name, char **out, int *width)
{
    int64_t n;
    *out = NULL;
    if (store_read_text(b->file, name, &n, width, out)) {
        found_error(b->f, "array", "%s", status_message());
        *out = NULL;
    } else if (n != b->n) {
        found_error(b->f, "array", "%s: %s: %lld texts for %lld samples", b->path, name, (long long)n, (long long)b->n);
        free(*out);
        *out = NULL;
    }
}

static void examine_index(broken *b)
{
    char number[32];
    take_text(b, "id", &b->id, &b->id_width);
    static const char *const texts[] = {"subject", "centre", "case", "source", "source_sha256"};
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        char *text;
        int width;
        take_text(b, texts[k], &text, &width);
        free(text);
    }
    b->size = take_array(b, "size", DT_I32, 2 * b->n);
    for (int64_t i = 0; b->size && i < b->n; i++) {
        int32_t H = b->size[2 * i], W = b->size[2 * i + 1];
        if (H < 1 || W < 1 || H > b->H || W > b->W)
            found_error(b->f, "sample", "%s: %s: size %dx%d, the images have at most %lldx%lld", b->path, name_of(b, i, number), W, H, (long long)b->W,
                        (long long)b->H);
    }
    float *range = take_array(b, "range", DT_F32, 2 * b->n);
    for (int64_t i = 0; range && i < b->n; i++)
        if (!(isfinite(range[2 * i]) && isfinite(range[2 * i + 1]) && range[2 * i] < range[2 * i + 1]))
            found_error(b->f, "sample", "%s: %s: intensity range %g to %g", b->path, name_of(b, i, number), (double)range[2 * i], (double)range[2 * i + 1]);
    uint8_t *split = take_array(b, "split", DT_U8, b->n);
    for (int64_t i = 0; split && i < b->n; i++)
        if (split[i] >= N_SPLITS) found_error(b->f, "sample", "%s: %s: split %d", b->path, name_of(b, i, number), split[i]);
    free(range), free(split);
    free(take_array(b, "slice", DT_I32, b->n)), free(take_array(b, "spacing", DT_F32, 2 * b->n)), free(take_array(b, "image_crc32c", DT_U32, b->n));
}

static void examine_boxes(broken *b, const char *label, const char *group, int64_t K)
{
    char path[300], number[32];
    enum dtype t;
    int ndim;
    int64_t dims[8];
    snprintf(path, sizeof path, "%s/box_off", group);
    int64_t *off = take_array(b, path, DT_I64, b->n + 1);
    snprintf(path, sizeof path, "%s/box", group);
    if (store_shape(b->file, path, &t, &ndim, dims)) {
        found_error(b->f, "array", "%s", status_message());
        free(off);
        return;
    }
    int64_t M = ndim == 2 && dims[1] == 4 ? dims[0] : -1;
    if (M < 0) found_error(b->f, "array", "%s: %s: not (M,4)", b->path, path);
    float *box = M < 0 ? NULL : take_array(b, path, DT_F32, 4 * M);
    snprintf(path, sizeof path, "%s/box_class", group);
    int32_t *cls = M < 0 ? NULL : take_array(b, path, DT_I32, M);
    bool sound = off && off[0] == 0 && off[b->n] == M;
    for (int64_t i = 0; sound && i < b->n; i++) sound = off[i] <= off[i + 1];
    if (off && M >= 0 && !sound) found_error(b->f, "box", "%s: label %s: box_off does not divide %lld boxes among the samples", b->path, label, (long long)M);
    for (int64_t i = 0; sound && i < b->n; i++)
        for (int64_t j = off[i]; j < off[i + 1]; j++) {
            const float *e = box ? box + 4 * j : NULL;
            float W = b->size ? (float)b->size[2 * i + 1] : (float)b->W, H = b->size ? (float)b->size[2 * i] : (float)b->H;
            if (e && !(e[0] >= 0 && e[1] >= 0 && e[2] <= W && e[3] <= H && e[0] < e[2] && e[1] < e[3]))
                found_error(b->f, "box", "%s: %s: label %s: box %lld (%g %g %g %g) is empty or leaves the %gx%g image", b->path, name_of(b, i, number),
                            label, (long long)(j - off[i]), (double)e[0], (double)e[1], (double)e[2], (double)e[3], (double)W, (double)H);
            if (cls && (cls[j] < 0 || cls[j] >= K))
                found_error(b->f, "box", "%s: %s: label %s: box %lld has class %d of %lld", b->path, name_of(b, i, number), label, (long long)(j - off[i]),
                            cls[j], (long long)K);
        }
    free(off), free(box), free(cls);
}

static void examine_values(broken *b, const char *label, const char *group, enum task_kind kind, int64_t K, const uint8_t *present)
{
    char path[300], number[32];
    if (kind == TASK_CLASSIFICATION) {
        snprintf(path, sizeof path, "%s/class", group);
        int32_t *cls = take_array(b, path, DT_I32, b->n);
        for (int64_t i = 0; cls && i < b->n; i++)
            if (cls[i] < (present && present[i] ? 0 : -1) || cls[i] >= K)
                found_error(b->f, "label", "%s: %s: label %s: class %d of %lld", b->path, name_of(b, i, number), label, cls[i], (long long)K);
        free(cls);
    }
    if (kind == TASK_MULTILABEL) {
        snprintf(path, sizeof path, "%s/vector", group);
        uint8_t *vec = take_array(b, path, DT_U8, b->n * K);
        for (int64_t i = 0; vec && i < b->n * K; i++)
            if (vec[i] > 1 && vec[i] != 255)
                found_error(b->f, "label", "%s: %s: label %s: value %d for class %lld", b->path, name_of(b, i / K, number), label, vec[i], (long long)(i % K));
        free(vec);
    }
    if (kind == TASK_REGRESSION) {
        snprintf(path, sizeof path, "%s/scalar", group);
        float *v = take_array(b, path, DT_F32, b->n);
        for (int64_t i = 0; v && present && i < b->n; i++)
            if (present[i] && !isfinite(v[i])) found_error(b->f, "label", "%s: %s: label %s: not finite", b->path, name_of(b, i, number), label);
        free(v);
    }
    if (kind == TASK_SEGMENTATION) {
        snprintf(path, sizeof path, "%s/mask_crc32c", group);
        free(take_array(b, path, DT_U32, b->n));
    }
    if (kind == TASK_DETECTION) examine_boxes(b, label, group, K);
}

static void examine_label(broken *b, const char *label)
{
    char group[160], path[300], kind[32], number[32];
    int64_t K = 0;
    snprintf(group, sizeof group, "/label/%s", label);
    if (store_get_str(b->file, group, "kind", kind, sizeof kind) || store_get_i64(b->file, group, "n_classes", &K)) {
        found_error(b->f, "names", "%s", status_message());
        return;
    }
    int k = task_kind_find(kind);
    if (k < 0 || K < 1 || K > 1 << 16) {
        found_error(b->f, "names", "%s: label %s: kind \"%s\", %lld classes", b->path, label, kind, (long long)K);
        return;
    }
    snprintf(path, sizeof path, "%s/names", group);
    int64_t n_names;
    int width;
    char *names;
    if (store_read_text(b->file, path, &n_names, &width, &names)) {
        found_error(b->f, "array", "%s", status_message());
    } else {
        if (n_names != K) found_error(b->f, "names", "%s: label %s: %lld names for %lld classes", b->path, label, (long long)n_names, (long long)K);
        free(names);
    }
    snprintf(path, sizeof path, "%s/present", group);
    uint8_t *present = take_array(b, path, DT_U8, b->n);
    for (int64_t i = 0; present && i < b->n; i++)
        if (present[i] > 1) found_error(b->f, "label", "%s: %s: label %s: present is %d", b->path, name_of(b, i, number), label, present[i]);
    examine_values(b, label, group, (enum task_kind)k, K, present);
    free(present);
}

static void examine(broken *b)
{
    enum dtype t;
    int ndim, n_labels;
    int64_t dims[8];
    if (store_shape(b->file, "image", &t, &ndim, dims) || ndim != 4 || dims[0] < 1 || dims[0] > INT32_MAX) return; /* shard_open's message says it */
    b->n = dims[0], b->H = dims[1], b->W = dims[2];
    examine_index(b);
    char(*label)[128];
    if (!store_has(b->file, "label")) return;
    if (store_list(b->file, "/label", &n_labels, &label)) {
        found_error(b->f, "names", "%s", status_message());
        return;
    }
    for (int l = 0; l < n_labels; l++) examine_label(b, label[l]);
    free(label);
}

void verify_broken(const char *path, const char *why, findings *f)
{
    int64_t before = f->n_error;
    broken b = {.path = path, .f = f};
    if (!store_open(&b.file, path)) {
        examine(&b);
        free(b.id), free(b.size);
        store_close(b.file);
    }
    if (f->n_error == before) found_error(f, "shard", "%s", why);
}
