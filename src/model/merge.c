/* merge: 2x2 pixels to one with twice the channels. Order of the four: (0,0), (1,0), (0,1), (1,1) as (row, column); an odd side is
 * padded with zeros. V1: norm (4C), then linear; V2: linear, then norm (2C). */
#include "swin_internal.h"

static int64_t n_rows(const merge_run *k) { return (int64_t)k->B * ((k->H + 1) / 2) * ((k->W + 1) / 2); }

void merge_need(scratch_need *n, int B, int H, int W, int C)
{
    int64_t R = (int64_t)B * ((H + 1) / 2) * ((W + 1) / 2);
    if (n->a < R * 4 * C) n->a = R * 4 * C;
}

void merge_place(merge_run *k, const float *x, float *y, bool train, arena *a)
{
    int64_t R = n_rows(k);
    k->x = x;
    k->y = y;
    k->rows = arena_take(a, sizeof(int32_t) * (size_t)(4 * R));
    k->m = k->version == 2 && train ? ARENA_F32(a, R * 2 * k->C) : y;
    k->stats = ARENA_F32(a, R * 2);
}

/* Source pixel of each quarter of each row. Written before every forward: plans of several tasks share the arena's bytes. */
static void fill_rows(const merge_run *k)
{
    int h = (k->H + 1) / 2, wd = (k->W + 1) / 2;
    int32_t *row = k->rows;
    for (int b = 0; b < k->B; b++)
        for (int y0 = 0; y0 < h; y0++)
            for (int x0 = 0; x0 < wd; x0++)
                for (int q = 0; q < 4; q++) {
                    int py = 2 * y0 + (q & 1), px = 2 * x0 + (q >> 1);
                    *row++ = py < k->H && px < k->W ? (b * k->H + py) * k->W + px : -1;
                }
}

void merge_forward(merge_run *k, const params *t, const float *w)
{
    int64_t R = n_rows(k), C = k->C;
    float *cat = k->s->a;
    fill_rows(k);
    rows_gather(cat, k->x, k->rows, 1.0f, 4 * R, C);
    if (k->version == 1) layernorm_forward(cat, k->stats, cat, PW(t, w, k->p.norm_w), PW(t, w, k->p.norm_b), R, 4 * C, SWIN_EPS);
    linear_forward(k->m, cat, PW(t, w, k->p.reduction_w), NULL, R, 2 * C, 4 * C);
    if (k->version == 2) layernorm_forward(k->y, k->stats, k->m, PW(t, w, k->p.norm_w), PW(t, w, k->p.norm_b), R, 2 * C, SWIN_EPS);
}

void merge_backward(merge_run *k, const params *t, const float *w, float *g, float *dy, float *dx)
{
    int64_t R = n_rows(k), C = k->C;
    float *cat = k->s->a, *other = k->s->b;
    const float *norm_w = PW(t, w, k->p.norm_w), *W = PW(t, w, k->p.reduction_w);
    float *dnorm_w = PW(t, g, k->p.norm_w), *dnorm_b = PW(t, g, k->p.norm_b), *dW = PW(t, g, k->p.reduction_w);
    rows_gather(cat, k->x, k->rows, 1.0f, 4 * R, C);
    if (k->version == 1) {
        layernorm_forward(other, k->stats, cat, norm_w, PW(t, w, k->p.norm_b), R, 4 * C, SWIN_EPS);
        linear_backward(NULL, false, dW, NULL, dy, other, W, R, 2 * C, 4 * C);
        linear_backward(other, false, NULL, NULL, dy, NULL, W, R, 2 * C, 4 * C);
        layernorm_backward(other, false, dnorm_w, dnorm_b, other, cat, k->stats, norm_w, R, 4 * C);
    } else {
        layernorm_backward(dy, false, dnorm_w, dnorm_b, dy, k->m, k->stats, norm_w, R, 2 * C);
        linear_backward(other, false, dW, NULL, dy, cat, W, R, 2 * C, 4 * C);
    }
    rows_scatter(dx, dx, other, NULL, k->rows, 1.0f, 4 * R, C);
}
