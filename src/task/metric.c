/* metric: what a task's metric collects: records and pictures; packing for another rank, merging, bringing into one order. */
#include "metric_internal.h"

#include <stdlib.h>
#include <string.h>

enum { PACK_MAGIC = 0x4d455453 };
/* Then: records, their data, texts, pixels (K,K) if there are any, and each picture with its bytes. */
typedef struct pack_head {
    uint32_t magic, kind;
    int64_t K, n, n_data, n_text, n_pixels, n_pictures, n_picture_bytes, full;
} pack_head;

const char *const unit_name[N_UNITS] = {"px", "mm", "um"};

status metric_init(metric **out, const task *t)
{
    const task_spec *s = &t->spec;
    metric *m;
    status st = OK;
    *out = NULL;
    TRY(mem_alloc(&m, sizeof *m, "metric"), "task %s", s->name);
    snprintf(m->task, sizeof m->task, "%s", s->name);
    m->kind = s->kind, m->K = s->K, m->lo = s->lo, m->hi = s->hi, m->max_boxes = s->max_boxes;
    TRY_TO(fail, mem_alloc(&m->class_name, sizeof *m->class_name * (size_t)s->K, "class names"), "task %s", s->name);
    for (int k = 0; k < s->K; k++) {
        if (s->class_name && s->class_name[k][0])
            memcpy(m->class_name[k], s->class_name[k], sizeof m->class_name[k]);
        else
            snprintf(m->class_name[k], sizeof m->class_name[k], "%d", k);
        m->class_name[k][sizeof m->class_name[k] - 1] = 0;
    }
    if (s->kind == TASK_DETECTION)
        TRY_TO(fail, mem_alloc(&m->found, sizeof *m->found * (size_t)s->max_boxes, "detections"), "task %s", s->name);
    *out = m;
    return OK;
fail:
    metric_free(m);
    return st;
}

status metric_want(metric *m, const metric_ask *ask)
{
    CHECK(m->n == 0, ST_BUG, "task %s: a metric that has begun", m->task);
    m->full = true;
    if (m->kind == TASK_SEGMENTATION) {
        TRY(mem_alloc(&m->pixels, sizeof *m->pixels * (size_t)m->K * (size_t)m->K, "confusion matrix"), "task %s", m->task);
        TRY(surface_open(&m->surface), "task %s", m->task);
    }
    TRY(mem_alloc(&m->wanted, sizeof *m->wanted * (size_t)(ask->n_examples + 1), "examples"), "task %s", m->task);
    if (ask->n_examples) memcpy(m->wanted, ask->example, sizeof *m->wanted * (size_t)ask->n_examples);
    m->n_wanted = ask->n_examples;
    return OK;
}

void metric_free(metric *m)
{
    if (!m) return;
    for (int64_t i = 0; i < m->n_pictures; i++) free(m->pictures[i].bytes);
    surface_close(m->surface);
    free(m->class_name);
    free(m->rec);
    free(m->data);
    free(m->text);
    free(m->pixels);
    free(m->mask);
    free(m->found);
    free(m->wanted);
    free(m->pictures);
    free(m);
}

/* ---- records ---------------------------------------------------------------------------------------------------------------------- */

status metric_room(void *list, int64_t *cap, int64_t need, size_t size, const char *owner)
{
    if (need <= *cap) return OK;
    int64_t wanted = need > 2 * *cap ? need + 64 : 2 * *cap;
    TRY(mem_grow(list, (size_t)wanted * size, "metric"), "task %s", owner);
    *cap = wanted;
    return OK;
}

status metric_new_record(metric *m, int64_t sample, uint64_t case_id, int64_t n, double **payload)
{
    TRY(metric_room(&m->rec, &m->cap, m->n + 1, sizeof *m->rec, m->task), "metric");
    TRY(metric_room(&m->data, &m->cap_data, m->n_data + n, sizeof *m->data, m->task), "metric");
    m->rec[m->n++] = (record){.sample = sample, .case_id = case_id, .subject = case_id, .at = m->n_data, .n = n, .text = -1};
    *payload = m->data + m->n_data;
    m->n_data += n;
    return OK;
}

status metric_note(metric *m, const sample_note *note)
{
    record *r = &m->rec[m->n - 1];
    const char *texts[N_NOTE_TEXTS] = {note->id, note->case_id, note->subject, note->centre};
    TRY(metric_room(&m->text, &m->cap_text, m->n_text + N_NOTE_TEXTS * SHARD_TEXT, 1, m->task), "metric");
    if (note->subject[0]) r->subject = hash_text(note->subject);
    r->text = m->n_text;
    for (int k = 0; k < N_NOTE_TEXTS; k++) {
        size_t n = strnlen(texts[k], SHARD_TEXT - 1);
        memcpy(m->text + m->n_text, texts[k], n);
        m->text[m->n_text + (int64_t)n] = 0;
        m->n_text += (int64_t)n + 1;
    }
    return OK;
}

const char *metric_text(const metric *m, const record *r, enum note_text which)
{
    if (r->text < 0) return "";
    const char *t = m->text + r->text;
    for (int k = 0; k < (int)which; k++) t += strlen(t) + 1;
    return t;
}

/* ---- to another rank ---------------------------------------------------------------------------------------------------------------- */

static char *put_bytes(char *p, const void *from, size_t n)
{
    if (n) memcpy(p, from, n);
    return p + n;
}

status metric_pack(const metric *m, void **bytes, size_t *n_bytes)
{
    pack_head head = {.magic = PACK_MAGIC, .kind = (uint32_t)m->kind, .K = m->K, .n = m->n, .n_data = m->n_data, .n_text = m->n_text,
                      .n_pixels = m->pixels ? (int64_t)m->K * m->K : 0, .n_pictures = m->n_pictures, .full = m->full};
    for (int64_t i = 0; i < m->n_pictures; i++) head.n_picture_bytes += (int64_t)picture_bytes(&m->pictures[i]);
    size_t rec = sizeof *m->rec * (size_t)m->n, data = sizeof *m->data * (size_t)m->n_data, pixels = sizeof *m->pixels * (size_t)head.n_pixels;
    size_t pictures = sizeof *m->pictures * (size_t)m->n_pictures + (size_t)head.n_picture_bytes;
    char *p;
    TRY(mem_alloc(&p, sizeof head + rec + data + pixels + (size_t)m->n_text + pictures, "packed metric"), "task %s", m->task);
    *bytes = p;
    p = put_bytes(p, &head, sizeof head);
    p = put_bytes(p, m->rec, rec);
    p = put_bytes(p, m->data, data);
    p = put_bytes(p, m->pixels, pixels);
    p = put_bytes(p, m->text, (size_t)m->n_text);
    for (int64_t i = 0; i < m->n_pictures; i++) {
        p = put_bytes(p, &m->pictures[i], sizeof *m->pictures);
        p = put_bytes(p, m->pictures[i].bytes, picture_bytes(&m->pictures[i]));
    }
    *n_bytes = (size_t)(p - (char *)*bytes);
    return OK;
}

static status merge_records(metric *m, const pack_head *head, const char *rec, const char *data, int64_t text_before)
{
    for (int64_t i = 0; i < head->n; i++) {
        record r;
        double *payload;
        memcpy(&r, rec + sizeof r * (size_t)i, sizeof r);
        CHECK(r.at >= 0 && r.n >= 0 && r.at <= head->n_data - r.n && r.text < head->n_text, ST_BUG, "task %s: packed metric: record %lld is damaged",
              m->task, (long long)i);
        TRY(metric_new_record(m, r.sample, r.case_id, r.n, &payload), "task %s", m->task);
        memcpy(payload, data + sizeof(double) * (size_t)r.at, sizeof(double) * (size_t)r.n);
        record *mine = &m->rec[m->n - 1];
        mine->subject = r.subject, mine->unit = r.unit;
        if (r.text >= 0) mine->text = r.text + text_before;
    }
    return OK;
}

static status merge_pictures(metric *m, int64_t n, const char *p, const char *end)
{
    for (int64_t i = 0; i < n; i++) {
        picture one;
        CHECK((size_t)(end - p) >= sizeof one, ST_BUG, "task %s: packed metric: picture %lld is cut", m->task, (long long)i);
        memcpy(&one, p, sizeof one);
        p += sizeof one;
        CHECK((size_t)(end - p) >= picture_bytes(&one), ST_BUG, "task %s: packed metric: picture %lld is cut", m->task, (long long)i);
        TRY(picture_append(m, &one, p), "task %s", m->task);
        p += picture_bytes(&one);
    }
    return OK;
}

status metric_merge(metric *m, const void *bytes, size_t n_bytes)
{
    pack_head head;
    CHECK(n_bytes >= sizeof head, ST_BUG, "task %s: packed metric is %zu bytes long", m->task, n_bytes);
    memcpy(&head, bytes, sizeof head);
    int64_t n_pixels = m->pixels ? (int64_t)m->K * m->K : 0;
    CHECK(head.magic == PACK_MAGIC && head.kind == (uint32_t)m->kind && head.K == m->K && head.full == m->full && head.n >= 0 && head.n_data >= 0 &&
              head.n_text >= 0 && head.n_pixels == n_pixels && head.n_pictures >= 0 && head.n_picture_bytes >= 0 &&
              n_bytes == sizeof head + sizeof(record) * (size_t)head.n + sizeof(double) * (size_t)(head.n_data + head.n_pixels) + (size_t)head.n_text +
                             sizeof(picture) * (size_t)head.n_pictures + (size_t)head.n_picture_bytes,
          ST_BUG, "task %s: packed metric does not belong to this task", m->task);
    const char *rec = (const char *)bytes + sizeof head, *data = rec + sizeof(record) * (size_t)head.n;
    const char *pixels = data + sizeof(double) * (size_t)head.n_data, *text = pixels + sizeof(int64_t) * (size_t)head.n_pixels;
    const char *pictures = text + head.n_text;
    for (int64_t i = 0; i < n_pixels; i++) {
        int64_t more;
        memcpy(&more, pixels + sizeof more * (size_t)i, sizeof more);
        m->pixels[i] += more;
    }
    int64_t text_before = m->n_text;
    TRY(metric_room(&m->text, &m->cap_text, m->n_text + head.n_text, 1, m->task), "metric");
    if (head.n_text) memcpy(m->text + m->n_text, text, (size_t)head.n_text);
    m->n_text += head.n_text;
    TRY(merge_records(m, &head, rec, data, text_before), "task %s", m->task);
    return merge_pictures(m, head.n_pictures, pictures, (const char *)bytes + n_bytes);
}

/* ---- one order ---------------------------------------------------------------------------------------------------------------------- */

static int by_sample(const void *pa, const void *pb)
{
    const record *a = pa, *b = pb;
    if (a->sample != b->sample) return a->sample < b->sample ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

static int by_picture(const void *pa, const void *pb)
{
    const picture *a = pa, *b = pb;
    return a->sample < b->sample ? -1 : a->sample > b->sample;
}

void metric_sort(metric *m)
{
    if (m->n_pictures) qsort(m->pictures, (size_t)m->n_pictures, sizeof *m->pictures, by_picture);
    if (m->n == 0) return;
    qsort(m->rec, (size_t)m->n, sizeof *m->rec, by_sample);
    int64_t n = 1;
    for (int64_t i = 1; i < m->n; i++)
        if (m->rec[i].sample != m->rec[n - 1].sample) m->rec[n++] = m->rec[i];
    m->n = n;
}
