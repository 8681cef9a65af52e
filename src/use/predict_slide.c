/* predict_slide: a whole slide: tile by tile with tissue for image kinds, in windows for boxes; masks: predict_slide_mask.c. */
#include "predict.h"

#include "slide_work.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

predict_row slide_row(const slide_work *k, int n)
{
    const slide_facts *is = &k->s.t.is;
    predict_row r;
    memset(&r, 0, sizeof r); /* it is sent as bytes */
    r.file = k->number, r.slice = -1, r.of = ROW_SLIDE, r.n = n;
    r.W = (int32_t)(is->x + is->W), r.H = (int32_t)(is->y + is->H);
    r.voxel[0] = NAN, r.voxel[1] = r.voxel[2] = (float)k->s.t.ask.mpp;
    return r;
}

/* ---- image kinds: a tile is an image ----------------------------------------------------------------------------------------------------- */

static status one_tile(slide_work *k, int i, double *out)
{
    const tiling *t = &k->s.t;
    const part at = k->s.place[i];
    predict_row row = slide_row(k, k->p->plan.spec.K);
    source_case c;
    watchdog_tick(-1, "read", k->p->plan.spec.name);
    TRY(source_tile(&c, &k->s, at), "slide");
    plane s = source_plane(&c, 0);
    status st = predict_image(k->p, &s, out);
    source_free(&c);
    TRY(st, "tile at %d, %d", (int)at.a, (int)at.b);
    row.slice = i, row.x = at.a, row.y = at.b;
    row.W = (int32_t)llround(t->ask.side * t->scale[0]), row.H = (int32_t)llround(t->ask.side * t->scale[1]);
    geojson_tile(&k->g, (double[]){at.a, at.b, at.a + row.W, at.b + row.H}, out);
    return predict_rows_add(k->rows, &row, out);
}

static status tiles(slide_work *k)
{
    double *out;
    TRY(mem_alloc(&out, sizeof *out * (size_t)k->p->plan.spec.K, "results"), "predict");
    status st = OK;
    for (int i = 0; i < k->s.n && !st; i++)
        if (k->s.has[i]) st = one_tile(k, i, out);
    free(out);
    return st;
}

/* ---- windows ------------------------------------------------------------------------------------------------------------------------------ */

static int count_along(int grid, int side, int stride) { return grid <= side ? 1 : (grid - side + stride - 1) / stride + 1; }

slide_windows slide_windows_of(const slide_work *k)
{
    const tiling *t = &k->s.t;
    slide_windows g = {.side = t->ask.side, .stride = (int)((float)t->ask.side * (1 - k->p->plan.overlap))};
    if (g.stride < 1) g.stride = 1;
    g.W = (int)ceil((double)t->is.W / t->scale[0] - 0.01), g.H = (int)ceil((double)t->is.H / t->scale[1] - 0.01);
    g.nx = count_along(g.W, g.side, g.stride), g.ny = count_along(g.H, g.side, g.stride);
    return g;
}

part slide_window_at(const slide_work *k, const slide_windows *g, int j, int i)
{
    const tiling *t = &k->s.t;
    return (part){(int32_t)(t->is.x + llround(i * (g->stride * t->scale[0]))), (int32_t)(t->is.y + llround(j * (g->stride * t->scale[1])))};
}

bool slide_window_has_tissue(const slide_work *k, const slide_windows *g, int j, int i)
{
    int columns = k->s.columns, rows = k->s.n / columns;
    for (int y = j * g->stride / g->side; y <= (j * g->stride + g->side - 1) / g->side && y < rows; y++)
        for (int x = i * g->stride / g->side; x <= (i * g->stride + g->side - 1) / g->side && x < columns; x++)
            if (k->s.has[(size_t)y * (size_t)columns + (size_t)x]) return true;
    return false;
}

/* ---- detection ------------------------------------------------------------------------------------------------------------------------------ */

typedef struct found_boxes { box_list whole, cut; } found_boxes;

/* Boxes of a window, in pixels of its tile, to those of the slide. Cut are those that end, within two pixels of the network, where only the window
 * ends. */
static status take_boxes(slide_work *k, const slide_windows *g, int j, int i, const detection *d, int n, found_boxes *to)
{
    const tiling *t = &k->s.t;
    const part at = slide_window_at(k, g, j, i);
    const task_spec *spec = &k->p->plan.spec;
    float side = (float)g->side, near = 2 * fmaxf(1, side / (float)(spec->H < spec->W ? spec->H : spec->W));
    const double end[2] = {(double)(t->is.x + t->is.W), (double)(t->is.y + t->is.H)}, from[2] = {at.a, at.b};
    for (int b = 0; b < n; b++) {
        const float *box = d[b].box;
        bool cut = (i > 0 && box[0] < near) || (j > 0 && box[1] < near) || (i + 1 < g->nx && box[2] > side - near) || (j + 1 < g->ny && box[3] > side - near);
        detection out = d[b];
        for (int c = 0; c < 4; c++) out.box[c] = (float)fmin(from[c & 1] + (double)box[c] * t->scale[c & 1], end[c & 1]);
        if (!(out.box[2] > out.box[0] && out.box[3] > out.box[1])) continue; /* beyond the slide */
        TRY(boxes_push(cut ? &to->cut : &to->whole, &out), "detection");
    }
    return OK;
}

static status one_window(slide_work *k, const slide_windows *g, int j, int i, found_boxes *to)
{
    source_case c;
    detection *d;
    int n;
    watchdog_tick(-1, "read", k->p->plan.spec.name);
    TRY(source_tile(&c, &k->s, slide_window_at(k, g, j, i)), "slide");
    plane s = source_plane(&c, 0);
    status st = predict_boxes(k->p, &s, c.h, c.w, &d, &n);
    if (!st) st = take_boxes(k, g, j, i, d, n, to);
    free(d);
    source_free(&c);
    return st;
}

static status boxes(slide_work *k)
{
    slide_windows g = slide_windows_of(k);
    found_boxes all = {0};
    status st = OK;
    for (int j = 0; j < g.ny && !st; j++)
        for (int i = 0; i < g.nx && !st; i++)
            if (slide_window_has_tissue(k, &g, j, i)) st = one_window(k, &g, j, i, &all);
    if (!st) st = boxes_merge(&all.whole, &all.cut, k->p->plan.spec.nms_iou);
    for (int i = 0; i < all.whole.n && !st; i++) geojson_box(&k->g, "detection", &all.whole.d[i]);
    if (!st) st = predict_rows_boxes(k->rows, slide_row(k, 0), all.whole.d, all.whole.n);
    free(all.whole.d), free(all.cut.d);
    return st;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------------ */

status predict_slide(predictor *p, const predict_ask *ask, const source_file *f, int number, predict_rows *rows)
{
    slide_work k = {.p = p, .number = number, .rows = rows};
    bool masks = p->plan.spec.kind == TASK_SEGMENTATION, found = p->plan.spec.kind == TASK_DETECTION;
    char path[1400];
    TRY(predict_path(ask, f->name, ".geojson", path), "predict");
    TRY(source_slide_open(&k.s, f->path, &p->plan.how, masks || found), "predict");
    status st = geojson_begin(&k.g, p, path);
    if (!st) st = masks ? slide_mask(&k) : found ? boxes(&k) : tiles(&k);
    st = geojson_end(&k.g, st);
    source_slide_close(&k.s);
    return st ? status_note(st, __FILE__, __LINE__, "%s", f->path) : OK;
}
