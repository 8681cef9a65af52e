/* bench_decoders: milliseconds per image and GFLOP/s of the shared decoders on one thread, forward and backward, next to the rate of a
 * large GEMM on the same core. Usage: bench_decoders [threads] */
#include "medley/kern.h"
#include "medley/model.h"

#include <stdlib.h>

enum { ROUNDS = 4 };

static void fill(float *x, int64_t n, uint32_t sub)
{
    rng r = rng_open((rng_key){1, sub, 0}, RNG_TEST, 0);
    for (int64_t i = 0; i < n; i++) x[i] = rng_uniform(&r) - 0.5f;
}

static double gemm_rate(void)
{
    enum { N = 1024 };
    float *m = calloc(3 * N * N, sizeof *m);
    double best = 1e9;
    fill(m, 2 * N * N, 99);
    for (int i = 0; i < ROUNDS; i++) {
        double t = timer_now();
        kern_gemm(false, false, N, N, N, 1, m, N, m + N * N, N, 0, m + 2 * N * N, N);
        t = timer_now() - t;
        best = t < best ? t : best;
    }
    free(m);
    return 2e-9 * N * N * N / best;
}

static status bench(bool seg, int embed, int B, int H, int W)
{
    params t = {0};
    swin enc = {.embed = embed};
    unet u = {0};
    fpn f = {0};
    unet_run *ur = NULL;
    fpn_run *fr = NULL;
    TRY(seg ? unet_init(&u, &enc, &t) : fpn_init(&f, &enc, &t), "decoder");
    params_layout(&t, (const bool[]){true, true, true}, 3);
    arena a = {0};
    TRY(seg ? unet_place(&ur, &u, B, H, W, true, &a) : fpn_place(&fr, &f, B, H, W, true, &a), "plan");
    size_t bytes = a.used;
    unet_run_free(ur), fpn_run_free(fr);
    TRY(arena_init(&a, bytes, "decoder"), "decoder");
    TRY(seg ? unet_place(&ur, &u, B, H, W, true, &a) : fpn_place(&fr, &f, B, H, W, true, &a), "place");

    float *w, *g, *image;
    TRY(mem_alloc(&w, (size_t)t.n_local * sizeof *w, "weights"), "bench");
    TRY(mem_alloc(&g, (size_t)t.n_local * sizeof *g, "gradients"), "bench");
    TRY(mem_alloc(&image, (size_t)B * H * W * 3 * sizeof *image, "image"), "bench");
    params_init_weights(&t, 1, w);
    fill(image, (int64_t)B * H * W * 3, 1);
    pyramid p = {.B = B};
    feature *in[4] = {&p.level[0], &p.level[1], &p.level[2], &p.top};
    for (int i = 0; i < 4; i++) {
        int64_t n = (int64_t)B * (H >> (2 + i)) * (W >> (2 + i)) * (embed << i);
        *in[i] = (feature){H >> (2 + i), W >> (2 + i), embed << i, NULL, NULL};
        TRY(mem_alloc(&in[i]->x, (size_t)n * sizeof(float), "feature"), "bench");
        TRY(mem_alloc(&in[i]->d, (size_t)n * sizeof(float), "feature"), "bench");
        fill(in[i]->x, n, 2 + (uint32_t)i);
    }
    double fwd = 1e9, bwd = 1e9, flops = seg ? unet_flops(&u, H, W) : fpn_flops(&f, H, W);
    for (int i = 0; i < ROUNDS; i++) {
        double t0 = timer_now();
        if (seg) unet_forward(ur, &t, w, &p, image);
        else fpn_forward(fr, &t, w, &p);
        double t1 = timer_now();
        for (int l = 0; l < (seg ? 1 : 2 * FPN_LEVELS); l++) {
            feature *o = seg ? unet_out(ur) : l % 2 ? fpn_reg(fr, l / 2) : fpn_cls(fr, l / 2);
            fill(o->d, (int64_t)B * o->H * o->W * o->C, 10);
        }
        double t2 = timer_now();
        if (seg) unet_backward(ur, &t, w, g, &p, image);
        else fpn_backward(fr, &t, w, g, &p);
        double t3 = timer_now();
        fwd = t1 - t0 < fwd ? t1 - t0 : fwd, bwd = t3 - t2 < bwd ? t3 - t2 : bwd;
    }
    printf("%-5s embed %3d  %dx%3dx%3d: forward %6.2f ms/image %4.0f GFLOP/s, backward %6.2f ms/image %4.0f GFLOP/s, %4.0f MiB\n",
           seg ? "unet" : "fpn", embed, B, H, W, fwd / B * 1e3, 2e-9 * flops * B / fwd, bwd / B * 1e3, 4e-9 * flops * B / bwd,
           (double)bytes / (1 << 20));
    for (int i = 0; i < 4; i++) free(in[i]->x), free(in[i]->d);
    free(w), free(g), free(image);
    unet_run_free(ur), fpn_run_free(fr);
    arena_free(&a);
    params_free(&t);
    return OK;
}

int main(int argc, char **argv)
{
    kern_init(argc > 1 ? atoi(argv[1]) : 1);
    printf("large GEMM %.0f GFLOP/s\n", gemm_rate());
    status st = bench(true, 48, 4, 256, 256);
    if (!st) st = bench(true, 96, 4, 256, 256);
    if (!st) st = bench(false, 48, 4, 320, 256);
    if (!st) st = bench(false, 96, 4, 320, 256);
    if (st) printf("%s\n", status_message());
    return st;
}
