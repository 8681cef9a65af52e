/* test_swin_fd: the Swin encoder's blocks by finite differences, parameter counts, memory plan, drop path, threads. */
#include "medley/kern.h"
#include "medley/model.h"
#include "../../src/model/swin_internal.h"

#include "test.h"

static rng draws;

static void fill(float *x, int64_t n, float lo, float hi)
{
    for (int64_t i = 0; i < n; i++) x[i] = lo + (hi - lo) * rng_uniform(&draws);
}

static float *make(int64_t n, float lo, float hi)
{
    float *x;
    if (mem_alloc(&x, sizeof(float) * (size_t)(n + 16), "test")) abort();
    fill(x, n, lo, hi);
    return x;
}

/* ---- finite differences ------------------------------------------------------------------------------------------------------ */

typedef struct net { params t; float *w, *g; } net;

static void layout(net *k)
{
    bool owned[1] = {true};
    params_layout(&k->t, owned, 1);
    k->w = make(k->t.n_local, -0.3f, 0.3f);
    k->g = make(k->t.n_local, 0, 0);
    for (int i = 0; i < k->t.n; i++)
        if (k->t.p[i].ndim == 1 && strstr(k->t.p[i].name, "norm") && strstr(k->t.p[i].name, "weight"))
            fill(PW(&k->t, k->w, i), k->t.p[i].n, 0.7f, 1.3f);
}

static void net_free(net *k)
{
    free(k->w), free(k->g);
    params_free(&k->t);
}

typedef double loss_fn(void *ctx);

/* Along a random direction in x (n): the slope by five-point central differences against the gradient's projection. Steps are short
 * where the slope is steep, and for the position network, whose ReLUs have kinks. */
static void check_direction(const char *what, float *x, const float *grad, int64_t n, loss_fn *loss, void *ctx, double tol)
{
    float *keep = make(n, 0, 0), *dir = make(n, -1, 1);
    memcpy(keep, x, sizeof(float) * (size_t)n);
    double size = 0.0, want = 0.0, got, f[4], norm = 0.0;
    for (int64_t i = 0; i < n; i++) {
        size += (double)dir[i] * dir[i];
        want += (double)grad[i] * dir[i];
        norm += (double)grad[i] * grad[i];
    }
    double scale = sqrt(norm * size / (double)n), step = fmin(4e-3, 5e-3 / (scale + 1e-9));
    if (strstr(what, "cpb")) step *= 0.05, tol *= 3.0;
    const double at[4] = {-2, -1, 1, 2};
    for (int s = 0; s < 4; s++) {
        for (int64_t i = 0; i < n; i++) x[i] = keep[i] + (float)(at[s] * step) * dir[i];
        f[s] = loss(ctx);
    }
    memcpy(x, keep, sizeof(float) * (size_t)n);
    got = (f[0] - 8.0 * f[1] + 8.0 * f[2] - f[3]) / (12.0 * step);
    scale = fmax(scale, fabs(got)) + 1e-3;
    EXPECT(fabs(got - want) < tol * scale, "%s: slope %.6g by differences, %.6g by backward (scale %.3g)", what, got, want, scale);
    free(keep), free(dir);
}

static void check_params(net *k, loss_fn *loss, void *ctx, double tol)
{
    for (int i = 0; i < k->t.n; i++) check_direction(k->t.p[i].name, PW(&k->t, k->w, i), PW(&k->t, k->g, i), k->t.p[i].n, loss, ctx, tol);
}

static double weighted_sum(const float *y, const float *coef, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += (double)y[i] * coef[i];
    return sum;
}

/* The whole encoder, with the loss over all five pyramid levels. */
typedef struct whole { net k; swin enc; swin_run *run; float *image, *coef[5]; rng_key *key; } whole;

static feature *level(whole *e, int l)
{
    pyramid *p = swin_pyramid(e->run);
    return l < 4 ? &p->level[l] : &p->top;
}

static int64_t level_size(whole *e, int l)
{
    feature *f = level(e, l);
    return (int64_t)swin_pyramid(e->run)->B * f->H * f->W * f->C;
}

static double whole_loss(void *ctx)
{
    whole *e = ctx;
    double sum = 0.0;
    swin_forward(e->run, &e->k.t, e->k.w, e->image, e->key);
    for (int l = 0; l < 5; l++) sum += weighted_sum(level(e, l)->x, e->coef[l], level_size(e, l));
    return sum;
}

static status place(swin_run **run, const swin *enc, int B, int H, int W, bool train, arena *a)
{
    arena plan = {0};
    TRY(swin_place(run, enc, B, H, W, train, &plan), "measuring");
    swin_run_free(*run);
    TRY(arena_init(a, plan.used, "test"), "test");
    TRY(swin_place(run, enc, B, H, W, train, a), "placing");
    CHECK(a->used == plan.used, ST_BUG, "measured %zu bytes, used %zu", plan.used, a->used);
    return OK;
}

static void whole_check(const char *variant, int B, int H, int W, float drop)
{
    whole e = {0};
    arena a;
    EXPECT_OK(swin_init(&e.enc, variant, drop, &e.k.t));
    layout(&e.k);
    params_init_weights(&e.k.t, 3, e.k.w);
    for (int i = 0; i < e.k.t.n; i++) { /* away from the start, where all biases are 0 and attention is flat */
        param *p = &e.k.t.p[i];
        float *w = PW(&e.k.t, e.k.w, i), s = p->ndim == 2 ? sqrtf(1.0f / (float)p->shape[1]) : 0.1f;
        for (int64_t j = 0; j < p->n; j++) w[j] += s * (2.0f * rng_uniform(&draws) - 1.0f);
    }
    EXPECT_OK(place(&e.run, &e.enc, B, H, W, true, &a));
    int64_t n_image = (int64_t)B * H * W * 3;
    e.image = make(n_image, 0, 1);
    float *d_image = make(n_image, 0, 0);
    rng_key key[4];
    for (uint32_t b = 0; b < 4; b++) key[b] = (rng_key){.seed = 11, .a = b};
    e.key = drop > 0 ? key : NULL;
    for (int l = 0; l < 5; l++) {
        float s = 1.0f / sqrtf((float)level_size(&e, l));
        e.coef[l] = make(level_size(&e, l), -s, s);
    }
    whole_loss(&e);
    for (int l = 0; l < 5; l++) memcpy(level(&e, l)->d, e.coef[l], sizeof(float) * (size_t)level_size(&e, l));
    swin_backward(e.run, &e.k.t, e.k.w, e.k.g, d_image);
    for (int i = 0; i < e.k.t.n; i += 5) /* every fifth tensor: parity tests cover all */
        check_direction(e.k.t.p[i].name, PW(&e.k.t, e.k.w, i), PW(&e.k.t, e.k.g, i), e.k.t.p[i].n, whole_loss, &e, 2e-2);
    check_direction("image", e.image, d_image, n_image, whole_loss, &e, 2e-2);
    for (int l = 0; l < 5; l++) free(e.coef[l]);
    free(e.image), free(d_image);
    swin_run_free(e.run);
    arena_free(&a);
    net_free(&e.k);
}

static void whole_v1(void) { whole_check("swin_micro", 1, 32, 64, 0.0f); }
static void whole_v2(void) { whole_check("swin_v2_micro", 1, 32, 64, 0.0f); }
static void whole_drop_path(void)
{
    whole_check("swin_micro", 3, 32, 32, 0.4f);
    whole_check("swin_v2_micro", 3, 32, 32, 0.4f);
}

/* One block on an odd grid: two windows each way, padding and shift on both axes. */
typedef struct one_block { net k; block_run b; float *y, *coef; } one_block;

static double block_loss(void *ctx)
{
    one_block *e = ctx;
    block_forward(&e->b, &e->k.t, e->k.w, NULL);
    return weighted_sum(e->b.y, e->coef, (int64_t)e->b.B * e->b.H * e->b.W * e->b.C);
}

static void block_check(int version, int shift)
{
    enum { B = 2, H = 5, W = 6, C = 32, HEADS = 2, WS = 4 };
    one_block e = {0};
    const char *const name[] = {"norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "qkv.weight", "qkv.bias", "proj.weight", "proj.bias",
                                "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "table", "logit_scale", "cpb0.weight", "cpb0.bias", "cpb2.weight"};
    const int64_t shape[][2] = {{C, 0}, {C, 0}, {C, 0}, {C, 0}, {3 * C, C}, {3 * C, 0}, {C, C}, {C, 0}, {4 * C, C}, {4 * C, 0}, {C, 4 * C}, {C, 0},
                                {49, HEADS}, {HEADS, 0}, {CPB_HIDDEN, 2}, {CPB_HIDDEN, 0}, {HEADS, CPB_HIDDEN}};
    block_index *p = &e.b.p;
    int *slot[] = {&p->norm1_w, &p->norm1_b, &p->norm2_w, &p->norm2_b, &p->qkv_w, &p->qkv_b, &p->proj_w, &p->proj_b, &p->fc1_w, &p->fc1_b,
                   &p->fc2_w, &p->fc2_b, &p->table, &p->logit_scale, &p->cpb0_w, &p->cpb0_b, &p->cpb2_w};
    for (int i = 0; i < 17; i++)
        if (i < 12 || (version == 1) == (i == 12))
            EXPECT_OK(params_add(&e.k.t, slot[i], name[i], shape[i][1] ? 2 : 1, shape[i], INIT_ZERO, 0, false, 0));
    layout(&e.k);
    scratch s = {0};
    window_grid grid;
    arena a = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass) EXPECT_OK(arena_init(&a, a.used, "block"));
        scratch_need n = {0};
        window_grid_place(&grid, H, W, WS, shift, &a);
        block_need(&n, &grid, B, C, HEADS);
        float **part[] = {&s.a, &s.b, &s.c, &s.d, &s.qkv_b, &s.dbias, &s.part, &s.hidden, &s.dhidden, &s.dtable, &s.coords};
        int64_t size[] = {n.a, n.a, n.qkv > n.mid ? n.qkv : n.mid, n.mid, n.qkv_b, n.bias, n.part, n.T * CPB_HIDDEN, n.T * CPB_HIDDEN, n.T * HEADS, n.T * 2};
        for (int i = 0; i < 11; i++) *part[i] = ARENA_F32(&a, size[i]);
        s.rows = arena_take(&a, sizeof(int32_t) * (size_t)n.rows);
        block_index index = e.b.p;
        e.b = (block_run){.version = version, .B = B, .H = H, .W = W, .C = C, .heads = HEADS, .train = true, .p = index, .grid = &grid, .s = &s};
        float *x = ARENA_F32(&a, B * H * W * C), *y = ARENA_F32(&a, B * H * W * C);
        block_place(&e.b, x, y, NULL, &a);
    }
    position_coords(s.coords, WS);
    int64_t n = B * H * W * C;
    fill(e.b.x, n, -1, 1);
    e.coef = make(n, -0.1f, 0.1f);
    float *d = make(n, 0, 0);
    memcpy(d, e.coef, sizeof(float) * (size_t)n);
    block_loss(&e);
    block_backward(&e.b, &e.k.t, e.k.w, e.k.g, d);
    check_params(&e.k, block_loss, &e, 1e-2);
    check_direction("block input", e.b.x, d, n, block_loss, &e, 1e-2);
    if (version == 2) { /* beyond ln 100 the scale has no effect and no gradient */
        float *scale = PW(&e.k.t, e.k.w, e.b.p.logit_scale), *g = PW(&e.k.t, e.k.g, e.b.p.logit_scale);
        scale[1] = 5.0f;
        g[1] = 0.0f;
        double loss = block_loss(&e);
        block_backward(&e.b, &e.k.t, e.k.w, e.k.g, d);
        scale[1] = 6.0f;
        EXPECT(g[1] == 0.0f && block_loss(&e) == loss, "clamped logit scale: gradient %g", g[1]);
    }
    free(e.coef), free(d);
    arena_free(&a);
    net_free(&e.k);
}

static void block_v1(void) { block_check(1, 0), block_check(1, 2); }
static void block_v2(void) { block_check(2, 0), block_check(2, 2); }

typedef struct one_merge { net k; merge_run m; float *x, *coef; int64_t n; } one_merge;

static double merge_loss(void *ctx)
{
    one_merge *e = ctx;
    merge_forward(&e->m, &e->k.t, e->k.w);
    return weighted_sum(e->m.y, e->coef, e->n);
}

/* Odd sides: the missing row and column count as zeros. */
static void merges(void)
{
    enum { B = 2, H = 5, W = 7, C = 8 };
    for (int version = 1; version <= 2; version++) {
        one_merge e = {.n = B * 3 * 4 * 2 * C};
        int64_t shape[2] = {2 * C, 4 * C}, norm = version == 1 ? 4 * C : 2 * C;
        scratch s = {0};
        e.m = (merge_run){.version = version, .B = B, .H = H, .W = W, .C = C, .s = &s};
        EXPECT_OK(params_add(&e.k.t, &e.m.p.reduction_w, "reduction.weight", 2, shape, INIT_ZERO, 0, false, 0));
        EXPECT_OK(params_add(&e.k.t, &e.m.p.norm_w, "norm.weight", 1, &norm, INIT_ZERO, 0, false, 0));
        EXPECT_OK(params_add(&e.k.t, &e.m.p.norm_b, "norm.bias", 1, &norm, INIT_ZERO, 0, false, 0));
        layout(&e.k);
        arena a = {0};
        float *y = NULL;
        for (int pass = 0; pass < 2; pass++) {
            if (pass) EXPECT_OK(arena_init(&a, a.used, "merge"));
            scratch_need n = {0};
            merge_need(&n, B, H, W, C);
            s.a = ARENA_F32(&a, n.a), s.b = ARENA_F32(&a, n.a);
            e.x = ARENA_F32(&a, B * H * W * C), y = ARENA_F32(&a, e.n);
            merge_place(&e.m, e.x, y, true, &a);
        }
        fill(e.x, B * H * W * C, -1, 1);
        e.coef = make(e.n, -1, 1);
        float *dy = make(e.n, 0, 0), *dx = make(B * H * W * C, 0, 0);
        memcpy(dy, e.coef, sizeof(float) * (size_t)e.n);
        merge_loss(&e);
        merge_backward(&e.m, &e.k.t, e.k.w, e.k.g, dy, dx);
        check_params(&e.k, merge_loss, &e, 1e-2);
        check_direction("merge input", e.x, dx, B * H * W * C, merge_loss, &e, 1e-2);
        free(e.coef), free(dy), free(dx);
        arena_free(&a);
        net_free(&e.k);
    }
}

/* ---- table, plan, options ----------------------------------------------------------------------------------------------------- */

static void parameter_counts(void)
{
    const struct { const char *name; int64_t n; int tensors; } want[] = {
        {"swin_t", 27519354, 171}, {"swin_s", 48837258, 327}, {"swin_b", 86743224, 327},
        {"swin_v2_t", 27582570, 207}, {"swin_v2_s", 48968442, 399}, {"swin_v2_b", 86905848, 399}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        params t = {0};
        swin enc;
        EXPECT_OK(swin_init(&enc, want[i].name, -1, &t));
        EXPECT(params_count(&t, BLOCK_ENCODER) == want[i].n, "%s: %lld parameters, wanted %lld", want[i].name,
               (long long)params_count(&t, BLOCK_ENCODER), (long long)want[i].n);
        EXPECT(t.n == want[i].tensors && enc.n_params == t.n, "%s: %d tensors, wanted %d", want[i].name, t.n, want[i].tensors);
        for (int p = 0; p < t.n; p++) {
            const char *n = t.p[p].name;
            bool no = strstr(n, "bias") || strstr(n, "norm") || strstr(n, "features.0.2") || strstr(n, "logit_scale");
            EXPECT(t.p[p].decay == !no, "%s: decay %d", n, t.p[p].decay);
        }
        params_free(&t);
    }
}

static void parameter_table(void)
{
    params t = {0};
    int64_t shape[2] = {3, 5}, one = 1;
    int a, b;
    EXPECT_OK(params_add(&t, &a, "x", 2, shape, INIT_TRUNC_NORMAL, 0.25f, true, 0));
    EXPECT_STATUS(params_add(&t, NULL, "w", 2, shape, INIT_TRUNC_NORMAL, 0.5f, true, 0), ST_BUG); /* some draws would have to be cut */
    EXPECT_OK(params_add(&t, &b, "y", 1, &one, INIT_UNIFORM, 2.0f, true, 4));
    EXPECT_STATUS(params_add(&t, NULL, "x", 1, &one, INIT_ZERO, 0, true, 0), ST_BUG);
    bool owned[5] = {true, false, false, false, true};
    params_layout(&t, owned, 5);
    EXPECT(t.p[a].off == 0 && t.p[b].off == 16 && t.n_local == 32, "offsets %lld %lld", (long long)t.p[a].off, (long long)t.p[b].off);
    float w[32] = {0}, v[32] = {0};
    params_init_weights(&t, 9, w);
    owned[0] = false;
    params_layout(&t, owned, 5);
    EXPECT(t.p[a].off == -1 && t.p[b].off == 0, "block 0 is not owned");
    params_init_weights(&t, 9, v);
    EXPECT(v[0] == w[16] && v[0] != 0.0f && fabsf(v[0]) <= 2.0f, "initial weights depend on the layout: %g %g", v[0], w[16]);
    EXPECT(params_find(&t, "y") == b && params_find(&t, "z") == -1 && params_count(&t, 4) == 1 && params_count(&t, -1) == 16, "look-up");
    params_free(&t);
}

static void initial_weights(void)
{
    params t = {0};
    swin enc;
    bool owned[1] = {true};
    EXPECT_OK(swin_init(&enc, "swin_v2_micro", -1, &t));
    params_layout(&t, owned, 1);
    float *w = make(t.n_local, 0, 0);
    params_init_weights(&t, 1, w);
    for (int i = 0; i < t.n; i++) {
        double mean = 0.0, square = 0.0;
        for (int64_t j = 0; j < t.p[i].n; j++) mean += PW(&t, w, i)[j] / (double)t.p[i].n;
        for (int64_t j = 0; j < t.p[i].n; j++) square += pow(PW(&t, w, i)[j] - mean, 2) / (double)t.p[i].n;
        const char *n = t.p[i].name;
        if (strstr(n, "logit_scale")) EXPECT_NEAR(mean, log(10.0), 1e-6);
        else if (t.p[i].ndim == 2) EXPECT(fabs(sqrt(square) / 0.02 - 1.0) < 8.0 / sqrt((double)t.p[i].n), "%s: sd %g", n, sqrt(square));
        else if (strstr(n, "features.0.0")) EXPECT(fabs(sqrt(square) * sqrt(144.0) - 1.0) < 0.25, "%s: sd %g", n, sqrt(square));
        else EXPECT(square < 1e-20 && fabs(mean - (strstr(n, "weight") ? 1.0 : 0.0)) < 1e-9, "%s: mean %g", n, mean);
    }
    free(w);
    params_free(&t);
}

static void bad_arguments(void)
{
    params t = {0};
    swin enc;
    arena plan = {0};
    swin_run *run;
    EXPECT_STATUS(swin_init(&enc, "swin_v3_t", -1, &t), ST_USAGE);
    EXPECT(strstr(status_message(), "swin_v2_t"), "message: %s", status_message());
    EXPECT_STATUS(swin_init(&enc, "swin_t", 1.0f, &t), ST_USAGE);
    EXPECT_OK(swin_init(&enc, "swin_t", -1, &t));
    EXPECT_NEAR(enc.drop_path, 0.2, 1e-7);
    EXPECT_STATUS(swin_place(&run, &enc, 1, 100, 96, true, &plan), ST_USAGE);
    EXPECT_STATUS(swin_place(&run, &enc, 0, 96, 96, true, &plan), ST_USAGE);
    params_free(&t);
}

/* Forward with and without training buffers, and on one and two threads: the same bits. */
static void same_bits(void)
{
    for (int v = 0; v < 2; v++) {
        whole e[3];
        memset(e, 0, sizeof e);
        arena a[3];
        float *d_image[3], *image = make(2 * 64 * 96 * 3, 0, 1);
        rng_key key[2] = {{.seed = 5, .a = 1}, {.seed = 5, .a = 2}};
        for (int i = 0; i < 3; i++) { /* 0: train, one thread; 1: train, two threads; 2: no train */
            kern_init(i == 1 ? 2 : 1);
            EXPECT_OK(swin_init(&e[i].enc, v ? "swin_v2_micro" : "swin_micro", -1, &e[i].k.t));
            bool owned[1] = {true};
            params_layout(&e[i].k.t, owned, 1);
            e[i].k.w = make(e[i].k.t.n_local, 0, 0);
            e[i].k.g = make(e[i].k.t.n_local, 0, 0);
            params_init_weights(&e[i].k.t, 3, e[i].k.w);
            EXPECT_OK(place(&e[i].run, &e[i].enc, 2, 64, 96, i < 2, &a[i]));
            d_image[i] = make(2 * 64 * 96 * 3, 0, 0);
            swin_forward(e[i].run, &e[i].k.t, e[i].k.w, image, key);
            for (int l = 0; l < 5; l++) {
                size_t bytes = sizeof(float) * (size_t)level_size(&e[i], l);
                EXPECT(memcmp(level(&e[i], l)->x, level(&e[0], l)->x, bytes) == 0, "variant %d run %d level %d differs", v, i, l);
                if (i < 2) memcpy(level(&e[i], l)->d, level(&e[i], l)->x, bytes);
            }
            if (i == 2) break;
            swin_backward(e[i].run, &e[i].k.t, e[i].k.w, e[i].k.g, d_image[i]);
            EXPECT(memcmp(e[i].k.g, e[0].k.g, sizeof(float) * (size_t)e[0].k.t.n_local) == 0, "gradients differ");
            EXPECT(memcmp(d_image[i], d_image[0], sizeof(float) * 2 * 64 * 96 * 3) == 0, "image gradients differ");
        }
        EXPECT(a[2].used < a[0].used / 2, "without training %zu bytes, with %zu", a[2].used, a[0].used);
        for (int i = 0; i < 3; i++) {
            swin_run_free(e[i].run);
            arena_free(&a[i]);
            free(d_image[i]);
            net_free(&e[i].k);
        }
        free(image);
    }
    kern_init(1);
}

/* The share of samples left out follows the ramp, and depends on the sample's key alone. */
static void drop_path_rate(void)
{
    params t = {0};
    swin enc;
    arena a;
    enum { B = 64 };
    EXPECT_OK(swin_init(&enc, "swin_micro", 0.5f, &t));
    bool owned[1] = {true};
    params_layout(&t, owned, 1);
    float *w = make(t.n_local, 0, 0), *image = make(B * 32 * 32 * 3, 0.5f, 0.5f);
    params_init_weights(&t, 3, w);
    swin_run *run;
    EXPECT_OK(place(&run, &enc, B, 32, 32, false, &a));
    rng_key key[B];
    for (uint32_t b = 0; b < B; b++) key[b] = (rng_key){.seed = 5, .a = b % 32};
    swin_forward(run, &t, w, image, key);
    const feature *f = &swin_pyramid(run)->level[3];
    int64_t n = (int64_t)f->H * f->W * f->C;
    int distinct = 0;
    for (int b = 0; b < 32; b++) {
        bool again = false;
        for (int o = 0; o < b; o++) again = again || memcmp(f->x + b * n, f->x + o * n, sizeof(float) * (size_t)n) == 0;
        distinct += !again;
        double diff = 0.0;
        for (int64_t i = 0; i < n; i++) diff = fmax(diff, fabsf(f->x[b * n + i] - f->x[(b + 32) * n + i]));
        EXPECT(diff < 1e-5, "samples with the same key differ by %g", diff);
    }
    EXPECT(distinct > 28, "%d distinct outcomes of 32", distinct);
    free(w), free(image);
    swin_run_free(run);
    arena_free(&a);
    params_free(&t);
}

int main(void)
{
    draws = rng_open((rng_key){.seed = 2}, RNG_TEST, 0);
    kern_init(1);
    RUN(parameter_counts);
    RUN(parameter_table);
    RUN(initial_weights);
    RUN(bad_arguments);
    RUN(merges);
    RUN(block_v1);
    RUN(block_v2);
    RUN(whole_v1);
    RUN(whole_v2);
    RUN(whole_drop_path);
    RUN(same_bits);
    RUN(drop_path_rate);
    DONE();
}
