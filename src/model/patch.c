/* patch: image to tokens: colour normalisation, 4x4 convolution with stride 4 as a product, layer norm. */
#include "swin_internal.h"

enum { P = 4, COLUMNS = 3 * P * P };

static int64_t n_rows(const patch_run *k) { return (int64_t)k->B * (k->H / P) * (k->W / P); }

void patch_place(patch_run *k, float *y, arena *a)
{
    int64_t R = n_rows(k);
    k->y = y;
    k->patch = ARENA_F32(a, R * COLUMNS);
    k->e = ARENA_F32(a, R * k->C);
    k->stats = ARENA_F32(a, R * 2);
}

void patch_forward(patch_run *k, const params *t, const float *w, const float *image, const float mean[3], const float std[3])
{
    int h = k->H / P, wd = k->W / P;
    int64_t R = n_rows(k);
#pragma omp parallel for schedule(static) if (kern_threads() > 1)
    for (int64_t by = 0; by < (int64_t)k->B * h; by++)
        for (int ky = 0; ky < P; ky++) {
            const float *line = image + (by * P + ky) * k->W * 3;
            float *out = k->patch + by * wd * COLUMNS + ky * P;
            for (int x = 0; x < wd; x++, line += 3 * P, out += COLUMNS)
                for (int c = 0; c < 3; c++)
                    for (int kx = 0; kx < P; kx++) out[c * P * P + kx] = (line[kx * 3 + c] - mean[c]) / std[c];
        }
    linear_forward(k->e, k->patch, PW(t, w, k->p.conv_w), PW(t, w, k->p.conv_b), R, k->C, COLUMNS);
    layernorm_forward(k->y, k->stats, k->e, PW(t, w, k->p.norm_w), PW(t, w, k->p.norm_b), R, k->C, SWIN_EPS);
}

void patch_backward(patch_run *k, const params *t, const float *w, float *g, float *dy, float *d_image, const float std[3])
{
    int h = k->H / P, wd = k->W / P;
    int64_t R = n_rows(k);
    layernorm_backward(dy, false, PW(t, g, k->p.norm_w), PW(t, g, k->p.norm_b), dy, k->e, k->stats, PW(t, w, k->p.norm_w), R, k->C);
    linear_backward(NULL, false, PW(t, g, k->p.conv_w), PW(t, g, k->p.conv_b), dy, k->patch, PW(t, w, k->p.conv_w), R, k->C, COLUMNS);
    if (!d_image) return;
    float *dp = k->patch; /* no longer needed */
    linear_backward(dp, false, NULL, NULL, dy, NULL, PW(t, w, k->p.conv_w), R, k->C, COLUMNS);
#pragma omp parallel for schedule(static) if (kern_threads() > 1)
    for (int64_t by = 0; by < (int64_t)k->B * h; by++)
        for (int ky = 0; ky < P; ky++) {
            float *line = d_image + (by * P + ky) * k->W * 3;
            const float *in = dp + by * wd * COLUMNS + ky * P;
            for (int x = 0; x < wd; x++, line += 3 * P, in += COLUMNS)
                for (int c = 0; c < 3; c++)
                    for (int kx = 0; kx < P; kx++) line[kx * 3 + c] = in[c * P * P + kx] / std[c];
        }
}
