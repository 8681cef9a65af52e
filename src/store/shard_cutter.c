/* shard_cutter: keeps copies of samples until they fill a shard, and writes that. Knows shard files only, no index and no folder. */
#include "store_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEFAULT_SHARD_BYTES = 256 << 20, PADDING_LIMIT = 4 };

struct shard_cutter {
    const shard_meta *meta;
    char        dir[512];
    int64_t     shard_bytes, held_bytes; /* held: raw bytes of the samples in memory */
    int         Hmax, Wmax;              /* of the held ones */
    int         next, jobs;              /* number of the next shard */
    bool        open_splits;
    sample    **held;
    int64_t     n_held, cap_held;
    shard_note  last;                    /* of the shard that was written last */
};

status grow_array(void *array_ptr, int64_t n, int64_t *cap, size_t bytes, const char *what)
{
    if (n < *cap) return OK;
    int64_t want = *cap ? 2 * *cap : 64;
    TRY(mem_grow(array_ptr, (size_t)want * bytes, what), "data set");
    *cap = want;
    return OK;
}

status shard_cutter_open(shard_cutter **out, const char *dir, const shard_meta *meta, const shard_cutting *how)
{
    *out = NULL;
    TRY(meta_check(meta), "cannot write");
    shard_cutter *k;
    TRY(mem_alloc(&k, sizeof *k, "shard writer"), "%s", meta->name);
    *k = (shard_cutter){.meta = meta, .next = how->first, .jobs = how->jobs, .open_splits = how->open_splits};
    k->shard_bytes = how->shard_bytes > 0 ? how->shard_bytes : DEFAULT_SHARD_BYTES;
    if (snprintf(k->dir, sizeof k->dir, "%s", dir) >= (int)sizeof k->dir) {
        free(k);
        return status_raise(ST_RESOURCE, __FILE__, __LINE__, "path too long: %.80s...", dir);
    }
    *out = k;
    return OK;
}

static void drop_held(shard_cutter *k)
{
    for (int64_t i = 0; i < k->n_held; i++) free(k->held[i]);
    k->n_held = k->held_bytes = k->Hmax = k->Wmax = 0;
}

/* One block: the sample, then its pixels and labels. */
static status keep_copy(const shard_meta *m, const sample *s, sample **out, int64_t *bytes)
{
    size_t area = (size_t)s->H * (size_t)s->W, pixels = area * (size_t)m->channels * dtype_bytes(m->pixel);
    size_t size = sizeof *s + pixels + 16;
    for (int l = 0; l < m->n_labels; l++) {
        if (!s->label[l].present) continue;
        enum task_kind kind = m->label[l].kind;
        size += 16 + (kind == TASK_MULTILABEL ? (size_t)m->label[l].n_classes : kind == TASK_SEGMENTATION ? area
                      : kind == TASK_DETECTION ? (size_t)s->label[l].n_box * 20 : 0);
    }
    sample *k;
    TRY(mem_alloc(&k, size, "sample"), "%s", s->id);
    *k = *s;
    char *at = (char *)(k + 1);
#define KEEP(field, n_bytes)                                                                                        \
    do { size_t n_ = (n_bytes); if (n_) memcpy(at, field, n_); field = (void *)at; at += (n_ + 15) / 16 * 16; } while (0)
    KEEP(k->pixels, pixels);
    for (int l = 0; l < m->n_labels; l++) {
        sample_label *v = &k->label[l];
        if (!v->present) {
            *v = (sample_label){0};
            continue;
        }
        if (m->label[l].kind == TASK_MULTILABEL) KEEP(v->vec, (size_t)m->label[l].n_classes);
        if (m->label[l].kind == TASK_SEGMENTATION) KEEP(v->mask, area);
        if (m->label[l].kind == TASK_DETECTION) {
            KEEP(v->box, (size_t)v->n_box * 16);
            KEEP(v->box_cls, (size_t)v->n_box * 4);
        }
    }
    *out = k;
    *bytes = (int64_t)size;
    return OK;
}

/* Would this sample make the shard too large? Padding to the largest sample costs reading time, so it counts at a quarter. */
static bool overflows(const shard_cutter *k, const sample *s, int64_t bytes)
{
    int64_t H = s->H > k->Hmax ? s->H : k->Hmax, W = s->W > k->Wmax ? s->W : k->Wmax;
    int64_t padded = (k->n_held + 1) * H * W * k->meta->channels * (int64_t)dtype_bytes(k->meta->pixel);
    return k->held_bytes + bytes > k->shard_bytes || padded / PADDING_LIMIT > k->shard_bytes;
}

status shard_cutter_add(shard_cutter *k, const sample *s, bool *cut)
{
    *cut = false;
    TRY(sample_check(k->meta, s), "data set");
    TRY(grow_array(&k->held, k->n_held, &k->cap_held, sizeof *k->held, "samples"), "%s", k->meta->name);
    sample *copy = NULL;
    int64_t bytes = 0;
    TRY(keep_copy(k->meta, s, &copy, &bytes), "%s", k->meta->name);
    if (k->n_held && overflows(k, s, bytes)) {
        status st = shard_cutter_flush(k, cut);
        if (st) {
            free(copy);
            return st;
        }
    }
    if (k->open_splits) copy->split = (enum split)SPLIT_OPEN;
    k->held[k->n_held++] = copy;
    k->held_bytes += bytes;
    if (s->H > k->Hmax) k->Hmax = s->H;
    if (s->W > k->Wmax) k->Wmax = s->W;
    return OK;
}

status shard_cutter_flush(shard_cutter *k, bool *cut)
{
    *cut = k->n_held > 0;
    if (k->n_held == 0) return OK;
    k->last = (shard_note){.n = k->n_held};
    for (int64_t i = 0; i < k->n_held && !k->open_splits; i++) k->last.n_split[k->held[i]->split]++;
    snprintf(k->last.file, sizeof k->last.file, "%s-%05d.h5", k->meta->name, k->next);
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", k->dir, k->last.file);
    TRY(shard_write_file(path, k->meta, (const sample *const *)k->held, k->n_held, k->jobs), "%s", k->meta->name);
    k->next++;
    drop_held(k);
    return OK;
}

const shard_note *shard_cutter_last(const shard_cutter *k) { return &k->last; }

void shard_cutter_close(shard_cutter *k)
{
    if (!k) return;
    drop_held(k);
    free(k->held);
    free(k);
}
