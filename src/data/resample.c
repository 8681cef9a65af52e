/* resample: stored pixels to [0,1] at network resolution. Shrinking by 1.5 or more first averages whole blocks of pixels, so that
 * the bilinear step that follows never skips any. */
#include "data_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- rows of stored pixels to [0,1] ---- */

#define ROW(T)                                                                                                      \
    static void row_##T(const void *from, size_t n, float lo, float scale, float *restrict out)                     \
    {                                                                                                               \
        const T *p = from;                                                                                          \
        for (size_t i = 0; i < n; i++) {                                                                            \
            float v = ((float)p[i] - lo) * scale;                                                                   \
            v = v < 0 ? 0 : v;                                                                                      \
            out[i] = v > 1 ? 1 : v;                                                                                 \
        }                                                                                                           \
    }
ROW(uint8_t)
ROW(uint16_t)
ROW(int16_t)

/* A number that is not finite stays one: clipping would make white of +Inf, and nobody would ever learn of it. */
static void row_float(const void *from, size_t n, float lo, float scale, float *restrict out)
{
    const float *p = from;
    for (size_t i = 0; i < n; i++) {
        float v = (p[i] - lo) * scale;
        v = v < 0 ? 0 : v;
        v = v > 1 ? 1 : v;
        out[i] = fabsf(p[i]) <= FLT_MAX ? v : NAN;
    }
}

typedef void row_map(const void *from, size_t n, float lo, float scale, float *out);
static row_map *row_map_for(enum dtype t)
{
    switch (t) {
    case DT_U8: return row_uint8_t;
    case DT_U16: return row_uint16_t;
    case DT_I16: return row_int16_t;
    case DT_F32: return row_float;
    default: return NULL;
    }
}

/* ---- the part of the stored image that the view needs, averaged over f x f blocks ---- */

typedef struct patch { const float *at; int f, x0, y0, H, W, C; } patch; /* (H,W,C); x0, y0, H, W in blocks */

static void needed(const view *v, int H, int W, int Hs, int Ws, int f, patch *p)
{
    float x_lo = 3e38f, x_hi = -3e38f, y_lo = 3e38f, y_hi = -3e38f;
    for (int k = 0; k < 4; k++) {
        float x = k & 1 ? (float)W : 0, y = k & 2 ? (float)H : 0;
        float xs = v->ax * x + v->bx * y + v->cx, ys = v->ay * x + v->by * y + v->cy;
        x_lo = fminf(x_lo, xs), x_hi = fmaxf(x_hi, xs), y_lo = fminf(y_lo, ys), y_hi = fmaxf(y_hi, ys);
    }
    int bw = (Ws + f - 1) / f, bh = (Hs + f - 1) / f, margin = 2;
    float lim_x = fminf(fmaxf(x_lo, 0), (float)Ws), lim_y = fminf(fmaxf(y_lo, 0), (float)Hs);
    int x0 = (int)(lim_x / (float)f) - margin, y0 = (int)(lim_y / (float)f) - margin;
    int x1 = (int)(fminf(fmaxf(x_hi, 0), (float)Ws) / (float)f) + margin,
        y1 = (int)(fminf(fmaxf(y_hi, 0), (float)Hs) / (float)f) + margin;
    p->x0 = x0 < 0 ? 0 : x0 >= bw ? bw - 1 : x0, p->y0 = y0 < 0 ? 0 : y0 >= bh ? bh - 1 : y0;
    x1 = x1 > bw ? bw : x1, y1 = y1 > bh ? bh : y1;
    p->W = x1 > p->x0 ? x1 - p->x0 : 1, p->H = y1 > p->y0 ? y1 - p->y0 : 1;
    p->f = f;
}

/* Adds row (columns, C) into (W,C), f columns to a block. */
static void add_blocks(const float *row, int columns, int f, int C, float *sum)
{
    for (int x = 0, b = 0; x < columns; b++) {
        int end = x + f < columns ? x + f : columns;
        for (; x < end; x++)
            for (int c = 0; c < C; c++) sum[b * C + c] += row[x * C + c];
    }
}

static status make_patch(const raw_sample *s, const view *v, float lo, float hi, int H, int W, patch *p, scratch *tmp)
{
    double det = fabs((double)v->ax * v->by - (double)v->bx * v->ay), shrink = sqrt(det);
    int f = shrink >= 1.5 ? (int)(shrink + 0.5) : 1, C = s->C;
    p->C = C;
    needed(v, H, W, s->H, s->W, f, p);
    size_t row_floats = (size_t)p->W * (size_t)C, pixel = (size_t)C * dtype_bytes(s->type);
    TRY(buffer_need(&tmp->planes, row_floats * (size_t)p->H * sizeof(float), "image"), "resampling");
    TRY(buffer_need(&tmp->row, row_floats * (size_t)f * sizeof(float), "row"), "resampling");
    row_map *map = row_map_for(s->type);
    CHECK(map, ST_BUG, "pixels of type %s", dtype_name(s->type));
    float scale = 1 / (hi - lo), *out = tmp->planes.at, *row = tmp->row.at;
    p->at = out;
    int first = p->x0 * f, columns = p->W * f < s->W - first ? p->W * f : s->W - first;
    for (int y = 0; y < p->H; y++, out += row_floats) {
        int from = (p->y0 + y) * f, to = from + f < s->H ? from + f : s->H;
        const char *src = (const char *)s->pixels + ((size_t)from * (size_t)s->W + (size_t)first) * pixel;
        if (f == 1) {
            map(src, row_floats, lo, scale, out);
            continue;
        }
        memset(out, 0, row_floats * sizeof *out);
        for (int k = from; k < to; k++, src += (size_t)s->W * pixel) {
            map(src, (size_t)columns * (size_t)C, lo, scale, row);
            add_blocks(row, columns, f, C, out);
        }
        for (int b = 0; b < p->W; b++) { /* the last block may be narrower */
            int wide = columns - b * f < f ? columns - b * f : f;
            float mean = 1 / (float)(wide * (to - from));
            for (int c = 0; c < C; c++) out[b * C + c] *= mean;
        }
    }
    return OK;
}

/* ---- bilinear ---- */

/* One row of the output; C is a constant at both places of use, so that the inner loop unrolls. */
static inline __attribute__((always_inline)) void sample_row(const patch *p, const view *v, int y, span s, int C, float *restrict out)
{
    float yc = (float)y + 0.5f, per = 1 / (float)p->f;
    float ax = v->ax * per, ay = v->ay * per;
    float ox = (v->bx * yc + v->cx) * per - 0.5f - (float)p->x0, oy = (v->by * yc + v->cy) * per - 0.5f - (float)p->y0;
    float x_most = (float)(p->W - 1), y_most = (float)(p->H - 1);
    const float *restrict at = p->at;
    int stride = p->W * C;
    for (int x = s.from; x < s.to; x++) {
        float xc = (float)x + 0.5f, u = ax * xc + ox, w = ay * xc + oy;
        u = u < 0 ? 0 : u > x_most ? x_most : u;
        w = w < 0 ? 0 : w > y_most ? y_most : w;
        int iu = (int)u, iw = (int)w;
        float fu = u - (float)iu, fw = w - (float)iw;
        int right = iu + 1 < p->W ? C : 0, down = iw + 1 < p->H ? stride : 0;
        const float *q = at + (size_t)iw * (size_t)stride + (size_t)iu * (size_t)C;
        for (int c = 0; c < C; c++) {
            float top = q[c] + fu * (q[c + right] - q[c]), bottom = q[c + down] + fu * (q[c + down + right] - q[c + down]);
            out[x * C + c] = top + fw * (bottom - top);
        }
    }
}

status resample(const raw_sample *s, const view *v, float lo, float hi, int H, int W, float *out, scratch *tmp)
{
    patch p = {0};
    TRY(make_patch(s, v, lo, hi, H, W, &p, tmp), "image");
    size_t row = (size_t)W * (size_t)s->C;
    memset(out, 0, row * (size_t)H * sizeof *out);
    for (int y = 0; y < H; y++, out += row) {
        span in = view_span(v, y, W, s->H, s->W);
        if (s->C == 3) sample_row(&p, v, y, in, 3, out);
        else sample_row(&p, v, y, in, 1, out);
    }
    return OK;
}

void replicate(const float *image, int C, size_t n, float *out)
{
    if (C == 3) memcpy(out, image, 3 * n * sizeof *out);
    else
        for (size_t i = 0; i < n; i++) out[3 * i] = out[3 * i + 1] = out[3 * i + 2] = image[i];
}

/* Largest patch in blocks: a view shrinks by at most 1.5 after whole blocks are averaged, and a turned one reaches over the diagonal. */
status sample_room(int Hs, int Ws, int C, int H, int W, scratch *tmp)
{
    double reach = 1.5 * sqrt((double)H * H + (double)W * W) + 8;
    size_t rows = (size_t)fmin(reach, Hs), columns = (size_t)fmin(reach, Ws), row = (size_t)W * (size_t)C, pad = 15 * (size_t)C;
    TRY(buffer_need(&tmp->planes, rows * columns * (size_t)C * sizeof(float), "image"), "resampling");
    TRY(buffer_need(&tmp->row, 2 * (size_t)Ws * (size_t)C * sizeof(float), "row"), "resampling");
    TRY(buffer_need(&tmp->work, (size_t)H * row * sizeof(float), "image"), "augmentation");
    return buffer_need(&tmp->blur, ((size_t)H * row + row + 2 * pad) * sizeof(float), "blur");
}

status sample_image(const raw_sample *s, const augment_spec *a, rng_key key, int H, int W, float *out, view *v, scratch *tmp)
{
    augment_draw d = augment_decide(a, key, s, H, W);
    *v = d.v;
    float width = s->range[1] - s->range[0], lo = s->range[0] + d.window[0] * width, hi = s->range[1] + d.window[1] * width;
    if (!(hi > lo)) lo = s->range[0], hi = s->range[1]; /* jitter of a full width and more */
    size_t n = (size_t)H * (size_t)W;
    if (s->H_most) TRY(sample_room(s->H_most, s->W_most, s->C, H, W, tmp), "augmentation");
    TRY(buffer_need(&tmp->work, n * (size_t)s->C * sizeof(float), "image"), "augmentation");
    TRY(resample(s, v, lo, hi, H, W, tmp->work.at, tmp), "augmentation");
    if (a) TRY(intensity_apply(&d, key, tmp->work.at, H, W, s->C, s->H, s->W, tmp), "augmentation");
    replicate(tmp->work.at, s->C, n, out);
    return OK;
}

float image_step(const float spacing[2], double wanted)
{
    double stored = sqrt((double)spacing[0] * spacing[1]); /* NaN if unknown */
    return wanted > 0 && stored > 0 ? (float)(wanted / stored) : 0;
}

static status check_image(int Hs, int Ws, int C, const float range[2], int H, int W)
{
    CHECK(Hs > 0 && Ws > 0 && H > 0 && W > 0 && (C == 1 || C == 3), ST_BUG, "image of %dx%d pixels, %d channels", Ws, Hs, C);
    CHECK(range[0] < range[1], ST_DATA, "intensity range %g to %g is empty", (double)range[0], (double)range[1]);
    return OK;
}

status image_through(const void *pixels, enum dtype type, int Hs, int Ws, int C, const float range[2], const view *v, int H, int W, float *out)
{
    TRY(check_image(Hs, Ws, C, range, H, W), "image");
    raw_sample s = {.pixels = pixels, .type = type, .H = Hs, .W = Ws, .C = C, .range = {range[0], range[1]}};
    scratch tmp = {0};
    status st = buffer_need(&tmp.work, (size_t)H * (size_t)W * (size_t)C * sizeof(float), "image");
    if (!st) st = resample(&s, v, range[0], range[1], H, W, tmp.work.at, &tmp);
    if (!st) replicate(tmp.work.at, C, (size_t)H * (size_t)W, out);
    scratch_free(&tmp);
    return st;
}

status image_fit(const void *pixels, enum dtype type, int Hs, int Ws, int C, const float range[2], float step, int H, int W, float *out, view *v)
{
    TRY(check_image(Hs, Ws, C, range, H, W), "image");
    raw_sample s = {.pixels = pixels, .type = type, .H = Hs, .W = Ws, .C = C, .range = {range[0], range[1]}, .step = step};
    scratch tmp = {0};
    status st = sample_image(&s, NULL, (rng_key){0}, H, W, out, v, &tmp);
    scratch_free(&tmp);
    return st;
}
