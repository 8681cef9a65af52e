/* test_solve: the probe's solvers against values of scikit-learn that make_solve.py stored, and against themselves on other threads.
 * Usage: test_solve ref/solve.txt */
#include "../../src/use/probe.h"
#include "../../src/use/solve.h"

#include "test.h"

#include <omp.h>

enum { MOST = 4096 };

static const char *path;
static uint32_t lcg;

static double u(void)
{
    lcg = lcg * 1664525u + 1013904223u;
    return (double)(lcg >> 8) / (1 << 24);
}

/* The generator of make_solve.py. */
static float *vectors(uint32_t seed, int n, int D)
{
    float *x = malloc(sizeof *x * (size_t)(n * D));
    lcg = seed;
    for (int i = 0; i < n * D; i++) x[i] = (float)((2 * u() - 1) * (i % D % 4 + 1)) + (float)(i % D % 3);
    return x;
}

static int32_t *labels(uint32_t seed, const float *x, int n, int D, int K)
{
    int32_t *y = malloc(sizeof *y * (size_t)n);
    lcg = seed;
    for (int i = 0; i < n; i++) {
        double best = -INFINITY;
        for (int k = 0; k < K; k++) {
            double v = (double)x[i * D + k] - k % 3 + 2 * (u() - 0.5);
            if (v > best) best = v, y[i] = k;
        }
    }
    for (int k = 0; k < K; k++) y[k] = k;
    return y;
}

/* The stored values `name`; NULL and a failed test if they are not there. */
static double *stored(const char *name, int n)
{
    FILE *f = fopen(path, "r");
    static double v[MOST];
    char line[256];
    int found = 0, count = -1;
    EXPECT(f != NULL, "%s", path);
    if (!f) return NULL;
    size_t length = strlen(name);
    while (!found && fgets(line, sizeof line, f))
        found = strncmp(line, name, length) == 0 && sscanf(line + length, " : %d", &count) == 1;
    EXPECT(found && count == n && n <= MOST, "%s: %d values, wanted %d", name, count, n);
    bool good = found && count == n && n <= MOST;
    for (int i = 0; good && i < n; i++) good = fscanf(f, "%lf", &v[i]) == 1;
    fclose(f);
    EXPECT(good, "%s: short", name);
    return good ? v : NULL;
}

static double worst(const double *got, const double *want, int n)
{
    double most = 0;
    for (int i = 0; want && i < n; i++) most = fmax(most, fabs(got[i] - want[i]) / (1 + fabs(want[i])));
    return want ? most : INFINITY;
}

static rows all_rows(const float *x, int n, int D)
{
    int64_t *at = malloc(sizeof *at * (size_t)n);
    for (int i = 0; i < n; i++) at[i] = i;
    return (rows){x, D, at, n};
}

static double *standardised(const rows *r, double *mean, double *inv)
{
    double *X = malloc(sizeof *X * (size_t)(r->n * r->D));
    scale_fit(r, mean, inv);
    for (int64_t i = 0; i < r->n; i++) scale_row(r->x + r->at[i] * r->D, r->D, mean, inv, X + i * r->D);
    return X;
}

static const struct { int n, D, K; } problems[] = {{60, 5, 2}, {80, 6, 4}, {12, 30, 3}, {40, 9, 2}};
enum { PROBLEMS = sizeof problems / sizeof *problems };
static const double strengths[] = {0.01, 1, 100};

/* Weights to 1e-6 of scikit-learn's Newton solver, probabilities to 1e-4 of its L-BFGS, which stops early. */
static void logistic_equals_sklearn(void)
{
    for (int i = 0; i < PROBLEMS; i++) {
        int n = problems[i].n, D = problems[i].D, K = problems[i].K, R = logistic_outputs(K);
        float *x = vectors(10 + (uint32_t)i, n, D), *test = vectors(30 + (uint32_t)i, 7, D);
        int32_t *y = labels(20 + (uint32_t)i, x, n, D, K);
        rows r = all_rows(x, n, D);
        double scale[2 * 64], W[4 * 32] = {0}, *X = standardised(&r, scale, scale + D);
        char name[64];
        snprintf(name, sizeof name, "scale %d", i);
        EXPECT(worst(scale, stored(name, 2 * D), 2 * D) < 1e-10, "%s", name);
        for (int c = 0; c < 3; c++) { /* each from where the one before ended */
            int steps;
            EXPECT_OK(logistic_fit(X, n, D, y, K, strengths[c], &(solve_limits){1e-11, 10000}, W, &steps));
            snprintf(name, sizeof name, "logistic %d %g", i, strengths[c]);
            double off = worst(W, stored(name, R * (D + 1)), R * (D + 1));
            EXPECT(off < 1e-6 && steps > 0, "%s: %g after %d steps", name, off, steps);
            double p[7 * 4], row[32];
            for (int t = 0; t < 7; t++) {
                double z[4], total = 0;
                scale_row(test + t * D, D, scale, scale + D, row);
                logistic_scores(W, D, K, row, z);
                for (int k = 0; k < K; k++) total += exp(z[k] - z[0]);
                for (int k = 0; k < K; k++) p[t * K + k] = exp(z[k] - z[0]) / total;
            }
            snprintf(name, sizeof name, "probability %d %g", i, strengths[c]);
            off = worst(p, stored(name, 7 * K), 7 * K);
            EXPECT(off < 1e-4, "%s: %g", name, off);
        }
        free(x), free(test), free(y), free(X), free((int64_t *)r.at);
    }
}

/* What the command stops at is near enough: probabilities within 1e-3. */
static void limits_of_the_command(void)
{
    for (int i = 0; i < PROBLEMS; i++) {
        int n = problems[i].n, D = problems[i].D, K = problems[i].K;
        float *x = vectors(10 + (uint32_t)i, n, D);
        int32_t *y = labels(20 + (uint32_t)i, x, n, D, K);
        rows r = all_rows(x, n, D);
        double scale[2 * 64], W[2][4 * 32] = {{0}}, *X = standardised(&r, scale, scale + D), most = 0;
        EXPECT_OK(logistic_fit(X, n, D, y, K, 1, &(solve_limits){1e-6, 1000}, W[0], NULL));
        EXPECT_OK(logistic_fit(X, n, D, y, K, 1, &(solve_limits){1e-12, 10000}, W[1], NULL));
        for (int s = 0; s < n; s++) {
            double z[2][4];
            for (int k = 0; k < 2; k++) logistic_scores(W[k], D, K, X + s * D, z[k]);
            for (int k = 1; k < K; k++) most = fmax(most, fabs((z[0][k] - z[0][0]) - (z[1][k] - z[1][0])));
        }
        EXPECT(most < 1e-3, "problem %d: log odds off by %g", i, most);
        free(x), free(y), free(X), free((int64_t *)r.at);
    }
}

/* Samples with y < 0 are as if they were not there. */
static void left_out(void)
{
    enum { n = 60, D = 5 };
    float *x = vectors(10, n, D);
    int32_t *y = labels(20, x, n, D, 2);
    rows r = all_rows(x, n, D);
    double mean[D], inv[D], *X = standardised(&r, mean, inv), few[D + 1] = {0}, all[D + 1] = {0};
    solve_limits until = {1e-12, 10000};
    for (int i = 40; i < n; i++) y[i] = -1;
    EXPECT_OK(logistic_fit(X, n, D, y, 2, 1, &until, all, NULL));
    EXPECT_OK(logistic_fit(X, 40, D, y, 2, 1, &until, few, NULL));
    EXPECT(worst(all, few, D + 1) < 1e-9, "%g", worst(all, few, D + 1));
    free(x), free(y), free(X), free((int64_t *)r.at);
}

static void ridge_equals_sklearn(void)
{
    static const struct { int n, D; } sizes[] = {{50, 6}, {8, 20}};
    for (int i = 0; i < 2; i++) {
        int n = sizes[i].n, D = sizes[i].D;
        float *x = vectors(40 + (uint32_t)i, n, D);
        double X[50 * 20], y[50], W[3 * 21], alpha[3] = {0.01, 1, 100};
        lcg = 50 + (uint32_t)i;
        for (int k = 0; k < n * D; k++) X[k] = (double)x[k];
        for (int k = 0; k < n; k++) y[k] = 3 * X[k * D] - X[k * D + 1] + 40 + u();
        EXPECT_OK(ridge_fit(X, n, D, y, alpha, 3, W));
        for (int a = 0; a < 3; a++) {
            char name[64];
            snprintf(name, sizeof name, "ridge %d %g", i, alpha[a]);
            double off = worst(W + a * (D + 1), stored(name, D + 1), D + 1);
            EXPECT(off < 1e-9, "%s: %g", name, off);
        }
        free(x);
    }
}

static void neighbours_equal_sklearn(void)
{
    float *x = vectors(60, 30, 5), *test = vectors(61, 15, 5);
    int32_t *y = labels(62, x, 30, 5, 3);
    rows a = all_rows(x, 30, 5), b = all_rows(test, 15, 5);
    static const int counts[] = {1, 5, 20};
    for (int i = 0; i < 3; i++) {
        double p[15 * 3];
        char name[64];
        EXPECT_OK(neighbours(&a, y, &b, 3, counts[i], p));
        snprintf(name, sizeof name, "neighbours %d", counts[i]);
        EXPECT(worst(p, stored(name, 45), 45) < 1e-12, "%s", name);
    }
    free(x), free(test), free(y), free((int64_t *)a.at), free((int64_t *)b.at);
}

/* Rows are picked by number; equal ones count in their order. */
static void picked_rows(void)
{
    static const float x[] = {1, 0, 0, 1, 2, 0, -1, 0}; /* 0 and 2 point the same way */
    static const int32_t y[] = {1, 0, 2};
    double p[2 * 3];
    rows train = {x, 2, (int64_t[]){2, 1, 0}, 3}, test = {x, 2, (int64_t[]){0, 1}, 2};
    EXPECT_OK(neighbours(&train, y, &test, 3, 1, p));
    EXPECT(p[1] == 1 && p[0] == 0 && p[3] == 1, "%g %g %g", p[0], p[1], p[3]);
}

static void quantiles_equal_scipy(void)
{
    static const int more[] = {31, 40, 99, 999};
    double t[34];
    for (int i = 0; i < 34; i++) t[i] = band_t975(i < 30 ? i + 1 : more[i - 30]);
    EXPECT(worst(t, stored("student", 34), 34) < 1e-6, "%g", worst(t, stored("student", 34), 34));
    EXPECT(isnan(band_t975(0)), "none without freedom");
}

static void same_bits_on_any_threads(void)
{
    enum { n = 300, D = 200, K = 3 };
    float *x = vectors(70, n, D);
    int32_t *y = labels(71, x, n, D, K);
    rows r = all_rows(x, n, D);
    static double W[2][K * (D + 1)], w[2][D + 1], p[2][n * K], target[n];
    double mean[D], inv[D], *X = standardised(&r, mean, inv), alpha = 1;
    for (int i = 0; i < n; i++) target[i] = y[i];
    for (int t = 0; t < 2; t++) {
        omp_set_num_threads(t ? 3 : 1);
        EXPECT_OK(logistic_fit(X, n, D, y, K, 1, &(solve_limits){1e-6, 50}, W[t], NULL));
        EXPECT_OK(ridge_fit(X, n, D, target, &alpha, 1, w[t]));
        EXPECT_OK(neighbours(&r, y, &r, K, 5, p[t]));
    }
    EXPECT(memcmp(W[0], W[1], sizeof W[0]) == 0 && memcmp(w[0], w[1], sizeof w[0]) == 0 && memcmp(p[0], p[1], sizeof p[0]) == 0, "bits");
    free(x), free(y), free(X), free((int64_t *)r.at);
}

/* A column without variation is no division by zero. */
static void constant_column(void)
{
    float x[8] = {1, 0.1f, 2, 0.1f, 3, 0.1f, 6, 0.1f};
    rows r = all_rows(x, 4, 2);
    double mean[2], inv[2], z[2];
    scale_fit(&r, mean, inv);
    scale_row(x, 2, mean, inv, z);
    EXPECT(inv[1] == 1 && fabs(z[1]) < 1e-7, "%g %g", inv[1], z[1]);
    EXPECT_NEAR(z[0], -2 / sqrt(3.5), 1e-12);
    free((int64_t *)r.at);
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    path = argv[1];
    RUN(logistic_equals_sklearn);
    RUN(limits_of_the_command);
    RUN(left_out);
    RUN(ridge_equals_sklearn);
    RUN(neighbours_equal_sklearn);
    RUN(picked_rows);
    RUN(quantiles_equal_scipy);
    RUN(same_bits_on_any_threads);
    RUN(constant_column);
    DONE();
}
