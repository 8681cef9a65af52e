/* sample_check: what a sample must fulfil before it enters a shard, so that everything behind can rely on it. */
#include "store_internal.h"

#include <math.h>
#include <string.h>

enum { MAX_SIDE = 1 << 16 };
static const int64_t max_pixel_bytes = INT64_C(1) << 31; /* of one sample: a chunk of HDF5 must stay below 4 GiB */

static bool ends(const char *text, size_t room) { return strnlen(text, room) < room; }

static status check_boxes(const shard_meta *m, const sample *s, const shard_label *l, const sample_label *v)
{
    CHECK(v->n_box >= 0 && v->n_box <= 1 << 24, ST_DATA, "%s: %s: label %s: %d boxes", m->name, s->id, l->name, v->n_box);
    for (int i = 0; i < v->n_box; i++) {
        const float *b = v->box + 4 * i;
        bool inside =
            b[0] >= 0 && b[1] >= 0 && b[2] <= (float)s->W && b[3] <= (float)s->H && b[0] < b[2] && b[1] < b[3]; /* false for NaN */
        CHECK(inside, ST_DATA, "%s: %s: label %s: box %d (%g %g %g %g) is empty or leaves the %dx%d image", m->name, s->id, l->name, i,
              b[0], b[1], b[2], b[3], s->W, s->H);
        CHECK(v->box_cls[i] >= 0 && v->box_cls[i] < l->n_classes, ST_DATA, "%s: %s: label %s: box %d has class %d of %d", m->name,
              s->id, l->name, i, v->box_cls[i], l->n_classes);
    }
    return OK;
}

static status check_label(const shard_meta *m, const sample *s, const shard_label *l, const sample_label *v)
{
    switch (l->kind) {
    case TASK_CLASSIFICATION:
        CHECK(v->cls >= 0 && v->cls < l->n_classes, ST_DATA, "%s: %s: label %s: class %d of %d", m->name, s->id, l->name, v->cls,
              l->n_classes);
        break;
    case TASK_MULTILABEL:
        for (int k = 0; k < l->n_classes; k++)
            CHECK(v->vec[k] <= 1 || v->vec[k] == 255, ST_DATA, "%s: %s: label %s: value %d for %s, 0, 1 or 255 (missing) are accepted",
                  m->name, s->id, l->name, v->vec[k], l->class_name ? l->class_name[k] : "a class");
        break;
    case TASK_REGRESSION:
        CHECK(isfinite(v->scalar), ST_DATA, "%s: %s: label %s: value is not finite", m->name, s->id, l->name);
        break;
    case TASK_SEGMENTATION:
        CHECK(v->mask, ST_DATA, "%s: %s: label %s: no mask", m->name, s->id, l->name);
        for (int64_t i = 0, n = (int64_t)s->H * s->W; i < n; i++)
            CHECK(v->mask[i] < l->n_classes || v->mask[i] == IGNORE_MASK, ST_DATA,
                  "%s: %s: label %s: mask value %d at row %lld, column %lld, %d classes", m->name, s->id, l->name, v->mask[i],
                  (long long)(i / s->W), (long long)(i % s->W), l->n_classes);
        break;
    case TASK_DETECTION:
        return check_boxes(m, s, l, v);
    case N_TASK_KINDS: break;
    }
    return OK;
}

status sample_check(const shard_meta *m, const sample *s)
{
    CHECK(ends(s->id, sizeof s->id) && ends(s->subject, sizeof s->subject) && ends(s->centre, sizeof s->centre) &&
          ends(s->case_id, sizeof s->case_id) && ends(s->source, sizeof s->source) && ends(s->source_sha256, sizeof s->source_sha256),
          ST_BUG, "%s: a text of the sample does not end", m->name);
    CHECK(s->id[0], ST_DATA, "%s: sample without id (source \"%s\")", m->name, s->source);
    CHECK(s->H >= 1 && s->W >= 1 && s->H <= MAX_SIDE && s->W <= MAX_SIDE, ST_DATA, "%s: %s: size %dx%d", m->name, s->id, s->W, s->H);
    CHECK((int64_t)s->H * s->W * m->channels * (int64_t)dtype_bytes(m->pixel) < max_pixel_bytes, ST_DATA,
          "%s: %s: %dx%d pixels are too many", m->name, s->id, s->W, s->H);
    CHECK(isfinite(s->range[0]) && isfinite(s->range[1]) && s->range[0] < s->range[1], ST_DATA,
          "%s: %s: intensity range %g to %g is empty", m->name, s->id, s->range[0], s->range[1]);
    for (int i = 0; i < 2; i++)
        CHECK(isnan(s->spacing[i]) || (isfinite(s->spacing[i]) && s->spacing[i] > 0), ST_DATA, "%s: %s: spacing %g", m->name, s->id,
              s->spacing[i]);
    CHECK((unsigned)s->split < N_SPLITS, ST_DATA, "%s: %s: split %d", m->name, s->id, (int)s->split);
    CHECK(s->pixels, ST_BUG, "%s: %s: no pixels", m->name, s->id);
    if (m->pixel == DT_F32) {
        const float *p = s->pixels;
        for (int64_t i = 0, n = (int64_t)s->H * s->W * m->channels; i < n; i++)
            CHECK(isfinite(p[i]), ST_DATA, "%s: %s: pixel %lld is not finite", m->name, s->id, (long long)i);
    }
    for (int i = 0; i < m->n_labels; i++)
        if (s->label[i].present) TRY(check_label(m, s, &m->label[i], &s->label[i]), "sample refused");
    return OK;
}
