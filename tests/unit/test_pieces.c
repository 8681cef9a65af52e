/* test_pieces: a batch run a few images at a time has the loss and the gradient of the batch run in one, however its labels lie. */
#include "medley/kern.h"
#include "medley/task.h"

#include "test.h"

enum { B = 6, S = 64, P = S * S, BOXES = 9 };
static const int kinds_K[N_TASK_KINDS] = {[TASK_CLASSIFICATION] = 3, [TASK_MULTILABEL] = 3, [TASK_REGRESSION] = 1, [TASK_SEGMENTATION] = 3,
                                          [TASK_DETECTION] = 2};

typedef struct world { shared sh; params pt; task t[N_TASK_KINDS]; float *w, *image; } world;
typedef struct labels {
    int32_t cls[B], box_off[B + 1], box_cls[BOXES];
    float   vec[B * 3], scalar[B], box[4 * BOXES];
    uint8_t mask[B * P];
} labels;
typedef struct result { float *g; double loss; int64_t n_valid; size_t bytes; } result;

static void *make(size_t n)
{
    void *x;
    if (mem_alloc(&x, n, "test")) abort();
    return x;
}

static void world_open(world *o)
{
    rng r = rng_open((rng_key){.seed = 5}, RNG_TEST, 0);
    bool owned[BLOCK_HEAD0 + N_TASK_KINDS];
    *o = (world){.sh = {.has_seg = true, .has_det = true}};
    EXPECT_OK(swin_init(&o->sh.enc, "swin_v2_micro", 0.3f, &o->pt));
    EXPECT_OK(unet_init(&o->sh.seg, &o->sh.enc, &o->pt));
    EXPECT_OK(fpn_init(&o->sh.det, &o->sh.enc, &o->pt));
    for (int k = 0; k < N_TASK_KINDS; k++) {
        task_spec s = {.kind = (enum task_kind)k, .K = kinds_K[k], .lo = 10, .hi = 20, .H = S, .W = S, .batch = B, .weight = 0.7f,
                       .dropout = 0.2f, .max_boxes = BOXES, .score_min = 0.05f, .nms_iou = 0.5f};
        snprintf(s.name, sizeof s.name, "%s", task_kind_name[k]);
        EXPECT_OK(task_init(&o->t[k], &s, k, &o->sh, &o->pt));
    }
    for (int k = 0; k < BLOCK_HEAD0 + N_TASK_KINDS; k++) owned[k] = true;
    params_layout(&o->pt, owned, BLOCK_HEAD0 + N_TASK_KINDS);
    o->w = make(sizeof(float) * (size_t)o->pt.n_local);
    params_init_weights(&o->pt, 6, o->w);
    o->image = make(sizeof(float) * B * P * 3);
    for (int64_t i = 0; i < (int64_t)B * P * 3; i++) o->image[i] = rng_uniform(&r);
}

static void world_close(world *o)
{
    free(o->w), free(o->image);
    params_free(&o->pt);
}

/* Missing labels lie unevenly: samples 0 and 1 have few, so that pieces have other denominators than the batch. none: all are missing. */
static labels *make_labels(bool none)
{
    labels *l = make(sizeof *l);
    rng r = rng_open((rng_key){.seed = 9}, RNG_TEST, 0);
    for (int i = 0, m = 0; i < B; i++) {
        bool few = i < 2;
        l->cls[i] = none || i == 1 ? IGNORE_CLASS : i % 3;
        l->scalar[i] = none || i == 0 ? NAN : 10 + 10 * rng_uniform(&r);
        for (int k = 0; k < 3; k++) l->vec[3 * i + k] = none || (few && k != i) ? -1.0f : (float)((i + k) % 2);
        for (int p = 0; p < P; p++)
            l->mask[i * P + p] = none || i == 1 || (few && p < P / 2) ? IGNORE_MASK : (uint8_t)((p / S / 8 + p % S / (8 + i)) % 3);
        for (int k = 0; k < (none || few ? 0 : 1 + i % 3); k++, m++) {
            float x = 4.0f * (float)(i + k), side = 14.0f + 12.0f * (float)k;
            memcpy(l->box + 4 * m, (float[4]){x, x + 1, x + side, x + side + 3}, 4 * sizeof(float));
            l->box_cls[m] = (i + k) % 2;
        }
        l->box_off[i + 1] = m;
    }
    return l;
}

static result run(const world *o, int k, labels *l, int micro, unsigned recompute)
{
    rng_key key[B];
    int64_t sample[B];
    task t = o->t[k];
    task_run *r;
    arena plan = {0}, a;
    result out = {.g = make(sizeof(float) * (size_t)o->pt.n_local)};
    double parts[4];
    for (int i = 0; i < B; i++) key[i] = (rng_key){3, (uint32_t)i, 1}, sample[i] = i;
    batch b = {.B = B, .H = S, .W = S, .n_valid = B, .image = o->image, .key = key, .sample = sample, .cls = l->cls, .vec = l->vec,
               .scalar = l->scalar, .mask = l->mask, .box_off = l->box_off, .box = l->box, .box_cls = l->box_cls};
    t.spec.micro = micro, t.spec.recompute = recompute;
    EXPECT_OK(task_place(&r, &t, &o->sh, true, &plan));
    task_run_free(r);
    EXPECT_OK(arena_init(&a, plan.used, "test"));
    EXPECT_OK(task_place(&r, &t, &o->sh, true, &a));
    out.bytes = plan.used;
    EXPECT(task_pieces(r, &b) == (micro ? B / micro : 1), "%d pieces", task_pieces(r, &b));
    for (int i = 0; i < task_pieces(r, &b); i++) {
        batch piece = task_piece(r, &b, i);
        int64_t n;
        task_forward(r, &o->pt, o->w, &piece, true);
        out.loss += task_loss(r, &piece, &n, parts);
        out.n_valid += n;
        task_backward(r, &o->pt, o->w, out.g, &piece);
    }
    task_run_free(r);
    arena_free(&a);
    return out;
}

static double distance(const float *a, const float *b, int64_t n)
{
    double d = 0, size = 0;
    for (int64_t i = 0; i < n; i++) d += pow((double)a[i] - b[i], 2), size += pow((double)a[i], 2);
    return size > 0 ? sqrt(d / size) : sqrt(d);
}

static void pieces(bool none)
{
    world o;
    world_open(&o);
    labels *l = make_labels(none);
    for (int k = 0; k < N_TASK_KINDS; k++) {
        const char *name = o.t[k].spec.name;
        result whole = run(&o, k, l, 0, 0);
        static const int micros[] = {6, 3, 2, 1};
        for (int i = 0; i < 4; i++) {
            result r = run(&o, k, l, micros[i], i == 2 ? 15 : 0);
            double off = distance(whole.g, r.g, o.pt.n_local);
            if (!none) printf("# %s, %d of %d at a time: gradient off by %.1e, loss by %.1e, %.1f of %.1f MiB\n", name, micros[i], B, off,
                              fabs(r.loss - whole.loss), (double)r.bytes / 1048576, (double)whole.bytes / 1048576);
            /* a rectifier of the decoders whose input rounds to the other side of 0 alone moves the gradient by up to 6e-4 (seen) */
            bool rectified = k == TASK_SEGMENTATION || k == TASK_DETECTION;
            EXPECT(off < (rectified ? 2e-3 : 2e-5), "%s, %d at a time: gradient off by %g", name, micros[i], off);
            EXPECT(fabs(r.loss - whole.loss) < 1e-6, "%s, %d at a time: loss %.9g, in one %.9g", name, micros[i], r.loss, whole.loss);
            EXPECT(r.n_valid == whole.n_valid, "%s: %lld labels, in one %lld", name, (long long)r.n_valid, (long long)whole.n_valid);
            if (micros[i] == B)
                EXPECT(off == 0 && r.loss == whole.loss && r.bytes == whole.bytes, "%s: all at a time is not the batch in one", name);
            else EXPECT(r.bytes < whole.bytes, "%s: %zu bytes, in one %zu", name, r.bytes, whole.bytes);
            free(r.g);
        }
        EXPECT(none ? k == TASK_DETECTION || whole.loss == 0 : whole.loss > 0, "%s: loss %g", name, whole.loss);
        free(whole.g);
    }
    free(l);
    world_close(&o);
}

static void uneven(void) { pieces(false); }
static void no_labels(void) { pieces(true); }

/* An evaluation batch's last pieces hold no sample; stored masks lie one after another, each of its own size. */
static void views(void)
{
    world o;
    world_open(&o);
    task t = o.t[TASK_SEGMENTATION];
    task_run *r;
    arena plan = {0};
    t.spec.micro = 2;
    EXPECT_OK(task_place(&r, &t, &o.sh, false, &plan));
    uint8_t native[100], mask[1];
    int32_t size[2 * B] = {2, 3, 4, 5, 1, 7, 3, 3, 3, 3, 3, 3};
    int64_t sample[B] = {0};
    batch b = {.B = B, .H = S, .W = S, .n_valid = 3, .image = o.image, .sample = sample, .mask = mask, .native_mask = native,
               .native_size = size};
    batch p[3] = {task_piece(r, &b, 0), task_piece(r, &b, 1), task_piece(r, &b, 2)};
    EXPECT(p[0].n_valid == 2 && p[1].n_valid == 1 && p[2].n_valid == 0 && p[1].B == 2, "%d %d %d", p[0].n_valid, p[1].n_valid,
           p[2].n_valid);
    EXPECT(p[0].native_mask == native && p[1].native_mask == native + 2 * 3 + 4 * 5, "%td", p[1].native_mask - native);
    EXPECT(p[1].native_size == size + 4 && p[1].sample == sample + 2 && p[1].image == o.image + 2 * P * 3, "views");
    task_run_free(r);
    t.spec.micro = 4;
    task_spec bad = t.spec;
    EXPECT_STATUS(task_init(&t, &bad, 9, &o.sh, &o.pt), ST_USAGE);
    world_close(&o);
}

int main(void)
{
    kern_init(1);
    RUN(uneven);
    RUN(no_labels);
    RUN(views);
    DONE();
}
