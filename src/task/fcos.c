/* fcos: target assignment and losses of "FCOS: Fully Convolutional One-Stage Object Detection" (arXiv 1904.01355), with the rules of
 * torchvision.models.detection.fcos: level by largest distance, smallest box wins, sums divided by the positives of the unit. */
#include "task_internal.h"

#include <math.h>
#include <string.h>

void fcos_grids(fcos *f, int H, int W, int K)
{
    *f = (fcos){.K = K};
    for (int l = 0; l < FPN_LEVELS; l++) {
        fcos_level *v = &f->level[l];
        v->stride = fpn_stride[l];
        v->h = (H + v->stride - 1) / v->stride; /* stride-2 convolutions with padding 1 round up */
        v->w = (W + v->stride - 1) / v->stride;
        v->first = f->n;
        f->n += (int64_t)v->h * v->w;
    }
}

static double area_of(const float *g) { return ((double)g[2] - g[0]) * ((double)g[3] - g[1]); }

/* Cells [*from, *to) of n whose centres (i + 0.5) s may lie in (lo, hi); one more on both sides against rounding. */
static void cells(double lo, double hi, double s, int n, int *from, int *to)
{
    *from = (int)fmin(fmax(floor(lo / s) - 1, 0), n);
    *to = (int)fmin(fmax(ceil(hi / s) + 1, 0), n);
}

/* Box m claims its locations of a level, from larger boxes only. */
static void claim(const fcos_level *v, double lower, double upper, double radius, const float *box, int32_t m, int32_t *match)
{
    const float *g = box + 4 * (int64_t)m;
    double s = v->stride, mx = 0.5 * ((double)g[0] + g[2]), my = 0.5 * ((double)g[1] + g[3]), area = area_of(g);
    int i0, i1, j0, j1;
    cells(fmax(g[0], mx - radius), fmin(g[2], mx + radius), s, v->w, &j0, &j1);
    cells(fmax(g[1], my - radius), fmin(g[3], my + radius), s, v->h, &i0, &i1);
    for (int i = i0; i < i1; i++)
        for (int j = j0; j < j1; j++) {
            double x = (j + 0.5) * s, y = (i + 0.5) * s, l = x - g[0], t = y - g[1], r = g[2] - x, b = g[3] - y;
            double nearest = fmin(fmin(l, t), fmin(r, b)), farthest = fmax(fmax(l, t), fmax(r, b));
            if (!(nearest > 0 && farthest > lower && farthest < upper && fmax(fabs(x - mx), fabs(y - my)) < radius)) continue;
            int32_t *at = &match[v->first + (int64_t)i * v->w + j];
            if (*at < 0 || area < area_of(box + 4 * (int64_t)*at)) *at = m;
        }
}

void fcos_assign(const fcos *f, const float *box, int M, bool center, int32_t *match)
{
    for (int64_t p = 0; p < f->n; p++) match[p] = -1;
    for (int l = 0; l < FPN_LEVELS; l++) {
        const fcos_level *v = &f->level[l];
        double s = v->stride, lower = l == 0 ? 0 : 4 * s, upper = l == FPN_LEVELS - 1 ? INFINITY : 8 * s;
        for (int m = 0; m < M; m++) claim(v, lower, upper, center ? 1.5 * s : INFINITY, box, m, match);
    }
}

double fcos_giou(const double a[4], const double b[4], double *da)
{
    const double eps = 1e-7;
    double ix = fmin(a[2], b[2]) - fmax(a[0], b[0]), iy = fmin(a[3], b[3]) - fmax(a[1], b[1]);
    bool meet = ix > 0 && iy > 0;
    double I = meet ? ix * iy : 0, aw = a[2] - a[0], ah = a[3] - a[1];
    double U = aw * ah + (b[2] - b[0]) * (b[3] - b[1]) - I;
    double cx = fmax(a[2], b[2]) - fmin(a[0], b[0]), cy = fmax(a[3], b[3]) - fmin(a[1], b[1]), C = cx * cy;
    if (da) {
        /* loss = 1 - I/(U+e) + (C-U)/(C+e); each of I, A (area of a), C moves with the four sides */
        double dU = I / ((U + eps) * (U + eps)) - 1 / (C + eps), dC = (U + eps) / ((C + eps) * (C + eps));
        double dI = -1 / (U + eps) - dU, dA = dU;
        double side_I[4] = {a[0] > b[0] ? -iy : 0, a[1] > b[1] ? -ix : 0, a[2] < b[2] ? iy : 0, a[3] < b[3] ? ix : 0};
        double side_C[4] = {a[0] < b[0] ? -cy : 0, a[1] < b[1] ? -cx : 0, a[2] > b[2] ? cy : 0, a[3] > b[3] ? cx : 0};
        double side_A[4] = {-ah, -aw, ah, aw};
        for (int k = 0; k < 4; k++) da[k] = dA * side_A[k] + dC * side_C[k] + (meet ? dI * side_I[k] : 0);
    }
    return 1 - I / (U + eps) + (C - U) / (C + eps);
}

/* Sigmoid focal loss of one logit and its derivative; target 0 or 1. */
static double focal(double x, bool positive, double *d)
{
    double e = exp(-fabs(x)), big = 1 / (1 + e), small = e / (1 + e);
    double p = x >= 0 ? big : small, q = x >= 0 ? small : big; /* p = sigmoid(x), q = 1 - p */
    double log_1 = log1p(e), sign_x = positive ? x : -x;
    double ce = (sign_x < 0 ? -sign_x : 0) + log_1, miss = positive ? q : p, hit = 1 - miss, alpha = positive ? 0.25 : 0.75;
    /* d/dsign_x of miss^2 ce: d miss = -miss hit, d ce = -miss */
    *d = alpha * (positive ? 1 : -1) * (-2 * miss * miss * hit * ce - miss * miss * miss);
    return alpha * miss * miss * ce;
}

/* Box and centerness losses of one positive location. reg, d (5), d NULL allowed. */
static void positive_loss(const float *reg, float *d, double *d_scale, double scale, double x, double y, double s, const float *target,
                          double per_positive, double sums[3])
{
    static const int sign[4] = {-1, -1, 1, 1};
    double at[4] = {x, y, x, y}, pred[4], g[4] = {target[0], target[1], target[2], target[3]}, side[4], da[4], dist[4];
    for (int k = 0; k < 4; k++) {
        double a = scale * reg[k], cut = a > FCOS_MAX_LOG ? FCOS_MAX_LOG : a < -FCOS_MAX_LOG ? -FCOS_MAX_LOG : a;
        dist[k] = s * exp(cut);
        pred[k] = at[k] + sign[k] * dist[k];
        side[k] = sign[k] * (g[k] - at[k]);
        if (cut != a) dist[k] = 0; /* no slope beyond the cut */
    }
    sums[1] += fcos_giou(pred, g, da);
    double target_c = sqrt(fmin(side[0], side[2]) / fmax(side[0], side[2]) * (fmin(side[1], side[3]) / fmax(side[1], side[3])));
    double c = reg[4];
    sums[2] += (c > 0 ? c : 0) - c * target_c + log1p(exp(-fabs(c)));
    if (!d) return;
    for (int k = 0; k < 4; k++) {
        double slope = per_positive * da[k] * sign[k] * dist[k]; /* by scale * raw */
        d[k] = (float)(slope * scale);
        *d_scale += slope * reg[k];
    }
    d[4] = (float)(per_positive * (1 / (1 + exp(-c)) - target_c));
}

/* All locations of one level of one image. */
static void level_loss(const fcos_level *v, int K, int image, const int32_t *match, const float *box, const int32_t *box_cls,
                       double scale, double *d_scale, double per_positive, double sums[3])
{
    int64_t first = (int64_t)image * v->h * v->w;
    for (int64_t p = 0; p < (int64_t)v->h * v->w; p++) {
        int64_t at = first + p;
        int32_t m = match[v->first + p];
        const float *z = v->cls + at * K;
        float *d = v->d_cls ? v->d_cls + at * K : NULL;
        for (int k = 0; k < K; k++) {
            double slope;
            sums[0] += focal(z[k], m >= 0 && box_cls[m] == k, &slope);
            if (d) d[k] = (float)(per_positive * slope);
        }
        if (v->d_reg) memset(v->d_reg + at * 5, 0, 5 * sizeof(float));
        if (m >= 0)
            positive_loss(v->reg + at * 5, v->d_reg ? v->d_reg + at * 5 : NULL, d_scale, scale, ((double)(p % v->w) + 0.5) * v->stride,
                          ((double)(p / v->w) + 0.5) * v->stride, v->stride, box + 4 * m, per_positive, sums);
    }
}

int64_t fcos_loss(const fcos *f, int n_images, const int32_t *match, const int32_t *box_off, const float *box, const int32_t *box_cls,
                  const float *scale, float *d_scale, double factor, double sums[3])
{
    int64_t n_pos = 0;
    for (int64_t i = 0; i < n_images * f->n; i++) n_pos += match[i] >= 0;
    double per_positive = factor / (double)(n_pos > 0 ? n_pos : 1);
    /* focal, GIoU, centerness, gradient of the scale: one row per level, so threads cannot reorder */
    double part[FPN_LEVELS][4] = {{0}};
#pragma omp parallel for schedule(dynamic)
    for (int l = 0; l < FPN_LEVELS; l++)
        for (int b = 0; b < n_images; b++)
            level_loss(&f->level[l], f->K, b, match + b * f->n, box + 4 * box_off[b], box_cls + box_off[b], scale[l], &part[l][3],
                       per_positive, part[l]);
    sums[0] = sums[1] = sums[2] = 0;
    for (int l = 0; l < FPN_LEVELS; l++) {
        for (int i = 0; i < 3; i++) sums[i] += part[l][i];
        if (d_scale) d_scale[l] = (float)part[l][3];
    }
    return n_pos;
}
