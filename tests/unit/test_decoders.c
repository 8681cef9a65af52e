/* test_decoders: parameter counts, gradients by finite differences, memory plan, accumulation and bits of the two shared decoders. */
#include "medley/kern.h"
#include "medley/model.h"
#include "test.h"

enum { SEG, DET };

/* One decoder with everything around it. */
typedef struct rig {
    int      kind, B, H, W;
    params   t;
    unet     seg;
    fpn      det;
    unet_run *seg_run;
    fpn_run  *det_run;
    arena    a;
    size_t   planned;
    float   *w, *g, *image;
    pyramid  p;
} rig;

static void fill(float *x, int64_t n, uint32_t sub)
{
    rng r = rng_open((rng_key){3, (uint32_t)n, 0}, RNG_TEST, sub);
    for (int64_t i = 0; i < n; i++) x[i] = 2.0f * rng_uniform(&r) - 1.0f;
}

static feature make_feature(int B, int H, int W, int C, uint32_t sub)
{
    feature f = {H, W, C, malloc((size_t)B * H * W * C * sizeof(float)), calloc((size_t)B * H * W * C, sizeof(float))};
    fill(f.x, (int64_t)B * H * W * C, sub);
    return f;
}

static status place(rig *r, bool train, arena *a)
{
    if (r->kind == SEG) return unet_place(&r->seg_run, &r->seg, r->B, r->H, r->W, train, a);
    return fpn_place(&r->det_run, &r->det, r->B, r->H, r->W, train, a);
}

static void drop_run(rig *r)
{
    unet_run_free(r->seg_run), fpn_run_free(r->det_run);
    r->seg_run = NULL, r->det_run = NULL;
}

static void rig_open(rig *r, int kind, int embed, int B, int H, int W, bool train)
{
    *r = (rig){.kind = kind, .B = B, .H = H, .W = W};
    swin enc = {.embed = embed};
    EXPECT_OK(kind == SEG ? unet_init(&r->seg, &enc, &r->t) : fpn_init(&r->det, &enc, &r->t));
    params_layout(&r->t, (const bool[]){true, true, true}, 3);
    r->w = calloc((size_t)r->t.n_local, sizeof(float)), r->g = calloc((size_t)r->t.n_local, sizeof(float));
    params_init_weights(&r->t, 5, r->w);
    for (int i = 0; i < r->t.n; i++)
        if (r->t.p[i].ndim == 1) { /* norms and biases away from 1 and 0 */
            float *v = PW(&r->t, r->w, i), keep = v[0];
            fill(v, r->t.p[i].n, 100 + (uint32_t)i);
            for (int64_t k = 0; k < r->t.p[i].n; k++) v[k] = keep + 0.3f * v[k];
        }
    r->image = malloc((size_t)B * H * W * 3 * sizeof(float));
    fill(r->image, (int64_t)B * H * W * 3, 50);
    r->p.B = B;
    for (int i = 0; i < 4; i++) r->p.level[i] = make_feature(B, H >> (2 + i), W >> (2 + i), embed << i, (uint32_t)i);
    r->p.top = make_feature(B, H / 32, W / 32, embed * 8, 9);
    arena measure;
    EXPECT_OK(arena_init(&measure, 0, "measure"));
    EXPECT_OK(place(r, train, &measure));
    drop_run(r);
    r->planned = measure.used;
    EXPECT_OK(arena_init(&r->a, measure.used + 64, "decoder"));
    EXPECT_OK(place(r, train, &r->a));
    memset(r->a.base, 0xff, r->a.size); /* NaN: plans of several tasks share these bytes, nothing placed may be relied on */
    EXPECT(r->a.used == r->planned, "planned %zu, used %zu bytes", r->planned, r->a.used);
}

static void rig_close(rig *r)
{
    drop_run(r);
    arena_free(&r->a);
    params_free(&r->t);
    free(r->w), free(r->g), free(r->image);
    for (int i = 0; i < 4; i++) free(r->p.level[i].x), free(r->p.level[i].d);
    free(r->p.top.x), free(r->p.top.d);
}

static void forward(rig *r)
{
    if (r->kind == SEG) unet_forward(r->seg_run, &r->t, r->w, &r->p, r->image);
    else fpn_forward(r->det_run, &r->t, r->w, &r->p);
}

static int n_outputs(const rig *r) { return r->kind == SEG ? 1 : 2 * FPN_LEVELS; }
static feature *output(rig *r, int i)
{
    return r->kind == SEG ? unet_out(r->seg_run) : i % 2 ? fpn_reg(r->det_run, i / 2) : fpn_cls(r->det_run, i / 2);
}
static int64_t output_size(rig *r, int i) { return (int64_t)r->B * output(r, i)->H * output(r, i)->W * output(r, i)->C; }

/* Sum of output x fixed random weights; with `seed_grad` the weights go into d. */
static double loss(rig *r, bool seed_grad)
{
    double sum = 0;
    for (int i = 0; i < n_outputs(r); i++) {
        feature *f = output(r, i);
        int64_t n = output_size(r, i);
        float *c = malloc((size_t)n * sizeof *c);
        fill(c, n, 200 + (uint32_t)i);
        for (int64_t k = 0; k < n; k++) sum += (double)c[k] * f->x[k];
        for (int64_t k = 0; seed_grad && k < n; k++) f->d[k] += c[k]; /* forward has zeroed d */
        free(c);
    }
    return sum;
}

static void backward(rig *r)
{
    if (r->kind == SEG) unet_backward(r->seg_run, &r->t, r->w, r->g, &r->p, r->image);
    else fpn_backward(r->det_run, &r->t, r->w, r->g, &r->p);
}

/* Derivative of the loss along a random direction of one tensor against the gradient. The step is short because each ReLU that it crosses
 * adds an error in proportion to it. */
static void along(rig *r, const char *name, float *x, const float *grad, int64_t n, uint32_t sub, double step, double total)
{
    float *dir = malloc((size_t)n * sizeof *dir), *keep = malloc((size_t)n * sizeof *keep);
    fill(dir, n, sub);
    memcpy(keep, x, (size_t)n * sizeof *x);
    double want = 0, size = 0, length = 0, sum[2];
    for (int64_t i = 0; i < n; i++) want += (double)grad[i] * dir[i], size += (double)grad[i] * grad[i], length += (double)dir[i] * dir[i];
    double h = step / sqrt(length);
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < n; i++) x[i] = keep[i] + (float)(s ? -h : h) * dir[i];
        forward(r);
        sum[s] = loss(r, false);
    }
    memcpy(x, keep, (size_t)n * sizeof *x);
    double got = (sum[0] - sum[1]) / (2 * h), tol = 0.03 * sqrt(size) + 1e-4 * total / h;
    EXPECT(size == 0 || fabs(got - want) < tol, "%s: differences %g, gradient %g, tolerance %g", name, got, want, tol);
    EXPECT(size > 0 || r->kind == SEG, "%s: no gradient", name);
    free(dir), free(keep);
}

static void differences(int kind)
{
    rig r;
    rig_open(&r, kind, 16, 2, 64, 32, true);
    forward(&r);
    loss(&r, true);
    backward(&r);
    double total = 0;
    for (int i = 0; i < n_outputs(&r); i++) total += sqrt((double)output_size(&r, i)) * 1e-2;
    for (int i = 0; i < r.t.n; i++)
        along(&r, r.t.p[i].name, PW(&r.t, r.w, i), PW(&r.t, r.g, i), r.t.p[i].n, 300 + (uint32_t)i, 0.001, total);
    int n_level = 3, first = kind == DET;
    for (int i = first; i < n_level; i++) {
        feature *f = &r.p.level[i];
        along(&r, "level", f->x, f->d, (int64_t)r.B * f->H * f->W * f->C, 400 + (uint32_t)i, 0.001, total);
    }
    along(&r, "top", r.p.top.x, r.p.top.d, (int64_t)r.B * r.p.top.H * r.p.top.W * r.p.top.C, 404, 0.001, total);
    rig_close(&r);
}

static void test_unet_differences(void) { differences(SEG); }
static void test_fpn_differences(void) { differences(DET); }

static void test_counts(void)
{
    params t = {0};
    swin enc = {.embed = 96};
    unet seg;
    fpn det;
    EXPECT_OK(unet_init(&seg, &enc, &t));
    EXPECT_OK(fpn_init(&det, &enc, &t));
    /* 9 (1152 96 + 96 96 + 288 64 + 64 64 + 160 32 + 32 32 + 32 16 + 16 16 + 19 16 + 16 16) + 4 (96 + 64 + 32 + 16 + 16) */
    EXPECT(params_count(&t, BLOCK_SEG) == 1349168, "%lld", (long long)params_count(&t, BLOCK_SEG));
    EXPECT(params_count(&t, BLOCK_DET) == 2093056, "%lld", (long long)params_count(&t, BLOCK_DET)); /* method.md 1.7 */
    EXPECT(seg.n_params + det.n_params == t.n, "%d + %d of %d", seg.n_params, det.n_params, t.n);
    for (int i = 0; i < t.n; i++) EXPECT(t.p[i].decay == (t.p[i].ndim == 4), "decay of %s", t.p[i].name);
    params_free(&t);
    enc.embed = 128;
    EXPECT_OK(fpn_init(&det, &enc, &t));
    EXPECT(params_count(&t, BLOCK_DET) == 2150400, "%lld", (long long)params_count(&t, BLOCK_DET));
    params_free(&t);
}

static void test_level_sizes(void)
{
    static const int shape[][2] = {{128, 128}, {32, 32}, {320, 256}};
    static const int want[][FPN_LEVELS][2] = {{{16, 16}, {8, 8}, {4, 4}, {2, 2}, {1, 1}},
                                              {{4, 4}, {2, 2}, {1, 1}, {1, 1}, {1, 1}},
                                              {{40, 32}, {20, 16}, {10, 8}, {5, 4}, {3, 2}}};
    for (int s = 0; s < 3; s++) {
        rig r;
        rig_open(&r, DET, 16, 1, shape[s][0], shape[s][1], false);
        forward(&r);
        for (int l = 0; l < FPN_LEVELS; l++) {
            feature *f = fpn_cls(r.det_run, l);
            EXPECT(f->H == want[s][l][0] && f->W == want[s][l][1] && f->C == FPN_CHANNELS, "level %d is %dx%dx%d", l, f->H, f->W, f->C);
            EXPECT(isfinite(loss(&r, false)), "not finite");
        }
        rig_close(&r);
    }
    params t = {0};
    swin enc = {.embed = 16};
    unet seg;
    unet_run *run;
    arena a;
    EXPECT_OK(unet_init(&seg, &enc, &t));
    EXPECT_OK(arena_init(&a, 0, "measure"));
    EXPECT_STATUS(unet_place(&run, &seg, 1, 48, 64, true, &a), ST_BUG);
    params_free(&t);
}

/* Inference has the bits of training and needs less memory; both backward passes add to what is there. */
static void test_modes(void)
{
    for (int kind = SEG; kind <= DET; kind++) {
        rig a, b;
        rig_open(&a, kind, 32, 2, 64, 64, true);
        rig_open(&b, kind, 32, 2, 64, 64, false);
        EXPECT(b.planned < a.planned, "inference plans %zu, training %zu bytes", b.planned, a.planned);
        forward(&a);
        forward(&b);
        for (int i = 0; i < n_outputs(&a); i++)
            EXPECT(!memcmp(output(&a, i)->x, output(&b, i)->x, (size_t)output_size(&a, i) * sizeof(float)), "output %d differs", i);
        loss(&a, true);
        backward(&a);
        float *once = malloc((size_t)a.t.n_local * sizeof *once);
        memcpy(once, a.g, (size_t)a.t.n_local * sizeof *once);
        float top = a.p.top.d[7];
        forward(&a);
        loss(&a, true);
        backward(&a);
        double worst = 0;
        for (int64_t i = 0; i < a.t.n_local; i++) worst = fmax(worst, fabs(a.g[i] - 2.0 * once[i]) / (1.0 + fabs(once[i])));
        EXPECT(worst < 1e-5, "second backward does not add: %g", worst);
        EXPECT_NEAR(a.p.top.d[7], 2 * top, 1e-5 * (1 + fabs(top)));
        free(once);
        rig_close(&a);
        rig_close(&b);
    }
}

static void test_thread_bits(void)
{
    for (int kind = SEG; kind <= DET; kind++) {
        rig r[2];
        for (int i = 0; i < 2; i++) {
            kern_init(i + 1);
            rig_open(&r[i], kind, 32, 3, 96, 64, true);
            forward(&r[i]);
            loss(&r[i], true);
            backward(&r[i]);
        }
        kern_init(1);
        for (int i = 0; i < n_outputs(&r[0]); i++)
            EXPECT(!memcmp(output(&r[0], i)->x, output(&r[1], i)->x, (size_t)output_size(&r[0], i) * sizeof(float)), "output %d", i);
        EXPECT(!memcmp(r[0].g, r[1].g, (size_t)r[0].t.n_local * sizeof(float)), "gradients");
        for (int i = 0; i < 3; i++) {
            feature *f = &r[0].p.level[i];
            EXPECT(!memcmp(f->d, r[1].p.level[i].d, (size_t)(r[0].B * f->H * f->W * f->C) * sizeof(float)), "level %d", i);
        }
        rig_close(&r[0]);
        rig_close(&r[1]);
    }
}

int main(void)
{
    kern_init(1);
    RUN(test_counts);
    RUN(test_level_sizes);
    RUN(test_unet_differences);
    RUN(test_fpn_differences);
    RUN(test_modes);
    RUN(test_thread_bits);
    DONE();
}
