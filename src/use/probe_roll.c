/* probe_roll: the labelled samples of one label set with their subjects and labels, which lie in the shards; the same on all ranks. */
#include "probe.h"

#include <stdlib.h>
#include <string.h>

/* ---- rank 0 reads ---------------------------------------------------------------------------------------------------------------- */

/* Numbers texts in the order in which they come: a table of hashes with open addresses. */
typedef struct numberer { int64_t *slot, room; const char (*text)[SHARD_TEXT]; int64_t n; int64_t *number; } numberer;

static status numberer_open(numberer *b, int64_t n, const char (*text)[SHARD_TEXT])
{
    *b = (numberer){.room = 16, .text = text};
    while (b->room < 2 * n) b->room *= 2;
    TRY(mem_alloc(&b->slot, sizeof *b->slot * (size_t)b->room, "subjects"), "roll");
    return mem_alloc(&b->number, sizeof *b->number * (size_t)(n + 1), "subjects");
}

static int64_t number_of(numberer *b, int64_t i)
{
    uint64_t at = hash_text(b->text[i]) & (uint64_t)(b->room - 1);
    for (; b->slot[at]; at = (at + 1) & (uint64_t)(b->room - 1)) { /* a slot holds the place of the first sample, from 1 */
        int64_t first = b->slot[at] - 1;
        if (strcmp(b->text[first], b->text[i]) == 0) return b->number[first];
    }
    b->slot[at] = i + 1;
    return b->number[i] = b->n++;
}

static status number_subjects(roll *r)
{
    numberer b;
    status st = numberer_open(&b, r->n, (const char (*)[SHARD_TEXT])r->subject_name);
    for (int64_t i = 0; i < r->n && !st; i++) r->subject[i] = r->split[i] == SPLIT_TRAIN ? number_of(&b, i) : -1;
    r->n_subjects = b.n;
    free(b.slot), free(b.number);
    return st;
}

static status make_room(roll *r)
{
    size_t n = (size_t)r->n, K = (size_t)r->K;
    bool vec = r->kind == TASK_MULTILABEL || r->kind == TASK_DETECTION;
    TRY(mem_alloc(&r->class_name, sizeof *r->class_name * K, "class names"), "roll");
    TRY(mem_alloc(&r->index, sizeof *r->index * n, "samples"), "roll");
    TRY(mem_alloc(&r->split, n, "samples"), "roll");
    TRY(mem_alloc(&r->subject, sizeof *r->subject * n, "samples"), "roll");
    TRY(mem_alloc(&r->case_id, sizeof *r->case_id * n, "samples"), "roll");
    if (r->kind == TASK_CLASSIFICATION) TRY(mem_alloc(&r->cls, sizeof *r->cls * n, "labels"), "roll");
    if (r->kind == TASK_REGRESSION) TRY(mem_alloc(&r->scalar, sizeof *r->scalar * n, "labels"), "roll");
    if (vec) TRY(mem_alloc(&r->vec, n * K, "labels"), "roll");
    return OK;
}

/* Sample i of a shard into place k. */
static void take_sample(roll *r, const shard *s, int label, int64_t i, int64_t k)
{
    size_t K = (size_t)r->K;
    r->split[k] = s->split[i];
    snprintf(r->id[k], SHARD_TEXT, "%s", s->id[i]);
    snprintf(r->subject_name[k], SHARD_TEXT, "%s", s->subject[i][0] ? s->subject[i] : s->case_id[i]);
    if (r->cls) r->cls[k] = s->label[label].cls[i];
    if (r->scalar) r->scalar[k] = s->label[label].scalar[i];
    if (r->kind == TASK_MULTILABEL) memcpy(r->vec + (size_t)k * K, s->label[label].vec + (size_t)i * K, K);
    if (r->kind == TASK_DETECTION)
        for (int64_t b = s->label[label].box_off[i]; b < s->label[label].box_off[i + 1]; b++) r->vec[(size_t)k * K + (size_t)s->label[label].box_cls[b]] = 1;
}

static status read_shards(roll *r, const catalogue *c, int label)
{
    int64_t k = 0, first = 0;
    for (int f = 0; f < c->n_shards; first += c->n[f], f++) {
        char path[700];
        shard s;
        if (c->n[f] == 0) continue;
        watchdog_tick(-1, "labels", NULL);
        TRY(path_inside(c->dir, c->file[f], path, sizeof path), "data");
        TRY(shard_open(&s, path), "data");
        status st = OK;
        if (s.n != c->n[f] || s.meta.n_labels != c->meta.n_labels || s.meta.label[label].kind != r->kind || s.meta.label[label].n_classes != r->K)
            st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: describes other samples than %s/index.h5", path, c->dir);
        for (int64_t i = 0; i < s.n && !st; i++)
            if (c->label[label].present[first + i]) r->index[k] = first + i, take_sample(r, &s, label, i, k++);
        shard_close(&s);
        if (st) return st;
    }
    return OK;
}

static status read_roll(roll *r, const char *dir, const char *label)
{
    dataset *d = NULL;
    catalogue c;
    TRY(dataset_open(&d, dir, label), "data");
    const shard_label *l = dataset_label(d);
    status st = catalogue_open(&c, dir);
    if (st) {
        dataset_close(d);
        return st;
    }
    r->kind = l->kind, r->K = l->n_classes, r->lo = l->lo, r->hi = l->hi;
    snprintf(r->data_name, sizeof r->data_name, "%s", dataset_meta(d)->name);
    snprintf(r->label_name, sizeof r->label_name, "%s", l->name);
    for (int s = 0; s < N_SPLITS; s++) r->n += r->n_split[s] = dataset_count(d, (enum split)s);
    for (int s = SPLIT_TRAIN; s <= SPLIT_TEST; s += SPLIT_TEST)
        CHECK_TO(done, r->n_split[s] > 0, ST_DATA, "%s: label %s: no labelled samples in split %s: nothing to %s", dir, l->name, split_name[s],
                 s == SPLIT_TRAIN ? "learn from" : "score");
    TRY_TO(done, make_room(r), "%s", dir);
    TRY_TO(done, mem_alloc(&r->id, sizeof *r->id * (size_t)r->n, "ids"), "%s", dir);
    TRY_TO(done, mem_alloc(&r->subject_name, sizeof *r->subject_name * (size_t)r->n, "subjects"), "%s", dir);
    if (l->class_name) memcpy(r->class_name, l->class_name, sizeof *r->class_name * (size_t)r->K);
    TRY_TO(done, read_shards(r, &c, (int)(l - dataset_meta(d)->label)), "%s", dir);
    for (int64_t i = 0; i < r->n; i++) r->case_id[i] = dataset_case(d, r->index[i]);
    TRY_TO(done, number_subjects(r), "%s", dir);
done:
    catalogue_close(&c);
    dataset_close(d);
    return st;
}

/* ---- and sends it to the others ------------------------------------------------------------------------------------------------------ */

status roll_read(roll *r, comm *world, const char *dir, const char *label)
{
    bool reads = comm_rank(world) == 0;
    *r = (roll){0};
    TRY(comm_agree(world, reads ? read_roll(r, dir, label) : OK), "data");
    roll sent = *r;
    TRY(comm_bcast(world, &sent, sizeof sent, 0), "labels");
    if (!reads) {
        *r = sent;
        r->class_name = NULL, r->index = NULL, r->split = NULL, r->subject = NULL, r->case_id = NULL, r->cls = NULL, r->vec = NULL, r->scalar = NULL;
        r->id = NULL, r->subject_name = NULL; /* rank 0's addresses */
    }
    TRY(comm_agree(world, reads ? OK : make_room(r)), "labels");
    size_t n = (size_t)r->n, K = (size_t)r->K;
    const struct { void *at; size_t bytes; } parts[] = {
        {r->class_name, sizeof *r->class_name * K}, {r->index, sizeof *r->index * n}, {r->split, n}, {r->subject, sizeof *r->subject * n},
        {r->case_id, sizeof *r->case_id * n}, {r->cls, sizeof *r->cls * n}, {r->vec, n * K}, {r->scalar, sizeof *r->scalar * n}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].at) TRY(comm_bcast(world, parts[i].at, parts[i].bytes, 0), "labels");
    return OK;
}

void roll_close(roll *r)
{
    free(r->class_name), free(r->index), free(r->split), free(r->subject), free(r->case_id), free(r->cls), free(r->vec), free(r->scalar);
    free(r->id), free(r->subject_name);
    *r = (roll){0};
}
