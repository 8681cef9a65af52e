/* norm: layer and group normalisation. Sums over rows run over fixed chunks that are added in chunk order, so the bits do not depend
 * on the number of threads. */
#include "medley/kern.h"

#include <math.h>
#include <string.h>

enum { MAX_CHUNKS = 16, MIN_CHUNK = 128 };

static int row_chunks(int64_t R)
{
    int64_t n = R / MIN_CHUNK;
    return n < 1 ? 1 : n > MAX_CHUNKS ? MAX_CHUNKS : (int)n;
}

static void row_stats(float stats[2], const float *x, int64_t C, float eps)
{
    float sum = 0.0f, square = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < C; c++) sum += x[c];
    float mean = sum / (float)C;
#pragma omp simd reduction(+ : square)
    for (int64_t c = 0; c < C; c++) square += (x[c] - mean) * (x[c] - mean);
    stats[0] = mean;
    stats[1] = 1.0f / sqrtf(square / (float)C + eps);
}

void layernorm_gather_forward(float *y, float *stats, const float *x, const int32_t *row, const float *gamma, const float *beta, int64_t R,
                              int64_t C, float eps)
{
#pragma omp parallel for schedule(static) if (R * C > 16384 && kern_threads() > 1)
    for (int64_t r = 0; r < R; r++) {
        int64_t from = row ? row[r] : r;
        float *yr = y + r * C;
        if (from < 0) {
            memset(yr, 0, (size_t)C * sizeof *yr);
            continue;
        }
        const float *xr = x + from * C;
        row_stats(stats + 2 * r, xr, C, eps);
        float mean = stats[2 * r], rstd = stats[2 * r + 1];
#pragma omp simd
        for (int64_t c = 0; c < C; c++) yr[c] = (xr[c] - mean) * rstd * gamma[c] + beta[c];
    }
}

void layernorm_forward(float *y, float *stats, const float *x, const float *gamma, const float *beta, int64_t R, int64_t C, float eps)
{
    layernorm_gather_forward(y, stats, x, NULL, gamma, beta, R, C, eps);
}

void layernorm_scatter_forward(float *y, float *stats, const float *x, const int32_t *row, const float *gamma, const float *beta,
                               float scale, const float *res, int64_t R, int64_t C, float eps)
{
#pragma omp parallel for schedule(static) if (R * C > 16384 && kern_threads() > 1)
    for (int64_t r = 0; r < R; r++) {
        int64_t to = row ? row[r] : r;
        if (to < 0) continue;
        const float *xr = x + r * C, *rr = res + to * C;
        float *yr = y + to * C;
        row_stats(stats + 2 * r, xr, C, eps);
        float mean = stats[2 * r], rstd = stats[2 * r + 1];
#pragma omp simd
        for (int64_t c = 0; c < C; c++) yr[c] = rr[c] + scale * ((xr[c] - mean) * rstd * gamma[c] + beta[c]);
    }
}

/* All layer-norm backwards: rows of dy through dy_row, rows of x and dx through x_row (NULL: identity). dy_row[r] < 0: the row has no
 * gradient, x_row[r] < 0: there is no such row. */
static void layernorm_back(float *dx, bool acc, const int32_t *x_row, float *dgamma, float *dbeta, const float *dy, const int32_t *dy_row,
                           float scale, const float *x, const float *stats, const float *gamma, int64_t R, int64_t C)
{
    int n_chunks = row_chunks(R);
    float part[n_chunks][2 * C];
    memset(part, 0, sizeof part);
#pragma omp parallel for schedule(static) if (n_chunks > 1 && kern_threads() > 1)
    for (int k = 0; k < n_chunks; k++) {
        float *restrict dg = part[k], *restrict db = part[k] + C;
        for (int64_t r = R * k / n_chunks; r < R * (k + 1) / n_chunks; r++) {
            int64_t at = x_row ? x_row[r] : r, from = dy_row ? dy_row[r] : r;
            if (at < 0) continue;
            float *dxr = dx + at * C;
            if (from < 0) {
                if (!acc) memset(dxr, 0, (size_t)C * sizeof *dxr);
                continue;
            }
            const float *xr = x + at * C, *dyr = dy + from * C;
            float mean = stats[2 * r], rstd = stats[2 * r + 1], s1 = 0.0f, s2 = 0.0f;
#pragma omp simd reduction(+ : s1, s2)
            for (int64_t c = 0; c < C; c++) {
                float d = scale * dyr[c], xhat = (xr[c] - mean) * rstd;
                dg[c] += d * xhat;
                db[c] += d;
                s1 += d * gamma[c];
                s2 += d * gamma[c] * xhat;
            }
            s1 /= (float)C;
            s2 /= (float)C;
            if (acc) {
#pragma omp simd
                for (int64_t c = 0; c < C; c++) dxr[c] += rstd * (scale * dyr[c] * gamma[c] - s1 - (xr[c] - mean) * rstd * s2);
            } else {
#pragma omp simd
                for (int64_t c = 0; c < C; c++) dxr[c] = rstd * (scale * dyr[c] * gamma[c] - s1 - (xr[c] - mean) * rstd * s2);
            }
        }
    }
    for (int k = 0; k < n_chunks; k++)
        for (int64_t c = 0; c < C; c++) {
            dgamma[c] += part[k][c];
            dbeta[c] += part[k][C + c];
        }
}

void layernorm_backward(float *dx, bool acc_dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *stats,
                        const float *gamma, int64_t R, int64_t C)
{
    layernorm_back(dx, acc_dx, NULL, dgamma, dbeta, dy, NULL, 1.0f, x, stats, gamma, R, C);
}

void layernorm_gather_backward(float *dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *stats,
                               const int32_t *row, const float *gamma, int64_t R, int64_t C)
{
    layernorm_back(dx, true, row, dgamma, dbeta, dy, NULL, 1.0f, x, stats, gamma, R, C);
}

void layernorm_scatter_backward(float *dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *stats,
                                const int32_t *row, const float *gamma, float scale, int64_t R, int64_t C)
{
    layernorm_back(dx, false, NULL, dgamma, dbeta, dy, row, scale, x, stats, gamma, R, C);
}

void rows_gather(float *y, const float *x, const int32_t *row, float scale, int64_t R, int64_t C)
{
#pragma omp parallel for schedule(static) if (R * C > 16384 && kern_threads() > 1)
    for (int64_t r = 0; r < R; r++) {
        int64_t from = row ? row[r] : r;
        float *yr = y + r * C;
        if (from < 0) {
            memset(yr, 0, (size_t)C * sizeof *yr);
            continue;
        }
        const float *xr = x + from * C;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) yr[c] = scale * xr[c];
    }
}

void rows_scatter(float *y, const float *res, const float *x, const float *b, const int32_t *row, float scale, int64_t R, int64_t C)
{
#pragma omp parallel for schedule(static) if (R * C > 16384 && kern_threads() > 1)
    for (int64_t r = 0; r < R; r++) {
        int64_t to = row ? row[r] : r;
        if (to < 0) continue;
        const float *xr = x + r * C, *rr = res + to * C;
        float *yr = y + to * C;
        if (b) {
#pragma omp simd
            for (int64_t c = 0; c < C; c++) yr[c] = rr[c] + scale * (xr[c] + b[c]);
        } else {
#pragma omp simd
            for (int64_t c = 0; c < C; c++) yr[c] = rr[c] + scale * xr[c];
        }
    }
}

/* ---- group normalisation ------------------------------------------------------------------------------------------------- */

/* sum (C) in double of x - shift over P pixels, `square`: of its square. Single precision within runs of 64 pixels. */
static void channel_sums(double *sum, const float *x, const float *shift, bool square, int64_t P, int64_t C)
{
    float run[C];
    memset(sum, 0, (size_t)C * sizeof *sum);
    for (int64_t p0 = 0; p0 < P; p0 += 64) {
        int64_t p1 = p0 + 64 < P ? p0 + 64 : P;
        memset(run, 0, sizeof run);
        for (int64_t p = p0; p < p1; p++) {
            const float *xp = x + p * C;
            if (square) {
#pragma omp simd
                for (int64_t c = 0; c < C; c++) run[c] += (xp[c] - shift[c]) * (xp[c] - shift[c]);
            } else {
#pragma omp simd
                for (int64_t c = 0; c < C; c++) run[c] += xp[c];
            }
        }
        for (int64_t c = 0; c < C; c++) sum[c] += run[c];
    }
}

void groupnorm_forward(float *y, float *stats, const float *x, const float *gamma, const float *beta, int64_t B, int64_t P, int64_t C,
                       int groups, float eps)
{
    int64_t G = C / groups;
#pragma omp parallel for schedule(static) if (B > 1 && B * P * C > 16384 && kern_threads() > 1)
    for (int64_t b = 0; b < B; b++) {
        const float *xb = x + b * P * C;
        float *yb = y + b * P * C, *sb = stats + b * groups * 2, mean[C], a[C], shift[C];
        double sum[C];
        channel_sums(sum, xb, NULL, false, P, C);
        for (int g = 0; g < groups; g++) {
            double m = 0.0;
            for (int64_t c = g * G; c < (g + 1) * G; c++) m += sum[c];
            sb[2 * g] = (float)(m / (double)(G * P));
            for (int64_t c = g * G; c < (g + 1) * G; c++) mean[c] = sb[2 * g];
        }
        channel_sums(sum, xb, mean, true, P, C);
        for (int g = 0; g < groups; g++) {
            double v = 0.0;
            for (int64_t c = g * G; c < (g + 1) * G; c++) v += sum[c];
            sb[2 * g + 1] = (float)(1.0 / sqrt(v / (double)(G * P) + eps));
            for (int64_t c = g * G; c < (g + 1) * G; c++) {
                a[c] = sb[2 * g + 1] * gamma[c];
                shift[c] = beta[c] - mean[c] * a[c];
            }
        }
        for (int64_t p = 0; p < P; p++) {
#pragma omp simd
            for (int64_t c = 0; c < C; c++) yb[p * C + c] = xb[p * C + c] * a[c] + shift[c];
        }
    }
}

/* One sample: its dgamma and dbeta to dg, db (C). */
static void groupnorm_back_one(float *dx, float *dg, float *db, const float *dy, const float *x, const float *stats, const float *gamma,
                               int64_t P, int64_t C, int groups)
{
    int64_t G = C / groups;
    float mean[C], rstd[C], run_g[C], run_b[C], m1[C], m2[C];
    double sum_g[C], sum_b[C];
    for (int64_t c = 0; c < C; c++) {
        mean[c] = stats[2 * (c / G)];
        rstd[c] = stats[2 * (c / G) + 1];
        sum_g[c] = sum_b[c] = 0.0;
    }
    for (int64_t p0 = 0; p0 < P; p0 += 64) {
        int64_t p1 = p0 + 64 < P ? p0 + 64 : P;
        memset(run_g, 0, sizeof run_g);
        memset(run_b, 0, sizeof run_b);
        for (int64_t p = p0; p < p1; p++) {
            const float *xp = x + p * C, *dyp = dy + p * C;
#pragma omp simd
            for (int64_t c = 0; c < C; c++) {
                run_g[c] += dyp[c] * (xp[c] - mean[c]) * rstd[c];
                run_b[c] += dyp[c];
            }
        }
        for (int64_t c = 0; c < C; c++) {
            sum_g[c] += run_g[c];
            sum_b[c] += run_b[c];
        }
    }
    for (int g = 0; g < groups; g++) {
        double s1 = 0.0, s2 = 0.0, n = (double)(G * P);
        for (int64_t c = g * G; c < (g + 1) * G; c++) {
            s1 += sum_b[c] * gamma[c];
            s2 += sum_g[c] * gamma[c];
        }
        for (int64_t c = g * G; c < (g + 1) * G; c++) {
            m1[c] = (float)(s1 / n);
            m2[c] = (float)(s2 / n);
        }
    }
    for (int64_t p = 0; p < P; p++) {
        const float *xp = x + p * C, *dyp = dy + p * C;
        float *dxp = dx + p * C;
#pragma omp simd
        for (int64_t c = 0; c < C; c++) dxp[c] = rstd[c] * (dyp[c] * gamma[c] - m1[c] - (xp[c] - mean[c]) * rstd[c] * m2[c]);
    }
    for (int64_t c = 0; c < C; c++) {
        dg[c] = (float)sum_g[c];
        db[c] = (float)sum_b[c];
    }
}

void groupnorm_backward(float *dx, float *dgamma, float *dbeta, const float *dy, const float *x, const float *stats, const float *gamma,
                        int64_t B, int64_t P, int64_t C, int groups)
{
    enum { AT_ONCE = 16 };
    float dg[AT_ONCE][C], db[AT_ONCE][C];
    for (int64_t b0 = 0; b0 < B; b0 += AT_ONCE) {
        int64_t n = B - b0 < AT_ONCE ? B - b0 : AT_ONCE;
#pragma omp parallel for schedule(static) if (n > 1 && n * P * C > 16384 && kern_threads() > 1)
        for (int64_t k = 0; k < n; k++) {
            int64_t b = b0 + k;
            groupnorm_back_one(dx + b * P * C, dg[k], db[k], dy + b * P * C, x + b * P * C, stats + b * groups * 2, gamma, P, C, groups);
        }
        for (int64_t k = 0; k < n; k++)
            for (int64_t c = 0; c < C; c++) {
                dgamma[c] += dg[k][c];
                dbeta[c] += db[k][c];
            }
    }
}
