/* test_task: losses by finite differences and at their start, parameter counts, and whole tasks on a micro encoder: gradients, memory,
 * joint batch, dropout, padding. */
#include "../../src/task/task_internal.h"

#include "test.h"

static rng draws;

static float *random_floats(int64_t n, float lo, float hi)
{
    float *x = malloc(sizeof *x * (size_t)n);
    for (int64_t i = 0; i < n; i++) x[i] = lo + (hi - lo) * rng_uniform(&draws);
    return x;
}

/* ---- losses alone ---------------------------------------------------------------------------------------------------------------- */

typedef double loss_fn(float *d, const float *z, int64_t B, int64_t K, const void *label, int64_t *n);

static double by_class(float *d, const float *z, int64_t B, int64_t K, const void *y, int64_t *n)
{
    return loss_classes(d, z, y, NULL, B, K, n);
}
static double by_label(float *d, const float *z, int64_t B, int64_t K, const void *y, int64_t *n)
{
    return loss_labels(d, z, y, NULL, B, K, n);
}
static double by_scalar(float *d, const float *z, int64_t B, int64_t K, const void *y, int64_t *n)
{
    return loss_scalar(d, z, y, 10, 14, B * K, n);
}
static double by_pixel(float *d, const float *z, int64_t P, int64_t K, const void *y, int64_t *n)
{
    double parts[4], *work = malloc(sizeof *work * (size_t)loss_dense_work(1, P, K));
    float *copy = malloc(sizeof *copy * (size_t)(P * K));
    memcpy(copy, z, sizeof *copy * (size_t)(P * K));
    double loss = loss_dense(copy, 1.0f, y, 1, P, K, work, n, parts);
    if (d) memcpy(d, copy, sizeof *copy * (size_t)(P * K));
    free(copy);
    free(work);
    return loss;
}

static void differences(const char *what, loss_fn *f, int64_t B, int64_t K, const void *label)
{
    const float h = 0x1p-7f;
    float *z = random_floats(B * K, -2, 2), *d = malloc(sizeof *d * (size_t)(B * K));
    double scale = 0;
    int64_t n;
    f(d, z, B, K, label, &n);
    for (int64_t i = 0; i < B * K; i++) scale = fmax(scale, fabs(d[i]));
    for (int64_t i = 0; i < B * K; i++) {
        float keep = z[i];
        z[i] = keep + h;
        double up = f(NULL, z, B, K, label, &n);
        z[i] = keep - h;
        double down = f(NULL, z, B, K, label, &n), slope = (up - down) / (2 * (double)h);
        z[i] = keep;
        EXPECT(fabs(slope - d[i]) <= 1e-3 * scale + 2e-6, "%s K=%lld [%lld]: slope %.7g, gradient %.7g", what, (long long)K,
               (long long)i, slope, (double)d[i]);
    }
    free(z);
    free(d);
}

static void finite_differences(void)
{
    enum { B = 6 };
    int32_t cls[B] = {0, 1, -1, 2, 0, 1};
    float vec[B * 3], y[B] = {10, 11, NAN, 14, 12.5f, 13};
    uint8_t mask[40];
    for (int i = 0; i < B * 3; i++) vec[i] = (float)(i % 4 == 3 ? -1 : i % 2);
    differences("classes", by_class, B, 3, cls);
    differences("labels", by_label, B, 3, vec);
    differences("scalar", by_scalar, B, 1, y);
    for (int i = 0; i < 40; i++) mask[i] = i % 9 == 8 ? IGNORE_MASK : (uint8_t)(i % 7 == 0 ? 2 : i % 5 == 0);
    differences("pixels", by_pixel, 40, 3, mask); /* class 2 and 1 rare */
    differences("pixels", by_pixel, 40, 7, mask); /* most classes absent */
}

static void box_differences(void)
{
    draws = rng_open((rng_key){.seed = 3}, RNG_TEST, 0);
    for (int c = 0; c < 50; c++) {
        double a[4], b[4], da[4];
        for (int k = 0; k < 2; k++) {
            a[k] = 40 * rng_uniform(&draws), a[k + 2] = a[k] + 1 + 40 * rng_uniform(&draws);
            b[k] = 40 * rng_uniform(&draws), b[k + 2] = b[k] + 1 + 40 * rng_uniform(&draws);
        }
        fcos_giou(a, b, da);
        for (int k = 0; k < 4; k++) {
            double keep = a[k], up, down;
            a[k] = keep + 1e-6, up = fcos_giou(a, b, NULL);
            a[k] = keep - 1e-6, down = fcos_giou(a, b, NULL);
            a[k] = keep;
            EXPECT_NEAR(da[k], (up - down) / 2e-6, 1e-6);
        }
    }
}

/* Uniform outputs: every loss in [0.7, 1.5] for any number of classes (method.md 6.6 no. 3). */
static void start_of_losses(void)
{
    static const int classes[5] = {2, 5, 10, 100, 1000};
    enum { B = 4, P = 1024 };
    for (int c = 0; c < 5; c++) {
        int K = classes[c];
        int64_t n;
        float *z = calloc((size_t)P * (size_t)K, sizeof *z), *vec = calloc((size_t)(B * K), sizeof *vec);
        int32_t cls[B] = {0, 1, 1, 0};
        uint8_t mask[P];
        for (int i = 0; i < B * K; i++) vec[i] = (float)(i & 1);
        EXPECT_NEAR(loss_classes(NULL, z, cls, NULL, B, K, &n), 1.0, 1e-6);
        EXPECT_NEAR(loss_labels(NULL, z, vec, NULL, B, K, &n), 1.0, 1e-6);
        for (int kind = 0; kind < 4; kind++) { /* balanced, half background, one rare object, nothing but background */
            for (int i = 0; i < P; i++) {
                int k = kind == 0 ? i % K : kind == 1 ? (i & 1) * (i % K) : kind == 2 ? i < 5 : 0;
                mask[i] = (uint8_t)(k % 255);
            }
            double loss = by_pixel(NULL, z, P, K, mask, &n);
            EXPECT(loss > 0.7 && loss < 1.5, "K %d, mask %d: loss starts at %g", K, kind, loss);
        }
        free(z);
        free(vec);
    }
    int64_t n;
    float z1[2] = {0.3f, -0.2f}, d1[2];
    int32_t same[2] = {0, 0};
    EXPECT(loss_classes(d1, z1, same, NULL, 2, 1, &n) == 0 && d1[0] == 0 && n == 2, "one class: loss 0, no division by zero");
}

static void nothing_valid(void)
{
    float z[6] = {1, 2, 3, 4, 5, 6}, d[6], vec[6] = {-1, -1, -1, -1, -1, -1}, y[2] = {NAN, NAN};
    int32_t cls[2] = {-1, -1};
    uint8_t mask[3] = {255, 255, 255};
    int64_t n = 9;
    EXPECT(loss_classes(d, z, cls, NULL, 2, 3, &n) == 0 && n == 0 && d[0] == 0 && d[5] == 0, "classes");
    EXPECT(loss_labels(d, z, vec, NULL, 2, 3, &n) == 0 && n == 0 && d[0] == 0, "labels");
    EXPECT(loss_scalar(d, z, y, 0, 1, 2, &n) == 0 && n == 0 && d[0] == 0, "scalar");
    EXPECT(by_pixel(d, z, 3, 2, mask, &n) == 0 && n == 0 && d[0] == 0 && d[5] == 0, "pixels");
}

/* ---- whole tasks -------------------------------------------------------------------------------------------------------------------
 */

typedef struct world {
    shared sh;
    params pt;
    task t[8];
    int n;
    float *w, *g;
} world;

static task_spec spec_of(enum task_kind kind, int K, int B)
{
    task_spec s = {.kind = kind,
                   .K = K,
                   .lo = 10,
                   .hi = 20,
                   .H = 64,
                   .W = 64,
                   .batch = B,
                   .weight = 1,
                   .max_boxes = 20,
                   .score_min = 0.05f,
                   .nms_iou = 0.5f};
    snprintf(s.name, sizeof s.name, "%s%d", task_kind_name[kind], K);
    return s;
}

static void world_open(world *o, const task_spec *spec, int n)
{
    *o = (world){.n = n, .sh = {.has_seg = true, .has_det = true}};
    bool owned[16];
    EXPECT_OK(swin_init(&o->sh.enc, "swin_v2_micro", 0.0f, &o->pt));
    EXPECT_OK(unet_init(&o->sh.seg, &o->sh.enc, &o->pt));
    EXPECT_OK(fpn_init(&o->sh.det, &o->sh.enc, &o->pt));
    for (int i = 0; i < n; i++) EXPECT_OK(task_init(&o->t[i], &spec[i], i, &o->sh, &o->pt));
    for (int i = 0; i < 16; i++) owned[i] = true;
    params_layout(&o->pt, owned, BLOCK_HEAD0 + n);
    o->w = calloc((size_t)o->pt.n_local, sizeof *o->w);
    o->g = calloc((size_t)o->pt.n_local, sizeof *o->g);
    params_init_weights(&o->pt, 7, o->w);
}

static void world_close(world *o)
{
    free(o->w);
    free(o->g);
    params_free(&o->pt);
}

typedef struct placed {
    arena a;
    task_run *r;
} placed;

static placed place(const world *o, int t, bool train)
{
    placed p = {0};
    arena measure = {0};
    task_run *r;
    EXPECT_OK(task_place(&r, &o->t[t], &o->sh, train, &measure));
    task_run_free(r);
    EXPECT_OK(arena_init(&p.a, measure.used, "test"));
    EXPECT_OK(task_place(&p.r, &o->t[t], &o->sh, train, &p.a));
    EXPECT(p.a.used == measure.used && measure.used > 0, "measured %zu, used %zu", measure.used, p.a.used);
    return p;
}

static void unplace(placed *p)
{
    task_run_free(p->r);
    arena_free(&p->a);
}

/* A batch of all label kinds; every image has the same two boxes, so that any split has equally many positives. */
static batch batch_open(int B, int K)
{
    enum { S = 64 };
    batch b = {.B = B, .H = S, .W = S, .n_valid = B, .box_cap = 2 * B};
    b.image = random_floats((int64_t)B * S * S * 3, 0, 1);
    b.key = calloc((size_t)B, sizeof *b.key);
    b.sample = calloc((size_t)B, sizeof *b.sample);
    b.view = calloc((size_t)B, sizeof *b.view);
    b.cls = calloc((size_t)B, sizeof *b.cls);
    b.vec = random_floats((int64_t)B * K, 0, 1);
    b.scalar = random_floats(B, 10, 20);
    b.mask = calloc((size_t)B * S * S, 1);
    b.box_off = calloc((size_t)B + 1, sizeof *b.box_off);
    b.box = calloc((size_t)B * 8, sizeof *b.box);
    b.box_cls = calloc((size_t)B * 2, sizeof *b.box_cls);
    for (int i = 0; i < B; i++) {
        b.key[i] = (rng_key){11, (uint32_t)i, 0};
        b.sample[i] = i;
        b.view[i] = (view){.ax = 1, .by = 1};
        b.cls[i] = i % K;
        for (int k = 0; k < K; k++) b.vec[i * K + k] = b.vec[i * K + k] > 0.5f;
        for (int p = 0; p < S * S; p++) b.mask[i * S * S + p] = (uint8_t)((p / S / (8 + i) + p % S / 16) % K % 255);
        b.box_off[i + 1] = 2 * (i + 1);
        memcpy(b.box + 8 * i, (float[8]){5, 6, 30, 40, 20, 18, 60, 62}, 8 * sizeof(float));
        b.box_cls[2 * i] = 0, b.box_cls[2 * i + 1] = K - 1;
    }
    return b;
}

/* Samples [from, from + n) as a batch of their own; borrows. */
static batch part_of(const batch *b, int from, int n, int K)
{
    batch c = *b;
    int64_t P = (int64_t)b->H * b->W;
    c.B = c.n_valid = n;
    c.image += from * P * 3, c.key += from, c.sample += from, c.view += from, c.cls += from, c.vec += from * K, c.scalar += from;
    c.mask += from * P, c.box_off += from;
    return c; /* box offsets count from the whole batch's first box, as the box list does */
}

static void batch_close(batch *b)
{
    void *all[] = {b->image, b->key, b->sample, b->view, b->cls, b->vec, b->scalar, b->mask, b->box_off, b->box, b->box_cls};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static double run(world *o, task_run *r, const batch *b, bool backward, bool train)
{
    double parts[4];
    int64_t n;
    task_forward(r, &o->pt, o->w, b, train);
    double loss = task_loss(r, b, &n, parts);
    if (backward) task_backward(r, &o->pt, o->w, o->g, b);
    return loss;
}

static void counts(void)
{
    task_spec s[4] = {spec_of(TASK_CLASSIFICATION, 10, 1), spec_of(TASK_SEGMENTATION, 5, 1), spec_of(TASK_DETECTION, 2, 1),
                      spec_of(TASK_DETECTION, 1, 1)};
    world o;
    world_open(&o, s, 4);
    EXPECT(params_count(&o.pt, BLOCK_HEAD0) == (o.sh.enc.embed * 8 + 1) * 10, "%lld", (long long)params_count(&o.pt, BLOCK_HEAD0));
    EXPECT(params_count(&o.pt, BLOCK_HEAD0 + 1) == 145 * 5, "%lld", (long long)params_count(&o.pt, BLOCK_HEAD0 + 1));
    EXPECT(params_count(&o.pt, BLOCK_HEAD0 + 2) == 5770 + 1153 * 2, "%lld", (long long)params_count(&o.pt, BLOCK_HEAD0 + 2));
    EXPECT(params_count(&o.pt, BLOCK_HEAD0 + 3) == 5770 + 1153, "%lld", (long long)params_count(&o.pt, BLOCK_HEAD0 + 3));
    EXPECT(task_uses(&o.t[1], BLOCK_SEG) && !task_uses(&o.t[1], BLOCK_DET) && task_uses(&o.t[2], BLOCK_DET) &&
               !task_uses(&o.t[0], BLOCK_SEG) && task_uses(&o.t[0], BLOCK_HEAD0) && !task_uses(&o.t[0], BLOCK_HEAD0 + 1) &&
               task_uses(&o.t[0], BLOCK_ENCODER),
           "blocks");
    EXPECT(task_flops(&o.t[0], &o.sh) > 0 && task_flops(&o.t[1], &o.sh) > task_flops(&o.t[0], &o.sh), "costs");
    task bad;
    task_spec wrong = spec_of(TASK_SEGMENTATION, 1, 1);
    EXPECT_STATUS(task_init(&bad, &wrong, 4, &o.sh, &o.pt), ST_USAGE);
    wrong = spec_of(TASK_CLASSIFICATION, 3, 1), wrong.H = 100;
    EXPECT_STATUS(task_init(&bad, &wrong, 4, &o.sh, &o.pt), ST_USAGE);
    world_close(&o);
}

/* Initial weights, real forward: near 1 for every kind and number of classes. */
static void start_of_tasks(void)
{
    static const struct {
        enum task_kind kind;
        int K;
    } each[] = {{TASK_CLASSIFICATION, 2}, {TASK_CLASSIFICATION, 10}, {TASK_CLASSIFICATION, 1000}, {TASK_MULTILABEL, 14},
                {TASK_REGRESSION, 1},     {TASK_SEGMENTATION, 2},    {TASK_SEGMENTATION, 5},      {TASK_SEGMENTATION, 100},
                {TASK_DETECTION, 1},      {TASK_DETECTION, 2},       {TASK_DETECTION, 20}};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        task_spec s = spec_of(each[i].kind, each[i].K, 2);
        world o;
        world_open(&o, &s, 1);
        batch b = batch_open(2, s.K);
        b.scalar[0] = 15 - 2.8867513f, b.scalar[1] = 15 + 2.8867513f; /* variance 1/12 of the range squared */
        placed p = place(&o, 0, false);
        double loss = run(&o, p.r, &b, false, false);
        EXPECT(loss > 0.7 && loss < 1.5, "%s: loss starts at %g", s.name, loss);
        printf("# %s: loss starts at %.3f\n", s.name, loss);
        unplace(&p);
        batch_close(&b);
        world_close(&o);
    }
}

static double norm_of(const float *g, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)g[i] * g[i];
    return sqrt(sum);
}

/* The slope of the loss along the gradient, and along the head's gradient alone, is the gradient's norm. */
static void chain_gradients(void)
{
    for (int kind = 0; kind < N_TASK_KINDS; kind++) {
        int K = kind == TASK_REGRESSION ? 1 : 3;
        task_spec s = spec_of((enum task_kind)kind, K, 2);
        s.dropout = 0.3f;
        world o;
        world_open(&o, &s, 1);
        batch b = batch_open(2, K);
        placed p = place(&o, 0, true);
        run(&o, p.r, &b, true, true);
        for (int part = 0; part < 2; part++) {
            int64_t from = part ? o.pt.p[o.t[0].param[0]].off : 0, n = o.pt.n_local - from;
            double norm = norm_of(o.g + from, n), step = fmin(2e-2, 1e-3 / norm), loss[2];
            for (int side = 0; side < 2; side++) {
                for (int64_t i = 0; i < n; i++) o.w[from + i] += (float)((side ? -2 : 1) * step * o.g[from + i] / norm);
                loss[side] = run(&o, p.r, &b, false, true);
            }
            for (int64_t i = 0; i < n; i++) o.w[from + i] += (float)(step * o.g[from + i] / norm);
            double slope = (loss[0] - loss[1]) / (2 * step);
            EXPECT(fabs(slope - norm) < 0.02 * norm, "%s, %s: slope %g, norm of the gradient %g", s.name, part ? "head" : "all", slope,
                   norm);
        }
        unplace(&p);
        batch_close(&b);
        world_close(&o);
    }
}

/* Of a frozen encoder nothing is learnt; decoder and head get the gradient they get otherwise. */
static void frozen_encoder(void)
{
    for (int kind = 0; kind < N_TASK_KINDS; kind++) {
        int K = kind == TASK_REGRESSION ? 1 : 3;
        task_spec s[2] = {spec_of((enum task_kind)kind, K, 2), spec_of((enum task_kind)kind, K, 2)};
        rng before = draws;
        float *g[2];
        int64_t encoder = 0;
        s[1].frozen = true;
        for (int i = 0; i < 2; i++) {
            draws = before; /* the same images */
            world o;
            world_open(&o, &s[i], 1);
            batch b = batch_open(2, K);
            placed p = place(&o, 0, true);
            run(&o, p.r, &b, true, true);
            EXPECT(task_uses(&o.t[0], BLOCK_ENCODER) == (i == 0) && task_uses(&o.t[0], BLOCK_HEAD0), "blocks");
            for (int k = 0; k < o.pt.n; k++)
                if (o.pt.p[k].block == BLOCK_ENCODER) encoder = o.pt.p[k].off + o.pt.p[k].n;
            g[i] = o.g, o.g = NULL;
            if (i) {
                int64_t n = o.pt.n_local - encoder;
                EXPECT(norm_of(g[0], encoder) > 0 && norm_of(g[1], encoder) == 0, "%s: encoder", s[0].name);
                EXPECT(norm_of(g[1] + encoder, n) > 0 && memcmp(g[0] + encoder, g[1] + encoder, sizeof(float) * (size_t)n) == 0, "%s: the others", s[0].name);
            }
            unplace(&p);
            batch_close(&b);
            world_close(&o);
        }
        free(g[0]), free(g[1]);
    }
}

/* Two units of 2 samples against one batch of 4 of twice the weight: the joint loss is the sum of the units' losses. */
static void joint_batch(void)
{
    for (int kind = 0; kind < N_TASK_KINDS; kind++) {
        int K = kind == TASK_REGRESSION ? 1 : 3;
        task_spec s[2] = {spec_of((enum task_kind)kind, K, 2), spec_of((enum task_kind)kind, K, 4)};
        s[0].dropout = s[1].dropout = 0.2f;
        s[1].weight = 2;
        world o;
        world_open(&o, s, 1);
        batch b = batch_open(4, K);
        double units = 0, difference = 0;
        placed p = place(&o, 0, true);
        for (int u = 0; u < 2; u++) {
            batch half = part_of(&b, 2 * u, 2, K);
            units += run(&o, p.r, &half, true, true);
        }
        unplace(&p);
        float *sum = o.g;
        o.g = calloc((size_t)o.pt.n_local, sizeof *o.g);
        o.t[0].spec = s[1];
        p = place(&o, 0, true);
        double joint = run(&o, p.r, &b, true, true);
        EXPECT_NEAR(units, 2 * joint, 1e-5 * units);
        /* 1.05e-5 for classes at -O1 with AVX2 (sanitizers): sums of other shapes round differently */
        for (int64_t i = 0; i < o.pt.n_local; i++) difference += pow((double)sum[i] - o.g[i], 2);
        double norm = norm_of(sum, o.pt.n_local);
        EXPECT(norm > 0 && sqrt(difference) < 2e-5 * norm, "%s: relative difference %g", s[0].name, sqrt(difference) / norm);
        unplace(&p);
        free(sum);
        batch_close(&b);
        world_close(&o);
    }
}

/* Samples beyond n_valid and a weight of zero leave no trace in the gradient; the same call gives the same bits. */
static void padding(void)
{
    for (int kind = 0; kind < N_TASK_KINDS; kind++) {
        int K = kind == TASK_REGRESSION ? 1 : 3;
        task_spec s = spec_of((enum task_kind)kind, K, 3);
        world o;
        world_open(&o, &s, 1);
        batch b = batch_open(3, K);
        placed p = place(&o, 0, true);
        b.n_valid = 2;
        double first = run(&o, p.r, &b, true, true);
        float *keep = o.g;
        o.g = calloc((size_t)o.pt.n_local, sizeof *o.g);
        b.cls[2] = 0, b.vec[2 * K] = 1 - b.vec[2 * K], b.scalar[2] = 12, memset(b.mask + 2 * 64 * 64, 0, 64 * 64);
        double second = run(&o, p.r, &b, true, true);
        EXPECT(first == second && memcmp(keep, o.g, sizeof *keep * (size_t)o.pt.n_local) == 0,
               "%s: the label of a padding sample counts", s.name);
        unplace(&p);
        o.t[0].spec.weight = 0;
        memset(o.g, 0, sizeof *o.g * (size_t)o.pt.n_local);
        p = place(&o, 0, true);
        double unweighted = run(&o, p.r, &b, true, true);
        EXPECT(unweighted == first && norm_of(o.g, o.pt.n_local) == 0, "%s: weight 0: loss %g, gradient %g", s.name, unweighted,
               norm_of(o.g, o.pt.n_local));
        unplace(&p);
        free(keep);
        batch_close(&b);
        world_close(&o);
    }
}

static void dropout_by_key(void)
{
    task_spec s = spec_of(TASK_CLASSIFICATION, 3, 2);
    s.dropout = 0.5f;
    world o;
    world_open(&o, &s, 1);
    batch b = batch_open(2, 3);
    placed p = place(&o, 0, true);
    double a = run(&o, p.r, &b, false, true), again = run(&o, p.r, &b, false, true), plain = run(&o, p.r, &b, false, false);
    b.key[0].b = 1;
    double other = run(&o, p.r, &b, false, true);
    EXPECT(a == again && a != plain && a != other, "losses %.9g %.9g, without %.9g, next epoch %.9g", a, again, plain, other);
    unplace(&p);
    batch_close(&b);
    world_close(&o);
}

/* Tasks placed one over the other in one arena, run in turn, give the bits of a task placed alone: nothing is kept between units. */
static void shared_arena(void)
{
    enum { N = N_TASK_KINDS, K = 3 };
    task_spec s[N];
    task_run *r[N], *measured;
    world o;
    arena a = {0};
    float *alone[N];
    for (int i = 0; i < N; i++) s[i] = spec_of((enum task_kind)i, i == TASK_REGRESSION ? 1 : K, 2);
    world_open(&o, s, N);
    batch b = batch_open(2, K);
    size_t bytes = sizeof *o.g * (size_t)o.pt.n_local;
    for (int i = 0; i < N; i++) {
        placed p = place(&o, i, true);
        memset(o.g, 0, bytes);
        run(&o, p.r, &b, true, true);
        alone[i] = malloc(bytes);
        memcpy(alone[i], o.g, bytes);
        unplace(&p);
        a.used = 0;
        EXPECT_OK(task_place(&measured, &o.t[i], &o.sh, true, &a));
        task_run_free(measured);
    }
    EXPECT_OK(arena_init(&a, a.peak, "test"));
    for (int i = 0; i < N; i++) {
        a.used = 0;
        EXPECT_OK(task_place(&r[i], &o.t[i], &o.sh, true, &a));
    }
    for (int i = N - 1; i >= 0; i--) {
        memset(a.base, 0xff, a.size); /* what another task left: not a number anywhere */
        memset(o.g, 0, bytes);
        run(&o, r[i], &b, true, true);
        EXPECT(memcmp(alone[i], o.g, bytes) == 0, "%s: depends on what lay in the arena", s[i].name);
    }
    for (int i = 0; i < N; i++) task_run_free(r[i]), free(alone[i]);
    arena_free(&a);
    batch_close(&b);
    world_close(&o);
}

/* Losses and gradients have the same bits with one thread and with two. */
static void threads(void)
{
    for (int kind = 0; kind < N_TASK_KINDS; kind++) {
        int K = kind == TASK_REGRESSION ? 1 : 3;
        task_spec s = spec_of((enum task_kind)kind, K, 2);
        world o;
        world_open(&o, &s, 1);
        batch b = batch_open(2, K);
        float *keep = NULL;
        double loss[2];
        for (int n = 1; n <= 2; n++) {
            kern_init(n);
            placed p = place(&o, 0, true);
            memset(o.g, 0, sizeof *o.g * (size_t)o.pt.n_local);
            loss[n - 1] = run(&o, p.r, &b, true, true);
            if (n == 1) {
                keep = malloc(sizeof *keep * (size_t)o.pt.n_local);
                memcpy(keep, o.g, sizeof *keep * (size_t)o.pt.n_local);
            }
            unplace(&p);
        }
        EXPECT(loss[0] == loss[1] && memcmp(keep, o.g, sizeof *keep * (size_t)o.pt.n_local) == 0, "%s: threads show in the bits", s.name);
        free(keep);
        batch_close(&b);
        world_close(&o);
    }
}

int main(void)
{
    kern_init(1);
    draws = rng_open((rng_key){.seed = 1}, RNG_TEST, 0);
    RUN(finite_differences);
    RUN(box_differences);
    RUN(start_of_losses);
    RUN(nothing_valid);
    RUN(counts);
    RUN(start_of_tasks);
    RUN(chain_gradients);
    RUN(frozen_encoder);
    RUN(joint_batch);
    RUN(padding);
    RUN(dropout_by_key);
    RUN(shared_arena);
    RUN(threads);
    DONE();
}
