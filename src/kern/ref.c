/* ref: plain twins of the fast kernels, for tests. */
#include "ref.h"

#include <math.h>
#include <stdlib.h>

void ref_layernorm(double *y, const double *x, const double *gamma, const double *beta, int64_t R, int64_t C, double eps)
{
    for (int64_t r = 0; r < R; r++) {
        double mean = 0.0, var = 0.0;
        for (int64_t c = 0; c < C; c++) mean += x[r * C + c] / (double)C;
        for (int64_t c = 0; c < C; c++) var += pow(x[r * C + c] - mean, 2) / (double)C;
        for (int64_t c = 0; c < C; c++) y[r * C + c] = (x[r * C + c] - mean) / sqrt(var + eps) * gamma[c] + beta[c];
    }
}

void ref_groupnorm(double *y, const double *x, const double *gamma, const double *beta, int64_t B, int64_t P, int64_t C, int groups, double eps)
{
    int64_t G = C / groups;
    for (int64_t b = 0; b < B; b++)
        for (int g = 0; g < groups; g++) {
            double mean = 0.0, var = 0.0;
            for (int64_t p = 0; p < P; p++)
                for (int64_t c = g * G; c < (g + 1) * G; c++) mean += x[(b * P + p) * C + c] / (double)(P * G);
            for (int64_t p = 0; p < P; p++)
                for (int64_t c = g * G; c < (g + 1) * G; c++) var += pow(x[(b * P + p) * C + c] - mean, 2) / (double)(P * G);
            for (int64_t p = 0; p < P; p++)
                for (int64_t c = g * G; c < (g + 1) * G; c++)
                    y[(b * P + p) * C + c] = (x[(b * P + p) * C + c] - mean) / sqrt(var + eps) * gamma[c] + beta[c];
        }
}

double ref_gelu(double x) { return 0.5 * x * (1.0 + erf(x / sqrt(2.0))); }

void ref_linear(double *y, const double *x, const double *W, const double *b, int64_t R, int64_t N, int64_t K)
{
    for (int64_t r = 0; r < R; r++)
        for (int64_t n = 0; n < N; n++) {
            double sum = b ? b[n] : 0.0;
            for (int64_t k = 0; k < K; k++) sum += x[r * K + k] * W[n * K + k];
            y[r * N + n] = sum;
        }
}

/* Which of the three slices (0,-ws), (-ws,-shift), (-shift,end) a row lies in; the last that holds it counts. */
static int slice(int y, int size, int ws, int shift)
{
    if (shift == 0) return 2; /* a slice from -0 is the whole axis */
    return y < size - ws ? 0 : y < size - shift ? 1 : 2;
}

int ref_windows(int *src, int *region, int H, int W, int ws, int shift)
{
    int pad_H = H + (ws - H % ws) % ws, pad_W = W + (ws - W % ws) % ws;
    int shift_H = ws >= pad_H ? 0 : shift, shift_W = ws >= pad_W ? 0 : shift;
    int *padded = malloc(sizeof *padded * (size_t)(pad_H * pad_W)), *rolled = malloc(sizeof *rolled * (size_t)(pad_H * pad_W));
    for (int y = 0; y < pad_H; y++)
        for (int x = 0; x < pad_W; x++) padded[y * pad_W + x] = y < H && x < W ? y * W + x : -1;
    for (int y = 0; y < pad_H; y++)
        for (int x = 0; x < pad_W; x++)
            rolled[((y - shift_H + pad_H) % pad_H) * pad_W + (x - shift_W + pad_W) % pad_W] = padded[y * pad_W + x];
    int n = 0;
    for (int wy = 0; wy < pad_H; wy += ws)
        for (int wx = 0; wx < pad_W; wx += ws)
            for (int y = wy; y < wy + ws; y++)
                for (int x = wx; x < wx + ws; x++, n++) {
                    src[n] = rolled[y * pad_W + x];
                    region[n] = shift_H + shift_W > 0 ? 3 * slice(y, pad_H, ws, shift_H) + slice(x, pad_W, ws, shift_W) : 0;
                }
    free(padded);
    free(rolled);
    return n / (ws * ws);
}

void ref_bias(double *bias, const double *table, int ws, int heads, bool squash)
{
    int N = ws * ws;
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                int dy = i / ws - j / ws + ws - 1, dx = i % ws - j % ws + ws - 1;
                double v = table[(dy * (2 * ws - 1) + dx) * heads + h];
                bias[(h * N + i) * N + j] = squash ? 16.0 / (1.0 + exp(-v)) : v;
            }
}

static double length(const double *x, int d)
{
    double square = 0.0;
    for (int c = 0; c < d; c++) square += x[c] * x[c];
    return fmax(sqrt(square), 1e-12);
}

void ref_attention(double *o, const double *qkv, const double *bias, const int *region, const double *tau, int N, int heads, int d)
{
    int C = heads * d;
    double *p = malloc(sizeof *p * (size_t)N);
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < N; i++) {
            const double *q = qkv + i * 3 * C + h * d;
            double top = -1e300, sum = 0.0;
            for (int j = 0; j < N; j++) {
                const double *k = qkv + j * 3 * C + C + h * d;
                double s = 0.0;
                for (int c = 0; c < d; c++) s += q[c] * k[c];
                s = tau ? s * tau[h] / (length(q, d) * length(k, d)) : s / sqrt(d);
                p[j] = s + bias[(h * N + i) * N + j] + (region[i] != region[j] ? -100.0 : 0.0);
                top = fmax(top, p[j]);
            }
            for (int j = 0; j < N; j++) sum += p[j] = exp(p[j] - top);
            for (int c = 0; c < d; c++) {
                double s = 0.0;
                for (int j = 0; j < N; j++) s += p[j] / sum * qkv[j * 3 * C + 2 * C + h * d + c];
                o[i * C + h * d + c] = s;
            }
        }
    free(p);
}
