/* ladder_step: whole training steps (forward, loss, backward, AdamW), the decoders' branches and inference. Drop path is off: both sides do
 * all of the arithmetic. */
#include "ladder.h"

#include "../../src/train/train_internal.h"
#include "medley/kern.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 8, CLASSES = 10 };
enum { STEP_TRAIN, STEP_INFER, STEP_UNET, STEP_FPN };

static const struct { const char *name, *label, *variant; int what, side; } step_size[] = {
    {"step_swin_t", "training step, swin_t, 224 px", "swin_t", STEP_TRAIN, 224},
    {"step_swin_v2_t", "training step, swin_v2_t, 256 px", "swin_v2_t", STEP_TRAIN, 256},
    {"unet", "U-Net branch, training step, 256 px", "swin_t", STEP_UNET, 256},
    {"fpn", "FPN and FCOS towers, training step, 256 px", "swin_t", STEP_FPN, 256},
    {"infer_swin_t", "encoder inference, swin_t, 224 px", "swin_t", STEP_INFER, 224},
    {"infer_swin_v2_t", "encoder inference, swin_v2_t, 256 px", "swin_v2_t", STEP_INFER, 256},
};

typedef struct step {
    int       what;
    params    pt;
    shared    sh;
    task      task;
    task_run *run;
    swin_run *enc;
    unet_run *seg;
    fpn_run  *det;
    pyramid   p;
    float    *feature[8];
    arena     a;
    batch     b;
    float    *w, *g, *m, *v;
} step;

static status plan_table(step *s, const char *variant, int side)
{
    bool owned[BLOCK_HEAD0 + 1] = {0};
    TRY(swin_init(&s->sh.enc, variant, 0.0f, &s->pt), "bench");
    if (s->what == STEP_UNET) TRY(unet_init(&s->sh.seg, &s->sh.enc, &s->pt), "bench");
    if (s->what == STEP_FPN) TRY(fpn_init(&s->sh.det, &s->sh.enc, &s->pt), "bench");
    if (s->what == STEP_TRAIN) {
        task_spec spec = {.name = "bench", .kind = TASK_CLASSIFICATION, .K = CLASSES, .H = side, .W = side, .batch = BATCH, .weight = 1};
        TRY(task_init(&s->task, &spec, 0, &s->sh, &s->pt), "bench");
    }
    owned[BLOCK_ENCODER] = s->what == STEP_TRAIN || s->what == STEP_INFER;
    owned[BLOCK_SEG] = s->what == STEP_UNET, owned[BLOCK_DET] = s->what == STEP_FPN, owned[BLOCK_HEAD0] = s->what == STEP_TRAIN;
    params_layout(&s->pt, owned, BLOCK_HEAD0 + 1);
    return OK;
}

static status place(step *s, int side)
{
    if (s->what == STEP_TRAIN) return task_place(&s->run, &s->task, &s->sh, true, &s->a);
    if (s->what == STEP_INFER) return swin_place(&s->enc, &s->sh.enc, BATCH, side, side, false, &s->a);
    if (s->what == STEP_UNET) return unet_place(&s->seg, &s->sh.seg, BATCH, side, side, true, &s->a);
    return fpn_place(&s->det, &s->sh.det, BATCH, side, side, true, &s->a);
}

static void unplace(step *s)
{
    task_run_free(s->run), swin_run_free(s->enc);
    if (s->seg) unet_run_free(s->seg);
    if (s->det) fpn_run_free(s->det);
}

/* The encoder's output for a decoder that runs alone. */
static void make_pyramid(step *s, int side)
{
    feature *f[4] = {&s->p.level[0], &s->p.level[1], &s->p.level[2], &s->p.top};
    s->p.B = BATCH;
    for (int i = 0; i < 4; i++) {
        int h = side >> (2 + i), c = s->sh.enc.embed << i;
        s->feature[2 * i] = ladder_floats((int64_t)BATCH * h * h * c, 20 + (uint32_t)i);
        s->feature[2 * i + 1] = ladder_floats((int64_t)BATCH * h * h * c, 30 + (uint32_t)i);
        *f[i] = (feature){h, h, c, s->feature[2 * i], s->feature[2 * i + 1]};
    }
}

static status step_open(const item *it, void **state)
{
    step *s;
    int i = it->arg[0], side = step_size[i].side;
    TRY(mem_alloc(&s, sizeof *s, "bench"), "bench");
    *state = s;
    s->what = step_size[i].what;
    TRY(plan_table(s, step_size[i].variant, side), "bench");
    TRY(place(s, side), "bench");
    size_t bytes = s->a.used;
    unplace(s);
    TRY(arena_init(&s->a, bytes, "bench"), "bench");
    TRY(place(s, side), "bench");
    int64_t n = s->pt.n_local;
    s->w = ladder_floats(n, 1);
    params_init_weights(&s->pt, 1, s->w);
    if (s->what != STEP_INFER) {
        TRY(mem_alloc(&s->g, sizeof(float) * (size_t)n, "gradients"), "bench");
        TRY(mem_alloc(&s->m, sizeof(float) * (size_t)n, "moments"), "bench");
        TRY(mem_alloc(&s->v, sizeof(float) * (size_t)n, "moments"), "bench");
    }
    s->b = (batch){.B = BATCH, .H = side, .W = side, .n_valid = BATCH, .image = ladder_floats((int64_t)BATCH * side * side * 3, 2)};
    for (int64_t k = 0; k < (int64_t)BATCH * side * side * 3; k++) s->b.image[k] += 0.5f;
    TRY(mem_alloc(&s->b.cls, sizeof *s->b.cls * BATCH, "labels"), "bench");
    for (int k = 0; k < BATCH; k++) s->b.cls[k] = k % CLASSES;
    if (s->what == STEP_UNET || s->what == STEP_FPN) make_pyramid(s, side);
    return OK;
}

static void update(step *s)
{
    for (int i = 0; i < s->pt.n; i++) {
        const param *p = &s->pt.p[i];
        if (p->off < 0) continue;
        adamw o = adamw_at(1e-5, p->decay ? 0.05 : 0.0, 0.9, 0.999, 1e-8, 10);
        adamw_update(s->w + p->off, s->g + p->off, s->m + p->off, s->v + p->off, NULL, p->n, &o);
    }
}

/* The decoders' loss is the sum of their outputs times constants, as in the peer: its gradient is those constants. */
static void fill_gradient(feature *f)
{
    for (int64_t i = 0, n = (int64_t)BATCH * f->H * f->W * f->C; i < n; i++) f->d[i] = 1e-3f;
}

static void step_go(void *state)
{
    step *s = state;
    double parts[4];
    int64_t n_valid;
    if (s->what == STEP_INFER) {
        swin_forward(s->enc, &s->pt, s->w, s->b.image, NULL);
        return;
    }
    if (s->what == STEP_TRAIN) {
        task_forward(s->run, &s->pt, s->w, &s->b, true);
        (void)task_loss(s->run, &s->b, &n_valid, parts);
        task_backward(s->run, &s->pt, s->w, s->g, &s->b);
    } else if (s->what == STEP_UNET) {
        unet_forward(s->seg, &s->pt, s->w, &s->p, s->b.image);
        fill_gradient(unet_out(s->seg));
        unet_backward(s->seg, &s->pt, s->w, s->g, &s->p, s->b.image);
    } else {
        fpn_forward(s->det, &s->pt, s->w, &s->p);
        for (int l = 0; l < FPN_LEVELS; l++) fill_gradient(fpn_cls(s->det, l)), fill_gradient(fpn_reg(s->det, l));
        fpn_backward(s->det, &s->pt, s->w, s->g, &s->p);
    }
    update(s);
}

static void step_close(void *state)
{
    step *s = state;
    unplace(s);
    for (int i = 0; i < 8; i++) free(s->feature[i]);
    free(s->w), free(s->g), free(s->m), free(s->v), free(s->b.image), free(s->b.cls);
    arena_free(&s->a);
    params_free(&s->pt);
    free(s);
}

/* GFLOP of one run: two per multiply-add; backward costs twice the forward. */
static double step_work(int i)
{
    step s = {.what = step_size[i].what};
    int side = step_size[i].side;
    if (plan_table(&s, step_size[i].variant, side)) abort();
    double flops = s.what == STEP_UNET ? unet_flops(&s.sh.seg, side, side) : s.what == STEP_FPN ? fpn_flops(&s.sh.det, side, side)
                                                                                             : swin_flops(&s.sh.enc, side, side);
    params_free(&s.pt);
    return 2e-9 * flops * BATCH * (s.what == STEP_INFER ? 1 : 3);
}

void ladder_steps(ladder *l)
{
    for (int i = 0; i < (int)(sizeof step_size / sizeof *step_size); i++) {
        item *it = ladder_add(l, "images/s", "gemm", step_work(i), step_size[i].name, step_size[i].label);
        it->shown = BATCH;
        it->open = step_open, it->run = step_go, it->close = step_close;
        it->arg[0] = i;
    }
}
