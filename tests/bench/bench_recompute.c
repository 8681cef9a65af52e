/* bench_recompute: what recomputing stages of the encoder costs in time and saves in memory: training steps of the encoder, taken in turn
 * with and without, in one process. One line each for every stage alone and all of them. usage: bench_recompute [VARIANT [ROUNDS]] */
#include "medley/kern.h"
#include "medley/model.h"

#include <stdlib.h>
#include <string.h>

enum { B = 8, N = 6 };
static const unsigned stages[N] = {0, 1, 2, 4, 8, 15};
static const char *const name[N] = {"none", "1", "2", "3", "4", "1 2 3 4"};

static float *make(int64_t n)
{
    float *x;
    if (mem_alloc(&x, sizeof(float) * (size_t)n, "bench")) abort();
    return x;
}

typedef struct plan { swin_run *run; arena a; double best, total; } plan;

static status plan_open(plan *p, const swin *enc, unsigned recompute, int side)
{
    swin with = *enc;
    arena measure = {0};
    with.recompute = recompute;
    TRY(swin_place(&p->run, &with, B, side, side, true, &measure), "bench");
    swin_run_free(p->run);
    TRY(arena_init(&p->a, measure.used, "bench"), "bench");
    p->best = 1e30;
    return swin_place(&p->run, &with, B, side, side, true, &p->a);
}

static double step(plan *p, const params *t, const float *w, float *g, const float *image)
{
    pyramid *y = swin_pyramid(p->run);
    double began = timer_now();
    swin_forward(p->run, t, w, image, NULL);
    for (int64_t k = 0; k < (int64_t)B * y->top.H * y->top.W * y->top.C; k++) y->top.d[k] = 1e-3f;
    swin_backward(p->run, t, w, g, NULL);
    return timer_now() - began;
}

static status bench(const char *variant, int rounds)
{
    params t = {0};
    swin enc;
    plan p[N] = {0};
    bool owned[1] = {true};
    TRY(swin_init(&enc, variant, 0.0f, &t), "bench");
    int side = enc.version == 1 ? 224 : 256;
    params_layout(&t, owned, 1);
    int64_t n_image = (int64_t)B * side * side * 3;
    float *w = make(t.n_local), *g = make(t.n_local), *first = make(t.n_local), *image = make(n_image);
    rng r = rng_open((rng_key){.seed = 6}, RNG_TEST, 0);
    for (int64_t i = 0; i < n_image; i++) image[i] = rng_uniform(&r);
    params_init_weights(&t, 1, w);
    for (int i = 0; i < N; i++) TRY(plan_open(&p[i], &enc, stages[i], side), "bench");
    for (int round = 0; round <= rounds; round++)
        for (int i = 0; i < N; i++) {
            memset(g, 0, sizeof(float) * (size_t)t.n_local);
            double s = step(&p[i], &t, w, g, image);
            if (i == 0) memcpy(first, g, sizeof(float) * (size_t)t.n_local);
            CHECK(memcmp(first, g, sizeof(float) * (size_t)t.n_local) == 0, ST_BUG, "stages %s: other gradients", name[i]);
            if (round == 0) continue; /* pages are touched for the first time */
            p[i].total += s;
            if (s < p[i].best) p[i].best = s;
        }
    double whole = (double)p[0].a.size;
    for (int i = 0; i < N; i++) {
        printf("%-10s batch %d, %d px, stages recomputed: %-8s %7.3f s a step (%.3f of none; best %.3f), arena %7.1f MiB (%.3f of none)\n",
               variant, B, side, name[i], p[i].total / rounds, p[i].total / p[0].total, p[i].best / p[0].best, (double)p[i].a.size / 1048576,
               (double)p[i].a.size / whole);
        swin_run_free(p[i].run);
        arena_free(&p[i].a);
    }
    free(w), free(g), free(first), free(image);
    params_free(&t);
    return OK;
}

int main(int argc, char **argv)
{
    kern_init(1);
    status st = bench(argc > 1 ? argv[1] : "swin_t", argc > 2 ? atoi(argv[2]) : 5);
    if (st) fprintf(stderr, "%s\n", status_message());
    return st;
}
