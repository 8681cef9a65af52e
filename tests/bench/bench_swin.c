/* bench_swin: rate of one large GEMM, then training steps of the encoder; the share of the large-GEMM rate a step reaches. */
#include "medley/kern.h"
#include "medley/model.h"

#include <stdlib.h>
#include <string.h>

static float *make(int64_t n, uint32_t seed)
{
    float *x;
    if (mem_alloc(&x, sizeof(float) * (size_t)n, "bench")) abort();
    rng r = rng_open((rng_key){.seed = seed}, RNG_TEST, 0);
    for (int64_t i = 0; i < n; i++) x[i] = rng_uniform(&r) - 0.5f;
    return x;
}

/* Multiply-adds per second of a 1536^3 product, the best of a few. */
static double gemm_rate(void)
{
    enum { N = 1536 };
    float *a = make(N * N, 1), *b = make(N * N, 2), *c = make(N * N, 3);
    double best = 1e30;
    for (int i = 0; i < 4; i++) {
        double t = timer_now();
        kern_gemm(false, true, N, N, N, 1.0f, a, N, b, N, 0.0f, c, N);
        t = timer_now() - t;
        if (t < best) best = t;
    }
    free(a), free(b), free(c);
    return (double)N * N * N / best;
}

static status bench(const char *variant, int B, int side, double seconds, double gemm)
{
    params t = {0};
    swin enc;
    arena plan = {0}, a;
    swin_run *run;
    bool owned[1] = {true};
    TRY(swin_init(&enc, variant, 0.0f, &t), "bench");
    params_layout(&t, owned, 1);
    TRY(swin_place(&run, &enc, B, side, side, true, &plan), "bench");
    swin_run_free(run);
    TRY(arena_init(&a, plan.used, "bench"), "bench");
    TRY(swin_place(&run, &enc, B, side, side, true, &a), "bench");
    float *w = make(t.n_local, 4), *g = make(t.n_local, 5), *image = make((int64_t)B * side * side * 3, 6);
    params_init_weights(&t, 1, w);
    pyramid *p = swin_pyramid(run);
    double forward = 0.0, backward = 0.0;
    int n = 0;
    for (int i = 0; i < 3 || forward + backward < seconds; i++) {
        double t0 = timer_now();
        swin_forward(run, &t, w, image, NULL);
        double t1 = timer_now();
        for (int64_t k = 0; k < (int64_t)B * p->top.H * p->top.W * p->top.C; k++) p->top.d[k] = 1e-3f;
        swin_backward(run, &t, w, g, NULL);
        double t2 = timer_now();
        if (i == 0) continue; /* pages are touched for the first time */
        forward += t1 - t0;
        backward += t2 - t1;
        n++;
    }
    double total = forward + backward, rate = 3.0 * swin_flops(&enc, side, side) * B * n / total;
    printf("%-14s batch %d, %d px: %7.2f images/s (forward %.1f ms, backward %.1f ms per image), %5.1f GFLOP/s = %4.1f %% of the large GEMM, "
           "arena %.0f MiB\n", variant, B, side, n * B / total, 1e3 * forward / n / B, 1e3 * backward / n / B, 2e-9 * rate, 100.0 * rate / gemm,
           (double)plan.used / 1048576.0);
    free(w), free(g), free(image);
    swin_run_free(run);
    arena_free(&a);
    params_free(&t);
    return OK;
}

int main(int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : NULL;
    double seconds = argc > 2 ? atof(argv[2]) : 3.0;
    static const struct { const char *variant; int B, side; } run[] = {
        {"swin_t", 8, 224}, {"swin_v2_t", 8, 256}, {"swin_micro", 8, 128}, {"swin_micro", 8, 256}, {"swin_v2_micro", 8, 256}};
    kern_init(argc > 3 ? atoi(argv[3]) : 1);
    double gemm = gemm_rate();
    printf("%s, %d thread(s): large GEMM %.1f GFLOP/s\n", kern_blas_name(), kern_threads(), 2e-9 * gemm);
    for (size_t i = 0; i < sizeof run / sizeof *run; i++) {
        if (only && *only && strcmp(only, run[i].variant) != 0) continue;
        if (bench(run[i].variant, run[i].B, run[i].side, seconds, gemm)) {
            fprintf(stderr, "%s\n", status_message());
            return 1;
        }
    }
    return 0;
}
