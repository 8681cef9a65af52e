/* ladder_joint: the step of a whole job, seven tasks on one encoder: four of classes at 224 px, two of masks over one U-Net and one of boxes
 * over one FPN at 256 px, 8 images each. One unit after the other is forwarded and back-propagated into one gradient, which is checked and added
 * to the exact sum; then one AdamW over all. The peer adds up in its gradients. */
#include "ladder.h"

#include "../../src/train/train_internal.h"
#include "medley/kern.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 8, TASKS = 7, CLASSES = 10, MASKS = 4, BOXES = 6 };

static const struct { enum task_kind kind; int side, K; } joint_task[TASKS] = {
    {TASK_CLASSIFICATION, 224, CLASSES}, {TASK_CLASSIFICATION, 224, CLASSES}, {TASK_CLASSIFICATION, 224, CLASSES}, {TASK_CLASSIFICATION, 224, CLASSES},
    {TASK_SEGMENTATION, 256, MASKS}, {TASK_SEGMENTATION, 256, MASKS}, {TASK_DETECTION, 256, 1},
};

typedef struct joint {
    params    pt;
    shared    sh;
    task      task[TASKS];
    task_run *run[TASKS];
    batch     b[TASKS];
    arena     a; /* one for all: a unit's activations are gone when the next one begins */
    gradient_sum sum;
    float    *w, *g, *m, *v;
} joint;

static status plan_tasks(joint *j)
{
    bool owned[BLOCK_HEAD0 + TASKS];
    TRY(swin_init(&j->sh.enc, "swin_t", 0.0f, &j->pt), "bench");
    TRY(unet_init(&j->sh.seg, &j->sh.enc, &j->pt), "bench");
    TRY(fpn_init(&j->sh.det, &j->sh.enc, &j->pt), "bench");
    j->sh.has_seg = j->sh.has_det = true;
    for (int i = 0; i < TASKS; i++) {
        task_spec spec = {.kind = joint_task[i].kind, .K = joint_task[i].K, .H = joint_task[i].side, .W = joint_task[i].side, .batch = BATCH, .weight = 1,
                          .center_sampling = true, .max_boxes = BOXES};
        snprintf(spec.name, sizeof spec.name, "task %d", i);
        TRY(task_init(&j->task[i], &spec, i, &j->sh, &j->pt), "bench");
    }
    for (int i = 0; i < BLOCK_HEAD0 + TASKS; i++) owned[i] = true;
    params_layout(&j->pt, owned, BLOCK_HEAD0 + TASKS);
    return OK;
}

/* Returns the most that a unit needs. */
static status place_tasks(joint *j, size_t *most)
{
    for (int i = 0; i < TASKS; i++) {
        j->a.used = 0;
        TRY(task_place(&j->run[i], &j->task[i], &j->sh, true, &j->a), "bench");
        if (j->a.used > *most) *most = j->a.used;
    }
    return OK;
}

static void unplace(joint *j)
{
    for (int i = 0; i < TASKS; i++) task_run_free(j->run[i]), j->run[i] = NULL;
}

static status make_batch(batch *b, int i)
{
    int side = joint_task[i].side, pixels = side * side;
    *b = (batch){.B = BATCH, .H = side, .W = side, .n_valid = BATCH, .image = ladder_floats((int64_t)BATCH * pixels * 3, 40 + (uint32_t)i)};
    for (int64_t k = 0; k < (int64_t)BATCH * pixels * 3; k++) b->image[k] += 0.5f;
    TRY(mem_alloc(&b->key, sizeof *b->key * BATCH, "keys"), "bench");
    TRY(mem_alloc(&b->cls, sizeof *b->cls * BATCH, "labels"), "bench");
    TRY(mem_alloc(&b->mask, (size_t)(BATCH * pixels), "masks"), "bench");
    TRY(mem_alloc(&b->box_off, sizeof *b->box_off * (BATCH + 1), "boxes"), "bench");
    TRY(mem_alloc(&b->box, sizeof *b->box * 4 * BATCH * BOXES, "boxes"), "bench");
    TRY(mem_alloc(&b->box_cls, sizeof *b->box_cls * BATCH * BOXES, "boxes"), "bench");
    for (int k = 0; k < BATCH; k++) b->cls[k] = k % CLASSES, b->box_off[k + 1] = (k + 1) * BOXES;
    for (int k = 0; k < BATCH * pixels; k++) b->mask[k] = (uint8_t)(k / 32 % MASKS);
    for (int k = 0; k < BATCH * BOXES; k++) {
        float x = (float)(k * 37 % 180), y = (float)(k * 53 % 170);
        memcpy(b->box + 4 * k, (float[]){x, y, x + 20 + (float)(k % 50), y + 30 + (float)(k % 40)}, 4 * sizeof(float));
    }
    return OK;
}

static status joint_open(const item *it, void **state)
{
    (void)it;
    joint *j;
    size_t most = 0;
    TRY(mem_alloc(&j, sizeof *j, "bench"), "bench");
    *state = j;
    TRY(plan_tasks(j), "bench");
    TRY(place_tasks(j, &most), "bench");
    unplace(j);
    TRY(arena_init(&j->a, most, "bench"), "bench");
    TRY(place_tasks(j, &most), "bench");
    for (int i = 0; i < TASKS; i++) TRY(make_batch(&j->b[i], i), "bench");
    int64_t n = j->pt.n_local;
    j->w = ladder_floats(n, 1);
    params_init_weights(&j->pt, 1, j->w);
    TRY(mem_alloc(&j->m, sizeof(float) * (size_t)n, "moments"), "bench");
    TRY(mem_alloc(&j->v, sizeof(float) * (size_t)n, "moments"), "bench");
    TRY(sum_init(&j->sum, NULL, true, j->pt.n, j->pt.n, n, TASKS, &j->g), "bench");
    for (int k = 0; k < j->pt.n; k++) j->sum.tensor[k].off = j->pt.p[k].off, j->sum.tensor[k].n = j->pt.p[k].n;
    return OK;
}

/* The unit's gradients: encoder, its decoder, its head; others are zeros, which a training does not add. */
static void add_unit(joint *j, int i)
{
    for (int k = 0; k < j->pt.n; k++) {
        int block = j->pt.p[k].block;
        bool used = block == BLOCK_ENCODER || block == BLOCK_HEAD0 + i || (block < BLOCK_HEAD0 && task_uses(&j->task[i], block));
        if (!used) continue;
        if (sum_check(&j->sum, j->g, k, k + 1) >= 0) abort();
        sum_add(&j->sum, j->g, k, k + 1);
    }
}

static void joint_go(void *state)
{
    joint *j = state;
    double parts[4];
    int64_t n_valid;
    for (int i = 0; i < TASKS; i++) {
        task_forward(j->run[i], &j->pt, j->w, &j->b[i], true);
        (void)task_loss(j->run[i], &j->b[i], &n_valid, parts);
        task_backward(j->run[i], &j->pt, j->w, j->g, &j->b[i]);
        add_unit(j, i);
    }
    if (sum_reduce(&j->sum, NULL, 0, j->pt.n, j->g)) abort();
    for (int i = 0; i < j->pt.n; i++) {
        const param *p = &j->pt.p[i];
        adamw o = adamw_at(1e-5, p->decay ? 0.05 : 0.0, 0.9, 0.999, 1e-8, 10);
        adamw_update(j->w + p->off, j->g + p->off, j->m + p->off, j->v + p->off, NULL, p->n, &o);
    }
}

static void joint_close(void *state)
{
    joint *j = state;
    unplace(j);
    for (int i = 0; i < TASKS; i++) {
        batch *b = &j->b[i];
        free(b->image), free(b->key), free(b->cls), free(b->mask), free(b->box_off), free(b->box), free(b->box_cls);
    }
    sum_free(&j->sum);
    free(j->w), free(j->m), free(j->v);
    arena_free(&j->a);
    params_free(&j->pt);
    free(j);
}

void ladder_joint(ladder *l)
{
    joint j = {0};
    double flops = 0;
    if (plan_tasks(&j)) abort();
    for (int i = 0; i < TASKS; i++) flops += task_flops(&j.task[i], &j.sh);
    params_free(&j.pt);
    item *it = ladder_add(l, "images/s", "gemm", 3 * 2e-9 * flops, "joint", "joint step of seven tasks, swin_t, 224 and 256 px");
    it->shown = TASKS * BATCH;
    it->open = joint_open, it->run = joint_go, it->close = joint_close;
}
