/* test_kern: the fast kernels against their plain twins; their gradients against central differences of the twins in double. */
#include "medley/kern.h"
#include "../../src/kern/fastmath.h"
#include "../../src/kern/ref.h"

#include "test.h"

#include <pthread.h>

static rng draws;

static float *random_f(int64_t n, float lo, float hi)
{
    float *x;
    if (mem_alloc(&x, sizeof(float) * (size_t)(n + 16), "test")) abort();
    for (int64_t i = 0; i < n; i++) x[i] = lo + (hi - lo) * rng_uniform(&draws);
    return x;
}

static double *as_double(const float *x, int64_t n)
{
    double *y = malloc(sizeof *y * (size_t)n);
    for (int64_t i = 0; i < n; i++) y[i] = x[i];
    return y;
}

/* Largest |x - y| over the largest |y|. */
static double difference(const float *x, const double *y, int64_t n)
{
    double worst = 0.0, top = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return INFINITY;
        worst = fmax(worst, fabs(x[i] - y[i]));
        top = fmax(top, fabs(y[i]));
    }
    return worst / top;
}

/* Central differences of sum(coef * f(x)) at x[i] for all i; f is called through a context. */
typedef void twin(void *ctx, double *y);
static double *slopes(twin *f, void *ctx, double *x, int64_t n, const float *coef, int64_t n_y)
{
    double *y = malloc(sizeof *y * (size_t)n_y), *g = malloc(sizeof *g * (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        double keep = x[i], side[2];
        for (int s = 0; s < 2; s++) {
            x[i] = keep + (s ? 1e-5 : -1e-5);
            f(ctx, y);
            side[s] = 0.0;
            for (int64_t k = 0; k < n_y; k++) side[s] += coef[k] * y[k];
        }
        x[i] = keep;
        g[i] = (side[1] - side[0]) / 2e-5;
    }
    free(y);
    return g;
}

static void exp_and_phi(void)
{
    double worst_exp = 0.0, worst_phi = 0.0, worst_slope = 0.0;
    for (double x = -86.0; x < 86.0; x += 0.000977) {
        float f = (float)x, e;
        worst_exp = fmax(worst_exp, fabs(fast_exp(f) / exp(f) - 1.0));
        double phi = 0.5 * (1.0 + erf(f / sqrt(2.0)));
        worst_phi = fmax(worst_phi, fabs(fast_phi(f, &e) - phi));
        worst_slope = fmax(worst_slope, fabs(e - exp(-0.5 * f * f)));
    }
    printf("# exp relative %.1e, phi %.1e\n", worst_exp, worst_phi);
    EXPECT(worst_exp < 3e-7, "%g", worst_exp);
    EXPECT(worst_phi < 3e-7, "%g", worst_phi);
    EXPECT(worst_slope < 3e-6, "%g", worst_slope); /* -x*x/2 itself is rounded before exp */
    EXPECT(fast_exp(-1e30f) < 1e-37f && isfinite(fast_exp(1e30f)), "range");
    float e;
    EXPECT(isnan(fast_exp(NAN)) && isnan(fast_phi(NAN, &e) * NAN), "NaN must stay");
}

/* The same of a vector at a time. */
static void exp_and_phi_vectors(void)
{
    double worst_exp = 0.0, worst_phi = 0.0, worst_slope = 0.0;
    for (double x = -86.0; x < 86.0; x += 0.0156) {
        vecf power, phi, e, at;
        for (int i = 0; i < VL; i++) at[i] = (float)(x + 0.000977 * i), power[i] = at[i] * LOG2_E;
        vecf two = power;
        exp2_vec(&power);
        phi_vec(&phi, &e, &at);
        for (int i = 0; i < VL; i++) {
            worst_exp = fmax(worst_exp, fabs(power[i] / exp2(two[i]) - 1.0));
            worst_phi = fmax(worst_phi, fabs(phi[i] - 0.5 * (1.0 + erf(at[i] / sqrt(2.0)))));
            worst_slope = fmax(worst_slope, fabs(e[i] - exp(-0.5 * at[i] * at[i])));
        }
    }
    printf("# 2^x relative %.1e, phi %.1e\n", worst_exp, worst_phi);
    EXPECT(worst_exp < 4e-7 && worst_phi < 4e-7 && worst_slope < 3e-6, "%g %g %g", worst_exp, worst_phi, worst_slope);
    const float edge[16] = {NAN, -1e30f, -INFINITY, 126.5f, -126.5f, 0.0f, -0.0f, 1e-30f};
    float y[16], phi[16];
    for (int i = 0; i < 16; i += VL) {
        vecf x, p, e;
        memcpy(&x, edge + i, sizeof x);
        phi_vec(&p, &e, &x);
        exp2_vec(&x);
        memcpy(y + i, &x, sizeof x), memcpy(phi + i, &p, sizeof p);
    }
    EXPECT(isnan(y[0]) && y[1] < 1e-37f && fabs(y[3] / exp2(126.5) - 1) < 3e-7 && fabsf(y[5] - 1) < 3e-7f && y[6] == y[5], "2^x at the edges");
    EXPECT(isnan(phi[0]) && phi[1] < 1e-30f && phi[2] < 1e-30f && phi[3] == 1.0f && fabsf(phi[5] - 0.5f) < 3e-7f, "phi at the edges");
}

static void activations(void)
{
    enum { N = 40001 };
    float *x = random_f(N, -6, 6), *dy = random_f(N, -1, 1), *y = random_f(N, 0, 0), *dx = random_f(N, 0, 0), *both = random_f(N, 0, 0);
    gelu_forward(y, x, N);
    gelu_backward(dx, dy, x, N);
    double worst = 0.0, worst_d = 0.0;
    for (int i = 0; i < N; i++) {
        double v = x[i], slope = 0.5 * (1 + erf(v / sqrt(2.0))) + v * exp(-0.5 * v * v) * 0.3989422804014327;
        worst = fmax(worst, fabs(y[i] - ref_gelu(v)));
        worst_d = fmax(worst_d, fabs(dx[i] - dy[i] * slope));
    }
    EXPECT(worst < 2e-6 && worst_d < 2e-6, "gelu %g, its gradient %g", worst, worst_d);
    memcpy(both, dy, sizeof(float) * N);
    float *y2 = random_f(N, 0, 0);
    gelu_both(y2, both, x, N);
    EXPECT(memcmp(y2, y, sizeof(float) * N) == 0, "gelu_both differs from gelu_forward");
    for (int i = 0; i < N; i++) worst_d = fmax(worst_d, fabs(both[i] - dx[i]));
    EXPECT(worst_d < 2e-6, "%g", worst_d);
    relu_forward(y, x, N);
    relu_backward(dx, dy, y, N);
    for (int i = 0; i < N; i++) EXPECT(y[i] == fmaxf(x[i], 0) && dx[i] == (x[i] > 0 ? dy[i] : 0), "relu at %d", i);
    x[3] = NAN;
    relu_forward(y, x, N);
    EXPECT(isnan(y[3]), "relu must keep a NaN");
    enum { R = 37, C = 48 };
    float *h = random_f(R * C, -3, 3), *b = random_f(C, -1, 1), *sum = random_f(R * C, 0, 0), *want = random_f(R * C, 0, 0);
    for (int i = 0; i < R * C; i++) sum[i] = h[i] + b[i % C];
    gelu_forward(want, sum, R * C);
    gelu_bias_forward(y, h, b, R, C);
    EXPECT(memcmp(h, sum, sizeof(float) * R * C) == 0 && memcmp(y, want, sizeof(float) * R * C) == 0, "gelu with bias");
    free(x), free(dy), free(y), free(dx), free(both), free(y2), free(h), free(b), free(sum), free(want);
}

typedef struct norm_case { double *x, *gamma, *beta; int64_t B, P, C; int groups; } norm_case; /* groups 0: layer norm */
static void norm_twin(void *ctx, double *y)
{
    norm_case *k = ctx;
    if (k->groups) ref_groupnorm(y, k->x, k->gamma, k->beta, k->B, k->P, k->C, k->groups, 1e-5);
    else ref_layernorm(y, k->x, k->gamma, k->beta, k->B * k->P, k->C, 1e-5);
}

static void norm_check(int64_t B, int64_t P, int64_t C, int groups)
{
    int64_t R = B * P, n = R * C;
    float *x = random_f(n, -2, 3), *gamma = random_f(C, 0.5, 1.5), *beta = random_f(C, -1, 1), *dy = random_f(n, -1, 1), *y = random_f(n, 0, 0);
    float *dx = random_f(n, 0, 0), *dgamma = random_f(C, 0, 0), *dbeta = random_f(C, 0, 0), *stats = random_f(2 * (R + B * groups), 0, 0);
    norm_case k = {as_double(x, n), as_double(gamma, C), as_double(beta, C), B, P, C, groups};
    double *want = malloc(sizeof *want * (size_t)n);
    norm_twin(&k, want);
    if (groups) {
        groupnorm_forward(y, stats, x, gamma, beta, B, P, C, groups, 1e-5f);
        groupnorm_backward(dx, dgamma, dbeta, dy, x, stats, gamma, B, P, C, groups);
    } else {
        layernorm_forward(y, stats, x, gamma, beta, R, C, 1e-5f);
        layernorm_backward(dx, false, dgamma, dbeta, dy, x, stats, gamma, R, C);
    }
    EXPECT(difference(y, want, n) < 1e-6, "forward %g", difference(y, want, n));
    double *gx = slopes(norm_twin, &k, k.x, n, dy, n), *gg = slopes(norm_twin, &k, k.gamma, C, dy, n), *gb = slopes(norm_twin, &k, k.beta, C, dy, n);
    EXPECT(difference(dx, gx, n) < 3e-6, "dx %g", difference(dx, gx, n));
    EXPECT(difference(dgamma, gg, C) < 3e-6, "dgamma %g", difference(dgamma, gg, C));
    EXPECT(difference(dbeta, gb, C) < 3e-6, "dbeta %g", difference(dbeta, gb, C));
    free(x), free(gamma), free(beta), free(dy), free(y), free(dx), free(dgamma), free(dbeta), free(stats), free(want), free(gx), free(gg), free(gb);
    free(k.x), free(k.gamma), free(k.beta);
}

static void norms(void)
{
    norm_check(1, 5, 24, 0);
    norm_check(1, 3, 50, 0);
    norm_check(2, 9, 16, 4);
    norm_check(1, 7, 12, 1);
    norm_check(3, 70, 4, 4);
}

/* The mapped forms against the plain ones. */
static void mapped_norms(void)
{
    enum { R = 300, C = 40, FROM = 320 };
    int32_t row[R];
    for (int r = 0; r < R; r++) row[r] = r % 7 == 3 ? -1 : (r * 77) % FROM;
    float *x = random_f(FROM * C, -2, 2), *gamma = random_f(C, 0.5, 1.5), *beta = random_f(C, -1, 1), *all = random_f(FROM * C, 0, 0);
    float *y = random_f(R * C, 0, 0), *stats = random_f(2 * FROM, 0, 0), *res = random_f(FROM * C, -1, 1), *out = random_f(FROM * C, 0, 0);
    layernorm_forward(all, stats, x, gamma, beta, FROM, C, 1e-5f);
    layernorm_gather_forward(y, stats, x, row, gamma, beta, R, C, 1e-5f);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) EXPECT(y[r * C + c] == (row[r] < 0 ? 0.0f : all[row[r] * C + c]), "gather row %d", r);

    float *dy = random_f(R * C, -1, 1), *spread = random_f(FROM * C, 0, 0), *dx = random_f(FROM * C, 0, 0), *want = random_f(FROM * C, 0, 0);
    float dg[2][C] = {{0}}, db[2][C] = {{0}}, *all_stats = random_f(2 * FROM, 0, 0);
    for (int r = 0; r < R; r++)
        if (row[r] >= 0) memcpy(spread + row[r] * C, dy + r * C, sizeof(float) * C);
    layernorm_gather_backward(dx, dg[0], db[0], dy, x, stats, row, gamma, R, C);
    layernorm_forward(all, all_stats, x, gamma, beta, FROM, C, 1e-5f);
    layernorm_backward(want, false, dg[1], db[1], spread, x, all_stats, gamma, FROM, C);
    for (int i = 0; i < FROM * C; i++) EXPECT_NEAR(dx[i], want[i], 1e-5);
    for (int c = 0; c < C; c++) {
        EXPECT_NEAR(dg[0][c], dg[1][c], 1e-3);
        EXPECT_NEAR(db[0][c], db[1][c], 1e-3);
    }
    float *a = random_f(R * C, -2, 2);
    layernorm_scatter_forward(out, stats, a, row, gamma, beta, 0.5f, res, R, C, 1e-5f);
    layernorm_forward(y, stats, a, gamma, beta, R, C, 1e-5f);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C && row[r] >= 0; c++) EXPECT_NEAR(out[row[r] * C + c], res[row[r] * C + c] + 0.5f * y[r * C + c], 1e-6);
    rows_gather(y, x, row, 0.5f, R, C);
    rows_scatter(out, res, y, beta, row, 2.0f, R, C);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) {
            EXPECT(y[r * C + c] == (row[r] < 0 ? 0.0f : 0.5f * x[row[r] * C + c]), "gather");
            if (row[r] >= 0) EXPECT_NEAR(out[row[r] * C + c], res[row[r] * C + c] + 2.0f * (y[r * C + c] + beta[c]), 1e-6);
        }
    free(x), free(gamma), free(beta), free(all), free(y), free(stats), free(res), free(out), free(dy), free(spread), free(dx), free(want);
    free(all_stats), free(a);
}

static void linear_layers(void)
{
    /* R, N, K: OpenBLAS's; tiles with 3, 2 and 1 vectors, odd rows, depths of one and of several blocks, several pieces */
    const int64_t shape[][3] = {{5, 7, 3}, {600, 64, 48}, {1, 96, 2}, {533, 80, 112}, {391, 48, 400}, {1100, 304, 96}, {263, 16, 800}, {64, 10, 96}};
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
        int64_t R = shape[s][0], N = shape[s][1], K = shape[s][2];
        float *x = random_f(R * K, -1, 1), *W = random_f(N * K, -1, 1), *b = random_f(N, -1, 1), *y = random_f(R * N, 0, 0);
        float *dy = random_f(R * N, -1, 1), *dx = random_f(R * K, 0, 0), *dW = random_f(N * K, 0, 0), *db = random_f(N, 0, 0);
        double *xd = as_double(x, R * K), *Wd = as_double(W, N * K), *bd = as_double(b, N), *want = malloc(sizeof *want * (size_t)(R * N));
        ref_linear(want, xd, Wd, bd, R, N, K);
        linear_forward(y, x, W, b, R, N, K);
        EXPECT(difference(y, want, R * N) < 2e-6, "forward");
        linear_backward(dx, false, dW, db, dy, x, W, R, N, K);
        double worst = 0.0;
        for (int64_t i = 0; i < R * K; i++) {
            double sum = 0.0;
            for (int64_t n = 0; n < N; n++) sum += (double)dy[i / K * N + n] * W[n * K + i % K];
            worst = fmax(worst, fabs(sum - dx[i]));
        }
        for (int64_t i = 0; i < N * K; i++) {
            double sum = 0.0;
            for (int64_t r = 0; r < R; r++) sum += (double)dy[r * N + i / K] * x[r * K + i % K];
            worst = fmax(worst, fabs(sum - dW[i]));
        }
        for (int64_t n = 0; n < N; n++) {
            double sum = 0.0;
            for (int64_t r = 0; r < R; r++) sum += dy[r * N + n];
            worst = fmax(worst, fabs(sum - db[n]));
        }
        EXPECT(worst < 3e-4, "backward of %lld x %lld x %lld: %g", (long long)R, (long long)N, (long long)K, worst);
        float *twice = random_f(R * K, 0, 0);
        memcpy(twice, dx, sizeof(float) * (size_t)(R * K));
        linear_backward(twice, true, NULL, NULL, dy, x, W, R, N, K);
        for (int64_t i = 0; i < R * K; i++) EXPECT_NEAR(twice[i], 2 * dx[i], 1e-4);
        free(twice);
        free(x), free(W), free(b), free(y), free(dy), free(dx), free(dW), free(db), free(xd), free(Wd), free(bd), free(want);
    }
}

/* The number of threads decides how a product is cut, never what comes out. */
static void linear_bits(void)
{
    const int64_t shape[][3] = {{1111, 96, 400}, {300, 48, 96}, {70, 304, 1000}};
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
        int64_t R = shape[s][0], N = shape[s][1], K = shape[s][2];
        float *x = random_f(R * K, -1, 1), *W = random_f(N * K, -1, 1), *b = random_f(N, -1, 1), *dy = random_f(R * N, -1, 1), *out[2][4];
        for (int k = 0; k < 2; k++) {
            kern_init(k ? 3 : 1);
            out[k][0] = random_f(R * N, 0, 0), out[k][1] = random_f(R * K, 0, 0), out[k][2] = random_f(N * K, 0, 0);
            out[k][3] = random_f(N, 0, 0);
            linear_forward(out[k][0], x, W, b, R, N, K);
            linear_backward(out[k][1], false, out[k][2], out[k][3], dy, x, W, R, N, K);
        }
        kern_init(1);
        const int64_t n[4] = {R * N, R * K, N * K, N};
        for (int i = 0; i < 4; i++) {
            EXPECT(memcmp(out[0][i], out[1][i], sizeof(float) * (size_t)n[i]) == 0, "result %d of shape %zu depends on the threads", i, s);
            free(out[0][i]), free(out[1][i]);
        }
        free(x), free(W), free(b), free(dy);
    }
}

static window_grid grid_make(int H, int W, int ws, int shift, arena *a)
{
    arena plan = {0};
    window_grid g;
    window_grid_place(&g, H, W, ws, shift, &plan);
    EXPECT_OK(arena_init(a, plan.used, "grid"));
    window_grid_place(&g, H, W, ws, shift, a);
    EXPECT(a->used == plan.used, "measured %zu, used %zu", plan.used, a->used);
    return g;
}

static void window_maps(void)
{
    const int sides[] = {3, 7, 8, 9, 14, 16, 20};
    for (int iy = 0; iy < 7; iy++)
        for (int ix = 0; ix < 7; ix++)
            for (int ws = 7; ws <= 8; ws++)
                for (int shift = 0; shift < ws; shift += ws / 2) {
                    arena a;
                    int src[32 * 32], region[32 * 32];
                    window_grid g = grid_make(sides[iy], sides[ix], ws, shift, &a);
                    int n = ref_windows(src, region, sides[iy], sides[ix], ws, shift), bad = 0;
                    EXPECT(n == g.n_windows, "%d windows, wanted %d", g.n_windows, n);
                    for (int i = 0; i < n * g.N; i++) bad += src[i] != g.src[i];
                    for (int w = 0; w < n; w++)
                        for (int j = 0; j < g.N; j++)
                            for (int i = 0; i < g.N; i++) {
                                float m = g.mask[(g.kind[w] * g.N + j) * g.Np + i];
                                bad += m != (region[w * g.N + i] != region[w * g.N + j] ? -100.0f : 0.0f);
                            }
                    EXPECT(bad == 0, "grid %dx%d window %d shift %d: %d entries differ", sides[iy], sides[ix], ws, shift, bad);
                    arena_free(&a);
                }
}

typedef struct attention_case { double *qkv, *table, *tau; bool v2; int *region, n, N, ws, heads, d; } attention_case;
static void attention_twin(void *ctx, double *o)
{
    attention_case *k = ctx;
    double *bias = malloc(sizeof *bias * (size_t)(k->heads * k->N * k->N));
    int C = k->heads * k->d;
    ref_bias(bias, k->table, k->ws, k->heads, k->v2);
    for (int w = 0; w < k->n; w++)
        ref_attention(o + w * k->N * C, k->qkv + w * k->N * 3 * C, bias, k->region + w * k->N, k->v2 ? k->tau : NULL, k->N, k->heads, k->d);
    free(bias);
}

static void attention_check(int H, int W, int ws, int heads, int d, bool v2)
{
    arena a;
    window_grid g = grid_make(H, W, ws, ws / 2, &a);
    int n = g.n_windows, N = g.N, C = heads * d, T = (2 * ws - 1) * (2 * ws - 1), src[4096], region[4096];
    ref_windows(src, region, H, W, ws, ws / 2);
    int64_t n_qkv = (int64_t)n * N * 3 * C, n_o = (int64_t)n * N * C, n_bias = (int64_t)heads * N * g.Np;
    float *qkv = random_f(n_qkv, -1.5, 1.5), *table = random_f(T * heads, -1, 1), *tau = random_f(heads, 3, 8), *bias = random_f(n_bias, 0, 0);
    float *o = random_f(n_o, 0, 0), *d_o = random_f(n_o, -1, 1), *dqkv = random_f(n_qkv, 0, 0), *dbias = random_f(n_bias, 0, 0);
    float *dtable = random_f(T * heads, 0, 0), *dtau = random_f(heads, 0, 0), *part = random_f(window_scratch(&g, heads), 5, 6);
    attention_case k = {as_double(qkv, n_qkv), as_double(table, T * heads), as_double(tau, heads), v2, region, n, N, ws, heads, d};
    double *want = malloc(sizeof *want * (size_t)n_o);
    attention_twin(&k, want);
    window_bias_forward(bias, table, ws, heads, v2);
    window_attention_forward(o, qkv, bias, v2 ? tau : NULL, &g, n, heads, d);
    EXPECT(difference(o, want, n_o) < 3e-6, "forward %g", difference(o, want, n_o));
    window_attention_backward(dqkv, dbias, dtau, d_o, qkv, bias, v2 ? tau : NULL, &g, n, heads, d, part);
    window_bias_backward(dtable, dbias, table, ws, heads, v2);
    double *gt = slopes(attention_twin, &k, k.table, T * heads, d_o, n_o);
    EXPECT(difference(dtable, gt, T * heads) < 1e-5, "table %g", difference(dtable, gt, T * heads));
    free(gt);
    if (v2) {
        double *gtau = slopes(attention_twin, &k, k.tau, heads, d_o, n_o);
        double enough = N > 32 ? 1e-4 : 1e-5; /* one sum of thousands, which cancel */
        EXPECT(difference(dtau, gtau, heads) < enough, "tau %g", difference(dtau, gtau, heads));
        free(gtau);
    }
    int64_t most = N > 32 ? 100 : 600, some = n_qkv < most ? n_qkv : most; /* differences are expensive: stretches of the first and the last window, or all */
    for (int64_t at = 0; at <= n_qkv - some; at += n_qkv > some ? n_qkv - some : 1) {
        double *gq = slopes(attention_twin, &k, k.qkv + at, some, d_o, n_o);
        EXPECT(difference(dqkv + at, gq, some) < 1e-5, "qkv from %lld: %g", (long long)at, difference(dqkv + at, gq, some));
        free(gq);
    }
    free(want), free(k.qkv), free(k.table), free(k.tau);
    free(qkv), free(table), free(tau), free(bias), free(o), free(d_o), free(dqkv), free(dbias), free(dtable), free(dtau), free(part);
    arena_free(&a);
}

static void attention(void)
{
    for (int v2 = 0; v2 < 2; v2++) {
        attention_check(2, 4, 2, 2, 16, v2);
        attention_check(5, 4, 3, 1, 32, v2);
        attention_check(7, 7, 5, 1, 48, v2); /* three vectors of channels, two of queries */
        attention_check(7, 7, 7, 1, 16, v2); /* 48 queries in vectors, one left over */
        attention_check(8, 9, 7, 1, 16, v2); /* and all masks */
    }
}

/* Forward alone at the real window sizes, and a padding row whose key is zero. */
static void attention_large(void)
{
    for (int v2 = 0; v2 < 2; v2++)
        for (int ws = 7; ws <= 8; ws++) {
            arena a;
            window_grid g = grid_make(9, 15, ws, ws / 2, &a);
            int heads = 2, d = ws == 7 ? 32 : 16, N = g.N, C = heads * d, T = (2 * ws - 1) * (2 * ws - 1), src[4096], region[4096];
            ref_windows(src, region, 9, 15, ws, ws / 2);
            int64_t n_qkv = (int64_t)g.n_windows * N * 3 * C, n_o = (int64_t)g.n_windows * N * C;
            float *qkv = random_f(n_qkv, -1.5, 1.5), *table = random_f(T * heads, -1, 1), *tau = random_f(heads, 3, 8), *o = random_f(n_o, 0, 0);
            float *bias = random_f(heads * N * g.Np, 0, 0), *part = random_f(window_scratch(&g, heads), 0, 0), *dqkv = random_f(n_qkv, 0, 0);
            float dtau[2], *dbias = random_f(heads * N * g.Np, 0, 0);
            memset(qkv + C, 0, sizeof(float) * (size_t)C); /* key of token 0 */
            attention_case k = {as_double(qkv, n_qkv), as_double(table, T * heads), as_double(tau, heads), v2, region, g.n_windows, N, ws, heads, d};
            double *want = malloc(sizeof *want * (size_t)n_o);
            attention_twin(&k, want);
            window_bias_forward(bias, table, ws, heads, v2);
            window_attention_forward(o, qkv, bias, v2 ? tau : NULL, &g, g.n_windows, heads, d);
            EXPECT(difference(o, want, n_o) < 3e-6, "window %d: %g", ws, difference(o, want, n_o));
            window_attention_backward(dqkv, dbias, dtau, o, qkv, bias, v2 ? tau : NULL, &g, g.n_windows, heads, d, part);
            for (int64_t i = 0; i < n_qkv; i++) EXPECT(isfinite(dqkv[i]) && fabsf(dqkv[i]) < 100.0f, "gradient %g at %lld", dqkv[i], (long long)i);
            free(want), free(k.qkv), free(k.table), free(k.tau), free(qkv), free(table), free(tau), free(o), free(bias), free(part), free(dqkv), free(dbias);
            arena_free(&a);
        }
}

static volatile float small_one = 1e-30f, denormal = 1e-40f; /* no compiler multiplies them */

static void *product_there(void *out)
{
    *(float *)out = small_one * 1e-10f;
    return NULL;
}

/* Tiny numbers are zero on every thread that computes: where they are not, masked windows take thirty times as long on Intel's CPUs. */
static void denormals(void)
{
    float far = 1.0f;
    int kept = 0;
    pthread_t thread;
    kern_init(3);
#pragma omp parallel for num_threads(3) schedule(static, 1) reduction(+ : kept)
    for (int i = 0; i < 3; i++) kept += small_one * 1e-10f != 0.0f || denormal * 1e10f != 0.0f;
    EXPECT(kept == 0, "%d of 3 threads keep denormals", kept);
    EXPECT(pthread_create(&thread, NULL, product_there, &far) == 0 && pthread_join(thread, NULL) == 0 && far == 0.0f, "a new thread makes %g", far);
    kern_init(1);
}

/* OpenBLAS, built with OpenMP, sets the number of threads of all when it is told its own, and takes all when it is called from outside. */
static void threads(void)
{
    enum { N = 40 }; /* small and odd enough for OpenBLAS */
    float a[N * N] = {1}, b[N * N] = {2}, c[N * N];
    kern_init(3);
    for (int i = 0; i < 2; i++) {
        int n = 0;
#pragma omp parallel reduction(+ : n)
        n++;
        EXPECT(n == 3, "%d threads compute, not 3", n);
        kern_gemm(false, false, N - 1, N - 1, N - 1, 0.5f, a, N, b, N, 0.0f, c, N);
    }
    kern_init(1);
}

int main(void)
{
    draws = rng_open((rng_key){.seed = 1}, RNG_TEST, 0);
    kern_init(1);
    RUN(exp_and_phi);
    RUN(exp_and_phi_vectors);
    RUN(activations);
    RUN(norms);
    RUN(mapped_norms);
    RUN(linear_layers);
    RUN(linear_bits);
    RUN(window_maps);
    RUN(attention);
    RUN(attention_large);
    RUN(threads);
#if defined(__x86_64__) || defined(__aarch64__)
    RUN(denormals);
#endif
    kern_init(2);
    RUN(norms);
    RUN(attention);
    DONE();
}
