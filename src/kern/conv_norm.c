/* conv_norm: group norm with one group and ReLU as a scale and a shift per channel, applied where the next convolution reads. */
#include "medley/kern.h"
#include "conv_inner.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { CHUNKS = 32 }; /* fixed pieces per image: partial sums do not depend on the number of threads */

int64_t norm_relu_work(int64_t B, int64_t C) { return B * CHUNKS * 2 * C; }

static int64_t chunk_begin(int64_t P, int i) { return P * i / CHUNKS; }

/* Mean and sum of squared deviations of n floats in two passes over data that the first pass brought into the cache. */
static void moments(const float *z, int64_t n, float *mean, float *square)
{
    enum { PIECE = 4096 };
    double m = 0, s = 0;
    int64_t done = 0;
    for (int64_t i0 = 0; i0 < n; i0 += PIECE) {
        int64_t k = n - i0 < PIECE ? n - i0 : PIECE, whole = k / WIDTH * WIDTH;
        const float *p = z + i0;
        vec a = {0}, b = {0};
        float sum = 0, sq = 0;
        int64_t i = 0;
        for (; i + 2 * WIDTH <= whole; i += 2 * WIDTH) a += LOAD(p + i), b += LOAD(p + i + WIDTH);
        for (; i < whole; i += WIDTH) a += LOAD(p + i);
        a += b;
        for (int l = 0; l < WIDTH; l++) sum += a[l];
        for (; i < k; i++) sum += p[i];
        float mu = sum / (float)k;
        a = (vec){0}, b = (vec){0};
        for (i = 0; i + 2 * WIDTH <= whole; i += 2 * WIDTH) {
            vec u = LOAD(p + i) - mu, v = LOAD(p + i + WIDTH) - mu;
            a += u * u, b += v * v;
        }
        for (; i < whole; i += WIDTH) { vec u = LOAD(p + i) - mu; a += u * u; }
        a += b;
        for (int l = 0; l < WIDTH; l++) sq += a[l];
        for (; i < k; i++) sq += (p[i] - mu) * (p[i] - mu);
        double delta = mu - m, total = (double)(done + k);
        s += sq + delta * delta * (double)done * (double)k / total;
        m += delta * (double)k / total;
        done += k;
    }
    *mean = (float)m, *square = (float)s;
}

void norm_relu_prepare(float *scale, float *shift, float *stats, const float *z, const float *gamma, const float *beta, int64_t B,
                       int64_t P, int64_t C, float eps, float *work)
{
#pragma omp parallel for schedule(static) if (kern_threads() > 1 && P * C > 4096)
    for (int64_t i = 0; i < B * CHUNKS; i++) {
        int64_t p0 = chunk_begin(P, (int)(i % CHUNKS)), p1 = chunk_begin(P, (int)(i % CHUNKS) + 1);
        moments(z + (i / CHUNKS * P + p0) * C, (p1 - p0) * C, work + 2 * i, work + 2 * i + 1);
    }
    for (int64_t b = 0; b < B; b++) {
        double mean = 0, square = 0, done = 0;
        for (int i = 0; i < CHUNKS; i++) {
            double k = (double)((chunk_begin(P, i + 1) - chunk_begin(P, i)) * C), delta = work[2 * (b * CHUNKS + i)] - mean;
            if (k == 0) continue;
            square += work[2 * (b * CHUNKS + i) + 1] + delta * delta * done * k / (done + k);
            mean += delta * k / (done + k);
            done += k;
        }
        double rstd = 1.0 / sqrt(square / done + eps);
        stats[2 * b] = (float)mean, stats[2 * b + 1] = (float)rstd;
        for (int64_t c = 0; c < C; c++) {
            scale[b * C + c] = (float)(rstd * gamma[c]);
            shift[b * C + c] = (float)(beta[c] - mean * rstd * gamma[c]);
        }
    }
}

void norm_relu_forward(float *y, const float *z, const float *scale, const float *shift, int64_t B, int64_t P, int64_t C)
{
#pragma omp parallel for schedule(static) if (kern_threads() > 1 && P * C > 4096)
    for (int64_t i = 0; i < B * CHUNKS; i++) {
        int64_t b = i / CHUNKS, p0 = b * P + chunk_begin(P, (int)(i % CHUNKS)), p1 = b * P + chunk_begin(P, (int)(i % CHUNKS) + 1);
        const float *a = scale + b * C, *s = shift + b * C;
        for (int64_t p = p0; p < p1; p++)
            for (int64_t c = 0; c < C; c++) {
                float v = z[p * C + c] * a[c] + s[c];
                y[p * C + c] = RELU1(v);
            }
    }
}

/* Per channel sums over a chunk of the gradient behind the ReLU and of that times (z - mean). One vector of channels at a time. */
static void channel_sums(float *sum, float *sum_z, const float *d, const float *z, const float *scale, const float *shift, float mean,
                         int64_t n, int64_t C)
{
    int64_t c = 0;
    for (; c + WIDTH <= C; c += WIDTH) {
        vec a = LOAD(scale + c), s = LOAD(shift + c), s1 = {0}, s2 = {0};
        for (int64_t p = 0; p < n; p++) {
            vec zv = LOAD(z + p * C + c);
            vec dv = WHERE_POSITIVE(zv * a + s, LOAD(d + p * C + c));
            s1 += dv;
            s2 += dv * (zv - mean);
        }
        STORE(sum + c, s1);
        STORE(sum_z + c, s2);
    }
    for (; c < C; c++) {
        sum[c] = sum_z[c] = 0;
        for (int64_t p = 0; p < n; p++) {
            float zv = z[p * C + c], dv = zv * scale[c] + shift[c] <= 0.0f ? 0.0f : d[p * C + c];
            sum[c] += dv;
            sum_z[c] += dv * (zv - mean);
        }
    }
}

void norm_relu_backward(float *d, float *dgamma, float *dbeta, const float *z, const float *scale, const float *shift,
                        const float *stats, const float *gamma, int64_t B, int64_t P, int64_t C, float *work)
{
#pragma omp parallel for schedule(static) if (kern_threads() > 1 && P * C > 4096)
    for (int64_t i = 0; i < B * CHUNKS; i++) {
        int64_t b = i / CHUNKS, p0 = chunk_begin(P, (int)(i % CHUNKS)), p1 = chunk_begin(P, (int)(i % CHUNKS) + 1);
        float *sum = work + i * 2 * C;
        channel_sums(sum, sum + C, d + (b * P + p0) * C, z + (b * P + p0) * C, scale + b * C, shift + b * C, stats[2 * b], p1 - p0, C);
    }
    for (int64_t b = 0; b < B; b++) {
        double rstd = stats[2 * b + 1], m1 = 0, m2 = 0;
        float *sum = work + b * CHUNKS * 2 * C;
        for (int64_t c = 0; c < C; c++) {
            double s1 = 0, s2 = 0;
            for (int i = 0; i < CHUNKS; i++) s1 += sum[i * 2 * C + c], s2 += sum[i * 2 * C + C + c];
            dbeta[c] += (float)s1;
            dgamma[c] += (float)(s2 * rstd);
            m1 += s1 * gamma[c], m2 += s2 * gamma[c];
        }
        /* dz = rstd (gamma d - mean(gamma d) - xhat mean(gamma d xhat)): a multiple of d, of z - mean and a constant. */
        sum[0] = (float)(-rstd * m1 / (double)(P * C));
        sum[1] = (float)(-rstd * rstd * rstd * m2 / (double)(P * C));
    }
#pragma omp parallel for schedule(static) if (kern_threads() > 1 && P * C > 4096)
    for (int64_t i = 0; i < B * CHUNKS; i++) {
        int64_t b = i / CHUNKS, p0 = b * P + chunk_begin(P, (int)(i % CHUNKS)), p1 = b * P + chunk_begin(P, (int)(i % CHUNKS) + 1);
        const float *a = scale + b * C, *s = shift + b * C, *sum = work + b * CHUNKS * 2 * C;
        float constant = sum[0], slope = sum[1], mean = stats[2 * b];
        for (int64_t p = p0; p < p1; p++)
            for (int64_t c = 0; c < C; c++) { /* scale = rstd gamma */
                float zv = z[p * C + c], dv = zv * a[c] + s[c] <= 0.0f ? 0.0f : d[p * C + c];
                d[p * C + c] = dv * a[c] + constant + slope * (zv - mean);
            }
    }
}
