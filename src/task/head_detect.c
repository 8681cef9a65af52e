/* head_detect: the FCOS head of one task on the shared towers: class logits from one, box distances and centerness from the other.
 * 5,770 + 1,153 K parameters. Distances are exp(scale of the level * raw) strides: they move from the first step, wherever raw starts.
 *
 *   loss = (focal + GIoU + centerness) / START, each summed over the unit and divided by its positives (at least 1), as in torchvision.
 *   START = 0.25 * 0.99^2 * ln 100 + 1 + ln 2: what they are at the start per positive (prior 0.01; boxes that hardly overlap;
 *   logit 0), whatever the number of classes. */
#include "task_internal.h"

#include <math.h>
#include <string.h>

enum { P_CLS_WEIGHT, P_CLS_BIAS, P_BOX_WEIGHT, P_BOX_BIAS, P_SCALE };
enum { REG = 5 };

static double start_value(void)
{
    double p = FCOS_PRIOR;
    return 0.25 * (1 - p) * (1 - p) * -log(p) + 1 + 0.6931471805599453;
}

static status init(task *t, const shared *sh, params *pt)
{
    (void)sh;
    int64_t K = t->spec.K, cls[4] = {K, FPN_CHANNELS, 3, 3}, box[4] = {REG, FPN_CHANNELS, 3, 3}, reg = REG, levels = FPN_LEVELS;
    TRY(head_param(t, pt, "cls.weight", 4, cls, INIT_TRUNC_NORMAL, 0.01f, true), "detection head");
    TRY(head_param(t, pt, "cls.bias", 1, &K, INIT_CONST, (float)-log((1 - FCOS_PRIOR) / FCOS_PRIOR), false), "detection head");
    TRY(head_param(t, pt, "box.weight", 4, box, INIT_TRUNC_NORMAL, 0.01f, true), "detection head");
    TRY(head_param(t, pt, "box.bias", 1, &reg, INIT_ZERO, 0, false), "detection head");
    return head_param(t, pt, "scale", 1, &levels, INIT_ONE, 0, false);
}

static void place(task_run *r, const shared *sh, arena *a)
{
    (void)sh;
    const task_spec *s = &r->spec;
    int64_t B = s->batch, K = s->K, scratch = 0;
    fcos_grids(&r->fcos, s->H, s->W, s->K);
    for (int l = 0; l < FPN_LEVELS; l++) {
        fcos_level *v = &r->fcos.level[l];
        int64_t n = B * v->h * v->w;
        int size[1][2] = {{v->h, v->w}};
        v->cls = ARENA_F32(a, n * K);
        v->reg = ARENA_F32(a, n * REG);
        if (r->train) v->d_cls = ARENA_F32(a, n * K), v->d_reg = ARENA_F32(a, n * REG);
        r->conv_cls[l] = conv_plan(s->batch, 1, size, FPN_CHANNELS, s->K, 1);
        r->conv_reg[l] = conv_plan(s->batch, 1, size, FPN_CHANNELS, REG, 1);
        int64_t need[2] = {conv_scratch(&r->conv_cls[l], r->train), conv_scratch(&r->conv_reg[l], r->train)};
        for (int i = 0; i < 2; i++) scratch = need[i] > scratch ? need[i] : scratch;
    }
    r->scratch = ARENA_F32(a, scratch);
    r->match = arena_take(a, sizeof *r->match * (size_t)(B * r->fcos.n));
    r->found = arena_take(a, sizeof *r->found * 2 * FPN_LEVELS * DETECT_TOP);
}

static void forward(task_run *r, const params *pt, const float *w, const batch *b, bool train)
{
    (void)b, (void)train;
    for (int l = 0; l < FPN_LEVELS; l++) {
        const fcos_level *v = &r->fcos.level[l];
        conv_in cls = {.x = fpn_cls(r->det, l)->x, .C = FPN_CHANNELS}, reg = {.x = fpn_reg(r->det, l)->x, .C = FPN_CHANNELS};
        conv_forward(&r->conv_cls[l], v->cls, &cls, 1, PW(pt, w, r->param[P_CLS_WEIGHT]), PW(pt, w, r->param[P_CLS_BIAS]), r->scratch);
        conv_forward(&r->conv_reg[l], v->reg, &reg, 1, PW(pt, w, r->param[P_BOX_WEIGHT]), PW(pt, w, r->param[P_BOX_BIAS]), r->scratch);
    }
    memcpy(r->scale, PW(pt, w, r->param[P_SCALE]), sizeof r->scale);
}

/* Samples beyond n_valid only keep the shape: no gradient. */
static void clear_padding(task_run *r, int n_valid)
{
    int64_t n_pad = r->spec.batch - n_valid;
    for (int l = 0; l < FPN_LEVELS && r->train && n_pad > 0; l++) {
        fcos_level *v = &r->fcos.level[l];
        int64_t P = (int64_t)v->h * v->w, K = r->spec.K;
        memset(v->d_cls + n_valid * P * K, 0, sizeof(float) * (size_t)(n_pad * P * K));
        memset(v->d_reg + n_valid * P * REG, 0, sizeof(float) * (size_t)(n_pad * P * REG));
    }
}

static double loss(task_run *r, const batch *b, int64_t *n_valid, double parts[4])
{
    const task_spec *s = &r->spec;
    double start = start_value(), sums[3], value = 0;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < b->n_valid; i++)
        fcos_assign(&r->fcos, b->box + 4 * (int64_t)b->box_off[i], b->box_off[i + 1] - b->box_off[i], s->center_sampling,
                    r->match + i * r->fcos.n);
    clear_padding(r, b->n_valid);
    int64_t n_pos =
        fcos_loss(&r->fcos, b->n_valid, r->match, b->box_off, b->box, b->box_cls, r->scale, r->d_scale, r->share * s->weight / start, sums);
    for (int i = 0; i < 3; i++) value += parts[i] = sums[i] / (start * (double)(n_pos > 0 ? n_pos : 1));
    parts[3] = (double)n_pos;
    *n_valid = b->n_valid; /* an image without boxes is a label too */
    return value;
}

static void backward(task_run *r, const params *pt, const float *w, float *g)
{
    for (int l = 0; l < FPN_LEVELS; l++) {
        const fcos_level *v = &r->fcos.level[l];
        const feature *fc = fpn_cls(r->det, l), *fr = fpn_reg(r->det, l);
        conv_in in_cls = {.x = fc->x, .C = FPN_CHANNELS}, in_reg = {.x = fr->x, .C = FPN_CHANNELS};
        conv_out to_cls = {.d = fc->d, .C = FPN_CHANNELS, .add = true}, to_reg = {.d = fr->d, .C = FPN_CHANNELS, .add = true};
        conv_backward_weight(&r->conv_cls[l], PW(pt, g, r->param[P_CLS_WEIGHT]), PW(pt, g, r->param[P_CLS_BIAS]), v->d_cls, &in_cls, 1,
                             r->scratch);
        conv_backward_input(&r->conv_cls[l], &to_cls, 1, v->d_cls, PW(pt, w, r->param[P_CLS_WEIGHT]), r->scratch);
        conv_backward_weight(&r->conv_reg[l], PW(pt, g, r->param[P_BOX_WEIGHT]), PW(pt, g, r->param[P_BOX_BIAS]), v->d_reg, &in_reg, 1,
                             r->scratch);
        conv_backward_input(&r->conv_reg[l], &to_reg, 1, v->d_reg, PW(pt, w, r->param[P_BOX_WEIGHT]), r->scratch);
    }
    float *d_scale = PW(pt, g, r->param[P_SCALE]);
    for (int l = 0; l < FPN_LEVELS; l++) d_scale[l] += r->d_scale[l];
}

static double flops(const task_spec *s, const shared *sh)
{
    (void)sh;
    fcos f;
    fcos_grids(&f, s->H, s->W, s->K);
    return (double)s->batch * (double)f.n * 9 * FPN_CHANNELS * (s->K + REG);
}

/* Locations that answer for a box, at least 1. Assigned one image after another in room for one; the loss assigns its own again. */
static double labels(task_run *r, const batch *b)
{
    int64_t n = 0;
    for (int i = 0; i < b->n_valid; i++) {
        fcos_assign(&r->fcos, b->box + 4 * (int64_t)b->box_off[i], b->box_off[i + 1] - b->box_off[i], r->spec.center_sampling, r->match);
        for (int64_t k = 0; k < r->fcos.n; k++) n += r->match[k] >= 0;
    }
    return (double)(n > 0 ? n : 1);
}

const head_ops head_detect = {init, place, forward, loss, backward, flops, labels};
