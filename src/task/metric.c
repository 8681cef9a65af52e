/* metric: the records of a task's metric: collecting, packing for another rank, merging, bringing into one order. */
#include "metric_internal.h"

#include <stdlib.h>
#include <string.h>

enum { PACK_MAGIC = 0x4d455452 };
typedef struct pack_head {
    uint32_t magic, kind;
    int64_t K, n, n_data;
} pack_head;

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

void metric_free(metric *m)
{
    if (!m) return;
    free(m->class_name);
    free(m->rec);
    free(m->data);
    free(m->mask);
    free(m->found);
    free(m);
}

static status grow(void *list, int64_t *cap, int64_t need, size_t size, const char *owner)
{
    if (need <= *cap) return OK;
    int64_t wanted = need > 2 * *cap ? need + 64 : 2 * *cap;
    TRY(mem_grow(list, (size_t)wanted * size, "metric"), "task %s", owner);
    *cap = wanted;
    return OK;
}

status metric_new_record(metric *m, int64_t sample, uint64_t case_id, int64_t n, double **payload)
{
    TRY(grow(&m->rec, &m->cap, m->n + 1, sizeof *m->rec, m->task), "metric");
    TRY(grow(&m->data, &m->cap_data, m->n_data + n, sizeof *m->data, m->task), "metric");
    m->rec[m->n++] = (record){sample, case_id, m->n_data, n};
    *payload = m->data + m->n_data;
    m->n_data += n;
    return OK;
}

status metric_pack(const metric *m, void **bytes, size_t *n_bytes)
{
    pack_head head = {PACK_MAGIC, (uint32_t)m->kind, m->K, m->n, m->n_data};
    size_t rec = sizeof *m->rec * (size_t)m->n, data = sizeof *m->data * (size_t)m->n_data;
    char *p;
    TRY(mem_alloc(&p, sizeof head + rec + data, "packed metric"), "task %s", m->task);
    memcpy(p, &head, sizeof head);
    if (rec) memcpy(p + sizeof head, m->rec, rec);
    if (data) memcpy(p + sizeof head + rec, m->data, data);
    *bytes = p;
    *n_bytes = sizeof head + rec + data;
    return OK;
}

status metric_merge(metric *m, const void *bytes, size_t n_bytes)
{
    pack_head head;
    CHECK(n_bytes >= sizeof head, ST_BUG, "task %s: packed metric is %zu bytes long", m->task, n_bytes);
    memcpy(&head, bytes, sizeof head);
    CHECK(head.magic == PACK_MAGIC && head.kind == (uint32_t)m->kind && head.K == m->K && head.n >= 0 && head.n_data >= 0 &&
              n_bytes == sizeof head + sizeof(record) * (size_t)head.n + sizeof(double) * (size_t)head.n_data,
          ST_BUG, "task %s: packed metric does not belong to this task", m->task);
    const char *rec = (const char *)bytes + sizeof head, *data = rec + sizeof(record) * (size_t)head.n;
    for (int64_t i = 0; i < head.n; i++) {
        record r;
        double *payload;
        memcpy(&r, rec + sizeof r * (size_t)i, sizeof r);
        CHECK(r.at >= 0 && r.n >= 0 && r.at <= head.n_data - r.n, ST_BUG, "task %s: packed metric: record %lld is damaged", m->task,
              (long long)i);
        TRY(metric_new_record(m, r.sample, r.case_id, r.n, &payload), "task %s", m->task);
        memcpy(payload, data + sizeof(double) * (size_t)r.at, sizeof(double) * (size_t)r.n);
    }
    return OK;
}

static int by_sample(const void *pa, const void *pb)
{
    const record *a = pa, *b = pb;
    if (a->sample != b->sample) return a->sample < b->sample ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

void metric_sort(metric *m)
{
    if (m->n == 0) return;
    qsort(m->rec, (size_t)m->n, sizeof *m->rec, by_sample);
    int64_t n = 1;
    for (int64_t i = 1; i < m->n; i++)
        if (m->rec[i].sample != m->rec[n - 1].sample) m->rec[n++] = m->rec[i];
    m->n = n;
}
