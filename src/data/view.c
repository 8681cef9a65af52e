/* view: where network pixels lie in the stored image, and how masks and boxes follow. */
#include "data_internal.h"

#include <math.h>
#include <string.h>

/* q = (x - W/2, y - H/2) - shift; source = centre + scale * R(turn + quarter) * flip * q */
typedef struct geometry { double scale, turn, shift[2], centre[2]; int quarter; bool flip_x, flip_y; } geometry;

static view make_view(const geometry *g, int H, int W)
{
    static const double c90[4] = {1, 0, -1, 0}, s90[4] = {0, 1, 0, -1}; /* exact, so that flips and quarter turns move pixels whole */
    double c0 = cos(g->turn), s0 = sin(g->turn);
    double c = c0 * c90[g->quarter] - s0 * s90[g->quarter], s = s0 * c90[g->quarter] + c0 * s90[g->quarter];
    double fx = g->flip_x ? -1 : 1, fy = g->flip_y ? -1 : 1;
    double ax = g->scale * c * fx, bx = -g->scale * s * fy, ay = g->scale * s * fx, by = g->scale * c * fy;
    double qx = W / 2.0 + g->shift[0], qy = H / 2.0 + g->shift[1];
    return (view){(float)ax, (float)bx, (float)(g->centre[0] - ax * qx - bx * qy),
                  (float)ay, (float)by, (float)(g->centre[1] - ay * qx - by * qy)};
}

static double fit_scale(int Hs, int Ws, int H, int W, bool sideways)
{
    double across = (double)Ws / (sideways ? H : W), down = (double)Hs / (sideways ? W : H);
    return across > down ? across : down;
}

view view_fit(int Hs, int Ws, int H, int W)
{
    return make_view(&(geometry){.scale = fit_scale(Hs, Ws, H, W, false), .centre = {Ws / 2.0, Hs / 2.0}}, H, W);
}

static float either_way(rng *r, float strength) { return strength * (2 * rng_uniform(r) - 1); }

static view decide_view(const augment_spec *a, rng_key key, const raw_sample *raw, int H, int W)
{
    int Hs = raw->H, Ws = raw->W;
    rng r = rng_open(key, RNG_AUGMENT, SUB_GEOMETRY);
    geometry g = {.centre = {Ws / 2.0, Hs / 2.0}};
    g.flip_x = rng_uniform(&r) < a->flip_x;
    g.flip_y = rng_uniform(&r) < a->flip_y;
    bool turn90 = rng_uniform(&r) < a->rot90;
    int quarter = (int)(rng_u32(&r) >> 30);
    g.quarter = turn90 ? quarter : 0;
    g.turn = either_way(&r, a->rotate_deg) * (3.14159265358979323846 / 180);
    double zoom = exp(log(a->scale_lo) + (log(a->scale_hi) - log(a->scale_lo)) * rng_uniform(&r)) * a->crop_scale;
    g.scale = (raw->step > 0 ? (double)raw->step : fit_scale(Hs, Ws, H, W, g.quarter & 1)) / zoom;
    g.shift[0] = either_way(&r, a->shift) * (float)W;
    g.shift[1] = either_way(&r, a->shift) * (float)H;
    double u = either_way(&r, 0.5f), v = either_way(&r, 0.5f);
    if (a->crop_scale > 1) { /* the crop may lie anywhere inside the image */
        double slack_x = Ws - g.scale * (g.quarter & 1 ? H : W), slack_y = Hs - g.scale * (g.quarter & 1 ? W : H);
        if (slack_x > 0) g.centre[0] += u * slack_x;
        if (slack_y > 0) g.centre[1] += v * slack_y;
    }
    return make_view(&g, H, W);
}

augment_draw augment_decide(const augment_spec *a, rng_key key, const raw_sample *s, int H, int W)
{
    augment_draw d = {.contrast = 1, .gamma = 1, .saturation = 1};
    if (!a) {
        d.v = s->step > 0 ? make_view(&(geometry){.scale = (double)s->step, .centre = {s->W / 2.0, s->H / 2.0}}, H, W)
                          : view_fit(s->H, s->W, H, W);
        return d;
    }
    d.v = decide_view(a, key, s, H, W);
    rng r = rng_open(key, RNG_AUGMENT, SUB_INTENSITY);
    d.window[0] = either_way(&r, a->window);
    d.window[1] = either_way(&r, a->window);
    d.brightness = either_way(&r, a->brightness);
    d.contrast = expf(either_way(&r, a->contrast));
    d.gamma = expf(either_way(&r, a->gamma));
    d.noise = a->noise * rng_uniform(&r);
    d.blur = a->blur * rng_uniform(&r);
    d.hue = either_way(&r, a->hue) * 6.2831853f;
    d.saturation = expf(either_way(&r, a->saturation));
    d.invert = rng_uniform(&r) < a->invert;
    return d;
}

/* x with 0 <= slope * (x + 0.5) + offset < limit, as a half-open range cut into [from, to) */
static span cut(span s, double slope, double offset, double limit)
{
    if (slope == 0) {
        if (offset < 0 || offset >= limit) s.to = s.from;
        return s;
    }
    double a = (0 - offset) / slope - 0.5, b = (limit - offset) / slope - 0.5;
    double lo = ceil((a < b ? a : b) - 1e-4), hi = floor((a < b ? b : a) - 1e-4) + 1; /* an edge exactly on a centre: in, then out */
    if (lo > s.from) s.from = lo < s.to ? (int)lo : s.to;
    if (hi < s.to) s.to = hi > s.from ? (int)hi : s.from;
    return s;
}

span view_span(const view *v, int y, int W, int Hs, int Ws)
{
    double yc = y + 0.5;
    span s = cut((span){0, W}, v->ax, (double)v->bx * yc + v->cx, Ws);
    return cut(s, v->ay, (double)v->by * yc + v->cy, Hs);
}

static int inside(float at, int n) { return at < 0 ? 0 : at >= (float)n ? n - 1 : (int)at; }

void view_mask(const view *v, const uint8_t *stored, int Hs, int Ws, uint8_t *mask, int H, int W)
{
    for (int y = 0; y < H; y++) {
        uint8_t *row = mask + (size_t)y * (size_t)W;
        memset(row, IGNORE_MASK, (size_t)W);
        span s = view_span(v, y, W, Hs, Ws);
        float yc = (float)y + 0.5f, ox = v->bx * yc + v->cx, oy = v->by * yc + v->cy;
        for (int x = s.from; x < s.to; x++) {
            float xc = (float)x + 0.5f;
            row[x] = stored[(size_t)inside(v->ay * xc + oy, Hs) * (size_t)Ws + (size_t)inside(v->ax * xc + ox, Ws)];
        }
    }
}

/* The box around the turned ellipse that fills the stored box: exact for flips and quarter turns, and close to the object for
 * small angles, where the box around the turned corners would be too large. */
void view_box_whole(const view *v, const float b[4], float out[4])
{
    double det = (double)v->ax * v->by - (double)v->bx * v->ay;
    double ix = v->by / det, jx = -v->bx / det, iy = -v->ay / det, jy = v->ax / det; /* stored -> network */
    double mx = (b[0] + b[2]) / 2.0 - v->cx, my = (b[1] + b[3]) / 2.0 - v->cy, a = (b[2] - b[0]) / 2.0, e = (b[3] - b[1]) / 2.0;
    double x = ix * mx + jx * my, y = iy * mx + jy * my, rx = hypot(ix * a, jx * e), ry = hypot(iy * a, jy * e);
    out[0] = (float)(x - rx), out[1] = (float)(y - ry), out[2] = (float)(x + rx), out[3] = (float)(y + ry);
}

bool view_box(const view *v, const float b[4], int H, int W, float out[4])
{
    view_box_whole(v, b, out);
    float whole = (out[2] - out[0]) * (out[3] - out[1]);
    out[0] = fmaxf(out[0], 0), out[1] = fmaxf(out[1], 0), out[2] = fminf(out[2], (float)W), out[3] = fminf(out[3], (float)H);
    float w = out[2] - out[0], h = out[3] - out[1];
    return w >= 2 && h >= 2 && w * h >= 0.25f * whole;
}
