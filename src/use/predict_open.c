/* predict_open: run, task, data set's index and weights become a network that is ready for images, the same on all ranks. */
#include "predict.h"
#include "run_task.h"

#include "medley/kern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- rank 0: what the run says ---------------------------------------------------------------------------------------------------- */

static status find_label(const catalogue *c, const job_task *t, const shard_label **out)
{
    *out = NULL;
    for (int i = 0; i < c->meta.n_labels; i++)
        if (strcmp(t->label, c->meta.label[i].name) == 0 || (!t->label[0] && c->meta.n_labels == 1)) *out = &c->meta.label[i];
    CHECK(*out, ST_DATA, "%s: no label set \"%s\" of task %s in it", c->dir, t->label, t->name);
    return OK;
}

static status plan_of(predictor *p, const predict_ask *ask, const job *j, const job_task *t, const catalogue *c)
{
    predict_plan *plan = &p->plan;
    const shard_label *label;
    augment_spec a;
    double scale = 0, score = t->score_min;
    TRY(find_label(c, t, &label), "data set");
    plan->spec = (task_spec){.kind = label->kind, .K = label->n_classes, .lo = label->lo, .hi = label->hi, .H = t->image[0], .W = t->image[1],
                             .batch = 1, .weight = 1, .max_boxes = t->max_boxes, .nms_iou = (float)t->nms_iou};
    snprintf(plan->spec.name, sizeof plan->spec.name, "%s", t->name);
    snprintf(plan->data, sizeof plan->data, "%s", c->meta.name);
    plan->spacing = t->spacing;
    TRY(use_number("--spacing", ask->spacing, 0, 1000, &plan->spacing), "predict");
    TRY(use_number("--scale", ask->scale, 0.01, 1000, &scale), "predict");
    TRY(use_number("--score", ask->score, 0, 1, &score), "predict");
    TRY(source_how_of(&plan->how, c, &ask->files, t->image[0], t->image[1], plan->spacing), "data set");
    plan->scale = (float)scale, plan->spec.score_min = (float)score, plan->overlap = (float)ask->overlap / 100;
    TRY(augment_preset(&a, t->augment[0] ? t->augment : augment_for_modality(c->meta.modality)), "task %s", t->name);
    plan->flip_x = ask->tta && (isnan(t->aug.flip_x) ? (double)a.flip_x : t->aug.flip_x) > 0;
    plan->flip_y = ask->tta && (isnan(t->aug.flip_y) ? (double)a.flip_y : t->aug.flip_y) > 0;
    if (ask->tta && !plan->flip_x && !plan->flip_y)
        log_line(LOG_WARN, "--tta: task %s was trained without mirror images; they are not looked at", t->name);
    TRY(mem_alloc(&p->class_name, sizeof *p->class_name * (size_t)label->n_classes, "class names"), "predict");
    memcpy(p->class_name, label->class_name, sizeof *p->class_name * (size_t)label->n_classes);
    CHECK(snprintf(plan->encoder, sizeof plan->encoder, "%s", j->model.encoder) > 0, ST_BUG, "no encoder");
    return OK;
}

static status decide(predictor *p, const predict_ask *ask)
{
    char path[1400], dir[JOB_DIR_BYTES];
    job *j;
    job_task *t = NULL;
    catalogue c = {0};
    CHECK(snprintf(path, sizeof path, "%s/job.cfg", ask->run) < (int)sizeof path, ST_USAGE, "path too long: %.80s...", ask->run);
    CHECK(path_exists(path), ST_DATA, "%s: no run folder: it has no job.cfg", ask->run);
    TRY(mem_alloc(&j, sizeof *j, "job"), "predict");
    status st = job_load_without_data(j, path, NULL, 0);
    if (!st) st = run_task_find(j, ask->task, &t);
    if (!st) {
        if (ask->data) snprintf(dir, sizeof dir, "%s", ask->data);
        else job_data_dir(j, t->data, dir);
        st = catalogue_open(&c, dir);
        if (st == ST_DATA)
            st = status_note(st, __FILE__, __LINE__, "the index of the task's data set tells classes and how files are read (--data DIR: where it is)");
    }
    if (!st) {
        st = plan_of(p, ask, j, t, &c);
        catalogue_close(&c);
    }
    free(j);
    return st;
}

/* ---- all ranks: the network --------------------------------------------------------------------------------------------------------- */

static status make_model(predictor *p)
{
    static const bool all[BLOCK_HEAD0 + 1] = {true, true, true, true};
    task_spec spec = p->plan.spec;
    spec.class_name = p->class_name;
    TRY(swin_init(&p->sh.enc, p->plan.encoder, -1, &p->pt), "model");
    p->sh.has_seg = spec.kind == TASK_SEGMENTATION, p->sh.has_det = spec.kind == TASK_DETECTION;
    if (p->sh.has_seg) TRY(unet_init(&p->sh.seg, &p->sh.enc, &p->pt), "model");
    if (p->sh.has_det) TRY(fpn_init(&p->sh.det, &p->sh.enc, &p->pt), "model");
    TRY(task_init(&p->task, &spec, 0, &p->sh, &p->pt), "model");
    params_layout(&p->pt, all, BLOCK_HEAD0 + 1);
    return mem_alloc(&p->w, sizeof *p->w * (size_t)p->pt.n_local, "weights");
}

/* Rank 0. */
static status take_weights(predictor *p, const predict_ask *ask)
{
    weights o;
    weights_ask what = ask->weights;
    what.heads = true, what.encoder = p->plan.encoder;
    TRY(weights_open(&o, ask->run, &what), "weights");
    p->plan.step = o.step;
    snprintf(p->plan.weights, sizeof p->plan.weights, "%s", o.path);
    status st = OK;
    for (int i = 0; i < p->pt.n && !st; i++) {
        const param *to = &p->pt.p[i];
        int k = params_find(&o.pt, to->name);
        const param *from = k < 0 ? NULL : &o.pt.p[k];
        if (!from || from->ndim != to->ndim || memcmp(from->shape, to->shape, sizeof *to->shape * (size_t)to->ndim) != 0)
            st = status_raise(ST_DATA, __FILE__, __LINE__, "%s: %s tensor %s: made by another job than %s/job.cfg, or its data set has changed", o.path,
                              from ? "another shape of" : "no", to->name, ask->run);
        else memcpy(p->w + to->off, o.w + from->off, sizeof *p->w * (size_t)to->n);
    }
    weights_close(&o);
    return st;
}

/* Smooth weights of a window's rows or columns: a Gaussian with an eighth of the side as its standard deviation. */
void predict_blend(float *out, int n)
{
    for (int i = 0; i < n; i++) {
        double x = (i + 0.5 - n / 2.0) / (n / 8.0);
        out[i] = (float)exp(-0.5 * x * x);
    }
}

static status place(predictor *p)
{
    arena measure = {0};
    size_t H = (size_t)p->plan.spec.H, W = (size_t)p->plan.spec.W;
    TRY(task_place(&p->run, &p->task, &p->sh, false, &measure), "network");
    task_run_free(p->run);
    p->run = NULL;
    TRY(arena_init(&p->act, measure.peak, "activations"), "network");
    TRY(task_place(&p->run, &p->task, &p->sh, false, &p->act), "network");
    TRY(mem_alloc(&p->input, sizeof *p->input * H * W * 3, "image"), "network");
    TRY(mem_alloc(&p->mirrored, sizeof *p->mirrored * H * W * 3, "image"), "network");
    TRY(mem_alloc(&p->blend, sizeof *p->blend * (H + W), "blending"), "network");
    predict_blend(p->blend, (int)H), predict_blend(p->blend + H, (int)W);
    return OK;
}

status predictor_open(predictor *p, comm *world, const predict_ask *ask)
{
    bool reads = comm_rank(world) == 0;
    *p = (predictor){0};
    status st = reads ? decide(p, ask) : OK;
    TRY(comm_agree(world, st), "predict");
    TRY(comm_bcast(world, &p->plan, sizeof p->plan, 0), "predict");
    size_t names = sizeof *p->class_name * (size_t)p->plan.spec.K;
    if (!reads) st = mem_alloc(&p->class_name, names, "class names");
    TRY(comm_agree(world, st), "predict");
    TRY(comm_bcast(world, p->class_name, names, 0), "predict");
    st = make_model(p);
    if (!st && reads) st = take_weights(p, ask);
    if (!st) st = place(p);
    TRY(comm_agree(world, st), "predict");
    TRY(comm_bcast(world, &p->plan, sizeof p->plan, 0), "predict");
    return comm_bcast(world, p->w, sizeof *p->w * (size_t)p->pt.n_local, 0);
}

void predictor_close(predictor *p)
{
    task_run_free(p->run);
    arena_free(&p->act);
    params_free(&p->pt);
    free(p->w), free(p->input), free(p->mirrored), free(p->blend), free(p->class_name);
    *p = (predictor){0};
}
