/* solve_rows: ridge regression and nearest neighbours. */
#include "solve.h"
#include "solve_lanes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- ridge ----------------------------------------------------------------------------------------------------------------------- */

/* The lower half of A (m,m) becomes L with A = L L'. ST_NUMERIC: not positive. */
static status cholesky(double *A, int64_t m)
{
    for (int64_t j = 0; j < m; j++) {
        double *row = A + j * m, square = row[j] - dot(row, row, j);
        progress_beat();
        CHECK(square > 0, ST_NUMERIC, "ridge regression: the matrix is not positive definite (pivot %lld of %lld)", (long long)j, (long long)m);
        row[j] = sqrt(square);
#pragma omp parallel for schedule(static) if (m - j > 64)
        for (int64_t i = j + 1; i < m; i++) A[i * m + j] = (A[i * m + j] - dot(A + i * m, row, j)) / row[j];
    }
    return OK;
}

/* x with L L' x = b, in place. */
static void solve_lower(const double *L, int64_t m, double *b)
{
    for (int64_t i = 0; i < m; i++) b[i] = (b[i] - dot(L + i * m, b, i)) / L[i * m + i];
    for (int64_t i = m - 1; i >= 0; i--) {
        b[i] /= L[i * m + i];
        for (int64_t k = 0; k < i; k++) b[k] -= L[i * m + k] * b[i];
    }
}

typedef struct ridge {
    int64_t n, D, m;
    bool    dual;                   /* fewer samples than features: (XX' + alpha) a = y, w = X'a */
    double *X, *mean;               /* centred (n,D); (D) */
    double *y, middle;              /* centred (n); its mean */
    double *G, *A, *b;              /* lower half of X'X or XX' (m,m); the same with alpha, factored; (max(m, D)) */
} ridge;

static void centre(ridge *r, const double *X, const double *y)
{
    for (int64_t i = 0; i < r->n; i++) {
        r->middle += y[i];
        for (int64_t d = 0; d < r->D; d++) r->mean[d] += X[i * r->D + d];
    }
    r->middle /= (double)r->n;
    for (int64_t d = 0; d < r->D; d++) r->mean[d] /= (double)r->n;
    for (int64_t i = 0; i < r->n; i++) {
        r->y[i] = y[i] - r->middle;
        for (int64_t d = 0; d < r->D; d++) r->X[i * r->D + d] = X[i * r->D + d] - r->mean[d];
    }
}

static void gram(ridge *r)
{
    int64_t n = r->n, D = r->D, m = r->m;
    if (r->dual) {
#pragma omp parallel for schedule(dynamic)
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k <= i; k++) r->G[i * m + k] = dot(r->X + i * D, r->X + k * D, D);
        return;
    }
#pragma omp parallel for schedule(dynamic)
    for (int64_t d = 0; d < D; d++)
        for (int64_t i = 0; i < n; i++) add_scaled(r->G + d * m, r->X[i * D + d], r->X + i * D, d + 1);
}

/* w (D + 1) */
static status solve_for(ridge *r, double alpha, double *w)
{
    int64_t n = r->n, D = r->D, m = r->m;
    memcpy(r->A, r->G, sizeof *r->A * (size_t)(m * m));
    for (int64_t i = 0; i < m; i++) r->A[i * m + i] += alpha;
    TRY(cholesky(r->A, m), "alpha = %g", alpha);
    memset(w, 0, sizeof *w * (size_t)(D + 1));
    if (r->dual) {
        memcpy(r->b, r->y, sizeof *r->b * (size_t)n);
        solve_lower(r->A, m, r->b);
        for (int64_t i = 0; i < n; i++) add_scaled(w, r->b[i], r->X + i * D, D);
    } else {
        for (int64_t i = 0; i < n; i++) add_scaled(w, r->y[i], r->X + i * D, D);
        solve_lower(r->A, m, w);
    }
    w[D] = r->middle - dot(w, r->mean, D);
    return OK;
}

status ridge_fit(const double *X, int64_t n, int D, const double *y, const double *alpha, int n_alpha, double *W)
{
    ridge r = {.n = n, .D = D, .dual = n < D, .m = n < D ? n : D};
    status st;
    TRY_TO(done, mem_alloc(&r.X, sizeof *r.X * (size_t)(n * D), "centred vectors"), "solve");
    TRY_TO(done, mem_alloc(&r.mean, sizeof *r.mean * (size_t)D, "means"), "solve");
    TRY_TO(done, mem_alloc(&r.y, sizeof *r.y * (size_t)n, "centred labels"), "solve");
    TRY_TO(done, mem_alloc(&r.G, sizeof *r.G * (size_t)(r.m * r.m), "products"), "solve");
    TRY_TO(done, mem_alloc(&r.A, sizeof *r.A * (size_t)(r.m * r.m), "products"), "solve");
    TRY_TO(done, mem_alloc(&r.b, sizeof *r.b * (size_t)r.m, "products"), "solve");
    centre(&r, X, y);
    gram(&r);
    for (int k = 0; k < n_alpha; k++) TRY_TO(done, solve_for(&r, alpha[k], W + (int64_t)k * (D + 1)), "ridge regression");
done:
    free(r.X), free(r.mean), free(r.y), free(r.G), free(r.A), free(r.b);
    return st;
}

/* ---- nearest neighbours ------------------------------------------------------------------------------------------------------------ */

/* Keeps the k largest seen so far in value, at (k), largest first; of equal ones the first seen. */
static void keep(double v, int64_t i, double *value, int64_t *at, int k, int *n)
{
    int j = *n;
    if (j == k && v <= value[k - 1]) return;
    if (j == k) j--;
    else ++*n;
    for (; j > 0 && value[j - 1] < v; j--) value[j] = value[j - 1], at[j] = at[j - 1];
    value[j] = v, at[j] = i;
}

static double norm_of(const rows *r, int64_t i)
{
    const float *x = r->x + r->at[i] * r->D;
    double n = sqrt(dot_floats(x, x, r->D));
    return n > 0 ? n : 1;
}

status neighbours(const rows *train, const int32_t *y, const rows *test, int K, int k, double *p)
{
    double *norm = NULL, *value = NULL;
    int64_t *at = NULL;
    status st;
    CHECK(k >= 1 && k <= train->n, ST_BUG, "%d neighbours of %lld", k, (long long)train->n);
    TRY_TO(done, mem_alloc(&norm, sizeof *norm * (size_t)train->n, "norms"), "neighbours");
    TRY_TO(done, mem_alloc(&value, sizeof *value * (size_t)(test->n * k + 1), "neighbours"), "neighbours");
    TRY_TO(done, mem_alloc(&at, sizeof *at * (size_t)(test->n * k + 1), "neighbours"), "neighbours");
    for (int64_t i = 0; i < train->n; i++) norm[i] = norm_of(train, i);
    memset(p, 0, sizeof *p * (size_t)(test->n * K));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < test->n; i++) {
        const float *x = test->x + test->at[i] * test->D;
        double own = norm_of(test, i);
        int n = 0;
        progress_beat();
        for (int64_t t = 0; t < train->n; t++)
            keep(dot_floats(x, train->x + train->at[t] * train->D, train->D) / (own * norm[t]), t, value + i * k, at + i * k, k, &n);
        for (int j = 0; j < k; j++) p[i * K + y[at[i * k + j]]] += 1.0 / k;
    }
    st = OK;
done:
    free(norm), free(value), free(at);
    return st;
}
