/* metric_surface: the 95th percentile of the Hausdorff distance between the surfaces of a class in two masks. Exact Euclidean distances: per
 * row the nearest surface pixel by two scans, then per column the lower envelope of parabolas (Felzenszwalb and Huttenlocher, Theory of
 * Computing 8, 2012). */
#include "metric_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The part of a mask that is looked at, (h,w): its origin and the row length of the mask. */
struct surface_work {
    uint8_t *edge[2];   /* (h,w) surfaces of guess and truth */
    int32_t *near;      /* (h,w) columns to the nearest surface pixel of the row; FAR none */
    double  *height;    /* (h) squared distance along the row, of the parabolas of a column */
    int32_t *foot;      /* (h) their rows */
    double  *from;      /* (h + 1) where each begins to be the lowest */
    double  *list;      /* distances of one surface to the other */
    int64_t  cap_area, cap_h, cap_list, n;
};
#define FAR INT32_MAX

status surface_open(surface_work **out) { return mem_alloc(out, sizeof **out, "surfaces"); }

void surface_close(surface_work *s)
{
    if (!s) return;
    free(s->edge[0]), free(s->edge[1]), free(s->near), free(s->height), free(s->foot), free(s->from), free(s->list);
    free(s);
}

static status make_room(surface_work *s, int64_t h, int64_t w)
{
    if (h * w > s->cap_area) {
        for (int i = 0; i < 2; i++) TRY(mem_grow(&s->edge[i], (size_t)(h * w), "surfaces"), "HD95");
        TRY(mem_grow(&s->near, sizeof *s->near * (size_t)(h * w), "distances"), "HD95");
        TRY(mem_grow(&s->list, sizeof *s->list * (size_t)(h * w), "distances"), "HD95");
        s->cap_area = h * w;
    }
    if (h > s->cap_h) {
        TRY(mem_grow(&s->height, sizeof *s->height * (size_t)h, "distances"), "HD95");
        TRY(mem_grow(&s->foot, sizeof *s->foot * (size_t)h, "distances"), "HD95");
        TRY(mem_grow(&s->from, sizeof *s->from * (size_t)(h + 1), "distances"), "HD95");
        s->cap_h = h;
    }
    return OK;
}

typedef struct field { const uint8_t *guess, *truth; int W, y0, x0, h, w, k; } field; /* masks with rows of W; the part with class k */

static bool in_mask(const field *f, int which, int y, int x)
{
    int64_t at = (int64_t)(f->y0 + y) * f->W + f->x0 + x;
    return f->truth[at] != IGNORE_MASK && (which ? f->truth[at] : f->guess[at]) == f->k;
}

/* The smallest part that holds the class in both masks. False unless it is in both. */
static bool find_part(field *f, int H, int W)
{
    int top = H, bottom = -1, left = W, right = -1;
    bool has[2] = {false};
    f->y0 = f->x0 = 0, f->W = W;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int which = 0; which < 2; which++) {
                if (!in_mask(f, which, y, x)) continue;
                has[which] = true;
                if (y < top) top = y;
                if (y > bottom) bottom = y;
                if (x < left) left = x;
                if (x > right) right = x;
            }
    f->y0 = top, f->x0 = left, f->h = bottom - top + 1, f->w = right - left + 1;
    return has[0] && has[1];
}

/* The part reaches as far as the class does, so beyond it is outside. */
static void find_edges(surface_work *s, const field *f)
{
    for (int which = 0; which < 2; which++)
        for (int y = 0; y < f->h; y++)
            for (int x = 0; x < f->w; x++) {
                bool inner = y > 0 && y + 1 < f->h && x > 0 && x + 1 < f->w && in_mask(f, which, y - 1, x) && in_mask(f, which, y + 1, x) &&
                             in_mask(f, which, y, x - 1) && in_mask(f, which, y, x + 1);
                s->edge[which][(int64_t)y * f->w + x] = !inner && in_mask(f, which, y, x);
            }
}

static void scan_rows(surface_work *s, const uint8_t *edge, int h, int w)
{
    for (int y = 0; y < h; y++) {
        int32_t *near = s->near + (int64_t)y * w, last = FAR;
        const uint8_t *e = edge + (int64_t)y * w;
        for (int x = 0; x < w; x++) near[x] = last = e[x] ? 0 : last == FAR ? FAR : last + 1;
        last = FAR;
        for (int x = w - 1; x >= 0; x--) {
            last = e[x] ? 0 : last == FAR ? FAR : last + 1;
            if (last < near[x]) near[x] = last;
        }
    }
}

/* Parabolas height + ((row - foot) step)^2 of column x that are the lowest somewhere; returns how many. */
static int envelope(surface_work *s, int x, int h, int w, const double step[2])
{
    int n = 0;
    for (int y = 0; y < h; y++) {
        int32_t near = s->near[(int64_t)y * w + x];
        if (near == FAR) continue;
        double q = y * step[0], f = near * step[1] * (near * step[1]), meet = -INFINITY;
        while (n > 0) {
            double v = s->foot[n - 1] * step[0];
            meet = (f - s->height[n - 1] + (q - v) * (q + v)) / (2 * (q - v));
            if (meet > s->from[n - 1]) break;
            n--, meet = -INFINITY;
        }
        s->foot[n] = y, s->height[n] = f, s->from[n++] = meet;
    }
    return n;
}

/* Distances of the pixels of one surface to the other: list, n. */
static void measure(surface_work *s, const uint8_t *of, const uint8_t *to, const field *f, const double step[2])
{
    s->n = 0;
    scan_rows(s, to, f->h, f->w);
    for (int x = 0; x < f->w; x++) {
        int n = envelope(s, x, f->h, f->w, step), i = 0;
        for (int y = 0; y < f->h; y++) {
            if (!of[(int64_t)y * f->w + x]) continue;
            double at = y * step[0];
            while (i + 1 < n && s->from[i + 1] < at) i++;
            double d = at - s->foot[i] * step[0];
            s->list[s->n++] = sqrt(s->height[i] + d * d);
        }
    }
}

static int rising(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;
    return a < b ? -1 : a > b;
}

static double percentile_95(surface_work *s)
{
    qsort(s->list, (size_t)s->n, sizeof *s->list, rising);
    double at = 0.95 * (double)(s->n - 1);
    int64_t i = (int64_t)at;
    return i + 1 < s->n ? s->list[i] + (at - (double)i) * (s->list[i + 1] - s->list[i]) : s->list[s->n - 1];
}

status surface_hd95(surface_work *s, const uint8_t *guess, const uint8_t *truth, int h, int w, int k, const double step[2], double *out)
{
    field f = {.guess = guess, .truth = truth, .k = k};
    *out = NAN;
    if (!find_part(&f, h, w)) return OK;
    TRY(make_room(s, f.h, f.w), "HD95 of %dx%d pixels", f.w, f.h);
    find_edges(s, &f);
    measure(s, s->edge[0], s->edge[1], &f, step);
    double there = percentile_95(s);
    measure(s, s->edge[1], s->edge[0], &f, step);
    *out = fmax(there, percentile_95(s));
    return OK;
}
