/* test_recompute: recomputed stages of the encoder give the same bits as kept ones, in less memory. */
#include "medley/kern.h"
#include "medley/model.h"

#include "test.h"

enum { B = 3, H = 64, W = 128, N_MASKS = 7, MIXED = 5 }; /* the first stage has more rows than one run of the MLP */
static const unsigned masks[N_MASKS] = {0, 1, 2, 4, 8, 5, 15};

typedef struct world { params t; swin enc; float *w, *image; rng_key key[B]; int64_t n_image; } world;
/* What a forward and backward leave behind. */
typedef struct result { float *g, *d_image, *x[5]; int64_t n_x[5]; size_t bytes; uint64_t outputs; } result;

static float *make(int64_t n)
{
    float *x;
    if (mem_alloc(&x, sizeof(float) * (size_t)n, "test")) abort();
    return x;
}

static void world_open(world *o, const char *variant, float drop)
{
    rng r = rng_open((rng_key){.seed = 7}, RNG_TEST, 0);
    bool owned[1] = {true};
    *o = (world){.n_image = (int64_t)B * H * W * 3};
    EXPECT_OK(swin_init(&o->enc, variant, drop, &o->t));
    params_layout(&o->t, owned, 1);
    o->w = make(o->t.n_local);
    o->image = make(o->n_image);
    params_init_weights(&o->t, 3, o->w);
    for (int64_t i = 0; i < o->t.n_local; i++) o->w[i] += 0.02f * rng_normal(&r); /* away from zero biases and flat attention */
    for (int64_t i = 0; i < o->n_image; i++) o->image[i] = rng_uniform(&r);
    for (uint32_t b = 0; b < B; b++) o->key[b] = (rng_key){.seed = 11, .a = b};
}

static void world_close(world *o)
{
    free(o->w), free(o->image);
    params_free(&o->t);
}

static bool add_output(void *arg, const char *name, const float *x, int64_t n_samples, int64_t n)
{
    (void)name;
    uint64_t *sum = arg;
    *sum = *sum * 31 + crc32c(0, x, sizeof(float) * (size_t)(n_samples * n));
    return false;
}

/* Two rounds, as steps of a training do it, in an arena full of another plan's bytes. The second round's gradient adds to the first's. */
static result run(const world *o, unsigned recompute)
{
    swin enc = o->enc;
    swin_run *run;
    arena plan = {0}, a;
    result r = {.g = make(o->t.n_local), .d_image = make(o->n_image)};
    enc.recompute = recompute;
    EXPECT_OK(swin_place(&run, &enc, B, H, W, true, &plan));
    swin_run_free(run);
    EXPECT_OK(arena_init(&a, plan.used, "test"));
    memset(a.base, 0xff, a.size); /* NaN in every float */
    EXPECT_OK(swin_place(&run, &enc, B, H, W, true, &a));
    EXPECT(a.used == plan.used, "measured %zu bytes, used %zu", plan.used, a.used);
    r.bytes = a.used;
    pyramid *p = swin_pyramid(run);
    for (int round = 0; round < 2; round++) {
        swin_forward(run, &o->t, o->w, o->image, o->key);
        for (int l = 0; l < 5; l++) {
            const feature *f = l < 4 ? &p->level[l] : &p->top;
            r.n_x[l] = (int64_t)B * f->H * f->W * f->C;
            if (!round) r.x[l] = make(r.n_x[l]);
            memcpy(r.x[l], f->x, sizeof(float) * (size_t)r.n_x[l]);
            for (int64_t i = 0; i < r.n_x[l]; i++) f->d[i] = f->x[i] * (float)(l + 1) * 1e-3f;
        }
        swin_backward(run, &o->t, o->w, r.g, r.d_image);
        swin_outputs(run, add_output, &r.outputs); /* they outlive backward */
    }
    swin_run_free(run);
    arena_free(&a);
    return r;
}

static void result_free(result *r)
{
    free(r->g), free(r->d_image);
    for (int l = 0; l < 5; l++) free(r->x[l]);
}

static void compare(const char *variant, const world *o, const result *a, const result *b, unsigned mask)
{
    for (int l = 0; l < 5; l++)
        EXPECT(memcmp(a->x[l], b->x[l], sizeof(float) * (size_t)a->n_x[l]) == 0, "%s, stages %x: level %d differs", variant, mask, l);
    for (int i = 0; i < o->t.n; i++)
        EXPECT(memcmp(PW(&o->t, a->g, i), PW(&o->t, b->g, i), sizeof(float) * (size_t)o->t.p[i].n) == 0,
               "%s, stages %x: gradient of %s differs", variant, mask, o->t.p[i].name);
    EXPECT(memcmp(a->d_image, b->d_image, sizeof(float) * (size_t)o->n_image) == 0, "%s, stages %x: image gradient", variant, mask);
    EXPECT(a->outputs == b->outputs, "%s, stages %x: outputs of the layers differ after backward", variant, mask);
}

static void check(const char *variant, float drop, int threads, int first)
{
    world o;
    world_open(&o, variant, drop);
    kern_init(1);
    result whole = run(&o, 0), least = whole;
    double sum = 0;
    for (int64_t i = 0; i < o.t.n_local; i++) sum += fabs((double)whole.g[i]);
    EXPECT(isfinite(sum) && sum > 0, "%s: gradients %g", variant, sum);
    kern_init(threads);
    for (int m = first; m < N_MASKS; m++) {
        result r = run(&o, masks[m]);
        compare(variant, &o, &whole, &r, masks[m]);
        printf("# %s, stages %x recomputed: %.2f of %.2f MiB\n", variant, masks[m], (double)r.bytes / 1048576,
               (double)whole.bytes / 1048576);
        /* a stage of two blocks saves them but for the buffers it needs when its turn comes */
        EXPECT(r.bytes < whole.bytes, "%s, stages %x: %zu bytes, %zu without", variant, masks[m], r.bytes, whole.bytes);
        least.bytes = r.bytes < least.bytes ? r.bytes : least.bytes;
        if (masks[m] == 15) EXPECT(r.bytes == least.bytes && r.bytes < whole.bytes * 6 / 10, "%s: all stages: %zu bytes", variant, r.bytes);
        result_free(&r);
    }
    kern_init(1);
    result_free(&whole);
    world_close(&o);
}

static void v1(void) { check("swin_micro", 0.0f, 1, 1); }
static void v2(void) { check("swin_v2_micro", 0.0f, 1, 1); }
static void drop_path(void) { check("swin_micro", 0.5f, 1, MIXED), check("swin_v2_micro", 0.5f, 1, MIXED); }
static void threads(void) { check("swin_micro", 0.3f, 2, MIXED), check("swin_v2_micro", 0.3f, 2, MIXED); }

/* What is recomputed costs arithmetic: less than the forward, more with more stages. */
static void costs(void)
{
    params t = {0};
    swin enc;
    EXPECT_OK(swin_init(&enc, "swin_t", -1, &t));
    double one = swin_recompute_flops(&enc, 4, 224, 224), all = swin_recompute_flops(&enc, 15, 224, 224);
    double forward = swin_flops(&enc, 224, 224);
    EXPECT(swin_recompute_flops(&enc, 0, 224, 224) == 0 && one > 0 && one < all && all < forward, "%g %g %g", one, all, forward);
    params_free(&t);
}

int main(void)
{
    RUN(v1);
    RUN(v2);
    RUN(drop_path);
    RUN(threads);
    RUN(costs);
    DONE();
}
