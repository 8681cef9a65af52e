/* task: one task from declaration to gradient: encoder, the decoder its kind needs, its head, and back. */
#include "task_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a kind of label needs. */
static const struct {
    const head_ops *head;
    bool seg, det;
} kinds[N_TASK_KINDS] = {
    [TASK_CLASSIFICATION] = {&head_image, false, false}, [TASK_MULTILABEL] = {&head_image, false, false},
    [TASK_REGRESSION] = {&head_image, false, false},     [TASK_SEGMENTATION] = {&head_dense, true, false},
    [TASK_DETECTION] = {&head_detect, false, true},
};

status head_param(task *t, params *pt, const char *name, int ndim, const int64_t *shape, enum param_init init, float value, bool decay)
{
    char full[160];
    snprintf(full, sizeof full, "head.%s.%s", t->spec.name, name);
    CHECK(t->n_params < (int)(sizeof t->param / sizeof *t->param), ST_BUG, "task %s: more head parameters than places", t->spec.name);
    TRY(params_add(pt, &t->param[t->n_params], full, ndim, shape, init, value, decay, BLOCK_HEAD0 + t->index), "task %s", t->spec.name);
    t->n_params++;
    return OK;
}

static status check_spec(const task_spec *s, const shared *sh)
{
    CHECK(s->name[0], ST_USAGE, "a task has no name");
    CHECK((int)s->kind >= 0 && s->kind < N_TASK_KINDS, ST_BUG, "task %s: unknown kind %d", s->name, (int)s->kind);
    const char *kind = task_kind_name[s->kind];
    CHECK(s->batch > 0, ST_USAGE, "task %s: batch is %d, must be at least 1", s->name, s->batch);
    CHECK(s->H > 0 && s->W > 0 && s->H % 32 == 0 && s->W % 32 == 0, ST_USAGE, "task %s: image is %d x %d, both must be multiples of 32",
          s->name, s->H, s->W);
    CHECK(s->micro >= 0 && (s->micro == 0 || s->batch % s->micro == 0), ST_USAGE,
          "task %s: %d images at a time do not divide a batch of %d", s->name, s->micro, s->batch);
    int most = s->kind == TASK_SEGMENTATION ? IGNORE_MASK : 100000, least = s->kind == TASK_SEGMENTATION ? 2 : 1;
    CHECK(s->K >= least && s->K <= most, ST_USAGE, "task %s: %d classes; %s takes %d to %d", s->name, s->K, kind, least, most);
    CHECK(s->kind != TASK_REGRESSION || s->K == 1, ST_USAGE, "task %s: regression has one value per image, not %d", s->name, s->K);
    CHECK(s->dropout >= 0 && s->dropout < 1, ST_USAGE, "task %s: dropout is %g, must be in [0,1)", s->name, s->dropout);
    CHECK(s->kind != TASK_DETECTION || s->max_boxes > 0, ST_USAGE, "task %s: max_boxes is %d, must be at least 1", s->name,
          s->max_boxes);
    CHECK(!kinds[s->kind].seg || sh->has_seg, ST_BUG, "task %s: no segmentation decoder for it", s->name);
    CHECK(!kinds[s->kind].det || sh->has_det, ST_BUG, "task %s: no detection decoder for it", s->name);
    return OK;
}

status task_init(task *t, const task_spec *spec, int index, const shared *sh, params *pt)
{
    TRY(check_spec(spec, sh), "task %d", index);
    *t = (task){.spec = *spec, .index = index};
    return kinds[spec->kind].head->init(t, sh, pt);
}

bool task_uses(const task *t, int block)
{
    switch (block) {
    case BLOCK_ENCODER:
        return !t->spec.frozen;
    case BLOCK_SEG:
        return kinds[t->spec.kind].seg;
    case BLOCK_DET:
        return kinds[t->spec.kind].det;
    default:
        return block == BLOCK_HEAD0 + t->index;
    }
}

double task_flops(const task *t, const shared *sh)
{
    const task_spec *s = &t->spec;
    double image = swin_flops(&sh->enc, s->H, s->W);
    if (kinds[s->kind].seg) image += unet_flops(&sh->seg, s->H, s->W);
    if (kinds[s->kind].det) image += fpn_flops(&sh->det, s->H, s->W);
    return s->batch * image + kinds[s->kind].head->flops(s, sh);
}

status task_place(task_run **out, const task *t, const shared *sh, bool train, arena *a)
{
    const task_spec *s = &t->spec;
    task_run *r;
    status st = OK;
    *out = NULL;
    TRY(mem_alloc(&r, sizeof *r, "task buffers"), "task %s", s->name);
    swin enc = sh->enc;
    enc.recompute = s->recompute;
    r->spec = *s;
    if (s->micro > 0) r->spec.batch = s->micro;
    r->share = 1;
    s = &r->spec;
    memcpy(r->param, t->param, sizeof r->param);
    r->train = train;
    TRY_TO(fail, swin_place(&r->enc, &enc, s->batch, s->H, s->W, train, a), "task %s", s->name);
    if (kinds[s->kind].seg) TRY_TO(fail, unet_place(&r->seg, &sh->seg, s->batch, s->H, s->W, train, a), "task %s", s->name);
    if (kinds[s->kind].det) TRY_TO(fail, fpn_place(&r->det, &sh->det, s->batch, s->H, s->W, train, a), "task %s", s->name);
    kinds[s->kind].head->place(r, sh, a);
    *out = r;
    return OK;
fail:
    task_run_free(r);
    return st;
}

void task_run_free(task_run *r)
{
    if (!r) return;
    if (r->det) fpn_run_free(r->det);
    if (r->seg) unet_run_free(r->seg);
    if (r->enc) swin_run_free(r->enc);
    free(r);
}

void task_forward(task_run *r, const params *pt, const float *w, const batch *b, bool train)
{
    swin_forward(r->enc, pt, w, b->image, train ? b->key : NULL);
    pyramid *p = swin_pyramid(r->enc);
    if (r->seg) unet_forward(r->seg, pt, w, p, b->image);
    if (r->det) fpn_forward(r->det, pt, w, p);
    kinds[r->spec.kind].head->forward(r, pt, w, b, train);
}

double task_loss(task_run *r, const batch *b, int64_t *n_valid, double parts[4])
{
    int64_t n = 0;
    memset(parts, 0, 4 * sizeof *parts);
    double loss = r->share * kinds[r->spec.kind].head->loss(r, b, &n, parts);
    for (int i = 0; i < 3; i++) parts[i] *= r->share;
    if (n_valid) *n_valid = n;
    return n == 0 ? 0.0 : isfinite(loss) ? loss : (double)NAN;
}

/* The first tensor of a block in the table. */
static int first_of(const params *pt, int block)
{
    int i = 0;
    while (i < pt->n && pt->p[i].block != block) i++;
    return i;
}

void task_watch(task_run *r, grad_done *done, void *arg)
{
    r->done = done, r->done_arg = arg;
    swin_watch(r->enc, done, arg);
}

void task_backward(task_run *r, const params *pt, const float *w, float *g, const batch *b)
{
    pyramid *p = swin_pyramid(r->enc);
    kinds[r->spec.kind].head->backward(r, pt, w, g);
    if (r->det) fpn_backward(r->det, pt, w, g, p);
    if (r->det && r->done) r->done(r->done_arg, first_of(pt, BLOCK_DET));
    if (r->seg) unet_backward(r->seg, pt, w, g, p, b->image);
    if (r->seg && r->done) r->done(r->done_arg, first_of(pt, BLOCK_SEG));
    if (!r->spec.frozen) swin_backward(r->enc, pt, w, g, NULL);
}

/* ---- a batch in pieces ----------------------------------------------------------------------------------------------------------- */

int task_pieces(const task_run *r, const batch *b) { return (b->B + r->spec.batch - 1) / r->spec.batch; }

/* Samples from, from + 1, .. of b. Offsets of boxes go on counting from the batch's first. */
static batch part_of(const task_spec *s, const batch *b, int from, int n)
{
    batch c = *b;
    int64_t at = from, P = (int64_t)b->H * b->W;
    c.B = n;
    c.n_valid = b->n_valid <= from ? 0 : b->n_valid - from < n ? b->n_valid - from : n;
    c.image += at * P * 3, c.sample += at;
    if (c.key) c.key += at;
    if (c.view) c.view += at;
    if (c.cls) c.cls += at;
    if (c.vec) c.vec += at * s->K;
    if (c.scalar) c.scalar += at;
    if (c.mask) c.mask += at * P;
    if (c.box_off) c.box_off += at;
    for (int64_t i = 0; c.native_mask && i < at && i < b->n_valid; i++)
        c.native_mask += (int64_t)b->native_size[2 * i] * b->native_size[2 * i + 1];
    if (c.native_size) c.native_size += 2 * at;
    if (c.note) c.note += at;
    return c;
}

batch task_piece(task_run *r, const batch *b, int i)
{
    const head_ops *head = kinds[r->spec.kind].head;
    r->share = 1;
    if (task_pieces(r, b) == 1) return *b;
    batch c = part_of(&r->spec, b, i * r->spec.batch, r->spec.batch);
    if (!r->train) return c;
    if (i == 0) r->n_labels = head->labels(r, b);
    r->share = r->n_labels > 0 ? head->labels(r, &c) / r->n_labels : 1;
    return c;
}

const float *task_output(const task_run *r) { return r->spec.kind == TASK_DETECTION ? NULL : r->out; }
