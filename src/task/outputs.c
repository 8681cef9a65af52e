/* outputs: what a task computed, layer by layer, and whether its labels can be: for finding where a bad number comes from. */
#include "task_internal.h"

#include <math.h>

static bool detection_outputs(const task_run *r, const char *name, output_visit *visit, void *arg)
{
    for (int l = 0; l < FPN_LEVELS; l++) {
        const fcos_level *v = &r->fcos.level[l];
        int64_t cells = (int64_t)v->h * v->w;
        if (visit(arg, name, v->cls, r->spec.batch, cells * r->spec.K) || visit(arg, name, v->reg, r->spec.batch, cells * 5)) return true;
    }
    return false;
}

bool task_outputs(const task_run *r, output_visit *visit, void *arg)
{
    const task_spec *s = &r->spec;
    char name[96];
    if (swin_outputs(r->enc, visit, arg) || (r->seg && unet_outputs(r->seg, visit, arg)) || (r->det && fpn_outputs(r->det, visit, arg)))
        return true;
    snprintf(name, sizeof name, "head.%s", s->name);
    if (s->kind == TASK_DETECTION) return detection_outputs(r, name, visit, arg);
    int64_t places = s->kind == TASK_SEGMENTATION ? (int64_t)s->H * s->W : 1;
    return visit(arg, name, r->out, s->batch, places * s->K);
}

static bool bad_boxes(const task_spec *s, const batch *b, int i)
{
    for (int m = b->box_off[i]; m < b->box_off[i + 1]; m++) {
        const float *x = b->box + 4 * (int64_t)m;
        bool good = isfinite(x[0]) && isfinite(x[1]) && isfinite(x[2]) && isfinite(x[3]) && x[0] <= x[2] && x[1] <= x[3];
        if (!good || b->box_cls[m] < 0 || b->box_cls[m] >= s->K) return true;
    }
    return false;
}

static bool bad_mask(const uint8_t *mask, int64_t n, int K)
{
    uint8_t bad = 0;
    for (int64_t i = 0; i < n; i++) bad |= (uint8_t)(mask[i] >= K && mask[i] != IGNORE_MASK);
    return bad;
}

static bool bad_vector(const float *v, int K)
{
    for (int k = 0; k < K; k++)
        if (!(v[k] >= -1 && v[k] <= 1)) return true; /* -1: missing; NaN and Inf: never */
    return false;
}

int task_label_fault(const task_spec *s, const batch *b)
{
    int64_t area = (int64_t)s->H * s->W;
    for (int i = 0; i < b->n_valid; i++) {
        bool bad = false;
        switch (s->kind) {
        case TASK_CLASSIFICATION: bad = b->cls[i] != IGNORE_CLASS && (b->cls[i] < 0 || b->cls[i] >= s->K); break;
        case TASK_MULTILABEL: bad = bad_vector(b->vec + (int64_t)i * s->K, s->K); break;
        case TASK_REGRESSION: bad = !isfinite(b->scalar[i]); break;
        case TASK_SEGMENTATION: bad = bad_mask(b->mask + i * area, area, s->K); break;
        case TASK_DETECTION: bad = bad_boxes(s, b, i); break;
        case N_TASK_KINDS: break;
        }
        if (bad) return i;
    }
    return -1;
}
