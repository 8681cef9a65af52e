/* dataset: the labelled samples of one data set folder; shards are opened when first needed. */
#include "data_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_OPEN = 64 };

struct dataset {
    catalogue       cat;
    int             label;          /* position in cat.meta.label */
    int64_t        *first;          /* (S+1) global index of a shard's first sample */
    int64_t        *list[N_SPLITS], n[N_SPLITS];
    shard         **open;           /* (S) NULL if closed */
    int64_t        *used;           /* (S) when it was used last */
    int64_t         clock;
    int             n_open;
    bool            twin;           /* cat, first and list belong to another */
    pthread_mutex_t lock;           /* over open, used, clock, n_open */
};

status buffer_need(buffer *b, size_t n_bytes, const char *what)
{
    if (n_bytes <= b->size) return OK;
    free(b->at);
    *b = (buffer){0};
    TRY(mem_alloc(&b->at, n_bytes + n_bytes / 8, what), "loading");
    b->size = n_bytes + n_bytes / 8;
    return OK;
}

void scratch_free(scratch *s)
{
    buffer *all[] = {&s->pixels, &s->mask, &s->boxes, &s->box_cls, &s->vec, &s->planes, &s->row, &s->work, &s->blur};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]->at);
    *s = (scratch){0};
}

static status find_label(dataset *d, const char *label)
{
    const shard_meta *m = &d->cat.meta;
    const char *name[SHARD_MAX_LABELS];
    char list[SHARD_MAX_LABELS * 66] = "";
    CHECK(m->n_labels > 0, ST_DATA, "%s: its images have no labels to learn from", d->cat.dir);
    for (int i = 0; i < m->n_labels; i++) {
        name[i] = m->label[i].name;
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", name[i]);
    }
    if (!label || !*label) {
        CHECK(m->n_labels == 1, ST_DATA, "%s has %d label sets (%s): say which one", d->cat.dir, m->n_labels, list);
        d->label = 0;
        return OK;
    }
    for (int i = 0; i < m->n_labels; i++)
        if (strcmp(name[i], label) == 0) {
            d->label = i;
            return OK;
        }
    const char *near = text_nearest(label, name, m->n_labels);
    return status_raise(ST_DATA, __FILE__, __LINE__, "%s has no label set \"%s\"%s%s%s (it has %s)", d->cat.dir, label,
                        near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "", list);
}

static status make_doors(dataset *d)
{
    size_t S = (size_t)d->cat.n_shards;
    TRY(mem_alloc(&d->open, sizeof *d->open * S, "shards"), "%s", d->cat.dir);
    return mem_alloc(&d->used, sizeof *d->used * S, "shards");
}

static status make_lists(dataset *d)
{
    const catalogue *c = &d->cat;
    size_t S = (size_t)c->n_shards;
    TRY(mem_alloc(&d->first, sizeof *d->first * (S + 1), "shards"), "%s", c->dir);
    for (size_t i = 0; i < S; i++) d->first[i + 1] = d->first[i] + c->n[i];
    const uint8_t *present = c->label[d->label].present;
    for (int64_t i = 0; i < c->n_total; i++) d->n[c->split[i]] += present[i];
    for (int s = 0; s < N_SPLITS; s++) {
        TRY(mem_alloc(&d->list[s], sizeof *d->list[s] * (size_t)d->n[s] + 1, "list of samples"), "%s", c->dir);
        int64_t n = 0;
        for (int64_t i = 0; i < c->n_total; i++)
            if (present[i] && c->split[i] == s) d->list[s][n++] = i;
    }
    return OK;
}

/* cat becomes the data set's, or is closed. */
static status from_catalogue(dataset **out, catalogue *cat, const char *label)
{
    dataset *d;
    status st = mem_alloc(&d, sizeof *d, "data set");
    if (st) {
        catalogue_close(cat);
        return st;
    }
    d->cat = *cat;
    pthread_mutex_init(&d->lock, NULL);
    st = find_label(d, label);
    if (!st) st = make_lists(d);
    if (!st) st = make_doors(d);
    if (st) dataset_close(d);
    else *out = d;
    return st;
}

status dataset_open(dataset **out, const char *dir, const char *label)
{
    catalogue cat;
    *out = NULL;
    status st = catalogue_open(&cat, dir);
    return st ? st : from_catalogue(out, &cat, label);
}

status dataset_open_bytes(dataset **out, const char *dir, const char *label, const void *bytes, size_t n_bytes)
{
    catalogue cat;
    *out = NULL;
    status st = catalogue_open_bytes(&cat, dir, bytes, n_bytes);
    return st ? st : from_catalogue(out, &cat, label);
}

status dataset_twin(dataset **out, const dataset *of)
{
    *out = NULL;
    dataset *d;
    TRY(mem_alloc(&d, sizeof *d, "data set"), "%s", of->cat.dir);
    d->cat = of->cat, d->label = of->label, d->first = of->first, d->twin = true;
    memcpy(d->list, of->list, sizeof d->list);
    memcpy(d->n, of->n, sizeof d->n);
    pthread_mutex_init(&d->lock, NULL);
    status st = make_doors(d);
    if (st) dataset_close(d);
    else *out = d;
    return st;
}

status dataset_check_files(const dataset *d)
{
    const catalogue *c = &d->cat;
    for (int i = 0; i < c->n_shards; i++) {
        char path[800];
        struct stat info;
        TRY(path_inside(c->dir, c->file[i], path, sizeof path), "data set");
        CHECK(stat(path, &info) == 0, ST_DATA, "%s: cannot open: %s", path, strerror(errno));
        CHECK(info.st_size == c->bytes[i], ST_DATA, "%s: %lld bytes, %s/index.h5 says %lld: another shard or a part of one", path,
              (long long)info.st_size, c->dir, (long long)c->bytes[i]);
    }
    return OK;
}

void dataset_close(dataset *d)
{
    if (!d) return;
    for (int i = 0; d->open && i < d->cat.n_shards; i++)
        if (d->open[i]) {
            shard_close(d->open[i]);
            free(d->open[i]);
        }
    free(d->open), free(d->used);
    if (!d->twin) {
        for (int s = 0; s < N_SPLITS; s++) free(d->list[s]);
        free(d->first);
        catalogue_close(&d->cat);
    }
    pthread_mutex_destroy(&d->lock);
    free(d);
}

const shard_meta *dataset_meta(const dataset *d) { return &d->cat.meta; }
const shard_label *dataset_label(const dataset *d) { return &d->cat.meta.label[d->label]; }
int64_t dataset_count(const dataset *d, enum split s) { return d->n[s]; }
const int64_t *dataset_list(const dataset *d, enum split s) { return d->list[s]; }
int64_t dataset_at(const dataset *d, enum split s, int64_t k) { return d->list[s][k]; }
const char *dataset_sample_id(const dataset *d, int64_t i) { return d->cat.id + i * d->cat.id_width; }

int32_t dataset_class(const dataset *d, int64_t i)
{
    const int32_t *cls = d->cat.label[d->label].cls;
    return cls ? cls[i] : IGNORE_CLASS;
}

uint64_t dataset_case(const dataset *d, int64_t i)
{
    char text[SHARD_TEXT + 80];
    snprintf(text, sizeof text, "%s/%s", d->cat.meta.name, d->cat.case_id + i * d->cat.case_width);
    return hash_text(text);
}

status dataset_restrict(dataset *d, enum split s, const int64_t *global_index, int64_t n)
{
    int64_t *list = d->list[s], k = 0;
    for (int64_t i = 0; i < n; i++, k++) {
        while (k < d->n[s] && list[k] < global_index[i]) k++;
        CHECK(k < d->n[s] && list[k] == global_index[i], ST_BUG, "%s: sample %lld is no labelled one of split %s", d->cat.dir,
              (long long)global_index[i], split_name[s]);
    }
    if (n) memcpy(list, global_index, sizeof *list * (size_t)n);
    d->n[s] = n;
    return OK;
}

status dataset_class_counts(dataset *d, enum split s, int64_t *out)
{
    int K = dataset_label(d)->n_classes;
    const int32_t *cls = d->cat.label[d->label].cls;
    if (cls) { /* of the samples that dataset_restrict left */
        memset(out, 0, sizeof *out * (size_t)K);
        for (int64_t i = 0; i < d->n[s]; i++)
            if (cls[d->list[s][i]] >= 0) out[cls[d->list[s][i]]]++;
        return OK;
    }
    memcpy(out, d->cat.label[d->label].n_class + (size_t)s * (size_t)K, sizeof *out * (size_t)K);
    return OK;
}

/* ---- shards ---- */

/* A shard must be the one the index was written with. */
static status check_against_index(const dataset *d, int i, const shard *s)
{
    const catalogue *c = &d->cat;
    const shard_meta *a = &c->meta, *b = &s->meta;
    bool same = strcmp(a->name, b->name) == 0 && a->pixel == b->pixel && a->channels == b->channels && a->n_labels == b->n_labels;
    for (int l = 0; same && l < a->n_labels; l++)
        same = strcmp(a->label[l].name, b->label[l].name) == 0 && a->label[l].kind == b->label[l].kind &&
               a->label[l].n_classes == b->label[l].n_classes;
    CHECK(same, ST_DATA, "%s: /: describes other samples than %s/index.h5", s->path, c->dir);
    CHECK(s->n == c->n[i], ST_DATA, "%s: /image: %lld samples, %s/index.h5 says %lld", s->path, (long long)s->n, c->dir,
          (long long)c->n[i]);
    size_t first = (size_t)d->first[i], n = (size_t)s->n;
    CHECK(memcmp(s->split, c->split + first, n) == 0, ST_DATA, "%s: /split: differs from %s/index.h5", s->path, c->dir);
    for (int l = 0; l < a->n_labels; l++) {
        const char *name = a->label[l].name;
        CHECK(memcmp(s->label[l].present, c->label[l].present + first, n) == 0, ST_DATA,
              "%s: /label/%s/present: differs from %s/index.h5", s->path, name, c->dir);
        if (s->label[l].cls)
            CHECK(memcmp(s->label[l].cls, c->label[l].cls + first, 4 * n) == 0, ST_DATA,
                  "%s: /label/%s/class: differs from %s/index.h5", s->path, name, c->dir);
    }
    return OK;
}

static void close_oldest(dataset *d)
{
    int oldest = -1;
    for (int i = 0; i < d->cat.n_shards; i++)
        if (d->open[i] && (oldest < 0 || d->used[i] < d->used[oldest])) oldest = i;
    shard_close(d->open[oldest]);
    free(d->open[oldest]);
    d->open[oldest] = NULL;
    d->n_open--;
}

static status need_shard(dataset *d, int i)
{
    d->used[i] = ++d->clock;
    if (d->open[i]) return OK;
    if (d->n_open == MAX_OPEN) close_oldest(d);
    char path[800];
    TRY(path_inside(d->cat.dir, d->cat.file[i], path, sizeof path), "data set");
    shard *s;
    TRY(mem_alloc(&s, sizeof *s, "shard"), "%s", path);
    status st = shard_open(s, path);
    if (!st && (st = check_against_index(d, i, s))) shard_close(s);
    if (st) {
        free(s);
        return st;
    }
    d->open[i] = s;
    d->n_open++;
    return OK;
}

static int shard_of(const dataset *d, int64_t sample)
{
    int lo = 0, hi = d->cat.n_shards;
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (d->first[mid] <= sample) lo = mid;
        else hi = mid;
    }
    return lo;
}

/* Room for the largest sample of a shard: nothing grows after its first one. */
static status make_room(dataset *d, const shard *s, scratch *t)
{
    size_t area = (size_t)s->Hmax * (size_t)s->Wmax, K = (size_t)dataset_label(d)->n_classes;
    const int64_t *off = s->label[d->label].box_off;
    int64_t most = 0;
    for (int64_t i = 0; off && i < s->n; i++)
        if (off[i + 1] - off[i] > most) most = off[i + 1] - off[i];
    TRY(buffer_need(&t->pixels, area * (size_t)s->meta.channels * dtype_bytes(s->meta.pixel), "pixels"), "%s", s->path);
    if (s->label[d->label].has_mask) TRY(buffer_need(&t->mask, area, "mask"), "%s", s->path);
    if (s->label[d->label].vec) TRY(buffer_need(&t->vec, K, "label vector"), "%s", s->path);
    if (off) TRY(buffer_need(&t->boxes, 16 * (size_t)most + 1, "boxes"), "%s", s->path);
    if (off) TRY(buffer_need(&t->box_cls, 4 * (size_t)most + 1, "box classes"), "%s", s->path);
    return OK;
}

static status fetch(dataset *d, int64_t sample, scratch *t, raw_sample *out)
{
    int i = shard_of(d, sample), l = d->label;
    bool fresh = !d->open[i];
    TRY(need_shard(d, i), "sample %s", dataset_sample_id(d, sample));
    shard *s = d->open[i];
    int64_t k = sample - d->first[i];
    if (fresh) TRY(make_room(d, s, t), "data set %s", d->cat.meta.name);
    *out = (raw_sample){.type = s->meta.pixel, .H = s->size[2 * k], .W = s->size[2 * k + 1], .C = s->meta.channels,
                        .H_most = s->Hmax, .W_most = s->Wmax, .range = {s->range[2 * k], s->range[2 * k + 1]}, .spacing = {s->spacing[2 * k], s->spacing[2 * k + 1]},
                        .cls = IGNORE_CLASS, .scalar = __builtin_nanf("")};
    size_t area = (size_t)out->H * (size_t)out->W;
    TRY(buffer_need(&t->pixels, area * (size_t)out->C * dtype_bytes(out->type), "pixels"), "%s", s->path);
    TRY(shard_read_image(s, k, t->pixels.at), "data set %s", d->cat.meta.name);
    out->pixels = t->pixels.at;
    if (!s->label[l].present[k]) return OK;
    size_t K = (size_t)dataset_label(d)->n_classes;
    switch (dataset_label(d)->kind) {
    case TASK_CLASSIFICATION: out->cls = s->label[l].cls[k]; break;
    case TASK_REGRESSION: out->scalar = s->label[l].scalar[k]; break;
    case TASK_MULTILABEL:
        TRY(buffer_need(&t->vec, K, "label vector"), "%s", s->path);
        out->vec = memcpy(t->vec.at, s->label[l].vec + (size_t)k * K, K);
        break;
    case TASK_SEGMENTATION:
        TRY(buffer_need(&t->mask, area, "mask"), "%s", s->path);
        TRY(shard_read_mask(s, k, l, t->mask.at), "data set %s", d->cat.meta.name);
        out->mask = t->mask.at;
        break;
    case TASK_DETECTION: {
        int64_t from = s->label[l].box_off[k];
        out->n_box = (int)(s->label[l].box_off[k + 1] - from);
        TRY(buffer_need(&t->boxes, 16 * (size_t)out->n_box + 1, "boxes"), "%s", s->path);
        TRY(buffer_need(&t->box_cls, 4 * (size_t)out->n_box + 1, "box classes"), "%s", s->path);
        out->box = memcpy(t->boxes.at, s->label[l].box + 4 * from, 16 * (size_t)out->n_box);
        out->box_cls = memcpy(t->box_cls.at, s->label[l].box_cls + from, 4 * (size_t)out->n_box);
        break;
    }
    case N_TASK_KINDS: break;
    }
    return OK;
}

static size_t shard_bytes(const shard *s)
{
    size_t n = (size_t)s->n, each = 5 * SHARD_TEXT + 65 + 2 * 8 + 4 * 4 + 1 + 4 + 4;
    for (int l = 0; l < s->meta.n_labels; l++) {
        const int64_t *off = s->label[l].box_off;
        each += 1 + 4 * (s->label[l].cls != NULL) + (s->label[l].vec ? (size_t)s->meta.label[l].n_classes : 0) +
                4 * (s->label[l].scalar != NULL) + 4 * (s->label[l].mask_crc != NULL) + (off ? 8 + 20 * (size_t)off[n] / n : 0);
    }
    return n * each;
}

status dataset_measure(dataset *d, bool with_shards, dataset_cost *out)
{
    const catalogue *c = &d->cat;
    size_t N = (size_t)c->n_total, S = (size_t)c->n_shards;
    *out = (dataset_cost){.index = sizeof *d + N * (1 + (size_t)c->id_width + (size_t)c->case_width) + S * (SHARD_TEXT + 65 + 80)};
    for (int l = 0; l < c->meta.n_labels; l++) out->index += N * (1 + 4 * (c->label[l].cls != NULL));
    for (int k = 0; k < N_SPLITS; k++) out->index += sizeof *d->list[k] * (size_t)d->n[k];
    int first = 0; /* a shard may be empty */
    while (first < c->n_shards && c->n[first] == 0) first++;
    if (!with_shards || first == c->n_shards) return OK;
    pthread_mutex_lock(&d->lock);
    status st = need_shard(d, first);
    const shard *s = d->open[first];
    if (!st) {
        const int64_t *off = s->label[d->label].box_off;
        out->n_open = c->n_shards < MAX_OPEN ? c->n_shards : MAX_OPEN;
        out->shards = (shard_bytes(s) / (size_t)s->n) * N / S * (size_t)out->n_open;
        out->H = s->Hmax, out->W = s->Wmax;
        for (int64_t i = 0; off && i < s->n; i++)
            if (off[i + 1] - off[i] > out->boxes) out->boxes = (int)(off[i + 1] - off[i]);
    }
    pthread_mutex_unlock(&d->lock);
    return st;
}

status dataset_fetch(dataset *d, int64_t sample, scratch *t, raw_sample *out)
{
    pthread_mutex_lock(&d->lock);
    status st = fetch(d, sample, t, out);
    pthread_mutex_unlock(&d->lock);
    return st;
}

status dataset_describe(dataset *d, int64_t sample, sample_note *out)
{
    int i = shard_of(d, sample);
    pthread_mutex_lock(&d->lock);
    status st = need_shard(d, i);
    if (!st) {
        const shard *s = d->open[i];
        int64_t k = sample - d->first[i];
        *out = (sample_note){.spacing = {s->spacing[2 * k], s->spacing[2 * k + 1]}};
        memcpy(out->id, s->id[k], sizeof out->id);
        memcpy(out->case_id, s->case_id[k], sizeof out->case_id);
        memcpy(out->subject, s->subject[k], sizeof out->subject);
        memcpy(out->centre, s->centre[k], sizeof out->centre);
        memcpy(out->units, s->meta.spacing_units, sizeof out->units);
    }
    pthread_mutex_unlock(&d->lock);
    return st;
}
