/* predict_slide_mask: regions of a whole slide. Windows go over it row by row; the probabilities of those that overlap are blended in a band as high
 * as a window, and rows that no later window reaches go on to the outliner. Memory depends on the slide's width, where there is tissue, and on what
 * is cut by the row at hand, not on its height. */
#include "slide_work.h"

#include <stdlib.h>
#include <string.h>

/* The band in columns of `stride` pixels, there from the first window in them to the last: sums (side,stride,K + 1) of weighted probabilities and, last,
 * of weights. Row y of the slide lies in row y % side. */
typedef struct column { float *sum; int last; } column; /* last: row of windows */
typedef struct band {
    slide_windows g;
    int       K, n;
    column   *col;      /* (n) */
    float    *blend;    /* (side) */
    float    *prob;     /* (side,side,K) of a window */
    uint8_t  *mask;     /* (side,side) */
    uint8_t  *row;      /* (W) */
    double    count[256];
    outliner *lines;
} band;

static void band_close(band *b)
{
    for (int i = 0; b->col && i < b->n; i++) free(b->col[i].sum);
    free(b->col), free(b->blend), free(b->prob), free(b->mask), free(b->row);
    outliner_close(b->lines);
}

static status band_open(band *b, slide_work *k)
{
    *b = (band){.g = slide_windows_of(k), .K = k->p->plan.spec.K};
    const tiling *t = &k->s.t;
    const slide_windows *g = &b->g;
    size_t area = (size_t)g->side * (size_t)g->side;
    b->n = ((g->nx - 1) * g->stride + g->side + g->stride - 1) / g->stride;
    TRY(mem_alloc(&b->col, sizeof *b->col * (size_t)b->n, "band"), "slide");
    TRY(mem_alloc(&b->blend, sizeof *b->blend * (size_t)g->side, "blending"), "slide");
    TRY(mem_alloc(&b->prob, sizeof *b->prob * area * (size_t)b->K, "probabilities of a window"), "slide");
    TRY(mem_alloc(&b->mask, area, "mask of a window"), "slide");
    TRY(mem_alloc(&b->row, (size_t)g->W, "a row"), "slide");
    predict_blend(b->blend, g->side);
    for (int c = 0; c < 2; c++) k->g.step[c] = t->scale[c];
    k->g.from[0] = (double)t->is.x, k->g.from[1] = (double)t->is.y;
    k->g.most[0] = (double)(t->is.x + t->is.W), k->g.most[1] = (double)(t->is.y + t->is.H);
    return geojson_regions(&k->g, &b->lines, g->W);
}

/* The sums of pixel (x,y), which is in a column that is there. */
static float *sums_of(const band *b, int x, int y)
{
    size_t stride = (size_t)b->g.stride, at = (size_t)(y % b->g.side) * stride + (size_t)(x % b->g.stride);
    return b->col[x / b->g.stride].sum + at * (size_t)(b->K + 1);
}

static status add_window(slide_work *k, band *b, int j, int i)
{
    const slide_windows *g = &b->g;
    int side = g->side, K = b->K, x0 = i * g->stride, y0 = j * g->stride;
    source_case c;
    watchdog_tick(-1, "read", k->p->plan.spec.name);
    TRY(source_tile(&c, &k->s, slide_window_at(k, g, j, i)), "slide");
    plane s = source_plane(&c, 0);
    status st = predict_mask(k->p, &s, side, side, b->mask, b->prob);
    source_free(&c);
    if (st) return st;
    for (int col = x0 / g->stride; col <= (x0 + side - 1) / g->stride; col++) {
        if (!b->col[col].sum)
            TRY(mem_alloc(&b->col[col].sum, sizeof(float) * (size_t)side * (size_t)g->stride * (size_t)(K + 1), "band"), "slide");
        b->col[col].last = j;
    }
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            size_t at = (size_t)y * (size_t)side + (size_t)x;
            float weight = b->blend[y] * b->blend[x], *to = sums_of(b, x0 + x, y0 + y);
            if (g->stride == side) to[b->mask[at]] = weight; /* alone: its own mask, which knows more digits than probabilities */
            else
                for (int n = 0; n < K; n++) to[n] += weight * b->prob[at * (size_t)K + (size_t)n];
            to[K] += weight;
        }
    return OK;
}

/* Row y is complete: its classes, to the outliner. Where no window looked there is background. */
static status put_row(band *b, int y)
{
    int stride = b->g.stride, K = b->K;
    memset(b->row, 0, (size_t)b->g.W);
    for (int col = 0; col < b->n; col++) {
        if (!b->col[col].sum) continue;
        for (int x = col * stride; x < (col + 1) * stride && x < b->g.W; x++) {
            const float *z = sums_of(b, x, y);
            int best = 0;
            if (!(z[K] > 0)) continue;
            for (int n = 1; n < K; n++)
                if (z[n] > z[best]) best = n;
            b->row[x] = (uint8_t)best;
            b->count[best]++;
        }
        memset(sums_of(b, col * stride, y), 0, sizeof(float) * (size_t)stride * (size_t)(K + 1));
    }
    return outliner_row(b->lines, b->row);
}

static status go_over(slide_work *k, band *b)
{
    const slide_windows *g = &b->g;
    for (int j = 0, y = 0; j < g->ny; j++) {
        for (int i = 0; i < g->nx; i++)
            if (slide_window_has_tissue(k, g, j, i)) TRY(add_window(k, b, j, i), "slide");
        for (int end = j + 1 < g->ny ? (j + 1) * g->stride : g->H; y < end && y < g->H; y++) TRY(put_row(b, y), "slide");
        for (int col = 0; col < b->n; col++)
            if (b->col[col].sum && b->col[col].last * g->stride + g->side <= (j + 1) * g->stride) free(b->col[col].sum), b->col[col].sum = NULL;
    }
    return outliner_end(b->lines);
}

status slide_mask(slide_work *k)
{
    band b;
    predict_row row = slide_row(k, k->p->plan.spec.K);
    status st = band_open(&b, k);
    if (!st) st = go_over(k, &b);
    if (!st) st = predict_rows_add(k->rows, &row, b.count);
    band_close(&b);
    return st;
}
