/* loss: image-level losses, each near 1 at the start for any number of classes, with their gradient at the outputs. */
#include "task_internal.h"

#include <math.h>
#include <string.h>

/* Weighted by the class: weights that average 1 over the data keep the loss near 1. */
double loss_classes(float *d, const float *z, const int32_t *cls, const float *weight, int64_t B, int64_t K, int64_t *n_valid)
{
    int64_t n = 0;
    double sum = 0, unit_loss = log(K > 1 ? (double)K : 2.0); /* ln K of uniform logits; one class has no loss to scale */
    for (int64_t b = 0; b < B; b++) n += class_counts(cls[b], K);
    *n_valid = n;
    if (d) memset(d, 0, sizeof *d * (size_t)(B * K));
    for (int64_t b = 0; b < B; b++) {
        if (!class_counts(cls[b], K)) continue;
        const float *row = z + b * K;
        double top = row[0], total = 0, factor = (weight ? weight[cls[b]] : 1.0) / (unit_loss * (double)n);
        for (int64_t k = 1; k < K; k++) top = row[k] > top ? row[k] : top;
        for (int64_t k = 0; k < K; k++) total += exp(row[k] - top);
        sum += factor * (top + log(total) - row[cls[b]]);
        for (int64_t k = 0; d && k < K; k++) d[b * K + k] = (float)(factor * (exp(row[k] - top) / total - (k == cls[b])));
    }
    return sum;
}

double loss_labels(float *d, const float *z, const float *vec, const float *weight, int64_t B, int64_t K, int64_t *n_valid)
{
    int64_t n = 0;
    double sum = 0;
    for (int64_t i = 0; i < B * K; i++) n += vec[i] >= 0; /* NaN and negative: missing */
    *n_valid = n;
    if (d) memset(d, 0, sizeof *d * (size_t)(B * K));
    for (int64_t i = 0; i < B * K; i++) {
        if (!(vec[i] >= 0)) continue;
        double x = z[i], y = vec[i], factor = (weight ? weight[i % K] : 1.0) / (0.6931471805599453 * (double)n);
        sum += factor * ((x > 0 ? x : 0) - x * y + log1p(exp(-fabs(x))));
        if (d) d[i] = (float)(factor * (1.0 / (1.0 + exp(-x)) - y));
    }
    return sum;
}

static double range_of(double lo, double hi) { return hi > lo ? hi - lo : 1.0; }

/* 12: labels spread evenly over their range have variance 1/12, so predicting the middle costs 1. */
double loss_scalar(float *d, const float *z, const float *y, double lo, double hi, int64_t B, int64_t *n_valid)
{
    int64_t n = 0;
    double sum = 0;
    for (int64_t b = 0; b < B; b++) n += isfinite(y[b]);
    *n_valid = n;
    for (int64_t b = 0; b < B; b++) {
        if (d) d[b] = 0;
        if (!isfinite(y[b])) continue;
        double error = z[b] - (y[b] - 0.5 * (lo + hi)) / range_of(lo, hi);
        sum += 12.0 * error * error / (double)n;
        if (d) d[b] = (float)(24.0 * error / (double)n);
    }
    return sum;
}

double task_scalar(const task_spec *s, double raw) { return 0.5 * (s->lo + s->hi) + raw * range_of(s->lo, s->hi); }
