/* test_decoders_parity: outputs and every gradient of the shared decoders against torch's, from stored values (make_decoders.py). */
#include "medley/kern.h"
#include "medley/model.h"

#include "test.h"

static const char *file_name; /* argument */
static FILE *file;

typedef struct stored { char name[128]; double norm, projection[2], sample[32]; int n_samples; } stored;

static bool next_line(stored *s)
{
    char line[4096];
    if (!fgets(line, sizeof line, file)) return false;
    int at = 0, n = 0;
    *s = (stored){0};
    if (sscanf(line, "%127s %lf %lf %lf%n", s->name, &s->norm, &s->projection[0], &s->projection[1], &at) != 4) return false;
    double v;
    for (const char *p = line + at; s->n_samples < 32 && sscanf(p, "%lf%n", &v, &n) == 1; p += n) s->sample[s->n_samples++] = v;
    return true;
}

/* n numbers of the stream `name`: base + scale * [-1,1). */
static void fill(float *x, int64_t n, const char *name, float base, float scale)
{
    rng r = rng_open((rng_key){.seed = hash_text(name)}, RNG_TEST, 0);
    for (int64_t i = 0; i < n; i++) x[i] = base + scale * (2.0f * rng_uniform(&r) - 1.0f);
}

/* The rule of make_swin.py's parameter(). */
static void fill_parameter(float *x, const param *p)
{
    bool norm_weight = p->ndim == 1 && strcmp(p->name + strlen(p->name) - 6, "weight") == 0;
    fill(x, p->n, p->name, norm_weight ? 1.0f : 0.0f, p->ndim > 1 ? sqrtf(3.0f / (float)(p->n / p->shape[0])) : 0.1f);
}

/* Distance to the stored numbers: norm and projections relative to the norm, samples to the larger of root mean square and value. */
static double distance(const stored *s, const float *x, int64_t n)
{
    double norm = 0, worst, rms = s->norm / sqrt((double)n);
    for (int64_t i = 0; i < n; i++) norm += (double)x[i] * x[i];
    worst = fabs(sqrt(norm) - s->norm) / s->norm;
    for (int k = 0; k < 2; k++) {
        char key[192];
        snprintf(key, sizeof key, "%s.projection%d", s->name, k);
        rng r = rng_open((rng_key){.seed = hash_text(key)}, RNG_TEST, 0);
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (2.0f * rng_uniform(&r) - 1.0f);
        worst = fmax(worst, fabs(sum - s->projection[k]) / s->norm);
    }
    for (int k = 0; k < s->n_samples; k++)
        worst = fmax(worst, fabs(x[((int64_t)k * 7919 + 13) % n] - s->sample[k]) / fmax(rms, fabs(s->sample[k])));
    return isnan(norm) ? INFINITY : worst;
}

static double check(const char *name, const float *x, int64_t n, double tol)
{
    stored s;
    if (!next_line(&s) || strcmp(s.name, name)) {
        EXPECT(false, "%s: not in the file at this place", name);
        return INFINITY;
    }
    double d = distance(&s, x, n);
    EXPECT(d <= tol, "%s differs by %.2e", name, d);
    return d;
}

typedef struct decoder {
    bool  seg;
    unet  u;
    fpn   f;
    unet_run *ur;
    fpn_run  *fr;
} decoder;

static status place(decoder *d, int B, int H, int W, arena *a)
{
    return d->seg ? unet_place(&d->ur, &d->u, B, H, W, true, a) : fpn_place(&d->fr, &d->f, B, H, W, true, a);
}

/* Output k and its name in the file; NULL after the last. */
static feature *output(decoder *d, int k, char name[16])
{
    if (d->seg) return snprintf(name, 16, "out"), k ? NULL : unet_out(d->ur);
    snprintf(name, 16, "%s%d", k % 2 ? "reg" : "cls", k / 2);
    return k >= 2 * FPN_LEVELS ? NULL : k % 2 ? fpn_reg(d->fr, k / 2) : fpn_cls(d->fr, k / 2);
}

static void parity(void)
{
    char kind[8], name[16];
    int E, B, H, W;
    file = fopen(file_name, "r");
    if (!file || fscanf(file, "case %7s %d %d %d %d\n", kind, &E, &B, &H, &W) != 5) {
        EXPECT(false, "cannot read %s", file_name);
        return;
    }
    decoder d = {.seg = strcmp(kind, "seg") == 0};
    params t = {0};
    swin enc = {.embed = E};
    EXPECT_OK(d.seg ? unet_init(&d.u, &enc, &t) : fpn_init(&d.f, &enc, &t));
    params_layout(&t, (const bool[]){true, true, true}, 3);
    arena plan = {0}, a;
    EXPECT_OK(place(&d, B, H, W, &plan));
    unet_run_free(d.ur), fpn_run_free(d.fr);
    EXPECT_OK(arena_init(&a, plan.used, "test"));
    EXPECT_OK(place(&d, B, H, W, &a));

    int64_t n_image = (int64_t)B * H * W * 3;
    float *w = calloc((size_t)t.n_local, sizeof *w), *g = calloc((size_t)t.n_local, sizeof *g), *image = calloc((size_t)n_image, sizeof *image);
    for (int i = 0; i < t.n; i++) fill_parameter(PW(&t, w, i), &t.p[i]);
    fill(image, n_image, "image", 0.5f, 0.5f);
    pyramid p = {.B = B};
    feature *in[4] = {&p.level[0], &p.level[1], &p.level[2], &p.top};
    const char *const in_name[4] = {"level0", "level1", "level2", "top"};
    for (int i = 0; i < 4; i++) {
        int64_t n = (int64_t)B * (H >> (2 + i)) * (W >> (2 + i)) * (E << i);
        *in[i] = (feature){H >> (2 + i), W >> (2 + i), E << i, calloc((size_t)n, sizeof(float)), calloc((size_t)n, sizeof(float))};
        fill(in[i]->x, n, in_name[i], 0.0f, 1.0f);
    }

    if (d.seg) unet_forward(d.ur, &t, w, &p, image);
    else fpn_forward(d.fr, &t, w, &p);
    double worst = 0;
    feature *f;
    for (int k = 0; (f = output(&d, k, name)); k++) {
        int64_t n = (int64_t)B * f->H * f->W * f->C;
        worst = fmax(worst, check(name, f->x, n, 1e-4));
        char key[32];
        snprintf(key, sizeof key, "d.%s", name);
        fill(f->d, n, key, 0.0f, 1.0f);
    }
    printf("# outputs: worst relative difference %.2e\n", worst);
    if (d.seg) unet_backward(d.ur, &t, w, g, &p, image);
    else fpn_backward(d.fr, &t, w, g, &p);
    worst = 0;
    for (int i = d.seg ? 0 : 1; i < 4; i++) {
        char key[32];
        snprintf(key, sizeof key, "grad.%s", in_name[i]);
        worst = fmax(worst, check(key, in[i]->d, (int64_t)B * in[i]->H * in[i]->W * in[i]->C, 1e-3));
    }
    int n_seen = 0;
    stored s;
    for (; next_line(&s); n_seen++) {
        int i = params_find(&t, s.name);
        EXPECT(i >= 0, "no parameter %s", s.name);
        if (i < 0) continue;
        double far = distance(&s, PW(&t, g, i), t.p[i].n);
        EXPECT(far <= 1e-3, "%s differs by %.2e", s.name, far);
        worst = fmax(worst, far);
    }
    EXPECT(n_seen == t.n, "%d parameters in the file, %d in the table", n_seen, t.n);
    printf("# gradients: worst relative difference %.2e\n", worst);
    fclose(file);
    for (int i = 0; i < 4; i++) free(in[i]->x), free(in[i]->d);
    free(w), free(g), free(image);
    unet_run_free(d.ur), fpn_run_free(d.fr);
    arena_free(&a);
    params_free(&t);
}

int main(int argc, char **argv)
{
    kern_init(1);
    for (int i = 1; i < argc; i++) {
        file_name = argv[i];
        printf("# %s\n", file_name);
        RUN(parity);
    }
    DONE();
}
