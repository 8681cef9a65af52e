/* test_swin_parity: features and every parameter's gradient against torchvision's, from stored values (make_swin.py).
 * Usage: test_swin_parity [--bf16] FILE... --bf16: linear layers in bf16, which the same values tell apart from fp32 and from a mistake */
#include "medley/kern.h"
#include "medley/model.h"

#include "test.h"

static const char *file_name; /* argument */
static FILE *file;
static bool bf16;

typedef struct expected { char name[128]; double norm, projection[2], sample[32]; int n_samples; } expected;

static bool next_line(expected *e)
{
    char line[4096];
    if (!fgets(line, sizeof line, file)) return false;
    int at = 0, n = 0;
    *e = (expected){0};
    if (sscanf(line, "%127s %lf %lf %lf%n", e->name, &e->norm, &e->projection[0], &e->projection[1], &at) != 4) return false;
    double v;
    for (const char *p = line + at; e->n_samples < 32 && sscanf(p, "%lf%n", &v, &n) == 1; p += n) e->sample[e->n_samples++] = v;
    return true;
}

static rng stream(const char *name) { return rng_open((rng_key){.seed = hash_text(name)}, RNG_TEST, 0); }

static void fill_uniform(float *x, int64_t n, const char *name, float lo, float hi)
{
    rng r = stream(name);
    for (int64_t i = 0; i < n; i++) x[i] = lo + (hi - lo) * rng_uniform(&r);
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* The rule of make_swin.py's parameter(). */
static void fill_parameter(float *x, const param *p)
{
    float base = 0.0f, scale = 0.1f;
    if (ends_with(p->name, "relative_position_bias_table")) scale = 0.5f;
    else if (ends_with(p->name, "logit_scale")) base = 1.5f, scale = 1.5f;
    else if (p->ndim >= 2) scale = sqrtf(3.0f / (float)(p->n / p->shape[0]));
    else if (ends_with(p->name, "weight")) base = 1.0f;
    rng r = stream(p->name);
    for (int64_t i = 0; i < p->n; i++) x[i] = base + scale * (2.0f * rng_uniform(&r) - 1.0f);
}

/* Compares an array with the stored numbers; relative to its norm, samples to its root mean square or their size. Returns the worst. */
static double compare(const expected *e, const char *name, const float *x, int64_t n, double tol)
{
    EXPECT(strcmp(e->name, name) == 0, "%s: the file has %s here", name, e->name);
    double norm = 0.0, worst = 0.0, rms = e->norm / sqrt((double)n);
    for (int64_t i = 0; i < n; i++) norm += (double)x[i] * x[i];
    norm = sqrt(norm);
    if (e->norm == 0.0) { /* a block that drop path left out for all samples */
        EXPECT(norm == 0.0, "%s: norm %.6g, wanted 0", name, norm);
        return norm;
    }
    worst = fabs(norm - e->norm) / e->norm;
    for (int k = 0; k < 2; k++) {
        char key[192];
        snprintf(key, sizeof key, "%s.projection%d", name, k);
        rng r = stream(key);
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (2.0f * rng_uniform(&r) - 1.0f);
        worst = fmax(worst, fabs(sum - e->projection[k]) / e->norm);
    }
    for (int k = 0; k < e->n_samples; k++) {
        double got = x[((int64_t)k * 7919 + 13) % n];
        worst = fmax(worst, fabs(got - e->sample[k]) / fmax(rms, fabs(e->sample[k])));
    }
    EXPECT(worst <= tol, "%s differs by %.2e (norm %.6g, wanted %.6g)", name, worst, norm, e->norm);
    return worst;
}

static void parity(void)
{
    char variant[32];
    int B, H, W;
    float drop;
    file = fopen(file_name, "r");
    if (!file || fscanf(file, "case %31s %d %d %d %f\n", variant, &B, &H, &W, &drop) != 5) {
        EXPECT(false, "cannot read %s", file_name);
        return;
    }
    params t = {0};
    swin net;
    EXPECT_OK(swin_init(&net, variant, drop, &t));
    bool owned[1] = {true};
    params_layout(&t, owned, 1);
    arena plan = {0}, a;
    swin_run *run;
    EXPECT_OK(swin_place(&run, &net, B, H, W, true, &plan));
    swin_run_free(run);
    EXPECT_OK(arena_init(&a, plan.used, "test"));
    EXPECT_OK(swin_place(&run, &net, B, H, W, true, &a));

    float *w, *g, *image, *d_image;
    int64_t n_image = (int64_t)B * H * W * 3;
    EXPECT_OK(mem_alloc(&w, sizeof(float) * (size_t)t.n_local, "w"));
    EXPECT_OK(mem_alloc(&g, sizeof(float) * (size_t)t.n_local, "g"));
    EXPECT_OK(mem_alloc(&image, sizeof(float) * (size_t)n_image, "image"));
    EXPECT_OK(mem_alloc(&d_image, sizeof(float) * (size_t)n_image, "d_image"));
    for (int i = 0; i < t.n; i++) fill_parameter(PW(&t, w, i), &t.p[i]);
    fill_uniform(image, n_image, "image", 0.0f, 1.0f);
    rng_key key[2];
    for (uint32_t b = 0; b < 2; b++) key[b] = (rng_key){.seed = 77, .a = b, .b = 3};
    swin_forward(run, &t, w, image, drop > 0 ? key : NULL);

    expected e;
    double worst = 0.0;
    pyramid *p = swin_pyramid(run);
    const char *const level_name[5] = {"level0", "level1", "level2", "level3", "top"};
    for (int l = 0; l < 5; l++) {
        feature *f = l < 4 ? &p->level[l] : &p->top;
        int64_t n = (int64_t)B * f->H * f->W * f->C;
        EXPECT(next_line(&e), "file ends early");
        worst = fmax(worst, compare(&e, level_name[l], f->x, n, bf16 ? 0.1 : 1e-4));
        char name[32];
        snprintf(name, sizeof name, "d.%s", level_name[l]);
        fill_uniform(f->d, n, name, -1.0f, 1.0f);
    }
    printf("# features: worst relative difference %.2e\n", worst);
    EXPECT(!bf16 || worst > 1e-3, "these are the features of fp32");
    swin_backward(run, &t, w, g, d_image);
    worst = 0.0;
    EXPECT(next_line(&e), "file ends early");
    worst = fmax(worst, compare(&e, "image", d_image, n_image, bf16 ? 0.1 : 1e-3));
    for (int i = 0; i < t.n; i++) {
        if (!next_line(&e)) {
            EXPECT(false, "file ends before %s", t.p[i].name);
            break;
        }
        int at = params_find(&t, e.name);
        EXPECT(at >= 0, "no parameter %s", e.name);
        if (at >= 0) worst = fmax(worst, compare(&e, e.name, PW(&t, g, at), t.p[at].n, bf16 ? 0.1 : 1e-3));
    }
    EXPECT(!next_line(&e), "parameter %s of the file is not in the table", e.name);
    printf("# gradients: worst relative difference %.2e\n", worst);
    fclose(file);
    free(w), free(g), free(image), free(d_image);
    swin_run_free(run);
    arena_free(&a);
    params_free(&t);
}

int main(int argc, char **argv)
{
    kern_init(1);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bf16") == 0) {
            if (kern_bf16_choose()) {
                printf("1..0 # SKIP %s\n", status_message());
                return 0;
            }
            bf16 = true;
            kern_use_bf16(true);
            continue;
        }
        file_name = argv[i];
        printf("# %s\n", file_name);
        RUN(parity);
    }
    DONE();
}
