/* metric_add: from a forwarded batch, or from outputs, to one record per sample. */
#include "metric_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- image level: z (K) raw outputs -------------------------------------------------------------------------------------------------- */

/* What they mean, to out (K). */
static void read_out(const metric *m, const float *z, double *out)
{
    task_readout(&(task_spec){.kind = m->kind, .K = m->K, .lo = m->lo, .hi = m->hi}, z, out);
}

static status add_class(metric *m, const float *z, int32_t cls, int64_t sample, uint64_t case_id)
{
    int K = m->K;
    double *p;
    if (cls < 0 || cls >= K) return OK;
    TRY(metric_new_record(m, sample, case_id, 1 + K, &p), "task %s", m->task);
    read_out(m, z, p + 1);
    p[0] = cls;
    return OK;
}

static status add_labels(metric *m, const float *z, const float *y, int64_t sample, uint64_t case_id)
{
    int K = m->K;
    double *p;
    TRY(metric_new_record(m, sample, case_id, 2 * K, &p), "task %s", m->task);
    for (int k = 0; k < K; k++) p[k] = y[k] >= 0 ? (y[k] > 0.5f ? 1 : 0) : -1;
    read_out(m, z, p + K);
    return OK;
}

static status add_scalar(metric *m, float z, float y, int64_t sample, uint64_t case_id)
{
    double *p;
    if (!isfinite(y)) return OK;
    TRY(metric_new_record(m, sample, case_id, 2, &p), "task %s", m->task);
    p[0] = y;
    read_out(m, &z, p + 1);
    return OK;
}

status metric_add_shares(metric *m, int64_t sample, uint64_t case_id, const double *p, int32_t cls)
{
    double *to;
    CHECK(m->kind == TASK_CLASSIFICATION, ST_BUG, "task %s: %s has no shares of classes", m->task, task_kind_name[m->kind]);
    if (cls < 0 || cls >= m->K) return OK;
    TRY(metric_new_record(m, sample, case_id, 1 + m->K, &to), "task %s", m->task);
    to[0] = cls;
    memcpy(to + 1, p, sizeof *p * (size_t)m->K);
    return OK;
}

status metric_add_output(metric *m, int64_t sample, uint64_t case_id, const float *out, const image_label *y)
{
    switch (m->kind) {
    case TASK_CLASSIFICATION: return add_class(m, out, y->cls, sample, case_id);
    case TASK_MULTILABEL: return add_labels(m, out, y->vec, sample, case_id);
    case TASK_REGRESSION: return add_scalar(m, out[0], y->scalar, sample, case_id);
    default: return status_raise(ST_BUG, __FILE__, __LINE__, "task %s: %s has no outputs of images", m->task, task_kind_name[m->kind]);
    }
}

static image_label label_of(const batch *b, int i, int64_t K)
{
    return (image_label){.cls = b->cls ? b->cls[i] : IGNORE_CLASS, .vec = b->vec ? b->vec + i * K : NULL, .scalar = b->scalar ? b->scalar[i] : NAN};
}

/* ---- pixels and boxes ------------------------------------------------------------------------------------------------------------------ */

static enum unit_of unit_of(const sample_note *n)
{
    if (!n || !(n->spacing[0] > 0 && n->spacing[1] > 0)) return UNIT_PIXEL;
    for (int u = UNIT_MM; u < N_UNITS; u++)
        if (strcmp(n->units, unit_name[u]) == 0) return (enum unit_of)u;
    return UNIT_PIXEL;
}

/* guess, truth (h,w); note: NULL without metric_want. */
static status add_counts(metric *m, const uint8_t *guess, const uint8_t *truth, int h, int w, int64_t sample, uint64_t case_id, const sample_note *note)
{
    int64_t count[3][256] = {{0}}; /* both, predicted, true */
    for (int64_t i = 0, n = (int64_t)h * w; i < n; i++) {
        if (truth[i] == IGNORE_MASK) continue;
        count[0][truth[i]] += guess[i] == truth[i];
        count[1][guess[i]]++;
        count[2][truth[i]]++;
        if (m->pixels && truth[i] < m->K && guess[i] < m->K) m->pixels[(int64_t)truth[i] * m->K + guess[i]]++;
    }
    int present = 0;
    for (int k = 0; k < m->K; k++) present += count[1][k] + count[2][k] > 0;
    double *p, step[2] = {1, 1};
    enum unit_of measure = unit_of(note);
    if (measure != UNIT_PIXEL) step[0] = (double)note->spacing[0], step[1] = (double)note->spacing[1];
    TRY(metric_new_record(m, sample, case_id, (int64_t)metric_counts(m) * present, &p), "task %s", m->task);
    m->rec[m->n - 1].unit = measure;
    for (int k = 0; k < m->K; k++) {
        if (count[1][k] + count[2][k] == 0) continue;
        *p++ = k;
        for (int j = 0; j < 3; j++) *p++ = (double)count[j][k];
        if (!m->full) continue;
        *p = NAN;
        if (k > 0 && count[1][k] && count[2][k]) TRY(surface_hd95(m->surface, guess, truth, h, w, k, step, p), "task %s", m->task);
        p++;
    }
    return OK;
}

/* On the stored grid if the batch brings stored masks, else on the network's. `native` walks over the stored masks. */
static status add_mask(metric *m, const task_run *r, const batch *b, int i, uint64_t case_id, const uint8_t **native)
{
    bool stored = b->native_mask && b->native_size && b->view;
    int h = stored ? b->native_size[2 * i] : b->H, w = stored ? b->native_size[2 * i + 1] : b->W;
    size_t n = (size_t)h * (size_t)w;
    if (n > m->mask_bytes) {
        free(m->mask);
        m->mask = NULL;
        m->mask_bytes = 0;
        TRY(mem_alloc(&m->mask, n, "predicted mask"), "task %s", m->task);
        m->mask_bytes = n;
    }
    static const view same = {.ax = 1, .by = 1};
    const uint8_t *truth = stored ? *native : b->mask + (size_t)i * n;
    task_mask_native(r, i, stored ? &b->view[i] : &same, h, w, m->mask);
    if (stored) *native += n;
    return add_counts(m, m->mask, truth, h, w, b->sample[i], case_id, b->note ? &b->note[i] : NULL);
}

static status add_boxes(metric *m, const task_run *r, const batch *b, int i, uint64_t case_id)
{
    static const view same = {.ax = 1, .by = 1};
    const view *v = b->view ? &b->view[i] : &same;
    int h = b->native_size ? b->native_size[2 * i] : b->H, w = b->native_size ? b->native_size[2 * i + 1] : b->W;
    int D = task_detect(r, i, m->found), G = b->box_off[i + 1] - b->box_off[i];
    double *p;
    float at[4];
    TRY(metric_new_record(m, b->sample[i], case_id, 2 + (int64_t)D * DET + (int64_t)G * TRUE_BOX, &p), "task %s", m->task);
    *p++ = D;
    *p++ = G;
    for (int d = 0; d < D; d++) {
        task_box_native(v, h, w, m->found[d].box, at);
        for (int k = 0; k < 4; k++) *p++ = at[k];
        *p++ = m->found[d].score;
        *p++ = m->found[d].cls;
    }
    for (int g = b->box_off[i]; g < b->box_off[i + 1]; g++) {
        task_box_native(v, h, w, b->box + 4 * (int64_t)g, at);
        for (int k = 0; k < 4; k++) *p++ = at[k];
        *p++ = b->box_cls[g];
    }
    return OK;
}

status metric_add(metric *m, const task_run *r, const batch *b, const uint64_t *case_id)
{
    const uint8_t *native = b->native_mask;
    for (int i = 0; i < b->n_valid; i++) {
        image_label y;
        status st = OK;
        int64_t before = m->n;
        switch (m->kind) {
        case TASK_CLASSIFICATION:
        case TASK_MULTILABEL:
        case TASK_REGRESSION:
            y = label_of(b, i, m->K);
            st = metric_add_output(m, b->sample[i], case_id[i], task_output(r) + (int64_t)i * m->K, &y);
            break;
        case TASK_SEGMENTATION:
            st = add_mask(m, r, b, i, case_id[i], &native);
            break;
        case TASK_DETECTION:
            st = add_boxes(m, r, b, i, case_id[i]);
            break;
        case N_TASK_KINDS:
            break;
        }
        if (!st && m->full && b->note && m->n > before) st = metric_note(m, &b->note[i]);
        if (!st && m->n_wanted && m->n > before) st = picture_add(m, r, b, i);
        if (st) return status_note(st, __FILE__, __LINE__, "sample %lld", (long long)b->sample[i]);
    }
    return OK;
}
