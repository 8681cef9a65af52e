/* head_image: mean over positions -> dropout -> linear, for classes, label vectors and scalars. */
#include "task_internal.h"

#include <math.h>
#include <string.h>

enum { P_WEIGHT, P_BIAS };

static int channels(const shared *sh) { return sh->enc.embed * 8; }

static status init(task *t, const shared *sh, params *pt)
{
    int64_t K = t->spec.K, weight[2] = {K, channels(sh)};
    /* pooled vectors are about sqrt(C) long (they come from a layer norm): outputs start about 0.1 from 0, losses near 1; a
     * scalar's loss is steeper */
    float sd = (t->spec.kind == TASK_REGRESSION ? 0.02f : 0.1f) / sqrtf((float)weight[1]);
    TRY(head_param(t, pt, "weight", 2, weight, INIT_TRUNC_NORMAL, sd, true), "image head");
    return head_param(t, pt, "bias", 1, &K, INIT_ZERO, 0, false);
}

static void place(task_run *r, const shared *sh, arena *a)
{
    int64_t B = r->spec.batch, C = channels(sh), K = r->spec.K;
    r->vector = ARENA_F32(a, B * C);
    r->out = ARENA_F32(a, B * K);
    if (!r->train) return;
    r->keep = ARENA_F32(a, B * C);
    r->d_vector = ARENA_F32(a, B * C);
    r->d_out = ARENA_F32(a, B * K);
}

static void dropout(float *vector, float *keep, int64_t C, float rate, rng_key key)
{
    rng random = rng_open(key, RNG_DROPOUT, 0);
    for (int64_t c = 0; c < C; c++) {
        keep[c] = rng_uniform(&random) < rate ? 0.0f : 1.0f / (1.0f - rate);
        vector[c] *= keep[c];
    }
}

static void forward(task_run *r, const params *pt, const float *w, const batch *b, bool train)
{
    const feature *top = &swin_pyramid(r->enc)->top;
    int64_t B = r->spec.batch, C = top->C;
    r->dropped = train && r->train && r->spec.dropout > 0 && b->key;
    for (int64_t i = 0; i < B; i++) {
        swin_pool(r->vector + i * C, top, i);
        if (r->dropped) dropout(r->vector + i * C, r->keep + i * C, C, r->spec.dropout, b->key[i]);
    }
    linear_forward(r->out, r->vector, PW(pt, w, r->param[P_WEIGHT]), PW(pt, w, r->param[P_BIAS]), B, r->spec.K, C);
}

static double loss(task_run *r, const batch *b, int64_t *n_valid, double parts[4])
{
    const task_spec *s = &r->spec;
    float *d = r->d_out, share = s->weight * (float)r->share;
    int64_t n = b->n_valid, K = s->K;
    double value = 0;
    if (d) memset(d, 0, sizeof *d * (size_t)(s->batch * K));
    if (s->kind == TASK_CLASSIFICATION) value = loss_classes(d, r->out, b->cls, s->class_weight, n, K, n_valid);
    if (s->kind == TASK_MULTILABEL) value = loss_labels(d, r->out, b->vec, s->class_weight, n, K, n_valid);
    if (s->kind == TASK_REGRESSION) value = loss_scalar(d, r->out, b->scalar, s->lo, s->hi, n, n_valid);
    for (int64_t i = 0; d && i < n * K; i++) d[i] *= share;
    parts[0] = value;
    return value;
}

static void backward(task_run *r, const params *pt, const float *w, float *g)
{
    feature *top = &swin_pyramid(r->enc)->top;
    int64_t B = r->spec.batch, P = (int64_t)top->H * top->W, C = top->C, K = r->spec.K;
    linear_backward(r->d_vector, false, PW(pt, g, r->param[P_WEIGHT]), PW(pt, g, r->param[P_BIAS]), r->d_out, r->vector,
                    PW(pt, w, r->param[P_WEIGHT]), B, K, C);
    for (int64_t i = 0; i < B; i++) {
        float *d = r->d_vector + i * C;
        for (int64_t c = 0; c < C; c++) d[c] *= (r->dropped ? r->keep[i * C + c] : 1.0f) / (float)P;
        for (int64_t p = 0; p < P; p++)
            for (int64_t c = 0; c < C; c++) top->d[(i * P + p) * C + c] += d[c];
    }
}

static double flops(const task_spec *s, const shared *sh) { return (double)s->batch * s->K * channels(sh); }

/* Labels that are there. */
static double labels(task_run *r, const batch *b)
{
    int64_t n = 0, K = r->spec.K;
    for (int64_t i = 0; i < b->n_valid; i++) {
        if (r->spec.kind == TASK_CLASSIFICATION) n += class_counts(b->cls[i], K);
        if (r->spec.kind == TASK_REGRESSION) n += isfinite(b->scalar[i]);
        for (int64_t k = 0; r->spec.kind == TASK_MULTILABEL && k < K; k++) n += b->vec[i * K + k] >= 0;
    }
    return (double)n;
}

const head_ops head_image = {init, place, forward, loss, backward, flops, labels};
