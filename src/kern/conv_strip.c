/* conv_strip: moves strips of images between the tensors and the cache-sized buffers of the convolution; nearest x2 by itself. */
#include "conv_inner.h"

#include <string.h>

/* One row of n <= 16 channels into a block row: dst (W,16) at channel 0, src at the source's first channel of the segment. */
static void gather_row(float *dst, const float *src, int64_t C, int W, int n, int up, const float *scale, const float *shift, bool relu)
{
    if (n < LANES) {
        for (int x = 0; x < W; x++)
            for (int c = 0; c < n; c++) {
                float v = src[(x >> up) * C + c];
                if (scale) v = v * scale[c] + shift[c];
                dst[x * LANES + c] = relu ? RELU1(v) : v;
            }
        return;
    }
    if (!scale && !relu) {
        for (int x = 0; x < W; x++)
            for (int i = 0; i < LANES; i += WIDTH) STORE(dst + x * LANES + i, LOAD(src + (x >> up) * C + i));
        return;
    }
    for (int i = 0; i < LANES; i += WIDTH) {
        vec a = (vec){0} + 1.0f, b = {0};
        if (scale) a = LOAD(scale + i), b = LOAD(shift + i);
        for (int x = 0; x < W; x++) {
            vec v = LOAD(src + (x >> up) * C + i) * a + b;
            STORE(dst + x * LANES + i, relu ? WHERE_POSITIVE(v, v) : v);
        }
    }
}

/* The part of one source that falls into one block. */
static void gather_segment(float *dst, const strip_view *v, const conv_in *in, int c0, int n)
{
    int64_t C = in->C, cols = v->W + 2 * v->pad;
    const float *scale = in->scale ? in->scale + v->image * C + c0 : NULL, *shift = in->scale ? in->shift + v->image * C + c0 : NULL;
    for (int r = 0; r < v->rows; r++) {
        float *row = dst + r * cols * LANES, *mid = row + v->pad * LANES;
        int y = v->row + r;
        if (y < 0 || y >= v->H) {
            for (int64_t x = 0; x < cols; x++) memset(row + x * LANES, 0, (size_t)n * sizeof *row);
            continue;
        }
        for (int x = 0; x < v->pad; x++) {
            memset(row + x * LANES, 0, (size_t)n * sizeof *row);
            memset(mid + (v->W + x) * LANES, 0, (size_t)n * sizeof *row);
        }
        int64_t pixel = in->up ? v->pixel / 4 + (int64_t)(y / 2) * (v->W / 2) : v->pixel + (int64_t)y * v->W;
        gather_row(mid, in->x + pixel * C + c0, C, v->W, n, in->up, scale, shift, in->relu);
    }
}

static void gather_dilated(float *dst, const strip_view *v, const conv_in *in, int c0, int n)
{
    int64_t cols = v->W + 2 * v->pad, Wo = (v->W + 1) / 2;
    memset(dst, 0, (size_t)(v->rows * cols * LANES) * sizeof *dst);
    for (int r = 0; r < v->rows; r++) {
        int y = v->row + r;
        if (y < 0 || y >= v->H || y % 2) continue;
        const float *src = in->x + (v->pixel + y / 2 * Wo) * in->C + c0;
        for (int64_t x = 0; x < Wo; x++)
            memcpy(dst + (r * cols + v->pad + 2 * x) * LANES, src + x * in->C, (size_t)n * sizeof *dst);
    }
}

void strip_gather(float *xs, const strip_view *v, const conv_in *in, int n_in, int k0, int k)
{
    int64_t block_step = (int64_t)v->rows * (v->W + 2 * v->pad) * LANES;
    for (int b = 0; b < blocks(k); b++) {
        float *dst = xs + b * block_step;
        int lo = k0 + b * LANES, hi = min_int(lo + LANES, k0 + k);
        if (hi - lo < LANES) memset(dst, 0, (size_t)block_step * sizeof *dst);
        for (int i = 0, s0 = 0; i < n_in; s0 += in[i++].C) {
            int c0 = s0 > lo ? s0 : lo, c1 = min_int(s0 + in[i].C, hi);
            if (c0 >= c1) continue;
            if (v->dilate) gather_dilated(dst + (c0 - lo), v, in + i, c0 - s0, c1 - c0);
            else gather_segment(dst + (c0 - lo), v, in + i, c0 - s0, c1 - c0);
        }
    }
}

static void scatter_segment(const conv_out *out, const strip_view *v, const float *ys, int64_t step, int c0, int n)
{
    for (int r = 0; r < v->rows; r++) {
        float *d = out->d + (v->pixel + (int64_t)(v->row + r) * v->W) * out->C + c0;
        const float *s = ys + r * v->W * step;
        for (int x = 0; x < v->W; x++, d += out->C, s += step) {
            if (out->add)
                for (int c = 0; c < n; c++) d[c] += s[c];
            else
                memcpy(d, s, (size_t)n * sizeof *d);
        }
    }
}

static void scatter_segment_up(const conv_out *out, const strip_view *v, const float *ys, int64_t step, int c0, int n)
{
    for (int r = 0; r < v->rows; r += 2) {
        float *d = out->d + (v->pixel / 4 + (int64_t)((v->row + r) / 2) * (v->W / 2)) * out->C + c0;
        const float *s = ys + r * v->W * step, *t = s + v->W * step;
        for (int x = 0; x < v->W; x += 2, d += out->C, s += 2 * step, t += 2 * step)
            for (int c = 0; c < n; c++) {
                float sum = (s[c] + s[step + c]) + (t[c] + t[step + c]);
                d[c] = out->add ? d[c] + sum : sum;
            }
    }
}

void strip_scatter(const conv_out *out, int n_out, const strip_view *v, const float *ys, int64_t ys_step, int c0, int n)
{
    for (int i = 0, s0 = 0; i < n_out; s0 += out[i++].C) {
        int lo = s0 > c0 ? s0 : c0, hi = min_int(s0 + out[i].C, c0 + n);
        if (lo >= hi || !out[i].d) continue;
        if (out[i].up) scatter_segment_up(out + i, v, ys + (lo - c0), ys_step, lo - s0, hi - lo);
        else scatter_segment(out + i, v, ys + (lo - c0), ys_step, lo - s0, hi - lo);
    }
}

void upsample2_forward(float *y, bool acc, const float *x, int64_t B, int64_t H, int64_t W, int64_t C)
{
    for (int64_t row = 0; row < 2 * B * H; row++)
        for (int64_t col = 0; col < 2 * W; col++) {
            float *o = y + (row * 2 * W + col) * C;
            const float *s = x + (row / 2 * W + col / 2) * C;
            for (int64_t c = 0; c < C; c++) o[c] = acc ? o[c] + s[c] : s[c];
        }
}

void upsample2_backward(float *dx, bool acc, const float *dy, int64_t B, int64_t H, int64_t W, int64_t C)
{
    for (int64_t row = 0; row < B * H; row++)
        for (int64_t col = 0; col < W; col++) {
            float *o = dx + (row * W + col) * C;
            const float *s = dy + (row * 4 * W + col * 2) * C, *t = s + 2 * W * C;
            for (int64_t c = 0; c < C; c++) {
                float sum = (s[c] + s[C + c]) + (t[c] + t[C + c]);
                o[c] = acc ? o[c] + sum : sum;
            }
        }
}
