/* outline: polygons and runs of pixels, and how they fill a mask. */
#include "outline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FINE = 5 };              /* corners lie on a grid of so many steps per pixel */
#define CORNER_MAX 1e7          /* pixels; farther away is no picture */

void outline_free(outline *o)
{
    free(o->xy);
    free(o->ring_end);
    free(o->run);
    *o = (outline){0};
}

status outline_add_ring(outline *o, const double (*xy)[2], int n)
{
    int before = o->n_rings ? o->ring_end[o->n_rings - 1] : 0;
    CHECK(n >= 3 && n <= INT32_MAX / 32 - before, ST_DATA, "a polygon of %d corners", n);
    for (int i = 0; i < n; i++)
        CHECK(fabs(xy[i][0]) <= CORNER_MAX && fabs(xy[i][1]) <= CORNER_MAX, ST_DATA, "a corner at %g, %g", xy[i][0], xy[i][1]);
    TRY(mem_grow(&o->ring_end, ((size_t)o->n_rings + 1) * sizeof *o->ring_end, "polygons"), "outline");
    TRY(mem_grow(&o->xy, ((size_t)before + (size_t)n) * sizeof *o->xy, "corners"), "outline");
    memcpy(o->xy + before, xy, (size_t)n * sizeof *xy);
    o->ring_end[o->n_rings++] = before + n;
    return OK;
}

/* ---- runs ---------------------------------------------------------------------------------------------------------------------- */

status outline_check_runs(const outline *o)
{
    uint64_t sum = 0, want = (uint64_t)o->H * (uint64_t)o->W;
    for (int i = 0; i < o->n_runs; i++) sum += o->run[i];
    CHECK(sum == want, ST_DATA, "the counts add up to %llu pixels, size says %d x %d", (unsigned long long)sum, o->H, o->W);
    return OK;
}

status outline_unpack(outline *o, const char *text, int H, int W)
{
    size_t length = strlen(text);
    CHECK(length < INT32_MAX, ST_DATA, "counts of %zu letters", length);
    TRY(mem_alloc(&o->run, (length + 1) * sizeof *o->run, "runs"), "outline"); /* a count has one letter or more */
    o->H = H, o->W = W;
    for (const char *p = text; *p;) {
        int64_t v = 0;
        int shift = 0, bits;
        do {
            bits = *p - '0';
            CHECK(bits >= 0 && bits < 64 && shift < 35, ST_DATA, "\"%.8s\" in the counts is no count", p);
            v |= (int64_t)(bits & 31) << shift;
            shift += 5;
            p++;
        } while (bits & 32);
        if (bits & 16) v -= (int64_t)1 << shift; /* the highest bit is the sign */
        if (o->n_runs > 2) v += o->run[o->n_runs - 2];
        CHECK(v >= 0 && v <= UINT32_MAX, ST_DATA, "count %d is %lld", o->n_runs, (long long)v);
        o->run[o->n_runs++] = (uint32_t)v;
    }
    return outline_check_runs(o);
}

void outline_extent(const outline *o, double edge[4])
{
    double x0 = INFINITY, y0 = INFINITY, x1 = -INFINITY, y1 = -INFINITY;
    for (int i = 0, n = o->n_rings ? o->ring_end[o->n_rings - 1] : 0; i < n; i++) {
        x0 = fmin(x0, o->xy[i][0]), x1 = fmax(x1, o->xy[i][0]);
        y0 = fmin(y0, o->xy[i][1]), y1 = fmax(y1, o->xy[i][1]);
    }
    uint64_t at = 0, H = (uint64_t)o->H;
    for (int i = 0; i < o->n_runs; at += o->run[i++]) {
        if (i % 2 == 0 || !o->run[i]) continue;
        uint64_t last = at + o->run[i] - 1;
        bool turns = at / H != last / H; /* goes on in the next column */
        x0 = fmin(x0, (double)(at / H)), x1 = fmax(x1, (double)(last / H) + 1);
        y0 = fmin(y0, turns ? 0 : (double)(at % H)), y1 = fmax(y1, turns ? (double)H : (double)(last % H) + 1);
    }
    bool any = x1 >= x0;
    edge[0] = any ? x0 : 0, edge[1] = any ? y0 : 0, edge[2] = any ? x1 : 0, edge[3] = any ? y1 : 0;
}

static void paint_runs(const outline *o, uint8_t *px, uint8_t value)
{
    size_t at = 0, H = (size_t)o->H, W = (size_t)o->W;
    for (int i = 0; i < o->n_runs; at += o->run[i++])
        for (size_t p = at; i % 2 == 1 && p < at + o->run[i]; p++) px[p % H * W + p / H] = value;
}

/* ---- polygons ------------------------------------------------------------------------------------------------------------------ */

/* Columns and rows that a polygon may touch, and where its edge is crossed on the way down each column. */
typedef struct crossings { int x0, x1, y0, y1; uint8_t *odd; } crossings; /* odd (x1-x0, y1-y0+1) */

/* The product is rounded before the sum, on every CPU. */
static int64_t along(int64_t from, double slope, int64_t t)
{
    volatile double step = slope * (double)t;
    return (int64_t)((double)from + step + 0.5);
}

static void cross(crossings *k, int x, int64_t v)
{
    double y = ceil(((double)v + 0.5) / FINE - 0.5);
    int row = (int)fmin(fmax(y, k->y0), k->y1);
    k->odd[(size_t)(x - k->x0) * ((size_t)(k->y1 - k->y0) + 1) + (size_t)(row - k->y0)] ^= 1;
}

/* Where the edge a-b passes the middle line of a column, between the fine columns FINE x + 2 and FINE x + 3. */
static void cross_edge(crossings *k, const double a[2], const double b[2])
{
    int64_t xs = (int64_t)(FINE * a[0] + 0.5), ys = (int64_t)(FINE * a[1] + 0.5), xe = (int64_t)(FINE * b[0] + 0.5), ye = (int64_t)(FINE * b[1] + 0.5);
    int64_t dx = llabs(xe - xs), dy = llabs(ye - ys), left = xs < xe ? xs : xe;
    bool flat = dx >= dy;
    if (flat ? xs > xe : ys > ye) {
        int64_t x = xs, y = ys;
        xs = xe, ys = ye, xe = x, ye = y;
    }
    if (dx == 0) return;
    double slope = flat ? (double)(ye - ys) / (double)dx : (double)(xe - xs) / (double)dy;
    int first = (int)fmax(k->x0, floor((double)(left - FINE) / FINE)), last = (int)fmin(k->x1 - 1, ceil((double)(left + dx) / FINE));
    for (int x = first; x <= last; x++) {
        int64_t u = (int64_t)FINE * x + 2;
        if (u < left || u + 1 > left + dx) continue;
        if (flat) {
            int64_t v0 = along(ys, slope, u - xs), v1 = along(ys, slope, u + 1 - xs);
            cross(k, x, v0 < v1 ? v0 : v1);
            continue;
        }
        bool right = slope > 0; /* t: the first step beyond the line */
        int64_t t = (int64_t)((double)(right ? u + 1 - xs : u - xs) / slope);
        t = t < 1 ? 1 : t > dy ? dy : t;
        while (t > 1 && (along(xs, slope, t - 1) > u) == right) t--;
        while (t < dy && (along(xs, slope, t) > u) != right) t++;
        cross(k, x, ys + t - 1);
    }
}

/* Rings [from, to) of the outline; inside is where an odd number of edges lies above. */
static status paint_rings(const outline *o, int from, int to, uint8_t *px, int H, int W, uint8_t value)
{
    int begin = from ? o->ring_end[from - 1] : 0, end = o->ring_end[to - 1];
    double lo[2] = {INFINITY, INFINITY}, hi[2] = {-INFINITY, -INFINITY};
    for (int i = begin; i < end; i++)
        for (int c = 0; c < 2; c++) lo[c] = fmin(lo[c], o->xy[i][c]), hi[c] = fmax(hi[c], o->xy[i][c]);
    crossings k = {.x0 = (int)fmax(0, floor(lo[0]) - 1), .x1 = (int)fmin(W, ceil(hi[0]) + 1),
                   .y0 = (int)fmax(0, fmin(H, floor(lo[1]) - 1)), .y1 = (int)fmax(0, fmin(H, ceil(hi[1]) + 1))};
    if (k.x0 >= k.x1 || k.y0 >= k.y1) return OK;
    size_t rows = (size_t)(k.y1 - k.y0), stride = rows + 1;
    TRY(mem_alloc(&k.odd, (size_t)(k.x1 - k.x0) * stride, "a polygon's pixels"), "outline");
    for (int r = from, i = begin; r < to; r++)
        for (int first = i; i < o->ring_end[r]; i++) cross_edge(&k, o->xy[i], o->xy[i + 1 < o->ring_end[r] ? i + 1 : first]);
    for (int x = k.x0; x < k.x1; x++) {
        const uint8_t *odd = k.odd + (size_t)(x - k.x0) * stride;
        uint8_t inside = 0;
        for (size_t y = 0; y < rows; y++)
            if (inside ^= odd[y]) px[((size_t)k.y0 + y) * (size_t)W + (size_t)x] = value;
    }
    free(k.odd);
    return OK;
}

status outline_paint(const outline *o, uint8_t *px, int H, int W, uint8_t value, bool even_odd)
{
    CHECK(!o->n_runs || (o->H == H && o->W == W), ST_DATA, "runs of an image of %d x %d pixels, the image has %d x %d", o->W, o->H, W, H);
    if (o->n_runs) paint_runs(o, px, value);
    if (even_odd && o->n_rings) return paint_rings(o, 0, o->n_rings, px, H, W, value);
    for (int r = 0; r < o->n_rings; r++) TRY(paint_rings(o, r, r + 1, px, H, W, value), "outline");
    return OK;
}
