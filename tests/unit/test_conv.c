/* test_conv: the convolution against a plain loop over taps, its folded inputs against the steps one by one, bits against threads. */
#include "medley/kern.h"
#include "test.h"

typedef struct vec { float *p; int64_t n; } vec;

static vec random_vec(int64_t n, uint32_t sub)
{
    vec v = {malloc((size_t)n * sizeof(float)), n};
    rng r = rng_open((rng_key){7, (uint32_t)n, 0}, RNG_TEST, sub);
    for (int64_t i = 0; i < n; i++) v.p[i] = 2.0f * rng_uniform(&r) - 1.0f;
    return v;
}

static vec zero_vec(int64_t n) { return (vec){calloc((size_t)n, sizeof(float)), n}; }

static double worst(const float *got, const double *want, int64_t n)
{
    double most = 0, scale = 1e-9;
    for (int64_t i = 0; i < n; i++) scale = fmax(scale, fabs(want[i]));
    for (int64_t i = 0; i < n; i++) {
        double d = fabs(got[i] - want[i]);
        most = fmax(most, isnan(d) ? INFINITY : d);
    }
    return most / scale;
}

/* All three products by definition, in double, for one grid. Any of dx, dw, y may be NULL. */
static void plain(int B, int H, int W, int Ci, int Co, int stride, const float *x, const float *w, const float *b, const float *dy,
                  double *y, double *dx, double *dw, double *db)
{
    int Ho = (H + stride - 1) / stride, Wo = (W + stride - 1) / stride;
    for (int i = 0; i < B; i++)
        for (int r = 0; r < Ho; r++)
            for (int q = 0; q < Wo; q++)
                for (int o = 0; o < Co; o++) {
                    int64_t at = (((int64_t)i * Ho + r) * Wo + q) * Co + o;
                    if (y) y[at] = b ? b[o] : 0;
                    if (db) db[o] += dy[at];
                    for (int t = 0; t < 9; t++) {
                        int yy = r * stride + t / 3 - 1, xx = q * stride + t % 3 - 1;
                        if (yy < 0 || yy >= H || xx < 0 || xx >= W) continue;
                        int64_t in = (((int64_t)i * H + yy) * W + xx) * Ci;
                        for (int c = 0; c < Ci; c++) {
                            int64_t wi = ((int64_t)o * Ci + c) * 9 + t;
                            if (y) y[at] += (double)x[in + c] * w[wi];
                            if (dx) dx[in + c] += (double)dy[at] * w[wi];
                            if (dw) dw[wi] += (double)dy[at] * x[in + c];
                        }
                    }
                }
}

static void check_shape(int B, int H, int W, int Ci, int Co, int stride)
{
    conv c = conv_plan(B, 1, (const int[][2]){{H, W}}, Ci, Co, stride);
    vec x = random_vec(c.in_pixels * Ci, 1), w = random_vec((int64_t)Co * Ci * 9, 2), b = random_vec(Co, 3), dy = random_vec(c.out_pixels * Co, 4);
    vec y = zero_vec(c.out_pixels * Co), dx = zero_vec(x.n), dw = zero_vec(w.n), db = zero_vec(Co), scratch = zero_vec(conv_scratch(&c, true) + 16);
    double *wy = calloc((size_t)y.n, sizeof(double)), *wdx = calloc((size_t)x.n, sizeof(double)), *wdw = calloc((size_t)w.n, sizeof(double));
    double *wdb = calloc((size_t)Co, sizeof(double));
    for (int i = 0; i < 16; i++) scratch.p[scratch.n - 16 + i] = 12345.0f;
    conv_in in = {.x = x.p, .C = Ci};
    conv_out out = {.d = dx.p, .C = Ci};
    for (int64_t i = 0; i < dx.n; i++) dx.p[i] = NAN; /* set, not added */
    conv_forward(&c, y.p, &in, 1, w.p, b.p, scratch.p);
    conv_backward_input(&c, &out, 1, dy.p, w.p, scratch.p);
    conv_backward_weight(&c, dw.p, db.p, dy.p, &in, 1, scratch.p);
    plain(B, H, W, Ci, Co, stride, x.p, w.p, b.p, dy.p, wy, wdx, wdw, wdb);
    const double tol = 2e-5;
    EXPECT(worst(y.p, wy, y.n) < tol, "forward %dx%dx%d %d->%d stride %d: %g", B, H, W, Ci, Co, stride, worst(y.p, wy, y.n));
    EXPECT(worst(dx.p, wdx, dx.n) < tol, "dx %dx%dx%d %d->%d stride %d: %g", B, H, W, Ci, Co, stride, worst(dx.p, wdx, dx.n));
    EXPECT(worst(dw.p, wdw, dw.n) < tol, "dw %dx%dx%d %d->%d stride %d: %g", B, H, W, Ci, Co, stride, worst(dw.p, wdw, dw.n));
    EXPECT(worst(db.p, wdb, Co) < tol, "db %dx%dx%d %d->%d stride %d: %g", B, H, W, Ci, Co, stride, worst(db.p, wdb, Co));
    for (int i = 0; i < 16; i++) EXPECT(scratch.p[scratch.n - 16 + i] == 12345.0f, "scratch overrun");
    vec *all[] = {&x, &w, &b, &dy, &y, &dx, &dw, &db, &scratch};
    for (int i = 0; i < 9; i++) free(all[i]->p);
    free(wy), free(wdx), free(wdw), free(wdb);
}

static void test_shapes(void)
{
    static const int shape[][6] = {
        {1, 1, 1, 1, 1, 1},    {2, 8, 8, 16, 16, 1},  {1, 5, 7, 3, 5, 1},    {2, 16, 16, 19, 16, 1}, {1, 20, 33, 40, 70, 1}, {1, 3, 2, 128, 128, 1},
        {2, 6, 10, 300, 48, 1}, {1, 6, 4, 20, 300, 1}, {1, 4, 300, 16, 2, 1}, {1, 200, 9, 130, 33, 1},
        /* minimal filtering: odd height, several passes of input channels, several columns of output channels, both, several strips */
        {1, 15, 10, 48, 32, 1}, {2, 8, 16, 304, 64, 1}, {1, 16, 8, 32, 304, 1}, {1, 12, 12, 272, 160, 1}, {1, 41, 34, 64, 96, 1},
        {2, 8, 10, 32, 48, 2}, {1, 5, 4, 16, 16, 2},  {1, 1, 1, 8, 8, 2},    {1, 2, 1, 33, 17, 2},   {3, 7, 9, 150, 20, 2},
    };
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        check_shape(shape[i][0], shape[i][1], shape[i][2], shape[i][3], shape[i][4], shape[i][5]);
}

/* Finite differences of sum(y * dy): the gradients are derivatives of the forward pass itself. */
static void differences(int stride)
{
    enum { B = 1, H = 5, W = 6, CI = 3, CO = 4 };
    conv c = conv_plan(B, 1, (const int[][2]){{H, W}}, CI, CO, stride);
    vec x = random_vec(c.in_pixels * CI, 1), w = random_vec(CO * CI * 9, 2), dy = random_vec(c.out_pixels * CO, 3), y = zero_vec(dy.n);
    vec dx = zero_vec(x.n), dw = zero_vec(w.n), scratch = zero_vec(conv_scratch(&c, true));
    conv_in in = {.x = x.p, .C = CI};
    conv_backward_input(&c, &(conv_out){.d = dx.p, .C = CI}, 1, dy.p, w.p, scratch.p);
    conv_backward_weight(&c, dw.p, NULL, dy.p, &in, 1, scratch.p);
    for (int which = 0; which < 2; which++) {
        vec v = which ? w : x, g = which ? dw : dx;
        for (int64_t i = 0; i < v.n; i += 5) {
            double sum[2];
            float keep = v.p[i];
            for (int s = 0; s < 2; s++) {
                v.p[i] = keep + (s ? -0.25f : 0.25f); /* linear: the step need not be small */
                conv_forward(&c, y.p, &in, 1, w.p, NULL, scratch.p);
                sum[s] = 0;
                for (int64_t j = 0; j < y.n; j++) sum[s] += (double)y.p[j] * dy.p[j];
            }
            v.p[i] = keep;
            EXPECT_NEAR(g.p[i], (sum[0] - sum[1]) / 0.5, 1e-4);
        }
    }
    free(x.p), free(w.p), free(dy.p), free(y.p), free(dx.p), free(dw.p), free(scratch.p);
}

static void test_finite_stride1(void) { differences(1); }
static void test_finite_stride2(void) { differences(2); }

/* relu(norm(up-sampled)) ++ skip ++ image through one call equals the steps one by one. */
static void folded(int CU, int CS, int CI, int CO)
{
    enum { B = 2, H = 12, W = 16 };
    int C = CU + CS + CI;
    conv c = conv_plan(B, 1, (const int[][2]){{H, W}}, C, CO, 1);
    vec deep = random_vec(B * H * W / 4 * CU, 1), skip = random_vec(B * H * W * CS, 2), image = random_vec(B * H * W * CI, 3);
    vec w = random_vec(CO * C * 9, 4), dy = random_vec(c.out_pixels * CO, 5), scale = random_vec(B * CU, 6), shift = random_vec(B * CU, 7);
    vec cat = zero_vec(c.in_pixels * C), big = zero_vec(c.in_pixels * CU), y1 = zero_vec(dy.n), y2 = zero_vec(dy.n);
    vec scratch = zero_vec(conv_scratch(&c, true)), act = zero_vec(deep.n), dw1 = zero_vec(w.n), dw2 = zero_vec(w.n);
    vec dcat = zero_vec(cat.n), dbig = zero_vec(big.n), ddeep1 = zero_vec(deep.n), ddeep2 = zero_vec(deep.n), dskip = zero_vec(skip.n);
    norm_relu_forward(act.p, deep.p, scale.p, shift.p, B, H * W / 4, CU);
    upsample2_forward(big.p, false, act.p, B, H / 2, W / 2, CU);
    for (int64_t p = 0; p < c.in_pixels; p++) {
        memcpy(cat.p + p * C, big.p + p * CU, (size_t)CU * sizeof(float));
        memcpy(cat.p + p * C + CU, skip.p + p * CS, (size_t)CS * sizeof(float));
        memcpy(cat.p + p * C + CU + CS, image.p + p * CI, (size_t)CI * sizeof(float));
    }
    conv_in plain_in = {.x = cat.p, .C = C};
    conv_in in[3] = {{.x = deep.p, .C = CU, .up = true, .scale = scale.p, .shift = shift.p, .relu = true}, {.x = skip.p, .C = CS}, {.x = image.p, .C = CI}};
    conv_forward(&c, y1.p, &plain_in, 1, w.p, NULL, scratch.p);
    conv_forward(&c, y2.p, in, 3, w.p, NULL, scratch.p);
    EXPECT(!memcmp(y1.p, y2.p, (size_t)y1.n * sizeof(float)), "folded forward differs");
    conv_backward_weight(&c, dw1.p, NULL, dy.p, &plain_in, 1, scratch.p);
    conv_backward_weight(&c, dw2.p, NULL, dy.p, in, 3, scratch.p);
    EXPECT(!memcmp(dw1.p, dw2.p, (size_t)dw1.n * sizeof(float)), "folded weight gradient differs");
    conv_backward_input(&c, &(conv_out){.d = dcat.p, .C = C}, 1, dy.p, w.p, scratch.p);
    for (int64_t i = 0; i < dskip.n; i++) dskip.p[i] = 1.0f;
    conv_backward_input(&c, (conv_out[]){{.d = ddeep2.p, .C = CU, .up = true}, {.d = dskip.p, .C = CS, .add = true}, {.d = NULL, .C = CI}}, 3,
                        dy.p, w.p, scratch.p);
    for (int64_t p = 0; p < c.in_pixels; p++) {
        memcpy(dbig.p + p * CU, dcat.p + p * C, (size_t)CU * sizeof(float));
        for (int i = 0; i < CS; i++) EXPECT_NEAR(dskip.p[p * CS + i], 1.0f + dcat.p[p * C + CU + i], 1e-5);
    }
    upsample2_backward(ddeep1.p, false, dbig.p, B, H / 2, W / 2, CU);
    for (int64_t i = 0; i < ddeep1.n; i++) EXPECT_NEAR(ddeep2.p[i], ddeep1.p[i], 1e-4);
    vec *all[] = {&deep, &skip, &image, &w, &dy, &scale, &shift, &cat, &big, &y1, &y2, &scratch, &act, &dw1, &dw2, &dcat, &dbig, &ddeep1, &ddeep2, &dskip};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]->p);
}

static void test_folded(void)
{
    folded(32, 21, 3, 16);
    folded(48, 24, 24, 32); /* minimal filtering; the wanted gradients end within a block of 16 */
}

/* Grids that share one call give what each alone gives. */
static void grids(int CI, int CO)
{
    enum { B = 2, N = 4 };
    static const int size[N][2] = {{18, 24}, {9, 12}, {5, 6}, {1, 1}};
    for (int stride = 1; stride < 3; stride++) {
        conv all = conv_plan(B, N, size, CI, CO, stride);
        vec x = random_vec(all.in_pixels * CI, 1), w = random_vec((int64_t)CO * CI * 9, 2), dy = random_vec(all.out_pixels * CO, 3);
        vec y = zero_vec(dy.n), y1 = zero_vec(dy.n), dx = zero_vec(x.n), dx1 = zero_vec(x.n), dw = zero_vec(w.n), dw1 = zero_vec(w.n);
        vec scratch = zero_vec(conv_scratch(&all, true));
        conv_in in = {.x = x.p, .C = CI, .relu = true};
        conv_forward(&all, y.p, &in, 1, w.p, NULL, scratch.p);
        conv_backward_input(&all, &(conv_out){.d = dx.p, .C = CI}, 1, dy.p, w.p, scratch.p);
        conv_backward_weight(&all, dw.p, NULL, dy.p, &in, 1, scratch.p);
        for (int g = 0; g < N; g++) {
            conv c = conv_plan(B, 1, size + g, CI, CO, stride);
            int64_t i = all.grid[g].in * CI, o = all.grid[g].out * CO;
            vec s = zero_vec(conv_scratch(&c, true));
            conv_in one = {.x = x.p + i, .C = CI, .relu = true};
            conv_forward(&c, y1.p + o, &one, 1, w.p, NULL, s.p);
            conv_backward_input(&c, &(conv_out){.d = dx1.p + i, .C = CI}, 1, dy.p + o, w.p, s.p);
            conv_backward_weight(&c, dw1.p, NULL, dy.p + o, &one, 1, s.p);
            free(s.p);
        }
        EXPECT(!memcmp(y.p, y1.p, (size_t)y.n * sizeof(float)), "forward differs, stride %d", stride);
        EXPECT(!memcmp(dx.p, dx1.p, (size_t)dx.n * sizeof(float)), "dx differs, stride %d", stride);
        for (int64_t i = 0; i < dw.n; i++) EXPECT_NEAR(dw.p[i], dw1.p[i], 1e-4);
        free(x.p), free(w.p), free(dy.p), free(y.p), free(y1.p), free(dx.p), free(dx1.p), free(dw.p), free(dw1.p), free(scratch.p);
    }
}

static void test_grids(void)
{
    grids(24, 40);
    grids(48, 64); /* minimal filtering in the first grid, not in the others */
}

/* norm + ReLU: values by definition in double, gradients by finite differences of those. */
static double norm_by_definition(const float *z, const float *gamma, const float *beta, const float *dy, int P, int C, double *y)
{
    double mean = 0, var = 0, sum = 0;
    for (int i = 0; i < P * C; i++) mean += z[i] / (double)(P * C);
    for (int i = 0; i < P * C; i++) var += (z[i] - mean) * (z[i] - mean) / (P * C);
    for (int i = 0; i < P * C; i++) {
        double v = (z[i] - mean) / sqrt(var + 1e-5) * gamma[i % C] + beta[i % C];
        y[i] = v > 0 ? v : 0;
        sum += y[i] * dy[i];
    }
    return sum;
}

static void test_norm_relu(void)
{
    enum { B = 2, P = 100, C = 20 };
    vec z = random_vec(B * P * C, 1), gamma = random_vec(C, 2), beta = random_vec(C, 3), dy = random_vec(B * P * C, 4), y = zero_vec(B * P * C);
    vec scale = zero_vec(B * C), shift = zero_vec(B * C), stats = zero_vec(B * 2), work = zero_vec(norm_relu_work(B, C));
    vec d = zero_vec(dy.n), dgamma = zero_vec(C), dbeta = zero_vec(C);
    double *want = calloc(B * P * C, sizeof(double)), *junk = calloc(P * C, sizeof(double));
    for (int64_t i = 0; i < z.n; i++) z.p[i] += 3.0f; /* a mean that is not small */
    norm_relu_prepare(scale.p, shift.p, stats.p, z.p, gamma.p, beta.p, B, P, C, 1e-5f, work.p);
    norm_relu_forward(y.p, z.p, scale.p, shift.p, B, P, C);
    for (int b = 0; b < B; b++) norm_by_definition(z.p + b * P * C, gamma.p, beta.p, dy.p + b * P * C, P, C, want + b * P * C);
    EXPECT(worst(y.p, want, y.n) < 1e-5, "forward %g", worst(y.p, want, y.n));
    memcpy(d.p, dy.p, (size_t)d.n * sizeof(float));
    norm_relu_backward(d.p, dgamma.p, dbeta.p, z.p, scale.p, shift.p, stats.p, gamma.p, B, P, C, work.p);
    struct { vec v, g; } part[3] = {{z, d}, {gamma, dgamma}, {beta, dbeta}};
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < part[k].v.n; i += k ? 1 : 37) {
            float keep = part[k].v.p[i], eps = 1e-3f;
            double sum[2] = {0, 0};
            for (int s = 0; s < 2; s++) {
                part[k].v.p[i] = keep + (s ? -eps : eps);
                for (int b = 0; b < B; b++) sum[s] += norm_by_definition(z.p + b * P * C, gamma.p, beta.p, dy.p + b * P * C, P, C, junk);
            }
            part[k].v.p[i] = keep;
            EXPECT_NEAR(part[k].g.p[i], (sum[0] - sum[1]) / (2 * (double)eps), 2e-2 * (k ? 1 : 0.1) + 2e-2 * fabs(part[k].g.p[i]));
        }
    vec *all[] = {&z, &gamma, &beta, &dy, &y, &scale, &shift, &stats, &work, &d, &dgamma, &dbeta};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]->p);
    free(want), free(junk);
}

/* A value that is not finite must not be hidden by the folded ReLU. */
static void test_nan_stays(void)
{
    conv c = conv_plan(1, 1, (const int[][2]){{4, 4}}, 16, 16, 1);
    vec x = random_vec(16 * 16, 1), w = random_vec(16 * 16 * 9, 2), y = zero_vec(16 * 16), scratch = zero_vec(conv_scratch(&c, false));
    x.p[5 * 16 + 3] = NAN;
    conv_forward(&c, y.p, &(conv_in){.x = x.p, .C = 16, .relu = true}, 1, w.p, NULL, scratch.p);
    EXPECT(isnan(y.p[0]) && isnan(y.p[10 * 16]) && !isnan(y.p[15 * 16]), "NaN lost");
    free(x.p), free(w.p), free(y.p), free(scratch.p);
}

static void run_bits(int threads, vec *y, vec *dx, vec *dw)
{
    kern_init(threads);
    conv c = conv_plan(2, 2, (const int[][2]){{40, 24}, {10, 6}}, 144, 80, 1);
    vec x = random_vec(c.in_pixels * 144, 1), w = random_vec(80 * 144 * 9, 2), dy = random_vec(c.out_pixels * 80, 3);
    vec scratch = zero_vec(conv_scratch(&c, true));
    *y = zero_vec(dy.n), *dx = zero_vec(x.n), *dw = zero_vec(w.n);
    conv_in in = {.x = x.p, .C = 144};
    conv_forward(&c, y->p, &in, 1, w.p, NULL, scratch.p);
    conv_backward_input(&c, &(conv_out){.d = dx->p, .C = 144}, 1, dy.p, w.p, scratch.p);
    conv_backward_weight(&c, dw->p, NULL, dy.p, &in, 1, scratch.p);
    free(x.p), free(w.p), free(dy.p), free(scratch.p);
}

static void test_thread_bits(void)
{
    vec a[3], b[3];
    run_bits(1, a, a + 1, a + 2);
    run_bits(2, b, b + 1, b + 2);
    kern_init(1);
    for (int i = 0; i < 3; i++) {
        EXPECT(!memcmp(a[i].p, b[i].p, (size_t)a[i].n * sizeof(float)), "result %d depends on the number of threads", i);
        free(a[i].p), free(b[i].p);
    }
}

int main(void)
{
    kern_init(1);
    RUN(test_shapes);
    RUN(test_finite_stride1);
    RUN(test_finite_stride2);
    RUN(test_folded);
    RUN(test_grids);
    RUN(test_norm_relu);
    RUN(test_nan_stays);
    RUN(test_thread_bits);
    DONE();
}
